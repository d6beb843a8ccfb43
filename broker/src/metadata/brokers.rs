//! Brokers come, move and go: registration with an incarnation id, fencing, controlled shutdown, new advertised addresses.
//!
//! Owns who is a member. Leaves what that means for one partition to `isr.rs`, when to register and whom to fence to
//! `quorum/`.

use protocol::error_code::ErrorCode;
use protocol::ids::NodeId;

use super::image::{Broker, PartitionImage};
use super::isr::{self, Gone, Policy};
use super::{
    Defaults, Endpoint, Given, ItemError, MetadataImage, Outcome, Record, Registered, Registration, Reply,
    Updated, election, record,
};

/// A broker starts. The same incarnation asked twice is answered twice and written once (a retry after a lost answer);
/// another incarnation means that the process before it is gone, and everything it led gets a new leader epoch. In the same
/// directory that is certain, as a process locks its directories; with another one it is a second process of that node id, which
/// is refused while the first may run: it would take the place of replicas that are served, and has none of their records.
pub(super) fn register(image: &MetadataImage, given: &Given<'_>, new: &Registration) -> Outcome {
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
    if let Some(known) = known.filter(|known| known.directory_id != new.directory_id)
        && (given.lives)(known)
    {
        let served: Vec<String> = known.listeners.iter().map(Endpoint::to_string).collect();
        let message = format!(
            "another process runs as broker {}, at {}, with another log directory: stop it, or give this one another node.id",
            new.node,
            served.join(", ")
        );
        return refuse(ErrorCode::DuplicateBrokerRegistration, message);
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
            replication: new.replication.clone(),
            shards: new.shards,
        }
        .into(),
    ];
    let gone = match known {
        Some(known) if known.directory_id != new.directory_id => Gone::Emptied,
        Some(_) if !new.clean_shutdown => Gone::Unclean,
        // Unregistered in between, where replicas name it: which disk it had is not known any more.
        None => Gone::Emptied,
        _ => Gone::Away,
    };
    records.extend(isr::each_of(
        image,
        given.defaults,
        new.node,
        |partition, policy| another_process(image, partition, new, gone, policy),
    ));
    Outcome {
        records,
        reply: Reply::RegisterBroker(Ok(Registered { epoch })),
    }
}

/// A partition after another process came up where a replica of it is.
fn another_process(
    image: &MetadataImage,
    partition: &PartitionImage,
    new: &Registration,
    gone: Gone,
    policy: Policy,
) -> Option<PartitionImage> {
    let serves = |other: NodeId| other != new.node && image.serves(other);
    let after = isr::without(partition, new.node, gone, policy, serves);
    if new.fenced {
        return after;
    }
    // It serves at once: what nobody else leads, it leads in a new epoch.
    let mut healed = after.unwrap_or_else(|| partition.clone());
    if healed.leader.is_none() {
        let serves = |other: NodeId| other == new.node || image.serves(other);
        let leader = election::elect(&healed, serves, false);
        let again = partition.leader == Some(new.node);
        if leader.is_some() {
            // The step without a leader is never seen: one new epoch for both.
            let from = if again { partition } else { &healed };
            let (isr, elr) = (healed.isr.clone(), healed.elr.clone());
            healed = PartitionImage {
                isr,
                elr,
                ..from.clone()
            };
            healed = isr::led_by(&healed, leader, policy);
        }
    }
    (healed != *partition).then_some(healed)
}

/// A broker may serve from now on, or may not.
pub(super) fn fence(
    image: &MetadataImage,
    defaults: &Defaults,
    node: NodeId,
    epoch: Option<i64>,
    fenced: bool,
) -> Outcome {
    let Some(broker) = meant(image, node, epoch) else {
        return Outcome {
            records: Vec::new(),
            reply: Reply::FenceBroker(Err(not_registered(node))),
        };
    };
    let mut records = Vec::new();
    if broker.fenced != fenced {
        let stopping = broker.stopping && fenced;
        records.push(
            record::BrokerFenced {
                node,
                fenced,
                stopping,
            }
            .into(),
        );
        records.extend(isr::each_of(
            image,
            defaults,
            node,
            |partition, policy| match fenced {
                true => isr::without(partition, node, Gone::Away, policy, |other| image.serves(other)),
                false => isr::with(partition, node, policy, |other| {
                    other == node || image.serves(other)
                }),
            },
        ));
    }
    Outcome {
        records,
        reply: Reply::FenceBroker(Ok(())),
    }
}

