//! What goes between brokers, and when: nothing where nothing happens, many partitions with one sync, a broker with another
//! number of cores without a pause, and what is new before what is caught up with.

use std::net::SocketAddr;
use std::time::Duration;

use broker::rt;
use broker::rt::net::TcpStream;
use bytes::Bytes;
use protocol::messages::create_topics::{
    CreateTopicsRequest, CreateTopicsRequestTopic, CreateTopicsRequestTopicAssignment,
};
use protocol::messages::produce::{
    ProduceRequest, ProduceRequestTopicData, ProduceRequestTopicDataPartitionData,
};
use protocol::{ErrorCode, Str};

use crate::client::{batch_of, metadata_request};
use crate::cluster::start_all;
use crate::machine::Machine;
use crate::replicating::{PARTITIONS, TOPIC, in_sync, produce, read, start_with_topic, state_of, until};
use crate::seeds::with_seeds;

const HTTP_PORT: u16 = 9645;

/// What a machine counts, all cores together.
async fn counted(machine: &Machine, name: &str) -> u64 {
    let address = SocketAddr::new(machine.address().ip(), HTTP_PORT);
    let stream = TcpStream::connect(address).await.expect("a connection");
    let request = "GET /metrics HTTP/1.1\r\nHost: simulated\r\nConnection: close\r\n\r\n";
    stream
        .write_all(&[Bytes::from(request)])
        .await
        .expect("a request");
    let (mut answer, mut buffer) = (Vec::new(), vec![0; 1 << 16]);
    while let Ok(got @ 1..) = stream.read(&mut buffer).await {
        answer.extend_from_slice(&buffer[..got]);
    }
    let text = String::from_utf8(answer).expect("text");
    let values = text.lines().filter_map(|line| {
        let (named, value) = line.rsplit_once(' ')?;
        let named = named.split('{').next()?;
        (named == name).then(|| value.parse::<f64>().expect("a number") as u64)
    });
    let values: Vec<u64> = values.collect();
    assert!(!values.is_empty(), "no metric {name} in:\n{text}");
    values.iter().sum()
}

/// Three brokers, and the topic with so many partitions, all led by the first.
async fn led_by_the_first(partitions: i32) -> Vec<Machine> {
    let machines = three();
    start_all(&machines).await;
    create_led_by_the_first(&machines[0], TOPIC, partitions).await;
    for partition in 0..partitions {
        until("everybody in sync", async || {
            let (leader, isr) = state_of(&machines[0], partition).await?;
            (leader == 1 && isr.len() == 3).then_some(())
        })
        .await;
    }
    machines
}

/// Three brokers of one core each, so that two have one session for all that one follows of the other.
fn three() -> Vec<Machine> {
    let machines = Machine::several(3, 1).into_iter().map(|machine| {
        machine
            .with("min.insync.replicas", "2")
            .with("auto.leader.rebalance.enable", "false")
    });
    machines.collect()
}

async fn create_led_by_the_first(machine: &Machine, topic: &str, partitions: i32) {
    let assignment = |partition_index| CreateTopicsRequestTopicAssignment {
        partition_index,
        broker_ids: vec![1, 2, 3],
    };
    let topic = CreateTopicsRequestTopic {
        name: Str::copy_from(topic),
        num_partitions: -1,
        replication_factor: -1,
        assignments: (0..partitions).map(assignment).collect(),
        ..Default::default()
    };
    let request = CreateTopicsRequest {
        topics: vec![topic],
        timeout_ms: 20_000,
        ..Default::default()
    };
    until("create the topic", async || {
        let created = machine.client().await.call(7, &request).await.ok()?;
        let code = ErrorCode::from_code(created.topics[0].error_code);
        [ErrorCode::None, ErrorCode::TopicAlreadyExists]
            .contains(&code)
            .then_some(())
    })
    .await;
}

/// Sends one record to each of the partitions, in one request.
async fn produce_to_all(machine: &Machine, partitions: i32, value: &str) {
    let data = |index| ProduceRequestTopicDataPartitionData {
        index,
        records: Some(batch_of(&[format!("{value}-{index}")], None)),
    };
    let request = ProduceRequest {
        acks: -1,
        timeout_ms: 20_000,
        topic_data: vec![ProduceRequestTopicData {
            name: Str::from(TOPIC),
            partition_data: (0..partitions).map(data).collect(),
            ..Default::default()
        }],
        ..Default::default()
    };
    let answer = machine.client().await.call(9, &request).await.expect("an answer");
    for outcome in &answer.responses[0].partition_responses {
        assert_eq!(ErrorCode::from_code(outcome.error_code), ErrorCode::None);
    }
}

