//! Once nothing happens any more, all brokers come to hold the same bytes and to say the same, in bounded time.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use broker::rt;
use protocol::messages::describe_configs::{DescribeConfigsRequest, DescribeConfigsRequestResource};
use protocol::messages::describe_quorum::{
    DescribeQuorumRequest, DescribeQuorumRequestTopic, DescribeQuorumRequestTopicPartition,
};
use protocol::messages::metadata::MetadataRequest;
use protocol::{ErrorCode, Str};

use crate::client::Client;
use crate::ledger::{PROPERTY, Told, is_whole};
use crate::life::{OFFSETS_PARTITIONS, REPLICAS, TOPIC, World};
use crate::machine::Machine;

/// Virtual: after the last operation. A look compares all logs, which costs real time.
const CONVERGED_WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_secs(1);
const OFFSETS: &str = "__consumer_offsets";

/// What one broker says of the cluster.
#[derive(Debug, PartialEq, Eq)]
struct Says {
    /// Those that are not fenced.
    brokers: BTreeSet<i32>,
    topics: BTreeMap<String, Told>,
    /// Leader and term of the metadata quorum.
    quorum: (i32, i32),
    most_bytes: Option<String>,
}

pub(crate) async fn converge(world: &World) {
    let last = RefCell::new(String::new());
    let converged = async {
        while let Err(difference) = look(world).await {
            *last.borrow_mut() = difference;
            rt::sleep(LOOK_EVERY).await;
        }
    };
    let converged = rt::timeout(CONVERGED_WITHIN, converged).await;
    assert!(
        converged.is_ok(),
        "the brokers do not come to agree: {}{}",
        last.borrow(),
        parted(world)
    );
}

/// Which replicas hold other records where they should hold the same: a replica that is behind has the beginning of what
/// another has, and whatever else keeps it out of the in-sync set, this is worse.
fn parted(world: &World) -> String {
    let mut topics = world.ledger.borrow().topics();
    topics.insert(OFFSETS.to_string(), OFFSETS_PARTITIONS);
    let mut words = String::new();
    for (topic, many) in &topics {
        for partition in 0..*many {
            let of = |machine: &Machine| log_of(machine, topic, partition);
            let mut there: Vec<_> = world.machines.iter().filter_map(of).collect();
            there.sort_by_key(Vec::len);
            for pair in there.windows(2) {
                let differs = pair[0].iter().zip(&pair[1]).position(|(one, other)| one != other);
                if let Some(at) = differs {
                    words +=
                        &format!("; replicas of {topic}-{partition} hold other records from byte {at} on");
                }
            }
        }
    }
    words
}

/// What differs still.
async fn look(world: &World) -> Result<(), String> {
    let mut first: Option<Says> = None;
    // Of each name, what is there.
    let mut topics = BTreeMap::new();
    for machine in &world.machines {
        let says = ask(machine)
            .await
            .map_err(|error| format!("broker {}: {error}", machine.host()))?;
        match &first {
            None => {
                topics = is_healed(world, &says)?;
                first = Some(says);
            }
            Some(first) if *first == says => {}
            Some(first) => return Err(format!("one broker says {first:?}, another {says:?}")),
        }
    }
    for (topic, many) in &topics {
        for partition in 0..*many {
            are_alike(world, topic, partition)?;
        }
    }
    let mut deleted = world.ledger.borrow().deleted.clone();
    deleted.retain(|topic, _| !topics.contains_key(topic));
    for (topic, many) in deleted {
        for partition in 0..many {
            let holds = |machine: &&Machine| log_of(machine, &topic, partition).is_some();
            if let Some(holder) = world.machines.iter().find(holds) {
                return Err(format!(
                    "broker {} has {topic}-{partition}, which was deleted",
                    holder.host()
                ));
            }
        }
    }
    Ok(())
}

/// The bytes of a partition's log on a machine's disk; none where there is no replica. Segments may begin elsewhere on
/// another replica: what they hold in all is what must be equal.
fn log_of(machine: &Machine, topic: &str, partition: i32) -> Option<Vec<u8>> {
    let directory: PathBuf = format!("/data/{topic}-{partition}").into();
    let files = machine.disk.durable_files(&directory)?;
    let segments = files.into_iter().filter(|(name, _)| name.ends_with(".log"));
    Some(segments.flat_map(|(_, bytes)| bytes).collect())
}

