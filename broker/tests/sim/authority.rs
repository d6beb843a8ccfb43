//! One authority for each decision: what `min.insync.replicas` is, who broker N is, who is needed to decide.

use std::time::Duration;

use broker::rt;
use protocol::messages::describe_configs::{DescribeConfigsRequest, DescribeConfigsRequestResource};
use protocol::messages::metadata::MetadataRequest;
use protocol::{ErrorCode, Str};

use crate::client::{Client, batch_of};
use crate::cluster::{create, start_all};
use crate::losses::replicas_of;
use crate::machine::Machine;
use crate::replicating::{PARTITIONS, TOPIC, in_sync, produce, read, start_with_topic, state_of, until};
use crate::seeds::with_seeds;
use crate::voters::{described, directory, remove};

const MIN_ISR: &str = "min.insync.replicas";
/// DescribeConfigs: set for all brokers while they run, or given at start.
const DYNAMIC: i8 = 3;
const STATIC: i8 = 4;

/// Value and source of `min.insync.replicas`, as a broker tells it of itself.
async fn min_isr_of(machine: &Machine) -> Option<(String, i8)> {
    const BROKER: i8 = 4;
    let resource = DescribeConfigsRequestResource {
        resource_type: BROKER,
        resource_name: Str::from(machine.host().to_string()),
        configuration_keys: Some(vec![Str::from(MIN_ISR)]),
    };
    let request = DescribeConfigsRequest {
        resources: vec![resource],
        ..Default::default()
    };
    let mut client = Client::connect(machine.address()).await.ok()?;
    let answer = client.call(4, &request).await.ok()?;
    let config = answer.results.first()?.configs.first()?;
    Some((config.value.as_deref()?.to_string(), config.config_source))
}

/// Every broker tells the same.
async fn all_say(machines: &[Machine], value: &str, source: i8) {
    for machine in machines {
        until("the number that holds for all", async || {
            let (found, from) = min_isr_of(machine).await?;
            (found == value && from == source).then_some(())
        })
        .await;
    }
}

/// Broker 5 leads alone and its own file would let it acknowledge; the others have elected by theirs.
#[test]
fn a_broker_whose_file_asks_for_fewer_replicas_loses_nothing() {
    with_seeds(6, |_| async {
        let machines: Vec<Machine> = Machine::cluster(&[1; 5])
            .into_iter()
            .map(|machine| {
                let min_isr = if machine.host() == 5 { "1" } else { "2" };
                machine
                    .with("default.replication.factor", "3")
                    .with(MIN_ISR, min_isr)
            })
            .collect();
        start_all(&machines).await;
        let created = machines[0].client().await.create_topic(TOPIC, PARTITIONS).await;
        assert_eq!(created.ok(), Some(ErrorCode::None));
        in_sync(&machines, 3).await;
        let last = &machines[4];
        let mut led = None;
        for partition in 0..PARTITIONS {
            led = match replicas_of(last, partition).await {
                Some((5, replicas)) => Some((partition, replicas)),
                _ => led,
            };
        }
        let (partition, replicas) = led.expect("leaderships are spread");
        produce(&machines, partition, "all").await;
        let others = || {
            let others = replicas.iter().filter(|node| **node != 5);
            others.map(|node| &machines[*node as usize - 1])
        };
        others().for_each(Machine::kill);
        until("alone in sync", async || {
            let (leader, isr) = state_of(last, partition).await?;
            (leader == 5 && isr == [5]).then_some(())
        })
        .await;
        let mut acknowledged = vec!["all".to_string()];
        for number in 0..5 {
            let value = format!("alone-{number}");
            let mut client = last.client().await;
            let produced = client.produce(TOPIC, partition, batch_of(std::slice::from_ref(&value), None));
            if let Ok(Ok(_)) = produced.await {
                acknowledged.push(value);
            }
        }
        last.kill();
        for other in others() {
            other.start().await;
        }
        rt::sleep(Duration::from_secs(10)).await;
        // Where nobody else may lead, it has to come back.
        last.start().await;
        let found = read(&machines, partition).await;
        for value in &acknowledged {
            assert!(found.contains(value), "{value} was acknowledged: {found:?}");
        }
    });
}

/// One broker after the other gets another file. All tell the same at any time; in the end it is what the files say.
#[test]
fn another_static_value_holds_for_all_once_its_broker_leads() {
    with_seeds(2, |_| async {
        let mut machines = start_with_topic(&[1, 1, 1]).await;
        all_say(&machines, "2", STATIC).await;
        for number in 0..machines.len() {
            machines[number].stop().await;
            machines[number].set(MIN_ISR, "3");
            machines[number].start().await;
            in_sync(&machines, 3).await;
            let told = futures::future::join_all(machines.iter().map(min_isr_of)).await;
            assert!(told.iter().all(|one| *one == told[0]), "{told:?}");
        }
        let mut leader = machines[0].client().await;
        all_say(&machines, "3", STATIC).await;
        let set = leader.configure_brokers(MIN_ISR, "1").await;
        assert_eq!(set.ok(), Some(ErrorCode::None));
        all_say(&machines, "1", DYNAMIC).await;
    });
}

