//! Pools that change while a process runs: added, set otherwise, drained, taken out. Everything else of the configuration wants a
//! restart, and so does what is fixed for a pool's life; then nothing changes at all.
//!
//! | what differs | what follows |
//! |---|---|
//! | a pool is added | its topics are looked for; the limits lend to it, when it has several shards; its schedulers begin, then kernels send to it |
//! | capabilities, topics, `draining`, the order of pools | kernels send otherwise |
//! | anything under `scheduling` | its shards are taken over again and scheduled so |
//! | a pool that was draining, and of which nothing is left here, is taken out | kernels know it no longer, still nothing is left, then its schedulers end |
//!
//! A kernel may write only to what its claim names, and a scheduler's terms are those it began with; so a change is a change of
//! owner of the shards it is about, within the process: nothing is lost or doubled by it, and it takes as long as any.
//!
//! The HTTP API knows the new pools at once: it reads the facts of one that is added from their start.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use futures::future::join_all;
use serde_json::Value;
use tidegate_kernel::Routes;
use tidegate_protocol::ids::PoolName;

use crate::config::{Config, PoolConfig, Written};
use crate::process::StartError;
use crate::roles::{Ground, Left, LimitsHosting, PoolHosting, Role, Roles, SourceHosting, StandsStill, sources_of};
use crate::topics::rights::of_roles;
use crate::topics::{apply, plan, wanted};

/// Why a configuration is not taken over by a process that runs. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum ReloadRefused {
    /// It differs in more than its pools.
    #[error("{sections} differ from what this process began with; only `pools` can change while it runs: restart it")]
    Elsewhere {
        /// Names of the sections.
        sections: String,
    },
    /// A number that is fixed for the pool's life.
    #[error(
        "pool `{pool}` has {is} {field}, which cannot become {wanted}: that is fixed for its life; make a pool of another name and drain this"
    )]
    Fixed {
        /// The pool.
        pool: PoolName,
        /// The field.
        field: &'static str,
        /// As it is.
        is: u32,
        /// As it was to be.
        wanted: u32,
    },
    /// A pool that takes jobs is gone.
    #[error("pool `{pool}` is gone from the configuration, but takes jobs: let it drain first (`draining: true`)")]
    NotDrained {
        /// The pool.
        pool: PoolName,
    },
    /// A pool that is gone still has jobs, for which no end would come.
    #[error(
        "pool `{pool}` is gone from the configuration, but has {left}: write it down again with `draining: true` until it is empty (`tidegate pools show {pool}`)"
    )]
    NotEmpty {
        /// The pool.
        pool: PoolName,
        /// What it has.
        left: Left,
    },
    /// The topics are not there, or cannot be looked at; or a role cannot begin.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// What changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// Pools that are new.
    pub added: Vec<PoolName>,
    /// Pools that are scheduled otherwise.
    pub retuned: Vec<PoolName>,
    /// Pools that are gone.
    pub removed: Vec<PoolName>,
    /// Whether kernels send otherwise.
    pub rerouted: bool,
    /// Shards that were let go and cannot be taken over again as the configuration is now.
    pub stand_still: Vec<StandsStill>,
}

impl Reloaded {
    /// Whether nothing did.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Reloaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |pools: &[PoolName]| pools.iter().map(PoolName::as_str).collect::<Vec<_>>().join(", ");
        let told = [("added", &self.added), ("scheduled otherwise", &self.retuned), ("removed", &self.removed)];
        let mut said: Vec<String> = told
            .iter()
            .filter(|(_, all)| !all.is_empty())
            .map(|(what, all)| format!("{what}: {}", names(all)))
            .collect();
        if self.rerouted {
            said.push("kernels send by the new pools".to_owned());
        }
        said.extend(self.stand_still.iter().map(ToString::to_string));
        f.write_str(&if said.is_empty() { "nothing differs".to_owned() } else { said.join("; ") })
    }
}

/// How `new` differs from what a process runs with.
///
/// # Errors
/// [`ReloadRefused`], but for what the spine says.
fn difference(old: &Config, new: &Config) -> Result<Reloaded, ReloadRefused> {
    let sections = elsewhere(&old.written, &new.written);
    if !sections.is_empty() {
        return Err(ReloadRefused::Elsewhere { sections: sections.join(", ") });
    }
    let of = |config: &Config| -> BTreeMap<PoolName, PoolConfig> {
        config.pools.iter().map(|pool| (pool.name().clone(), pool.clone())).collect()
    };
    let (before, after) = (of(old), of(new));
    let mut change = Reloaded::default();
    for (name, pool) in &before {
        let Some(becomes) = after.get(name) else {
            if !pool.route.draining {
                return Err(ReloadRefused::NotDrained { pool: name.clone() });
            }
            change.removed.push(name.clone());
            continue;
        };
        let numbers = [
            ("shards", pool.shards, becomes.shards),
            ("buckets", pool.route.buckets, becomes.route.buckets),
            // Later jobs of an ordering key, second ones of an id, and withdrawals must meet the jobs before them.
            ("tenant_buckets", pool.route.tenant_buckets, becomes.route.tenant_buckets),
            ("lanes", pool.lanes, becomes.lanes),
        ];
        if let Some((field, is, wanted)) = numbers.into_iter().find(|(_, is, wanted)| is != wanted) {
            return Err(ReloadRefused::Fixed { pool: name.clone(), field, is, wanted });
        }
        if pool.tuning != becomes.tuning {
            change.retuned.push(name.clone());
        }
    }
    change.added = after.keys().filter(|name| !before.contains_key(*name)).cloned().collect();
    let routes = |config: &Config| config.pools.iter().map(|pool| pool.route.clone()).collect::<Vec<_>>();
    change.rerouted = routes(old) != routes(new);
    Ok(change)
}

