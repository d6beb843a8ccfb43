//! A replica is not what it was: its disk was emptied, it was the last one in sync and is gone, its topic was made again
//! while it was away.

use std::cell::Cell;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use broker::rt;
use broker::rt::recorder::Recorder;
use bytes::Bytes;
use protocol::ErrorCode;
use protocol::messages::fetch::{FetchRequest, FetchRequestTopicPartition};

use crate::client::{batch_of, metadata_request};
use crate::life::contains;
use crate::machine::Machine;
use crate::replicating::{
    PARTITIONS, TOPIC, in_sync, leader_among, produce, read, start_and_create, start_with_topic, state_of,
    until,
};
use crate::seeds::with_seeds;
use crate::voters::get;

/// Large enough that a replica takes a while to be filled again.
const PADDING: usize = 50_000;
/// Longer than between two checkpoints of the high watermarks.
const COMMITTED_IS_KNOWN: Duration = Duration::from_secs(70);

pub(crate) fn log_file(partition: i32) -> PathBuf {
    format!("/data/{TOPIC}-{partition}/00000000000000000000.log").into()
}

/// Leader and replicas of a partition, as `machine` knows them.
pub(crate) async fn replicas_of(machine: &Machine, partition: i32) -> Option<(i32, Vec<i32>)> {
    let request = metadata_request(TOPIC);
    let answer = machine.client().await.call(12, &request).await.ok()?;
    let partitions = &answer.topics.first()?.partitions;
    let found = partitions
        .iter()
        .find(|found| found.partition_index == partition)?;
    Some((found.leader_id, found.replica_nodes.clone()))
}

/// Five brokers and the topic with so many replicas, of which one may acknowledge alone.
pub(crate) async fn start_five(replicas: u8) -> Vec<Machine> {
    let machines: Vec<Machine> = Machine::cluster(&[1; 5])
        .into_iter()
        .map(|machine| {
            machine
                .with("default.replication.factor", &replicas.to_string())
                .with("min.insync.replicas", "1")
                .with("replica.lag.time.max.ms", "3000")
        })
        .collect();
    start_and_create(&machines).await;
    machines
}

#[test]
fn a_broker_with_an_emptied_disk_is_refilled_and_never_leads_before() {
    with_seeds(4, |seed| async move {
        // Of five, so that the quorum does without the emptied one and without another.
        let mut machines = start_five(5).await;
        in_sync(&machines, 5).await;
        let mut acknowledged: Vec<Vec<String>> = vec![Vec::new(); PARTITIONS as usize];
        let padding = "x".repeat(PADDING);
        for round in 0..4 {
            for partition in 0..PARTITIONS {
                let value = format!("value-{round}-{partition}-");
                produce(&machines, partition, &format!("{value}{padding}")).await;
                acknowledged[partition as usize].push(value);
            }
        }
        let emptied = (seed % 5) as usize;
        let node = emptied as i32 + 1;
        machines[emptied].kill();
        let others = [(emptied + 1) % 5, (emptied + 2) % 5];
        for partition in 0..PARTITIONS {
            // What is known from before the loss still names it.
            until("another leader", async || {
                for other in others {
                    let (leader, _) = state_of(&machines[other], partition).await?;
                    if leader == node || leader < 0 {
                        return None;
                    }
                }
                Some(())
            })
            .await;
            let value = format!("meanwhile-{partition}-");
            produce(&machines, partition, &format!("{value}{padding}")).await;
            acknowledged[partition as usize].push(value);
        }
        machines[emptied].disk = Arc::new(Recorder::in_memory());
        machines[emptied].start().await;
        // One of those that have everything goes while it is being refilled, and comes back.
        let [gone, stays] = others;
        rt::sleep(Duration::from_micros(rt::random_u64() % 300_000)).await;
        machines[gone].kill();
        for look in 0..400 {
            for partition in 0..PARTITIONS {
                let Some((leader, isr)) = state_of(&machines[stays], partition).await else {
                    continue;
                };
                if leader != node && !isr.contains(&node) {
                    continue;
                }
                let there = machines[emptied].disk.durable_bytes(&log_file(partition));
                let there = there.unwrap_or_default();
                for value in &acknowledged[partition as usize] {
                    assert!(
                        contains(&there, value),
                        "partition {partition}: in sync or leading without {value}"
                    );
                }
            }
            if look == 200 {
                machines[gone].start().await;
            }
            rt::sleep(Duration::from_millis(20)).await;
        }
        in_sync(&machines, 5).await;
        // It is as good as the others: another goes, and it has what they had.
        machines[gone].kill();
        for partition in 0..PARTITIONS {
            produce(&machines, partition, "end-").await;
            acknowledged[partition as usize].push("end-".to_string());
            let mut found = read(&machines, partition).await;
            for value in &mut found {
                value.truncate(value.find("-x").map_or(value.len(), |at| at + 1));
            }
            found.dedup();
            assert_eq!(found, acknowledged[partition as usize], "partition {partition}");
        }
    });
}

