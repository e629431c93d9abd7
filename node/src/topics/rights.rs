//! Which role must be allowed what with which topic, by the one table in `protocol`; and what a process lacks of it.
//!
//! A kernel that may read a topic it must write would start, and stand still at its first verdict: so the spine is asked before
//! anything begins. What it does not tell shows when it is tried.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use tidegate_protocol::topics::{Kind, Topic};
use tidegate_spine::{Operation, Rights, Spine};

use super::wanted::Wanted;
use crate::roles::{Role, Roles};

/// Who connects, by the variable that holds the principal.
pub(super) const ROLES: [(&str, &[&str]); 7] = [
    ("KERNEL", &["kernel", "all stages"]),
    ("LIMITS", &["limits", "all stages"]),
    ("SCHEDULER", &["scheduler", "all stages"]),
    ("GATEWAY", &["gateway", "people", "workers", "workers of the pool"]),
    ("WORKER", &["workers", "workers of the pool"]),
    ("OPERATOR", &["cli", "audit", "operators", "people", "topics apply"]),
    ("SUBMITTER", &["submitters", "anyone allowed"]),
];

/// The roles that a column of the table names.
fn roles(column: &str) -> impl Iterator<Item = &'static str> + '_ {
    let named = |words: &[&str]| column.split(", ").any(|word| words.contains(&word));
    ROLES.into_iter().filter(move |(_, words)| named(words)).map(|(role, _)| role)
}

/// Who may do what with a topic.
pub(super) fn may(one: &Wanted) -> BTreeSet<(&'static str, Operation)> {
    let row = one.topic.row();
    // A stage reads back what it writes: fences, its own facts, its snapshots.
    let stage = |role: &str| row.sealed && ["KERNEL", "LIMITS", "SCHEDULER"].contains(&role);
    let mut may = BTreeSet::new();
    for role in roles(row.writers) {
        may.insert((role, Operation::Write));
        if stage(role) {
            may.insert((role, Operation::Read));
        }
    }
    for role in roles(row.readers) {
        may.insert((role, Operation::Read));
        if matches!(row.kind, Kind::Backlog) && !one.foreign {
            // Its reader trims it.
            may.insert((role, Operation::Delete));
        }
    }
    if row.writers == "anyone allowed" {
        may.insert(("GATEWAY", Operation::Write));
    }
    // `dead` is shown whole, with the bytes of its records; and of what waits, when its first record came.
    if row.readers == "operators" || matches!(one.topic, Topic::Approved(_) | Topic::Overflow(_)) {
        may.insert(("GATEWAY", Operation::Read));
    }
    may
}

/// The role among [`ROLES`].
const fn variable(role: Role) -> &'static str {
    match role {
        Role::Kernel => "KERNEL",
        Role::Limits => "LIMITS",
        Role::Scheduler => "SCHEDULER",
        Role::Gateway => "GATEWAY",
    }
}

/// Whether one of these roles reads or writes a topic. A process asks for no other: beside consumers of one's own, kernels alone need no
/// topic of a pool but those they write.
fn is_of(one: &Wanted, roles: &Roles) -> bool {
    let may = may(one);
    roles.iter().any(|role| may.iter().any(|(who, _)| *who == variable(*role)))
}

/// The topics that these roles read or write.
#[must_use]
pub fn of_roles(mut wanted: Vec<Wanted>, roles: &Roles) -> Vec<Wanted> {
    wanted.retain(|one| is_of(one, roles));
    wanted
}

/// What `role` must be allowed with a topic.
fn needed(role: Role, one: &Wanted) -> BTreeSet<Operation> {
    let own = may(one).into_iter().filter(|(who, _)| *who == variable(role)).map(|(_, operation)| operation);
    // Whether jobs may be submitted to an adopted topic over HTTP is for whoever made it to say.
    own.filter(|operation| !(one.foreign && role == Role::Gateway && *operation == Operation::Write)).collect()
}

/// A right that a role needs and this process has not.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lacking {
    /// Who needs it.
    pub role: Role,
    /// All that it needs with the topic and is not allowed.
    pub operations: BTreeSet<Operation>,
    /// The topic's full name.
    pub topic: String,
}

impl fmt::Display for Lacking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<&str> = self.operations.iter().map(|operation| operation.word()).collect();
        write!(f, "! {}: this process may not {}, which the role {} must", self.topic, words.join(", "), self.role)
    }
}

/// What the roles of a process lack; shown with the commands that allow it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lack {
    /// Sorted by role and rights.
    pub lacking: Vec<Lacking>,
    /// Of the rights with how many topics the spine said nothing, and why.
    pub untold: Option<(usize, String)>,
    /// As whom the process connects, where the configuration says.
    user: Option<String>,
}

impl Lack {
    /// The commands that allow what is lacking, one for all topics of a role with the same rights.
    #[must_use]
    pub fn commands(&self) -> Vec<String> {
        let mut alike: BTreeMap<(Role, &BTreeSet<Operation>), Vec<&str>> = BTreeMap::new();
        for one in &self.lacking {
            alike.entry((one.role, &one.operations)).or_default().push(&one.topic);
        }
        alike.into_iter().map(|((role, operations), topics)| self.command(role, operations, &topics)).collect()
    }

    /// The command that allows one of them.
    #[must_use]
    pub fn command_for(&self, one: &Lacking) -> String {
        self.command(one.role, &one.operations, &[&one.topic])
    }

