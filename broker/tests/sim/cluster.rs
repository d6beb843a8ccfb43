//! Several brokers: the metadata quorum forms once, survives the loss of any one broker, and never forms a second time.

use std::time::Duration;

use broker::rt;
use protocol::ErrorCode;

use crate::machine::Machine;
use crate::seeds::{twice, with_seeds};

pub(crate) async fn start_all(machines: &[Machine]) {
    let starts = machines.iter().map(Machine::start);
    futures::future::join_all(starts).await;
}

/// Creates a topic through one broker, asking again until it is there.
pub(crate) async fn create(machine: &Machine, name: &str) {
    for _ in 0..100 {
        let mut client = machine.client().await;
        match client.create_topic(name, 1).await {
            Ok(ErrorCode::None | ErrorCode::TopicAlreadyExists) => return,
            Ok(code) => assert!(code.retriable(), "{name}: {code:?}"),
            Err(_) => {}
        }
        rt::sleep(Duration::from_millis(100)).await;
    }
    panic!("topic {name} could not be created");
}

/// Three brokers that run, and a topic of this name.
pub(crate) async fn three_with(topic: &str) -> Vec<Machine> {
    let machines = Machine::several(3, 1);
    start_all(&machines).await;
    create(&machines[0], topic).await;
    machines
}

async fn knows(machine: &Machine, name: &str) -> bool {
    let mut client = machine.client().await;
    matches!(client.partitions_of(name).await, Ok(Some(1)))
}

async fn three_form(_: u64) {
    let machines = Machine::several(3, 1);
    start_all(&machines).await;
    for (number, machine) in machines.iter().enumerate() {
        let name = format!("topic-{number}");
        create(machine, &name).await;
        assert!(knows(machine, &name).await, "who answered knows");
    }
    rt::sleep(Duration::from_secs(1)).await;
    for machine in &machines {
        for number in 0..3 {
            assert!(knows(machine, &format!("topic-{number}")).await);
        }
    }
}

#[test]
fn three_brokers_form_one_cluster() {
    with_seeds(3, three_form);
}

#[test]
fn a_seed_decides_a_cluster_too() {
    twice(1, three_form);
}

#[test]
fn any_one_broker_may_be_lost_and_comes_back() {
    with_seeds(3, |seed| async move {
        let machines = three_with("before").await;
        for lost in 0..3 {
            match seed % 2 {
                0 => machines[lost].kill(),
                _ => machines[lost].power_off(seed),
            }
            let name = format!("without-{lost}");
            create(&machines[(lost + 1) % 3], &name).await;
            machines[lost].start().await;
            assert!(
                knows(&machines[lost], &name).await,
                "it caught up before it served"
            );
        }
    });
}

#[test]
fn brokers_restarted_in_turn_hand_the_lead_over() {
    with_seeds(2, |_| async {
        let machines = three_with("before").await;
        for stopped in 0..3 {
            let before = rt::now();
            machines[stopped].stop().await;
            create(&machines[(stopped + 1) % 3], &format!("without-{stopped}")).await;
            // A lead that was handed over leaves no gap; an election would take the leader's lease at least.
            let gap = rt::now() - before;
            assert!(gap < Duration::from_millis(900), "broker {stopped}: {gap:?}");
            machines[stopped].start().await;
        }
    });
}
