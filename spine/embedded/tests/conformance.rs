//! The embedded spine keeps the promises of the traits.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::sync::Arc;
use std::time::Duration;

use futures::executor::block_on;
use futures::future::BoxFuture;
use tempfile::TempDir;
use tidegate_embedded::{Durability, EmbeddedOptions, EmbeddedSpine};
use tidegate_spine::Spine;
use tidegate_spine::conformance::Fixture;

struct Folder {
    options: EmbeddedOptions,
    spine: Option<EmbeddedSpine>,
    _folder: TempDir,
}

impl Folder {
    fn open(durability: Durability, segment_bytes: u64, memory_bytes: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options =
            EmbeddedOptions { durability, segment_bytes, memory_bytes, ..EmbeddedOptions::new(folder.path()) };
        let spine = Some(EmbeddedSpine::open(options.clone()).unwrap());
        Self { options, spine, _folder: folder }
    }
}

impl Fixture for Folder {
    fn spine(&self) -> Arc<dyn Spine> {
        Arc::new(self.spine.clone().unwrap())
    }

    fn reopen(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            drop(self.spine.take());
            self.spine = Some(EmbeddedSpine::open(self.options.clone()).unwrap());
        })
    }

    fn prefix(&self) -> &str {
        "t."
    }

    fn deadline(&self) -> Duration {
        Duration::from_secs(20)
    }
}

mod os {
    use super::*;

    async fn fixture() -> Folder {
        Folder::open(Durability::Os, 64 << 20, 128 << 20)
    }

    tidegate_spine::conformance!(fixture, block_on);
}

/// Segments of a few records and hardly any memory: everything rolls, and most is read from files.
mod fsync_with_small_segments {
    use super::*;

    async fn fixture() -> Folder {
        Folder::open(Durability::Fsync, 1 << 10, 1)
    }

    tidegate_spine::conformance!(fixture, block_on);
}
