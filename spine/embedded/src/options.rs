//! How an embedded spine is opened, in code or as a URL.

use std::path::PathBuf;
use std::str::FromStr;

/// When an append counts as durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// Written to the operating system: survives the process, not a power cut.
    #[default]
    Os,
    /// Synced to the disk, in groups: survives a power cut too.
    Fsync,
}

/// Where the data is and how it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbeddedOptions {
    /// The data folder; made when it does not exist. One process at a time.
    pub folder: PathBuf,
    /// When an append counts as durable.
    pub durability: Durability,
    /// A segment file is closed when it has reached this size; what is trimmed or too old goes in steps of it.
    pub segment_bytes: u64,
    /// Memory for recent records of all partitions together. A partition that is written to always keeps up to
    /// 256 KiB, also above this.
    pub memory_bytes: usize,
}

impl EmbeddedOptions {
    /// Defaults for `folder`: `os`, segments of 64 MiB, 128 MiB of memory.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), durability: Durability::Os, segment_bytes: 64 << 20, memory_bytes: 128 << 20 }
    }

    /// The URL these options are written as.
    #[must_use]
    pub fn url(&self) -> String {
        let durability = match self.durability {
            Durability::Os => "os",
            Durability::Fsync => "fsync",
        };
        format!("embedded:{}?durability={durability}", self.folder.display())
    }
}

/// A URL that names no embedded spine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("spine URL `{url}`: {reason}; write `embedded:FOLDER` or `embedded:FOLDER?durability=os|fsync`")]
pub struct BadUrl {
    /// As written.
    pub url: String,
    /// What is wrong with it.
    pub reason: String,
}

/// `embedded:FOLDER`, then after `?` and joined by `&`: `durability=os|fsync`, `segment_mib=N` (1 to 4096),
/// `memory_mib=N` (1 to 65536). The folder is taken as it is written, relative to the working directory or absolute.
impl FromStr for EmbeddedOptions {
    type Err = BadUrl;

    fn from_str(url: &str) -> Result<Self, BadUrl> {
        let bad = |reason: String| BadUrl { url: url.to_owned(), reason };
        let rest = url.strip_prefix("embedded:").ok_or_else(|| bad("it does not begin with `embedded:`".into()))?;
        let (folder, settings) = rest.split_once('?').unwrap_or((rest, ""));
        if folder.is_empty() {
            return Err(bad("it names no folder".into()));
        }
        if folder.starts_with("//") {
            return Err(bad("a folder is no host, so it has no `//` before it".into()));
        }
        let mut options = Self::new(folder);
        for setting in settings.split('&').filter(|s| !s.is_empty()) {
            let (name, value) = setting.split_once('=').unwrap_or((setting, ""));
            let mib = |most: u64| match value.parse::<u64>() {
                Ok(n) if (1..=most).contains(&n) => Ok(n << 20),
                _ => Err(bad(format!("`{name}` is `{value}`, not a number from 1 to {most}"))),
            };
            match (name, value) {
                ("durability", "os") => options.durability = Durability::Os,
                ("durability", "fsync") => options.durability = Durability::Fsync,
                ("durability", _) => return Err(bad(format!("durability `{value}` is neither `os` nor `fsync`"))),
                ("segment_mib", _) => options.segment_bytes = mib(4096)?,
                ("memory_mib", _) => options.memory_bytes = usize::try_from(mib(65536)?).unwrap_or(usize::MAX),
                _ => {
                    return Err(bad(format!(
                        "unknown setting `{name}` (there are `durability`, `segment_mib`, `memory_mib`)"
                    )));
                }
            }
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_with_their_settings() {
        let plain: EmbeddedOptions = "embedded:data".parse().unwrap();
        assert_eq!(plain, EmbeddedOptions::new("data"));
        let full: EmbeddedOptions =
            "embedded:/var/lib/tidegate?durability=fsync&segment_mib=8&memory_mib=16".parse().unwrap();
        assert_eq!(full.folder, PathBuf::from("/var/lib/tidegate"));
        assert_eq!((full.durability, full.segment_bytes, full.memory_bytes), (Durability::Fsync, 8 << 20, 16 << 20));
        assert_eq!(full.url(), "embedded:/var/lib/tidegate?durability=fsync");
    }

    #[test]
    fn each_bad_url_is_refused_with_its_reason() {
        for (url, reason) in [
            ("kafka://x", "does not begin"),
            ("embedded:", "no folder"),
            ("embedded:?durability=os", "no folder"),
            ("embedded://host/x", "no host"),
            ("embedded:x?durability=maybe", "`maybe` is neither"),
            ("embedded:x?durability", "neither"),
            ("embedded:x?segment_mib=0", "not a number from 1"),
            ("embedded:x?colour=red", "unknown setting `colour`"),
        ] {
            let error = url.parse::<EmbeddedOptions>().unwrap_err().to_string();
            assert!(error.contains(reason) && error.contains(url), "{error}");
        }
    }
}
