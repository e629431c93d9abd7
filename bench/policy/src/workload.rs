//! Rules and jobs, the same for every engine.
//!
//! 100 tenants and 200 topics in two levels (20 areas of 10 acts). Of the rules 60 % name a topic exactly, 30 % an area
//! (`area-3.*`), 8 % an act in any area (`*.act-7`), 2 % no topic; 80 % name a tenant, those without a topic among them;
//! half ask for one of two risk tags; 40 % have a condition on a number of the payload; one in four denies. The shares
//! are exact, not drawn; which rule gets what is drawn from a fixed seed.

use std::fmt;

/// Tenants.
pub(crate) const TENANTS: u32 = 100;
/// First parts of topics.
pub(crate) const AREAS: u32 = 20;
/// Last parts of topics.
pub(crate) const ACTS: u32 = 10;
/// Amounts are below this.
pub(crate) const MOST: u32 = 10_000;
/// Risk tags.
pub(crate) const TAGS: [&str; 8] =
    ["financial", "external", "personal-data", "destructive", "credentials", "bulk", "network", "production"];

/// Jobs judged, then judged again.
const JOBS: usize = 2_000;

/// Which topics a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Topic {
    /// `area-3.act-7`
    Exact(u32, u32),
    /// `area-3.*`
    Area(u32),
    /// `*.act-7`
    Act(u32),
    /// Any.
    Any,
}

/// A rule in no language.
#[derive(Clone, Debug)]
pub struct Rule {
    /// One tenant, or any.
    pub tenant: Option<u32>,
    /// Which topics.
    pub topic: Topic,
    /// Any of them, where there are some.
    pub tags: Vec<&'static str>,
    /// The payload's `amount` is greater.
    pub above: Option<u32>,
    /// Denies, or allows.
    pub denies: bool,
}

/// A job in no language.
#[derive(Clone, Debug)]
pub struct Job {
    /// `tenant-3`
    pub tenant: String,
    /// Its number.
    pub tenant_number: u32,
    /// `area-3.act-7`
    pub topic: String,
    /// Numbers of area and act.
    pub place: (u32, u32),
    /// Risk tags, each once.
    pub tags: Vec<&'static str>,
    /// The payload's `amount`.
    pub amount: u32,
    /// The payload.
    pub payload: String,
}

/// Rules and jobs.
#[derive(Clone, Debug)]
pub struct Workload {
    /// The rules, by number.
    pub rules: Vec<Rule>,
    /// The jobs.
    pub jobs: Vec<Job>,
}

/// A tenant's name.
pub(crate) fn tenant(number: u32) -> String {
    format!("tenant-{number}")
}

impl fmt::Display for Topic {
    /// As a dotted glob; `>` for any.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(area, act) => write!(f, "area-{area}.act-{act}"),
            Self::Area(area) => write!(f, "area-{area}.*"),
            Self::Act(act) => write!(f, "*.act-{act}"),
            Self::Any => f.write_str(">"),
        }
    }
}

impl Workload {
    /// The workload of so many rules.
    pub fn new(rules: usize) -> Self {
        let mut random = fastrand::Rng::with_seed(2_026);
        Self { rules: draw_rules(&mut random, rules), jobs: draw_jobs(&mut random) }
    }
}

fn draw_rules(random: &mut fastrand::Rng, count: usize) -> Vec<Rule> {
    // Places of each property, drawn apart from each other, so that shares are exact and properties independent.
    let mut share = |percent: usize| {
        let mut places: Vec<bool> = (0..count).map(|place| place * 100 < percent * count).collect();
        random.shuffle(&mut places);
        places
    };
    let (tagged, conditional, denies) = (share(50), share(40), share(25));
    let kinds = {
        let mut kinds: Vec<usize> = (0..count).map(|place| place * 100 / count).collect();
        random.shuffle(&mut kinds);
        kinds
    };
    // Of the 98 % with a topic, 78 in 98 name a tenant; with the other 2 % that is 80 % of all.
    let mut scoped: Vec<bool> = (0..count).map(|place| place * 98 < 78 * count).collect();
    random.shuffle(&mut scoped);
    let rule = |place: usize| {
        let is = |list: &[bool]| list.get(place).copied().unwrap_or_default();
        let kind = kinds.get(place).copied().unwrap_or_default();
        let topic = match kind {
            0..60 => Topic::Exact(random.u32(..AREAS), random.u32(..ACTS)),
            60..90 => Topic::Area(random.u32(..AREAS)),
            90..98 => Topic::Act(random.u32(..ACTS)),
            _ => Topic::Any,
        };
        let names_tenant = topic == Topic::Any || is(&scoped);
        Rule {
            tenant: names_tenant.then(|| random.u32(..TENANTS)),
            topic,
            tags: if is(&tagged) { draw_tags(random, 2) } else { Vec::new() },
            above: is(&conditional).then(|| random.u32(..MOST)),
            denies: is(&denies),
        }
    };
    (0..count).map(rule).collect()
}

fn draw_jobs(random: &mut fastrand::Rng) -> Vec<Job> {
    let job = |place: usize| {
        let (area, act, amount) = (random.u32(..AREAS), random.u32(..ACTS), random.u32(..MOST));
        let (tags, tenant_number) = (random.usize(..4), random.u32(..TENANTS));
        Job {
            tenant: tenant(tenant_number),
            tenant_number,
            place: (area, act),
            topic: Topic::Exact(area, act).to_string(),
            tags: draw_tags(random, tags),
            amount,
            payload: format!(r#"{{"order":"o-{place}","amount":{amount},"currency":"EUR","note":"as agreed"}}"#),
        }
    };
    (0..JOBS).map(job).collect()
}

fn draw_tags(random: &mut fastrand::Rng, count: usize) -> Vec<&'static str> {
    let mut tags = random.choose_multiple(TAGS, count);
    tags.sort_unstable();
    tags
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_are_those_promised_and_the_rules_always_the_same() {
        let workload = Workload::new(10_000);
        let share = |is: fn(&Rule) -> bool| workload.rules.iter().filter(|rule| is(rule)).count() / 100;
        assert_eq!(share(|rule| matches!(rule.topic, Topic::Exact(..))), 60);
        assert_eq!(share(|rule| matches!(rule.topic, Topic::Area(_))), 30);
        assert_eq!(share(|rule| matches!(rule.topic, Topic::Act(_))), 8);
        assert!((79..=81).contains(&share(|rule| rule.tenant.is_some())));
        assert_eq!(share(|rule| !rule.tags.is_empty()), 50);
        assert_eq!(share(|rule| rule.above.is_some()), 40);
        assert_eq!(format!("{workload:?}"), format!("{:?}", Workload::new(10_000)));
    }
}
