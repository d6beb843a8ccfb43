//! The disk of one broker of several fails: it leaves, another one leads what it led, and nothing is lost.

use std::time::Duration;

use broker::rt;
use broker::rt::recorder::Recorder;
use protocol::ErrorCode;

use crate::client::batch_of;
use crate::machine::Machine;
use crate::replicating::{PARTITIONS, TOPIC, in_sync, leader_among, read, start_with_topic, state_of, until};
use crate::routed::Routed;
use crate::seeds::with_seeds;
use crate::voters::described;

/// Virtual: from the operation that fails until somebody else has acknowledged a record in each partition.
const SUCCEEDED_WITHIN: Duration = Duration::from_secs(2);
const ROUNDS: usize = 3;
/// What is sent to the disk that fails.
const REFUSED: &str = "refused";

/// What fails; `None` ends it.
type Failure = fn(&Recorder, Option<&str>);

async fn described_leader(machines: &[Machine]) -> i32 {
    until("the quorum has a leader", async || {
        let quorum = described(machines.iter().find(|machine| machine.is_running())?).await?;
        (quorum.leader_id > 0).then_some(quorum.leader_id)
    })
    .await
}

/// Writes one value to each partition until it is acknowledged.
async fn write(client: &mut Routed, value: &str, acknowledged: &mut [Vec<String>]) {
    for partition in 0..PARTITIONS {
        let value = format!("{value}-{partition}");
        until("somebody takes it", async || {
            let batch = batch_of(std::slice::from_ref(&value), None);
            client.try_produce(TOPIC, partition, batch).await
        })
        .await;
        acknowledged[partition as usize].push(value);
    }
}

async fn nothing_is_lost(machines: &[Machine], acknowledged: &[Vec<String>]) {
    for (partition, wanted) in acknowledged.iter().enumerate() {
        until("everything acknowledged can be read", async || {
            let mut found = read(machines, partition as i32).await;
            // Followers may have had it before their leader's disk failed; nobody was told that it is there.
            found.retain(|value| value != REFUSED);
            found.dedup();
            (found == *wanted).then_some(())
        })
        .await;
    }
}

/// Operations of `part` of its files fail on the leader of a partition, or of the quorum; again and again, on whoever leads.
async fn fails(seed: u64, part: &str, of_quorum: bool, failure: Failure) {
    let machines = start_with_topic(&[1, 1 + (seed % 2) as u16, 1]).await;
    in_sync(&machines, 3).await;
    let mut acknowledged = vec![Vec::new(); PARTITIONS as usize];
    let mut client = Routed::new(machines.iter().map(Machine::address).collect());
    for round in 0..ROUNDS {
        write(&mut client, &format!("before-{round}"), &mut acknowledged).await;
        let leader = match of_quorum {
            true => described_leader(&machines).await,
            false => {
                until("a leader", async || {
                    Some(state_of(&machines[0], 0).await?.0).filter(|id| *id > 0)
                })
                .await
            }
        };
        let broken = leader_among(&machines, leader).expect("it runs");
        let others: Vec<&Machine> = machines
            .iter()
            .filter(|machine| machine.host() != broken.host())
            .collect();
        failure(&broken.disk, Some(part));
        let failed = rt::now();
        let ask = async {
            if of_quorum {
                // It has to write that down.
                let name = format!("extra-{round}");
                let _ = broken.client().await.create_topic(&name, 1).await;
            } else {
                let batch = batch_of(&[REFUSED.to_string()], None);
                let told = broken.client().await.produce(TOPIC, 0, batch).await;
                assert!(!matches!(told, Ok(Ok(_))), "acknowledged by a disk that failed");
            }
        };
        futures::join!(broken.ended(), ask);
        let mut left = Routed::new(others.iter().map(|machine| machine.address()).collect());
        write(&mut left, &format!("without-{round}"), &mut acknowledged).await;
        let took = rt::now() - failed;
        assert!(
            took < SUCCEEDED_WITHIN,
            "{took:?} until every partition was led by another one"
        );
        failure(&broken.disk, None);
        broken.start().await;
        in_sync(&machines, 3).await;
    }
    nothing_is_lost(&machines, &acknowledged).await;
}

#[test]
fn a_leader_whose_disk_fails_a_sync_is_gone_and_succeeded_at_once() {
    with_seeds(4, |seed| fails(seed, ".log", false, Recorder::fail_syncs_of));
}

#[test]
fn a_leader_whose_disk_fails_a_write_is_gone_and_succeeded_at_once() {
    with_seeds(4, |seed| fails(seed, ".log", false, Recorder::break_writes_of));
}

#[test]
fn a_quorum_leader_that_cannot_sync_its_log_is_gone_and_succeeded_at_once() {
    with_seeds(4, |seed| fails(seed, ".mlog", true, Recorder::fail_syncs_of));
}

#[test]
fn a_quorum_leader_that_cannot_write_its_log_is_gone_and_succeeded_at_once() {
    with_seeds(4, |seed| fails(seed, ".mlog", true, Recorder::break_writes_of));
}

#[test]
fn a_broker_without_room_for_its_metadata_log_leaves_and_comes_back_when_there_is_some() {
    with_seeds(6, |seed| async move {
        let machines = start_with_topic(&[1, 1, 1]).await;
        in_sync(&machines, 3).await;
        let mut acknowledged = vec![Vec::new(); PARTITIONS as usize];
        let mut client = Routed::new(machines.iter().map(Machine::address).collect());
        write(&mut client, "before", &mut acknowledged).await;
        let leader = described_leader(&machines).await;
        // The leader of the quorum, or one of its voters.
        let full = &machines[(leader as usize - 1 + seed as usize % 2) % 3];
        let others: Vec<&Machine> = machines
            .iter()
            .filter(|machine| machine.host() != full.host())
            .collect();
        full.disk.fail_writes_of(Some(".mlog"));
        let ask = async {
            let _ = others[0].client().await.create_topic("extra", 1).await;
        };
        futures::join!(full.ended(), ask);
        let mut left = Routed::new(others.iter().map(|machine| machine.address()).collect());
        write(&mut left, "without", &mut acknowledged).await;
        // Whoever supervises it starts it again and again.
        for _ in 0..3 {
            let started = full.try_start().await;
            match started {
                Ok(()) => full.ended().await,
                Err(_) => full.kill(),
            }
            write(&mut left, "meanwhile", &mut acknowledged).await;
            let created = others[1].client().await.create_topic("known", 1).await;
            assert!(
                matches!(created, Ok(ErrorCode::None | ErrorCode::TopicAlreadyExists)),
                "the others decide: {created:?}"
            );
        }
        full.disk.fail_writes_of(None);
        full.start().await;
        in_sync(&machines, 3).await;
        for values in &mut acknowledged {
            values.dedup();
        }
        nothing_is_lost(&machines, &acknowledged).await;
    });
}
