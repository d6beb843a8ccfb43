//! Thousands of partitions and groups: a broker that is lost is succeeded, and comes back, in bounded virtual time, and with
//! work that grows as they do and no faster.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::rc::Rc;
use std::time::Duration;

use broker::rt;
use broker::rt::sim;
use protocol::messages::heartbeat::HeartbeatRequest;
use protocol::messages::join_group::{JoinGroupRequest, JoinGroupRequestProtocol};
use protocol::messages::metadata::MetadataResponseTopicPartition;
use protocol::messages::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment};
use protocol::{ErrorCode, Request, Str};

use crate::client::{Client, batch_of, metadata_request};
use crate::cluster::start_all;
use crate::machine::Machine;
use crate::replicating::until;
use crate::routed::Routed;
use crate::seeds::{tell_history, with_seeds};

const TOPIC: &str = "wide";
/// In `cargo test`; `SIM_PARTITIONS` says how many otherwise.
const PARTITIONS: i32 = 2_000;
/// Virtual.
const LED_WITHIN: Duration = Duration::from_secs(2);
const BACK_WITHIN: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// `SIM_GROUPS` says how many otherwise.
const GROUPS: usize = 1_000;
const MEMBERS: usize = 300;
/// Clients that share the groups.
const CLIENTS: usize = 16;
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);
/// Virtual: more than anything here may take.
const PATIENCE: Duration = Duration::from_secs(300);

fn number(name: &str) -> Option<usize> {
    let given = std::env::var(name).ok()?;
    Some(given.parse().expect("a number"))
}

fn three() -> Vec<Machine> {
    Machine::several(3, 2)
        .into_iter()
        .map(|machine| {
            machine
                .with_three_replicas()
                .with("offsets.topic.replication.factor", "3")
                .with("group.initial.rebalance.delay.ms", "0")
        })
        .collect()
}

async fn partitions(machine: &Machine) -> Option<Vec<MetadataResponseTopicPartition>> {
    let mut client = Client::connect(machine.address()).await.ok()?;
    let mut answer = client.call(12, &metadata_request(TOPIC)).await.ok()?;
    Some(answer.topics.remove(0).partitions)
}

/// Virtual time until every partition is as wanted, as `machine` knows it.
async fn all(machine: &Machine, wanted: impl Fn(&MetadataResponseTopicPartition) -> bool) -> Duration {
    let began = rt::now();
    while rt::now() - began < PATIENCE {
        let found = partitions(machine).await.unwrap_or_default();
        if !found.is_empty() && found.iter().all(&wanted) {
            return rt::now() - began;
        }
        rt::sleep(LOOK_EVERY).await;
    }
    panic!("never as wanted");
}

/// What the loss of one of three brokers took: until the others led everything, and until it was back in every set; and
/// what its disk did meanwhile.
async fn lost_and_back(many: i32) -> (Duration, Duration, u64) {
    let machines = three();
    start_all(&machines).await;
    until("create the topic", async || {
        let created = machines[0].client().await.create_topic(TOPIC, many).await;
        matches!(created, Ok(ErrorCode::None | ErrorCode::TopicAlreadyExists)).then_some(())
    })
    .await;
    all(&machines[0], |partition| partition.isr_nodes.len() == 3).await;
    let mut client = Routed::new(machines.iter().map(Machine::address).collect());
    for partition in (0..many).step_by(many as usize / 20) {
        let batch = batch_of(&["before".into()], None);
        while client
            .try_produce(TOPIC, partition, batch.clone())
            .await
            .is_none()
        {}
    }
    let before = machines[2].disk.operations();
    machines[2].kill();
    // Led by others, and out of the in-sync sets: else nothing has to come back.
    let led = all(&machines[0], |partition| {
        partition.leader_id > 0 && partition.leader_id != 3 && !partition.isr_nodes.contains(&3)
    })
    .await;
    let began = rt::now();
    machines[2].start().await;
    all(&machines[0], |partition| partition.isr_nodes.len() == 3).await;
    let back = rt::now() - began;
    let operations = machines[2].disk.operations() - before;
    for partition in (0..many).step_by(many as usize / 20) {
        let batch = batch_of(&["after".into()], None);
        while client
            .try_produce(TOPIC, partition, batch.clone())
            .await
            .is_none()
        {}
        let found = client.try_read(TOPIC, partition, 0).await.expect("readable");
        let values: Vec<&str> = found.iter().map(|(_, value)| value.as_str()).collect();
        assert_eq!(values, ["before", "after"], "partition {partition}");
    }
    (led, back, operations)
}

