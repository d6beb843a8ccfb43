package dev.millrace.examples;

import java.util.Properties;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * Writes numbered records and prints where each one landed. The client's defaults apply: acks=all and an idempotent
 * producer, so a printed line is a record that is on disk, once.
 *
 * <p>Arguments: bootstrap servers, topic, number of records.
 */
public final class Produce {
    public static void main(String[] args) throws Exception {
        if (args.length != 3) {
            System.err.println("usage: Produce BOOTSTRAP TOPIC COUNT");
            System.exit(2);
        }
        Properties config = new Properties();
        config.put(ProducerConfig.BOOTSTRAP_SERVERS_CONFIG, args[0]);
        config.put(ProducerConfig.KEY_SERIALIZER_CLASS_CONFIG, StringSerializer.class.getName());
        config.put(ProducerConfig.VALUE_SERIALIZER_CLASS_CONFIG, StringSerializer.class.getName());
        int count = Integer.parseInt(args[2]);
        try (KafkaProducer<String, String> producer = new KafkaProducer<>(config)) {
            for (int number = 0; number < count; number++) {
                ProducerRecord<String, String> record = new ProducerRecord<>(args[1], "key-" + number, "value-" + number);
                producer.send(record, (where, failure) -> {
                    if (failure != null) {
                        System.err.println("not written: " + failure);
                        System.exit(1);
                    }
                    System.out.println("written " + where.topic() + "-" + where.partition() + "@" + where.offset());
                });
            }
            producer.flush();
        }
    }
}
