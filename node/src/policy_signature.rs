//! Signed policy: a folder of bundles with [`FILE`], the list of its files and their SHA-256, signed by a key that is
//! trusted for the role `policy`.
//!
//! The list is of the whole folder, so that a bundle that was changed, put in or taken away is noticed, and the whole
//! folder refused. Two things are not its work: that an older folder, signed as well, does not come back (revisions only
//! rise, and the highest is a fact of the kernel), and the time of the signature: a key that is retired counts for nothing
//! from then on, so its folder has to be signed anew.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidegate_protocol::hex;
use tidegate_protocol::ids::KeyId;
use tidegate_protocol::merkle::digest;
use tidegate_protocol::signature::{self, Capacity, Distrust, Sign, Signed, Trust};
use tidegate_protocol::statements::POLICY;

/// The file, in the folder of the bundles.
pub const FILE: &str = "policy.sig";

/// Largest such file: some ten thousand bundles.
pub const MAX_BYTES: u64 = 1 << 20;

/// Whose signature a folder needs.
#[derive(Debug, Clone)]
pub struct Demand {
    /// Who is trusted for the role `policy`.
    pub trust: Arc<dyn Trust>,
    /// Whether a folder without a signature is refused. One that has a signature needs a good one in any case.
    pub required: bool,
}

/// A folder whose signature does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPolicySignature {
    /// There is none.
    #[error(
        "the policy is not signed and `require_signed_policy` is on: sign the folder (`tidegate policy sign`), which writes `{FILE}` into it"
    )]
    Missing,
    /// The file is no signed list.
    #[error("`{FILE}` is no signed list of bundles ({why}): sign the folder again (`tidegate policy sign`)")]
    Unreadable {
        /// What is wrong.
        why: String,
    },
    /// The signature is not one that counts.
    #[error(
        "`{FILE}` is signed by `{key}`, which does not count ({why}): a key needs the role `policy` under `keys.trusted`, and the folder a signature by it (`tidegate policy sign`)"
    )]
    Distrusted {
        /// The key it names.
        key: String,
        /// Why not.
        why: Distrust,
    },
    /// The folder is not what was signed.
    #[error("the policy folder is not what was signed: {0}; restore it, or sign it as it is (`tidegate policy sign`)")]
    Differs(Differences),
}

/// Files that are not as they were signed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Differences {
    changed: Vec<String>,
    missing: Vec<String>,
    unsigned: Vec<String>,
}

impl fmt::Display for Differences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = [("changed", &self.changed), ("missing", &self.missing), ("not signed", &self.unsigned)];
        let said = kinds.iter().filter(|(_, files)| !files.is_empty()).map(|(kind, files)| {
            let more = if files.len() > 5 { format!(" and {} more", files.len() - 5) } else { String::new() };
            let first: Vec<String> = files.iter().take(5).map(|file| format!("`{file}`")).collect();
            format!("{kind}: {}{more}", first.join(", "))
        });
        f.write_str(&said.collect::<Vec<_>>().join("; "))
    }
}

/// The signed object; key and signature stand behind these.
#[derive(Serialize, Deserialize)]
struct List {
    v: u32,
    /// SHA-256 in hex by the file's name.
    files: BTreeMap<String, String>,
}

/// The file's name in its folder.
fn name(path: &str) -> String {
    Path::new(path).file_name().and_then(|name| name.to_str()).unwrap_or(path).to_owned()
}

fn listed(files: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    files.iter().map(|(path, text)| (name(path), hex::encode(digest(text.as_bytes())))).collect()
}

/// The text of [`FILE`] for bundles (path and text).
///
/// # Errors
/// What kept it from being written as JSON.
pub fn sign(signer: &dyn Sign, files: &BTreeMap<String, String>) -> Result<Vec<u8>, serde_json::Error> {
    let list = List { v: 1, files: listed(files) };
    Ok(signature::signed(signer, POLICY, serde_json::to_vec(&list)?))
}

