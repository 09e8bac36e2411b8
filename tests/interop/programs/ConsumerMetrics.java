// Prints the names of everything that Kafka's own consumer measures, once it has read what is in a topic and committed.

import java.time.Duration;
import java.util.List;
import java.util.Properties;
import java.util.TreeMap;
import java.util.TreeSet;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

public class ConsumerMetrics {
    public static void main(String[] arguments) {
        var settings = new Properties();
        settings.put("bootstrap.servers", arguments[0]);
        settings.put("group.id", arguments[2]);
        settings.put("auto.offset.reset", "earliest");
        settings.put("enable.auto.commit", "false");
        var wanted = Integer.parseInt(arguments[3]);
        try (var consumer = new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            consumer.subscribe(List.of(arguments[1]));
            for (var read = 0; read < wanted; ) {
                read += consumer.poll(Duration.ofMillis(500)).count();
            }
            consumer.commitSync();
            var names = new TreeSet<String>();
            for (var metric : consumer.metrics().values()) {
                var name = metric.metricName();
                names.add("metric " + name.group() + " " + name.name() + " " + new TreeMap<>(name.tags()).keySet());
                if (name.name().equals("bytes-consumed-total") && !name.tags().containsKey("topic")) {
                    System.out.println("bytes " + metric.metricValue());
                }
            }
            names.forEach(System.out::println);
        }
    }
}
