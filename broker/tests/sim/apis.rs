//! What clients are told of a cluster that lost brokers, and what they can ask it to do about that: DescribeCluster,
//! DescribeTopicPartitions, UnregisterBroker, ElectLeaders, OffsetForLeaderEpoch.

use std::collections::BTreeSet;

use protocol::messages::describe_cluster::{DescribeClusterRequest, DescribeClusterResponseBroker};
use protocol::messages::describe_topic_partitions::{
    DescribeTopicPartitionsRequest, DescribeTopicPartitionsRequestTopic,
    DescribeTopicPartitionsResponseTopicPartition,
};
use protocol::messages::elect_leaders::{ElectLeadersRequest, ElectLeadersRequestTopicPartition};
use protocol::messages::fetch::{FetchRequest, FetchRequestTopicPartition};
use protocol::messages::offset_for_leader_epoch::{
    OffsetForLeaderEpochRequest, OffsetForLeaderEpochRequestTopic, OffsetForLeaderEpochRequestTopicPartition,
};
use protocol::messages::unregister_broker::UnregisterBrokerRequest;
use protocol::record::batch::batches;
use protocol::{ErrorCode, Str};

use crate::client::{batch_of, metadata_request};
use crate::life::contains;
use crate::losses::{in_sync_of, log_file, replicas_of};
use crate::machine::Machine;
use crate::replicating::{
    PARTITIONS, TOPIC, any_running, in_sync, leader_among, produce, read, start_and_create, start_with_topic,
    state_of, until,
};
use crate::seeds::with_seeds;

const PREFERRED: i8 = 0;
const UNCLEAN: i8 = 1;

/// Five brokers and the topic with three replicas, of which two must be in sync.
async fn five() -> Vec<Machine> {
    let machines: Vec<Machine> = Machine::several(5, 1)
        .into_iter()
        .map(|machine| {
            machine
                .with_three_replicas()
                .with("replica.lag.time.max.ms", "3000")
        })
        .collect();
    start_and_create(&machines).await;
    in_sync(&machines, 3).await;
    machines
}

fn node(machine: &Machine) -> i32 {
    i32::from(machine.host())
}

async fn brokers(machine: &Machine, version: i16, fenced_too: bool) -> Vec<DescribeClusterResponseBroker> {
    let request = DescribeClusterRequest {
        endpoint_type: 1,
        include_fenced_brokers: fenced_too,
        ..Default::default()
    };
    let answer = machine.client().await.call(version, &request).await;
    let answer = answer.expect("an answer");
    assert_eq!(ErrorCode::from_code(answer.error_code), ErrorCode::None);
    assert_eq!(&*answer.cluster_id, "simulated");
    answer.brokers
}

fn fenced(brokers: &[DescribeClusterResponseBroker]) -> BTreeSet<i32> {
    let fenced = brokers.iter().filter(|broker| broker.is_fenced);
    fenced.map(|broker| broker.broker_id).collect()
}

async fn described(machine: &Machine) -> DescribeTopicPartitionsResponseTopicPartition {
    let request = DescribeTopicPartitionsRequest {
        topics: vec![DescribeTopicPartitionsRequestTopic {
            name: Str::from(TOPIC),
        }],
        response_partition_limit: 2_000,
        cursor: None,
    };
    let answer = machine.client().await.call(0, &request).await;
    let mut topic = answer.expect("an answer").topics.remove(0);
    assert_eq!(ErrorCode::from_code(topic.error_code), ErrorCode::None);
    assert_eq!(topic.partitions.len() as i32, PARTITIONS);
    topic.partitions.remove(0)
}

fn eligible(partition: &DescribeTopicPartitionsResponseTopicPartition) -> BTreeSet<i32> {
    partition
        .eligible_leader_replicas
        .iter()
        .flatten()
        .copied()
        .collect()
}

fn offline(partition: &DescribeTopicPartitionsResponseTopicPartition) -> BTreeSet<i32> {
    partition.offline_replicas.iter().copied().collect()
}

async fn unregister(through: &Machine, node: i32) -> ErrorCode {
    let request = UnregisterBrokerRequest { broker_id: node };
    let answer = through.client().await.call(0, &request).await;
    ErrorCode::from_code(answer.expect("an answer").error_code)
}

