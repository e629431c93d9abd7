//! librdkafka's errors, sorted once.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use tidegate_protocol::address::{TopicName, TopicPartition};
use tidegate_spine::{AppendError, ErrorClass, ReadError};

/// What to do about an error code; the table everything else asks.
///
/// `Wait`: librdkafka goes on by itself. `Retry`: ask again. `Refuse`: will be refused again. `Fatal`: drop the client.
#[must_use]
#[expect(clippy::wildcard_enum_match_arm, reason = "librdkafka adds codes; an unknown one is tried again")]
pub(crate) const fn class(code: Code) -> ErrorClass {
    match code {
        // The broker is away, slow, starting, electing, or short of replicas.
        Code::BrokerTransportFailure
        | Code::AllBrokersDown
        | Code::Resolve
        | Code::OperationTimedOut
        | Code::TimedOutQueue
        | Code::MessageTimedOut
        | Code::RequestTimedOut
        | Code::NetworkException
        | Code::LeaderNotAvailable
        | Code::NotLeaderForPartition
        | Code::BrokerNotAvailable
        | Code::ReplicaNotAvailable
        | Code::ListenerNotFound
        | Code::PreferredLeaderNotAvailable
        | Code::EligibleLeadersNotAvailable
        | Code::OffsetNotAvailable
        | Code::FencedLeaderEpoch
        | Code::UnknownLeaderEpoch
        | Code::StaleControllerEpoch
        | Code::StaleBrokerEpoch
        | Code::NotController
        | Code::ISRInsufficient
        | Code::NotEnoughReplicas
        | Code::NotEnoughReplicasAfterAppend
        | Code::KafkaStorageError
        | Code::CoordinatorLoadInProgress
        | Code::CoordinatorNotAvailable
        | Code::NotCoordinator
        | Code::WaitingForCoordinator
        | Code::WaitCache
        | Code::NodeUpdate
        | Code::ThrottlingQuotaExceeded
        | Code::FetchSessionIdNotFound
        | Code::InvalidFetchSessionEpoch => ErrorClass::Wait,
        // The request or its sender is at fault.
        Code::MessageSizeTooLarge
        | Code::MessageBatchTooLarge
        | Code::InvalidMessageSize
        | Code::UnknownTopic
        | Code::UnknownTopicOrPartition
        | Code::UnknownPartition
        | Code::InvalidTopic
        | Code::InvalidRecord
        | Code::InvalidTimestamp
        | Code::InvalidRequiredAcks
        | Code::UnsupportedForMessageFormat
        | Code::UnsupportedCompressionType
        | Code::UnsupportedVersion
        | Code::UnsupportedFeature
        | Code::NotImplemented
        | Code::BadCompression
        | Code::Authentication
        | Code::SSL
        | Code::SaslAuthenticationFailed
        | Code::UnsupportedSASLMechanism
        | Code::IllegalSASLState
        | Code::SecurityDisabled
        | Code::UnacceptableCredential
        | Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::TransactionalIdAuthorizationFailed
        | Code::DelegationTokenAuthorizationFailed
        | Code::DelegationTokenExpired
        | Code::TopicAlreadyExists
        | Code::InvalidPartitions
        | Code::InvalidReplicationFactor
        | Code::InvalidReplicaAssignment
        | Code::InvalidConfig
        | Code::InvalidRequest
        | Code::InvalidArgument
        | Code::PolicyViolation
        | Code::TopicDeletionDisabled
        | Code::InvalidGroupId
        | Code::InvalidSessionTimeout
        | Code::InconsistentGroupProtocol
        | Code::GroupMaxSizeReached
        | Code::OffsetMetadataTooLarge
        | Code::OffsetOutOfRange
        | Code::AutoOffsetReset
        | Code::LogTruncation => ErrorClass::Refuse,
        // This client is of no use any more.
        Code::Fatal
        | Code::Fail
        | Code::Inconsistent
        | Code::GaplessGuarantee
        | Code::CriticalSystemResource
        | Code::BrokerDestroy
        | Code::PurgeQueue
        | Code::PurgeInflight
        | Code::Fenced
        | Code::FencedInstanceId
        | Code::ProducerFenced
        | Code::InvalidProducerEpoch
        | Code::InvalidProducerIdMapping
        | Code::UnknownProducerId
        | Code::OutOfOrderSequenceNumber
        | Code::DuplicateSequenceNumber
        | Code::InvalidTransactionalState => ErrorClass::Fatal,
        _ => ErrorClass::Retry,
    }
}

