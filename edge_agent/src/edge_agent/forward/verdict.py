"""What a refused record means: it is bad, its topic is, or neither."""

from enum import Enum

from confluent_kafka import KafkaError


class Verdict(Enum):
    """What to do about a delivery that failed."""

    POISON = "the record can never be taken: set it aside"
    TOPIC = "the topic takes nothing for now: hold it, the others go on"
    AGAIN = "begin again from the first row that is not acknowledged"
    GIVEN_BACK = "it was never sent: the row is still pending"


_VERDICTS = {
    KafkaError.MSG_SIZE_TOO_LARGE: Verdict.POISON,
    KafkaError.RECORD_LIST_TOO_LARGE: Verdict.POISON,
    KafkaError.INVALID_MSG: Verdict.POISON,
    KafkaError.INVALID_RECORD: Verdict.POISON,
    KafkaError.INVALID_TIMESTAMP: Verdict.POISON,
    KafkaError.UNKNOWN_TOPIC_OR_PART: Verdict.TOPIC,
    KafkaError._UNKNOWN_TOPIC: Verdict.TOPIC,
    KafkaError._UNKNOWN_PARTITION: Verdict.TOPIC,
    KafkaError.TOPIC_EXCEPTION: Verdict.TOPIC,
    KafkaError.TOPIC_AUTHORIZATION_FAILED: Verdict.TOPIC,
    KafkaError.POLICY_VIOLATION: Verdict.TOPIC,
    KafkaError._PURGE_QUEUE: Verdict.GIVEN_BACK,
    KafkaError._PURGE_INFLIGHT: Verdict.GIVEN_BACK,
}
_MISSING = {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION}


def verdict(error: KafkaError) -> Verdict:
    """What a delivery report's error means; librdkafka itself retried what may pass by itself."""
    return _VERDICTS.get(error.code(), Verdict.AGAIN)


def why_held(error: KafkaError) -> str:
    """Why a topic takes nothing, in words that say what to do."""
    if error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
        return f"this client may not write to it ({error.str()}); give it the right"
    if error.code() in _MISSING:
        return f"the topic does not exist ({error.str()}); infra/init_kafka_topics.sh makes it"
    return error.str()