    fn command(&self, role: Role, operations: &BTreeSet<Operation>, topics: &[&str]) -> String {
        let who =
            self.user.as_ref().map_or_else(|| format!("\"${}\"", variable(role)), |user| format!("'User:{user}'"));
        let operations: String = operations.iter().map(|one| format!(" --operation {}", one.word())).collect();
        let topics: String = topics.iter().map(|topic| format!(" --topic {topic}")).collect();
        format!("kafka-acls.sh --bootstrap-server \"$BOOTSTRAP\" --add --allow-principal {who}{operations}{topics}")
    }
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for one in &self.lacking {
            writeln!(f, "{one}")?;
        }
        f.write_str("whoever looks after the broker allows it by\n")?;
        f.write_str(&self.commands().join("\n"))
    }
}

/// Compares what the roles need with what the spine says this process may do. `user`: as whom it connects, if that is known.
/// A spine that does not answer this question stops nothing.
pub async fn compare(wanted: &[Wanted], roles: &Roles, user: Option<String>, spine: &dyn Spine) -> Lack {
    let of = |one: &Wanted| -> Vec<(Role, BTreeSet<Operation>)> {
        let all = roles.iter().map(|role| (*role, needed(*role, one)));
        all.filter(|(_, operations)| !operations.is_empty()).collect()
    };
    let needs: Vec<_> =
        wanted.iter().map(|one| (&one.spec.name, of(one))).filter(|(_, needs)| !needs.is_empty()).collect();
    let topics: Vec<_> = needs.iter().map(|(topic, _)| (*topic).clone()).collect();
    let mut lack = Lack { user, ..Lack::default() };
    let told = match spine.rights(&topics).await {
        Ok(told) => told,
        Err(error) => {
            lack.untold = Some((topics.len(), error.to_string()));
            return lack;
        }
    };
    for ((topic, needs), rights) in needs.into_iter().zip(told) {
        match rights {
            Rights::Told(allowed) => {
                for (role, needed) in needs {
                    let operations: BTreeSet<_> = needed.difference(&allowed).copied().collect();
                    if !operations.is_empty() {
                        lack.lacking.push(Lacking { role, operations, topic: topic.to_string() });
                    }
                }
            }
            Rights::Untold(why) => lack.untold.get_or_insert((0, why)).0 += 1,
        }
    }
    lack.lacking.sort();
    lack
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;
    use tidegate_protocol::topics::TABLE;

    use super::*;
    use crate::config::Config;
    use crate::topics::wanted;

    /// A word that no role stands for would be a right that nobody is given.
    #[test]
    fn every_reader_and_writer_of_the_table_is_somebody() {
        let known: Vec<&str> = ROLES.iter().flat_map(|(_, words)| words.iter().copied()).chain(["workflows"]).collect();
        for row in TABLE {
            for word in row.writers.split(", ").chain(row.readers.split(", ")) {
                assert!(known.contains(&word), "`{word}` of `{}` is no role", row.name);
            }
        }
    }

    #[test]
    fn what_a_role_lacks_is_named_with_the_command_that_allows_it() {
        let lacking = |role, operations: &[Operation], topic: &str| Lacking {
            role,
            operations: operations.iter().copied().collect(),
            topic: topic.into(),
        };
        let (read, write) = (Operation::Read, Operation::Write);
        let mut lack = Lack {
            lacking: vec![
                lacking(Role::Kernel, &[read, write], "t.decisions.a"),
                lacking(Role::Kernel, &[write], "t.denied"),
                lacking(Role::Kernel, &[write], "t.held"),
            ],
            ..Lack::default()
        };
        let shown = lack.to_string();
        assert!(
            shown.starts_with(
                "! t.decisions.a: this process may not Read, Write, which the role kernel must\n! t.denied: this process may not Write"
            ),
            "{shown}"
        );
        let command = "kafka-acls.sh --bootstrap-server \"$BOOTSTRAP\" --add --allow-principal";
        assert_eq!(
            lack.commands(),
            [
                format!("{command} \"$KERNEL\" --operation Read --operation Write --topic t.decisions.a"),
                format!("{command} \"$KERNEL\" --operation Write --topic t.denied --topic t.held"),
            ]
        );
        lack.user = Some("ada".into());
        assert!(lack.to_string().contains("--allow-principal 'User:ada' --operation Write"), "{lack}");
    }

    #[test]
    fn a_kernel_writes_verdicts_and_a_gateway_need_not_write_what_is_adopted() {
        let folder = tempfile::tempdir().unwrap();
        let config =
            "prefix: t.\nsources: [{ name: a, tenants: { constant: x } }]\npools: [{ name: p, capabilities: [c] }]\n";
        let config = Config::parse("test", config).unwrap();
        let spine =
            tidegate_embedded::EmbeddedSpine::open(tidegate_embedded::EmbeddedOptions::new(folder.path())).unwrap();
        let all = block_on(wanted(&config, &spine)).unwrap();
        let one = |topic: &str| all.iter().find(|one| one.spec.name.as_str() == topic).unwrap();
        let (read, write, delete) = (Operation::Read, Operation::Write, Operation::Delete);
        assert_eq!(needed(Role::Kernel, one("t.decisions.a")), [read, write].into());
        assert_eq!(needed(Role::Kernel, one("t.approved.p")), [read, write].into());
        assert_eq!(needed(Role::Scheduler, one("t.approved.p")), [read, delete].into());
        assert_eq!(needed(Role::Kernel, one("t.leases.p")), [].into());
        let raw = one("t.a");
        assert_eq!(needed(Role::Gateway, raw), [write].into());
        assert_eq!(needed(Role::Gateway, &Wanted { foreign: true, ..raw.clone() }), [].into());
        // Whoever is allowed everything lacks nothing.
        let lack = block_on(compare(&all, &Role::ALL.into(), None, &spine));
        assert_eq!(lack, Lack::default());
    }
}
