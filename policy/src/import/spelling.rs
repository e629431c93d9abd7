//! Names are compared exactly here, there without regard to case and blanks around them. So that no spelling leads around
//! a rule, a job that spells a name the file lists in another way is denied.

use super::file::Safety;
use super::rule::Wants;
use super::terms::{list, lower};

/// The rules `(what of, when)` that deny other spellings. Packs' ids are no submitter's to choose; claimed tags and what a
/// job requires are, but who may leave them out need not misspell them.
pub(super) fn rules(safety: &Safety) -> Vec<(&'static str, String)> {
    let own: Vec<&str> = safety.tenants.iter().map(|tenant| tenant.name.as_str()).collect();
    let mut rules = Vec::new();
    let single = [
        ("tenants", "job.tenant", listed(safety, &own, |wants| &wants.tenants)),
        ("capabilities", "job.capability", listed(safety, &[], |wants| &wants.capabilities)),
        ("actor_ids", "job.actor.id", listed(safety, &[], |wants| &wants.actor_ids)),
        ("actor_types", "job.actor.type", listed(safety, &[], |wants| &wants.actor_types)),
    ];
    for (what, name, names) in single {
        if !names.is_empty() {
            rules.push((what, format!("has({name}) && ({})", otherwise(name, &names))));
        }
    }
    rules
}

/// Every name listed, each once.
fn listed(safety: &Safety, own: &[&str], of: impl Fn(&Wants) -> &Vec<String>) -> Vec<String> {
    let listed = safety.rules.iter().flat_map(|rule| of(&rule.wants)).map(String::as_str);
    let mut names: Vec<String> = listed.chain(own.iter().copied()).map(str::to_owned).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// It is one of the names in another spelling.
fn otherwise(name: &str, names: &[String]) -> String {
    let blanks = format!("{name}.startsWith(\" \") || {name}.endsWith(\" \")");
    format!("{blanks} || ({name}.lowerAscii() in {} && !({name} in {}))", list(&lower(names)), list(names))
}
