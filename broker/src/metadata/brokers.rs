//! Brokers come, move and go: registration with an incarnation id, fencing, new advertised addresses.
//!
//! Owns what these changes mean for the partitions a broker leads. Leaves when to register and whom to fence to
//! `quorum/liveness.rs`.

use protocol::error_code::ErrorCode;
use protocol::ids::{NodeId, TopicId};

use super::image::{Broker, PartitionImage, changed_record};
use super::{
    Endpoint, ItemError, MetadataImage, Outcome, Record, Registered, Registration, Reply, Updated, election,
    record,
};

/// A broker starts. The same incarnation asked twice is answered twice and written once (a retry after a lost answer);
/// another incarnation means that the process before it is gone, and everything it led gets a new leader epoch.
pub(super) fn register(image: &MetadataImage, new: &Registration) -> Outcome {
    let refuse = |code, message: String| Outcome {
        records: Vec::new(),
        reply: Reply::RegisterBroker(Err(ItemError::new(code, message))),
    };
    if new.node.0 < 0 {
        return refuse(
            ErrorCode::InvalidRequest,
            format!("node id {} is negative", new.node),
        );
    }
    if new.cluster_id != image.cluster_id {
        let message = format!(
            "broker {} belongs to cluster {}, this is cluster {}",
            new.node, new.cluster_id, image.cluster_id
        );
        return refuse(ErrorCode::InconsistentClusterId, message);
    }
    if new.listeners.is_empty() {
        return refuse(
            ErrorCode::InvalidRegistration,
            format!("broker {} has no listener", new.node),
        );
    }
    let known = image.broker(new.node);
    if let Some(known) = known
        && known.incarnation_id == new.incarnation_id
    {
        return Outcome {
            records: Vec::new(),
            reply: Reply::RegisterBroker(Ok(Registered { epoch: known.epoch })),
        };
    }
    // The offset keeps epochs growing over the life of the cluster, also for a node id that was removed in between.
    let epoch = (image.offset as i64 + 1).max(known.map_or(0, |known| known.epoch + 1));
    let mut records: Vec<Record> = vec![
        record::BrokerRegistered {
            node: new.node,
            epoch,
            incarnation_id: new.incarnation_id,
            directory_id: new.directory_id,
            rack: new.rack.clone(),
            fenced: new.fenced,
            listeners: new.listeners.clone(),
        }
        .into(),
    ];
    records.extend(reelect(image, new.node, !new.fenced));
    Outcome {
        records,
        reply: Reply::RegisterBroker(Ok(Registered { epoch })),
    }
}

/// A broker may serve from now on, or may not.
pub(super) fn fence(image: &MetadataImage, node: NodeId, epoch: Option<i64>, fenced: bool) -> Outcome {
    let meant = |broker: &&std::sync::Arc<Broker>| epoch.is_none_or(|epoch| epoch == broker.epoch);
    let Some(broker) = image.broker(node).filter(meant) else {
        return Outcome {
            records: Vec::new(),
            reply: Reply::FenceBroker(Err(not_registered(node))),
        };
    };
    let mut records = Vec::new();
    if broker.fenced != fenced {
        records.push(record::BrokerFenced { node, fenced }.into());
        records.extend(reelect(image, node, !fenced));
    }
    Outcome {
        records,
        reply: Reply::FenceBroker(Ok(())),
    }
}

/// New advertised addresses, by listener name.
pub(super) fn update_listeners(image: &MetadataImage, node: NodeId, changes: &[Endpoint]) -> Outcome {
    let refuse = |error| Outcome {
        records: Vec::new(),
        reply: Reply::UpdateListeners(Err(error)),
    };
    let Some(broker) = image.broker(node) else {
        return refuse(not_registered(node));
    };
    let mut listeners = broker.listeners.clone();
    for change in changes {
        let Some(listener) = listeners.iter_mut().find(|listener| listener.name == change.name) else {
            let known: Vec<&str> = broker.listeners.iter().map(|listener| &*listener.name).collect();
            let message = format!(
                "broker {node} has no listener {}; it has {}",
                change.name,
                known.join(", ")
            );
            return refuse(ItemError::new(ErrorCode::InvalidRequest, message));
        };
        if change.host.is_empty() || change.port == 0 {
            let message = format!(
                "listener {}: {:?}:{} is not an address clients can use",
                change.name, change.host, change.port
            );
            return refuse(ItemError::new(ErrorCode::InvalidRequest, message));
        }
        *listener = change.clone();
    }
    let changed = listeners != broker.listeners;
    let record = record::BrokerListeners {
        node,
        listeners: listeners.clone(),
    };
    Outcome {
        records: changed.then(|| record.into()).into_iter().collect(),
        reply: Reply::UpdateListeners(Ok(Updated {
            value: listeners,
            changed,
        })),
    }
}

/// What changes for partitions when `node` is a new process that is (not) able to lead: those it led get a leader in a
/// new epoch, those without a leader may get one. One pass over all partitions: this happens once per process start.
fn reelect(image: &MetadataImage, node: NodeId, able: bool) -> Vec<Record> {
    let alive = |other: NodeId| {
        if other == node {
            able
        } else {
            image.broker(other).is_some_and(|broker| !broker.fenced)
        }
    };
    let mut records = Vec::new();
    for topic in image.topics.values() {
        for (number, partition) in topic.partitions.iter().enumerate() {
            if let Some(record) = reelect_one(topic.id, number as i32, partition, node, &alive) {
                records.push(record);
            }
        }
    }
    records
}

