//! Keys that are none: what signatures cost is seen by leaving them out. Of a bench alone.

use std::sync::Arc;

use tidegate_protocol::ids::KeyId;
use tidegate_protocol::signature::{Capacity, Distrust, Sign, Signature, Trust};

#[derive(Debug)]
struct Blank(KeyId);

impl Sign for Blank {
    fn key(&self) -> &KeyId {
        &self.0
    }

    fn sign(&self, _statement: &[u8]) -> Signature {
        [0; 64]
    }
}

impl Trust for Blank {
    fn entitled(&self, _key: &str, _capacity: Capacity<'_>, _at_ms: u64) -> Result<(), Distrust> {
        Ok(())
    }

    fn verify(&self, _key: &str, _statement: &[u8], _signature: &Signature) -> Result<(), Distrust> {
        Ok(())
    }
}

/// Signs nothing and believes everything.
pub(crate) fn keys() -> anyhow::Result<(Arc<dyn Sign>, Arc<dyn Trust>)> {
    let blank = Arc::new(Blank(KeyId::new("none")?));
    Ok((blank.clone(), blank))
}
