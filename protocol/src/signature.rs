//! Who said something: signing and trust as plain traits, and how a JSON record carries its signature.
//!
//! What is signed is a **statement**: a line that says what kind of thing it is (so that a signature over one kind is
//! worth nothing for another), then the exact text. Cryptography is elsewhere (`tidegate-keys`); the simulation brings
//! its own.
//!
//! A signed JSON object ends in `,"key":"…","signature":"…"}`. The signature covers the kind's line and the object's
//! exact text without those two ([`Signed::statement`]); nothing is parsed and written again to check it.

use std::fmt;
use std::str::FromStr;

use crate::hex;
use crate::ids::{KeyId, TenantId};

/// A signature; Ed25519's size.
pub type Signature = [u8; 64];

/// What a key is trusted for, as configured.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Facts, control records and messages of any stage.
    AnyStage,
    /// Those of one: `kernel`, `scheduler`, …
    Stage(Box<str>),
    /// Approves and rejects held jobs whose rule takes any approver.
    Approver,
    /// Approves and rejects held jobs also as this, one of a rule's `approvers`: `finance`, …; `*` is all of them.
    ApproverAs(Box<str>),
    /// Submits jobs.
    Submitter,
    /// Reports what became of jobs.
    Worker,
    /// Cancels, revokes, redrives, accepts losses.
    Operator,
    /// Publishes policy: signs folders of bundles.
    Policy,
}

/// Text that names no role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is no role; write `stage`, `stage:kernel` (or another), `approver`, `approver:finance` (or another), `submitter`, `worker`, `operator` or `policy`"
)]
pub struct BadRole {
    /// As written (cut at 80 characters).
    pub text: String,
}

impl FromStr for Role {
    type Err = BadRole;
    fn from_str(text: &str) -> Result<Self, BadRole> {
        match text {
            "stage" => Ok(Self::AnyStage),
            "approver" => Ok(Self::Approver),
            "submitter" => Ok(Self::Submitter),
            "worker" => Ok(Self::Worker),
            "operator" => Ok(Self::Operator),
            "policy" => Ok(Self::Policy),
            _ => match text.split_once(':') {
                Some(("stage", stage))
                    if !stage.is_empty() && stage.len() <= 40 && stage.bytes().all(|b| b.is_ascii_lowercase()) =>
                {
                    Ok(Self::Stage(stage.into()))
                }
                Some(("approver", "*")) => Ok(Self::ApproverAs("*".into())),
                Some(("approver", role))
                    if !role.is_empty()
                        && role.len() <= 100
                        && role.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')) =>
                {
                    Ok(Self::ApproverAs(role.into()))
                }
                _ => Err(BadRole { text: text.chars().take(80).collect() }),
            },
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AnyStage => f.write_str("stage"),
            Self::Stage(stage) => write!(f, "stage:{stage}"),
            Self::Approver => f.write_str("approver"),
            Self::ApproverAs(role) => write!(f, "approver:{role}"),
            Self::Submitter => f.write_str("submitter"),
            Self::Worker => f.write_str("worker"),
            Self::Operator => f.write_str("operator"),
            Self::Policy => f.write_str("policy"),
        }
    }
}

/// In what capacity something was said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capacity<'a> {
    /// As a stage, by its name.
    Stage(&'a str),
    /// As somebody who approves for this tenant.
    Approver(&'a TenantId),
    /// As somebody who submits for this tenant.
    Submitter(&'a TenantId),
    /// As a worker.
    Worker,
    /// As an operator.
    Operator,
    /// As somebody who publishes policy.
    Policy,
}

impl<'a> Capacity<'a> {
    /// Of whoever sends under that name.
    #[must_use]
    pub fn of_sender(sender: &'a str) -> Self {
        Self::Stage(stage_of(sender))
    }

    /// The tenant it is for, if for one.
    #[must_use]
    pub const fn tenant(&self) -> Option<&'a TenantId> {
        match self {
            Self::Approver(tenant) | Self::Submitter(tenant) => Some(tenant),
            Self::Stage(_) | Self::Worker | Self::Operator | Self::Policy => None,
        }
    }
}

/// The stage that a sender belongs to: `kernel` of `kernel.jobs.raw/0`.
#[must_use]
pub fn stage_of(sender: &str) -> &str {
    sender.split(['.', '/']).next().unwrap_or_default()
}

impl Role {
    /// Whether a key of this role may speak so.
    #[must_use]
    pub fn covers(&self, capacity: Capacity<'_>) -> bool {
        match (self, capacity) {
            (Self::AnyStage, Capacity::Stage(_))
            | (Self::Approver | Self::ApproverAs(_), Capacity::Approver(_))
            | (Self::Submitter, Capacity::Submitter(_))
            | (Self::Worker, Capacity::Worker)
            | (Self::Operator, Capacity::Operator)
            | (Self::Policy, Capacity::Policy) => true,
            (Self::Stage(own), Capacity::Stage(stage)) => &**own == stage,
            (
                Self::AnyStage
                | Self::Stage(_)
                | Self::Approver
                | Self::ApproverAs(_)
                | Self::Submitter
                | Self::Worker
                | Self::Operator
                | Self::Policy,
                Capacity::Stage(_)
                | Capacity::Approver(_)
                | Capacity::Submitter(_)
                | Capacity::Worker
                | Capacity::Operator
                | Capacity::Policy,
            ) => false,
        }
    }
}

/// Why a signature is worth nothing here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum Distrust {
    /// There is none.
    #[error("it is not signed")]
    Unsigned,
    /// By a key that is not trusted here.
    #[error("its key is not trusted here")]
    UnknownKey,
    /// The key may not speak so, or not for this tenant.
    #[error("its key is not trusted for this")]
    WrongRole,
    /// The key's time was over.
    #[error("its key is retired")]
    Retired,
    /// The key did not sign this.
    #[error("its signature is wrong")]
    BadSignature,
}

