//! Where replicas go: spread over racks first, over brokers second, leaders evenly.
//!
//! Pure arithmetic over a list of brokers. Leaves to `topics.rs` and `partitions.rs` who may be on the list and what is
//! said when it is too short.

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol::ids::NodeId;

use super::MetadataImage;

/// The brokers replicas may be placed on, in an order in which neighbours are in different racks where that is possible.
pub(super) struct Places {
    order: Vec<(NodeId, Option<Arc<str>>)>,
}

impl Places {
    /// Unfenced brokers; when there are too few of them, fenced ones too, so that a topic can be created while a broker
    /// restarts.
    pub(super) fn of(image: &MetadataImage, wanted: usize) -> Places {
        let usable = |fenced_too: bool| -> Vec<(NodeId, Option<Arc<str>>)> {
            let brokers = image.brokers.values();
            brokers
                .filter(|broker| fenced_too || broker.serves())
                .map(|broker| (broker.node, broker.rack.clone()))
                .collect()
        };
        let unfenced = usable(false);
        let brokers = if unfenced.len() < wanted {
            usable(true)
        } else {
            unfenced
        };
        Places {
            order: interleave(brokers),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// Replicas of one partition, the preferred leader first. `seed` differs per topic so that small topics do not all
    /// begin on the same broker. Never more than there are brokers.
    pub(super) fn replicas(&self, seed: u64, partition: usize, count: usize) -> Vec<NodeId> {
        let n = self.order.len();
        if n == 0 {
            return Vec::new();
        }
        let start = (seed % n as u64) as usize + partition;
        let (leader, leader_rack) = &self.order[start % n];
        let mut replicas = vec![*leader];
        let mut racks = vec![leader_rack];
        // Each turn around the brokers shifts the followers by one, so that the same broker pairs do not repeat.
        let shift = if n > 1 { partition / n % (n - 1) } else { 0 };
        let followers: Vec<usize> = (0..n - 1)
            .map(|step| (start + 1 + (shift + step) % (n - 1)) % n)
            .collect();
        for new_racks_only in [true, false] {
            for &place in &followers {
                let (node, rack) = &self.order[place];
                let fits = !replicas.contains(node) && (!new_racks_only || !racks.contains(&rack));
                if replicas.len() < count && fits {
                    replicas.push(*node);
                    racks.push(rack);
                }
            }
        }
        replicas
    }
}

/// One broker of each rack in turn.
fn interleave(brokers: Vec<(NodeId, Option<Arc<str>>)>) -> Vec<(NodeId, Option<Arc<str>>)> {
    let mut racks: BTreeMap<Option<Arc<str>>, Vec<NodeId>> = BTreeMap::new();
    for (node, rack) in brokers {
        racks.entry(rack).or_default().push(node);
    }
    let longest = racks.values().map(Vec::len).max().unwrap_or(0);
    let mut order = Vec::new();
    for turn in 0..longest {
        for (rack, nodes) in &racks {
            if let Some(node) = nodes.get(turn) {
                order.push((*node, rack.clone()));
            }
        }
    }
    order
}

/// A number that differs between topics and is the same on every broker.
pub(super) fn seed_of(id: protocol::ids::TopicId) -> u64 {
    u64::from_le_bytes(id.0[..8].try_into().expect("8 of 16 bytes"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::metadata::fixtures::image;

    #[test]
    fn leaders_and_replicas_are_spread_evenly() {
        for brokers in 1..=7 {
            let image = image(brokers);
            for rf in 1..=brokers.min(4) as usize {
                let places = Places::of(&image, rf);
                let partitions = 30 * brokers as usize;
                let mut leads: BTreeMap<NodeId, usize> = BTreeMap::new();
                let mut holds: BTreeMap<NodeId, usize> = BTreeMap::new();
                for partition in 0..partitions {
                    let replicas = places.replicas(5, partition, rf);
                    assert_eq!(
                        replicas.iter().collect::<BTreeSet<_>>().len(),
                        rf,
                        "distinct brokers"
                    );
                    *leads.entry(replicas[0]).or_default() += 1;
                    for node in replicas {
                        *holds.entry(node).or_default() += 1;
                    }
                }
                assert!(
                    leads.values().all(|&count| count == 30),
                    "{brokers} brokers, RF {rf}: {leads:?}"
                );
                let (least, most) = (holds.values().min().unwrap(), holds.values().max().unwrap());
                // With uneven racks, rack spread comes before evenness.
                assert!(
                    brokers % 3 != 0 || most - least <= partitions / 10,
                    "{brokers} brokers, RF {rf}: {holds:?}"
                );
            }
        }
    }

    #[test]
    fn replicas_are_in_different_racks_while_there_are_racks() {
        let image = image(6);
        let places = Places::of(&image, 3);
        for partition in 0..60 {
            let replicas = places.replicas(1, partition, 3);
            let racks: BTreeSet<_> = replicas
                .iter()
                .map(|node| image.brokers[node].rack.clone())
                .collect();
            assert_eq!(racks.len(), 3, "partition {partition}: {replicas:?}");
        }
    }

    #[test]
    fn fenced_brokers_are_used_only_when_there_are_too_few_others() {
        use crate::metadata::fixtures::Build;
        let mut image = image(3);
        let fenced = crate::metadata::record::BrokerFenced {
            node: NodeId(1),
            fenced: true,
            stopping: false,
        };
        image.apply_all(&[fenced.into()]);
        assert_eq!(Places::of(&image, 2).len(), 2);
        assert_eq!(Places::of(&image, 3).len(), 3);
    }
}