#[test]
fn thousands_of_partitions_are_led_again_and_back_in_bounded_time() {
    let many = number("SIM_PARTITIONS").map_or(PARTITIONS, |many| many as i32);
    with_seeds(1, |_| async move {
        let began = std::time::Instant::now();
        let (led, back, operations) = lost_and_back(many).await;
        println!(
            "{many} partitions: led again after {led:?}, back after {back:?}, {operations} operations of its disk, {:?} of \
             real time in all",
            began.elapsed()
        );
        assert!(
            led < LED_WITHIN,
            "{led:?} until every partition had a leader again"
        );
        assert!(
            back < BACK_WITHIN,
            "{back:?} until the broker was in sync everywhere"
        );
    });
}

#[test]
fn the_work_of_a_loss_grows_as_the_partitions_do() {
    tell_history();
    let of = |many| {
        let ((_, _, operations), report) = sim::run(1, lost_and_back(many));
        println!(
            "{many} partitions: {} polls, {operations} operations of a disk",
            report.polls
        );
        (report.polls, operations)
    };
    let (few, many) = (of(250), of(1_000));
    assert!(many.0 <= few.0 * 5, "polls of tasks: {} became {}", few.0, many.0);
    assert!(
        many.1 <= few.1 * 5,
        "operations of a disk: {} became {}",
        few.1,
        many.1
    );
}

fn group(number: usize) -> String {
    format!("group-{number}")
}

/// Each client has its own groups.
async fn by_clients<T: 'static, F: Future<Output = T> + 'static>(
    machines: &[Machine],
    many: usize,
    mut each: impl FnMut(Routed, Vec<usize>) -> F,
) -> Vec<T> {
    let addresses: Vec<_> = machines
        .iter()
        .filter(|machine| machine.is_running())
        .map(Machine::address)
        .collect();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let own = (client..many).step_by(CLIENTS).collect();
            rt::spawn(each(Routed::new(addresses.clone()), own))
        })
        .collect();
    rt::timeout(PATIENCE, futures::future::join_all(clients))
        .await
        .expect("every client is done")
}

#[test]
fn thousands_of_groups_are_coordinated_again_in_bounded_time() {
    let many = number("SIM_GROUPS").unwrap_or(GROUPS);
    with_seeds(1, |_| async move {
        let real = std::time::Instant::now();
        let machines = three();
        start_all(&machines).await;
        // Offsets of a topic that is not there are refused.
        Routed::new(machines.iter().map(Machine::address).collect())
            .create(TOPIC, 1)
            .await;
        by_clients(&machines, many, |mut client, own| async move {
            for number in own {
                client.forget_coordinator();
                for offset in [1, number as i64] {
                    while !client.try_commit(&group(number), TOPIC, offset).await {}
                }
            }
        })
        .await;
        println!(
            "{many} groups have committed after {:?} of real time",
            real.elapsed()
        );
        for lost in 0..3 {
            machines[lost].kill();
            let began = rt::now();
            by_clients(&machines, many, |mut client, own| async move {
                for number in own {
                    client.forget_coordinator();
                    let found = loop {
                        if let Some(found) = client.try_committed(&group(number), TOPIC).await {
                            break found;
                        }
                    };
                    assert_eq!(found, number as i64, "{}", group(number));
                }
            })
            .await;
            let took = rt::now() - began;
            println!(
                "broker {} lost: all of {many} groups told their offsets after {took:?}",
                lost + 1
            );
            assert!(
                took < ANSWERED_WITHIN,
                "{took:?} until every group had told its offset"
            );
            machines[lost].start().await;
        }
    });
}