/// Names of the sections beside `pools` that differ.
fn elsewhere(old: &Written, new: &Written) -> Vec<String> {
    let sections = |written: &Written| match serde_json::to_value(written) {
        Ok(Value::Object(all)) => all,
        // What was read can be written; without it everything counts as different.
        Ok(_) | Err(_) => serde_json::Map::new(),
    };
    let (old, new) = (sections(old), sections(new));
    let differs = |(name, value): (&String, &Value)| {
        (name != "pools" && old.get(name) != Some(value)).then(|| format!("`{name}`"))
    };
    new.iter().filter_map(differs).collect()
}

/// Where kernels send by this configuration.
fn routes_of(config: &Config) -> Result<Arc<Routes>, StartError> {
    let made = |reason: String| crate::roles::RoleError::Made { role: Role::Kernel, reason };
    Ok(Arc::new(config.routes().map_err(|error| StartError::Role(made(error.to_string())))?))
}

/// What of a running process follows its pools.
pub(crate) struct Hosted<'a> {
    pub(crate) ground: &'a Ground,
    pub(crate) roles: &'a Roles,
    pub(crate) kernels: &'a [SourceHosting],
    pub(crate) limits: Option<&'a LimitsHosting>,
    pub(crate) pools: &'a mut BTreeMap<PoolName, PoolHosting>,
}

