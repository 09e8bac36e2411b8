"""A member of a group as librdkafka is one; the same lines as GroupMember.java says. Of generations it knows nothing."""
import signal, sys, time
from confluent_kafka import Consumer, KafkaException, TopicPartition

topic = sys.argv[1]
config = dict(pair.split("=", 1) for pair in sys.argv[2:])
config.update({"enable.auto.commit": "false", "auto.offset.reset": "earliest"})
ended = []
signal.signal(signal.SIGTERM, lambda *_: ended.append(True))
# What was read and is not known to be committed.
read = {}


def say(what):
    print(int(time.time() * 1000), what, flush=True)


def told(what):
    def hook(consumer, partitions):
        say(what + " -1" + "".join(f" {place.partition}" for place in partitions))
        if what == "revoked":
            commit(consumer)
        if what != "assigned":
            for place in partitions:
                read.pop(place.partition, None)

    return hook


def commit(consumer):
    if not read:
        return
    offsets = dict(read)
    try:
        places = [TopicPartition(topic, partition, offset) for partition, offset in offsets.items()]
        answered = consumer.commit(offsets=places, asynchronous=False)
        for place in answered:
            if place.error:
                say(f"error {place.error}")
                offsets.pop(place.partition)
        say("committed" + "".join(f" {partition}:{offset}" for partition, offset in offsets.items()))
        for partition, offset in offsets.items():
            if read.get(partition) == offset:
                del read[partition]
    except KafkaException as error:
        say(f"error {error}")


consumer = Consumer(config)
consumer.subscribe([topic], on_assign=told("assigned"), on_revoke=told("revoked"), on_lost=told("lost"))
while not ended:
    message = consumer.poll(0.1)
    if message is None:
        commit(consumer)
        continue
    if message.error():
        say(("fatal " if message.error().fatal() else "error ") + str(message.error()))
        if message.error().fatal():
            break
        continue
    say(f"read {message.partition()} {message.offset()} " + message.value().decode())
    read[message.partition()] = message.offset() + 1
    commit(consumer)
say("ends")
consumer.close()
