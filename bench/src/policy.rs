//! The policy of a run: as many rules and limits as asked for, and one that allows what the load sends.

use tidegate_policy::Snapshot;

/// What it is made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weight {
    /// Rules for other topics than the load's: mostly denials, every tenth asks people.
    pub(crate) rules: u32,
    /// Limits that every job takes of; none is ever exceeded.
    pub(crate) limits: u32,
    /// Whether people are asked about every tenth job (the calls of ten of 97 agents).
    pub(crate) asks: bool,
}

/// What a limit counts, and by what: by tenant all jobs share one, by agent there are ninety-seven.
const LIMITS: [&str; 4] = [
    "count_within: jobs, key: [tenant], window: 1m",
    "sum_within: job.number, key: [actor_id], window: 1h",
    "count_within: jobs, key: [tenant, actor_id], window: 10m",
    "count_within: jobs, key: [job.topic], window: 1h",
];

/// More than a run ever counts, and than all the numbers of its jobs.
const NEVER: u64 = 50_000_000_000;

/// Limits there are at most.
pub(crate) const MOST_LIMITS: u32 = 4;

pub(crate) fn policy(weight: Weight) -> anyhow::Result<Snapshot> {
    let mut text = String::from("id: bench\nrevision: 1\nrules:\n");
    for n in 0..weight.rules {
        let decision = match n % 10 {
            9 => "require_approval, approval: { approvers: [finance], ttl: 4h, on_timeout: deny }",
            _ => "deny",
        };
        text.push_str(&format!(
            "  - {{ id: no-{n}, match: {{ topics: [\"job.forbidden.{n}.>\"] }}, reason: forbidden, decision: {decision} }}\n"
        ));
    }
    for (n, limit) in LIMITS.iter().take(weight.limits as usize).enumerate() {
        text.push_str(&format!(
            "  - {{ id: most-{n}, match: {{ topics: [\"job.bench.>\"] }}, state: [{{ {limit}, gt: {NEVER} }}], decision: deny }}\n"
        ));
    }
    if weight.asks {
        let agents: Vec<String> = (0..10).map(|n| format!("agent-{n}")).collect();
        text.push_str(&format!(
            "  - {{ id: ask, match: {{ actor_ids: [{}] }}, decision: require_approval, approval: {{ approvers: [finance], ttl: 4h, on_timeout: deny }} }}\n",
            agents.join(", ")
        ));
    }
    text.push_str("  - { id: calls, match: { topics: [\"job.bench.>\"] }, decision: allow }\n");
    Ok(tidegate_policy::load([("bench.yaml", text)], None)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_weight_makes_a_policy() {
        for (rules, limits, asks) in [(0, 0, false), (50, 0, true), (1_000, 3, true), (10, MOST_LIMITS, false)] {
            policy(Weight { rules, limits, asks })
                .unwrap_or_else(|refused| panic!("{rules} rules, {limits} limits: {refused}"));
        }
    }
}