/// What one fetch of partition 0 from the start says.
async fn fetched(machine: &Machine) -> Result<usize, ErrorCode> {
    let wanted = FetchRequestTopicPartition {
        partition_max_bytes: 1 << 20,
        ..Default::default()
    };
    let found = machine
        .client()
        .await
        .fetch_partition(TOPIC, wanted, FetchRequest::default())
        .await
        .expect("an answer");
    match ErrorCode::from_code(found.error_code) {
        ErrorCode::None => Ok(found.records.as_ref().map_or(0, Bytes::len)),
        code => Err(code),
    }
}

#[test]
fn a_partition_whose_last_replica_in_sync_is_gone_refuses_and_heals_when_it_returns() {
    with_seeds(3, |seed| async move {
        let machines = start_five(3).await;
        in_sync(&machines, 3).await;
        produce(&machines, 0, "all three").await;
        let (_, replicas) = replicas_of(&machines[0], 0).await.expect("a partition");
        let [one, two, last] = [0, 1, 2].map(|at| &machines[replicas[(at + seed as usize) % 3] as usize - 1]);
        one.power_off(seed);
        two.power_off(seed + 1);
        in_sync_of(&machines, 0, 1).await;
        produce(&machines, 0, "the last one alone").await;
        last.power_off(seed + 2);
        // Three of five vote again; those that came back lack what the last one acknowledged.
        futures::future::join_all([one, two].map(Machine::start)).await;
        until("nobody leads", async || {
            let (leader, _) = state_of(one, 0).await?;
            (leader < 0).then_some(())
        })
        .await;
        for _ in 0..30 {
            for machine in [one, two] {
                let (leader, _) = state_of(machine, 0).await.expect("it answers");
                assert!(leader < 0, "{leader} leads without what was acknowledged");
                let mut client = machine.client().await;
                let batch = batch_of(&["refused".to_string()], None);
                let code = client.produce(TOPIC, 0, batch).await.expect("an answer");
                let code = code.expect_err("nobody is there to take it");
                assert!(code.retriable(), "{code:?}");
                let code = fetched(machine)
                    .await
                    .expect_err("nobody is there to say what is committed");
                assert!(code.retriable(), "fetch: {code:?}");
            }
            rt::sleep(Duration::from_secs(1)).await;
        }
        last.start().await;
        until("it leads again", async || {
            let (leader, _) = state_of(one, 0).await?;
            (leader > 0).then_some(())
        })
        .await;
        let mut found = read(&machines, 0).await;
        found.dedup();
        assert_eq!(found, ["all three", "the last one alone"]);
        in_sync_of(&machines, 0, 3).await;
        last.kill();
        produce(&machines, 0, "after").await;
        let mut found = read(&machines, 0).await;
        found.dedup();
        assert_eq!(found, ["all three", "the last one alone", "after"]);
    });
}

/// Every broker that runs says that the topic has so many partitions, or that there is none.
async fn everybody_knows(machines: &[Machine], partitions: Option<usize>) {
    for machine in machines.iter().filter(|machine| machine.is_running()) {
        until("everybody knows", async || {
            let known = machine.client().await.partitions_of(TOPIC).await.ok()?;
            (known == partitions).then_some(())
        })
        .await;
    }
}

