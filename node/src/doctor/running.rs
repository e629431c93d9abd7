//! A process that looks at itself.

use std::sync::Arc;
use std::time::Duration;

use tidegate_gateway::fleet::Fleet;
use tidegate_gateway::view::View;
use tidegate_protocol::topics::Topic;
use tidegate_spine::{Spine, SpineError};
use tokio::sync::watch;

use super::{Asked, Report, trust, unreached, with_causes, with_topics, with_view};
use crate::config::Config;
use crate::roles::Roles;

/// What a process needs to look at itself. It has all of it already: its own view of the logs is asked, no other is read.
pub(crate) struct Running {
    /// The configuration as it stands; its pools may change.
    pub(crate) config: watch::Receiver<Arc<Config>>,
    /// Its roles: their rights are looked at.
    pub(crate) roles: Roles,
    /// The spine.
    pub(crate) spine: Arc<dyn Spine>,
    /// The jobs.
    pub(crate) view: Arc<View>,
    /// Pools and workers.
    pub(crate) fleet: Arc<Fleet>,
}

impl Running {
    /// Looks at everything; reading the logs may take `patience`.
    pub(crate) async fn examine(&self, write: bool, patience: Duration) -> Report {
        let config = Arc::clone(&self.config.borrow());
        let asked = Asked { roles: self.roles.clone(), write, patience };
        let mut report = Report { reached: true, ..Report::default() };
        let keys = trust::keys(&mut report, &config);
        trust::policy(&mut report, &config, keys.as_ref());
        // Open is what it was at the start: whether anybody answers now is to be asked.
        let asked_for = Topic::Shards.name(&config.prefix).map(|topic| [topic]);
        if let Ok(topic) = &asked_for
            && let Err(error @ SpineError::Unavailable { .. }) = self.spine.describe(topic).await
        {
            unreached(
                &mut report,
                with_causes(&error),
                "see that it is up; what runs waits for it, and goes on when it answers",
            );
            return report;
        }
        report.ok("spine", format!("`{}` is open", self.spine.url()));
        if let Some(wanted) = with_topics(&mut report, &config, &asked, &*self.spine).await {
            with_view(&mut report, &config, &asked, &*self.spine, &wanted, (&self.view, &self.fleet)).await;
        }
        report
    }
}