impl Demand {
    /// Whose signature is on bundles (path and text) with that text of [`FILE`]; `None` when there is none and none is
    /// needed. `now_ms`: milliseconds since the Unix epoch, for keys that are retired.
    ///
    /// # Errors
    /// [`BadPolicySignature`].
    pub fn check(
        &self,
        files: &BTreeMap<String, String>,
        text: Option<&[u8]>,
        now_ms: u64,
    ) -> Result<Option<KeyId>, BadPolicySignature> {
        let Some(text) = text else {
            return if self.required { Err(BadPolicySignature::Missing) } else { Ok(None) };
        };
        let text = text.trim_ascii_end();
        let unreadable = |why: String| BadPolicySignature::Unreadable { why };
        let signed = Signed::read(text).ok_or_else(|| unreadable("it does not end in a key and a signature".into()))?;
        let distrusted = |why| BadPolicySignature::Distrusted { key: signed.key.to_owned(), why };
        signed.check(&*self.trust, POLICY, Capacity::Policy, now_ms).map_err(distrusted)?;
        let list: List = serde_json::from_slice(text).map_err(|error| unreadable(error.to_string()))?;
        if list.v != 1 {
            return Err(unreadable(format!("its version is {}, this program reads version 1", list.v)));
        }
        let found = listed(files);
        let mut differences = Differences::default();
        for (file, hash) in &found {
            match list.files.get(file) {
                Some(signed) if signed == hash => {}
                Some(_) => differences.changed.push(file.clone()),
                None => differences.unsigned.push(file.clone()),
            }
        }
        differences.missing = list.files.into_keys().filter(|file| !found.contains_key(file)).collect();
        if differences != Differences::default() {
            return Err(BadPolicySignature::Differs(differences));
        }
        KeyId::new(signed.key).map(Some).map_err(|error| unreadable(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use tidegate_keys::{Keyring, SecretKey, Trusted};

    use super::*;

    fn files(all: &[(&str, &str)]) -> BTreeMap<String, String> {
        all.iter().map(|(name, text)| (format!("/etc/policy/{name}"), (*text).to_owned())).collect()
    }

    fn key(id: &str) -> SecretKey {
        SecretKey::from_seed(KeyId::new(id).unwrap(), &[id.len() as u8; 32])
    }

    fn demand(required: bool) -> Demand {
        let trusted = [("author", "policy", None), ("retired-one", "policy", Some(5)), ("op", "operator", None)];
        let ring = Keyring::new(trusted.map(|(id, role, until_ms)| Trusted {
            id: KeyId::new(id).unwrap(),
            public: key(id).public(),
            person: None,
            roles: vec![role.parse().unwrap()],
            tenants: None,
            until_ms,
        }));
        Demand { trust: Arc::new(ring.unwrap()), required }
    }

    #[test]
    fn a_folder_counts_as_it_was_signed_and_in_no_other_way() {
        let (one, demand) = (files(&[("a.yaml", "A"), ("b.yaml", "B")]), demand(true));
        let text = sign(&key("author"), &one).unwrap();
        let check = |files: &BTreeMap<String, String>, text: &[u8]| demand.check(files, Some(text), 10);
        assert_eq!(check(&one, &text).unwrap().unwrap().as_str(), "author");
        let moved = one.iter().map(|(path, text)| (path.replace("/etc", "/srv"), text.clone())).collect();
        assert!(check(&moved, &text).is_ok(), "where the folder lies is not signed");
        for (other, said) in [
            (files(&[("a.yaml", "A"), ("b.yaml", "b")]), "changed: `b.yaml`"),
            (files(&[("a.yaml", "A")]), "missing: `b.yaml`"),
            (files(&[("a.yaml", "A"), ("b.yaml", "B"), ("c.yaml", "C")]), "not signed: `c.yaml`"),
            (files(&[("a.yaml", "B"), ("b.yaml", "A")]), "changed: `a.yaml`, `b.yaml`"),
        ] {
            let refused = check(&other, &text).unwrap_err().to_string();
            assert!(refused.contains(said), "{refused}");
        }
        for at in 0..text.len() {
            let mut changed = text.clone();
            changed[at] ^= 1;
            assert!(check(&one, &changed).is_err(), "byte {at} changed");
        }
        let distrusted = |id: &str| check(&one, &sign(&key(id), &one).unwrap()).unwrap_err();
        for (id, why) in
            [("retired-one", Distrust::Retired), ("op", Distrust::WrongRole), ("stranger", Distrust::UnknownKey)]
        {
            assert_eq!(distrusted(id), BadPolicySignature::Distrusted { key: id.into(), why });
        }
    }

    #[test]
    fn a_folder_without_a_signature_counts_where_none_is_required() {
        let one = files(&[("a.yaml", "A")]);
        assert_eq!(demand(false).check(&one, None, 10), Ok(None));
        assert_eq!(demand(true).check(&one, None, 10), Err(BadPolicySignature::Missing));
        let bad = demand(false).check(&one, Some(b"{}"), 10);
        assert!(matches!(bad, Err(BadPolicySignature::Unreadable { .. })), "a bad one counts nowhere: {bad:?}");
    }
}
