//! Logs made by the hundred share their syncs: whatever ends the broker meanwhile, it starts again, the topic is whole, and
//! what is acknowledged in it afterwards outlives the next power cut.

use std::time::Duration;

use broker::rt;
use protocol::ErrorCode;

use crate::client::batch_of;
use crate::machine::Machine;
use crate::replicating::until;
use crate::seeds::with_seeds;

const TOPIC: &str = "wide";
/// More than are made one by one, on each core.
const PARTITIONS: i32 = 150;
/// Those that are written to.
const WRITTEN: i32 = 6;
/// Some more than a disk carries out until the topic is there: about five for each log.
const MOST_OPERATIONS: u64 = 1_000;
/// And about as long, virtual.
const MOST_MICROS: u64 = 30_000;

async fn made_beside_a_crash(seed: u64) {
    let machine = Machine::new(1, 1 + (seed % 2) as u16);
    machine.start().await;
    // A process that is killed leaves what it has written; power that goes, at one operation of the disk, leaves less.
    let killed = rt::random_u64().is_multiple_of(3);
    if !killed {
        machine.disk.stop_after(rt::random_u64() % MOST_OPERATIONS);
    }
    {
        let mut client = machine.client().await;
        let created = client.create_topic(TOPIC, PARTITIONS);
        let reached = async {
            if killed {
                return rt::sleep(Duration::from_micros(rt::random_u64() % MOST_MICROS)).await;
            }
            while !machine.disk.is_stopped() {
                rt::sleep(Duration::from_micros(100)).await;
            }
        };
        // Either may be first: few operations may be enough.
        futures::future::select(std::pin::pin!(created), std::pin::pin!(reached)).await;
    }
    if killed {
        machine.kill();
    } else {
        machine.power_off(seed);
    }
    // Nothing that the crash left ends the next start.
    machine.start().await;
    until("the topic is there", async || {
        let created = machine.client().await.create_topic(TOPIC, PARTITIONS).await;
        matches!(created, Ok(ErrorCode::None | ErrorCode::TopicAlreadyExists)).then_some(())
    })
    .await;
    for partition in 0..WRITTEN {
        until("produce", async || {
            let batch = batch_of(&[format!("{partition}-acknowledged")], None);
            let mut client = machine.client().await;
            client.produce(TOPIC, partition, batch).await.ok()?.ok()
        })
        .await;
    }
    machine.power_off(seed + 1);
    machine.start().await;
    for partition in 0..WRITTEN {
        let found = until("read", async || {
            let mut client = machine.client().await;
            client.read_all(TOPIC, partition, 0).await.ok()
        })
        .await;
        assert!(
            found
                .iter()
                .any(|(_, value)| *value == format!("{partition}-acknowledged")),
            "seed {seed}: what was acknowledged in {TOPIC}-{partition} is lost: {found:?}"
        );
    }
    let serves = until("every partition is served", async || {
        let mut client = machine.client().await;
        let batch = batch_of(&["last".to_string()], None);
        client.produce(TOPIC, PARTITIONS - 1, batch).await.ok()?.ok()
    });
    serves.await;
}

#[test]
fn logs_made_together_are_whole_whatever_ends_the_broker() {
    with_seeds(24, made_beside_a_crash);
}
