//! A spine without a gateway: the logs are read from their start into a view of this process.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidegate_node::gateway::commands::{Commands, Passed};
use tidegate_node::gateway::fleet::{Fleet, Told};
use tidegate_node::gateway::http::{DeadList, LimitList, Line, Lines, PoolList, Refused, WorkerList, job_key};
use tidegate_node::gateway::progress::{Progress, Seen, Signs};
use tidegate_node::gateway::submit::Submitter;
use tidegate_node::gateway::view::{Changes, DeadRecord, Filter, State, Story, View};
use tidegate_node::process::{commands, fleet, follow_view, progress, submitters, view_of};
use tidegate_node::{Config, StartError};
use tidegate_protocol::command::Command;
use tidegate_protocol::ids::{PoolName, TenantId, WorkerId};
use tidegate_protocol::pool_command::PoolCommand;
use tokio::runtime::Runtime;

use super::{Backend, Wanted};
use crate::args::Global;
use crate::commands::{config_of, runtime};
use crate::exit::{Exit, Failure};

pub(crate) struct OnSpine {
    runtime: Runtime,
    submitters: Vec<Submitter>,
    commands: Commands,
    view: Arc<View>,
    fleet: Arc<Fleet>,
    progress: Arc<Progress>,
}

impl OnSpine {
    pub(crate) fn open(global: &Global, url: &str) -> Result<Self, Failure> {
        let mut config: Config = config_of(global)?;
        url.clone_into(&mut config.spine.url);
        let runtime = runtime()?;
        let view = view_of(&config);
        let (submitters, commands, fleet, progress) = runtime.block_on(async {
            let spine = tidegate_node::spine::open(&config.spine).await?;
            // Before the view begins to ask for them again and again.
            let submitters = submitters(&config, &spine).await?;
            let keys = config.keys.read().map_err(StartError::Keys)?;
            follow_view(&config, &spine, &keys, &view).await?;
            view.caught_up().await;
            let fleet = fleet(&config, &spine, &view)?;
            Ok::<_, Failure>((submitters, commands(&config, &spine)?, fleet, progress(&config, &spine)?))
        })?;
        Ok(Self { runtime, submitters, commands, view, fleet, progress })
    }
}

impl OnSpine {
    /// The pool of that name, which the configuration must have.
    fn pool(&self, name: Option<&str>) -> Result<Option<PoolName>, Failure> {
        let pool = name.map(PoolName::new).transpose().map_err(|error| Failure::new(Exit::Data, error))?;
        match pool {
            Some(pool) if !self.fleet.has(&pool) => {
                Err(Failure::say(Exit::Unsuccessful, format!("there is no pool `{pool}` in the configuration")))
            }
            pool => Ok(pool),
        }
    }
}

fn filter(wanted: &Wanted) -> Result<Filter, Failure> {
    let state = match &wanted.state {
        None => None,
        Some(word) => Some(State::from_word(word).ok_or_else(|| {
            let words: Vec<&str> = State::ALL.into_iter().map(State::word).collect();
            Failure::say(Exit::Data, format!("`state` is not one of {}", words.join(", ")))
        })?),
    };
    Ok(Filter { state, tenant: tenant(wanted.tenant.as_deref())? })
}

fn tenant(name: Option<&str>) -> Result<Option<TenantId>, Failure> {
    name.map(TenantId::new).transpose().map_err(|error| Failure::new(Exit::Data, error))
}

