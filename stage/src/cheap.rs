//! A keyed hash in place of a signature, for tests.

use sha2::{Digest, Sha256};
use tidegate_protocol::ids::KeyId;
use tidegate_protocol::signature::{Capacity, Distrust, Sign, Signature, Trust};

/// One key of any stage, which knows itself alone.
#[derive(Debug, Clone)]
pub(crate) struct Cheap(KeyId);

impl Cheap {
    pub(crate) fn new(id: &str) -> Self {
        Self(KeyId::new(id).unwrap())
    }
}

impl Sign for Cheap {
    fn key(&self) -> &KeyId {
        &self.0
    }

    fn sign(&self, statement: &[u8]) -> Signature {
        let half: [u8; 32] = Sha256::new().chain_update(self.0.as_str()).chain_update(statement).finalize().into();
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(&half);
        signature
    }
}

impl Trust for Cheap {
    fn entitled(&self, key: &str, capacity: Capacity<'_>, _at_ms: u64) -> Result<(), Distrust> {
        match capacity {
            _ if key != self.0.as_str() => Err(Distrust::UnknownKey),
            Capacity::Stage(_) => Ok(()),
            Capacity::Approver(_)
            | Capacity::Submitter(_)
            | Capacity::Worker
            | Capacity::Operator
            | Capacity::Policy => Err(Distrust::WrongRole),
        }
    }

    fn verify(&self, _key: &str, statement: &[u8], signature: &Signature) -> Result<(), Distrust> {
        if self.sign(statement) == *signature { Ok(()) } else { Err(Distrust::BadSignature) }
    }
}
