//! Leaders are lost, and nothing that was acknowledged is: power cuts in turn and at random, offsets of groups, and where
//! clients are sent.

use protocol::messages::fetch::{FetchRequest, FetchRequestTopicPartition};
use protocol::messages::produce::{
    ProduceRequest, ProduceRequestTopicData, ProduceRequestTopicDataPartitionData,
};
use protocol::{ErrorCode, Str};

use crate::client::batch_of;
use crate::machine::Machine;
use crate::replicating::{
    PARTITIONS, TOPIC, in_sync, leader_among, produce, read, start_with_topic, state_of, until,
};
use crate::seeds::with_seeds;

/// Every acknowledged value is there once or more (an attempt whose answer was lost is made again), in order. A new leader
/// shows what is committed once its followers have said so.
async fn check(machines: &[Machine], acknowledged: &[Vec<String>]) {
    for (partition, wanted) in acknowledged.iter().enumerate() {
        let mut found = Vec::new();
        until(&format!("{wanted:?} in partition {partition}"), async || {
            found = read(machines, partition as i32).await;
            found.dedup();
            (found.len() >= wanted.len()).then_some(())
        })
        .await;
        assert_eq!(&found, wanted, "partition {partition}");
    }
}

/// Produces to every partition and keeps what was acknowledged.
async fn produce_all(machines: &[Machine], round: usize, acknowledged: &mut [Vec<String>]) {
    for partition in 0..PARTITIONS {
        let value = format!("{round}-{partition}");
        produce(machines, partition, &value).await;
        acknowledged[partition as usize].push(value);
    }
}

#[test]
fn acknowledged_records_survive_power_cuts_of_one_broker_after_the_other() {
    with_seeds(4, |seed| async move {
        let machines = start_with_topic(&[1, 2, 1]).await;
        in_sync(&machines, 3).await;
        let mut acknowledged = vec![Vec::new(); PARTITIONS as usize];
        for round in 0..4 {
            produce_all(&machines, round * 2, &mut acknowledged).await;
            let victim = &machines[(seed as usize + round) % 3];
            victim.power_off(seed + round as u64);
            produce_all(&machines, round * 2 + 1, &mut acknowledged).await;
            victim.start().await;
            in_sync(&machines, 3).await;
        }
        check(&machines, &acknowledged).await;
    });
}

#[test]
fn acknowledged_records_survive_a_power_cut_of_all_brokers_at_once() {
    with_seeds(4, |seed| async move {
        let machines = start_with_topic(&[1, 1, 2]).await;
        in_sync(&machines, 3).await;
        let mut acknowledged = vec![Vec::new(); PARTITIONS as usize];
        for round in 0..2 {
            produce_all(&machines, round, &mut acknowledged).await;
            for (number, machine) in machines.iter().enumerate() {
                machine.power_off(seed * 7 + number as u64);
            }
            futures::future::join_all(machines.iter().map(Machine::start)).await;
            in_sync(&machines, 3).await;
            check(&machines, &acknowledged).await;
        }
    });
}

#[test]
fn committed_offsets_survive_the_loss_of_any_one_broker() {
    with_seeds(3, |seed| async move {
        let machines = start_with_topic(&[1, 1, 1]).await;
        // Whoever coordinates: the others say so, and are asked next.
        let anywhere = async |offset: Option<i64>| {
            until("a coordinator", async || {
                for machine in machines.iter().filter(|machine| machine.is_running()) {
                    let mut client = machine.client().await;
                    client.find_coordinator("readers").await.ok()?;
                    let done = match offset {
                        Some(offset) => match client.commit("readers", TOPIC, offset).await {
                            Ok(ErrorCode::None) => Some(offset),
                            _ => None,
                        },
                        None => client.committed("readers", TOPIC).await.ok().and_then(Result::ok),
                    };
                    if done.is_some() {
                        return done;
                    }
                }
                None
            })
            .await
        };
        for round in 0..3 {
            anywhere(Some(100 + round)).await;
            let victim = &machines[(seed as usize + round as usize) % 3];
            victim.power_off(seed + round as u64);
            assert_eq!(anywhere(None).await, 100 + round);
            victim.start().await;
        }
    });
}

#[test]
fn a_broker_that_does_not_lead_says_who_does_and_a_follower_serves_readers() {
    with_seeds(2, |_| async move {
        let machines = start_with_topic(&[1, 1, 1]).await;
        in_sync(&machines, 3).await;
        produce(&machines, 0, "one").await;
        let (leader, _) = state_of(&machines[0], 0).await.expect("a leader");
        let there = leader_among(&machines, leader).expect("it runs");
        let other = machines
            .iter()
            .find(|machine| machine.address() != there.address())
            .expect("two others");
        let request = ProduceRequest {
            acks: -1,
            timeout_ms: 1_000,
            topic_data: vec![ProduceRequestTopicData {
                name: Str::from(TOPIC),
                partition_data: vec![ProduceRequestTopicDataPartitionData {
                    index: 0,
                    records: Some(batch_of(&["two".to_string()], None)),
                }],
                ..Default::default()
            }],
            ..Default::default()
        };
        let answer = other.client().await.call(12, &request).await.expect("an answer");
        let refused = &answer.responses[0].partition_responses[0];
        assert_eq!(refused.error_code, ErrorCode::NotLeaderOrFollower.code());
        assert_eq!(refused.current_leader.leader_id, leader);
        assert!(refused.current_leader.leader_epoch >= 0);
        let named = &answer.node_endpoints[0];
        assert_eq!(
            (named.node_id, named.port),
            (leader, i32::from(there.address().port()))
        );
        // The follower hears of the high watermark with its next fetch.
        until("the follower has it", async || {
            let found = other
                .client()
                .await
                .read_all(TOPIC, 0, 0)
                .await
                .expect("it serves readers");
            (found.len() == 1).then_some(())
        })
        .await;
        for (epoch, code) in [(0, ErrorCode::None), (1_000, ErrorCode::UnknownLeaderEpoch)] {
            let wanted = FetchRequestTopicPartition {
                current_leader_epoch: epoch,
                partition_max_bytes: 1 << 20,
                ..Default::default()
            };
            let found = there
                .client()
                .await
                .fetch_partition(TOPIC, wanted, FetchRequest::default())
                .await
                .expect("an answer");
            assert_eq!(
                ErrorCode::from_code(found.error_code),
                code,
                "leader epoch {epoch}"
            );
        }
    });
}