/// A sign of life on a connection: a length and a kind.
const PULSE_BYTES: u64 = 5;
/// Between two signs of life, at least.
const PULSE_EVERY: u64 = 2;
const IDLE: u64 = 60;

#[test]
fn an_idle_cluster_says_nothing_but_that_it_lives() {
    with_seeds(3, |_| async {
        let machines = start_with_topic(&[2, 1, 2]).await;
        in_sync(&machines, 3).await;
        for partition in 0..PARTITIONS {
            produce(&machines, partition, "before").await;
        }
        // What is behind the last record: high watermarks, and groups' topics that nobody asked for.
        rt::sleep(Duration::from_secs(5)).await;
        let quiet = [
            "millrace_appends_total",
            "millrace_sync_rounds_total",
            "millrace_replication_connects_total",
            "millrace_metadata_partitions_looked_at_total",
        ];
        let traffic = [
            (
                "millrace_replication_out_bytes_total",
                "millrace_replication_sessions_serving",
            ),
            (
                "millrace_replication_in_bytes_total",
                "millrace_replication_sessions_fetching",
            ),
        ];
        let mut before = Vec::new();
        for machine in &machines {
            for name in quiet.iter().chain(traffic.iter().map(|(bytes, _)| bytes)) {
                before.push(counted(machine, name).await);
            }
        }
        rt::sleep(Duration::from_secs(IDLE)).await;
        let mut before = before.into_iter();
        for machine in &machines {
            for name in quiet {
                let did = counted(machine, name).await - before.next().expect("counted");
                assert_eq!(did, 0, "broker {}: {name} in an idle minute", machine.host());
            }
            for (bytes, sessions) in traffic {
                let sessions = counted(machine, sessions).await;
                assert!(sessions > 0, "broker {} has sessions", machine.host());
                let went = counted(machine, bytes).await - before.next().expect("counted");
                let pulses = sessions * (IDLE / PULSE_EVERY + 1);
                assert!(
                    went <= pulses * PULSE_BYTES,
                    "broker {}: {went} bytes ({bytes}) over {sessions} sessions in an idle minute",
                    machine.host()
                );
                assert!(went > 0, "signs of life come");
            }
        }
    });
}

const MANY: i32 = 200;

#[test]
fn what_many_partitions_get_together_is_one_sync_of_each_follower() {
    with_seeds(3, |_| async {
        let machines = led_by_the_first(MANY).await;
        for turn in 0..3 {
            // Sessions rest.
            rt::sleep(Duration::from_secs(1)).await;
            let mut before = Vec::new();
            for machine in &machines {
                before.push((
                    counted(machine, "millrace_sync_rounds_total").await,
                    counted(machine, "millrace_sync_round_logs_total").await,
                ));
            }
            produce_to_all(&machines[0], MANY, &format!("{turn}")).await;
            rt::sleep(Duration::from_secs(1)).await;
            for (machine, (rounds, logs)) in machines.iter().zip(before) {
                let rounds = counted(machine, "millrace_sync_rounds_total").await - rounds;
                let logs = counted(machine, "millrace_sync_round_logs_total").await - logs;
                assert_eq!(logs, MANY as u64, "broker {}: each log once", machine.host());
                assert!(
                    (1..=2).contains(&rounds),
                    "broker {}: {rounds} rounds for {MANY} partitions",
                    machine.host()
                );
            }
        }
    });
}

/// Longer than the broker needs to be unfenced, to connect, and to be let in.
const AT_ONCE: Duration = Duration::from_secs(2);

