//! The table of the rules: their words, an object that passes and one that is refused, as merge patches on the smallest one.

/// The kinds that have rules.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    KafkaCluster,
    KafkaTopic,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::KafkaCluster => "KafkaCluster",
            Kind::KafkaTopic => "KafkaTopic",
        }
    }

    pub(super) fn plural(self) -> &'static str {
        match self {
            Kind::KafkaCluster => "kafkaclusters",
            Kind::KafkaTopic => "kafkatopics",
        }
    }
}

/// One row. For a rule about a change, `before` is what is there, and the other two are what is wanted next.
pub(super) struct Case {
    pub(super) rule: &'static str,
    pub(super) kind: Kind,
    pub(super) before: Option<&'static str>,
    pub(super) passes: &'static str,
    pub(super) refused: &'static str,
}

const fn cluster(rule: &'static str, passes: &'static str, refused: &'static str) -> Case {
    Case {
        rule,
        kind: Kind::KafkaCluster,
        before: None,
        passes,
        refused,
    }
}

const fn topic(rule: &'static str, passes: &'static str, refused: &'static str) -> Case {
    Case {
        rule,
        kind: Kind::KafkaTopic,
        before: None,
        passes,
        refused,
    }
}

impl Case {
    const fn after(mut self, before: &'static str) -> Case {
        self.before = Some(before);
        self
    }
}