/// A broker is about to stop. What nobody else can lead it goes on leading until it is gone.
pub(super) fn shut_down(image: &MetadataImage, defaults: &Defaults, node: NodeId, epoch: i64) -> Outcome {
    let Some(broker) = meant(image, node, Some(epoch)) else {
        return Outcome {
            records: Vec::new(),
            reply: Reply::ControlledShutdown(Err(not_registered(node))),
        };
    };
    let mut records: Vec<Record> = Vec::new();
    if !broker.stopping {
        let stopping = record::BrokerFenced {
            node,
            fenced: broker.fenced,
            stopping: true,
        };
        records.push(stopping.into());
    }
    let mut still_led = 0;
    for topic in image.topics.values() {
        let policy = isr::policy(image, topic, defaults);
        for (number, partition) in topic.partitions.iter().enumerate() {
            let Some(moved) = moved_off(image, partition, node, policy) else {
                still_led += u64::from(partition.leader == Some(node));
                continue;
            };
            records.push(super::image::changed_record(topic.id, number as i32, &moved).into());
        }
    }
    Outcome {
        records,
        reply: Reply::ControlledShutdown(Ok(still_led)),
    }
}

/// None where `node` has nothing to give up, or is the only one that can lead.
fn moved_off(
    image: &MetadataImage,
    partition: &PartitionImage,
    node: NodeId,
    policy: Policy,
) -> Option<PartitionImage> {
    let others_serve = partition
        .isr
        .iter()
        .any(|other| *other != node && image.serves(*other));
    if !others_serve {
        return None;
    }
    isr::without(partition, node, Gone::Away, policy, |other| image.serves(other))
}

/// A broker that is gone for good. It must be fenced; replicas it held stay named until they are reassigned.
pub(super) fn unregister(image: &MetadataImage, node: NodeId) -> Outcome {
    let refuse = |code, message: String| Outcome {
        records: Vec::new(),
        reply: Reply::UnregisterBroker(Err(ItemError::new(code, message))),
    };
    let Some(broker) = image.broker(node) else {
        return refuse(
            ErrorCode::BrokerIdNotRegistered,
            format!("broker {node} is not registered"),
        );
    };
    if !broker.fenced {
        return refuse(
            ErrorCode::InvalidRequest,
            format!("broker {node} is alive; stop it before it is unregistered"),
        );
    }
    Outcome {
        records: vec![record::BrokerRemoved { node }.into()],
        reply: Reply::UnregisterBroker(Ok(())),
    }
}

/// The broker of that epoch, or of any.
pub(super) fn meant(image: &MetadataImage, node: NodeId, epoch: Option<i64>) -> Option<&Broker> {
    let broker = image.broker(node)?;
    epoch.is_none_or(|epoch| epoch == broker.epoch).then_some(broker)
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

pub(super) fn not_registered(node: NodeId) -> ItemError {
    ItemError::new(
        ErrorCode::BrokerIdNotRegistered,
        format!("broker {node} is not registered"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::fixtures::{decided, decided_where, done, endpoint, image, new_topic};
    use crate::metadata::{LogEnds, Request};

    fn registration(node: i32, incarnation: u8) -> Registration {
        Registration {
            node: NodeId(node),
            incarnation_id: [incarnation; 16],
            directory_id: [9; 16],
            cluster_id: "test-cluster".into(),
            rack: None,
            fenced: false,
            listeners: vec![endpoint("PLAINTEXT", "localhost", 9092)],
            replication: None,
            shards: 1,
            clean_shutdown: false,
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
    fn another_directory_waits_for_the_end_of_the_process_that_runs() {
        let image = image(1);
        let known = image.broker(NodeId(0)).unwrap().directory_id;
        // directory, the process before it may run -> registered
        for (directory_id, lives, registered) in [
            (known, true, true),
            (known, false, true),
            ([7; 16], true, false),
            ([7; 16], false, true),
        ] {
            let mut asked = registration(0, 9);
            asked.directory_id = directory_id;
            let request = Request::RegisterBroker(asked);
            let outcome = decided_where(&image, &request, &mut LogEnds::default(), &|_| lives);
            let code = match &outcome.reply {
                Reply::RegisterBroker(reply) => reply.as_ref().err().map(|error| error.code),
                other => panic!("{other:?}"),
            };
            let refused = (!registered).then_some(ErrorCode::DuplicateBrokerRegistration);
            assert_eq!(code, refused, "{directory_id:?} {lives}");
            assert_eq!(outcome.records.is_empty(), !registered);
        }
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