impl Hosted<'_> {
    /// Takes the pools of `new` over from those of `old`.
    pub(crate) async fn reload(mut self, old: &Config, new: &Config) -> Result<Reloaded, ReloadRefused> {
        let change = difference(old, new)?;
        if change.is_nothing() {
            return Ok(change);
        }
        self.are_empty(old, &change.removed).await?;
        self.topics(new).await?;
        let routes = routes_of(new)?;
        let closes = !change.removed.is_empty();
        if closes {
            self.close(old, &change.removed).await?;
        }
        let taken = self.take_over(new, change, &routes).await;
        if closes && taken.is_err() {
            self.send_as_before(old).await?;
        }
        taken
    }

    /// Begins, changes and ends what the change is about. What can fail comes first: after an error pools are as they were.
    async fn take_over(
        &mut self,
        new: &Config,
        mut change: Reloaded,
        routes: &Arc<Routes>,
    ) -> Result<Reloaded, ReloadRefused> {
        let pool = |name: &PoolName| new.pools.iter().find(|pool| pool.name() == name);
        // First: what a shard asks of limits that do not know its pool is refused, and it waits for long before it asks again.
        if let Some(limits) = self.limits
            && change.added.iter().filter_map(pool).any(PoolConfig::borrows)
        {
            change.stand_still.extend(limits.lend_to(new).await.map_err(StartError::Role)?);
        }
        if self.roles.contains(&Role::Scheduler) {
            let sources = sources_of(self.ground).await.map_err(StartError::Role)?;
            // All that can fail comes first.
            let mut tuned = Vec::new();
            for name in &change.retuned {
                if let (Some(hosting), Some(pool)) = (self.pools.get(name), pool(name)) {
                    tuned.push((name.clone(), hosting.tuned(pool, &sources).map_err(StartError::Role)?));
                }
            }
            let mut begun: Vec<(PoolName, PoolHosting)> = Vec::new();
            for pool in change.added.iter().filter_map(pool) {
                match PoolHosting::begin(self.ground, pool, &sources).await {
                    Ok(hosting) => begun.push((pool.name().clone(), hosting)),
                    Err(error) => {
                        for (_, hosting) in begun {
                            hosting.stop().await;
                        }
                        return Err(StartError::Role(error).into());
                    }
                }
            }
            self.pools.extend(begun);
            let hostings = &*self.pools;
            let retuned = tuned.into_iter().filter_map(|(name, tuned)| Some(hostings.get(&name)?.retune(tuned)));
            change.stand_still.extend(join_all(retuned).await.into_iter().flatten());
        }
        if change.rerouted {
            change.stand_still.extend(self.reroute(routes).await);
        }
        for name in &change.removed {
            if let Some(hosting) = self.pools.remove(name) {
                hosting.stop().await;
            }
        }
        Ok(change)
    }

    /// Kernels send to these pools no longer. A child of a job that has ended there meanwhile may have been judged into one between the
    /// look before and this: so what is there is looked at once more, and where it is something the kernels send as before.
    async fn close(&self, old: &Config, removed: &[PoolName]) -> Result<(), ReloadRefused> {
        let mut without = old.clone();
        without.pools.retain(|pool| !removed.contains(pool.name()));
        self.reroute(&routes_of(&without)?).await;
        let empty = self.are_empty(old, removed).await;
        if empty.is_err() {
            self.send_as_before(old).await?;
        }
        empty
    }

    /// Kernels send as they did: the change is not taken over.
    async fn send_as_before(&self, old: &Config) -> Result<(), StartError> {
        for still in self.reroute(&routes_of(old)?).await {
            tracing::error!(%still, "after a pool could not be taken out");
        }
        Ok(())
    }

    /// Kernels send by these routes.
    async fn reroute(&self, routes: &Arc<Routes>) -> Vec<StandsStill> {
        let rerouted = self.kernels.iter().map(|hosting| hosting.reroute(routes));
        join_all(rerouted).await.into_iter().flatten().collect()
    }

    /// Nothing is left in these pools, as far as this process sees it: other processes may have shards of them, and what is on
    /// its way between kernels and schedulers is in neither.
    async fn are_empty(&self, old: &Config, removed: &[PoolName]) -> Result<(), ReloadRefused> {
        for pool in old.pools.iter().filter(|pool| removed.contains(pool.name())) {
            let name = pool.name();
            let left = match self.pools.get(name) {
                Some(hosting) => Some(hosting.left(pool).await?),
                None => None,
            };
            match left {
                Some(left) if !left.is_nothing() => return Err(ReloadRefused::NotEmpty { pool: name.clone(), left }),
                Some(left) if !left.is_partial() => {}
                Some(_) | None => tracing::error!(
                    pool = %name,
                    "a pool is taken out, and this process does not see all of it: that nothing is left in it has to be seen before in `tidegate pools show` and its shards' `tidegate_scheduler_delayed_jobs`; jobs that are left wait without an end until it is there again"
                ),
            }
        }
        Ok(())
    }

    /// The topics of all pools that the roles here read or write are there. On the embedded spine nobody else could make them meanwhile, so
    /// they are made, all of them.
    async fn topics(&self, new: &Config) -> Result<(), StartError> {
        let spine = &*self.ground.spine;
        let embedded = spine.url().starts_with("embedded:");
        let all = wanted(new, spine).await?;
        let asked = if embedded { all } else { of_roles(all, self.roles) };
        let plan = plan(asked, spine).await.map_err(StartError::Look)?;
        if plan.is_clean() {
            return crate::process::allowed(new, &plan.wanted, spine, self.roles).await;
        }
        if !embedded || !plan.can_be_applied() {
            return Err(StartError::Topics { plan: Box::new(plan) });
        }
        Ok(apply(&plan, spine).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(pools: &str) -> Config {
        Config::parse("test", &format!("prefix: t.\n{pools}")).unwrap()
    }

    const A: &str = "pools:\n  - { name: a, capabilities: [x] }\n";

    #[test]
    fn what_differs_is_told_and_what_cannot_change_is_refused_with_its_reason() {
        let before = config(A);
        let tells = |pools: &str| difference(&before, &config(pools));
        assert!(tells(A).unwrap().is_nothing());
        let added = tells(&format!("{A}  - {{ name: b, capabilities: [x] }}\n")).unwrap();
        assert_eq!(added.to_string(), "added: b; kernels send by the new pools");
        let retuned = tells("pools:\n  - { name: a, capabilities: [x], scheduling: { max_attempts: 2 } }\n").unwrap();
        assert_eq!(retuned.to_string(), "scheduled otherwise: a");
        let drained = tells("pools:\n  - { name: a, capabilities: [x], draining: true }\n").unwrap();
        assert_eq!(drained.to_string(), "kernels send by the new pools");
        for field in ["shards: 2", "buckets: 8", "tenant_buckets: 2", "lanes: 3"] {
            let refused = tells(&format!("pools:\n  - {{ name: a, capabilities: [x], {field} }}\n")).unwrap_err();
            assert!(refused.to_string().contains("fixed for its life"), "{refused}");
        }
        let gone = tells("pools: [{ name: b, capabilities: [x] }]\n").unwrap_err();
        assert!(gone.to_string().contains("let it drain first"), "{gone}");
        let other = tells(&format!("{A}listen: 127.0.0.1:1\npolicy: elsewhere\n")).unwrap_err();
        assert!(other.to_string().starts_with("`listen`, `policy` differ"), "{other}");
        let drained =
            config("pools:\n  - { name: a, capabilities: [x], draining: true }\n  - { name: b, capabilities: [x] }\n");
        let gone = difference(&drained, &config("pools: [{ name: b, capabilities: [x] }]\n")).unwrap();
        assert_eq!(gone.to_string(), "removed: a; kernels send by the new pools");
    }

    #[test]
    fn a_shard_that_stands_still_after_a_change_is_told_with_it() {
        let still = StandsStill { role: Role::Kernel, shard: 3, reason: "no key".to_owned() };
        let change = Reloaded { rerouted: true, stand_still: vec![still], ..Reloaded::default() };
        let told = "kernels send by the new pools; shard 3 of role kernel stands still: no key";
        assert_eq!(change.to_string(), told);
    }
}