/// Elects among partitions of the topic, or of everything: (partition, code) of each that is answered for.
async fn elect(
    through: &Machine,
    kind: i8,
    partitions: Option<&[i32]>,
) -> Result<Vec<(i32, ErrorCode)>, ErrorCode> {
    let named = partitions.map(|partitions| {
        vec![ElectLeadersRequestTopicPartition {
            topic: Str::from(TOPIC),
            partitions: partitions.to_vec(),
        }]
    });
    let request = ElectLeadersRequest {
        election_type: kind,
        topic_partitions: named,
        timeout_ms: 10_000,
    };
    let answer = through.client().await.call(2, &request).await.expect("an answer");
    match ErrorCode::from_code(answer.error_code) {
        ErrorCode::None => {}
        code => return Err(code),
    }
    let of_topic = answer
        .replica_election_results
        .iter()
        .filter(|result| &*result.topic == TOPIC);
    let results = of_topic.flat_map(|result| &result.partition_result);
    Ok(results
        .map(|result| (result.partition_id, ErrorCode::from_code(result.error_code)))
        .collect())
}

/// One try with `acks=all` at the leader.
async fn try_produce(machines: &[Machine], value: &str) -> Result<i64, ErrorCode> {
    let (leader, _) = state_of(any_running(machines), 0).await.expect("a leader");
    let leader = leader_among(machines, leader).expect("it runs");
    let batch = batch_of(&[value.to_string()], None);
    let answer = leader.client().await.produce(TOPIC, 0, batch).await;
    answer.expect("an answer")
}

