//! A wall clock that is wrong: nobody is fenced by it, and nothing is forgotten or taken twice.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use broker::rt;
use bytes::Bytes;

use crate::client::{Identity, batch_of};
use crate::cluster::start_all;
use crate::converged::quorum;
use crate::machine::Machine;
use crate::members::{GROUP, Group, Member};
use crate::replicating::until;
use crate::routed::Routed;
use crate::seeds::with_seeds;

const TOPIC: &str = "orders";
const PARTITIONS: i32 = 3;
const MEMBERS: usize = 2;
const HOUR_MS: i64 = 3_600_000;
/// Virtual: longer than any session.
const WRONG_FOR_S: u64 = 8;

/// Everything that must not move.
#[derive(Debug, PartialEq, Eq)]
struct Order {
    /// Leader and epoch, by partition.
    leaders: BTreeMap<i32, (i32, i32)>,
    /// Leader and term.
    quorum: (i32, i32),
    /// Of each member.
    generations: BTreeMap<usize, i32>,
}

async fn order(client: &mut Routed, machines: &[Machine], group: &Group) -> Order {
    let mut leaders = BTreeMap::new();
    for partition in 0..PARTITIONS {
        let found = until("a leader", async || client.try_leader(TOPIC, partition).await).await;
        leaders.insert(partition, (found.leader, found.epoch));
    }
    let quorum = until("a quorum", async || {
        quorum(&mut machines[0].client().await).await.ok()
    })
    .await;
    Order {
        leaders,
        quorum,
        generations: group.stable.borrow().clone(),
    }
}

/// A batch per partition that was acknowledged, with its offset.
type Acknowledged = Vec<(i32, Bytes, i64)>;

/// The same batches again are known, new ones are taken, and what was committed is committed still.
async fn work(client: &mut Routed, identity: Identity, number: i32, before: &Acknowledged) -> Acknowledged {
    for (partition, batch, base) in before {
        let again = client.try_produce(TOPIC, *partition, batch.clone()).await;
        assert_eq!(again, Some(*base), "a retry is a duplicate");
    }
    let mut acknowledged = Vec::new();
    for partition in 0..PARTITIONS {
        let batch = batch_of(&[format!("value-{number}")], Some((identity, number)));
        let base = client.try_produce(TOPIC, partition, batch.clone()).await;
        assert_eq!(base, Some(i64::from(number)), "acknowledged at once");
        acknowledged.push((partition, batch, i64::from(number)));
    }
    let offset = i64::from(number);
    assert!(
        client.try_commit("simple", TOPIC, offset).await,
        "committed at once"
    );
    assert_eq!(client.try_committed("simple", TOPIC).await, Some(offset));
    acknowledged
}

async fn jumps(_: u64) {
    let machines: Vec<Machine> = Machine::several(3, 1)
        .into_iter()
        .map(|machine| {
            machine
                .with_three_replicas()
                .with("offsets.topic.replication.factor", "3")
                .with("offsets.topic.num.partitions", "1")
                // The clients are right about the time.
                .with("log.message.timestamp.after.max.ms", &(2 * HOUR_MS).to_string())
        })
        .collect();
    start_all(&machines).await;
    let addresses: Vec<_> = machines.iter().map(Machine::address).collect();
    let mut client = Routed::new(addresses.clone());
    client.create(TOPIC, PARTITIONS).await;
    let group: Rc<Group> = Rc::default();
    let members: Vec<_> = (0..MEMBERS)
        .map(|number| rt::spawn(Member::new(number, addresses.clone(), group.clone()).live()))
        .collect();
    until("all agree", async || group.agreed(MEMBERS)).await;
    let identity = client.producer_id().await;
    // Whatever still moves after a start has moved.
    rt::sleep(Duration::from_secs(10)).await;
    let coordinator = client.coordinator("simple").await;
    let mut acknowledged = work(&mut client, identity, 0, &Vec::new()).await;
    let before = order(&mut client, &machines, &group).await;
    assert_eq!(
        client.coordinator(GROUP).await,
        coordinator,
        "one partition, one coordinator"
    );
    let coordinator = machines
        .iter()
        .position(|machine| machine.address() == coordinator);
    let leads = |id: i32| (id - 1) as usize;
    let mut number = 1;
    for at in [
        leads(before.leaders[&0].0),
        leads(before.quorum.0),
        coordinator.expect("one of them"),
    ] {
        for ms in [HOUR_MS, -HOUR_MS] {
            machines[at].process().jump_clock(ms);
            for _ in 0..WRONG_FOR_S {
                acknowledged = work(&mut client, identity, number, &acknowledged).await;
                number += 1;
                rt::sleep(Duration::from_secs(1)).await;
            }
            machines[at].process().jump_clock(-ms);
            acknowledged = work(&mut client, identity, number, &acknowledged).await;
            number += 1;
            let after = order(&mut client, &machines, &group).await;
            assert_eq!(before, after, "broker {} was off by {ms} ms", at + 1);
        }
    }
    group.over.set(true);
    for member in members {
        member.await;
    }
}

#[test]
fn a_clock_that_jumps_an_hour_fences_nobody() {
    with_seeds(3, jumps);
}
