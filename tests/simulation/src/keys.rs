//! A keyed hash in place of signatures: thousands of runs would spend their time on curves. Whoever has no secret cannot
//! make one that is believed, and that is all the runs need.

use std::sync::Arc;

use tidegate_protocol::ids::KeyId;
use tidegate_protocol::signature::{Capacity, Distrust, Sign, Signature, Trust};

use crate::trace::hash_of;

/// The stages' key.
#[derive(Debug)]
pub struct SimKey(KeyId);

/// The key of all stages; they trust it, for losses the operator's, and nobody else.
#[must_use]
pub fn stages() -> Arc<SimKey> {
    Arc::new(SimKey(KeyId::new("sim").unwrap()))
}

/// The key of whoever accepts losses.
#[must_use]
pub fn operator() -> Arc<SimKey> {
    Arc::new(SimKey(KeyId::new(OPERATOR).unwrap()))
}

const OPERATOR: &str = "operator";

fn sign_as(key: &str, statement: &[u8]) -> Signature {
    let mut signature = [0x5a; 64];
    let secret = 0x7469_6465_6761_7465 ^ hash_of(key.as_bytes());
    signature[..8].copy_from_slice(&(hash_of(statement) ^ secret).to_le_bytes());
    signature
}

impl Sign for SimKey {
    fn key(&self) -> &KeyId {
        &self.0
    }

    fn sign(&self, statement: &[u8]) -> Signature {
        sign_as(self.0.as_str(), statement)
    }
}

impl Trust for SimKey {
    fn entitled(&self, key: &str, capacity: Capacity<'_>, _at_ms: u64) -> Result<(), Distrust> {
        match capacity {
            Capacity::Operator if key == OPERATOR => Ok(()),
            _ if key != self.0.as_str() => Err(Distrust::UnknownKey),
            Capacity::Stage(_) => Ok(()),
            Capacity::Approver(_) | Capacity::Submitter(_) | Capacity::Worker | Capacity::Operator => {
                Err(Distrust::WrongRole)
            }
        }
    }

    fn verify(&self, key: &str, statement: &[u8], signature: &Signature) -> Result<(), Distrust> {
        if sign_as(key, statement) == *signature { Ok(()) } else { Err(Distrust::BadSignature) }
    }
}
