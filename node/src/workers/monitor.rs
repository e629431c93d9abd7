//! Metrics and health of a process that is a worker and nothing else.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tidegate_gateway::http::{self, Health, Readiness};
use tidegate_telemetry::Metrics;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::metrics;
use crate::process::StartError;

/// `/metrics`, `/healthz` and `/readyz` on an address.
pub struct Monitor {
    address: SocketAddr,
    works: Arc<AtomicBool>,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

impl Monitor {
    /// Listens. To be begun before the worker is built: what it counts earlier is not collected.
    ///
    /// # Errors
    /// [`StartError::Listen`], [`StartError::Metrics`].
    pub async fn begin(listen: SocketAddr) -> Result<Self, StartError> {
        let collected = Metrics::install()?;
        metrics::describe();
        let refused = |source| StartError::Listen { address: listen, source };
        let listener = TcpListener::bind(listen).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let works = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&works);
        let readiness = move || {
            let ready = asked.load(Ordering::Relaxed);
            let waits_for = if ready { Vec::new() } else { vec!["the spine is not open".to_owned()] };
            Readiness { ready, waits_for }
        };
        let health = Health { readiness: Box::new(readiness), metrics: Box::new(move || collected.render()) };
        let (stop, stopped) = oneshot::channel();
        let router = http::router(health, None);
        let serving = tokio::spawn(async move {
            let until = async {
                let _ = stopped.await;
            };
            if let Err(error) = http::serve(listener, router, until).await {
                tracing::error!(%error, "HTTP stopped");
            }
        });
        Ok(Self { address, works, stop, serving })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The worker begins: `/readyz` says so from here on.
    pub fn works(&self) {
        self.works.store(true, Ordering::Relaxed);
        metrics::workers(1.0);
    }

    /// Stops listening. A request that is under way is not waited for: nothing depends on it.
    pub fn end(self) {
        let _ = self.stop.send(());
        self.serving.abort();
    }
}
