//! The name of a snapshot: SHA-256 over everything that can change a verdict, order included.
//!
//! Taken from the checked language, so comments, formatting, file names and the order of what is a set do not
//! count. Every text and list carries its length, so no two different policies feed the hash the same bytes.
//! Revisions do not count: they order snapshots and change no verdict.

use crate::glob::{Glob, Syntax};
use crate::language::{
    Bundle, Canary, CanaryBy, Combine, Deriver, Except, Match, Range, Rule, Scalar, Scalars, StateCondition, Test,
    TextSet, Window,
};
use crate::number::Number;
use crate::when;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use tidegate_protocol::decision::{Approval, OnTimeout, Remediation};

/// Raised when the meaning of the language changes, so that equal text with another meaning has another name.
const MEANING: &str = "tidegate-policy/2";

/// Sixty-four hex digits. `bundles` are in order of evaluation.
pub(super) fn name(bundles: &[Bundle]) -> String {
    let mut hash = Canon { hash: Sha256::new(), buffer: Vec::with_capacity(BUFFER) };
    hash.text(MEANING);
    hash.list(bundles.iter(), Canon::bundle);
    hash.flush();
    hex::encode(hash.hash.finalize())
}

/// What is hashed at once: a rule is fed in some sixty pieces of a few bytes.
const BUFFER: usize = 16 << 10;

struct Canon {
    hash: Sha256,
    buffer: Vec<u8>,
}

impl Canon {
    fn put(&mut self, bytes: impl AsRef<[u8]>) {
        self.buffer.extend_from_slice(bytes.as_ref());
        if self.buffer.len() >= BUFFER {
            self.flush();
        }
    }

    fn flush(&mut self) {
        self.hash.update(&self.buffer);
        self.buffer.clear();
    }

    fn number(&mut self, value: u64) {
        self.put(value.to_be_bytes());
    }

    fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.put(text.as_bytes());
    }

    fn maybe(&mut self, text: Option<&str>) {
        self.list(text.into_iter(), Self::text);
    }

    fn flag(&mut self, flag: bool) {
        self.put([u8::from(flag)]);
    }

    fn list<T>(&mut self, items: impl ExactSizeIterator<Item = T>, mut each: impl FnMut(&mut Self, T)) {
        self.number(items.len() as u64);
        for item in items {
            each(self, item);
        }
    }

    fn set(&mut self, texts: &TextSet) {
        self.list(texts.iter(), |hash, text| hash.text(text));
    }

    fn bundle(&mut self, bundle: &Bundle) {
        self.text(&bundle.id);
        self.text(match bundle.combine {
            Combine::FirstMatch => "first_match",
            Combine::MostRestrictive => "most_restrictive",
        });
        let mut defaults: Vec<_> = bundle.defaults.iter().map(|entry| (&*entry.tenant, entry.effect.word())).collect();
        defaults.sort_unstable();
        self.list(defaults.into_iter(), |hash, (tenant, effect)| {
            hash.text(tenant);
            hash.text(effect);
        });
        self.list(bundle.grants.iter(), |hash, grant| hash.matches(&grant.matches));
        self.list(bundle.derivers.iter(), Self::deriver);
        self.list(bundle.rules.iter(), Self::rule);
    }

    fn rule(&mut self, rule: &Rule) {
        self.text(&rule.id);
        self.text(rule.tier.name());
        self.flag(rule.invariant);
        self.text(rule.mode.name());
        self.list(rule.canary.iter(), Self::canary);
        self.text(rule.effect.word());
        self.text(&rule.reason);
        self.list(rule.controls.iter(), |hash, control| hash.text(control));
        self.list(rule.remediations.iter(), Self::remediation);
        self.list(rule.approval.iter(), |hash, approval| hash.approval(approval));
        self.list(rule.throttle.iter(), |hash, throttle| {
            hash.number(throttle.retry_after_ms);
            hash.number(throttle.give_up_after_ms);
        });
        // Its JSON has every field by name, sets in order.
        self.list(rule.constraints.iter(), |hash, constraints| {
            hash.text(&serde_json::to_string(&**constraints).unwrap_or_default());
        });
        self.matches(&rule.matches);
        self.list(rule.window.iter(), |hash, window| hash.window(window));
        let condition = rule.when.as_ref().and_then(|when| when.condition.as_ref());
        self.list(condition.into_iter().collect::<Vec<_>>().into_iter(), |hash, condition| {
            hash.put(when::digest(condition.canonical()));
        });
        self.list(rule.state.iter(), Self::state);
    }

    fn canary(&mut self, canary: &Canary) {
        self.number(canary.per_10_000.into());
        match &canary.by {
            CanaryBy::Tenant => self.text("tenant"),
            CanaryBy::ActorId => self.text("actor_id"),
            CanaryBy::Topic => self.text("topic"),
            CanaryBy::Capability => self.text("capability"),
            CanaryBy::JobId => self.text("job_id"),
            CanaryBy::Label(label) => {
                self.text("label");
                self.text(label);
            }
        }
    }

    fn remediation(&mut self, way: &Remediation) {
        let Remediation { id, title, summary, replacement_topic, replacement_capability, add_labels, remove_labels } =
            way;
        self.text(id);
        for text in [title, summary, replacement_topic, replacement_capability] {
            self.maybe(text.as_deref());
        }
        self.list(add_labels.iter(), |hash, (key, value)| {
            hash.text(key);
            hash.text(value);
        });
        self.list(remove_labels.iter(), |hash, label| hash.text(label));
    }

    fn approval(&mut self, approval: &Approval) {
        let Approval { approvers, quorum, ttl_ms, on_timeout: OnTimeout::Deny, escalate } = approval;
        self.list(approvers.iter(), |hash, role| hash.text(role));
        self.number((*quorum).into());
        self.number(*ttl_ms);
        self.list(escalate.iter(), |hash, step| {
            hash.number(step.after_ms);
            hash.text(&step.to);
        });
    }

    fn window(&mut self, window: &Window) {
        self.text(&window.zone_name);
        self.list(window.minutes.iter(), |hash, word| hash.number(*word));
    }

    fn state(&mut self, state: &StateCondition) {
        // Its id is a hash over all the rest of it.
        self.text(state.limit.as_str());
    }

    fn globs(&mut self, globs: &BTreeSet<Glob>) {
        self.list(globs.iter(), |hash, glob| {
            hash.text(match glob.syntax() {
                Syntax::Dots => "dots",
                Syntax::Path => "path",
            });
            hash.text(glob.as_str());
        });
    }

    fn matches(&mut self, matches: &Match) {
        let Match {
            tenants,
            topics,
            capabilities,
            risk_tags,
            trusts_claims,
            requires,
            actor_ids,
            actor_types,
            pack_ids,
            labels,
            label_tests,
            except,
            delegation,
            secrets_present,
            mcp_calls,
        } = matches;
        self.set(tenants);
        self.globs(topics);
        self.set(capabilities);
        self.set(risk_tags);
        self.flag(*trusts_claims);
        self.set(requires);
        self.set(actor_ids);
        self.set(actor_types);
        self.set(pack_ids);
        self.list(labels.iter(), |hash, (key, values)| {
            hash.text(key);
            hash.set(values);
        });
        self.list(label_tests.iter(), |hash, test| {
            hash.text(&test.key);
            hash.range(&test.range);
        });
        let Except { tenants, topics, capabilities, actor_ids, actor_types, pack_ids } = except;
        self.set(tenants);
        self.globs(topics);
        [capabilities, actor_ids, actor_types, pack_ids].into_iter().for_each(|set| self.set(set));
        self.list(delegation.iter(), |hash, delegation| {
            for depth in [delegation.min_depth, delegation.max_depth] {
                hash.list(depth.iter(), |hash, depth| hash.number((*depth).into()));
            }
            hash.set(&delegation.required_scope);
        });
        self.list(secrets_present.iter(), |hash, wanted| hash.flag(*wanted));
        // Said only where it is so: names of other rules stay what they were.
        if *mcp_calls {
            self.text("mcp_calls");
        }
    }

    fn range(&mut self, range: &Range) {
        match range {
            Range::NotIn(texts) => {
                self.text("not_in");
                self.set(texts);
            }
            Range::Number { wanted, than } => {
                self.text("number");
                self.list(wanted.iter(), |hash, order| {
                    hash.text(match order {
                        std::cmp::Ordering::Less => "less",
                        std::cmp::Ordering::Equal => "equal",
                        std::cmp::Ordering::Greater => "greater",
                    })
                });
                self.limit(*than);
            }
        }
    }

    fn deriver(&mut self, deriver: &Deriver) {
        self.text(&deriver.tag);
        self.globs(&deriver.topics);
        self.text(&deriver.field.text);
        self.flag(deriver.optional);
        match &deriver.test {
            Test::Missing => self.text("missing"),
            Test::Equal(value) => {
                self.text("eq");
                self.scalar(value);
            }
            Test::In(values) => {
                self.text("in");
                self.scalars(values);
            }
            Test::NotIn(values) => {
                self.text("not_in");
                self.scalars(values);
            }
            Test::Prefix(texts) => {
                self.text("prefix");
                self.set(texts);
            }
            Test::Greater(limit) => {
                self.text("gt");
                self.limit(*limit);
            }
            Test::Less(limit) => {
                self.text("lt");
                self.limit(*limit);
            }
            Test::AddressNotIn { addresses, domains } => {
                self.text("address_not_in");
                self.set(addresses);
                self.set(domains);
            }
        }
    }

    fn scalar(&mut self, value: &Scalar) {
        match value {
            Scalar::Text(text) => {
                self.text("text");
                self.text(text);
            }
            Scalar::Number(number) => {
                self.text("number");
                self.limit(*number);
            }
            Scalar::Bool(value) => {
                self.text("bool");
                self.flag(*value);
            }
        }
    }

    fn scalars(&mut self, values: &Scalars) {
        match values {
            Scalars::Texts(texts) => {
                self.text("texts");
                self.set(texts);
            }
            Scalars::Numbers(numbers) => {
                self.text("numbers");
                self.list(numbers.iter(), |hash, number| hash.limit(*number));
            }
        }
    }

    /// `5` and `5.0` are one number, written shortest.
    fn limit(&mut self, number: Number) {
        self.text(&number.to_string());
    }
}
