//! The metadata quorum has lost its majority: who has all replicas that count goes on taking and giving records, and where
//! one of them is lost too nothing is acknowledged that the smaller in-sync set alone would have, until the quorum is back.

use std::time::Duration;

use broker::rt;
use protocol::messages::create_topics::{
    CreateTopicsRequest, CreateTopicsRequestTopic, CreateTopicsRequestTopicAssignment,
    CreateTopicsRequestTopicConfig,
};
use protocol::{ErrorCode, Str};

use crate::client::{Client, batch_of};
use crate::cluster::start_all;
use crate::fencing::led_of;
use crate::machine::Machine;
use crate::replicating::until;
use crate::routed::Routed;
use crate::seeds::with_seeds;

const VOTERS: u8 = 3;
/// Virtual: longer than sessions, leases, elections, and what may lag.
const LOST: Duration = Duration::from_secs(30);
/// Virtual: between an answer of the leader and the next, while the quorum is lost.
const UNDISTURBED: Duration = Duration::from_millis(500);
const HEALED_WITHIN: Duration = Duration::from_secs(60);

/// One topic, one partition.
struct Topic {
    name: &'static str,
    replicas: &'static [i32],
    min_insync: &'static str,
}

/// On no voter.
const APART: Topic = Topic {
    name: "apart",
    replicas: &[4, 5],
    min_insync: "1",
};
/// One of its replicas is on the voter that is left.
const BESIDE: Topic = Topic {
    name: "beside",
    replicas: &[5, 4, 3],
    min_insync: "2",
};

/// Three voters and two brokers that do not vote.
fn five() -> Vec<Machine> {
    let voters: Vec<String> = (1..=VOTERS)
        .map(|host| format!("{host}@10.0.0.{host}:9646"))
        .collect();
    let machine = |host| {
        Machine::new(host, 1)
            .with("cluster.id", "simulated")
            .with("controller.quorum.voters", &voters.join(","))
            .with("replica.lag.time.max.ms", "3000")
    };
    (1..=5).map(machine).collect()
}

async fn create(machine: &Machine, topic: &Topic) {
    let request = CreateTopicsRequest {
        topics: vec![CreateTopicsRequestTopic {
            name: Str::from(topic.name),
            num_partitions: -1,
            replication_factor: -1,
            assignments: vec![CreateTopicsRequestTopicAssignment {
                partition_index: 0,
                broker_ids: topic.replicas.to_vec(),
            }],
            configs: vec![CreateTopicsRequestTopicConfig {
                name: Str::from("min.insync.replicas"),
                value: Some(Str::from(topic.min_insync)),
            }],
        }],
        timeout_ms: 20_000,
        ..Default::default()
    };
    until("create a topic", async || {
        let answer = machine.client().await.call(7, &request).await.ok()?;
        let code = ErrorCode::from_code(answer.topics[0].error_code);
        matches!(code, ErrorCode::None | ErrorCode::TopicAlreadyExists).then_some(())
    })
    .await;
}

/// Who writes to a topic and reads it, and what was acknowledged.
struct Writer {
    topic: &'static Topic,
    client: Routed,
    count: usize,
    acknowledged: Vec<(i64, String)>,
}

impl Writer {
    fn new(topic: &'static Topic, machines: &[Machine]) -> Writer {
        Writer {
            topic,
            client: Routed::new(machines.iter().map(Machine::address).collect()),
            count: 0,
            acknowledged: Vec::new(),
        }
    }

    /// One try; whether it was acknowledged.
    async fn try_write(&mut self) -> bool {
        let value = format!("{}-{}", self.topic.name, self.count);
        self.count += 1;
        let batch = batch_of(std::slice::from_ref(&value), None);
        let base = self.client.try_produce(self.topic.name, 0, batch).await;
        self.acknowledged.extend(base.map(|base| (base, value)));
        base.is_some()
    }

    async fn write(&mut self) {
        let written = async { while !self.try_write().await {} };
        rt::timeout(HEALED_WITHIN, written)
            .await
            .expect("somebody takes it");
    }

    /// Everything that was acknowledged is where it was said to be.
    async fn check(&mut self) {
        let last = self.acknowledged.last().map_or(-1, |(offset, _)| *offset);
        let name = self.topic.name;
        let found = until("it can be read", async || {
            let found = self.client.try_read(name, 0, 0).await?;
            (found.len() as i64 > last).then_some(found)
        })
        .await;
        for (offset, value) in &self.acknowledged {
            assert_eq!(found.get(*offset as usize), Some(&(*offset, value.clone())));
        }
    }
}

#[test]
fn a_quorum_without_its_majority_leaves_the_data_plane_and_shrinks_no_in_sync_set() {
    with_seeds(4, |seed| async move {
        let machines = five();
        start_all(&machines).await;
        create(&machines[0], &APART).await;
        create(&machines[0], &BESIDE).await;
        let mut writers = [&APART, &BESIDE].map(|topic| Writer::new(topic, &machines));
        for writer in &mut writers {
            for _ in 0..5 {
                writer.write().await;
            }
        }
        for voter in &machines[..2] {
            match seed % 2 {
                0 => voter.kill(),
                _ => voter.power_off(seed),
            }
        }
        // What is on its way to who is gone is tried once more; from then on nobody notices.
        let mut writers = writers.map(|writer| Writer {
            client: Routed::new(machines[2..].iter().map(Machine::address).collect()),
            ..writer
        });
        for writer in &mut writers {
            writer.write().await;
        }
        let lost = rt::now();
        while rt::now() - lost < LOST {
            for writer in &mut writers {
                let began = rt::now();
                assert!(writer.try_write().await, "{}: refused", writer.topic.name);
                let read = writer.client.try_read(writer.topic.name, 0, 0).await;
                assert!(read.is_some(), "{}: not readable", writer.topic.name);
                let took = rt::now() - began;
                assert!(took < UNDISTURBED, "{}: {took:?}", writer.topic.name);
            }
            rt::sleep(Duration::from_millis(100)).await;
        }
        // Of both topics' in-sync replicas. Broker 4 would have enough with itself, and with 3; nobody may say so.
        let fifth = &machines[4];
        match seed / 2 % 2 {
            0 => fifth.kill(),
            _ => fifth.power_off(seed),
        }
        let mut alone: Vec<(&Topic, Client)> = Vec::new();
        for topic in [&APART, &BESIDE] {
            for machine in &machines[2..4] {
                alone.push((topic, machine.client().await));
            }
        }
        let lost = rt::now();
        while rt::now() - lost < LOST {
            for (topic, client) in &mut alone {
                let batch = batch_of(&[format!("{}-alone", topic.name)], None);
                let code = client.produce(topic.name, 0, batch).await.expect("an answer");
                let code = code.expect_err("nobody could make the in-sync set smaller");
                assert!(code.retriable(), "{}: {code:?}", topic.name);
            }
        }
        // Two of three voters decide again.
        machines[0].start().await;
        for writer in &mut writers {
            writer.write().await;
            writer.check().await;
        }
        futures::future::join_all([&machines[1], fifth].map(Machine::start)).await;
        for writer in &mut writers {
            writer.write().await;
            writer.check().await;
            let topic = writer.topic;
            until("all in sync", async || {
                let led = led_of(&machines[0], topic.name).await?;
                (led.isr.len() == topic.replicas.len()).then_some(())
            })
            .await;
        }
        machines[3].kill();
        for writer in &mut writers {
            writer.write().await;
            writer.check().await;
        }
    });
}