fn are_alike(world: &World, topic: &str, partition: i32) -> Result<(), String> {
    let of = |machine: &Machine| log_of(machine, topic, partition);
    let there: Vec<_> = world.machines.iter().filter_map(of).collect();
    if there.len() == REPLICAS && there.windows(2).all(|pair| pair[0] == pair[1]) {
        return Ok(());
    }
    let lengths: Vec<_> = there.iter().map(Vec::len).collect();
    Err(format!(
        "replicas of {topic}-{partition} differ: bytes {lengths:?}"
    ))
}

/// Everybody is there, and everything that was told to be done is done. All topics with their numbers of partitions.
fn is_healed(world: &World, says: &Says) -> Result<BTreeMap<String, i32>, String> {
    let all: BTreeSet<i32> = world
        .machines
        .iter()
        .map(|machine| i32::from(machine.host()))
        .collect();
    if says.brokers != all {
        return Err(format!("only {:?} are not fenced", says.brokers));
    }
    let ledger = world.ledger.borrow();
    let mut wanted = ledger.topics();
    for again in &ledger.made_again {
        if let Some(told) = says.topics.get(again) {
            wanted.insert(again.clone(), told.len() as i32);
        }
    }
    wanted.insert(OFFSETS.to_string(), OFFSETS_PARTITIONS);
    let there: BTreeSet<_> = says.topics.keys().collect();
    if there != wanted.keys().collect() {
        return Err(format!("topics are {there:?}, not {wanted:?}"));
    }
    for (topic, many) in &wanted {
        is_whole(topic, *many, &says.topics[topic])?;
    }
    if let Some(most_bytes) = ledger.most_bytes {
        let mut possible = ledger.set_again.iter().chain([&most_bytes]);
        if !possible.any(|most| says.most_bytes == Some(most.to_string())) {
            return Err(format!("{PROPERTY} is {:?}, not {most_bytes}", says.most_bytes));
        }
    }
    if !all.contains(&says.quorum.0) {
        return Err("nobody leads the metadata quorum".to_string());
    }
    Ok(wanted)
}

fn checked(code: i16) -> io::Result<()> {
    match ErrorCode::from_code(code) {
        ErrorCode::None => Ok(()),
        code => Err(io::Error::other(format!("{code:?}"))),
    }
}

async fn ask(machine: &Machine) -> io::Result<Says> {
    let mut client = Client::connect(machine.address()).await?;
    let everything = MetadataRequest {
        topics: None,
        allow_auto_topic_creation: false,
        ..Default::default()
    };
    let metadata = client.call(12, &everything).await?;
    let mut topics = BTreeMap::new();
    for topic in &metadata.topics {
        checked(topic.error_code)?;
        let mut partitions = topic.partitions.clone();
        partitions.sort_by_key(|partition| partition.partition_index);
        let told = partitions.into_iter().map(|mut told| {
            told.replica_nodes.sort_unstable();
            told.isr_nodes.sort_unstable();
            (
                told.leader_id,
                told.leader_epoch,
                told.replica_nodes,
                told.isr_nodes,
            )
        });
        topics.insert(
            topic.name.as_deref().unwrap_or_default().to_string(),
            told.collect(),
        );
    }
    Ok(Says {
        brokers: metadata.brokers.iter().map(|broker| broker.node_id).collect(),
        topics,
        quorum: quorum(&mut client).await?,
        most_bytes: most_bytes(&mut client).await?,
    })
}

/// Leader and term of the metadata quorum, as a broker says.
pub(crate) async fn quorum(client: &mut Client) -> io::Result<(i32, i32)> {
    let topic = DescribeQuorumRequestTopic {
        topic_name: Str::from("__cluster_metadata"),
        partitions: vec![DescribeQuorumRequestTopicPartition { partition_index: 0 }],
    };
    let request = DescribeQuorumRequest { topics: vec![topic] };
    let answer = client.call(2, &request).await?;
    checked(answer.error_code)?;
    let quorum = &answer.topics[0].partitions[0];
    checked(quorum.error_code)?;
    Ok((quorum.leader_id, quorum.leader_epoch))
}

async fn most_bytes(client: &mut Client) -> io::Result<Option<String>> {
    const OF_TOPIC: i8 = 2;
    let resource = DescribeConfigsRequestResource {
        resource_type: OF_TOPIC,
        resource_name: Str::from(TOPIC),
        configuration_keys: Some(vec![Str::from(PROPERTY)]),
    };
    let request = DescribeConfigsRequest {
        resources: vec![resource],
        ..Default::default()
    };
    let answer = client.call(4, &request).await?;
    checked(answer.results[0].error_code)?;
    let value = answer.results[0]
        .configs
        .first()
        .and_then(|config| config.value.as_ref());
    Ok(value.map(|value| value.to_string()))
}