fn reelect_one(
    topic: TopicId,
    number: i32,
    partition: &PartitionImage,
    node: NodeId,
    alive: &impl Fn(NodeId) -> bool,
) -> Option<Record> {
    let touched = partition.leader == Some(node) || partition.leader.is_none();
    if !touched {
        return None;
    }
    let leader = election::elect(partition, alive, false);
    if leader.is_none() && partition.leader.is_none() {
        return None;
    }
    let changed = election::with_leader(partition, leader);
    Some(changed_record(topic, number, &changed).into())
}

fn not_registered(node: NodeId) -> ItemError {
    ItemError::new(
        ErrorCode::BrokerIdNotRegistered,
        format!("broker {node} is not registered"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::Request;
    use crate::metadata::fixtures::{decided, done, endpoint, image, new_topic};

    fn registration(node: i32, incarnation: u8) -> Registration {
        Registration {
            node: NodeId(node),
            incarnation_id: [incarnation; 16],
            directory_id: [9; 16],
            cluster_id: "test-cluster".into(),
            rack: None,
            fenced: false,
            listeners: vec![endpoint("PLAINTEXT", "localhost", 9092)],
        }
    }

    fn epoch_of(reply: Reply) -> i64 {
        match reply {
            Reply::RegisterBroker(Ok(registered)) => registered.epoch,
            other => panic!("not registered: {other:?}"),
        }
    }

    #[test]
    fn the_same_incarnation_is_written_once_and_another_gets_a_higher_epoch() {
        let mut image = image(0);
        let first = epoch_of(done(&mut image, &Request::RegisterBroker(registration(3, 1))));
        let again = decided(&image, &Request::RegisterBroker(registration(3, 1)));
        assert!(again.records.is_empty());
        assert_eq!(epoch_of(again.reply), first);
        let next = epoch_of(done(&mut image, &Request::RegisterBroker(registration(3, 2))));
        assert!(next > first);
    }

    #[test]
    fn a_restarted_broker_leads_what_it_led_in_a_new_epoch() {
        let mut image = image(0);
        done(&mut image, &Request::RegisterBroker(registration(0, 1)));
        done(
            &mut image,
            &Request::CreateTopics {
                topics: vec![new_topic("t", 2, 1)],
                validate_only: false,
            },
        );
        done(&mut image, &Request::RegisterBroker(registration(0, 2)));
        for partition in &image.topic("t").unwrap().partitions {
            assert_eq!((partition.leader, partition.leader_epoch.0), (Some(NodeId(0)), 1));
        }
    }

    #[test]
    fn fencing_hands_leadership_over_and_unfencing_heals_what_had_no_leader() {
        let mut image = image(2);
        done(
            &mut image,
            &Request::CreateTopics {
                topics: vec![new_topic("both", 2, 2), new_topic("single", 2, 1)],
                validate_only: false,
            },
        );
        done(
            &mut image,
            &Request::FenceBroker {
                epoch: None,
                node: NodeId(0),
                fenced: true,
            },
        );
        assert!(
            image
                .topic("both")
                .unwrap()
                .partitions
                .iter()
                .all(|p| p.leader == Some(NodeId(1)))
        );
        let orphans = image
            .topic("single")
            .unwrap()
            .partitions
            .iter()
            .filter(|p| p.leader.is_none())
            .count();
        assert_eq!(orphans, 1, "the one that only the fenced broker holds");
        done(
            &mut image,
            &Request::FenceBroker {
                epoch: None,
                node: NodeId(0),
                fenced: false,
            },
        );
        assert!(
            image
                .topic("single")
                .unwrap()
                .partitions
                .iter()
                .all(|p| p.leader.is_some())
        );
    }

    #[test]
    fn registrations_that_cannot_be_right_are_refused() {
        let image = image(1);
        let mut stranger = registration(5, 1);
        stranger.cluster_id = "another".into();
        let mut mute = registration(5, 1);
        mute.listeners.clear();
        for wrong in [stranger, mute, registration(-1, 1)] {
            let outcome = decided(&image, &Request::RegisterBroker(wrong));
            assert!(matches!(outcome.reply, Reply::RegisterBroker(Err(_))) && outcome.records.is_empty());
        }
    }

    #[test]
    fn a_new_address_replaces_one_listener_and_an_unknown_listener_is_named() {
        let mut image = image(1);
        let update = |host: &str, name: &str| Request::UpdateListeners {
            node: NodeId(0),
            listeners: vec![endpoint(name, host, 31000)],
        };
        let reply = done(&mut image, &update("node-7", "PLAINTEXT"));
        assert!(matches!(
            reply,
            Reply::UpdateListeners(Ok(Updated { changed: true, .. }))
        ));
        assert_eq!(
            &*image.brokers[&NodeId(0)].endpoint("PLAINTEXT").unwrap().host,
            "node-7"
        );
        let again = decided(&image, &update("node-7", "PLAINTEXT"));
        assert!(again.records.is_empty());
        let Reply::UpdateListeners(Err(error)) = decided(&image, &update("x", "OTHER")).reply else {
            panic!("an unknown listener is refused");
        };
        assert!(
            error.message.contains("OTHER") && error.message.contains("PLAINTEXT"),
            "{}",
            error.message
        );
    }
}
