//! Properties with one value for the whole cluster (`Scope::OneForAll`): who is in sync, who may lead and what an
//! acknowledgement means is decided by the quorum and acted on by every leader, so both have to read the same number.
//!
//! The number is in the metadata: the topic's, else the cluster-wide dynamic one, else what the quorum's leader was given at
//! start. The last is written down by each leader before it begins to lead; what the files of other brokers say counts for
//! nothing until one of them leads. Owns that level. Leaves the order of levels to `isr.rs` and `shard/topic_config.rs`.

use protocol::properties;

use super::{Defaults, MetadataImage, Outcome, Record, Reply, isr, record};

/// Name and value of each such property, as this broker was given it at start.
fn own(defaults: &Defaults) -> impl Iterator<Item = (&'static str, String)> {
    properties::one_for_all().filter_map(|property| {
        let value = match property.name {
            "min.insync.replicas" => defaults.min_insync_replicas.to_string(),
            "unclean.leader.election.enable" => defaults.unclean_election.to_string(),
            "flush.policy" => if defaults.flush_synced { "sync" } else { "async" }.to_string(),
            _ => return None,
        };
        Some((property.name, value))
    })
}

/// Where this broker was given something else than what holds: (name, its own value, what holds or none).
pub fn differing<'a>(
    image: &'a MetadataImage,
    defaults: &Defaults,
) -> impl Iterator<Item = (&'static str, String, Option<&'a str>)> {
    own(defaults).filter_map(|(name, own)| {
        let holds = image.static_configs.get(name).map(String::as_str);
        (holds != Some(&own)).then_some((name, own, holds))
    })
}

/// Records that make this broker's values those of the cluster; none where they are.
pub fn records(image: &MetadataImage, defaults: &Defaults) -> Vec<Record> {
    let differing = differing(image, defaults);
    let record = |(name, value): (&str, String)| record::StaticConfig {
        name: name.into(),
        value: value.into(),
    };
    differing
        .map(|(name, own, _)| record((name, own)).into())
        .collect()
}

/// This broker leads the quorum from now on.
pub(super) fn publish(image: &MetadataImage, defaults: &Defaults) -> Outcome {
    let mut records = records(image, defaults);
    let changed = records.len() as u64;
    records.extend(isr::resettled(image, defaults, &records));
    Outcome {
        records,
        reply: Reply::PublishStatics(changed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use protocol::ids::NodeId;

    use crate::metadata::fixtures::{Build, done, image, new_topic};
    use crate::metadata::{Request, isr};

    fn given(min_insync_replicas: usize) -> Defaults {
        Defaults {
            min_insync_replicas,
            ..Defaults::default()
        }
    }

    #[test]
    fn every_such_property_is_published_and_once() {
        let mut image = image(1);
        let first = publish(&image, &given(2));
        assert_eq!(first.records.len(), properties::one_for_all().count());
        image.apply_all(&first.records);
        assert!(publish(&image, &given(2)).records.is_empty());
        let (name, own, holds) = differing(&image, &given(1)).next().expect("one differs");
        assert_eq!((name, &*own, holds), ("min.insync.replicas", "1", Some("2")));
    }

    /// Whoever decides, whatever its own file says, reads what was published; topic and cluster-wide values win.
    #[test]
    fn the_file_of_who_leads_holds_for_who_decides_next() {
        let mut image = image(3);
        let create = Request::CreateTopics {
            topics: vec![new_topic("t", 1, 3)],
            validate_only: false,
        };
        done(&mut image, &create);
        let read = |image: &MetadataImage| {
            let topic = image.topic("t").expect("it was created");
            isr::policy(image, topic, &given(1)).min_isr
        };
        image.apply_all(&publish(&image, &given(2)).records);
        assert_eq!(read(&image), 2);
        let dynamic = |node, value: &str| record::BrokerConfig {
            node,
            name: "min.insync.replicas".into(),
            value: Some(value.into()),
        };
        image.apply_all(&[dynamic(Some(NodeId(0)), "1").into()]);
        assert_eq!(read(&image), 2, "no broker has a value of its own");
        image.apply_all(&[dynamic(None, "3").into()]);
        assert_eq!(read(&image), 3);
    }

    #[test]
    fn a_leader_with_a_lower_number_ends_eligibility_in_the_same_commit() {
        let mut image = image(3);
        image.apply_all(&publish(&image, &given(2)).records);
        let create = Request::CreateTopics {
            topics: vec![new_topic("t", 1, 3)],
            validate_only: false,
        };
        done(&mut image, &create);
        for node in [NodeId(0), NodeId(1)] {
            let fence = Request::FenceBroker {
                node,
                epoch: None,
                fenced: true,
            };
            done(&mut image, &fence);
        }
        let partition = |image: &MetadataImage| image.topic("t").expect("it is there").partitions[0].clone();
        assert_eq!((partition(&image).isr.len(), partition(&image).elr.len()), (1, 1));
        image.apply_all(&publish(&image, &given(1)).records);
        assert_eq!((partition(&image).isr.len(), partition(&image).elr.len()), (1, 0));
    }
}
