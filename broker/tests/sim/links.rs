//! Some links are cut and others are not: two brokers that a third one hears hear each other no more, or a leader and the
//! quorum's leader. Clients reach everybody. Checked: writes go on in bounded time, nothing acknowledged is lost, whoever is
//! not heard of by the quorum acknowledges nothing beside another leader, and the quorum is not led round and round.

use std::rc::Rc;
use std::time::Duration;

use broker::rt;

use crate::client::batch_of;
use crate::damage::is_whole_again;
use crate::fencing::led;
use crate::machine::Machine;
use crate::replicating::{TOPIC, in_sync, leader_among, read, restart_with, start_with_topic, until};
use crate::routed::Routed;
use crate::seeds::with_seeds;
use crate::voters::described;

/// Virtual: how long links stay cut.
const CUT: Duration = Duration::from_secs(40);
/// Virtual: a session (3 s), the look for another way, an election.
const WAITED_AT_MOST: Duration = Duration::from_secs(10);
const WRITE_EVERY: Duration = Duration::from_millis(50);

/// Which of two machines hears the other no more.
#[derive(Clone, Copy, Debug)]
enum Cut {
    Both,
    /// What the first one sends.
    FromFirst,
    FromSecond,
}

impl Cut {
    fn set(self, first: &Machine, second: &Machine) {
        let (first, second) = (first.process(), second.process());
        if !matches!(self, Cut::FromSecond) {
            first.cut(&second);
        }
        if !matches!(self, Cut::FromFirst) {
            second.cut(&first);
        }
    }

    fn end(first: &Machine, second: &Machine) {
        let (first, second) = (first.process(), second.process());
        first.heal(&second);
        second.heal(&first);
    }
}

/// Term and leader of the quorum, as somebody says who follows it.
async fn quorum(machines: &[Machine]) -> (i32, i32) {
    until("the quorum has a leader", async || {
        for machine in machines {
            if let Some(quorum) = described(machine).await.filter(|quorum| quorum.leader_id > 0) {
                return Some((quorum.leader_epoch, quorum.leader_id));
            }
        }
        None
    })
    .await
}

/// Writes to partition 0 as any client would, for as long as `CUT`; what was acknowledged, and the longest time without.
async fn write(machines: &[Machine]) -> (Vec<String>, Duration) {
    let mut client = Routed::new(machines.iter().map(Machine::address).collect());
    let (mut acknowledged, mut longest) = (Vec::new(), Duration::ZERO);
    let began = rt::now();
    let mut last = began;
    for number in 0.. {
        let value = format!("routed-{number}");
        let batch = batch_of(std::slice::from_ref(&value), None);
        let written = client.produce(TOPIC, 0, batch);
        rt::timeout(CUT, written).await.expect("somebody takes it");
        acknowledged.push(value);
        longest = longest.max(rt::now() - last);
        last = rt::now();
        if rt::now() - began > CUT {
            break;
        }
        rt::sleep(WRITE_EVERY).await;
    }
    (acknowledged, longest)
}

/// Writes at one broker only, which may lead or not; what it acknowledged.
async fn insist(machine: Rc<Vec<Machine>>, at: usize, until: rt::Instant) -> Vec<String> {
    let machine = &machine[at];
    let mut acknowledged = Vec::new();
    for number in 0.. {
        if rt::now() > until {
            break;
        }
        let value = format!("insisted-{number}");
        let batch = batch_of(std::slice::from_ref(&value), None);
        let mut client = machine.client().await;
        match client.produce(TOPIC, 0, batch).await {
            Ok(Ok(_)) => acknowledged.push(value),
            Ok(Err(code)) => assert!(code.retriable(), "{code:?}"),
            Err(_) => {}
        }
        rt::sleep(WRITE_EVERY).await;
    }
    acknowledged
}

/// Cuts the links between two machines, and checks what is said above.
async fn cut(machines: Vec<Machine>, first: usize, second: usize, how: Cut) {
    let machines = Rc::new(machines);
    let (term, _) = quorum(&machines).await;
    how.set(&machines[first], &machines[second]);
    let stubborn = [first, second].map(|at| {
        let insisting = insist(machines.clone(), at, rt::now() + CUT);
        rt::spawn(insisting)
    });
    let (mut acknowledged, longest) = write(&machines).await;
    assert!(
        longest < WAITED_AT_MOST,
        "{how:?}: nothing was acknowledged for {longest:?}"
    );
    let (later, _) = quorum(&machines).await;
    assert!(
        later <= term + 2,
        "{how:?}: {} elections of the quorum",
        later - term
    );
    for insisting in stubborn {
        acknowledged.extend(insisting.await);
    }
    Cut::end(&machines[first], &machines[second]);
    in_sync(&machines, 3).await;
    let (healed, _) = quorum(&machines).await;
    assert!(healed <= later + 1, "who was not heard of comes back quietly");
    let found = read(&machines, 0).await;
    for value in &acknowledged {
        assert!(found.contains(value), "{how:?}: {value} was acknowledged");
    }
    let leads = until("a leader", async || {
        led(&machines[0]).await.filter(|led| led.leader > 0)
    })
    .await;
    for machine in machines.iter() {
        if i32::from(machine.host()) != leads.leader {
            is_whole_again(&machines, machine).await;
        }
    }
}

/// Three brokers, and who leads partition 0.
async fn three(seed: u64) -> (Vec<Machine>, usize) {
    let machines = start_with_topic(&[1, 1 + (seed % 2) as u16, 1]).await;
    let machines = restart_with(machines, "replica.lag.time.max.ms", "5000").await;
    let leads = until("a leader", async || {
        led(&machines[0]).await.filter(|led| led.leader > 0)
    })
    .await;
    let leader = leader_among(&machines, leads.leader).expect("it runs").host();
    (machines, usize::from(leader) - 1)
}

#[test]
fn a_pair_that_hears_only_the_third_loses_nothing_and_holds_nobody_up() {
    // Every pair: with the quorum's leader in it and without, with the partition's leader and without.
    with_seeds(6, |seed| async move {
        let (machines, _) = three(seed).await;
        let (first, second) = [(0, 1), (1, 2), (2, 0)][seed as usize % 3];
        cut(machines, first, second, Cut::Both).await;
    });
}

#[test]
fn a_leader_that_is_cut_off_from_the_quorum_leader_only_is_replaced_and_acknowledges_nothing_beside() {
    with_seeds(9, |seed| async move {
        let (machines, leader) = three(seed).await;
        let (_, of_quorum) = quorum(&machines).await;
        let of_quorum = of_quorum as usize - 1;
        // Where one broker is both, its followers are cut off, one of them.
        let other = if of_quorum == leader {
            (leader + 1) % 3
        } else {
            of_quorum
        };
        let how = [Cut::Both, Cut::FromFirst, Cut::FromSecond][seed as usize % 3];
        cut(machines, leader, other, how).await;
    });
}
