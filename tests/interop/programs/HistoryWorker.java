// Kafka's own clients under load, each of which writes down what it does and what it is told: events of a history, as
// lines of JSON (rkafka-history says what they mean). Records without transactions, transactions with the offsets of a
// group, and a reader of all of it. It ends in good order by SIGTERM.
import java.io.FileOutputStream;
import java.nio.charset.StandardCharsets;
import java.time.*;
import java.time.temporal.ChronoUnit;
import java.util.*;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.*;

public class HistoryWorker {
    static final int RECORDS_OF_TRANSACTION = 8;
    static final long PACE = 40;
    static final String GROUP = "invoices";
    static final AtomicLong ids = new AtomicLong();
    static String bootstrap, records, transactions;
    static int partitions;
    static long life;
    static FileOutputStream file;
    static volatile boolean stopped;

    static void write(String process, long id, String phase, String action) {
        long now = ChronoUnit.MICROS.between(Instant.EPOCH, Instant.now());
        String line = "{\"process\":\"" + process + "\",\"id\":" + id + ",\"time\":" + now + ",\"type\":\"" + phase
            + "\",\"f\":" + action + "}\n";
        try {
            // One write, so that a kill leaves the whole line or nothing.
            file.write(line.getBytes(StandardCharsets.UTF_8));
        } catch (java.io.IOException error) {
            Runtime.getRuntime().halt(3);
        }
    }

    static long begin(String process, String action) {
        long id = ids.incrementAndGet();
        write(process, id, "invoke", action);
        return id;
    }

    static String send(String topic, int partition, String value, String transaction, Long offset) {
        return "\"send\",\"partition\":\"" + topic + "-" + partition + "\",\"value\":\"" + value + "\""
            + (offset == null ? "" : ",\"offset\":" + offset)
            + (transaction == null ? "" : ",\"transaction\":\"" + transaction + "\"");
    }

    /** Whether the record may be in the log in spite of the error: Java does not say, and only some errors rule it out. */
    static String phase(Exception error) {
        if (error == null) return "ok";
        boolean never = error instanceof RecordTooLargeException || error instanceof TransactionAbortedException;
        return never ? "fail" : "info";
    }

    static void sendOne(Producer<String, String> producer, String process, String topic, int partition, String value,
                        String transaction) {
        long id = begin(process, send(topic, partition, value, transaction, null));
        try {
            producer.send(new ProducerRecord<>(topic, partition, null, value), (written, error) -> {
                Long offset = error == null && written.hasOffset() ? written.offset() : null;
                write(process, id, phase(error), send(topic, partition, value, transaction, offset));
            });
        } catch (KafkaException error) {
            write(process, id, "info", send(topic, partition, value, transaction, null));
            throw error;
        }
    }

    static Producer<String, String> producer(String id) {
        Map<String, Object> config = new HashMap<>();
        config.put("bootstrap.servers", bootstrap);
        if (id != null) {
            config.put("transactional.id", id);
            config.put("transaction.timeout.ms", "30000");
        }
        config.put("key.serializer", "org.apache.kafka.common.serialization.StringSerializer");
        config.put("value.serializer", "org.apache.kafka.common.serialization.StringSerializer");
        while (true) {
            Producer<String, String> made = new KafkaProducer<>(config);
            try {
                if (id != null) made.initTransactions();
                return made;
            } catch (KafkaException error) {
                System.err.println("initTransactions: " + error);
                made.close(Duration.ZERO);
            }
        }
    }

    static void plain() throws Exception {
        String process = "java-plain#" + life;
        Producer<String, String> producer = producer(null);
        for (int number = 0; !stopped; number++) {
            sendOne(producer, process, records, number % partitions, process + "-" + number, null);
            if (number % 5 == 4) Thread.sleep(PACE);
        }
        producer.close();
        write(process, ids.incrementAndGet(), "ok", "\"closed\"");
    }

