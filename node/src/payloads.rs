//! The store of payloads that are kept beside the log, as the configuration says.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tidegate_blobs::{Folder, Redis, Store};

use crate::config::{Config, KeptIn};
use crate::process::StartError;

/// How often a folder is looked through for what is over.
const SWEEP_EVERY: Duration = Duration::from_secs(600);

/// The store, where there is one. A Redis need not be there yet.
///
/// # Errors
/// [`StartError::Payloads`]: it cannot be used.
pub fn store(config: &Config) -> Result<Option<Arc<dyn Store>>, StartError> {
    let payloads = &config.payloads;
    let refused = |reason: String| StartError::Payloads { reason };
    Ok(match &payloads.kept_in {
        None => None,
        Some(KeptIn::Folder(path)) => {
            let folder = Folder::open(path, payloads.max_bytes).map_err(|error| refused(error.to_string()))?;
            Some(Arc::new(folder))
        }
        Some(KeptIn::Redis(address)) => {
            let url = address.read().map_err(|error| refused(error.to_string()))?;
            let redis = Redis::new(&url, &config.prefix, payloads.ttl, payloads.max_bytes);
            Some(Arc::new(redis.map_err(|error| refused(error.to_string()))?))
        }
    })
}

/// Takes away what is over, now and then, where nobody else does: of a folder.
pub(crate) async fn sweep(config: Arc<Config>) {
    let payloads = &config.payloads;
    let Some(KeptIn::Folder(path)) = &payloads.kept_in else { return };
    let Ok(folder) = Folder::open(path, payloads.max_bytes) else { return };
    loop {
        let (folder, ttl) = (folder.clone(), payloads.ttl);
        match tokio::task::spawn_blocking(move || folder.sweep(ttl, SystemTime::now())).await {
            Ok(Ok(0)) => {}
            Ok(Ok(swept)) => tracing::info!(swept, "payloads whose time is over were taken away"),
            Ok(Err(error)) => tracing::warn!(%error, "the folder of payloads cannot be looked through"),
            Err(error) => tracing::warn!(%error, "the folder of payloads was not looked through"),
        }
        tokio::time::sleep(SWEEP_EVERY).await;
    }
}
