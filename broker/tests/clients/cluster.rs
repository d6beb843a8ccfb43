//! Three broker processes on addresses of their own. Leaves their clients to `load.rs`, the faults to `faults.rs`.

use std::time::{Duration, Instant};

use crate::broker::{Broker, free_port};
use crate::kcat::kcat;
use crate::program::{DEADLINE, java, run};

pub(crate) const BROKERS: usize = 3;

/// A cluster of three, every topic on all of them.
pub(crate) struct Cluster {
    pub(crate) brokers: Vec<Broker>,
    /// Where each lets its followers in.
    pub(crate) replication_ports: Vec<u16>,
}

impl Cluster {
    /// All three on loopback.
    pub(crate) fn start() -> Cluster {
        Cluster::with(&[])
    }

    /// The same, each with these `key=value` settings on top of what a cluster needs.
    pub(crate) fn with(settings: &[&str]) -> Cluster {
        Cluster::made([("127.0.0.1", None); BROKERS], settings)
    }

    /// Each at its own address, in its own network namespace where one is named.
    pub(crate) fn at(places: [(&str, Option<&str>); BROKERS]) -> Cluster {
        Cluster::made(places, &[])
    }

    fn made(places: [(&str, Option<&str>); BROKERS], more: &[&str]) -> Cluster {
        let replication_ports: Vec<u16> = (0..BROKERS).map(|_| free_port()).collect();
        let control: Vec<u16> = (0..BROKERS).map(|_| free_port()).collect();
        let voters = places
            .iter()
            .zip(&control)
            .enumerate()
            .map(|(node, ((host, _), port))| format!("{node}@{host}:{port}"));
        let voters = voters.collect::<Vec<_>>().join(",");
        let brokers = places.iter().enumerate().map(|(node, (host, namespace))| {
            let port = free_port();
            let mut settings = vec![
                format!("node.id={node}"),
                "cluster.id=three-of-a-kind".to_string(),
                format!("listeners=PLAINTEXT://{host}:{port}"),
                format!("control.listener={host}:{}", control[node]),
                format!("replication.listener={host}:{}", replication_ports[node]),
                format!("controller.quorum.voters={voters}"),
                "shards=1".to_string(),
                "default.replication.factor=3".to_string(),
                "min.insync.replicas=2".to_string(),
                "offsets.topic.replication.factor=3".to_string(),
                "replica.lag.time.max.ms=5000".to_string(),
                "group.initial.rebalance.delay.ms=0".to_string(),
            ];
            settings.extend(more.iter().map(|setting| (*setting).to_string()));
            Broker::of_cluster(host, *namespace, port, settings)
        });
        let mut cluster = Cluster {
            brokers: brokers.collect(),
            replication_ports,
        };
        cluster.brokers.iter_mut().for_each(Broker::wait_ready);
        cluster
    }

    pub(crate) fn bootstrap(&self) -> String {
        let all: Vec<String> = self.brokers.iter().map(Broker::bootstrap).collect();
        all.join(",")
    }

    pub(crate) fn create_topic(&self, topic: &str, partitions: u32) {
        run(
            java("tools-new", "org.apache.kafka.tools.TopicCommand")
                .args([
                    "--bootstrap-server",
                    &self.bootstrap(),
                    "--create",
                    "--topic",
                    topic,
                ])
                .args([
                    "--partitions",
                    &partitions.to_string(),
                    "--replication-factor",
                    "3",
                ]),
            "",
        )
        .success();
        self.wait_whole(topic);
    }

    /// What a broker says of one topic: (leader, number of in-sync replicas) of each partition.
    fn partitions(bootstrap: &str, topic: &str) -> Vec<(i32, usize)> {
        let listed = run(kcat(bootstrap).args(["-L", "-t", topic, "-m", "5"]), "");
        let lines = listed.stdout.lines().map(str::to_string).collect::<Vec<_>>();
        let of_partition = |line: &String| {
            let rest = line.trim().strip_prefix("partition ")?;
            let leader = rest
                .split("leader ")
                .nth(1)?
                .split(',')
                .next()?
                .trim()
                .parse()
                .ok()?;
            let isrs = rest.split("isrs: ").nth(1)?;
            let isrs = isrs.split_whitespace().next()?;
            Some((leader, isrs.split(',').count()))
        };
        lines.iter().filter_map(of_partition).collect()
    }

    /// Node that leads a topic's first partition now.
    pub(crate) fn leader(&self, topic: &str) -> usize {
        let end = Instant::now() + DEADLINE;
        loop {
            if let Some((leader, _)) = Cluster::partitions(&self.bootstrap(), topic).first()
                && let Ok(leader) = usize::try_from(*leader)
            {
                return leader;
            }
            assert!(Instant::now() < end, "{topic} has no leader");
        }
    }

    /// Waits until every broker knows of every partition the same leader, and all replicas in sync. One alone may not have
    /// heard yet that it leads no more; then it also tells an old end of the log.
    pub(crate) fn wait_whole(&self, topic: &str) {
        let end = Instant::now() + DEADLINE;
        loop {
            let told = self.brokers.iter();
            let told: Vec<_> = told
                .map(|broker| Cluster::partitions(&broker.bootstrap(), topic))
                .collect();
            let whole = |(leader, isr): &(i32, usize)| *leader >= 0 && *isr == BROKERS;
            let agreed = told.windows(2).all(|pair| pair[0] == pair[1]);
            if agreed && !told[0].is_empty() && told[0].iter().all(whole) {
                return;
            }
            assert!(Instant::now() < end, "{topic} is not whole again: {told:?}");
            std::thread::park_timeout(Duration::from_millis(50));
        }
    }
}