    static void transactional() throws Exception {
        String process = GROUP + "#" + life;
        Producer<String, String> producer = producer(GROUP);
        for (int number = 1; !stopped; number++) {
            String name = process + "-" + number;
            String ends = "\"transaction\":\"" + name + "\"";
            long ending = 0;
            boolean commits = number % 5 != 4;
            try {
                producer.beginTransaction();
                for (int index = 0; index < RECORDS_OF_TRANSACTION; index++) {
                    sendOne(producer, process, transactions, (number + index) % partitions, name + "-" + index, name);
                }
                long offset = life * 1_000_000 + number + 1;
                String offsets = "\"commit-offsets\",\"group\":\"" + GROUP + "\",\"offsets\":{\"" + records + "-0\":" + offset
                    + "}," + ends;
                long id = begin(process, offsets);
                try {
                    producer.sendOffsetsToTransaction(Map.of(new TopicPartition(records, 0), new OffsetAndMetadata(offset)),
                        new ConsumerGroupMetadata(GROUP));
                    write(process, id, "ok", offsets);
                } catch (KafkaException error) {
                    write(process, id, "info", offsets);
                    throw error;
                }
                if (commits) {
                    ending = begin(process, "\"commit\"," + ends);
                    producer.commitTransaction();
                    write(process, ending, "ok", "\"commit\"," + ends);
                } else {
                    long aborting = begin(process, "\"abort\"," + ends);
                    producer.abortTransaction();
                    write(process, aborting, "ok", "\"abort\"," + ends);
                }
            } catch (KafkaException error) {
                System.err.println(name + ": " + error);
                // After a time-out Java can only try the same again; whether it was committed is not known. The next producer
                // of the name ends what this one has begun.
                if (ending != 0) write(process, ending, "info", "\"commit\"," + ends);
                producer.close(Duration.ZERO);
                producer = producer(GROUP);
            }
            Thread.sleep(PACE);
        }
        producer.close();
        write(process, ids.incrementAndGet(), "ok", "\"closed\"");
    }

    static void reader() {
        String process = "java-reader#" + life;
        Map<String, Object> config = new HashMap<>();
        config.put("bootstrap.servers", bootstrap);
        config.put("isolation.level", "read_committed");
        config.put("auto.offset.reset", "none");
        config.put("key.deserializer", "org.apache.kafka.common.serialization.StringDeserializer");
        config.put("value.deserializer", "org.apache.kafka.common.serialization.StringDeserializer");
        try (Consumer<String, String> consumer = new KafkaConsumer<>(config)) {
            Map<TopicPartition, Long> places = new HashMap<>();
            StringJoiner positions = new StringJoiner(",");
            for (String topic : List.of(records, transactions)) {
                for (int partition = 0; partition < partitions; partition++) {
                    places.put(new TopicPartition(topic, partition), 0L);
                    positions.add("\"" + topic + "-" + partition + "\":0");
                }
            }
            consumer.assign(places.keySet());
            places.forEach(consumer::seek);
            write(process, ids.incrementAndGet(), "ok", "\"assign\",\"positions\":{" + positions + "}");
            while (!stopped) {
                ConsumerRecords<String, String> read = consumer.poll(Duration.ofMillis(200));
                if (read.isEmpty()) continue;
                StringJoiner all = new StringJoiner(",");
                for (TopicPartition place : read.partitions()) {
                    StringJoiner list = new StringJoiner(",");
                    for (ConsumerRecord<String, String> record : read.records(place)) {
                        list.add("[" + record.offset() + ",\"" + record.value() + "\"]");
                    }
                    all.add("\"" + place + "\":[" + list + "]");
                }
                String poll = "\"poll\",\"isolation\":\"read_committed\",\"records\":{" + all + "}";
                write(process, ids.incrementAndGet(), "ok", poll);
            }
        }
        write(process, ids.incrementAndGet(), "ok", "\"closed\"");
    }

    interface Work { void run() throws Exception; }

    static Thread thread(Work work) {
        Thread thread = new Thread(() -> {
            try {
                work.run();
            } catch (Throwable error) {
                error.printStackTrace();
                Runtime.getRuntime().halt(2);
            }
        });
        thread.start();
        return thread;
    }

    public static void main(String[] arguments) throws Exception {
        bootstrap = arguments[0];
        file = new FileOutputStream(arguments[1], true);
        life = Long.parseLong(arguments[2]);
        records = arguments[3];
        transactions = arguments[4];
        partitions = Integer.parseInt(arguments[5]);
        List<Thread> threads = List.of(
            thread(HistoryWorker::plain), thread(HistoryWorker::reader), thread(HistoryWorker::transactional));
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            stopped = true;
            for (Thread one : threads) {
                try { one.join(); } catch (InterruptedException ignored) { }
            }
        }));
        for (Thread one : threads) one.join();
    }
}
