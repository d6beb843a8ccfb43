//! Partitions are added to topics.
//!
//! ISR changes and reassignments will be here too; with one broker there is nobody to be in or out of sync.

use protocol::error_code::ErrorCode;
use protocol::ids::NodeId;

use super::assign::{Places, seed_of};
use super::image::PartitionImage;
use super::topics::{MOST_PARTITIONS, check_placement, found_twice, named_twice, new_partition, spend};
use super::{ItemError, MetadataImage, MorePartitions, Outcome, Record, Reply, TopicImage, TopicReply};

/// Adds partitions to topics, each topic on its own. The partitions there keep their place.
pub(super) fn create(image: &MetadataImage, topics: &[MorePartitions], validate_only: bool) -> Outcome {
    let twice = named_twice(topics.iter().map(|topic| topic.name.as_str()));
    let mut records = Vec::new();
    let mut replies = Vec::with_capacity(topics.len());
    let mut budget = MOST_PARTITIONS;
    for topic in topics {
        let result = if twice.contains(topic.name.as_str()) {
            Err(found_twice(&topic.name))
        } else {
            create_one(image, topic, &mut budget)
        };
        replies.push(TopicReply {
            name: topic.name.as_str().into(),
            result: result.map(|new| records.extend(new)),
        });
    }
    if validate_only {
        records.clear();
    }
    Outcome {
        records,
        reply: Reply::CreatePartitions(replies),
    }
}

fn create_one(
    image: &MetadataImage,
    wanted: &MorePartitions,
    budget: &mut u64,
) -> Result<Vec<Record>, ItemError> {
    let Some(topic) = image.topic(&wanted.name) else {
        return Err(ItemError::new(
            ErrorCode::UnknownTopicOrPartition,
            format!("there is no topic {}", wanted.name),
        ));
    };
    let have = topic.partitions.len();
    let refuse = |message: String| Err(ItemError::new(ErrorCode::InvalidPartitions, message));
    let more = match i64::from(wanted.count) - have as i64 {
        0 => return refuse(format!("topic {} has {have} partitions already", wanted.name)),
        more if more < 0 => {
            return refuse(format!(
                "topic {} has {have} partitions, which is more than {}: partitions can only be added",
                wanted.name, wanted.count
            ));
        }
        more => more as usize,
    };
    spend(budget, more as u64)?;
    let replicas = place(image, topic, wanted, more)?;
    let numbered = replicas.into_iter().enumerate();
    Ok(numbered
        .map(|(index, replicas)| new_partition(image, topic.id, (have + index) as i32, replicas))
        .collect())
}

fn place(
    image: &MetadataImage,
    topic: &TopicImage,
    wanted: &MorePartitions,
    more: usize,
) -> Result<Vec<Vec<NodeId>>, ItemError> {
    let have = topic.partitions.len();
    let factor = topic.partitions.get(0).map_or(1, PartitionImage::copies);
    if let Some(by_hand) = &wanted.assignments {
        if by_hand.len() != more {
            return Err(ItemError::new(
                ErrorCode::InvalidReplicaAssignment,
                format!(
                    "{more} partitions are added but {} are placed by hand",
                    by_hand.len()
                ),
            ));
        }
        check_placement(image, have, factor, by_hand)?;
        return Ok(by_hand.clone());
    }
    let places = Places::of(image, factor);
    if places.len() < factor {
        return Err(ItemError::new(
            ErrorCode::InvalidReplicationFactor,
            format!(
                "topic {} has replication factor {factor}, there are {} brokers",
                wanted.name,
                places.len()
            ),
        ));
    }
    let seed = seed_of(topic.id);
    Ok((have..have + more)
        .map(|number| places.replicas(seed, number, factor))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::Request;
    use crate::metadata::fixtures::{decided, done, image, new_topic};

    fn more(name: &str, count: i32, by_hand: Option<&[&[i32]]>) -> MorePartitions {
        let nodes = |list: &&[i32]| list.iter().map(|&node| NodeId(node)).collect();
        MorePartitions {
            name: name.into(),
            count,
            assignments: by_hand.map(|lists| lists.iter().map(nodes).collect()),
        }
    }

    #[test]
    fn the_table_of_additions() {
        let mut image = image(3);
        let create = Request::CreateTopics {
            topics: vec![new_topic("t", 2, 2)],
            validate_only: false,
        };
        done(&mut image, &create);
        let bad_placement = Some(ErrorCode::InvalidReplicaAssignment);
        let rows = [
            (more("t", 3, None), None),
            (more("t", 10_002, None), None),
            (more("t", 2, None), Some(ErrorCode::InvalidPartitions)),
            (more("t", 1, None), Some(ErrorCode::InvalidPartitions)),
            (more("t", -1, None), Some(ErrorCode::InvalidPartitions)),
            (more("t", 10_003, None), Some(ErrorCode::PolicyViolation)),
            (more("nobody", 3, None), Some(ErrorCode::UnknownTopicOrPartition)),
            (more("t", 4, Some(&[&[0, 1], &[2, 0]])), None),
            (more("t", 4, Some(&[&[0, 1]])), bad_placement),
            (more("t", 3, Some(&[&[0]])), bad_placement),
            (more("t", 3, Some(&[&[0, 7]])), bad_placement),
        ];
        for (wanted, expected) in rows {
            let request = Request::CreatePartitions {
                topics: vec![wanted.clone()],
                validate_only: false,
            };
            let outcome = decided(&image, &request);
            let Reply::CreatePartitions(replies) = outcome.reply else {
                panic!("a reply about partitions");
            };
            assert_eq!(
                replies[0].result.as_ref().err().map(|error| error.code),
                expected,
                "{wanted:?}"
            );
            assert_eq!(outcome.records.is_empty(), expected.is_some(), "{wanted:?}");
        }
    }

    #[test]
    fn partitions_that_were_there_stay_where_they_are() {
        let mut image = image(3);
        let create = Request::CreateTopics {
            topics: vec![new_topic("t", 2, 2)],
            validate_only: false,
        };
        done(&mut image, &create);
        let before = image.topic("t").unwrap().partitions.clone();
        let request = Request::CreatePartitions {
            topics: vec![more("t", 5, None)],
            validate_only: false,
        };
        done(&mut image, &request);
        let after = &image.topic("t").unwrap().partitions;
        assert_eq!(after.len(), 5);
        assert!(before.iter().zip(after).all(|(old, new)| old == new));
        assert!(after.iter().all(|partition| partition.replicas.len() == 2));
    }
}
