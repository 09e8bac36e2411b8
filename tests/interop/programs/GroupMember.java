// A member of a group as Kafka's own client is one. It says what it is given, what is taken from it, what it reads and
// what it has committed, each line with the time in milliseconds, and commits what it has read before anything is taken
// from it. It ends in good order by SIGTERM.
import java.time.Duration;
import java.util.*;
import java.util.stream.Collectors;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.FencedInstanceIdException;
import org.apache.kafka.common.errors.UnknownMemberIdException;
import org.apache.kafka.common.errors.WakeupException;

public class GroupMember {
    /** What was read and is not known to be committed. */
    static final Map<TopicPartition, OffsetAndMetadata> read = new HashMap<>();

    static synchronized void say(String what) {
        System.out.println(System.currentTimeMillis() + " " + what);
    }

    static void say(String what, int epoch, Collection<TopicPartition> partitions) {
        say(what + " " + epoch + partitions.stream().map(at -> " " + at.partition()).collect(Collectors.joining()));
    }

    public static void main(String[] arguments) throws Exception {
        Map<String, Object> config = new HashMap<>();
        String topic = arguments[0];
        for (int at = 1; at < arguments.length; at++) {
            String[] pair = arguments[at].split("=", 2);
            config.put(pair[0], pair[1]);
        }
        config.put("enable.auto.commit", "false");
        config.put("auto.offset.reset", "earliest");
        config.put("key.deserializer", "org.apache.kafka.common.serialization.StringDeserializer");
        config.put("value.deserializer", "org.apache.kafka.common.serialization.StringDeserializer");
        Consumer<String, String> consumer = new KafkaConsumer<>(config);
        Thread main = Thread.currentThread();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            consumer.wakeup();
            try { main.join(); } catch (InterruptedException ignored) { }
        }));
        consumer.subscribe(List.of(topic), new ConsumerRebalanceListener() {
            int epoch() { return consumer.groupMetadata().generationId(); }
            public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
                say("assigned", epoch(), partitions);
            }
            public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
                // Nothing of them is read any more.
                say("revoked", epoch(), partitions);
                commit(consumer);
                read.keySet().removeAll(partitions);
            }
            public void onPartitionsLost(Collection<TopicPartition> partitions) {
                say("lost", epoch(), partitions);
                read.keySet().removeAll(partitions);
            }
        });
        try {
            while (true) {
                ConsumerRecords<String, String> records;
                try {
                    records = consumer.poll(Duration.ofMillis(100));
                } catch (UnknownMemberIdException error) {
                    // The group has given it up; it joins anew by itself.
                    say("error " + error);
                    continue;
                }
                for (ConsumerRecord<String, String> record : records) {
                    say("read " + record.partition() + " " + record.offset() + " " + record.value());
                    read.put(new TopicPartition(topic, record.partition()), new OffsetAndMetadata(record.offset() + 1));
                }
                commit(consumer);
            }
        } catch (WakeupException ended) {
            say("ends");
        } catch (KafkaException error) {
            say("fatal " + error);
        }
        consumer.close();
    }

    static void commit(Consumer<String, String> consumer) {
        Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>(read);
        boolean woken = false;
        while (!offsets.isEmpty()) {
            try {
                consumer.commitSync(offsets);
                say("committed" + offsets.entrySet().stream()
                    .map(one -> " " + one.getKey().partition() + ":" + one.getValue().offset())
                    .collect(Collectors.joining()));
                read.entrySet().removeAll(offsets.entrySet());
                break;
            } catch (WakeupException end) {
                // The end is asked for: after this commit.
                woken = true;
            } catch (FencedInstanceIdException error) {
                throw error;
            } catch (KafkaException error) {
                // A rebalance: what is kept is committed with what comes next, or before it is taken.
                say("error " + error);
                break;
            }
        }
        if (woken) consumer.wakeup();
    }
}
