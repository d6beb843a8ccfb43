//! A leader of the metadata quorum that was replaced and has not heard of it: what it says is so no more.

use protocol::ErrorCode;

use crate::cluster::start_all;
use crate::converged::quorum;
use crate::machine::Machine;
use crate::replicating::until;
use crate::seeds::with_seeds;

const TOPIC: &str = "made-by-its-successor";

async fn made_meanwhile(seed: u64) {
    let machines = Machine::several(3, 1 + (seed % 2) as u16);
    start_all(&machines).await;
    let leads = until("a leader", async || {
        let found = quorum(&mut machines[0].client().await).await.ok()?;
        usize::try_from(found.0 - 1).ok()
    })
    .await;
    let (alone, other) = (&machines[leads], &machines[(leads + 1) % 3]);
    let between = || {
        machines
            .iter()
            .map(|machine| (alone.process(), machine.process()))
    };
    for (alone, machine) in between() {
        alone.cut(&machine);
        machine.cut(&alone);
    }
    until("make it", async || {
        let created = other.client().await.create_topic(TOPIC, 1).await;
        matches!(created, Ok(ErrorCode::None | ErrorCode::TopicAlreadyExists)).then_some(())
    })
    .await;
    for _ in 0..3 {
        let deleted = alone.client().await.delete_topic(TOPIC).await;
        assert!(
            deleted.as_ref().map_or(true, |code| code.retriable()
                && *code != ErrorCode::UnknownTopicOrPartition),
            "seed {seed}: {deleted:?} of a topic that is there"
        );
    }
    for (alone, machine) in between() {
        alone.heal(&machine);
        machine.heal(&alone);
    }
    until("delete it", async || {
        let deleted = alone.client().await.delete_topic(TOPIC).await;
        matches!(deleted, Ok(ErrorCode::None)).then_some(())
    })
    .await;
}

#[test]
fn a_deposed_leader_does_not_say_that_a_topic_is_not_there() {
    with_seeds(6, made_meanwhile);
}
