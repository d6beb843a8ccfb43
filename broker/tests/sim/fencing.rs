//! A leader that was paused comes back and believes that it still leads: no answer of it says anything that is not so.

use std::io;
use std::time::Duration;

use broker::rt;
use protocol::messages::fetch::{FetchRequest, FetchRequestTopicPartition};
use protocol::messages::list_offsets::{
    ListOffsetsRequest, ListOffsetsRequestTopic, ListOffsetsRequestTopicPartition,
};
use protocol::messages::produce::{
    ProduceRequest, ProduceRequestTopicData, ProduceRequestTopicDataPartitionData,
};
use protocol::{ErrorCode, Str};

use crate::client::{Client, batch_of, metadata_request, values_of};
use crate::damage::is_whole_again;
use crate::machine::Machine;
use crate::replicating::{
    TOPIC, in_sync, leader_among, produce, read, restart_with, start_with_topic, until,
};
use crate::routed::Routed;
use crate::seeds::{one, wanted};

const PAUSED: Duration = Duration::from_secs(30);
/// So long before it goes on, its clients send what they have: shorter than they wait for answers.
const ASKED_BEFORE: Duration = Duration::from_secs(5);
/// Virtual: until it knows better.
const FENCED_WITHIN: Duration = Duration::from_secs(1);
/// Virtual: while it might do harm.
const WATCHED: Duration = Duration::from_secs(5);
const SEEDS: u64 = 6;

/// What a broker says of partition 0 of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Led {
    pub(crate) leader: i32,
    pub(crate) epoch: i32,
    pub(crate) isr: Vec<i32>,
}

pub(crate) async fn led(machine: &Machine) -> Option<Led> {
    led_of(machine, TOPIC).await
}

pub(crate) async fn led_of(machine: &Machine, topic: &str) -> Option<Led> {
    let mut client = Client::connect(machine.address()).await.ok()?;
    let answer = client.call(12, &metadata_request(topic)).await.ok()?;
    let partitions = &answer.topics.first()?.partitions;
    let found = partitions.iter().find(|found| found.partition_index == 0)?;
    Some(Led {
        leader: found.leader_id,
        epoch: found.leader_epoch,
        isr: found.isr_nodes.clone(),
    })
}

/// A consumer's fetch from the start, under the leader epoch it knows: an error, or what it is given.
async fn fetch(client: &mut Client, epoch: i32) -> io::Result<(ErrorCode, Vec<String>)> {
    let wanted = FetchRequestTopicPartition {
        current_leader_epoch: epoch,
        partition_max_bytes: 1 << 20,
        ..Default::default()
    };
    let found = client
        .fetch_partition(TOPIC, wanted, FetchRequest::default())
        .await?;
    let values = values_of(&found.records.unwrap_or_default(), 0);
    let values = values.into_iter().map(|(_, value)| value).collect();
    Ok((ErrorCode::from_code(found.error_code), values))
}

async fn latest(client: &mut Client, epoch: i32) -> io::Result<ErrorCode> {
    const LATEST: i64 = -1;
    let request = ListOffsetsRequest {
        replica_id: -1,
        topics: vec![ListOffsetsRequestTopic {
            name: Str::from(TOPIC),
            partitions: vec![ListOffsetsRequestTopicPartition {
                partition_index: 0,
                current_leader_epoch: epoch,
                timestamp: LATEST,
            }],
        }],
        ..Default::default()
    };
    let answer = client.call(7, &request).await?;
    Ok(ErrorCode::from_code(answer.topics[0].partitions[0].error_code))
}

async fn send(client: &mut Client, acks: i16, value: &str) -> io::Result<ErrorCode> {
    let data = ProduceRequestTopicDataPartitionData {
        index: 0,
        records: Some(batch_of(&[value.to_string()], None)),
    };
    let request = ProduceRequest {
        acks,
        timeout_ms: 3_000,
        topic_data: vec![ProduceRequestTopicData {
            name: Str::from(TOPIC),
            partition_data: vec![data],
            ..Default::default()
        }],
        ..Default::default()
    };
    let answer = client.call(9, &request).await?;
    Ok(ErrorCode::from_code(
        answer.responses[0].partition_responses[0].error_code,
    ))
}

/// Which answers said that the leader does not know yet what has happened.
#[derive(Clone, Copy, Debug, Default)]
struct Stale {
    epoch: bool,
    /// A record that only it has, acknowledged to a producer that asked for no more (`acks=1`).
    alone: bool,
}

