//! The administrator of a life and its ledger: what it was told is done must be so on every broker in the end, and nothing
//! else is there.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use broker::rt;

use crate::client::batch_of;
use crate::faults::some_time;
use crate::life::{PARTITIONS, REPLICAS, TOPIC, World};

/// The property that is set again and again.
pub(crate) const PROPERTY: &str = "max.message.bytes";

/// What was told to be done.
#[derive(Default)]
pub(crate) struct Ledger {
    /// Topics that were made and not deleted, with their numbers of partitions.
    made: BTreeMap<String, i32>,
    /// Names of topics that were deleted, and how many partitions they had.
    pub(crate) deleted: BTreeMap<String, i32>,
    /// Those of them that an earlier try may have made again.
    pub(crate) made_again: BTreeSet<String>,
    /// What [`TOPIC`]'s [`PROPERTY`] was set to last.
    pub(crate) most_bytes: Option<u64>,
    /// What an earlier try may have set it to since.
    pub(crate) set_again: BTreeSet<u64>,
}

impl Ledger {
    /// Every topic of clients, with its number of partitions.
    pub(crate) fn topics(&self) -> BTreeMap<String, i32> {
        let mut topics = self.made.clone();
        topics.insert(TOPIC.to_string(), PARTITIONS);
        topics
    }
}

/// Makes topics, gives them more partitions, writes a little, changes configs and deletes topics, beside everything else.
pub(crate) async fn administer(world: Rc<World>) {
    let mut client = world.client();
    for number in 0.. {
        some_time(3_000).await;
        if world.is_over() {
            break;
        }
        let topic = format!("extra-{number}");
        let created = client.create(&topic, 1).await;
        world.ledger.borrow_mut().made.insert(topic.clone(), 1);
        let many = 1 + (rt::random_u64() % 4) as i32;
        client.raise(&topic, many).await;
        world.ledger.borrow_mut().made.insert(topic.clone(), many);
        for record in 0..rt::random_u64() % 4 {
            let partition = (rt::random_u64() % many as u64) as i32;
            let values = [format!("{topic}-{record}")];
            while client
                .try_produce(&topic, partition, batch_of(&values, None))
                .await
                .is_none()
            {}
        }
        let most = 1_000_000 + rt::random_u64() % 1_000_000;
        let set = client.configure(TOPIC, PROPERTY, &most.to_string()).await;
        {
            let mut ledger = world.ledger.borrow_mut();
            ledger.most_bytes = Some(most);
            if !set.are_over() {
                ledger.set_again.insert(most);
            }
        }
        if rt::random_u64().is_multiple_of(2) {
            client.delete(&topic).await;
            let mut ledger = world.ledger.borrow_mut();
            ledger.made.remove(&topic);
            if !created.are_over() {
                ledger.made_again.insert(topic.clone());
            }
            ledger.deleted.insert(topic, many);
        }
    }
    world.count(&client);
}

/// What a broker says of a topic: leader, epoch, replicas and in-sync replicas of each partition in order.
pub(crate) type Told = Vec<(i32, i32, Vec<i32>, Vec<i32>)>;

/// Whether a topic is as it has to be on a healed cluster; what is wrong if not.
pub(crate) fn is_whole(topic: &str, many: i32, told: &Told) -> Result<(), String> {
    if told.len() != many as usize {
        return Err(format!("{topic} has {} partitions, not {many}", told.len()));
    }
    for (partition, (leader, _, replicas, isr)) in told.iter().enumerate() {
        if replicas.len() != REPLICAS || isr != replicas || !replicas.contains(leader) {
            return Err(format!(
                "{topic}-{partition}: led by {leader}, {isr:?} of {replicas:?} in sync"
            ));
        }
    }
    Ok(())
}