#[test]
fn a_cluster_without_two_of_its_brokers_is_told_as_it_is_and_healed_by_request() {
    with_seeds(4, |seed| async move {
        let machines = five().await;
        produce(&machines, 0, "three have it").await;
        let (_, replicas) = replicas_of(&machines[0], 0).await.expect("a partition");
        let [first, second, last] =
            [0, 1, 2].map(|at| &machines[replicas[(at + seed as usize) % 3] as usize - 1]);
        let bystander = machines
            .iter()
            .find(|machine| !replicas.contains(&node(machine)))
            .expect("two of five");
        let whole = described(bystander).await;
        assert!(eligible(&whole).is_empty() && offline(&whole).is_empty());
        assert_eq!(whole.last_known_elr, Some(vec![]));

        first.power_off(seed);
        in_sync_of(&machines, 0, 2).await;
        produce(&machines, 0, "two have it").await;
        second.power_off(seed + 1);
        in_sync_of(&machines, 0, 1).await;
        let gone = BTreeSet::from([node(first), node(second)]);
        let told = until("the loss is told", async || {
            let (told, leading) = (described(bystander).await, described(last).await);
            let fenced = fenced(&brokers(bystander, 2, true).await);
            (told.isr_nodes.len() == 1 && leading == told && fenced == gone).then_some(told)
        })
        .await;
        assert_eq!(ErrorCode::from_code(told.error_code), ErrorCode::None);
        assert_eq!((told.leader_id, &told.isr_nodes), (node(last), &vec![node(last)]));
        // The first one left while two were enough: what two acknowledged since, it does not have.
        assert_eq!(eligible(&told), BTreeSet::from([node(second)]));
        assert_eq!(offline(&told), gone);
        let refused = try_produce(&machines, "too few").await;
        assert_eq!(refused, Err(ErrorCode::NotEnoughReplicas));

        let all = brokers(bystander, 2, true).await;
        assert_eq!((all.len(), fenced(&all)), (5, gone.clone()));
        for (version, fenced_too) in [(2, false), (1, false)] {
            let alive = brokers(bystander, version, fenced_too).await;
            assert_eq!((alive.len(), fenced(&alive)), (3, BTreeSet::new()));
        }
        assert_eq!(unregister(last, 99).await, ErrorCode::BrokerIdNotRegistered);
        assert_eq!(unregister(last, node(bystander)).await, ErrorCode::InvalidRequest);
        assert_eq!(unregister(bystander, node(first)).await, ErrorCode::None);
        let left = brokers(bystander, 2, true).await;
        assert_eq!((left.len(), fenced(&left)), (4, BTreeSet::from([node(second)])));
        assert_eq!(
            unregister(last, node(first)).await,
            ErrorCode::BrokerIdNotRegistered
        );

        let needless = ErrorCode::ElectionNotNeeded;
        assert_eq!(elect(last, UNCLEAN, Some(&[0])).await, Ok(vec![(0, needless)]));
        let preferred = match replicas[0] == node(last) {
            true => needless,
            false => ErrorCode::PreferredLeaderNotAvailable,
        };
        let unknown = ErrorCode::UnknownTopicOrPartition;
        assert_eq!(
            elect(bystander, PREFERRED, Some(&[0, 99])).await,
            Ok(vec![(0, preferred), (99, unknown)])
        );
        assert_eq!(elect(last, 7, Some(&[0])).await, Err(ErrorCode::InvalidRequest));

        // Nobody is left who has what was acknowledged; the first one votes and is registered again.
        last.power_off(seed + 2);
        first.start().await;
        let told = until("nobody leads", async || {
            let told = described(first).await;
            (told.leader_id < 0).then_some(told)
        })
        .await;
        assert_eq!(
            ErrorCode::from_code(told.error_code),
            ErrorCode::LeaderNotAvailable
        );
        assert!(told.isr_nodes.is_empty(), "{told:?}");
        assert_eq!(eligible(&told), BTreeSet::from([node(second), node(last)]));
        assert_eq!(
            elect(first, PREFERRED, Some(&[0])).await,
            Ok(vec![(0, ErrorCode::PreferredLeaderNotAvailable)])
        );
        assert_eq!(
            elect(bystander, UNCLEAN, Some(&[0])).await,
            Ok(vec![(0, ErrorCode::None)])
        );
        let told = until("it leads", async || {
            let told = described(first).await;
            (told.leader_id > 0).then_some(told)
        })
        .await;
        assert_eq!(
            (told.leader_id, &told.isr_nodes),
            (node(first), &vec![node(first)])
        );
        assert!(eligible(&told).is_empty(), "their history was given up");
        let all = elect(first, UNCLEAN, None).await.expect("tried");
        for (partition, code) in all {
            let elected = [ErrorCode::None, ErrorCode::EligibleLeadersNotAvailable].contains(&code);
            assert!(elected && partition != 0, "{partition}: {code:?}");
        }

        futures::future::join_all([second, last].map(Machine::start)).await;
        in_sync(&machines, 3).await;
        let mut found = read(&machines, 0).await;
        found.dedup();
        assert_eq!(found, ["three have it"]);
        produce(&machines, 0, "after").await;
        let given_up = last.disk.durable_bytes(&log_file(0)).expect("its log");
        assert!(!contains(&given_up, "two have it"), "the same history everywhere");
        let healed = brokers(bystander, 2, true).await;
        assert_eq!((healed.len(), fenced(&healed)), (5, BTreeSet::new()));
    });
}

/// Leader and leader epoch of partition 0.
async fn led(machine: &Machine) -> Option<(i32, i32)> {
    let request = metadata_request(TOPIC);
    let answer = machine.client().await.call(12, &request).await.ok()?;
    let partitions = &answer.topics.first()?.partitions;
    let found = partitions.iter().find(|found| found.partition_index == 0)?;
    Some((found.leader_id, found.leader_epoch))
}

/// (leader epoch, first offset, offset after the last) of every batch of partition 0.
async fn batches_of(machine: &Machine) -> Vec<(i32, i64, i64)> {
    let mut all: Vec<(i32, i64, i64)> = Vec::new();
    loop {
        let from = all.last().map_or(0, |(_, _, next)| *next);
        let wanted = FetchRequestTopicPartition {
            fetch_offset: from,
            partition_max_bytes: 1 << 20,
            ..Default::default()
        };
        let found = machine
            .client()
            .await
            .fetch_partition(TOPIC, wanted, FetchRequest::default())
            .await
            .expect("an answer");
        assert_eq!(ErrorCode::from_code(found.error_code), ErrorCode::None);
        let records = found.records.unwrap_or_default();
        if records.is_empty() {
            return all;
        }
        for batch in batches(&records) {
            let (_, batch) = batch.expect("a batch");
            let (base, next) = (batch.base_offset().0, batch.next_offset().0);
            all.push((batch.leader_epoch().0, base, next));
        }
    }
}

