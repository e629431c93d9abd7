//! What limits make of a rule, by its decision.

use tidegate_policy::{
    Effect, Judgement, LimitUse, LimitView, Scratch, Snapshot, Standing, Subject, Supported, Verdict, load_for,
};

/// Limits that all stand alike, and how often one was asked.
struct Alike(Standing, usize);

impl LimitView for Alike {
    fn standing(&mut self, _: &LimitUse) -> Standing {
        self.1 += 1;
        self.0
    }
}

const STATE: &str = "state: [{ count_within: jobs, key: [actor_id], window: 1m, gt: 5 }]";

fn policy(rule: &str) -> Snapshot {
    let text = format!(
        "id: b\nrevision: 1\nrules:\n  - {{ id: base, match: {{}}, decision: allow }}\n  - {{ id: r, match: {{}}, {rule} }}\n"
    );
    load_for([("b.yaml", text)], None, Supported::EVERYTHING).unwrap_or_else(|refused| panic!("{refused}"))
}

fn judge(policy: &Snapshot, actor: Option<&str>, standing: Standing) -> (Judgement, usize) {
    let mut limits = Alike(standing, 0);
    let subject = Subject { actor_id: actor, ..Subject::new("acme", "job.x", "x") };
    let said = policy.judge(&subject, 0, &mut limits, &mut Scratch::new());
    (said, limits.1)
}

fn decided((said, _): (Judgement, usize)) -> Verdict {
    match said {
        Judgement::Decided(verdict) => verdict,
        Judgement::Waits(limits) => panic!("waits for {limits:?}"),
    }
}

#[test]
fn the_table_of_decisions_with_a_limit() {
    // The decision; the verdict when the limit is exceeded, when it admits the job, and when what the job would take
    // cannot be told: an error counts as the rule's own decision.
    let rows = [
        ("deny", Effect::Deny, Effect::Allow, Effect::Deny),
        ("throttle", Effect::Throttle, Effect::Allow, Effect::Throttle),
        ("require_approval", Effect::RequireApproval, Effect::Allow, Effect::RequireApproval),
        (
            "allow_with_constraints, constraints: { redaction_level: strict }",
            Effect::AllowWithConstraints,
            Effect::Allow,
            Effect::AllowWithConstraints,
        ),
    ];
    for (decision, exceeded, within, untold) in rows {
        let policy = policy(&format!("{STATE}, decision: {decision}"));
        let verdict = decided(judge(&policy, Some("bot"), Standing::Exceeded));
        assert_eq!((verdict.effect, verdict.spends.len()), (exceeded, 0), "{decision}");
        let verdict = decided(judge(&policy, Some("bot"), Standing::Within));
        assert_eq!((verdict.effect, verdict.spends.len()), (within, 1), "{decision}");
        let (said, asked) = judge(&policy, None, Standing::Within);
        let verdict = decided((said, asked));
        assert_eq!((verdict.effect, verdict.spends.len(), asked), (untold, 0, 0), "{decision}");
        let (said, _) = judge(&policy, Some("bot"), Standing::Unknown);
        assert!(matches!(&said, Judgement::Waits(limits) if limits.len() == 1), "{decision}: {said:?}");
    }
    let text = format!("id: b\nrevision: 1\nrules:\n  - {{ id: r, match: {{}}, {STATE}, decision: allow }}\n");
    let refused = load_for([("b.yaml", text)], None, Supported::EVERYTHING).unwrap_err().to_string();
    assert!(refused.contains("allow") && refused.contains("`r`"), "{refused}");
}

#[test]
fn what_is_only_tried_out_asks_no_limit_and_a_denied_job_takes_of_none() {
    for mode in ["mode: shadow", "mode: warn", "canary: { percent: 0.01, by: job_id }"] {
        let policy = policy(&format!("{STATE}, decision: deny, {mode}"));
        let subject = Subject { actor_id: Some("bot"), job_id: Some("j1"), ..Subject::new("acme", "job.x", "x") };
        let mut limits = Alike(Standing::Within, 0);
        let said = policy.judge(&subject, 0, &mut limits, &mut Scratch::new());
        let verdict = decided((said, limits.1));
        assert_eq!((verdict.effect, verdict.spends.len(), limits.1), (Effect::Allow, 0, 0), "{mode}");
        assert_eq!(verdict.shadow.len(), 1, "{mode}: it is recorded");
    }
    let policy = policy(&format!("{STATE}, decision: throttle }}\n  - {{ id: no, match: {{}}, decision: deny"));
    let (said, asked) = judge(&policy, Some("bot"), Standing::Within);
    let verdict = decided((said, asked));
    assert_eq!((verdict.effect, verdict.spends.len(), asked), (Effect::Deny, 0, 0));
}

#[test]
fn a_rule_with_max_concurrent_jobs_has_a_limit_beside_it_in_every_way_of_combining() {
    for combine in ["first_match", "most_restrictive"] {
        let text = format!(
            "id: b\nrevision: 1\ncombine: {combine}\nrules:
  - {{ id: r, match: {{ topics: [job.x] }}, decision: allow_with_constraints, constraints: {{ budgets: {{ max_concurrent_jobs: 3 }} }} }}
  - {{ id: rest, match: {{}}, decision: allow }}\n"
        );
        let policy =
            load_for([("b.yaml", text)], None, Supported::BY_KERNEL).unwrap_or_else(|refused| panic!("{refused}"));
        let limit = policy.rule("r.max_concurrent_jobs").expect("the limit's rule");
        assert_eq!((limit.effect(), limit.line()), (Effect::Throttle, 5));
        let exceeded = decided(judge(&policy, None, Standing::Exceeded));
        assert_eq!(exceeded.effect, Effect::Throttle, "{combine}");
        assert_eq!(exceeded.rule_ids.iter().map(|id| &**id).collect::<Vec<_>>(), ["r.max_concurrent_jobs"]);
        let within = decided(judge(&policy, None, Standing::Within));
        assert_eq!(within.effect, Effect::AllowWithConstraints, "{combine}");
        let [spend] = within.spends.as_slice() else { panic!("{:?}", within.spends) };
        // The tenant alone, whoever asks and whatever for.
        assert_eq!(&*spend.key, "4:acme");
        assert!(spend.limit.as_str().starts_with("r.max_concurrent_jobs#0@"), "{}", spend.limit.as_str());
        assert_eq!(spend.definition.limit.to_string(), "3");
        let other = Subject::new("acme", "job.y", "x");
        let mut limits = Alike(Standing::Exceeded, 0);
        policy.judge(&other, 0, &mut limits, &mut Scratch::new());
        assert_eq!(limits.1, 0, "jobs of other rules are not counted");
    }
}
