package dev.millrace.examples;

import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;

/**
 * Reads a topic in a group and shows the three ways to commit: {@code auto} (the client commits every second what the
 * last polls returned), {@code sync} (this program commits and waits for the answer), {@code async} (it commits and is
 * told later).
 *
 * <p>Arguments: bootstrap servers, topic, group, auto|sync|async, and how many records to read. When they are read and
 * committed the program stays in the group, idle, until it is ended.
 */
public final class Consume {
    public static void main(String[] args) throws Exception {
        if (args.length != 5 || !List.of("auto", "sync", "async").contains(args[3])) {
            System.err.println("usage: Consume BOOTSTRAP TOPIC GROUP auto|sync|async COUNT");
            System.exit(2);
        }
        String mode = args[3];
        int wanted = Integer.parseInt(args[4]);
        Properties config = new Properties();
        config.put(ConsumerConfig.BOOTSTRAP_SERVERS_CONFIG, args[0]);
        config.put(ConsumerConfig.GROUP_ID_CONFIG, args[2]);
        config.put(ConsumerConfig.KEY_DESERIALIZER_CLASS_CONFIG, StringDeserializer.class.getName());
        config.put(ConsumerConfig.VALUE_DESERIALIZER_CLASS_CONFIG, StringDeserializer.class.getName());
        config.put(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest");
        config.put(ConsumerConfig.ENABLE_AUTO_COMMIT_CONFIG, Boolean.toString(mode.equals("auto")));
        config.put(ConsumerConfig.AUTO_COMMIT_INTERVAL_MS_CONFIG, "1000");
        config.put(ConsumerConfig.SESSION_TIMEOUT_MS_CONFIG, "6000");
        config.put(ConsumerConfig.MAX_POLL_RECORDS_CONFIG, "10");
        try (KafkaConsumer<String, String> consumer = new KafkaConsumer<>(config)) {
            consumer.subscribe(List.of(args[1]));
            int read = 0;
            Map<TopicPartition, OffsetAndMetadata> shown = Map.of();
            while (true) {
                if (read >= wanted) {
                    consumer.pause(consumer.assignment()); // stay a member of the group, take nothing more
                }
                ConsumerRecords<String, String> records = consumer.poll(Duration.ofMillis(100));
                for (ConsumerRecord<String, String> record : records) {
                    System.out.println("read " + record.topic() + "-" + record.partition() + "@" + record.offset() + " " + record.value());
                    read++;
                }
                if (!records.isEmpty() && mode.equals("sync")) {
                    consumer.commitSync(Duration.ofSeconds(10));
                    print(consumer.committed(consumer.assignment()));
                } else if (!records.isEmpty() && mode.equals("async")) {
                    consumer.commitAsync((offsets, failure) -> {
                        if (failure == null) {
                            print(offsets);
                        } else {
                            System.err.println("not committed: " + failure);
                        }
                    });
                } else if (mode.equals("auto") && read > 0) {
                    Set<TopicPartition> mine = consumer.assignment();
                    Map<TopicPartition, OffsetAndMetadata> now = consumer.committed(mine, Duration.ofSeconds(10));
                    if (!now.equals(shown)) {
                        print(now);
                        shown = now;
                    }
                }
            }
        }
    }

    private static void print(Map<TopicPartition, OffsetAndMetadata> offsets) {
        offsets.forEach((partition, offset) -> {
            if (offset != null) {
                System.out.println("committed " + partition + "@" + offset.offset());
            }
        });
    }
}