/// Whether credentials or rights are what is missing.
pub(crate) const fn denied(code: Code) -> bool {
    matches!(
        code,
        Code::Authentication
            | Code::SSL
            | Code::SaslAuthenticationFailed
            | Code::UnsupportedSASLMechanism
            | Code::IllegalSASLState
            | Code::SecurityDisabled
            | Code::UnacceptableCredential
            | Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed
            | Code::DelegationTokenAuthorizationFailed
            | Code::DelegationTokenExpired
    )
}

/// Whether a topic or partition is missing.
pub(crate) const fn unknown(code: Code) -> bool {
    matches!(code, Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition)
}

/// librdkafka's code for an error, where it has one.
pub(crate) fn code(error: &KafkaError) -> Code {
    error.rdkafka_error_code().unwrap_or(Code::Unknown)
}

/// Why a record was not appended. `bytes`: size of the largest record of its append.
pub(crate) fn append(code: Code, reason: String, to: &TopicPartition, bytes: usize) -> AppendError {
    if matches!(code, Code::MessageSizeTooLarge | Code::MessageBatchTooLarge | Code::InvalidMessageSize) {
        return AppendError::TooLarge { to: to.clone(), bytes, limit: None };
    }
    if unknown(code) {
        return AppendError::UnknownTopic { to: to.clone() };
    }
    match class(code) {
        ErrorClass::Fatal => AppendError::Fatal { reason },
        ErrorClass::Wait | ErrorClass::Retry | ErrorClass::Refuse => AppendError::Refused { to: to.clone(), reason },
    }
}

/// Why a partition cannot be read on, or `None` when librdkafka tries again by itself.
pub(crate) fn read(code: Code, reason: String, from: &TopicPartition) -> Option<ReadError> {
    if unknown(code) {
        return Some(ReadError::UnknownTopic { from: from.clone() });
    }
    match class(code) {
        ErrorClass::Wait | ErrorClass::Retry => None,
        ErrorClass::Refuse => Some(ReadError::Refused { from: from.clone(), reason }),
        ErrorClass::Fatal => Some(ReadError::Fatal { reason }),
    }
}

/// A question's failure before it is dressed as a `SpineError`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Nobody answered.
    Unavailable(String),
    /// Credentials or rights.
    Denied(String),
    /// No such topic.
    Unknown(TopicName),
    /// The request is wrong.
    Invalid(String),
    /// The client is broken.
    Fatal(String),
}

impl Failure {
    /// From a code met while asking about `topic`.
    pub(crate) fn of(code: Code, reason: String, topic: Option<&TopicName>) -> Self {
        if denied(code) {
            return Self::Denied(reason);
        }
        if let (true, Some(topic)) = (unknown(code), topic) {
            return Self::Unknown(topic.clone());
        }
        match class(code) {
            ErrorClass::Wait | ErrorClass::Retry => Self::Unavailable(reason),
            ErrorClass::Refuse => Self::Invalid(reason),
            ErrorClass::Fatal => Self::Fatal(reason),
        }
    }

