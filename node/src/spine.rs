//! Opens the spine a URL names.

use std::path::Path;
use std::sync::Arc;

use tidegate_embedded::{EmbeddedOptions, EmbeddedSpine};
use tidegate_kafka::{KafkaOptions, KafkaSpine};
use tidegate_spine::{Spine, SpineError};

use crate::config::{SettingUnread, SpineConfig};

/// The spine cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A setting's file or variable is not there.
    #[error("the spine's settings cannot be read")]
    Setting(#[from] SettingUnread),
    /// The URL is none of ours.
    #[error("{0}")]
    Url(String),
    /// The embedded spine takes no settings.
    #[error("spine `{url}` takes no `settings`; write them into its URL, e.g. `?durability=fsync`")]
    NoSettings {
        /// The URL.
        url: String,
    },
    /// The broker or folder cannot be used.
    #[error("the spine cannot be opened")]
    Spine(#[from] SpineError),
}

/// Opens it.
///
/// # Errors
/// [`OpenError`]; `Spine(Unavailable)` when no broker answered within its bound.
pub async fn open(config: &SpineConfig) -> Result<Arc<dyn Spine>, OpenError> {
    let settings = config.settings.resolve()?;
    if config.url.starts_with("kafka:") {
        let mut options = KafkaOptions::parse(&config.url).map_err(|e| OpenError::Url(e.to_string()))?;
        options.settings = settings;
        return Ok(Arc::new(KafkaSpine::open(options).await?));
    }
    if !settings.is_empty() {
        return Err(OpenError::NoSettings { url: config.url.clone() });
    }
    check_url(&config.url).map_err(OpenError::Url)?;
    let options: EmbeddedOptions =
        config.url.parse().map_err(|e: tidegate_embedded::BadUrl| OpenError::Url(e.to_string()))?;
    Ok(Arc::new(EmbeddedSpine::open(options)?))
}

/// What is wrong with a URL, if anything.
pub(crate) fn check_url(url: &str) -> Result<(), String> {
    let scheme = url.split(':').next().unwrap_or_default();
    match scheme {
        "kafka" => KafkaOptions::parse(url).map(|_| ()).map_err(|e| e.to_string()),
        "embedded" => url.parse::<EmbeddedOptions>().map(|_| ()).map_err(|e| e.to_string()),
        _ => Err(format!("spine URL `{url}` is none of ours: write `embedded:FOLDER` or `kafka://host:port`")),
    }
}

/// The URL of an embedded spine in `folder`.
#[must_use]
pub fn embedded_url(folder: &Path) -> String {
    format!("embedded:{}", folder.display())
}
