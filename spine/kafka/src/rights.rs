//! What the broker says this process may do with topics and consumer groups: their authorized operations (KIP-430), which a broker
//! without an authorizer gives in full. Of a group that does not exist yet a broker says it as well.

#![expect(
    unsafe_code,
    reason = "rdkafka wraps neither DescribeTopics nor this use of DescribeConsumerGroups; each block names why it is sound"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CStr, CString, c_char};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use rdkafka::bindings as ffi;
use rdkafka::error::RDKafkaErrorCode as Code;
use tidegate_protocol::address::TopicName;
use tidegate_spine::{Operation, Rights, SpineError};

use crate::connection::Connection;
use crate::failure::{self, Failure};
use crate::topics::Admin;

/// Above the request's own time: librdkafka answers by then whatever the broker does.
const SLACK: Duration = Duration::from_secs(2);

type Kind = ffi::rd_kafka_admin_op_t;

impl Connection {
    /// See [`tidegate_spine::Spine::rights`].
    pub(crate) async fn rights(self: &Arc<Self>, topics: &[TopicName]) -> Result<Vec<Rights>, SpineError> {
        if topics.is_empty() {
            return Ok(Vec::new());
        }
        let admin = self.admin().await?;
        let (connection, asked) = (Arc::clone(self), topics.to_vec());
        let told = self.ask(move || of_topics(&admin, &asked, connection.options.request_timeout)).await?;
        let untold = || Rights::Untold("the broker has left it out".to_owned());
        Ok(topics.iter().map(|topic| told.get(topic.as_str()).cloned().unwrap_or_else(untold)).collect())
    }

    /// See [`tidegate_spine::Spine::group_rights`].
    pub(crate) async fn group_rights(self: &Arc<Self>, groups: &[String]) -> Result<Vec<Rights>, SpineError> {
        let admin = self.admin().await?;
        // One by one: a group whose coordinator may not be asked for fails a request whole.
        let asked = groups.iter().map(|group| {
            let (admin, group, patience) = (Arc::clone(&admin), group.clone(), self.options.request_timeout);
            self.ask(move || of_group(&admin, &group, patience))
        });
        join_all(asked).await.into_iter().collect()
    }
}

/// What a request is made of beside what it asks about; given back when dropped.
struct Request {
    options: NonNull<ffi::rd_kafka_AdminOptions_t>,
    queue: NonNull<ffi::rd_kafka_queue_t>,
}

impl Drop for Request {
    fn drop(&mut self) {
        // SAFETY: both are this request's own and are used no more: librdkafka has copied the first, and drops an answer for a
        // queue that is gone.
        unsafe {
            ffi::rd_kafka_AdminOptions_destroy(self.options.as_ptr());
            ffi::rd_kafka_queue_destroy(self.queue.as_ptr());
        }
    }
}

/// Names of topics, as librdkafka takes them; given back when dropped.
struct Topics(NonNull<ffi::rd_kafka_TopicCollection_t>);

impl Drop for Topics {
    fn drop(&mut self) {
        // SAFETY: it is this one's own; librdkafka has copied it.
        unsafe { ffi::rd_kafka_TopicCollection_destroy(self.0.as_ptr()) }
    }
}

/// An answer; given back when dropped, with all that it holds.
struct Answer(NonNull<ffi::rd_kafka_event_t>);

impl Drop for Answer {
    fn drop(&mut self) {
        // SAFETY: the event is ours, and nothing that points into it outlives this.
        unsafe { ffi::rd_kafka_event_destroy(self.0.as_ptr()) }
    }
}

fn no_memory() -> Failure {
    Failure::Fatal("librdkafka has no memory".to_owned())
}

fn c_name(name: &str) -> Result<CString, Failure> {
    CString::new(name).map_err(|_| Failure::Invalid("a name has a zero byte in it".to_owned()))
}

