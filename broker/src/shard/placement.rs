//! Which core owns a partition. Pure, and the same in every build: the answer decides where a log is opened.
//!
//! It is not written to disk, so the number of shards may change between two starts.

use protocol::ids::TopicPartition;

use crate::rt::ShardId;

/// The owner of `partition` among `shards` cores. Neighbouring partitions of one topic land on neighbouring cores, so that
/// a topic with as many partitions as cores uses all of them.
pub fn owner(partition: &TopicPartition, shards: u16) -> ShardId {
    debug_assert!(shards > 0);
    let spread = topic_hash(&partition.topic_id.0).wrapping_add(partition.partition as u64);
    ShardId((spread % u64::from(shards.max(1))) as u16)
}

/// FNV-1a over the topic id: ids are random already, this only folds them, and it must never change with a library.
fn topic_hash(id: &[u8; 16]) -> u64 {
    const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let folded = id.iter().fold(OFFSET_BASIS, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(PRIME)
    });
    // The low bits of FNV mix poorly; the modulus of a small shard count looks only at those.
    folded ^ (folded >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::ids::TopicId;

    #[test]
    fn partitions_of_one_topic_use_every_core() {
        let mut owners: Vec<u16> = (0..4)
            .map(|partition| {
                owner(
                    &TopicPartition {
                        topic_id: TopicId([7; 16]),
                        partition,
                    },
                    4,
                )
                .0
            })
            .collect();
        owners.sort_unstable();
        assert_eq!(owners, vec![0, 1, 2, 3]);
    }

    #[test]
    fn single_partition_topics_spread_over_the_cores() {
        let mut seen = [0u32; 4];
        for i in 0u8..=255 {
            let mut id = [0u8; 16];
            id[3] = i;
            seen[owner(
                &TopicPartition {
                    topic_id: TopicId(id),
                    partition: 0,
                },
                4,
            )
            .0 as usize] += 1;
        }
        assert!(seen.iter().all(|count| *count > 30), "{seen:?}");
    }
}