impl Distrust {
    /// The word used in metrics.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Unsigned => "unsigned",
            Self::UnknownKey => "unknown_key",
            Self::WrongRole => "wrong_role",
            Self::Retired => "retired_key",
            Self::BadSignature => "forged",
        }
    }
}

/// Signs.
pub trait Sign: Send + Sync + fmt::Debug {
    /// Names the key to those who check.
    fn key(&self) -> &KeyId;

    /// The signature over a statement.
    fn sign(&self, statement: &[u8]) -> Signature;
}

/// Knows whom to trust. Both questions are asked of every signature; the second is the dear one and its answer never
/// changes, so it may be remembered.
pub trait Trust: Send + Sync + fmt::Debug {
    /// Whether the key may speak so at that time (milliseconds since the Unix epoch).
    ///
    /// # Errors
    /// [`Distrust::UnknownKey`], [`Distrust::WrongRole`], [`Distrust::Retired`].
    fn entitled(&self, key: &str, capacity: Capacity<'_>, at_ms: u64) -> Result<(), Distrust>;

    /// Whether the key signed that.
    ///
    /// # Errors
    /// [`Distrust::UnknownKey`], [`Distrust::BadSignature`].
    fn verify(&self, key: &str, statement: &[u8], signature: &Signature) -> Result<(), Distrust>;
}

/// Ends a signed object: what stands before and after the key's name, and the closing brace.
const KEY: &[u8] = br#","key":""#;
const SIGNATURE: &[u8] = br#"","signature":""#;
const END: &[u8] = br#""}"#;

/// A JSON object with its signature taken off.
#[derive(Debug, Clone, Copy)]
pub struct Signed<'a> {
    /// The object's text without its closing brace.
    open: &'a [u8],
    /// The key named.
    pub key: &'a str,
    signature: Signature,
}

/// Reads hex digits as they are written here, in lower case alone: a text has one form, so that none of its bytes can
/// change unnoticed.
pub(crate) fn digits<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    hex::decode_to_slice(text, &mut bytes).ok()?;
    (!text.iter().any(u8::is_ascii_uppercase)).then_some(bytes)
}

/// What is signed of `object`, a JSON object's text without its closing brace.
fn statement(kind: &str, open: &[u8]) -> Vec<u8> {
    let mut statement = Vec::with_capacity(kind.len() + open.len() + 2);
    statement.extend_from_slice(kind.as_bytes());
    statement.push(b'\n');
    statement.extend_from_slice(open);
    statement.push(b'}');
    statement
}

/// Signs a JSON object (not an empty one): `{…}` becomes `{…,"key":"…","signature":"…"}`. `kind` is the statement's line.
#[must_use]
pub fn signed(signer: &dyn Sign, kind: &str, mut object: Vec<u8>) -> Vec<u8> {
    object.pop();
    let signature = signer.sign(&statement(kind, &object));
    attach(object, signer.key().as_str(), &signature)
}

/// Ends an object's text, which has no closing brace yet, with key and signature.
#[must_use]
pub fn attach(mut open: Vec<u8>, key: &str, signature: &Signature) -> Vec<u8> {
    open.extend_from_slice(KEY);
    open.extend_from_slice(key.as_bytes());
    open.extend_from_slice(SIGNATURE);
    open.extend_from_slice(hex::encode(signature).as_bytes());
    open.extend_from_slice(END);
    open
}

impl<'a> Signed<'a> {
    /// Takes the signature off an object's text; `None` when it does not end in one.
    #[must_use]
    pub fn read(value: &'a [u8]) -> Option<Self> {
        let rest = value.strip_suffix(END)?;
        let (rest, digits) = rest.split_at_checked(rest.len().checked_sub(128)?)?;
        let signature = self::digits(digits)?;
        let rest = rest.strip_suffix(SIGNATURE)?;
        // A name of a key has no quotation mark in it.
        let from = rest.iter().rposition(|byte| *byte == b'"')?;
        let key = std::str::from_utf8(rest.get(from + 1..)?).ok()?;
        let open = rest.get(..=from)?.strip_suffix(KEY)?;
        Some(Self { open, key, signature })
    }

