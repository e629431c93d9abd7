//! What everything a spine hands out shares.

use std::sync::Arc;

use futures::channel::oneshot;
use tidegate_protocol::address::TopicPartition;
use tidegate_spine::{Ends, SpineError};

use crate::KafkaOptions;
use crate::asking::Asking;
use crate::consumers::Consumers;
use crate::failure::Failure;
use crate::keeper::Keeper;
use crate::limits::Limits;
use crate::threads::Threads;
use crate::topics::AdminSlot;

/// One cluster, as one process sees it.
pub(crate) struct Connection {
    pub(crate) url: String,
    pub(crate) options: KafkaOptions,
    pub(crate) threads: Threads,
    pub(crate) keeper: Keeper,
    pub(crate) limits: Arc<Limits>,
    pub(crate) consumers: Consumers,
    pub(crate) asking: Arc<Asking>,
    pub(crate) admin: Arc<AdminSlot>,
}

impl Connection {
    /// Both ends of a partition, asked for on a thread.
    pub(crate) fn ends_of(&self, partition: &TopicPartition) -> oneshot::Receiver<Result<Ends, Failure>> {
        let (asking, partition) = (Arc::clone(&self.asking), partition.clone());
        self.threads.run(move || asking.ends(&partition))
    }

    /// Runs a question that blocks.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce() -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, SpineError> {
        match self.threads.run(question).await {
            Ok(answer) => answer.map_err(|failure| self.error(failure)),
            Err(_) => Err(self.error(Failure::Fatal("no thread to ask with".into()))),
        }
    }

    pub(crate) fn error(&self, failure: Failure) -> SpineError {
        error(&self.url, &self.options, failure)
    }
}

/// A failure in the words of the spine at `url`.
pub(crate) fn error(url: &str, options: &KafkaOptions, failure: Failure) -> SpineError {
    let spine = url.to_owned();
    match failure {
        Failure::Unavailable(reason) => SpineError::Unavailable { spine, after: options.request_timeout, reason },
        Failure::Denied(reason) => SpineError::Denied { spine, reason },
        Failure::Unknown(topic) => SpineError::UnknownTopic { topic },
        Failure::Invalid(reason) => SpineError::Invalid { spine, reason },
        Failure::Fatal(reason) => SpineError::Fatal { spine, reason },
    }
}
