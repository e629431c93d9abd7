//! The real evaluator in the terms of the reference, and both on one pair.

use super::draw::HOURS;
use super::{Job, Judged, Known, Stands, combine, stands};
use serde_json::{Value, json};
use tidegate_policy::{
    Delegation, Judgement, LimitUse, LimitView, Names, Principal, Scratch, Snapshot, Standing, Subject, Supported,
    load_for,
};

/// Loads bundles drawn: JSON is YAML.
pub(crate) fn loaded(bundles: &[Value]) -> Snapshot {
    let files = bundles.iter().enumerate().map(|(at, bundle)| (format!("b{at}.yaml"), bundle.to_string()));
    load_for(files, None, Supported::EVERYTHING).unwrap_or_else(|refused| panic!("{refused}\n{bundles:#?}"))
}

struct View;

impl LimitView for View {
    fn standing(&mut self, wanted: &LimitUse) -> Standing {
        match stands(name(wanted), &wanted.key) {
            Stands::Within => Standing::Within,
            Stands::Exceeded => Standing::Exceeded,
            Stands::Unknown => Standing::Unknown,
        }
    }
}

fn name(wanted: &LimitUse) -> &str {
    wanted.limit.as_str().split('@').next().unwrap()
}

/// Gives the job as the evaluator takes it.
pub(crate) fn with_subject<R>(job: &Job, then: impl FnOnce(&Subject<'_>) -> R) -> R {
    let chain: Option<Vec<Principal<'_>>> = job.chain.as_ref().map(|chain| {
        chain.iter().map(|(id, kind)| Principal { actor_id: id.as_deref(), actor_type: kind.as_deref() }).collect()
    });
    let scope = job.scope.as_ref().map(|scope| scope as &dyn Names);
    let subject = Subject {
        tenant: &job.tenant,
        topic: &job.topic,
        capability: &job.capability,
        actor_id: job.actor_id.as_deref(),
        actor_type: job.actor_type.as_deref(),
        requires: &job.requires,
        risk_tags: &job.claims,
        labels: &job.labels,
        job_id: Some(&job.id),
        pack_id: job.pack_id.as_deref(),
        delegation: chain.as_ref().map(|chain| Delegation { chain, scope }),
        payload: job.payload.as_bytes(),
        ..Subject::new("", "", "")
    };
    then(&subject)
}

fn real(snapshot: &Snapshot, job: &Job, scratch: &mut Scratch) -> Judged {
    let used = |uses: &[LimitUse]| {
        uses.iter().map(|wanted| (name(wanted).to_owned(), wanted.key.to_string(), wanted.amount.0)).collect()
    };
    let at_ms = HOURS[job.hour].at_ms;
    let verdict = match with_subject(job, |subject| snapshot.judge(subject, at_ms, &mut View, scratch)) {
        Judgement::Waits(waits) => return Judged { waits: used(&waits), ..Judged::default() },
        Judgement::Decided(verdict) => verdict,
    };
    let texts = |list: &[std::sync::Arc<str>]| list.iter().map(|text| text.to_string()).collect();
    let json = |value: Option<Value>| value.unwrap_or_default();
    Judged {
        effect: verdict.effect.word().to_owned(),
        rule_ids: texts(&verdict.rule_ids),
        default_used: verdict.default_used,
        tags: texts(&verdict.tags),
        uncertain: texts(&verdict.uncertain_tags),
        constraints: json(verdict.constraints.map(|constraints| serde_json::to_value(&*constraints).unwrap())),
        approval: json(verdict.approval.map(|approval| {
            let step = |step: &tidegate_protocol::decision::Escalation| {
                json!({"after": format!("{}h", step.after_ms / 3_600_000), "to": step.to})
            };
            json!({
                "approvers": approval.approvers,
                "quorum": approval.quorum,
                "hours": approval.ttl_ms / 3_600_000,
                "escalate": approval.escalate.iter().map(step).collect::<Vec<_>>(),
            })
        })),
        throttle: json(verdict.throttle.map(|throttle| {
            json!({"retry": throttle.retry_after_ms / 1_000, "give_up": throttle.give_up_after_ms / 1_000})
        })),
        shadow: verdict
            .shadow
            .iter()
            .map(|(rule, effect, mode)| {
                let mode = serde_json::to_value(mode).unwrap();
                (rule.to_string(), effect.word().to_owned(), mode.as_str().unwrap().to_owned())
            })
            .collect(),
        spends: used(&verdict.spends),
        waits: Vec::new(),
    }
}

/// Asserts that both say the same of a job, and tells the story where they do not. The effect, or `waits`.
pub(crate) fn agree(bundles: &[Value], snapshot: &Snapshot, job: &Job, scratch: &mut Scratch) -> String {
    let (real, wanted) = (real(snapshot, job, scratch), combine::judge(bundles, job));
    assert!(real == wanted, "evaluator: {real:#?}\nreference: {wanted:#?}\njob: {job:#?}\npolicy: {}", shown(bundles));
    if real.waits.is_empty() { real.effect } else { "waits".to_owned() }
}

/// Asserts that an explanation calls matches exactly what the reference does.
pub(crate) fn agree_in_detail(bundles: &[Value], snapshot: &Snapshot, job: &Job) {
    let at_ms = HOURS[job.hour].at_ms;
    let story = with_subject(job, |subject| snapshot.explain(subject, at_ms, &mut View));
    for (id, effect, known) in combine::looked_at(bundles, job) {
        let trace = story.rules.iter().find(|trace| *trace.id == *id).unwrap();
        let matches = known == Known::Yes || known == Known::Unsure && effect != "allow";
        // As far as its limits let it.
        let unlimited = |on: &str| !on.starts_with("state#");
        let traced = trace.conditions.iter().filter(|condition| unlimited(&condition.on)).all(|one| one.holds());
        assert!(
            traced == matches,
            "`{id}`: {:?}, but the reference says {known:?}\njob: {job:#?}\npolicy: {}",
            trace.fails(),
            shown(bundles)
        );
    }
}

fn shown(bundles: &[Value]) -> String {
    bundles.iter().map(|bundle| serde_json::to_string_pretty(bundle).unwrap()).collect()
}
