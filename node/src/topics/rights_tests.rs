use std::future::ready;

use futures::executor::block_on;
use futures::future::BoxFuture;
use tidegate_protocol::address::TopicName;
use tidegate_protocol::topics::TABLE;
use tidegate_spine::Layer;

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
    let of = |resource, role, operations: &[Operation], name: &str| Lacking {
        role,
        operations: operations.iter().copied().collect(),
        resource,
        name: name.into(),
    };
    let lacking = |role, operations: &[Operation], topic: &str| of(Resource::Topic, role, operations, topic);
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
    lack.lacking =
        vec![of(Resource::Group, Role::Kernel, &[read], "t.kernel.a"), lacking(Role::Kernel, &[read], "t.a")];
    assert_eq!(
        lack.commands(),
        [
            format!("{command} \"$KERNEL\" --operation Read --topic t.a"),
            format!("{command} \"$KERNEL\" --operation Read --group t.kernel.a"),
        ]
    );
    let group = "! group t.kernel.a: this process may not join it, which the role kernel must";
    assert!(lack.to_string().starts_with(group), "{lack}");
    lack.lacking = vec![lacking(Role::Kernel, &[write], "t.denied")];
    lack.user = Some("ada".into());
    assert!(lack.to_string().contains("--allow-principal 'User:ada' --operation Write"), "{lack}");
}

#[test]
fn a_kernel_writes_verdicts_and_a_gateway_need_not_write_what_is_adopted() {
    let folder = tempfile::tempdir().unwrap();
    let config =
        "prefix: t.\nsources: [{ name: a, tenants: { constant: x } }]\npools: [{ name: p, capabilities: [c] }]\n";
    let config = Config::parse("test", config).unwrap();
    let spine = tidegate_embedded::EmbeddedSpine::open(tidegate_embedded::EmbeddedOptions::new(folder.path())).unwrap();
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
    let lack = block_on(compare("t.", &all, &Role::ALL.into(), None, &spine));
    assert_eq!(lack, Lack::default());
}

/// Answers about rights like this, and about nothing else.
struct Says {
    inner: tidegate_embedded::EmbeddedSpine,
    topics: Result<Rights, SpineError>,
    groups: Result<Rights, SpineError>,
}

impl Layer for Says {
    fn behind(&self) -> &dyn Spine {
        &self.inner
    }

    fn rights<'a>(&'a self, topics: &'a [TopicName]) -> BoxFuture<'a, Result<Vec<Rights>, SpineError>> {
        Box::pin(ready(self.topics.clone().map(|rights| vec![rights; topics.len()])))
    }

    fn group_rights<'a>(&'a self, groups: &'a [String]) -> BoxFuture<'a, Result<Vec<Rights>, SpineError>> {
        Box::pin(ready(self.groups.clone().map(|rights| vec![rights; groups.len()])))
    }
}

#[test]
fn what_the_broker_does_not_tell_is_counted_and_stops_nothing_and_what_it_forbids_does() {
    let folder = tempfile::tempdir().unwrap();
    let config =
        "prefix: t.\nsources: [{ name: a, tenants: { constant: x } }, { name: b, tenants: { constant: x } }]\n";
    let config = Config::parse("test", config).unwrap();
    let options = tidegate_embedded::EmbeddedOptions::new(folder.path());
    let inner = tidegate_embedded::EmbeddedSpine::open(options).unwrap();
    let untold = || Ok(Rights::Untold("an old broker".into()));
    let mut spine = Says { inner, topics: untold(), groups: untold() };
    let roles = Roles::from([Role::Kernel]);
    let all = of_roles(block_on(wanted(&config, &spine)).unwrap(), &roles);
    let lack = |spine: &Says| block_on(compare("t.", &all, &roles, None, spine));
    let allowed = |spine: &Says| block_on(crate::process::allowed(&config, &all, spine, &roles));
    let found = lack(&spine);
    let told = |n: usize| Some((n, "an old broker".to_owned()));
    // One group for each source.
    assert_eq!((found.untold, found.untold_groups, found.lacking.len()), (told(all.len()), told(2), 0));
    allowed(&spine).unwrap();
    // Nor does one that does not understand the question.
    let refused = SpineError::Invalid { spine: "s".into(), reason: "unsupported".into() };
    (spine.topics, spine.groups) = (Err(refused.clone()), Err(refused.clone()));
    let found = lack(&spine);
    let told = |n: usize| Some((n, refused.to_string()));
    assert_eq!((found.untold, found.untold_groups, found.lacking.len()), (told(all.len()), told(2), 0));
    allowed(&spine).unwrap();
    // What is said counts, whatever else is not.
    spine.groups = Ok(Rights::Told(BTreeSet::new()));
    let found = lack(&spine);
    let names: Vec<&str> = found.lacking.iter().map(|one| one.name.as_str()).collect();
    assert_eq!((found.untold_groups.is_none(), names), (true, vec!["t.kernel.a", "t.kernel.b"]));
    let refused = allowed(&spine).unwrap_err().to_string();
    assert!(refused.ends_with("--operation Read --group t.kernel.a --group t.kernel.b"), "{refused}");
}