pub(super) const CASES: &[Case] = &[
    cluster(
        "the name may have at most 40 characters, so that the names of pods and services made from it fit",
        r#"{"metadata": {"name": "cccccccccccccccccccccccccccccccccccccccc"}}"#,
        r#"{"metadata": {"name": "ccccccccccccccccccccccccccccccccccccccccc"}}"#,
    ),
    cluster(
        "the name must be lower-case letters, digits and '-', starting with a letter: services are named after it",
        r#"{"metadata": {"name": "a-1"}}"#,
        r#"{"metadata": {"name": "1-a"}}"#,
    ),
    cluster(
        "replicas must be 1, 3 or 5: the brokers vote among themselves, and an even number survives no more than the odd one below it",
        r#"{"spec": {"replicas": 3}}"#,
        r#"{"spec": {"replicas": 4}}"#,
    ),
    cluster(
        "replicas cannot be lowered in this version: nothing moves the records off a broker that goes; set it to what it was",
        r#"{"spec": {"replicas": 3}}"#,
        r#"{"spec": {"replicas": 1}}"#,
    )
    .after(r#"{"spec": {"replicas": 3}}"#),
    cluster(
        "two listeners have the same port; give each its own",
        r#"{"spec": {"listeners": [{"name": "a", "port": 9092, "type": "internal"}, {"name": "b", "port": 9093, "type": "nodeport"}]}}"#,
        r#"{"spec": {"listeners": [{"name": "a", "port": 9092, "type": "internal"}, {"name": "b", "port": 9092, "type": "nodeport"}]}}"#,
    ),
    cluster(
        "at least one listener of type internal is needed; the operator and pods of the cluster use it",
        r#"{"spec": {"listeners": [{"name": "a", "port": 9092, "type": "internal"}]}}"#,
        r#"{"spec": {"listeners": [{"name": "a", "port": 9092, "type": "nodeport"}]}}"#,
    ),
    cluster(
        "nodeAddressType is only for listeners of type nodeport",
        r#"{"spec": {"listeners": [{"name": "a", "port": 9092, "type": "internal"}, {"name": "b", "port": 9093, "type": "nodeport", "advertised": {"nodeAddressType": "InternalIP"}}]}}"#,
        r#"{"spec": {"listeners": [{"name": "a", "port": 9092, "type": "internal", "advertised": {"nodeAddressType": "InternalIP"}}]}}"#,
    ),
    cluster(
        "storage of type persistent-claim needs a size, for example 10Gi",
        r#"{"spec": {"storage": {"type": "persistent-claim", "size": "1Gi"}}}"#,
        r#"{"spec": {"storage": {"type": "persistent-claim"}}}"#,
    ),
    cluster(
        "class is only for storage of type persistent-claim",
        r#"{"spec": {"storage": {"type": "persistent-claim", "size": "1Gi", "class": "fast"}}}"#,
        r#"{"spec": {"storage": {"class": "fast"}}}"#,
    ),
    cluster(
        "the type of storage cannot be changed; make a new cluster",
        r#"{"spec": {"storage": {"type": "ephemeral"}}}"#,
        r#"{"spec": {"storage": {"type": "persistent-claim", "size": "1Gi"}}}"#,
    )
    .after(r#"{"spec": {"storage": {"type": "ephemeral", "size": "1Gi"}}}"#),
    cluster(
        "the storage class cannot be changed; make a new cluster",
        r#"{"spec": {"storage": {"type": "persistent-claim", "class": "fast"}}}"#,
        r#"{"spec": {"storage": {"type": "persistent-claim", "class": "slow"}}}"#,
    )
    .after(r#"{"spec": {"storage": {"type": "persistent-claim", "size": "1Gi", "class": "fast"}}}"#),
    cluster(
        "the size cannot be removed; leave it as it is",
        r#"{"spec": {"storage": {"size": "2Gi"}}}"#,
        r#"{"spec": {"storage": {"size": null}}}"#,
    )
    .after(r#"{"spec": {"storage": {"type": "ephemeral", "size": "1Gi"}}}"#),
    cluster(
        "the size must be a quantity, for example 10Gi",
        r#"{"spec": {"storage": {"type": "persistent-claim", "size": "10Gi"}}}"#,
        r#"{"spec": {"storage": {"type": "persistent-claim", "size": "ten"}}}"#,
    ),
    cluster(
        "storage cannot shrink; set the size to at least what it was",
        r#"{"spec": {"storage": {"type": "persistent-claim", "size": "3Gi"}}}"#,
        r#"{"spec": {"storage": {"type": "persistent-claim", "size": "1Gi"}}}"#,
    )
    .after(r#"{"spec": {"storage": {"type": "persistent-claim", "size": "2Gi"}}}"#),
    cluster(
        "node.id, broker.id, cluster.id, listeners, listener.security.protocol.map, log.dir, log.dirs, metadata.log.dir, broker.rack, process.roles, admin.listener, http.listener, cluster.formed, io.engine, inter.broker.listener.name and zookeeper.connect are set by the operator; use the fields of the spec",
        r#"{"spec": {"config": {"num.partitions": 3}}}"#,
        r#"{"spec": {"config": {"log.dirs": "/tmp"}}}"#,
    ),
    cluster(
        "advertised.*, controller.*, control.* and replication.* are set by the operator; use spec.listeners",
        r#"{"spec": {"config": {"num.partitions": 3}}}"#,
        r#"{"spec": {"config": {"advertised.listeners": "PLAIN://x:1"}}}"#,
    ),
    cluster(
        "default.replication.factor may not exceed replicas",
        r#"{"spec": {"replicas": 3, "config": {"default.replication.factor": 3}}}"#,
        r#"{"spec": {"replicas": 1, "config": {"default.replication.factor": "3"}}}"#,
    ),
    cluster(
        "min.insync.replicas may not exceed replicas",
        r#"{"spec": {"replicas": 3, "config": {"min.insync.replicas": "2"}}}"#,
        r#"{"spec": {"replicas": 1, "config": {"min.insync.replicas": 2}}}"#,
    ),
    cluster(
        "localhostProfile is needed with type Localhost, and only then",
        r#"{"spec": {"security": {"seccompProfile": {"type": "Localhost", "localhostProfile": "a.json"}}}}"#,
        r#"{"spec": {"security": {"seccompProfile": {"type": "RuntimeDefault", "localhostProfile": "a.json"}}}}"#,
    ),
    topic(
        "a topic name may have at most 249 characters; give spec.topicName",
        r#"{"metadata": {"name": "tttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttt"}, "spec": {"topicName": "t"}}"#,
        r#"{"metadata": {"name": "tttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttt"}}"#,
    ),
    topic(
        "topicName cannot be added or removed; make a new KafkaTopic",
        r#"{"spec": {"partitions": 2}}"#,
        r#"{"spec": {"topicName": "other"}}"#,
    )
    .after(r#"{}"#),
    topic(
        "partitions cannot be removed once set; leave it as it is",
        r#"{"spec": {"partitions": 4}}"#,
        r#"{"spec": {"partitions": null}}"#,
    )
    .after(r#"{"spec": {"partitions": 3}}"#),
    topic(
        "replicas may not exceed 5, the most brokers a cluster has in this version",
        r#"{"spec": {"replicas": 3}}"#,
        r#"{"spec": {"replicas": 6}}"#,
    ),
    topic(
        "the number of partitions can only grow; set it to at least the current number",
        r#"{"spec": {"partitions": 4}}"#,
        r#"{"spec": {"partitions": 2}}"#,
    )
    .after(r#"{"spec": {"partitions": 3}}"#),
    topic(
        "clusterRef cannot be changed; make a new KafkaTopic",
        r#"{"spec": {"partitions": 2}}"#,
        r#"{"spec": {"clusterRef": {"name": "another"}}}"#,
    )
    .after(r#"{}"#),
    topic(
        "topicName cannot be changed; make a new KafkaTopic",
        r#"{"spec": {"partitions": 2}}"#,
        r#"{"spec": {"topicName": "other"}}"#,
    )
    .after(r#"{"spec": {"topicName": "one"}}"#),
    topic(
        "a topic cannot be named . or ..",
        r#"{"spec": {"topicName": "..."}}"#,
        r#"{"spec": {"topicName": ".."}}"#,
    ),
    topic(
        "names that start with __ belong to Kafka itself",
        r#"{"spec": {"topicName": "_mine"}}"#,
        r#"{"spec": {"topicName": "__consumer_offsets"}}"#,
    ),
    topic(
        "cleanup.policy: only delete is served in this version",
        r#"{"spec": {"config": {"cleanup.policy": "delete"}}}"#,
        r#"{"spec": {"config": {"cleanup.policy": "compact"}}}"#,
    ),
    topic(
        "retention.ms must be a number of milliseconds, or -1 for no limit",
        r#"{"spec": {"config": {"retention.ms": -1}}}"#,
        r#"{"spec": {"config": {"retention.ms": "7d"}}}"#,
    ),
    topic(
        "retention.bytes must be a number of bytes, or -1 for no limit",
        r#"{"spec": {"config": {"retention.bytes": "1000"}}}"#,
        r#"{"spec": {"config": {"retention.bytes": "1GB"}}}"#,
    ),
    topic(
        "segment.bytes must be a number of bytes",
        r#"{"spec": {"config": {"segment.bytes": 1048576}}}"#,
        r#"{"spec": {"config": {"segment.bytes": "-1"}}}"#,
    ),
    topic(
        "segment.ms must be a number of milliseconds",
        r#"{"spec": {"config": {"segment.ms": "3600000"}}}"#,
        r#"{"spec": {"config": {"segment.ms": "1h"}}}"#,
    ),
    topic(
        "min.insync.replicas may not exceed replicas",
        r#"{"spec": {"replicas": 3, "config": {"min.insync.replicas": 2}}}"#,
        r#"{"spec": {"replicas": 1, "config": {"min.insync.replicas": "2"}}}"#,
    ),
    topic(
        "min.insync.replicas must be a number of replicas, 1 or more",
        r#"{"spec": {"config": {"min.insync.replicas": 1}}}"#,
        r#"{"spec": {"config": {"min.insync.replicas": "0"}}}"#,
    ),
];
