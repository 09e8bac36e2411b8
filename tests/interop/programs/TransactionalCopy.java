// Copies records from topic to topic, each few of them in a transaction with the group's offsets, as Kafka's own client
// does it: some commit, some abort, and an older producer is fenced. Whatever is wrong ends it by an exception.
import java.time.Duration;
import java.util.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.*;

public class TransactionalCopy {
    static String bootstrap, source, target, group, name;

    static Producer<String, String> producer(String id) {
        Map<String, Object> config = new HashMap<>();
        config.put("bootstrap.servers", bootstrap);
        if (id != null) config.put("transactional.id", id);
        config.put("key.serializer", "org.apache.kafka.common.serialization.StringSerializer");
        config.put("value.serializer", "org.apache.kafka.common.serialization.StringSerializer");
        Producer<String, String> made = new KafkaProducer<>(config);
        if (id != null) made.initTransactions();
        return made;
    }

    static Consumer<String, String> consumer(String group, String isolation) {
        Map<String, Object> config = new HashMap<>();
        config.put("bootstrap.servers", bootstrap);
        config.put("group.id", group);
        config.put("auto.offset.reset", "earliest");
        config.put("enable.auto.commit", "false");
        config.put("isolation.level", isolation);
        config.put("max.poll.records", "10");
        config.put("key.deserializer", "org.apache.kafka.common.serialization.StringDeserializer");
        config.put("value.deserializer", "org.apache.kafka.common.serialization.StringDeserializer");
        return new KafkaConsumer<>(config);
    }

    static List<String> read(String isolation) {
        try (Consumer<String, String> reader = consumer(group + isolation, isolation)) {
            List<TopicPartition> all = List.of(new TopicPartition(target, 0), new TopicPartition(target, 1));
            reader.assign(all);
            reader.seekToBeginning(all);
            Map<TopicPartition, Long> ends = reader.endOffsets(all);
            List<String> values = new ArrayList<>();
            while (all.stream().anyMatch(place -> reader.position(place) < ends.get(place))) {
                for (ConsumerRecord<String, String> record : reader.poll(Duration.ofSeconds(1))) values.add(record.value());
            }
            Collections.sort(values);
            return values;
        }
    }

    static void check(boolean holds, Object found) {
        if (!holds) throw new AssertionError(String.valueOf(found));
    }

    public static void main(String[] arguments) throws Exception {
        bootstrap = arguments[0]; source = arguments[1]; target = arguments[2]; group = arguments[3]; name = arguments[4];
        List<String> expected = new ArrayList<>();
        List<String> aborted = new ArrayList<>();
        try (Producer<String, String> plain = producer(null)) {
            for (int number = 0; number < 100; number++) {
                plain.send(new ProducerRecord<>(source, 0, null, "" + number));
            }
        }
        int polls = 0;
        Producer<String, String> first = producer(name);
        TopicPartition place = new TopicPartition(source, 0);
        try (Consumer<String, String> consumer = consumer(group, "read_committed")) {
            consumer.subscribe(List.of(source));
            while (true) {
                OffsetAndMetadata committed = consumer.committed(Set.of(place)).get(place);
                if (committed != null && committed.offset() == 100) break;
                ConsumerRecords<String, String> records = consumer.poll(Duration.ofSeconds(1));
                if (records.isEmpty()) continue;
                first.beginTransaction();
                boolean aborts = polls++ % 3 == 1;
                long next = 0;
                for (ConsumerRecord<String, String> record : records) {
                    first.send(new ProducerRecord<>(target, record.offset() % 3 == 0 ? 0 : 1, null, record.value()));
                    (aborts ? aborted : expected).add(record.value());
                    next = record.offset() + 1;
                }
                first.sendOffsetsToTransaction(Map.of(place, new OffsetAndMetadata(next)), consumer.groupMetadata());
                if (aborts) {
                    first.flush();
                    first.abortTransaction();
                    consumer.seek(place, next - records.count());
                } else {
                    first.commitTransaction();
                }
            }
            check(polls >= 10, polls);
        }
        // Records of an abort that were sent are there for those who read all.
        first.beginTransaction();
        first.send(new ProducerRecord<>(target, 0, null, "fenced")).get();
        Producer<String, String> second = producer(name);
        try {
            first.commitTransaction();
            check(false, "the older producer could commit");
        } catch (ProducerFencedException | InvalidProducerEpochException fenced) {
            first.close(Duration.ZERO);
        }
        second.beginTransaction();
        second.send(new ProducerRecord<>(target, 0, null, "second"));
        second.commitTransaction();
        second.close();
        expected.add("second");
        Collections.sort(expected);
        check(read("read_committed").equals(expected), read("read_committed"));
        List<String> all = new ArrayList<>(expected);
        all.addAll(aborted);
        all.add("fenced");
        Collections.sort(all);
        check(read("read_uncommitted").equals(all), read("read_uncommitted"));
        // How many transactions the first producer began and nobody fenced.
        System.out.println("transactions " + polls);
    }
}