    /// The object's text without its closing brace.
    #[must_use]
    pub const fn open(&self) -> &'a [u8] {
        self.open
    }

    /// What was signed, for a statement of that kind.
    #[must_use]
    pub fn statement(&self, kind: &str) -> Vec<u8> {
        statement(kind, self.open)
    }

    /// The signature.
    #[must_use]
    pub const fn signature(&self) -> &Signature {
        &self.signature
    }

    /// Whether it was signed by a key that may speak so at that time.
    ///
    /// # Errors
    /// [`Distrust`], never `Unsigned`.
    pub fn check(&self, trust: &dyn Trust, kind: &str, capacity: Capacity<'_>, at_ms: u64) -> Result<(), Distrust> {
        trust.entitled(self.key, capacity, at_ms)?;
        trust.verify(self.key, &self.statement(kind), &self.signature)
    }
}

/// Checks a signed object's text; see [`Signed::check`].
///
/// # Errors
/// [`Distrust`].
pub fn check<'a>(
    trust: &dyn Trust,
    kind: &str,
    capacity: Capacity<'_>,
    at_ms: u64,
    value: &'a [u8],
) -> Result<Signed<'a>, Distrust> {
    let signed = Signed::read(value).ok_or(Distrust::Unsigned)?;
    signed.check(trust, kind, capacity, at_ms)?;
    Ok(signed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proof::fixtures::Cheap;

    const STAGE: Capacity<'_> = Capacity::Stage("kernel");

    #[test]
    fn a_signed_object_is_plain_json_and_believed_as_it_stands_and_in_no_other_way() {
        let cheap = Cheap::default();
        let value = signed(&cheap, "tidegate claim v1", br#"{"v":1,"text":"a \",\"key\":\"x"}"#.to_vec());
        let parsed: serde_json::Value = serde_json::from_slice(&value).unwrap();
        assert_eq!((&parsed["v"], &parsed["key"]), (&serde_json::json!(1), &serde_json::json!("cheap")));
        let check =
            |kind: &str, capacity, at, value: &[u8]| super::check(&cheap, kind, capacity, at, value).map(|_| ());
        assert_eq!(check("tidegate claim v1", STAGE, 5, &value), Ok(()));
        assert_eq!(check("tidegate mark v1", STAGE, 5, &value), Err(Distrust::BadSignature));
        assert_eq!(check("tidegate claim v1", Capacity::Operator, 5, &value), Err(Distrust::WrongRole));
        assert_eq!(check("tidegate claim v1", STAGE, Cheap::UNTIL_MS + 1, &value), Err(Distrust::Retired));
        for at in 0..value.len() {
            let mut changed = value.clone();
            changed[at] ^= 1;
            assert!(check("tidegate claim v1", STAGE, 5, &changed).is_err(), "byte {at} changed");
            changed[at] ^= 1 ^ 0x20;
            assert!(check("tidegate claim v1", STAGE, 5, &changed).is_err(), "the case of byte {at} changed");
            assert!(check("tidegate claim v1", STAGE, 5, &value[..at]).is_err(), "cut at {at}");
        }
        assert_eq!(check("tidegate claim v1", STAGE, 5, br#"{"v":1}"#), Err(Distrust::Unsigned));
    }

    #[test]
    fn roles_are_read_as_they_are_written_and_cover_their_own_alone() {
        let tenant = TenantId::new("acme").unwrap();
        let all = [
            Capacity::Stage("kernel"),
            Capacity::Stage("scheduler"),
            Capacity::Approver(&tenant),
            Capacity::Submitter(&tenant),
            Capacity::Worker,
            Capacity::Operator,
            Capacity::Policy,
        ];
        for (text, covers) in [
            ("stage", [true, true, false, false, false, false, false]),
            ("stage:kernel", [true, false, false, false, false, false, false]),
            ("approver", [false, false, true, false, false, false, false]),
            ("approver:finance", [false, false, true, false, false, false, false]),
            ("submitter", [false, false, false, true, false, false, false]),
            ("worker", [false, false, false, false, true, false, false]),
            ("operator", [false, false, false, false, false, true, false]),
            ("policy", [false, false, false, false, false, false, true]),
        ] {
            let role: Role = text.parse().unwrap();
            assert_eq!(role.to_string(), text);
            assert_eq!(all.map(|capacity| role.covers(capacity)), covers, "{text}");
        }
        for bad in
            ["", "approver:", "approver:a b", "worker:a", "stage:", "stage:Kernel", "stage:a b", "admin", "Stage"]
        {
            assert!(bad.parse::<Role>().is_err(), "{bad}");
        }
        assert_eq!(Capacity::of_sender("kernel.jobs.raw/0"), Capacity::Stage("kernel"));
    }
}