#[test]
fn a_broker_with_another_number_of_cores_is_in_sync_at_once() {
    with_seeds(4, |seed| async move {
        let mut machines = start_with_topic(&[2, 2, 2]).await;
        in_sync(&machines, 3).await;
        for turn in 0..3 {
            for partition in 0..PARTITIONS {
                produce(&machines, partition, &format!("{turn}-with")).await;
            }
            match seed % 2 {
                0 => machines[turn].stop().await,
                _ => machines[turn].kill(),
            }
            for partition in 0..PARTITIONS {
                produce(&machines, partition, &format!("{turn}-without")).await;
            }
            machines[turn].set_shards([1, 3, 5][(turn + seed as usize) % 3]);
            machines[turn].start().await;
            let began = rt::now();
            let other = &machines[(turn + 1) % 3];
            for partition in 0..PARTITIONS {
                while !matches!(state_of(other, partition).await, Some((_, isr)) if isr.len() == 3) {
                    assert!(
                        began.elapsed() < AT_ONCE,
                        "{TOPIC}-{partition} is not in sync with broker {} after {AT_ONCE:?}",
                        turn + 1
                    );
                    rt::sleep(Duration::from_millis(10)).await;
                }
            }
        }
        for partition in 0..PARTITIONS {
            let mut found = read(&machines, partition).await;
            found.dedup();
            let written = (0..3).flat_map(|turn| [format!("{turn}-with"), format!("{turn}-without")]);
            assert_eq!(found, written.collect::<Vec<_>>(), "partition {partition}");
        }
    });
}

/// Of a connection from the leader to the follower that catches up.
const LINK_BYTES_PER_S: u64 = 2_000_000;
/// What a simulated connection holds, and what the leader gives at most before it looks at what is new.
const CHUNK_BYTES: u64 = 256 << 10;
/// There and back to the leader and to its followers, and the syncs of three disks, after a round that was under way.
const SYNCS: Duration = Duration::from_millis(40);
const BEHIND: i32 = 8;
const BATCHES_EACH: usize = 20;
const BATCH_BYTES: usize = 100_000;
const NEW: &str = "new";

/// How many replicas of each partition of a topic are in sync.
async fn in_sync_of(machine: &Machine, topic: &str) -> Vec<usize> {
    let request = metadata_request(topic);
    let answer = machine.client().await.call(12, &request).await.expect("metadata");
    let partitions = answer.topics[0].partitions.iter();
    partitions.map(|found| found.isr_nodes.len()).collect()
}

#[test]
fn large_batches_of_partitions_that_are_caught_up_with_hold_up_no_record_of_others() {
    with_seeds(2, |seed| async move {
        // The tail cache is a sixteenth of that: what the follower lacks comes from files, or from memory.
        let memory = ["16777216", "1073741824"][seed as usize % 2];
        let machines: Vec<Machine> = three()
            .into_iter()
            .map(|machine| machine.with("memory.limit.bytes", memory))
            .collect();
        start_all(&machines).await;
        create_led_by_the_first(&machines[0], TOPIC, BEHIND).await;
        until("everybody in sync", async || {
            (in_sync_of(&machines[0], TOPIC).await == [3; BEHIND as usize]).then_some(())
        })
        .await;
        machines[2].stop().await;
        let batch = "x".repeat(BATCH_BYTES);
        for _ in 0..BATCHES_EACH {
            for partition in 0..BEHIND {
                produce(&machines, partition, &batch).await;
            }
        }
        let leader = machines[0].process();
        leader.narrow(&machines[2].process(), LINK_BYTES_PER_S);
        machines[2].start().await;
        create_led_by_the_first(&machines[0], NEW, 1).await;
        until("the new topic is on all three", async || {
            (in_sync_of(&machines[0], NEW).await == [3]).then_some(())
        })
        .await;
        let sessions = counted(&machines[2], "millrace_replication_sessions_fetching").await;
        assert_eq!(sessions, 1, "everything comes over one connection");

        // What is on the link already, and what the leader is about to give it.
        let longest = Duration::from_millis(2 * CHUNK_BYTES * 1_000 / LINK_BYTES_PER_S) + SYNCS;
        let mut client = machines[0].client().await;
        let mut beside = 0;
        loop {
            let record = batch_of(&[format!("{beside}")], None);
            let began = rt::now();
            let produced = client.produce(NEW, 0, record).await.expect("an answer");
            let took = began.elapsed();
            produced.expect("acknowledged");
            if in_sync_of(&machines[0], TOPIC).await == [3; BEHIND as usize] {
                break;
            }
            assert!(took < longest, "record {beside}: {took:?}, not {longest:?}");
            assert_eq!(in_sync_of(&machines[0], NEW).await, [3], "with the follower");
            beside += 1;
            assert!(beside < 1_000, "it never catches up");
            rt::sleep(Duration::from_micros(rt::random_u64() % 50_000)).await;
        }
        // Most of eight seconds; a record that waited for the whole of it would have been the last one.
        assert!(beside >= 15, "{beside} records while it caught up");
    });
}
