//! A second implementation of the language: naive, slow, and meant to be obviously right. It judges the same
//! policies that are given to the real one as text.

use serde_json::{Value, json};

#[derive(Clone, Debug)]
pub(crate) struct Bundle {
    pub(crate) first_match: bool,
    pub(crate) defaults: Vec<(String, bool)>,
    pub(crate) derivers: Vec<Deriver>,
    pub(crate) rules: Vec<Rule>,
}

#[derive(Clone, Debug)]
pub(crate) struct Deriver {
    pub(crate) tag: String,
    pub(crate) topics: Vec<String>,
    pub(crate) field: String,
    pub(crate) test: Test,
    pub(crate) optional: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum Test {
    Missing,
    Eq(Value),
    In(Vec<Value>),
    NotIn(Vec<Value>),
    Prefix(String),
    Gt(f64),
    Lt(f64),
    AddressNotIn(Vec<String>),
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Rule {
    pub(crate) id: String,
    pub(crate) tier: usize,
    pub(crate) invariant: bool,
    pub(crate) deny: bool,
    pub(crate) claimed: bool,
    pub(crate) tenants: Vec<String>,
    pub(crate) topics: Vec<String>,
    pub(crate) capabilities: Vec<String>,
    pub(crate) tags: Vec<String>,
    pub(crate) requires: Vec<String>,
    pub(crate) actor_ids: Vec<String>,
    pub(crate) actor_types: Vec<String>,
    pub(crate) labels: Vec<(String, Vec<String>)>,
}

#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) tenant: String,
    pub(crate) topic: String,
    pub(crate) capability: String,
    pub(crate) actor_id: Option<String>,
    pub(crate) actor_type: Option<String>,
    pub(crate) requires: Vec<String>,
    pub(crate) claims: Vec<String>,
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) payload: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Known {
    No,
    Unsure,
    Yes,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Judgement {
    pub(crate) deny: bool,
    pub(crate) rule_ids: Vec<String>,
    pub(crate) tags: Vec<String>,
    pub(crate) uncertain: Vec<String>,
    pub(crate) default_used: bool,
}

pub(crate) const TIERS: [&str; 3] = ["job", "workflow", "global"];

/// The bundles as files: JSON is YAML. Bundle ids are in the order given.
pub(crate) fn files(bundles: &[Bundle]) -> Vec<(String, String)> {
    let file = |(at, bundle): (usize, &Bundle)| {
        let text = json!({
            "id": format!("b{at}"),
            "revision": 1,
            "combine": if bundle.first_match { "first_match" } else { "most_restrictive" },
            "tenants": bundle.defaults.iter().map(|(tenant, allow)| {
                (tenant.clone(), json!({ "default": if *allow { "allow" } else { "deny" } }))
            }).collect::<serde_json::Map<_, _>>(),
            "derivers": bundle.derivers.iter().map(Deriver::written).collect::<Vec<_>>(),
            "rules": bundle.rules.iter().map(Rule::written).collect::<Vec<_>>(),
        });
        (format!("b{at}.yaml"), text.to_string())
    };
    bundles.iter().enumerate().map(file).collect()
}

impl Rule {
    fn written(&self) -> Value {
        let mut matches = serde_json::Map::new();
        let lists = [
            ("tenants", &self.tenants),
            ("topics", &self.topics),
            ("capabilities", &self.capabilities),
            ("risk_tags", &self.tags),
            ("requires", &self.requires),
            ("actor_ids", &self.actor_ids),
            ("actor_types", &self.actor_types),
        ];
        for (name, list) in lists {
            if !list.is_empty() {
                matches.insert(name.into(), json!(list));
            }
        }
        if !self.labels.is_empty() {
            let labels: serde_json::Map<_, _> = self.labels.iter().map(|(k, v)| (k.clone(), json!(v))).collect();
            matches.insert("labels".into(), labels.into());
        }
        let mut rule = json!({
            "id": self.id,
            "tier": TIERS[self.tier],
            "invariant": self.invariant,
            "match": matches,
            "decision": if self.deny { "deny" } else { "allow" },
        });
        if self.claimed && !self.tags.is_empty() {
            rule["trust"] = json!("claimed");
        }
        rule
    }

    fn matches(&self, job: &Job, derived: &[(String, Known)]) -> bool {
        let one = |wanted: &[String], value: Option<&str>| match value.filter(|value| !value.is_empty()) {
            _ if wanted.is_empty() => true,
            Some(value) => wanted.iter().any(|w| w == value),
            None => self.deny,
        };
        let topic = match job.topic.as_str() {
            _ if self.topics.is_empty() => true,
            "" => self.deny,
            topic => self.topics.iter().any(|glob| glob_matches(glob, topic)),
        };
        let tags = self.tags.is_empty()
            || self.tags.iter().any(|tag| match known(derived, tag) {
                Known::Yes => true,
                Known::Unsure if self.deny => true,
                Known::Unsure | Known::No => self.claimed && job.claims.contains(tag),
            });
        let label = |(key, values): &(String, Vec<String>)| match job.labels.iter().find(|(name, _)| name == key) {
            Some((_, value)) => values.contains(value),
            None => self.deny,
        };
        one(&self.tenants, Some(&job.tenant))
            && topic
            && one(&self.capabilities, Some(&job.capability))
            && tags
            && self.requires.iter().all(|wanted| job.requires.contains(wanted))
            && one(&self.actor_ids, job.actor_id.as_deref())
            && one(&self.actor_types, job.actor_type.as_deref())
            && self.labels.iter().all(label)
    }
}

fn known(derived: &[(String, Known)], tag: &str) -> Known {
    derived.iter().find(|(name, _)| name == tag).map_or(Known::No, |(_, known)| *known)
}

pub(crate) fn glob_matches(glob: &str, topic: &str) -> bool {
    fn go(glob: &[&str], topic: &[&str]) -> bool {
        match (glob, topic) {
            ([], []) => true,
            ([">"], [_, ..]) => true,
            (["*", glob @ ..], [_, topic @ ..]) => go(glob, topic),
            ([a, glob @ ..], [b, topic @ ..]) => a == b && go(glob, topic),
            ([], [_, ..]) | ([_, ..], []) => false,
        }
    }
    go(&glob.split('.').collect::<Vec<_>>(), &topic.split('.').collect::<Vec<_>>())
}

impl Deriver {
    fn written(&self) -> Value {
        let mut deriver = json!({ "tag": self.tag, "topics": self.topics, "field": self.field });
        let (test, value) = match &self.test {
            Test::Missing => ("missing", None),
            Test::Eq(value) => ("eq", Some(value.clone())),
            Test::In(values) => ("in", Some(json!(values))),
            Test::NotIn(values) => ("not_in", Some(json!(values))),
            Test::Prefix(text) => ("prefix", Some(json!(text))),
            Test::Gt(limit) => ("gt", Some(json!(limit))),
            Test::Lt(limit) => ("lt", Some(json!(limit))),
            Test::AddressNotIn(list) => ("address_not_in", Some(json!(list))),
        };
        deriver["test"] = json!(test);
        if let Some(value) = value {
            deriver["value"] = value;
        }
        if self.optional && test != "missing" {
            deriver["optional"] = json!(true);
        }
        deriver
    }

    fn finds(&self, job: &Job) -> Known {
        let Ok(payload) = serde_json::from_str::<Value>(&job.payload) else { return Known::Unsure };
        let (path, each) = match self.field.strip_suffix("/*") {
            Some(path) => (path, true),
            None => (self.field.as_str(), false),
        };
        let mut at = &payload;
        for token in path.split('/').skip(1) {
            match at {
                Value::Object(map) => match map.get(token) {
                    Some(value) => at = value,
                    None => return self.missing(),
                },
                Value::Null => return self.missing(),
                _ => return Known::Unsure,
            }
        }
        match at {
            Value::Null => self.missing(),
            Value::Array(items) if each => items.iter().map(|item| self.test(item)).max().unwrap_or(Known::No),
            _ if each => Known::Unsure,
            value => self.test(value),
        }
    }

    fn missing(&self) -> Known {
        match (&self.test, self.optional) {
            (Test::Missing, _) => Known::Yes,
            (_, true) => Known::No,
            (_, false) => Known::Unsure,
        }
    }

    fn test(&self, value: &Value) -> Known {
        if value.is_null() {
            return self.missing();
        }
        let same_kind = |listed: &Value| {
            listed.is_string() && value.is_string()
                || listed.is_number() && value.is_number()
                || listed.is_boolean() && value.is_boolean()
        };
        let equal = |listed: &Value| match (listed.as_f64(), value.as_f64()) {
            (Some(a), Some(b)) => a == b,
            _ => listed == value,
        };
        let holds = match &self.test {
            Test::Missing => Some(false),
            Test::Eq(wanted) => same_kind(wanted).then(|| equal(wanted)),
            Test::In(list) => list.iter().all(same_kind).then(|| list.iter().any(equal)),
            Test::NotIn(list) => list.iter().all(same_kind).then(|| !list.iter().any(equal)),
            Test::Prefix(start) => value.as_str().map(|text| text.starts_with(start.as_str())),
            Test::Gt(limit) => value.as_f64().map(|number| number > *limit),
            Test::Lt(limit) => value.as_f64().map(|number| number < *limit),
            Test::AddressNotIn(list) => value.as_str().map(|text| {
                let parts: Vec<&str> = text.split('@').collect();
                match parts.as_slice() {
                    [_, domain] => !list.iter().any(|entry| entry == text || *entry == format!("@{domain}")),
                    _ => true,
                }
            }),
        };
        match holds {
            Some(true) => Known::Yes,
            Some(false) => Known::No,
            None => Known::Unsure,
        }
    }
}

pub(crate) fn judge(bundles: &[Bundle], job: &Job) -> Judgement {
    let mut derived: Vec<(String, Known)> = Vec::new();
    for deriver in bundles.iter().flat_map(|bundle| &bundle.derivers) {
        let applies = job.topic.is_empty() || deriver.topics.iter().any(|glob| glob_matches(glob, &job.topic));
        let found = match (applies, job.topic.is_empty()) {
            (false, _) => Known::No,
            (true, true) => Known::Unsure,
            (true, false) => deriver.finds(job),
        };
        match derived.iter_mut().find(|(tag, _)| *tag == deriver.tag) {
            Some((_, known)) => *known = found.max(*known),
            None => derived.push((deriver.tag.clone(), found)),
        }
    }
    derived.sort();
    let matching = |bundle: &Bundle, filter: &dyn Fn(&Rule) -> bool| -> Vec<Rule> {
        bundle.rules.iter().filter(|rule| filter(rule) && rule.matches(job, &derived)).cloned().collect()
    };
    // Of these rules, those with the most restrictive effect.
    let strictest = |rules: Vec<Rule>| -> Option<(bool, Vec<String>)> {
        let deny = rules.iter().any(|rule| rule.deny);
        let ids: Vec<String> =
            rules.into_iter().filter(|rule| rule.deny == deny).map(|rule| rule.id).take(16).collect();
        (!ids.is_empty()).then_some((deny, ids))
    };
    let floor = strictest(bundles.iter().flat_map(|bundle| matching(bundle, &|rule| rule.invariant)).collect());
    let tier = |tier: usize| {
        let of_bundle = |bundle: &Bundle| {
            let mut rules = matching(bundle, &|rule| !rule.invariant && rule.tier == tier);
            if bundle.first_match {
                rules.truncate(1);
            }
            rules
        };
        strictest(bundles.iter().flat_map(of_bundle).collect())
    };
    let decided = floor.or_else(|| tier(0)).or_else(|| tier(1)).or_else(|| tier(2));
    let default_used = decided.is_none();
    let (deny, rule_ids) = decided.unwrap_or_else(|| {
        let allow = bundles.iter().flat_map(|b| &b.defaults).any(|(tenant, allow)| *tenant == job.tenant && *allow);
        (!allow, Vec::new())
    });
    let with =
        |wanted: Known| derived.iter().filter(|(_, known)| *known == wanted).map(|(tag, _)| tag.clone()).collect();
    Judgement { deny, rule_ids, tags: with(Known::Yes), uncertain: with(Known::Unsure), default_used }
}

/// The real one, in the same terms.
pub(crate) fn evaluate(
    snapshot: &tidegate_policy::Snapshot,
    job: &Job,
    scratch: &mut tidegate_policy::Scratch,
) -> Judgement {
    let verdict = snapshot.evaluate(&subject(job), scratch);
    let texts = |list: &[std::sync::Arc<str>]| list.iter().map(|text| text.to_string()).collect();
    Judgement {
        deny: !verdict.effect.permits(),
        rule_ids: texts(&verdict.rule_ids),
        tags: texts(&verdict.tags),
        uncertain: texts(&verdict.uncertain_tags),
        default_used: verdict.default_used,
    }
}

pub(crate) fn subject(job: &Job) -> tidegate_policy::Subject<'_> {
    tidegate_policy::Subject {
        tenant: &job.tenant,
        topic: &job.topic,
        capability: &job.capability,
        actor_id: job.actor_id.as_deref(),
        actor_type: job.actor_type.as_deref(),
        requires: &job.requires,
        risk_tags: &job.claims,
        labels: &job.labels,
        payload: job.payload.as_bytes(),
        ..tidegate_policy::Subject::new("", "", "")
    }
}