/// Where broker `node` is, as `machine` knows it.
async fn host_of(machine: &Machine, node: i32) -> Option<String> {
    let mut client = Client::connect(machine.address()).await.ok()?;
    let answer = client.call(12, &MetadataRequest::default()).await.ok()?;
    let found = answer.brokers.iter().find(|broker| broker.node_id == node)?;
    Some(found.host.to_string())
}

/// A second broker 1 with an empty disk, while the first serves: it waits, and changes nothing. Once the first has ended it takes
/// its place.
#[test]
fn a_second_process_of_a_node_id_waits_for_the_end_of_the_first() {
    with_seeds(4, |_| async {
        let machines: Vec<Machine> = Machine::several(3, 1)
            .into_iter()
            .map(|machine| machine.with("default.replication.factor", "1"))
            .collect();
        start_all(&machines).await;
        let created = machines[0].client().await.create_topic(TOPIC, PARTITIONS).await;
        assert_eq!(created.ok(), Some(ErrorCode::None));
        for partition in 0..PARTITIONS {
            produce(&machines, partition, "before").await;
        }
        let voters: Vec<String> = (1..=3).map(|host| format!("{host}@10.0.0.{host}:9646")).collect();
        let second = Machine::new(4, 1)
            .with("node.id", "1")
            .with("cluster.id", "simulated")
            .with("controller.quorum.voters", &voters.join(","))
            .with("control.advertised.listener", "10.0.0.4:9646")
            .with("default.replication.factor", "1");
        let started = rt::timeout(Duration::from_secs(20), second.try_start()).await;
        assert!(started.is_err(), "it has to wait: {started:?}");
        for machine in &machines {
            assert_eq!(host_of(machine, 1).await.as_deref(), Some("10.0.0.1"));
        }
        for partition in 0..PARTITIONS {
            let (leader, isr) = state_of(&machines[1], partition).await.expect("an answer");
            assert_eq!(isr, [leader]);
            produce(&machines, partition, "beside it").await;
            assert_eq!(read(&machines, partition).await, ["before", "beside it"]);
        }
        machines[0].kill();
        until("the second is broker 1", async || {
            (host_of(&machines[1], 1).await? == "10.0.0.4").then_some(())
        })
        .await;
    });
}

/// The process that took the place of a paused one is the only one that counts; the paused one leads nothing when it goes on.
#[test]
fn a_process_whose_place_was_taken_leads_nothing_when_it_goes_on() {
    with_seeds(4, |_| async {
        let machines = start_with_topic(&[1, 1, 1]).await;
        in_sync(&machines, 3).await;
        machines[0].process().pause();
        until("others lead", async || {
            for partition in 0..PARTITIONS {
                let (leader, _) = state_of(&machines[1], partition).await?;
                if leader <= 1 {
                    return None;
                }
            }
            Some(())
        })
        .await;
        let voters: Vec<String> = (1..=3).map(|host| format!("{host}@10.0.0.{host}:9646")).collect();
        let second = Machine::new(4, 1)
            .with("node.id", "1")
            .with("cluster.id", "simulated")
            .with("controller.quorum.voters", &voters.join(","))
            .with("control.advertised.listener", "10.0.0.4:9646");
        second.start().await;
        machines[0].process().resume();
        rt::sleep(Duration::from_secs(5)).await;
        for partition in 0..PARTITIONS {
            let batch = batch_of(&["stale".to_string()], None);
            let produced = machines[0].client().await.produce(TOPIC, partition, batch).await;
            assert!(!matches!(produced, Ok(Ok(_))), "{produced:?}");
        }
        assert_eq!(host_of(&machines[1], 1).await.as_deref(), Some("10.0.0.4"));
    });
}

/// One of three voters is away, so the two others need each other.
#[test]
fn a_voter_that_the_rest_needs_is_not_removed() {
    with_seeds(3, |_| async {
        let machines = Machine::several(3, 1);
        start_all(&machines).await;
        let quorum = until("who leads", async || described(&machines[0]).await).await;
        let leader = quorum.leader_id as usize - 1;
        let (away, needed) = ((leader + 1) % 3, (leader + 2) % 3);
        let directory = |machine: usize| directory(&quorum, machine as i32 + 1).expect("it votes");
        machines[away].kill();
        rt::sleep(Duration::from_secs(5)).await;
        let through = &machines[leader];
        let (code, words) = remove(through, needed as i32 + 1, directory(needed)).await;
        assert_eq!(code, ErrorCode::InvalidRequest, "{words}");
        assert!(words.contains(&format!("{}", away + 1)), "{words}");
        create(through, "still").await;
        let (code, words) = remove(through, away as i32 + 1, directory(away)).await;
        assert_eq!(code, ErrorCode::None, "{words}");
        create(through, "of-two").await;
    });
}
