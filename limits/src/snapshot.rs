//! The durable state as JSON text: equal states give equal bytes.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidegate_protocol::time::Timestamp;

use crate::config::LimitsConfig;
use crate::key::{Key, KeyName};
use crate::state::State;

/// Format version.
const VERSION: u32 = 1;

#[derive(Serialize)]
struct Out<'a> {
    v: u32,
    floor: Timestamp,
    keys: Vec<(&'a KeyName, &'a Key)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct In {
    v: u32,
    floor: Timestamp,
    keys: Vec<(KeyName, Key)>,
}

pub(crate) fn write(state: &State) -> Result<String, serde_json::Error> {
    let keys = state.keys.iter().map(|(name, key)| (&**name, key)).collect();
    serde_json::to_string(&Out { v: VERSION, floor: state.floor, keys })
}

pub(crate) fn read(text: &str, config: &LimitsConfig) -> Result<State, serde_json::Error> {
    let read: In = serde_json::from_str(text)?;
    if read.v != VERSION {
        let problem = format!("limits state has version {}, this program reads version {VERSION}", read.v);
        return Err(serde::de::Error::custom(problem));
    }
    let keys: BTreeMap<Arc<KeyName>, Key> = read.keys.into_iter().map(|(name, key)| (Arc::new(name), key)).collect();
    Ok(State::of(keys, read.floor, config))
}
