//! What whole configurations come to: those that users of Kafka have already, and those that cannot work.

use std::path::Path;

use super::*;

fn facts() -> Facts {
    Facts {
        hostname: "myhost".to_string(),
        default_log_dir: PathBuf::from("/var/lib/millrace/data"),
    }
}

fn from(file: &str, environment: &[(&str, &str)], overrides: &[&str]) -> Result<Config, ConfigErrors> {
    let environment = environment
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_string()));
    let overrides: Vec<String> = overrides.iter().map(|text| text.to_string()).collect();
    let file = (!file.is_empty()).then_some((Path::new("server.properties"), file));
    Config::new(Settings::gather(file, environment, &overrides), &facts())
}

#[test]
fn nothing_given_is_a_whole_configuration() {
    let config = from("", &[], &[]).unwrap();
    assert_eq!(
        config.node,
        NodeOptions {
            node_id: None,
            cluster_id: None,
            rack: None
        }
    );
    assert_eq!(config.storage.log_dirs, [PathBuf::from("/var/lib/millrace/data")]);
    assert!(
        config.notes[0].starts_with("log.dirs=/var/lib/millrace/data"),
        "{:?}",
        config.notes
    );
    assert_eq!(config.listeners.listen[0].port, 9092);
    assert_eq!(config.control.admin.to_string(), "127.0.0.1:9644");
    assert_eq!(config.runtime.io_engine, IoEngine::Auto);
    assert_eq!(config.sockets.request_max_bytes, 104_857_600);
    assert_eq!(config.topics.num_partitions, 1);
    assert!(config.topics.auto_create);
    assert_eq!(config.groups.initial_rebalance_delay, Duration::from_secs(3));
    assert_eq!(
        config.groups.offsets_retention,
        Duration::from_secs(7 * 24 * 3600)
    );
    assert!(config.given.is_empty());
}

#[test]
fn a_docker_users_environment_is_understood() {
    let config = from(
        "",
        &[
            ("KAFKA_BROKER_ID", "1"),
            ("KAFKA_ZOOKEEPER_CONNECT", "zookeeper:2181"),
            (
                "KAFKA_ADVERTISED_LISTENERS",
                "PLAINTEXT://localhost:9092,CONNECTIONS_FROM_HOST://127.0.0.2:19092,FOO://127.0.0.3:19093",
            ),
            (
                "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP",
                "PLAINTEXT:PLAINTEXT,CONNECTIONS_FROM_HOST:PLAINTEXT,FOO:PLAINTEXT",
            ),
            ("KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR", "1"),
            ("KAFKA_HEAP_OPTS", "-Xmx256m"),
            ("KAFKA_PORT", "tcp://10.96.0.9:9092"),
            ("PATH", "/bin"),
        ],
        &["log.dirs=/data"],
    )
    .unwrap();
    assert_eq!(config.node.node_id, Some(NodeId(1)));
    assert_eq!(config.listeners.listen.len(), 3);
    assert_eq!(config.groups.offsets_replication_factor, 1);
    let notes = config.notes.join("\n");
    assert!(
        notes.contains("KAFKA_ZOOKEEPER_CONNECT: no ZooKeeper is needed"),
        "{notes}"
    );
    assert_eq!(config.notes.len(), 2, "{notes}");
}

