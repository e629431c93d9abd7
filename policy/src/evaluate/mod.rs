//! From a subject and a snapshot to a verdict: derive tags, select the rules that match, combine them.

mod address;
mod combine;
mod derive;
mod explain;
mod judge;
mod limits;
mod payload;
mod residual;
mod scratch;
mod secrets;
mod select;
mod tape;

pub(crate) use address::plain_address;
pub use derive::Outcome;
pub use explain::{ConditionTrace, Explanation, RuleTrace, TagTrace};
pub use payload::{MAX_PAYLOAD_BYTES, MAX_PAYLOAD_DEPTH};
pub(crate) use payload::{after, elements};
pub use scratch::Scratch;

use crate::compile::Snapshot;
use crate::effect::Effect;
use crate::language::Rule;
use crate::limit::{Judgement, LimitView, NoLimits};
use crate::subject::{Principal, Subject, present};
use crate::verdict::Verdict;
use combine::Ruling;
use limits::Asking;
use residual::{Granting, Rules, Sight};
use scratch::{Heard, Match};

impl Snapshot {
    /// Judges a subject at an instant (milliseconds since the Unix epoch), with what is known of limits. Never fails: what
    /// cannot be told counts towards restriction.
    ///
    /// A delegated job is judged once for its actor and once for every principal of its chain; the most restrictive
    /// verdict holds. Waits only where a limit that is not known could change the verdict, or would have to be spent.
    ///
    /// Allocates nothing but the lists of the verdict once `scratch` has grown to its working size, where no limit is
    /// asked (and a copy of an e-mail address that has capitals, where a deriver looks at one).
    pub fn judge(
        &self,
        subject: &Subject<'_>,
        at_ms: u64,
        limits: &mut dyn LimitView,
        scratch: &mut Scratch,
    ) -> Judgement {
        let mut held = self.judge_one(subject, at_ms, limits, scratch);
        let chain = subject.delegation.map_or(&[][..], |delegation| delegation.chain);
        for Principal { actor_id, actor_type } in chain {
            let principal = Subject { actor_id: *actor_id, actor_type: *actor_type, ..*subject };
            let other = self.judge_one(&principal, at_ms, limits, scratch);
            held = match (held, other) {
                (Judgement::Decided(a), Judgement::Decided(b)) => Judgement::Decided(judge::join(a, b)),
                // A deny stands whatever a limit says.
                (Judgement::Decided(deny), Judgement::Waits(_)) | (Judgement::Waits(_), Judgement::Decided(deny))
                    if deny.effect == Effect::Deny =>
                {
                    Judgement::Decided(deny)
                }
                (Judgement::Waits(mut a), Judgement::Waits(b)) => {
                    a.extend(b.into_iter().filter(|wanted| !a.contains(wanted)).collect::<Vec<_>>());
                    Judgement::Waits(a)
                }
                (Judgement::Waits(waits), Judgement::Decided(_)) | (Judgement::Decided(_), Judgement::Waits(waits)) => {
                    Judgement::Waits(waits)
                }
            };
        }
        held
    }

    /// As [`Snapshot::judge`] in the first instant of 1970 and with no limit known ([`NoLimits`]): for policies without
    /// hours and limits.
    pub fn evaluate(&self, subject: &Subject<'_>, scratch: &mut Scratch) -> Verdict {
        match self.judge(subject, 0, &mut NoLimits, scratch) {
            Judgement::Decided(verdict) => verdict,
            // Cannot be: a view that knows no limits never says that one is unknown.
            Judgement::Waits(_) => Verdict::denied_by_default(self),
        }
    }

    /// Every rule that matches the subject alone, and what they decide: without those it acts for and with no limit known.
    /// Allocates nothing once `scratch` has grown to its working size.
    pub fn find<'s>(&'s self, subject: &Subject<'_>, at_ms: u64, scratch: &'s mut Scratch) -> Found<'s> {
        let ruling = self.rule_on(subject, at_ms, &mut NoLimits, scratch);
        Found { snapshot: self, ruling, matches: &scratch.rules.found, heard: &scratch.heard }
    }

    fn judge_one(
        &self,
        subject: &Subject<'_>,
        at_ms: u64,
        limits: &mut dyn LimitView,
        scratch: &mut Scratch,
    ) -> Judgement {
        let ruling = self.rule_on(subject, at_ms, limits, scratch);
        let Scratch { tags, heard, .. } = scratch;
        if ruling.waits {
            return Judgement::Waits(std::mem::take(&mut heard.unknown));
        }
        Judgement::Decided(judge::verdict(self, subject, ruling, tags, heard))
    }

    fn rule_on(&self, subject: &Subject<'_>, at_ms: u64, limits: &mut dyn LimitView, scratch: &mut Scratch) -> Ruling {
        let Scratch { payload, tags, topic, granted_topic, rules, grants, memory, heard } = scratch;
        memory.renew();
        let name = present(subject.topic);
        if let Some(known) = &self.grants {
            let topic = name.map(|name| known.index.about(name, granted_topic));
            select::select(&known.index, subject, topic, &[], grants, &mut Granting { grants: known, subject });
            memory.granted = Some(!grants.found.is_empty());
        }
        let topic = name.map(|name| self.index.about(name, topic));
        let mut finish = |tape: Option<&[simd_json::Node<'_>]>| {
            derive::derive(self, subject, topic.map_or(&[], |topic| &topic.derivers), tape, tags);
            let sight = Sight { snapshot: self, subject, tags, tape, at_ms };
            select::select(&self.index, subject, topic, tags, rules, &mut Rules { sight, memory });
            if !self.unordered {
                rules.found.sort_unstable();
            }
            combine::combine(self, subject, &mut rules.found, &mut Asking { sight, limits }, heard)
        };
        // Without a topic, what looks into the payload cannot be told.
        let reads_payload = topic.is_none_or(|topic| topic.reads_payload);
        if reads_payload { payload.with(subject.payload, finish) } else { finish(None) }
    }
}

/// What matches and what it decides, borrowed from the scratch.
#[derive(Clone, Copy)]
pub struct Found<'s> {
    snapshot: &'s Snapshot,
    ruling: Ruling,
    matches: &'s [Match],
    heard: &'s Heard,
}

impl<'s> Found<'s> {
    /// What is decided.
    pub fn effect(&self) -> Effect {
        self.ruling.effect
    }

    /// Whether no rule decided.
    pub fn default_used(&self) -> bool {
        self.ruling.default
    }

    /// The enforced rules that match, in no order, and whether that is certain.
    pub fn matches(&self) -> impl Iterator<Item = (&'s Rule, bool)> + use<'s> {
        let snapshot = self.snapshot;
        self.matches
            .iter()
            .filter_map(|matching| snapshot.rules.get(matching.place()).map(|rule| (rule, !matching.unsure)))
    }

    /// How many enforced rules match.
    pub fn count(&self) -> usize {
        self.matches.len()
    }

    /// The rules that decided, in order of evaluation.
    pub fn winners(&self) -> impl Iterator<Item = &'s Rule> + use<'s> {
        let snapshot = self.snapshot;
        self.heard.winners.iter().filter_map(|&place| snapshot.rules.get(place as usize))
    }
}