/// One partition has so many replicas in sync.
pub(crate) async fn in_sync_of(machines: &[Machine], partition: i32, many: usize) {
    until("so many in sync", async || {
        let running = machines.iter().find(|machine| machine.is_running())?;
        let (leader, isr) = state_of(running, partition).await?;
        (leader > 0 && isr.len() == many).then_some(())
    })
    .await;
}

#[test]
fn a_topic_made_again_while_a_replica_was_away_has_no_record_of_the_old_one() {
    with_seeds(3, |seed| async move {
        // By seed, the new topic is on other cores than the old one.
        let machines = start_with_topic(&[2, 3, 4]).await;
        in_sync(&machines, 3).await;
        for partition in 0..PARTITIONS {
            for number in 0..5 {
                produce(&machines, partition, &format!("old-{number}")).await;
            }
        }
        let away = (seed % 3) as usize;
        let other = (away + 1) % 3;
        machines[away].power_off(seed);
        until("delete it", async || {
            let deleted = machines[other].client().await.delete_topic(TOPIC).await;
            matches!(deleted, Ok(ErrorCode::None | ErrorCode::UnknownTopicOrPartition)).then_some(())
        })
        .await;
        // Whoever has not heard of it yet may still take records for the old one, which go with it.
        everybody_knows(&machines, None).await;
        until("make it again", async || {
            let created = machines[other]
                .client()
                .await
                .create_topic(TOPIC, PARTITIONS)
                .await;
            matches!(created, Ok(ErrorCode::None | ErrorCode::TopicAlreadyExists)).then_some(())
        })
        .await;
        everybody_knows(&machines, Some(PARTITIONS as usize)).await;
        for partition in 0..PARTITIONS {
            produce(&machines, partition, "new").await;
        }
        machines[away].start().await;
        in_sync(&machines, 3).await;
        // It may lead now.
        machines[other].kill();
        for partition in 0..PARTITIONS {
            produce(&machines, partition, "newer").await;
            let mut found = read(&machines, partition).await;
            found.dedup();
            assert_eq!(found, ["new", "newer"], "partition {partition}");
            let there = machines[away].disk.durable_bytes(&log_file(partition));
            assert!(
                !contains(&there.unwrap_or_default(), "old-"),
                "partition {partition}"
            );
        }
    });
}

#[test]
fn what_a_consumer_read_of_a_recovered_tail_survives_a_second_crash() {
    let tails: Rc<Cell<usize>> = Rc::default();
    with_seeds(6, |seed| {
        let tails = tails.clone();
        recovered_tail_is_read(seed, tails)
    });
    assert!(
        tails.get() > 0,
        "no process was killed while a record was unsynced"
    );
}

/// Counts in `tails` the logs that were not synced to their end when their processes were killed.
async fn recovered_tail_is_read(seed: u64, tails: Rc<Cell<usize>>) {
    let machines = Rc::new(start_with_topic(&[1, 1, 1]).await);
    in_sync(&machines, 3).await;
    // Nobody hears of these: they are on their way when the processes go.
    let writers: Vec<_> = (0..PARTITIONS)
        .map(|partition| {
            let machines = machines.clone();
            rt::spawn(async move {
                for number in 0.. {
                    let value = format!("{partition}-{number}");
                    let Some((leader, _)) = state_of(&machines[0], partition).await else {
                        return;
                    };
                    let Some(leader) = leader_among(&machines, leader) else {
                        return;
                    };
                    let mut client = leader.client().await;
                    if client
                        .produce(TOPIC, partition, batch_of(&[value], None))
                        .await
                        .is_err()
                    {
                        return;
                    }
                }
            })
        })
        .collect();
    rt::sleep(Duration::from_micros(200_000 + rt::random_u64() % 300_000)).await;
    for machine in machines.iter() {
        let unsynced = |partition: &i32| machine.disk.is_unsynced(&log_file(*partition));
        tails.update(|tails| tails + (0..PARTITIONS).filter(unsynced).count());
        machine.kill();
    }
    drop(writers);
    futures::future::join_all(machines.iter().map(Machine::start)).await;
    let mut seen = Vec::new();
    for partition in 0..PARTITIONS {
        seen.push(read(&machines, partition).await);
    }
    for (number, machine) in machines.iter().enumerate() {
        // The strictest disk: only what was synced.
        machine.power_off((seed + number as u64) * 3);
    }
    futures::future::join_all(machines.iter().map(Machine::start)).await;
    for (partition, seen) in seen.iter().enumerate() {
        until("what was read is there", async || {
            let found = read(&machines, partition as i32).await;
            (found.len() >= seen.len()).then(|| assert_eq!(&found[..seen.len()], &seen[..]))
        })
        .await;
    }
    assert!(seen.iter().any(|seen| !seen.is_empty()), "something was read");
}