#[test]
fn a_kraft_compose_file_is_understood() {
    let config = from(
        "",
        &[
            ("CLUSTER_ID", "4L6g3nShT-eMCtK--X86sw"),
            ("KAFKA_NODE_ID", "1"),
            ("KAFKA_PROCESS_ROLES", "broker,controller"),
            (
                "KAFKA_LISTENERS",
                "PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093",
            ),
            ("KAFKA_ADVERTISED_LISTENERS", "PLAINTEXT://localhost:9092"),
            ("KAFKA_CONTROLLER_LISTENER_NAMES", "CONTROLLER"),
            (
                "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP",
                "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            ),
            ("KAFKA_CONTROLLER_QUORUM_VOTERS", "1@localhost:9093"),
            ("KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR", "1"),
            ("KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR", "1"),
            ("KAFKA_TRANSACTION_STATE_LOG_MIN_ISR", "1"),
            ("KAFKA_SHARE_COORDINATOR_STATE_TOPIC_REPLICATION_FACTOR", "1"),
            ("KAFKA_SHARE_COORDINATOR_STATE_TOPIC_MIN_ISR", "1"),
            ("KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS", "0"),
            ("KAFKA_NUM_PARTITIONS", "3"),
            ("KAFKA_LOG_DIRS", "/tmp/kraft-combined-logs"),
        ],
        &[],
    )
    .unwrap();
    assert_eq!(config.node.cluster_id.as_deref(), Some("4L6g3nShT-eMCtK--X86sw"));
    assert_eq!(config.groups.initial_rebalance_delay, Duration::ZERO);
    assert_eq!(config.topics.num_partitions, 3);
    assert_eq!(config.given["num.partitions"], "3");
}

#[test]
fn everything_wrong_is_said_at_once() {
    let error = from(
        "num.partition=3\nlog.segment.bytes=1\n",
        &[
            ("KAFKA_SSL_CLIENT_AUTH", "required"),
            ("KAFKA_CONTROLLER_QUORUM_VOTERS", "1@a:1,2@b:1"),
        ],
        &[
            "node.id=1",
            "broker.id=2",
            "log.dirs=/a,/b",
            "process.roles=controller",
        ],
    )
    .unwrap_err();
    let text = error.to_string();
    for part in [
        "server.properties:1: unknown property num.partition; did you mean num.partitions?",
        "server.properties:2: log.segment.bytes=1: a whole number from 1048576",
        "KAFKA_SSL_CLIENT_AUTH: ssl.client.auth=required is not served yet",
        "controller.quorum.voters=1@a:1,2@b:1: 1, 3 or 5 voters",
        "broker.id=2: node.id=1 says otherwise",
        "log.dirs=/a,/b: one folder",
        "cluster.id: brokers of one cluster",
        "process.roles=controller: a controller alone",
    ] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
    assert_eq!(error.0.len(), 8, "{text}");
}

#[test]
fn a_kraft_file_that_names_this_node_alone_makes_a_cluster_of_one() {
    let alone = |given: &[&str]| from("", &[], given).unwrap().cluster.is_none();
    assert!(alone(&["node.id=1", "controller.quorum.voters=1@h:9093"]));
    assert!(alone(&["controller.quorum.bootstrap.servers=localhost:9093"]));
    assert!(alone(&[
        "process.roles=broker,controller",
        "controller.quorum.bootstrap.servers=localhost:9093"
    ]));
    let error = from("", &[], &["default.replication.factor=3"]).unwrap_err();
    assert!(error.to_string().contains("1 is the most"), "{error}");
}

#[test]
fn several_voters_are_told_by_node_and_address() {
    let voters = "controller.quorum.voters=0@a:1,1@b:2,2@c:3";
    let config = from(
        "",
        &[],
        &[
            "node.id=1",
            "cluster.id=x",
            voters,
            "default.replication.factor=3",
        ],
    )
    .unwrap();
    let cluster = config.cluster.unwrap();
    assert_eq!(cluster.voters[&2], "c:3");
    assert_eq!(cluster.advertised, "b:2");
    assert_eq!(cluster.control.to_string(), "0.0.0.0:9646");
    assert_eq!(cluster.replication.to_string(), "0.0.0.0:9647");
    assert_eq!(cluster.replication_advertised, ("b".to_string(), 9647));
    for (given, words) in [
        ("controller.quorum.voters=0@a:1,0@b:2,1@c:3", "named twice"),
        ("controller.quorum.voters=a:1", "<node.id>@host:port"),
        ("control.advertised.listener=nowhere", "host:port"),
        ("replication.advertised.listener=nowhere", "host:port"),
        ("broker.heartbeat.interval.ms=2000", "at most half"),
    ] {
        let error = from("", &[], &["node.id=1", "cluster.id=x", voters, given]).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn a_broker_that_is_no_voter_must_be_told_who_it_is() {
    let error = from(
        "process.roles=broker\ncontroller.quorum.bootstrap.servers=a:1\n",
        &[],
        &[],
    )
    .unwrap_err();
    assert!(
        error.to_string().contains("node.id") && error.to_string().contains("cluster.id"),
        "{error}"
    );
}

#[test]
fn ports_of_the_control_plane_are_addresses() {
    let config = from("", &[], &["admin.listener=:0", "http.listener=[::1]:8080"]).unwrap();
    assert_eq!(config.control.admin.to_string(), "0.0.0.0:0");
    assert_eq!(config.control.http.to_string(), "[::1]:8080");
    let error = from("", &[], &["http.listener=nonsense"]).unwrap_err();
    assert!(
        error.to_string().contains("http.listener=nonsense: host:port"),
        "{error}"
    );
}

#[test]
fn an_address_may_have_no_connection_only_where_others_may() {
    let nobody = from("", &[], &["max.connections.per.ip=0"]).unwrap_err();
    assert_eq!(
        nobody.0,
        [
            "--override: max.connections.per.ip=0: nobody could connect; max.connections.per.ip.overrides must name who may"
        ]
    );
    let overrides = [
        "max.connections.per.ip=0",
        "max.connections.per.ip.overrides=10.0.0.7:5",
    ];
    assert!(from("", &[], &overrides).is_ok());
}
