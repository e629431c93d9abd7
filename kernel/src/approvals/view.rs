//! What stands on `held` about a job: for people and views, never acted on.

use bytes::Bytes;
use tidegate_protocol::decision::{EncodeError, Judged, PayloadAt};
use tidegate_protocol::kept::HoldView;

use super::Hold;
use crate::kept::KeptJob;

/// Room for key and headers.
const ROOM: usize = 2 << 10;

/// `{v, job, decision, payload, hold}`; without the payload, and then without what people gave as reasons, when it would be
/// larger than a record may be.
pub(crate) fn held(kept: &KeptJob, hold: &Hold, most: usize) -> Result<Bytes, EncodeError> {
    let most = most.saturating_sub(ROOM);
    let whole = encode(kept, hold, kept.payload)?;
    if whole.len() <= most {
        return Ok(whole);
    }
    let bare = encode(kept, hold, PayloadAt::None)?;
    if bare.len() <= most {
        return Ok(bare);
    }
    let mut hold = hold.clone();
    hold.given.iter_mut().for_each(|given| given.reason.clear());
    encode(kept, &hold, PayloadAt::None)
}

fn encode(kept: &KeptJob, hold: &Hold, payload: PayloadAt) -> Result<Bytes, EncodeError> {
    let mut text = Judged::encode(&kept.job, &hold.decision, payload, kept.record.value.get().as_bytes())?;
    text.pop();
    text.extend_from_slice(br#","hold":"#);
    let view = HoldView {
        since: hold.begun,
        until: hold.until,
        given: hold.given.clone(),
        escalated: hold.escalated.clone(),
        snapshots: hold.snapshots.clone(),
    };
    serde_json::to_writer(&mut text, &view).map_err(|e| EncodeError { reason: e.to_string() })?;
    text.push(b'}');
    Ok(text.into())
}
