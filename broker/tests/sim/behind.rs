//! Brokers that were away for longer than the metadata log reaches back: they get a snapshot first, then what came after it,
//! and know what the others know.

use std::path::Path;
use std::time::Duration;

use broker::rt;
use broker::rt::file::Disk;
use protocol::messages::describe_configs::{DescribeConfigsRequest, DescribeConfigsRequestResource};
use protocol::messages::metadata::{MetadataRequest, MetadataResponseTopic};
use protocol::{ErrorCode, Str};

use crate::client::batch_of;
use crate::cluster::start_all;
use crate::machine::Machine;
use crate::replicating::until;
use crate::routed::Routed;
use crate::seeds::with_seeds;

/// Changes made while somebody is away. The log keeps 2,000 entries at least and 100 below a snapshot.
const CHANGES: usize = 2_300;
/// Topics that are made, and every other one deleted, beside that.
const TOPICS: usize = 20;
const METADATA: &str = "/data/__cluster_metadata-0";

/// Three voters, and a broker that only follows.
fn three_and_an_observer() -> Vec<Machine> {
    let mut machines = Machine::several(3, 1);
    machines.push(
        Machine::new(4, 1)
            .with("cluster.id", "simulated")
            .with(
                "controller.quorum.bootstrap.servers",
                "10.0.0.1:9646,10.0.0.2:9646,10.0.0.3:9646",
            )
            .with("cluster.formed", "true"),
    );
    machines
        .into_iter()
        .map(|machine| machine.with("default.replication.factor", "2"))
        .collect()
}

/// Index of the last entry in the newest snapshot on a machine's disk.
fn snapshot_on(machine: &Machine) -> Option<u64> {
    let names = Disk::simulated(machine.disk.clone()).read_dir(Path::new(METADATA));
    let names = names.expect("a metadata directory").into_iter();
    let indexes = names.filter_map(|name| name.strip_suffix(".snapshot")?.parse().ok());
    indexes.max()
}

/// Topics with their partitions, replicas, leaders and in-sync sets, by name.
async fn topics(machine: &Machine) -> Option<Vec<MetadataResponseTopic>> {
    let request = MetadataRequest {
        topics: None,
        ..Default::default()
    };
    let mut answer = machine.client().await.call(12, &request).await.ok()?;
    answer.topics.sort_by(|one, other| one.name.cmp(&other.name));
    Some(answer.topics)
}

async fn retention(machine: &Machine, topic: &str) -> Option<String> {
    const TOPIC: i8 = 2;
    let resource = DescribeConfigsRequestResource {
        resource_type: TOPIC,
        resource_name: Str::copy_from(topic),
        configuration_keys: Some(vec![Str::from("retention.ms")]),
    };
    let request = DescribeConfigsRequest {
        resources: vec![resource],
        ..Default::default()
    };
    let answer = machine.client().await.call(4, &request).await.ok()?;
    let config = answer.results.first()?.configs.first()?;
    config.value.as_ref().map(|value| value.to_string())
}

/// More changes than the log keeps, one entry each.
async fn change_much(client: &mut Routed) {
    for number in 0..TOPICS {
        client.create(&format!("topic-{number}"), 1).await;
    }
    for number in 0..CHANGES {
        let topic = format!("topic-{}", number % TOPICS);
        client
            .configure(&topic, "retention.ms", &number.to_string())
            .await;
    }
    for number in (0..TOPICS).step_by(2) {
        client.delete(&format!("topic-{number}")).await;
    }
}

async fn comes_back(seed: u64, away: usize) {
    let machines = three_and_an_observer();
    start_all(&machines).await;
    let others: Vec<&Machine> = (0..4)
        .filter(|number| *number != away)
        .map(|it| &machines[it])
        .collect();
    let mut client = Routed::new(others.iter().map(|machine| machine.address()).collect());
    client.create("before", 3).await;
    let away = &machines[away];
    match seed % 2 {
        0 => away.kill(),
        _ => away.power_off(seed),
    }
    let before = snapshot_on(away);
    change_much(&mut client).await;
    if seed.is_multiple_of(3) {
        // Once more before it has everything: while it gets the snapshot, or writes it.
        let started = away.try_start();
        let lasts = rt::sleep(Duration::from_micros(rt::random_u64() % 200_000));
        futures::future::select(std::pin::pin!(started), std::pin::pin!(lasts)).await;
        away.power_off(seed + 1);
    }
    away.start().await;
    let got = snapshot_on(away).expect("a snapshot");
    assert!(
        before.is_none_or(|before| before < got) && got >= CHANGES as u64 / 2,
        "it was given a snapshot: {before:?} before, {got} now"
    );
    until("it knows what the others know", async || {
        let (known, there) = (topics(others[0]).await?, topics(away).await?);
        (known == there).then_some(())
    })
    .await;
    let last = format!("topic-{}", TOPICS - 1);
    let kept = retention(others[0], &last).await;
    assert_eq!(kept, Some((CHANGES - 1).to_string()));
    assert_eq!(retention(away, &last).await, kept);
    assert_eq!(
        away.client().await.partitions_of("topic-0").await.ok(),
        Some(None)
    );
    // And goes on with the log from there.
    client.create("after", 1).await;
    until("it hears of what comes next", async || {
        away.client().await.partitions_of("after").await.ok()?
    })
    .await;
    while client
        .try_produce("after", 0, batch_of(&["one".to_string()], None))
        .await
        .is_none()
    {}
}

#[test]
fn a_voter_that_was_away_for_longer_than_the_log_gets_a_snapshot_first() {
    with_seeds(2, |seed| comes_back(seed, (seed % 3) as usize));
}

#[test]
fn an_observer_that_was_away_for_longer_than_the_log_gets_a_snapshot_first() {
    with_seeds(2, |seed| comes_back(seed, 3));
}

#[test]
fn a_broker_that_comes_new_to_an_old_cluster_gets_a_snapshot_first() {
    with_seeds(1, |_| async {
        let machines = three_and_an_observer();
        start_all(&machines[..3]).await;
        let mut client = Routed::new(machines[..3].iter().map(Machine::address).collect());
        change_much(&mut client).await;
        let new = &machines[3];
        new.start().await;
        assert!(snapshot_on(new).expect("a snapshot") >= CHANGES as u64 / 2);
        until("it knows what the others know", async || {
            let (known, there) = (topics(&machines[0]).await?, topics(new).await?);
            (known == there).then_some(())
        })
        .await;
        // It is as good as the others: it holds replicas and leads.
        client.create("wide", 4).await;
        until("it leads", async || {
            let all = topics(&machines[0]).await?;
            let wide = all.iter().find(|topic| topic.name.as_deref() == Some("wide"))?;
            wide.partitions.iter().any(|it| it.leader_id == 4).then_some(())
        })
        .await;
        let code = new.client().await.create_topic("through-it", 1).await.ok();
        assert_eq!(code, Some(ErrorCode::None));
    });
}