impl Request {
    /// For authorized operations too.
    fn new(admin: &Admin, kind: Kind, patience: Duration) -> Result<Self, Failure> {
        let client = admin.inner().native_ptr();
        // SAFETY: the client lives as long as `admin`.
        let made = unsafe { (ffi::rd_kafka_AdminOptions_new(client, kind), ffi::rd_kafka_queue_new(client)) };
        let (Some(options), Some(queue)) = (NonNull::new(made.0), NonNull::new(made.1)) else {
            return Err(no_memory());
        };
        let request = Self { options, queue };
        let time = i32::try_from(patience.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: the options live; no text of an error is asked for. An error that is returned is ours to give back.
        let refused = unsafe {
            let slow = ffi::rd_kafka_AdminOptions_set_request_timeout(options.as_ptr(), time, ptr::null_mut(), 0);
            let error = ffi::rd_kafka_AdminOptions_set_include_authorized_operations(options.as_ptr(), 1);
            let refused = !error.is_null();
            if refused {
                ffi::rd_kafka_error_destroy(error);
            }
            refused || Code::from(slow) != Code::NoError
        };
        if refused {
            return Err(Failure::Invalid("librdkafka does not ask what may be done".to_owned()));
        }
        Ok(request)
    }

    /// Blocks until the answer is there.
    fn answer(&self, patience: Duration) -> Result<Answer, Failure> {
        let milliseconds = i32::try_from((patience + SLACK).as_millis()).unwrap_or(i32::MAX);
        // SAFETY: the queue is the request's.
        let event = unsafe { ffi::rd_kafka_queue_poll(self.queue.as_ptr(), milliseconds) };
        let silent = || Failure::Unavailable("nothing was said of what may be done".to_owned());
        let answer = Answer(NonNull::new(event).ok_or_else(silent)?);
        // SAFETY: the event lives.
        let code = Code::from(unsafe { ffi::rd_kafka_event_error(answer.0.as_ptr()) });
        if code != Code::NoError {
            return Err(Failure::of(code, format!("what may be done: {code}"), None));
        }
        Ok(answer)
    }
}

/// Asks of topics, and blocks until the answer is there.
fn of_topics(admin: &Admin, topics: &[TopicName], patience: Duration) -> Result<BTreeMap<String, Rights>, Failure> {
    // Asked for twice, a topic is refused.
    let names: BTreeSet<&str> = topics.iter().map(TopicName::as_str).collect();
    let names = names.into_iter().map(c_name).collect::<Result<Vec<_>, _>>()?;
    let mut pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
    // SAFETY: the names live until the end of this function, and librdkafka copies them.
    let made = unsafe { ffi::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len()) };
    let topics = Topics(NonNull::new(made).ok_or_else(no_memory)?);
    let request = Request::new(admin, Kind::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS, patience)?;
    // SAFETY: the client lives as long as `admin`; the rest outlives the call.
    unsafe {
        ffi::rd_kafka_DescribeTopics(
            admin.inner().native_ptr(),
            topics.0.as_ptr(),
            request.options.as_ptr(),
            request.queue.as_ptr(),
        );
    }
    Ok(read_topics(&request.answer(patience)?))
}

/// Asks of a group, and blocks until the answer is there.
fn of_group(admin: &Admin, group: &str, patience: Duration) -> Result<Rights, Failure> {
    let name = c_name(group)?;
    let mut names = [name.as_ptr()];
    let request = Request::new(admin, Kind::RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS, patience)?;
    // SAFETY: the client lives as long as `admin`, the name until the end of this function; librdkafka copies it.
    unsafe {
        ffi::rd_kafka_DescribeConsumerGroups(
            admin.inner().native_ptr(),
            names.as_mut_ptr(),
            names.len(),
            request.options.as_ptr(),
            request.queue.as_ptr(),
        );
    }
    match request.answer(patience) {
        // Where its coordinator is is refused already.
        Err(Failure::Denied(_)) => Ok(Rights::Told(BTreeSet::new())),
        answer => Ok(read_group(&answer?)),
    }
}

/// The rights by topic.
fn read_topics(answer: &Answer) -> BTreeMap<String, Rights> {
    let mut all = BTreeMap::new();
    // SAFETY: the event lives, and owns what is read here; a result of another kind is null. librdkafka says how many
    // descriptions there are.
    let descriptions = unsafe {
        let result = ffi::rd_kafka_event_DescribeTopics_result(answer.0.as_ptr());
        if result.is_null() {
            return all;
        }
        let mut count = 0;
        let first = ffi::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        if first.is_null() || count == 0 { &[] } else { std::slice::from_raw_parts(first, count) }
    };
    for description in descriptions.iter().copied().filter(|description| !description.is_null()) {
        // SAFETY: a description of an event that lives; its name is a C string of its own, its error is its own or null, and null for the
        // operations means that the broker has not told; otherwise there are `count` of them.
        let (name, told) = unsafe {
            let name = ffi::rd_kafka_TopicDescription_name(description);
            if name.is_null() {
                continue;
            }
            let mut count = 0;
            let first = ffi::rd_kafka_TopicDescription_authorized_operations(description, &raw mut count);
            (CStr::from_ptr(name), told(ffi::rd_kafka_TopicDescription_error(description), first, count))
        };
        all.insert(name.to_string_lossy().into_owned(), told);
    }
    all
}

