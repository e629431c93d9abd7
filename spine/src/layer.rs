//! A spine in front of another: what it does not say itself is passed on.

use futures::future::BoxFuture;
use tidegate_protocol::address::{Offset, TopicName, TopicPartition};

use crate::{
    Ends, MemberOptions, Membership, Producer, ProducerOptions, Reader, Rights, Spine, SpineError, TopicSpec,
    TopicState,
};

/// What lies between a caller and a spine: it notes, withholds or refuses some of what is asked, and passes on the rest. It is a
/// [`Spine`] itself.
pub trait Layer: Send + Sync {
    /// The spine behind it.
    fn behind(&self) -> &dyn Spine;

    /// As [`Spine::producer`].
    fn producer(&self, options: ProducerOptions) -> BoxFuture<'_, Result<Box<dyn Producer>, SpineError>> {
        self.behind().producer(options)
    }

    /// As [`Spine::reader`].
    fn reader(&self, name: &str) -> BoxFuture<'_, Result<Box<dyn Reader>, SpineError>> {
        self.behind().reader(name)
    }

    /// As [`Spine::join`].
    fn join(&self, options: MemberOptions) -> BoxFuture<'_, Result<Box<dyn Membership>, SpineError>> {
        self.behind().join(options)
    }

    /// As [`Spine::describe`].
    fn describe<'a>(&'a self, topics: &'a [TopicName]) -> BoxFuture<'a, Result<Vec<Option<TopicState>>, SpineError>> {
        self.behind().describe(topics)
    }

    /// As [`Spine::rights`].
    fn rights<'a>(&'a self, topics: &'a [TopicName]) -> BoxFuture<'a, Result<Vec<Rights>, SpineError>> {
        self.behind().rights(topics)
    }

    /// As [`Spine::group_rights`].
    fn group_rights<'a>(&'a self, groups: &'a [String]) -> BoxFuture<'a, Result<Vec<Rights>, SpineError>> {
        self.behind().group_rights(groups)
    }
}

impl<L: Layer> Spine for L {
    fn url(&self) -> &str {
        self.behind().url()
    }

    fn producer(&self, options: ProducerOptions) -> BoxFuture<'_, Result<Box<dyn Producer>, SpineError>> {
        Layer::producer(self, options)
    }

    fn reader(&self, name: &str) -> BoxFuture<'_, Result<Box<dyn Reader>, SpineError>> {
        Layer::reader(self, name)
    }

    fn join(&self, options: MemberOptions) -> BoxFuture<'_, Result<Box<dyn Membership>, SpineError>> {
        Layer::join(self, options)
    }

    fn ends<'a>(&'a self, of: &'a [TopicPartition]) -> BoxFuture<'a, Result<Vec<Ends>, SpineError>> {
        self.behind().ends(of)
    }

    fn describe<'a>(&'a self, topics: &'a [TopicName]) -> BoxFuture<'a, Result<Vec<Option<TopicState>>, SpineError>> {
        Layer::describe(self, topics)
    }

    fn rights<'a>(&'a self, topics: &'a [TopicName]) -> BoxFuture<'a, Result<Vec<Rights>, SpineError>> {
        Layer::rights(self, topics)
    }

    fn group_rights<'a>(&'a self, groups: &'a [String]) -> BoxFuture<'a, Result<Vec<Rights>, SpineError>> {
        Layer::group_rights(self, groups)
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Vec<TopicName>, SpineError>> {
        self.behind().list(prefix)
    }

    fn create<'a>(&'a self, topic: &'a TopicSpec) -> BoxFuture<'a, Result<(), SpineError>> {
        self.behind().create(topic)
    }

    fn alter<'a>(&'a self, topic: &'a TopicSpec) -> BoxFuture<'a, Result<(), SpineError>> {
        self.behind().alter(topic)
    }

    fn delete<'a>(&'a self, topic: &'a TopicName) -> BoxFuture<'a, Result<(), SpineError>> {
        self.behind().delete(topic)
    }

    fn trim<'a>(&'a self, partition: &'a TopicPartition, before: Offset) -> BoxFuture<'a, Result<(), SpineError>> {
        self.behind().trim(partition, before)
    }
}
