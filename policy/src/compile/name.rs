//! The name of a snapshot: SHA-256 over everything that can change a verdict, order included.
//!
//! Taken from the checked language, so comments, formatting, file names and the order of what is a set do not
//! count. Every text and list carries its length, so no two different policies feed the hash the same bytes.
//! Revisions do not count: they order snapshots and change no verdict.

use crate::language::{Bundle, Combine, Deriver, Match, Rule, Scalar, Scalars, Test, TextSet};
use crate::number::Number;
use sha2::{Digest, Sha256};

/// Raised when the meaning of the language changes, so that equal text with another meaning has another name.
const MEANING: &str = "tidegate-policy/1";

/// Sixty-four hex digits. `bundles` are in order of evaluation.
pub(super) fn name(bundles: &[Bundle]) -> String {
    let mut hash = Canon(Sha256::new());
    hash.text(MEANING);
    hash.list(bundles.iter(), Canon::bundle);
    hex::encode(hash.0.finalize())
}

struct Canon(Sha256);

impl Canon {
    fn number(&mut self, value: u64) {
        self.0.update(value.to_be_bytes());
    }

    fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.0.update(text.as_bytes());
    }

    fn maybe(&mut self, text: Option<&str>) {
        self.list(text.into_iter(), Self::text);
    }

    fn flag(&mut self, flag: bool) {
        self.0.update([u8::from(flag)]);
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
        self.list(bundle.derivers.iter(), Self::deriver);
        self.list(bundle.rules.iter(), Self::rule);
    }

    fn rule(&mut self, rule: &Rule) {
        self.text(&rule.id);
        self.text(rule.tier.name());
        self.flag(rule.invariant);
        self.text(rule.effect.word());
        self.text(&rule.reason);
        self.list(rule.controls.iter(), |hash, control| hash.text(control));
        self.list(rule.remediations.iter(), |hash, way| {
            hash.text(&way.id);
            hash.maybe(way.title.as_deref());
            hash.maybe(way.summary.as_deref());
            hash.maybe(way.replacement_topic.as_deref());
            hash.maybe(way.replacement_capability.as_deref());
        });
        let Match { tenants, topics, capabilities, risk_tags, trusts_claims, requires, actor_ids, actor_types, labels } =
            &rule.matches;
        self.set(tenants);
        self.list(topics.iter(), |hash, glob| hash.text(glob.as_str()));
        self.set(capabilities);
        self.set(risk_tags);
        self.flag(*trusts_claims);
        self.set(requires);
        self.set(actor_ids);
        self.set(actor_types);
        self.list(labels.iter(), |hash, (key, values)| {
            hash.text(key);
            hash.set(values);
        });
    }

    fn deriver(&mut self, deriver: &Deriver) {
        self.text(&deriver.tag);
        self.list(deriver.topics.iter(), |hash, glob| hash.text(glob.as_str()));
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
