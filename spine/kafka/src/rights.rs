//! What the broker says this process may do with topics: their authorized operations (KIP-430), which a broker without an
//! authorizer gives in full.

#![expect(unsafe_code, reason = "rdkafka wraps no DescribeTopics; each block names why it is sound")]

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CStr, CString};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::bindings as ffi;
use rdkafka::error::RDKafkaErrorCode as Code;
use tidegate_protocol::address::TopicName;
use tidegate_spine::{Operation, Rights, SpineError};

use crate::connection::Connection;
use crate::failure::{self, Failure};
use crate::topics::Admin;

/// Above the request's own time: librdkafka answers by then whatever the broker does.
const SLACK: Duration = Duration::from_secs(2);

impl Connection {
    /// See [`tidegate_spine::Spine::rights`].
    pub(crate) async fn rights(self: &Arc<Self>, topics: &[TopicName]) -> Result<Vec<Rights>, SpineError> {
        if topics.is_empty() {
            return Ok(Vec::new());
        }
        let admin = self.admin().await?;
        let (connection, asked) = (Arc::clone(self), topics.to_vec());
        let told = self.ask(move || told(&admin, &asked, connection.options.request_timeout)).await?;
        let untold = || Rights::Untold("the broker has left it out".to_owned());
        Ok(topics.iter().map(|topic| told.get(topic.as_str()).cloned().unwrap_or_else(untold)).collect())
    }
}

/// What a request is made of; given back when dropped.
struct Request {
    topics: NonNull<ffi::rd_kafka_TopicCollection_t>,
    options: NonNull<ffi::rd_kafka_AdminOptions_t>,
    queue: NonNull<ffi::rd_kafka_queue_t>,
}

impl Drop for Request {
    fn drop(&mut self) {
        // SAFETY: all three are this request's own and are used no more: librdkafka has copied the first two, and drops an
        // answer for a queue that is gone.
        unsafe {
            ffi::rd_kafka_TopicCollection_destroy(self.topics.as_ptr());
            ffi::rd_kafka_AdminOptions_destroy(self.options.as_ptr());
            ffi::rd_kafka_queue_destroy(self.queue.as_ptr());
        }
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

/// Asks, and blocks until the answer is there.
fn told(admin: &Admin, topics: &[TopicName], patience: Duration) -> Result<BTreeMap<String, Rights>, Failure> {
    let request = request(admin, topics, patience)?;
    let milliseconds = |time: Duration| i32::try_from(time.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: the client lives as long as `admin`; the rest is the request's, which outlives the call.
    let event = unsafe {
        ffi::rd_kafka_DescribeTopics(
            admin.inner().native_ptr(),
            request.topics.as_ptr(),
            request.options.as_ptr(),
            request.queue.as_ptr(),
        );
        ffi::rd_kafka_queue_poll(request.queue.as_ptr(), milliseconds(patience + SLACK))
    };
    let silent = || Failure::Unavailable("nothing was said of what may be done with the topics".to_owned());
    let answer = Answer(NonNull::new(event).ok_or_else(silent)?);
    // SAFETY: the event lives.
    let code = Code::from(unsafe { ffi::rd_kafka_event_error(answer.0.as_ptr()) });
    if code != Code::NoError {
        return Err(Failure::of(code, format!("what may be done with the topics: {code}"), None));
    }
    Ok(read(&answer))
}

fn request(admin: &Admin, topics: &[TopicName], patience: Duration) -> Result<Request, Failure> {
    // Asked for twice, a topic is refused.
    let names: BTreeSet<&str> = topics.iter().map(TopicName::as_str).collect();
    let names = names.into_iter().map(CString::new).collect::<Result<Vec<_>, _>>();
    let names = names.map_err(|_| Failure::Invalid("a name has a zero byte in it".to_owned()))?;
    let mut pointers: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
    let client = admin.inner().native_ptr();
    // SAFETY: the names live until the end of this function, and librdkafka copies them; the client lives.
    let made = unsafe {
        (
            NonNull::new(ffi::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len())),
            NonNull::new(ffi::rd_kafka_AdminOptions_new(
                client,
                ffi::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS,
            )),
            NonNull::new(ffi::rd_kafka_queue_new(client)),
        )
    };
    let (Some(topics), Some(options), Some(queue)) = made else {
        return Err(Failure::Fatal("librdkafka has no memory".to_owned()));
    };
    let request = Request { topics, options, queue };
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
        return Err(Failure::Invalid("librdkafka does not ask what may be done with topics".to_owned()));
    }
    Ok(request)
}

/// The rights by topic.
fn read(answer: &Answer) -> BTreeMap<String, Rights> {
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
        // SAFETY: a description of an event that lives; its name is a C string of its own.
        let name = unsafe {
            let name = ffi::rd_kafka_TopicDescription_name(description);
            if name.is_null() {
                continue;
            }
            CStr::from_ptr(name)
        };
        all.insert(name.to_string_lossy().into_owned(), rights(description));
    }
    all
}

fn rights(description: *const ffi::rd_kafka_TopicDescription_t) -> Rights {
    // SAFETY: `read` gives descriptions of an event that lives.
    let code = Code::from(unsafe {
        let error = ffi::rd_kafka_TopicDescription_error(description);
        // Of no error librdkafka says that it is none.
        ffi::rd_kafka_error_code(error)
    });
    if failure::denied(code) {
        return Rights::Told(BTreeSet::new());
    }
    if code != Code::NoError {
        return Rights::Untold(code.to_string());
    }
    let mut count = 0;
    // SAFETY: as above. Null means that the broker has not told; otherwise there are `count` operations.
    let operations = unsafe {
        let first = ffi::rd_kafka_TopicDescription_authorized_operations(description, &raw mut count);
        if first.is_null() {
            return Rights::Untold("the broker does not tell it".to_owned());
        }
        // As plain numbers: a broker may know operations that librdkafka does not name.
        if count == 0 { &[] } else { std::slice::from_raw_parts(first.cast::<u32>(), count) }
    };
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
