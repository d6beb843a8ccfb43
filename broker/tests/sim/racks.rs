//! Consumers read from a replica of their own rack (KIP-392), where the brokers are told to send them there.

use std::time::Duration;

use broker::rt;
use protocol::messages::fetch::{FetchRequest, FetchRequestTopicPartition, FetchResponseResponsePartition};
use protocol::{ErrorCode, Str};

use crate::client::{batch_of, values_of};
use crate::machine::Machine;
use crate::replicating::{
    PARTITIONS, TOPIC, in_sync, leader_among, produce, start_and_create, state_of, until,
};
use crate::seeds::with_seeds;

/// A rack for each of the three brokers.
const RACKS: [&str; 3] = ["a", "b", "c"];
const BY_RACK: &str = "org.apache.kafka.common.replica.RackAwareReplicaSelector";

async fn three_racks(selector: Option<&str>) -> Vec<Machine> {
    let machines = Machine::several(3, 2).into_iter().zip(RACKS);
    let machines: Vec<Machine> = machines
        .map(|(machine, rack)| {
            let machine = machine
                .with_three_replicas()
                .with("replica.lag.time.max.ms", "3000")
                .with("broker.rack", rack);
            match selector {
                Some(selector) => machine.with("replica.selector.class", selector),
                None => machine,
            }
        })
        .collect();
    start_and_create(&machines).await;
    in_sync(&machines, 3).await;
    machines
}

/// One fetch of a consumer in `rack`, which waits a second for something new.
async fn fetch(machine: &Machine, rack: &str, partition: i32, offset: i64) -> FetchResponseResponsePartition {
    let wanted = FetchRequestTopicPartition {
        partition,
        fetch_offset: offset,
        partition_max_bytes: 1 << 20,
        ..Default::default()
    };
    let how = FetchRequest {
        max_wait_ms: 1_000,
        min_bytes: 1,
        rack_id: Str::copy_from(rack),
        ..Default::default()
    };
    let found = machine
        .client()
        .await
        .fetch_partition(TOPIC, wanted, how)
        .await
        .expect("an answer");
    assert_eq!(ErrorCode::from_code(found.error_code), ErrorCode::None, "{rack}");
    found
}

fn values(found: &FetchResponseResponsePartition, from: i64) -> Vec<String> {
    let records = found.records.clone().unwrap_or_default();
    values_of(&records, from)
        .into_iter()
        .map(|(_, value)| value)
        .collect()
}

async fn leader_of(machines: &[Machine], partition: i32) -> &Machine {
    let (leader, _) = state_of(&machines[0], partition).await.expect("a leader");
    leader_among(machines, leader).expect("it runs")
}

fn rack_of(machine: &Machine) -> &'static str {
    RACKS[usize::from(machine.host()) - 1]
}

#[test]
fn a_consumer_is_sent_to_the_replica_of_its_rack_and_reads_there() {
    with_seeds(3, |_| async {
        let machines = three_racks(Some(BY_RACK)).await;
        for partition in 0..PARTITIONS {
            for value in ["one", "two"] {
                produce(&machines, partition, value).await;
            }
            let leader = leader_of(&machines, partition).await;
            for near in &machines {
                let rack = rack_of(near);
                let first = fetch(leader, rack, partition, 0).await;
                if near.host() == leader.host() {
                    assert_eq!(first.preferred_read_replica, -1, "it is there already");
                    assert_eq!(values(&first, 0), ["one", "two"]);
                    continue;
                }
                assert_eq!(first.preferred_read_replica, i32::from(near.host()));
                assert!(values(&first, 0).is_empty(), "the records are read there");
                let mut found = Vec::new();
                while found.len() < 2 {
                    let there = fetch(near, rack, partition, found.len() as i64).await;
                    assert_eq!(there.preferred_read_replica, -1, "a follower sends nobody on");
                    found.extend(values(&there, found.len() as i64));
                }
                assert_eq!(found, ["one", "two"]);
            }
            let elsewhere = fetch(leader, "no broker is here", partition, 0).await;
            assert_eq!(elsewhere.preferred_read_replica, -1);
            assert_eq!(values(&elsewhere, 0), ["one", "two"]);
        }
    });
}

#[test]
fn a_consumer_that_waits_at_a_follower_hears_of_the_next_record() {
    with_seeds(3, |_| async {
        let machines = three_racks(Some(BY_RACK)).await;
        let leader = leader_of(&machines, 0).await;
        let near = &machines[usize::from(leader.host()) % 3];
        let (sent, read) = futures::future::join(
            async {
                rt::sleep(Duration::from_millis(300)).await;
                let batch = batch_of(&["next".to_string()], None);
                leader.client().await.produce(TOPIC, 0, batch).await
            },
            // Woken by the record: one fetch has it.
            fetch(near, rack_of(near), 0, 0),
        )
        .await;
        sent.expect("an answer").expect("acknowledged");
        assert_eq!(values(&read, 0), ["next"]);
    });
}

#[test]
fn nobody_is_sent_to_a_replica_that_is_out_of_sync_or_gone() {
    with_seeds(3, |seed| async move {
        let machines = three_racks(Some(BY_RACK)).await;
        produce(&machines, 0, "one").await;
        let leader = leader_of(&machines, 0).await;
        let near = &machines[usize::from(leader.host()) % 3];
        let named = fetch(leader, rack_of(near), 0, 0).await;
        assert_eq!(named.preferred_read_replica, i32::from(near.host()));
        if seed % 2 == 0 {
            // It lives and lags.
            near.process().stall_disk(true);
            produce(&machines, 0, "two").await;
        } else {
            near.kill();
        }
        until("it leaves the set", async || {
            let (_, isr) = state_of(leader, 0).await?;
            (!isr.contains(&i32::from(near.host()))).then_some(())
        })
        .await;
        let found = fetch(leader, rack_of(near), 0, 0).await;
        assert_eq!(
            found.preferred_read_replica, -1,
            "the leader serves its rack meanwhile"
        );
        assert_eq!(values(&found, 0)[0], "one");
        if seed % 2 == 0 {
            near.process().stall_disk(false);
        } else {
            near.start().await;
        }
        until("it is named again", async || {
            let (leader, isr) = state_of(&machines[0], 0).await?;
            let leader = leader_among(&machines, leader)?;
            if !isr.contains(&i32::from(near.host())) || leader.host() == near.host() {
                return None;
            }
            let named = fetch(leader, rack_of(near), 0, 0).await;
            (named.preferred_read_replica == i32::from(near.host())).then_some(())
        })
        .await;
    });
}

#[test]
fn without_the_selector_everybody_reads_from_the_leader() {
    with_seeds(2, |_| async {
        let machines = three_racks(None).await;
        produce(&machines, 0, "one").await;
        let leader = leader_of(&machines, 0).await;
        for rack in RACKS {
            let found = fetch(leader, rack, 0, 0).await;
            assert_eq!(found.preferred_read_replica, -1);
            assert_eq!(values(&found, 0), ["one"]);
        }
    });
}