/// The sum of a counter over these brokers, as their metrics say.
async fn counted(machines: &[&Machine], name: &str) -> u64 {
    let mut sum = 0;
    for machine in machines {
        let page = get(machine, "/metrics").await;
        let lines = page.lines().filter(|line| {
            line.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with(['{', ' ']))
        });
        let values: Vec<f64> = lines
            .filter_map(|line| line.rsplit(' ').next()?.parse().ok())
            .collect();
        assert!(!values.is_empty(), "{name} is on the page: {page}");
        sum += values.iter().sum::<f64>() as u64;
    }
    sum
}

#[test]
fn where_losses_are_allowed_the_longest_log_that_lives_leads() {
    with_seeds(3, |seed| async move {
        let machines = start_five(3).await;
        in_sync(&machines, 3).await;
        let (_, replicas) = replicas_of(&machines[0], 0).await.expect("a partition");
        // Whichever of them is preferred.
        let [short, long, last] =
            [0, 1, 2].map(|at| &machines[replicas[(at + seed as usize) % 3] as usize - 1]);
        produce(&machines, 0, "three have it").await;
        short.kill();
        in_sync_of(&machines, 0, 2).await;
        produce(&machines, 0, "two have it").await;
        long.kill();
        in_sync_of(&machines, 0, 1).await;
        produce(&machines, 0, "one has it").await;
        // How far records are committed is written down now and then.
        rt::sleep(COMMITTED_IS_KNOWN).await;
        last.kill();
        futures::future::join_all([short, long].map(Machine::start)).await;
        until("nobody leads", async || {
            let (leader, _) = state_of(short, 0).await?;
            (leader < 0).then_some(())
        })
        .await;
        for _ in 0..20 {
            let (leader, _) = state_of(short, 0).await.expect("it answers");
            assert!(leader < 0, "{leader} leads without what was acknowledged");
            rt::sleep(Duration::from_millis(500)).await;
        }
        until("allow losses", async || {
            let mut client = short.client().await;
            let allowed = client
                .configure(TOPIC, "unclean.leader.election.enable", "true")
                .await;
            matches!(allowed, Ok(ErrorCode::None)).then_some(())
        })
        .await;
        until("the longer log leads", async || {
            let (leader, _) = state_of(short, 0).await?;
            assert!(leader < 0 || leader == i32::from(long.host()), "{leader} leads");
            (leader > 0).then_some(())
        })
        .await;
        produce(&machines, 0, "from here on").await;
        let lives = counted(&[short, long], "millrace_unclean_leader_elections_total").await;
        assert_eq!(lives, 1, "the election is counted where the new leader is");
        last.start().await;
        in_sync_of(&machines, 0, 3).await;
        let given_up = counted(&[last], "millrace_acknowledged_records_given_up_total").await;
        assert_eq!(given_up, 1, "so many as were acknowledged and are lost");
        let elsewhere = counted(&[short, long], "millrace_acknowledged_records_given_up_total").await;
        assert_eq!(elsewhere, 0, "they had none of them");
        long.kill();
        produce(&machines, 0, "after").await;
        let mut found = read(&machines, 0).await;
        found.dedup();
        assert_eq!(found, ["three have it", "two have it", "from here on", "after"]);
    });
}