    /// From a client error met while asking about `topic`.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the others all carry a code")]
    pub(crate) fn from_client(error: &KafkaError, topic: Option<&TopicName>) -> Self {
        match error {
            KafkaError::ClientConfig(_, why, name, value) => {
                let value = if crate::options::secret(name) { "***" } else { value };
                Self::Invalid(format!("setting `{name}` = `{value}`: {why}"))
            }
            KafkaError::ClientCreation(why) | KafkaError::AdminOpCreation(why) => Self::Invalid(why.clone()),
            KafkaError::Subscription(why) => Self::Invalid(why.clone()),
            KafkaError::Nul(_) => Self::Invalid("a name has a zero byte in it".into()),
            other => Self::of(code(other), other.to_string(), topic),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> TopicPartition {
        TopicName::new("jobs").unwrap().partition(3)
    }

    #[test]
    fn codes_are_sorted() {
        for (code, expected) in [
            (Code::BrokerTransportFailure, ErrorClass::Wait),
            (Code::AllBrokersDown, ErrorClass::Wait),
            (Code::NotLeaderForPartition, ErrorClass::Wait),
            (Code::NotEnoughReplicas, ErrorClass::Wait),
            (Code::RequestTimedOut, ErrorClass::Wait),
            (Code::QueueFull, ErrorClass::Retry),
            (Code::RebalanceInProgress, ErrorClass::Retry),
            (Code::Unknown, ErrorClass::Retry),
            (Code::MessageSizeTooLarge, ErrorClass::Refuse),
            (Code::UnknownTopicOrPartition, ErrorClass::Refuse),
            (Code::TopicAuthorizationFailed, ErrorClass::Refuse),
            (Code::SaslAuthenticationFailed, ErrorClass::Refuse),
            (Code::AutoOffsetReset, ErrorClass::Refuse),
            (Code::Fatal, ErrorClass::Fatal),
            (Code::OutOfOrderSequenceNumber, ErrorClass::Fatal),
            (Code::ProducerFenced, ErrorClass::Fatal),
            (Code::FencedInstanceId, ErrorClass::Fatal),
            (Code::PurgeQueue, ErrorClass::Fatal),
        ] {
            assert_eq!(class(code), expected, "{code:?}");
        }
    }

    #[test]
    fn whatever_is_denied_is_refused_too() {
        for code in [
            Code::Authentication,
            Code::SSL,
            Code::SaslAuthenticationFailed,
            Code::TopicAuthorizationFailed,
            Code::GroupAuthorizationFailed,
            Code::ClusterAuthorizationFailed,
            Code::UnknownTopic,
            Code::UnknownTopicOrPartition,
            Code::UnknownPartition,
        ] {
            assert!(denied(code) || unknown(code), "{code:?}");
            assert_eq!(class(code), ErrorClass::Refuse, "{code:?}");
        }
    }

    #[test]
    fn append_errors_say_what_to_do() {
        let append = |code| append(code, "words".into(), &place(), 9);
        assert_eq!(append(Code::MessageSizeTooLarge), AppendError::TooLarge { to: place(), bytes: 9, limit: None });
        assert_eq!(append(Code::UnknownPartition), AppendError::UnknownTopic { to: place() });
        assert_eq!(append(Code::PurgeInflight), AppendError::Fatal { reason: "words".into() });
        let refused = AppendError::Refused { to: place(), reason: "words".into() };
        assert_eq!(append(Code::TopicAuthorizationFailed), refused);
        // What librdkafka gave up on is never passed on as "wait": the caller could not tell when to stop.
        assert_eq!(append(Code::NotEnoughReplicas), refused);
    }

    #[test]
    fn reads_go_on_over_what_passes() {
        let read = |code| read(code, "words".into(), &place());
        assert_eq!(read(Code::BrokerTransportFailure), None);
        assert_eq!(read(Code::UnknownTopicOrPartition), Some(ReadError::UnknownTopic { from: place() }));
        let refused = ReadError::Refused { from: place(), reason: "words".into() };
        assert_eq!(read(Code::TopicAuthorizationFailed), Some(refused));
        assert_eq!(read(Code::Fatal), Some(ReadError::Fatal { reason: "words".into() }));
    }

    #[test]
    fn questions_tell_denied_from_unavailable() {
        let topic = TopicName::new("t").unwrap();
        let of = |code| Failure::of(code, "words".into(), Some(&topic));
        assert_eq!(of(Code::SaslAuthenticationFailed), Failure::Denied("words".into()));
        assert_eq!(of(Code::OperationTimedOut), Failure::Unavailable("words".into()));
        assert_eq!(of(Code::UnknownTopicOrPartition), Failure::Unknown(topic.clone()));
        assert_eq!(of(Code::TopicAlreadyExists), Failure::Invalid("words".into()));
        let error = KafkaError::MetadataFetch(Code::BrokerTransportFailure);
        assert!(matches!(Failure::from_client(&error, None), Failure::Unavailable(_)));
    }
}
