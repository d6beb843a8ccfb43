//! The command lines of a Docker user: the broker configured by environment variables alone, several listeners.

use crate::broker::{Broker, free_port};
use crate::kcat::kcat;
use crate::program::run;

#[test]
fn each_listener_gives_its_own_advertised_address() {
    let (plain, host, foo) = (free_port(), free_port(), free_port());
    let advertised = format!(
        "PLAINTEXT://localhost:{plain},CONNECTIONS_FROM_HOST://127.0.0.2:{host},FOO://127.0.0.3:{foo}"
    );
    let broker = Broker::from_environment(
        plain,
        &[
            ("KAFKA_BROKER_ID", "1"),
            ("KAFKA_ZOOKEEPER_CONNECT", "zookeeper:2181"),
            ("KAFKA_ADVERTISED_LISTENERS", &advertised),
            (
                "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP",
                "PLAINTEXT:PLAINTEXT,CONNECTIONS_FROM_HOST:PLAINTEXT,FOO:PLAINTEXT",
            ),
            ("KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR", "1"),
            // What Kubernetes and the JVM images put there must not matter.
            ("KAFKA_HEAP_OPTS", "-Xmx512M"),
            ("KAFKA_PORT", "tcp://10.0.0.1:9092"),
            ("KAFKA_SERVICE_HOST", "10.0.0.1"),
        ],
    );
    for (reached, told) in [
        (
            format!("localhost:{plain}"),
            format!("broker 1 at localhost:{plain}"),
        ),
        (
            format!("127.0.0.2:{host}"),
            format!("broker 1 at 127.0.0.2:{host}"),
        ),
        (format!("127.0.0.3:{foo}"), format!("broker 1 at 127.0.0.3:{foo}")),
    ] {
        let listed = run(kcat(&reached).arg("-L"), "").success();
        assert!(listed.contains(&told), "through {reached}: {listed}");
    }
    let log = broker.log();
    assert!(
        log.to_lowercase().contains("zookeeper"),
        "one line says that no ZooKeeper is needed:\n{log}"
    );
}
