//! What each role must be allowed to ([`rights`](crate::topics::rights)), as `kafka-acls.sh` commands: a principal a role, so that a stolen worker's password
//! writes no decisions. (Whoever gets past this still has to sign: see `keys`.)

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::topics::Wanted;
use crate::topics::rights::{ROLES, groups, may, variable};

/// The group under which every client of ours reads: none is joined, but the client asks where it is.
const READERS: &str = "tidegate-readers";

/// One call.
fn allow(out: &mut String, role: &str, operations: &[&str], kind: &str, names: &[&str]) {
    let operations: String = operations.iter().map(|what| format!(" --operation {what}")).collect();
    let names: String = names.iter().map(|name| format!(" --{kind} {name}")).collect();
    // Writing to a String cannot fail.
    let _ = writeln!(out, "allow \"${role}\"{operations}{names}");
}

pub(super) fn script(prefix: &str, wanted: &[Wanted]) -> String {
    let mut out = String::from(
        "#!/bin/sh\n# Set BOOTSTRAP, and a principal for each role, e.g. KERNEL=User:tidegate-kernel; roles may share one.\n\
         # The gateway submits jobs, and joins pools for workers that pull over HTTP.\nset -e\n\
         allow() { # principal, further arguments\n  who=$1; shift\n  \
         kafka-acls.sh --bootstrap-server \"$BOOTSTRAP\" --add --allow-principal \"$who\" \"$@\"\n}\n",
    );
    // One call for all topics of a role with the same rights: each starts a JVM.
    let mut rights: BTreeMap<(usize, Vec<&str>), Vec<&str>> = BTreeMap::new();
    for one in wanted {
        let may = may(one);
        for (number, (role, _)) in ROLES.into_iter().enumerate() {
            let operations: Vec<&str> =
                may.iter().filter(|(who, _)| *who == role).map(|(_, what)| what.word()).collect();
            if !operations.is_empty() {
                rights.entry((number, operations)).or_default().push(one.spec.name.as_str());
            }
        }
    }
    for ((number, operations), topics) in rights {
        let role = ROLES.get(number).map_or("", |(role, _)| role);
        allow(&mut out, role, &operations, "topic", &topics);
    }
    let all: Vec<&str> = wanted.iter().map(|one| one.spec.name.as_str()).collect();
    for (role, _) in ROLES.into_iter().filter(|(role, _)| *role != "SUBMITTER") {
        // Every process compares its topics with its configuration when it starts, and `doctor` looks at all.
        allow(&mut out, role, &["Describe", "DescribeConfigs"], "topic", &all);
        allow(&mut out, role, &["Read"], "group", &[READERS]);
    }
    for (role, group) in groups(prefix, wanted) {
        allow(&mut out, variable(role), &["Read"], "group", &[&group]);
    }
    let _ = writeln!(out, "allow \"$OPERATOR\" --operation Create --operation AlterConfigs --cluster");
    out
}