async fn paused(seed: u64) -> Stale {
    let machines = start_with_topic(&[1, 1 + (seed % 2) as u16, 1]).await;
    let machines = restart_with(machines, "replica.lag.time.max.ms", "5000").await;
    let mut acknowledged: Vec<String> = (0..10).map(|number| format!("before-{number}")).collect();
    for value in &acknowledged {
        produce(&machines, 0, value).await;
    }
    let old = until("it leads", async || {
        led(&machines[0]).await.filter(|old| old.leader > 0)
    })
    .await;
    let zombie = leader_among(&machines, old.leader).expect("it runs");
    let others: Vec<&Machine> = machines
        .iter()
        .filter(|machine| machine.host() != zombie.host())
        .collect();
    let mut clients = Vec::new();
    for _ in 0..5 {
        clients.push(zombie.client().await);
    }
    let [mut with_new, mut with_old, mut of_end, mut of_all, mut of_one] =
        <[Client; 5]>::try_from(clients).ok().expect("five of them");

    let process = zombie.process();
    process.pause();
    rt::sleep(PAUSED - ASKED_BEFORE).await;
    let new = until("another leads", async || {
        led(others[0])
            .await
            .filter(|led| led.leader > 0 && led.leader != old.leader)
    })
    .await;
    assert!(new.epoch > old.epoch);
    let mut routed = Routed::new(others.iter().map(|machine| machine.address()).collect());
    for number in 0..5 {
        let value = format!("meanwhile-{number}");
        let batch = batch_of(std::slice::from_ref(&value), None);
        routed.produce(TOPIC, 0, batch).await;
        acknowledged.push(value);
    }
    let known = acknowledged.clone();
    let new_epoch = new.epoch;
    // These lie there when it goes on.
    let asked = rt::spawn(async move {
        futures::join!(
            async { fetch(&mut with_new, new_epoch).await },
            async { fetch(&mut with_old, old.epoch).await },
            async { latest(&mut of_end, new_epoch).await },
            async { send(&mut of_all, -1, "to all").await },
            async { send(&mut of_one, 1, "to one").await },
        )
    });
    rt::sleep(ASKED_BEFORE).await;
    process.resume();
    let resumed = rt::now();
    let mut fenced = None;
    while rt::now() - resumed < WATCHED {
        let mut client = zombie.client().await;
        let (code, values) = fetch(&mut client, old.epoch).await.expect("an answer");
        match code {
            ErrorCode::None => {
                assert!(
                    known.starts_with(&values),
                    "it showed what is not committed: {values:?}"
                );
                assert!(fenced.is_none(), "it led again in epoch {}", old.epoch);
            }
            ErrorCode::FencedLeaderEpoch => fenced = fenced.or(Some(rt::now() - resumed)),
            // While it cuts what it had alone.
            code => assert_eq!(code, ErrorCode::NotLeaderOrFollower),
        }
        for other in &others {
            let now = led(other).await.expect("an answer");
            assert_eq!(
                (now.leader, now.epoch),
                (new.leader, new.epoch),
                "nobody else leads"
            );
            assert!(now.isr.contains(&new.leader), "its proposal counted: {now:?}");
        }
        rt::sleep(Duration::from_millis(10)).await;
    }
    let fenced = fenced.expect("who knows an older epoch hears of it");
    assert!(
        fenced < FENCED_WITHIN,
        "{fenced:?} until the old epoch was fenced"
    );

    let (with_new, with_old, of_end, of_all, of_one) = asked.await;
    let (code, values) = with_new.expect("an answer");
    let mut stale = Stale::default();
    match code {
        // It knew already, and follows.
        ErrorCode::None => assert!(known.starts_with(&values), "{values:?}"),
        ErrorCode::UnknownLeaderEpoch => stale.epoch = true,
        code => assert_eq!(code, ErrorCode::NotLeaderOrFollower),
    }
    let (code, values) = with_old.expect("an answer");
    match code {
        ErrorCode::None => assert!(known.starts_with(&values), "{values:?}"),
        ErrorCode::FencedLeaderEpoch => {}
        code => assert_eq!(code, ErrorCode::NotLeaderOrFollower),
    }
    let code = of_end.expect("an answer");
    assert!(
        [ErrorCode::UnknownLeaderEpoch, ErrorCode::NotLeaderOrFollower].contains(&code),
        "an end of the log under an epoch it does not lead in: {code:?}"
    );
    let code = of_all.expect("an answer");
    assert!(code != ErrorCode::None && code.retriable(), "acks=all: {code:?}");
    let code = of_one.expect("an answer");
    assert!(code == ErrorCode::None || code.retriable(), "acks=1: {code:?}");
    stale.alone = code == ErrorCode::None;

    in_sync(&machines, 3).await;
    produce(&machines, 0, "after").await;
    acknowledged.push("after".to_string());
    let mut found = read(&machines, 0).await;
    found.dedup();
    assert_eq!(found, acknowledged, "what it had alone is gone, and nothing else");
    is_whole_again(&machines, zombie).await;
    stale
}

#[test]
fn a_leader_that_was_paused_is_fenced_in_every_answer() {
    let seeds = wanted().unwrap_or(0..SEEDS);
    let many = seeds.end - seeds.start;
    let stale: Vec<Stale> = seeds.map(|seed| one(seed, paused(seed))).collect();
    println!("{stale:?}");
    // Else it always heard first, and nothing was tried.
    assert!(many < SEEDS || stale.iter().any(|stale| stale.epoch));
    assert!(many < SEEDS || stale.iter().any(|stale| stale.alone));
}