/// One request at the group's coordinator until it is taken.
async fn taken<R: Request<Response: Debug> + Debug>(
    client: &mut Routed,
    group: &str,
    version: i16,
    request: &R,
    code: fn(&R::Response) -> i16,
) -> R::Response {
    loop {
        let Some(answer) = client.try_coordinator(group, version, request).await else {
            rt::sleep(LOOK_EVERY).await;
            continue;
        };
        match ErrorCode::from_code(code(&answer)) {
            ErrorCode::None | ErrorCode::MemberIdRequired => return answer,
            other => {
                assert!(other.retriable(), "{group}: {other:?}");
                client.forget_coordinator();
                rt::sleep(LOOK_EVERY).await;
            }
        }
    }
}

/// A member alone in its group, and the generation it came to.
async fn join(client: &mut Routed, group: &str) -> (Str, i32) {
    let mut request = JoinGroupRequest {
        group_id: Str::copy_from(group),
        session_timeout_ms: 45_000,
        rebalance_timeout_ms: 45_000,
        protocol_type: "consumer".into(),
        protocols: vec![JoinGroupRequestProtocol {
            name: "range".into(),
            metadata: bytes::Bytes::from_static(b"\0\0\0\0\0\0"),
        }],
        ..Default::default()
    };
    let joined = loop {
        let joined = taken(client, group, 9, &request, |answer| answer.error_code).await;
        if joined.error_code == 0 {
            break joined;
        }
        request.member_id = joined.member_id;
    };
    let request = SyncGroupRequest {
        group_id: Str::copy_from(group),
        generation_id: joined.generation_id,
        member_id: joined.member_id.clone(),
        protocol_type: Some("consumer".into()),
        protocol_name: Some("range".into()),
        assignments: vec![SyncGroupRequestAssignment {
            member_id: joined.member_id.clone(),
            assignment: bytes::Bytes::from_static(b"all"),
        }],
        ..Default::default()
    };
    taken(client, group, 5, &request, |answer| answer.error_code).await;
    (joined.member_id, joined.generation_id)
}

#[test]
fn members_of_hundreds_of_groups_keep_their_generations_when_coordinators_are_lost() {
    with_seeds(1, |_| async move {
        let machines = three();
        start_all(&machines).await;
        let joined = by_clients(&machines, MEMBERS, |mut client, own| async move {
            let mut members = BTreeMap::new();
            for number in own {
                client.forget_coordinator();
                members.insert(number, join(&mut client, &group(number)).await);
            }
            members
        })
        .await;
        let members: Rc<BTreeMap<usize, (Str, i32)>> = Rc::new(joined.into_iter().flatten().collect());
        for lost in 0..3 {
            machines[lost].kill();
            let began = rt::now();
            let members = members.clone();
            by_clients(&machines, MEMBERS, move |mut client, own| {
                let members = members.clone();
                async move {
                    for number in own {
                        client.forget_coordinator();
                        let (member, generation) = &members[&number];
                        let request = HeartbeatRequest {
                            group_id: Str::copy_from(&group(number)),
                            generation_id: *generation,
                            member_id: member.clone(),
                            ..Default::default()
                        };
                        // Anything else than a coordinator that is being found fails: also a rebalance.
                        taken(&mut client, &group(number), 4, &request, |answer| {
                            answer.error_code
                        })
                        .await;
                    }
                }
            })
            .await;
            let took = rt::now() - began;
            assert!(
                took < ANSWERED_WITHIN,
                "{took:?} until every member was known again"
            );
            machines[lost].start().await;
        }
    });
}
