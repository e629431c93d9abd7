//! Policy as code: a strict language, an immutable compiled snapshot, and its evaluator.
//!
//! Pure: no IO, no clock, no randomness, no async. The kernel, the CLI and workflows use the same three calls:
//!
//! ```
//! use tidegate_policy::{Effect, Scratch, Subject, load};
//!
//! let bank = "
//! id: bank
//! revision: 1
//! derivers:
//!   - { tag: large, topics: [job.pay.>], field: /amount, test: gt, value: 1000 }
//! rules:
//!   - { id: pay, match: { topics: [job.pay.>] }, decision: allow }
//!   - { id: no-large, invariant: true, match: { risk_tags: [large] }, decision: deny, reason: above the limit }
//! ";
//! let snapshot = load([("bank.yaml", bank)], None)?;
//! let mut scratch = Scratch::new();
//! let mut job = Subject::new("acme", "job.pay.wire", "pay");
//! job.payload = br#"{"amount": 20}"#;
//! assert_eq!(snapshot.evaluate(&job, &mut scratch).effect, Effect::Allow);
//! job.payload = br#"{"amount": 2000}"#;
//! let verdict = snapshot.evaluate(&job, &mut scratch);
//! assert_eq!(verdict.effect, Effect::Deny);
//! assert_eq!(&*verdict.reason, "above the limit");
//! assert_eq!(&*verdict.rule_ids[0], "no-large");
//! # Ok::<(), tidegate_policy::Refused>(())
//! ```
//!
//! # Words
//! A **bundle** is one file: an id, a revision, parameters, derivers and ordered rules. A **set** is all bundles
//! loaded together. A **snapshot** is a compiled set, **named** by a hash of everything that can change a verdict.
//! A **deriver** computes a risk **tag** from topic and payload; a tag a submitter sets is a **claim**. A
//! **restriction** is a rule that takes something away (deny), a **permission** one that does not (allow).
//!
//! # How rules match
//! All fields of a rule must hold; within a list any entry is enough, except `requires` (all of them) and `labels`
//! (every key, each with any of its values). `{in, not_in}` says what an attribute must be and must not be. `topics` are
//! dotted globs: `*` is one segment, a last `>` one or more (`topic_syntax: path` in files written for matchers of paths).
//! An absent field does not restrict the rule; an empty list is refused.
//!
//! # How matches combine
//! 1. Invariants of all bundles, the lists of `tenants` and what no grant covers: the most restrictive is a floor that
//!    nothing below loosens.
//! 2. The most specific tier with a certain match (job, workflow, global) decides: each bundle by its `combine`
//!    (`first_match`, or `most_restrictive`, the default), and among bundles the most restrictive.
//! 3. The tenant's default. 4. Deny.
//!
//! Constraints merge to the tightest, approvals to what does for every rule (if no role does, the job is denied). A rule in
//! `mode: shadow` or `warn`, or outside its canary's share, takes no part and is recorded. A delegated job is judged for
//! its actor and for each principal of its chain; the most restrictive verdict holds.
//!
//! # An unsure match
//! A rule that matches only because something cannot be told counts as its own decision: a deny denies, a throttle delays,
//! an approval asks, an allow does not match. An `allow_with_constraints` does not permit, but constrains what is permitted.
//! It never ends a search: what stands behind it in a `first_match` bundle, and less specific tiers, are heard too, and the
//! most restrictive holds, so nobody loosens a verdict by leaving something out.
//!
//! # What cannot be told counts towards restriction
//!
//! | what is so | a restriction on it | a permission on it |
//! |---|---|---|
//! | tenant, topic, capability, actor id or actor type missing or empty | matches | does not match |
//! | a label key missing | matches | does not match |
//! | a label there with another value | does not match | does not match |
//! | a required capability or a claimed tag not in the job's set | does not match | does not match |
//! | a deriver's field there, its test holds | matches | matches |
//! | a deriver's field there, its test does not hold | does not match | does not match |
//! | the field missing or `null`, the test is `missing` | matches | matches |
//! | the field missing or `null`, the deriver says `optional: true` | does not match | does not match |
//! | the field missing or `null` otherwise | matches | does not match |
//! | the field of another type than the test is about | matches | does not match |
//! | a key of the pointer stands twice in its object | matches | does not match |
//! | the payload is not JSON, too large or too deep | matches | does not match |
//! | the topic missing, so which derivers apply is unknown | matches | does not match |
//! | with `/*`: no element | does not match | does not match |
//! | with `/*`: an element for which the test holds | matches | matches |
//! | with `/*`: none for which it holds, one that cannot be told | matches | does not match |
//!
//! # Failure
//! [`load`] refuses the whole set with every problem found ([`Refused`]); the caller keeps its last good snapshot.
//! [`Snapshot::evaluate`] cannot fail.
//!
//! # Deliberately absent
//! Signatures of bundles, which stand beside them. What the kernel of this version does not honour yet ([`Supported`]) is
//! refused by name when a set is loaded.

mod cases;
mod compile;
mod conditions;
mod decision;
mod effect;
mod evaluate;
mod glob;
mod import;
mod instant;
mod language;
mod limit;
mod lint;
mod load;
mod number;
mod problem;
mod source;
mod subject;
mod supported;
mod verdict;
pub mod when;

pub use cases::{CaseResult, Coverage, Gap, Share, run_cases};
pub use compile::{BundleInfo, Snapshot};
pub use effect::Effect;
pub use evaluate::{
    ConditionTrace, Explanation, Found, MAX_PAYLOAD_BYTES, MAX_PAYLOAD_DEPTH, RuleTrace, Scratch, TagTrace,
};
pub use import::{ImportAs, Imported, Note, import};
pub use instant::instant;
pub use language::{Canary, CanaryBy, Mode, Rule, Tier};
pub use limit::{Judgement, LimitUse, LimitView, NoLimits, Standing};
pub use lint::{Finding, FindingKind, Place};
pub use load::{InUse, is_bundle_file, is_case_file, load, load_for};
pub use problem::{Problem, Refused};
pub use source::{DEFAULT_APPROVAL_TTL_MS, DEFAULT_GIVE_UP_AFTER_MS, DEFAULT_RETRY_AFTER_MS};
pub use subject::{Delegation, Labels, Names, Principal, Subject};
pub use supported::{Feature, Supported};
pub use tidegate_protocol::decision::Remediation;
pub use verdict::{MAX_WINNERS, Verdict};
