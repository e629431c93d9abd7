//! Which role must be allowed what with which topic, by the one table in `protocol`, and which groups it joins; and what a process lacks
//! of it.
//!
//! A kernel that may read a topic it must write would start, and stand still at its first verdict: so the spine is asked before
//! anything begins. What it does not tell shows when it is tried.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use tidegate_protocol::topics::{Kind, Topic};
use tidegate_spine::{Operation, Rights, Spine, SpineError};

use super::wanted::Wanted;
use crate::roles::{Role, Roles, group};

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
pub(super) const fn variable(role: Role) -> &'static str {
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

/// The groups by which the roles share their shards, of these topics.
pub(super) fn groups(prefix: &str, wanted: &[Wanted]) -> Vec<(Role, String)> {
    let mut groups = vec![(Role::Limits, group(prefix, Role::Limits, None))];
    for one in wanted {
        if let Topic::Decisions(source) = &one.topic {
            groups.push((Role::Kernel, group(prefix, Role::Kernel, Some(source.as_str()))));
        } else if let Topic::Leases(pool) = &one.topic {
            groups.push((Role::Scheduler, group(prefix, Role::Scheduler, Some(pool.as_str()))));
        }
    }
    groups
}

/// What a right is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resource {
    /// A topic.
    Topic,
    /// A consumer group, which has to be joined ([`Operation::Read`]).
    Group,
}

/// A right that a role needs and this process has not.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lacking {
    /// Who needs it.
    pub role: Role,
    /// All that it needs and is not allowed.
    pub operations: BTreeSet<Operation>,
    /// What `name` names.
    pub resource: Resource,
    /// Its full name.
    pub name: String,
}

impl fmt::Display for Lacking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { role, operations, resource, name } = self;
        match resource {
            Resource::Topic => {
                let words: Vec<&str> = operations.iter().map(|operation| operation.word()).collect();
                write!(f, "! {name}: this process may not {}, which the role {role} must", words.join(", "))
            }
            Resource::Group => write!(f, "! group {name}: this process may not join it, which the role {role} must"),
        }
    }
}

/// What the roles of a process lack; shown with the commands that allow it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lack {
    /// Sorted by role and rights.
    pub lacking: Vec<Lacking>,
    /// Of the rights with how many topics the spine said nothing, and why.
    pub untold: Option<(usize, String)>,
    /// Of how many groups.
    pub untold_groups: Option<(usize, String)>,
    /// As whom the process connects, where the configuration says.
    user: Option<String>,
}

impl Lack {
    /// The commands that allow what is lacking, one for all topics, and one for all groups, of a role with the same rights.
    #[must_use]
    pub fn commands(&self) -> Vec<String> {
        let mut alike: BTreeMap<(Role, &BTreeSet<Operation>, Resource), Vec<&str>> = BTreeMap::new();
        for one in &self.lacking {
            alike.entry((one.role, &one.operations, one.resource)).or_default().push(&one.name);
        }
        alike
            .into_iter()
            .map(|((role, operations, resource), names)| self.command(role, operations, resource, &names))
            .collect()
    }

    /// The command that allows one of them.
    #[must_use]
    pub fn command_for(&self, one: &Lacking) -> String {
        self.command(one.role, &one.operations, one.resource, &[&one.name])
    }

    fn command(&self, role: Role, operations: &BTreeSet<Operation>, resource: Resource, names: &[&str]) -> String {
        let who =
            self.user.as_ref().map_or_else(|| format!("\"${}\"", variable(role)), |user| format!("'User:{user}'"));
        let option = match resource {
            Resource::Topic => "topic",
            Resource::Group => "group",
        };
        let operations: String = operations.iter().map(|one| format!(" --operation {}", one.word())).collect();
        let names: String = names.iter().map(|name| format!(" --{option} {name}")).collect();
        format!("kafka-acls.sh --bootstrap-server \"$BOOTSTRAP\" --add --allow-principal {who}{operations}{names}")
    }

    /// Takes down what `told` says is lacking of these needs.
    fn compare(
        &mut self,
        resource: Resource,
        needs: Vec<(String, Needs)>,
        told: Result<Vec<Rights>, SpineError>,
    ) -> Option<(usize, String)> {
        let told = match told {
            Ok(told) => told,
            Err(error) => return Some((needs.len(), error.to_string())),
        };
        let mut untold: Option<(usize, String)> = None;
        for ((name, needs), rights) in needs.into_iter().zip(told) {
            match rights {
                Rights::Told(allowed) => {
                    for (role, needed) in needs {
                        let operations: BTreeSet<_> = needed.difference(&allowed).copied().collect();
                        if !operations.is_empty() {
                            self.lacking.push(Lacking { role, operations, resource, name: name.clone() });
                        }
                    }
                }
                Rights::Untold(why) => untold.get_or_insert((0, why)).0 += 1,
            }
        }
        untold
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

/// What each role needs with one topic or group.
type Needs = Vec<(Role, BTreeSet<Operation>)>;

/// Compares what the roles need with what the spine says this process may do. `prefix`: of the configuration; `user`: as whom it
/// connects, if that is known. A spine that does not answer this question stops nothing.
pub async fn compare(prefix: &str, wanted: &[Wanted], roles: &Roles, user: Option<String>, spine: &dyn Spine) -> Lack {
    let of = |one: &Wanted| -> Needs {
        let all = roles.iter().map(|role| (*role, needed(*role, one)));
        all.filter(|(_, operations)| !operations.is_empty()).collect()
    };
    let needs: Vec<_> =
        wanted.iter().map(|one| (&one.spec.name, of(one))).filter(|(_, needs)| !needs.is_empty()).collect();
    let topics: Vec<_> = needs.iter().map(|(topic, _)| (*topic).clone()).collect();
    let mut lack = Lack { user, ..Lack::default() };
    let needs = needs.into_iter().map(|(topic, needs)| (topic.to_string(), needs)).collect();
    lack.untold = lack.compare(Resource::Topic, needs, spine.rights(&topics).await);
    let own = groups(prefix, wanted).into_iter().filter(|(role, _)| roles.contains(role));
    let needs: Vec<(String, Needs)> =
        own.map(|(role, group)| (group, vec![(role, BTreeSet::from([Operation::Read]))])).collect();
    let names: Vec<String> = needs.iter().map(|(group, _)| group.clone()).collect();
    lack.untold_groups = lack.compare(Resource::Group, needs, spine.group_rights(&names).await);
    lack.lacking.sort();
    lack
}

#[cfg(test)]
#[path = "rights_tests.rs"]
mod tests;