/// Where `epoch` ended, as a consumer asks who believes in `current`: (code, epoch, end offset).
async fn epoch_end(machine: &Machine, partition: i32, current: i32, epoch: i32) -> (ErrorCode, i32, i64) {
    let asked = OffsetForLeaderEpochRequestTopicPartition {
        partition,
        current_leader_epoch: current,
        leader_epoch: epoch,
    };
    let request = OffsetForLeaderEpochRequest {
        replica_id: -1,
        topics: vec![OffsetForLeaderEpochRequestTopic {
            topic: Str::from(TOPIC),
            partitions: vec![asked],
        }],
    };
    let answer = machine.client().await.call(4, &request).await.expect("an answer");
    let found = &answer.topics[0].partitions[0];
    assert_eq!(found.partition, partition);
    (
        ErrorCode::from_code(found.error_code),
        found.leader_epoch,
        found.end_offset,
    )
}

#[test]
fn a_leader_epoch_ends_where_the_next_records_began_whoever_leads() {
    with_seeds(4, |seed| async move {
        let machines = start_with_topic(&[1, 2, 1]).await;
        in_sync(&machines, 3).await;
        for round in 0..5 {
            // Some epochs are without records.
            for number in 0..(seed + round) % 3 {
                produce(&machines, 0, &format!("{round}-{number}")).await;
            }
            let (leader, _) = led(any_running(&machines)).await.expect("a leader");
            let Some(leader) = leader_among(&machines, leader) else {
                continue;
            };
            match round % 2 {
                0 => leader.power_off(seed + round),
                _ => leader.stop().await,
            }
            until("another leads", async || {
                let (now, _) = led(any_running(&machines)).await?;
                (now > 0 && now != node(leader)).then_some(())
            })
            .await;
            leader.start().await;
            in_sync(&machines, 3).await;
        }
        produce(&machines, 0, "last").await;
        let (leader, current) = led(&machines[0]).await.expect("a leader");
        let (there, elsewhere): (Vec<&Machine>, Vec<&Machine>) =
            machines.iter().partition(|machine| node(machine) == leader);
        let leader = there[0];
        assert!(current >= 5, "leader epoch {current} after five losses");
        let written = batches_of(leader).await;
        let log_end = written.last().expect("records").2;
        for epoch in 0..=current {
            let before = written
                .iter()
                .map(|batch| batch.0)
                .filter(|found| *found <= epoch);
            let next = written.iter().find(|(found, _, _)| *found > epoch);
            let expected = match epoch == current {
                true => (current, log_end),
                false => (
                    before.max().unwrap_or(epoch),
                    next.map_or(log_end, |(_, base, _)| *base),
                ),
            };
            let (code, found, end) = epoch_end(leader, 0, current, epoch).await;
            assert_eq!(
                (code, found, end),
                (ErrorCode::None, expected.0, expected.1),
                "epoch {epoch} of {written:?}"
            );
        }
        // Nobody has such an epoch yet: nothing is known of it.
        let newer = epoch_end(leader, 0, -1, current + 1).await;
        assert_eq!(newer, (ErrorCode::None, -1, -1));
        for (claimed, code) in [
            (current - 1, ErrorCode::FencedLeaderEpoch),
            (current + 1, ErrorCode::UnknownLeaderEpoch),
        ] {
            assert_eq!(epoch_end(leader, 0, claimed, 0).await, (code, -1, -1));
        }
        let other = epoch_end(elsewhere[0], 0, -1, 0).await;
        assert_eq!(other, (ErrorCode::NotLeaderOrFollower, -1, -1));
        let unknown = epoch_end(leader, 99, -1, 0).await;
        assert_eq!(unknown, (ErrorCode::UnknownTopicOrPartition, -1, -1));
    });
}
