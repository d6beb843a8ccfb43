//! Replication over real sockets: three brokers in this process, and what the replication port says to strangers.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use broker::replication::handshake::{Hello, VERSION, Verdict, WELCOME, Welcome};
use protocol::messages::create_topics::{CreateTopicsRequest, CreateTopicsRequestTopic};
use protocol::messages::metadata::{MetadataRequest, MetadataRequestTopic};
use protocol::{ErrorCode, NodeId, Str};

use crate::client::{Client, batch_of, produce_request};
use crate::harness::{Broker, Setup, eventually, everywhere};

/// Ports that were free a moment ago: voters must be told of each other before they start.
fn free_ports(many: usize) -> Vec<u16> {
    let bound: Vec<TcpListener> = (0..many)
        .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
        .collect();
    bound
        .iter()
        .map(|listener| listener.local_addr().unwrap().port())
        .collect()
}

/// Brokers 1 and on, one cluster; the second has a core more than the others.
fn cluster(setup: Setup, dir: &Path, many: usize) -> Vec<Broker> {
    let ports = free_ports(many);
    let voters: Vec<String> = (1..)
        .zip(&ports)
        .map(|(node, port)| format!("{node}@127.0.0.1:{port}"))
        .collect();
    std::thread::scope(|scope| {
        let starts: Vec<_> = (1..)
            .zip(&ports)
            .map(|(node, port)| {
                let voters = voters.join(",");
                let setup = Setup {
                    shards: setup.shards + u16::from(node == 2),
                    ..setup
                };
                let plan = setup
                    .plan(&dir.join(node.to_string()))
                    .with("node.id", &node.to_string())
                    .with("cluster.id", "several")
                    .with("controller.quorum.voters", &voters)
                    .with("control.listener", &format!("127.0.0.1:{port}"))
                    .with("replication.listener", "127.0.0.1:0")
                    .with("default.replication.factor", &many.to_string())
                    .with("min.insync.replicas", &many.to_string());
                scope.spawn(move || plan.start())
            })
            .collect();
        starts
            .into_iter()
            .map(|start| start.join().expect("a broker"))
            .collect()
    })
}

fn create(client: &mut Client, name: &str) {
    let request = CreateTopicsRequest {
        topics: vec![CreateTopicsRequestTopic {
            name: Str::copy_from(name),
            num_partitions: 3,
            replication_factor: -1,
            ..Default::default()
        }],
        timeout_ms: 20_000,
        ..Default::default()
    };
    eventually("the topic is created", || {
        let created = client.call(7, &request).topics.remove(0);
        matches!(
            ErrorCode::from_code(created.error_code),
            ErrorCode::None | ErrorCode::TopicAlreadyExists
        )
        .then_some(())
    });
}

fn leader_of(client: &mut Client, name: &str, partition: i32) -> Option<i32> {
    let request = MetadataRequest {
        topics: Some(vec![MetadataRequestTopic {
            name: Some(Str::copy_from(name)),
            ..Default::default()
        }]),
        ..Default::default()
    };
    let answer = client.call(12, &request);
    let partitions = &answer.topics[0].partitions;
    let found = partitions
        .iter()
        .find(|found| found.partition_index == partition)?;
    (found.leader_id > 0).then_some(found.leader_id)
}

#[test]
fn records_are_acknowledged_by_every_replica() {
    everywhere(|setup| {
        if setup.shards > 1 {
            // The second broker has two in any case.
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let brokers = cluster(setup, dir.path(), 3);
        let mut any = brokers[0].client();
        create(&mut any, "replicated");
        for partition in 0..3 {
            let leader = eventually("a leader", || leader_of(&mut any, "replicated", partition));
            let mut client = brokers[leader as usize - 1].client();
            let mut times = Vec::new();
            for number in 0..50 {
                let batch = batch_of(&[&number.to_string()]);
                let request = produce_request("replicated", partition, -1, batch);
                // All replicas must be in sync for that, which takes a moment at first.
                let began = eventually("all have it", || {
                    let began = Instant::now();
                    let answer = client.call(9, &request);
                    (answer.responses[0].partition_responses[0].error_code == 0).then_some(began)
                });
                times.push(began.elapsed());
            }
            times.sort_unstable();
            println!(
                "partition {partition}: acknowledged after {:?} (median), {:?} (most)",
                times[25], times[49]
            );
            let read = client.read_all("replicated", partition, 0);
            assert!(read.len() >= 50);
        }
        brokers.into_iter().for_each(Broker::stop);
    });
}

fn knock(address: SocketAddr, hello: &[u8]) -> Option<Welcome> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.write_all(hello).unwrap();
    let mut answer = [0; WELCOME];
    stream.read_exact(&mut answer).ok()?;
    Some(Welcome::decode(answer).unwrap())
}

#[test]
fn strangers_are_told_or_closed_and_nothing_else_happens() {
    everywhere(|setup| {
        let dir = tempfile::tempdir().unwrap();
        let mut brokers = cluster(setup, dir.path(), 1);
        let broker = brokers.remove(0);
        let address = broker.node.replication.expect("it is one of several");
        let hello = |cluster: &str, node: i32, cores: u16| {
            let hello = Hello {
                cluster_id: cluster.into(),
                node: NodeId(7),
                broker_epoch: 1,
                core: 0,
                wanted_node: NodeId(node),
                wanted_core: setup.shards - 1,
                cores_known: cores,
            };
            hello.encode()
        };
        let verdict = |bytes: &[u8]| knock(address, bytes).map(|welcome| welcome.verdict);
        assert_eq!(
            verdict(&hello("another", 1, setup.shards)),
            Some(Verdict::Cluster)
        );
        assert_eq!(verdict(&hello("several", 2, setup.shards)), Some(Verdict::Node));
        assert_eq!(verdict(&hello("several", 1, 9)), Some(Verdict::Cores));
        assert_eq!(verdict(b"MRPL\xff\xff\x00\x00"), Some(Verdict::Version));
        assert_eq!(verdict(b"GET / HTTP/1.1\r\n\r\n"), None);
        assert_eq!(
            knock(address, &hello("several", 1, setup.shards)),
            Some(Welcome {
                version: VERSION,
                verdict: Verdict::Welcome,
                node: NodeId(1),
                cores: setup.shards,
            }),
            "brought to the core it wants"
        );
        // A frame that claims a gigabyte: refused by its length.
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let greedy = [&hello("several", 1, setup.shards)[..], b"\x40\0\0\0\x01"].concat();
        stream.write_all(&greedy).unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        assert_eq!(rest.len(), WELCOME, "closed after the welcome");
        broker.stop();
    });
}