/// The rights of the one group that was asked for.
fn read_group(answer: &Answer) -> Rights {
    // SAFETY: as in `read_topics`.
    unsafe {
        let result = ffi::rd_kafka_event_DescribeConsumerGroups_result(answer.0.as_ptr());
        let mut count = 0;
        let first = match result.is_null() {
            true => ptr::null_mut(),
            false => ffi::rd_kafka_DescribeConsumerGroups_result_groups(result, &raw mut count),
        };
        if first.is_null() || count == 0 || (*first).is_null() {
            return Rights::Untold("the broker has left it out".to_owned());
        }
        let (description, mut count) = (*first, 0);
        let operations = ffi::rd_kafka_ConsumerGroupDescription_authorized_operations(description, &raw mut count);
        told(ffi::rd_kafka_ConsumerGroupDescription_error(description), operations, count)
    }
}

/// # Safety
/// `error` is null or lives; `first` is null or begins `count` operations that live.
unsafe fn told(
    error: *const ffi::rd_kafka_error_t,
    first: *const ffi::rd_kafka_AclOperation_t,
    count: usize,
) -> Rights {
    // SAFETY: of no error librdkafka says that it is none; the operations are read as plain numbers, since a broker may know some that
    // librdkafka does not name.
    let (code, operations) = unsafe {
        let operations = match (first.is_null(), count) {
            (true, _) => None,
            (false, 0) => Some(&[][..]),
            (false, _) => Some(std::slice::from_raw_parts(first.cast::<u32>(), count)),
        };
        (Code::from(ffi::rd_kafka_error_code(error)), operations)
    };
    rights(code, operations)
}

/// From the answer about one topic or group. `operations`: Kafka's numbers; `None` where the broker has not told them.
fn rights(code: Code, operations: Option<&[u32]>) -> Rights {
    // Whoever may do anything at all may describe it.
    if failure::denied(code) {
        return Rights::Told(BTreeSet::new());
    }
    if code != Code::NoError {
        return Rights::Untold(code.to_string());
    }
    let Some(operations) = operations else { return Rights::Untold("the broker does not tell it".to_owned()) };
    let ours = |number: &u32| Operation::ALL.into_iter().find(|operation| of(*operation) as u32 == *number);
    Rights::Told(operations.iter().filter_map(ours).collect())
}

const fn of(operation: Operation) -> ffi::rd_kafka_AclOperation_t {
    match operation {
        Operation::Read => ffi::rd_kafka_AclOperation_t::RD_KAFKA_ACL_OPERATION_READ,
        Operation::Write => ffi::rd_kafka_AclOperation_t::RD_KAFKA_ACL_OPERATION_WRITE,
        Operation::Delete => ffi::rd_kafka_AclOperation_t::RD_KAFKA_ACL_OPERATION_DELETE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_broker_does_not_tell_is_not_taken_for_a_right_nor_for_none() {
        let (read, write) = (of(Operation::Read) as u32, of(Operation::Write) as u32);
        // An operation that we do not know, as brokers to come may have.
        assert_eq!(
            rights(Code::NoError, Some(&[read, 99, write])),
            Rights::Told([Operation::Read, Operation::Write].into())
        );
        assert_eq!(rights(Code::NoError, Some(&[])), Rights::Told(BTreeSet::new()));
        assert_eq!(rights(Code::NoError, None), Rights::Untold("the broker does not tell it".into()));
        for denied in [Code::TopicAuthorizationFailed, Code::GroupAuthorizationFailed] {
            assert_eq!(rights(denied, None), Rights::Told(BTreeSet::new()), "{denied}");
        }
        let Rights::Untold(why) = rights(Code::UnknownTopicOrPartition, Some(&[read])) else { unreachable!() };
        assert!(why.contains("Unknown topic"), "{why}");
        // Null, as librdkafka says it.
        // SAFETY: null is no error and no operations.
        let null = unsafe { told(ptr::null(), ptr::null(), 0) };
        assert_eq!(null, Rights::Untold("the broker does not tell it".into()));
    }
}
