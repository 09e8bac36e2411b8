"""A member of a group as librdkafka is one; the same lines as GroupMember.java says."""
import signal, sys, time
from confluent_kafka import Consumer, KafkaException

topic = sys.argv[1]
config = dict(pair.split("=", 1) for pair in sys.argv[2:])
config.update({"enable.auto.commit": "false", "auto.offset.reset": "earliest"})
ended = []
signal.signal(signal.SIGTERM, lambda *_: ended.append(True))


def say(what):
    print(int(time.time() * 1000), what, flush=True)


def told(what):
    def hook(consumer, partitions):
        say(what + "".join(f" {place.partition}" for place in partitions))
        if what == "revoked":
            commit(consumer)

    return hook


def commit(consumer):
    try:
        consumer.commit(asynchronous=False)
    except KafkaException as error:
        if error.args[0].name() != "_NO_OFFSET":
            say(f"error {error}")


consumer = Consumer(config)
consumer.subscribe([topic], on_assign=told("assigned"), on_revoke=told("revoked"), on_lost=told("lost"))
while not ended:
    message = consumer.poll(0.1)
    if message is None:
        continue
    if message.error():
        say(f"error {message.error()}")
        continue
    say("read " + message.value().decode())
    commit(consumer)
say("ends")
consumer.close()
