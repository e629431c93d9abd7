//! Files of other agent-governance kernels as bundles: what comes out, what is refused, and that it decides the same.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that meets what it does not expect must fail"
)]

mod draw;
mod naive;

use tidegate_policy::{
    Effect, ImportAs, Judgement, LimitUse, LimitView, Scratch, Snapshot, Standing, Subject, Supported, import, load_for,
};

/// Where jobs stand with every limit.
struct Everywhere(Standing);

impl LimitView for Everywhere {
    fn standing(&mut self, _wanted: &LimitUse) -> Standing {
        self.0
    }
}

fn told(imported: &tidegate_policy::Imported) -> String {
    imported.notes.iter().map(|note| format!("{note}\n")).collect()
}

fn golden(name: &str, file: &str, bundle: &str, notes: &str) {
    let named = ImportAs { id: name, revision: 1 };
    let imported = import(&format!("{name}.safety.yaml"), file, named).unwrap_or_else(|refused| panic!("{refused}"));
    assert!(imported.bundle == bundle, "the bundle is now:\n{}", imported.bundle);
    assert!(told(&imported) == notes, "the notes are now:\n{}", told(&imported));
}

#[test]
fn rules_and_lists_become_a_bundle_and_notes_say_what_is_stricter() {
    golden(
        "office",
        include_str!("golden/office.safety.yaml"),
        include_str!("golden/office.bundle.yaml"),
        include_str!("golden/office.notes.txt"),
    );
}

#[test]
fn a_file_of_tenants_lists_alone_becomes_rules() {
    golden("tenants", include_str!("golden/tenants.safety.yaml"), include_str!("golden/tenants.bundle.yaml"), "");
}

#[test]
fn what_cannot_be_carried_over_is_refused_by_name_and_line() {
    let file = include_str!("golden/refused.safety.yaml");
    let refused = import("refused.safety.yaml", file, ImportAs { id: "x", revision: 1 }).unwrap_err().to_string();
    assert!(refused + "\n" == include_str!("golden/refused.txt"), "the problems are now:\n{}", {
        import("refused.safety.yaml", file, ImportAs { id: "x", revision: 1 }).unwrap_err()
    });
}

#[test]
fn a_file_that_says_nothing_is_refused() {
    for file in ["{}", "version: v1", "default_decision: deny", "rules: []\ntenants: { acme: {} }"] {
        let refused = import("f", file, ImportAs { id: "x", revision: 1 }).unwrap_err().to_string();
        assert!(refused.contains("there is nothing to import"), "{file}: {refused}");
    }
}

fn judge(snapshot: &Snapshot, job: &draw::Job, beyond: bool, scratch: &mut Scratch) -> (Effect, Vec<String>) {
    let subject = Subject {
        tenant: &job.tenant,
        topic: &job.topic,
        capability: &job.capability,
        actor_id: Some(&job.actor_id),
        actor_type: Some(&job.actor_type),
        requires: &job.requires,
        risk_tags: &job.tags,
        labels: &job.labels,
        pack_id: Some(&job.pack_id),
        ..Subject::new("", "", "")
    };
    let mut limits = Everywhere(if beyond { Standing::Exceeded } else { Standing::Within });
    match snapshot.judge(&subject, 0, &mut limits, scratch) {
        Judgement::Decided(verdict) => (verdict.effect, verdict.rule_ids.iter().map(|id| id.to_string()).collect()),
        Judgement::Waits(waits) => panic!("known limits do not wait: {waits:?}"),
    }
}

/// On jobs that lack nothing the verdict is the same, by the same rule; on all others none runs that does not run there.
#[test]
fn the_bundle_decides_as_the_file_does() {
    let mut scratch = Scratch::new();
    let (mut same, mut stricter) = (0, 0);
    for seed in 0..400 {
        let mut random = fastrand::Rng::with_seed(seed);
        let file = draw::file(&mut random);
        let imported = import("drawn.yaml", &file.to_string(), ImportAs { id: "drawn", revision: 1 })
            .unwrap_or_else(|refused| panic!("{refused}\n{file:#}"));
        let snapshot = load_for([("drawn.yaml", &imported.bundle)], None, Supported::EVERYTHING).unwrap();
        for _ in 0..150 {
            let (job, beyond) = (draw::job(&mut random), random.u32(..4) == 0);
            let wanted = naive::judge(&file, &job, beyond);
            let (effect, ids) = judge(&snapshot, &job, beyond, &mut scratch);
            let story = || format!("{job:?}, beyond its rates: {beyond}\nfile: {file:#}\nbundle: {}", imported.bundle);
            // A rule that asks for an approval or delays is heard where what it looks at is missing, also before a default.
            let asked = wanted.by_default && !job.complete && effect >= Effect::RequireApproval;
            assert!(effect >= wanted.effect || asked, "{effect} by {ids:?}, but {wanted:?} there\n{}", story());
            if job.complete {
                let named = wanted.rule.as_ref().is_none_or(|rule| ids.contains(rule));
                assert!(effect == wanted.effect && named, "{effect} by {ids:?}, but {wanted:?} there\n{}", story());
                same += 1;
            } else if effect > wanted.effect {
                stricter += 1;
            }
        }
    }
    assert!(same > 10_000 && stricter > 1_000, "{same} compared as equal, {stricter} stricter");
}