impl Backend for OnSpine {
    fn submit(&self, source: Option<&str>, lines: &[Vec<u8>]) -> Result<Lines, Failure> {
        let submitter = match source {
            None => self.submitters.first(),
            Some(name) => self.submitters.iter().find(|s| s.source().name.as_str() == name),
        };
        let submitter = submitter.ok_or_else(|| {
            Failure::say(Exit::Config, "there is no such source in the configuration; correct `--source`")
        })?;
        let jobs = lines.iter().map(|line| Bytes::copy_from_slice(line)).collect();
        let results = self.runtime.block_on(submitter.submit(jobs, super::traceparent().as_deref()));
        let jobs: Vec<Line> = (1..)
            .zip(&results)
            .map(|(line, result)| match result {
                Ok(submitted) => Line { line, submitted: Some(submitted.clone()), refusal: None },
                Err(error) => Line { line, submitted: None, refusal: Some(Refused::from(error).into_body()) },
            })
            .collect();
        let refused = jobs.iter().filter(|line| line.refusal.is_some()).count();
        Ok(Lines { accepted: jobs.len() - refused, jobs, refused })
    }

    fn get(&self, job: &str, of: Option<&str>, wait: Duration) -> Result<Option<Story>, Failure> {
        let refused = |refused: Refused| Failure::say(Exit::Data, refused.into_body().detail);
        let key = job_key(job, tenant(of)?).map_err(refused)?;
        self.runtime.block_on(self.view.ended(&key, wait)).map_err(|error| Failure::new(Exit::Software, error))
    }

    fn list(&self, wanted: &Wanted) -> Result<Changes, Failure> {
        Ok(self.view.list(&filter(wanted)?, wanted.limit))
    }

    fn changes(&self, since: u64, wanted: &Wanted, wait: Duration) -> Result<Changes, Failure> {
        let filter = filter(wanted)?;
        Ok(self.runtime.block_on(self.view.changes(since, &filter, wanted.limit, wait)))
    }

    fn progress(&self, job: &str, of: Option<&str>, since: u64, wait: Duration) -> Result<Option<Signs>, Failure> {
        let refused = |refused: Refused| Failure::say(Exit::Data, refused.into_body().detail);
        let key = job_key(job, tenant(of)?).map_err(refused)?;
        let signs = self.runtime.block_on(self.progress.of(&self.view, &key, Seen { sign: since, change: None }, wait));
        signs.map_err(|error| Failure::new(Exit::Unavailable, error))
    }

    fn limits(&self, of: &str, limit: usize) -> Result<LimitList, Failure> {
        Ok(LimitList { limits: self.view.limits(of, limit) })
    }

    fn pools(&self, only: Option<&str>) -> Result<PoolList, Failure> {
        let only = self.pool(only)?;
        Ok(PoolList { pools: self.runtime.block_on(self.fleet.pools(only.as_ref()))? })
    }

    fn workers(&self, pool: Option<&str>) -> Result<WorkerList, Failure> {
        let only = self.pool(pool)?;
        Ok(WorkerList { workers: self.runtime.block_on(self.fleet.workers(only.as_ref())) })
    }

    fn worker(&self, worker: &str, pool: Option<&str>) -> Result<Option<WorkerList>, Failure> {
        let only = self.pool(pool)?;
        let worker = WorkerId::new(worker).map_err(|error| Failure::new(Exit::Data, error))?;
        let workers = self.runtime.block_on(self.fleet.worker(only.as_ref(), &worker));
        Ok((!workers.is_empty()).then_some(WorkerList { workers }))
    }

    fn tell(&self, _command: &PoolCommand, signed: Vec<u8>) -> Result<Told, Failure> {
        let told = self.runtime.block_on(self.fleet.tell(signed.into()));
        told.map_err(|error| Failure::new(Exit::Unavailable, error))
    }

    fn say(&self, _command: &Command, signed: Vec<u8>) -> Result<Passed, Failure> {
        let passed = self.runtime.block_on(self.commands.pass_on(&self.view, signed.into()));
        passed.map_err(|error| Failure::new(Exit::Unavailable, error))
    }

    fn dead(&self, limit: usize) -> Result<DeadList, Failure> {
        Ok(DeadList { dead: self.view.dead_records(limit) })
    }

    fn dead_record(&self, at: &str) -> Result<Option<DeadRecord>, Failure> {
        Ok(self.view.dead_record(at))
    }
}
