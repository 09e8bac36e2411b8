# Copies records from topic to topic in transactions by confluent-kafka: some commit, one aborts, and an older producer is
# fenced. Whatever is wrong ends it by an exception.
import sys
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
bootstrap, source, target, group, name = sys.argv[1:]

def producer():
    made = Producer({"bootstrap.servers": bootstrap, "transactional.id": name, "transaction.timeout.ms": 60000})
    made.init_transactions(60)
    return made

plain = Producer({"bootstrap.servers": bootstrap})
for number in range(30):
    plain.produce(source, str(number), partition=0)
assert plain.flush(60) == 0

consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group, "auto.offset.reset": "earliest",
    "enable.auto.commit": False, "isolation.level": "read_committed"})
consumer.subscribe([source])
first = producer()

def copy(count, commit):
    first.begin_transaction()
    for _ in range(count):
        message = consumer.poll(60)
        assert message is not None and not message.error(), message and message.error()
        first.produce(target, message.value(), partition=int(message.value()) % 2)
    first.send_offsets_to_transaction(consumer.position(consumer.assignment()), consumer.consumer_group_metadata(), 60)
    if commit:
        first.commit_transaction(60)
    else:
        assert first.flush(60) == 0
        first.abort_transaction(60)

def committed():
    [place] = consumer.committed([TopicPartition(source, 0)], 60)
    return place.offset

copy(10, True)
assert committed() == 10, committed()
copy(5, False)
assert committed() == 10, committed()
consumer.seek(TopicPartition(source, 0, 10))
copy(10, True)
assert committed() == 20, committed()

# An older producer of the same name is told that it is fenced, and what it began is aborted.
first.begin_transaction()
first.produce(target, "fenced", partition=0)
assert first.flush(60) == 0
second = producer()
try:
    first.commit_transaction(60)
    raise AssertionError("the older producer could commit")
except KafkaException as error:
    assert error.args[0].code() in (KafkaError._FENCED, KafkaError.INVALID_PRODUCER_EPOCH), error
    assert error.args[0].fatal(), error
second.begin_transaction()
second.produce(target, "second", partition=0)
second.produce(target, "second", partition=1)
second.commit_transaction(60)
consumer.close()

def read(level):
    reader = Consumer({"bootstrap.servers": bootstrap, "group.id": group + " " + level, "isolation.level": level,
        "enable.partition.eof": True, "enable.auto.commit": False})
    reader.assign([TopicPartition(target, partition, 0) for partition in range(2)])
    values, ended = [], set()
    while len(ended) < 2:
        message = reader.poll(60)
        assert message is not None
        if message.error():
            assert message.error().code() == KafkaError._PARTITION_EOF, message.error()
            ended.add(message.partition())
        else:
            values.append(message.value().decode())
    reader.close()
    return sorted(values)

numbers = [str(number) for number in range(20)]
assert read("read_committed") == sorted(numbers + ["second", "second"]), read("read_committed")
aborted = [str(number) for number in range(10, 15)]
assert read("read_uncommitted") == sorted(numbers + aborted + ["fenced", "second", "second"]), read("read_uncommitted")
print("done")
