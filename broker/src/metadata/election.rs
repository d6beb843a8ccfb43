//! Who leads a partition: the first replica, in order of preference, that is in sync and alive.
//!
//! Pure: liveness comes in as a function. Leaves writing the change to whoever caused it.

use protocol::ids::{LeaderEpoch, NodeId};

use super::image::PartitionImage;

/// The leader a partition can have now. `unclean` also allows a replica that may miss acknowledged records, as the very
/// last choice.
pub(super) fn elect(
    partition: &PartitionImage,
    alive: impl Fn(NodeId) -> bool,
    unclean: bool,
) -> Option<NodeId> {
    let among = |set: &[NodeId]| {
        let mut replicas = partition.replicas.iter().copied();
        replicas.find(|&node| alive(node) && set.contains(&node))
    };
    among(&partition.isr)
        .or_else(|| among(&partition.elr))
        .or_else(|| unclean.then(|| among(&partition.replicas)).flatten())
}

/// The partition after `leader` was elected: a new leader epoch even when the leader is the same node as before, because
/// it is another process (followers and clients must not mistake its log for the old one's).
pub(super) fn with_leader(partition: &PartitionImage, leader: Option<NodeId>) -> PartitionImage {
    let mut changed = partition.clone();
    changed.leader = leader;
    changed.leader_epoch = LeaderEpoch(partition.leader_epoch.0 + 1);
    changed.partition_epoch += 1;
    if let Some(leader) = leader
        && !changed.isr.contains(&leader)
    {
        // From the ELR, or unclean: the new leader is the only replica known to have what it has.
        changed.isr = vec![leader];
        if changed.elr.contains(&leader) {
            changed.elr.retain(|node| *node != leader);
        } else {
            // Unclean: whoever was eligible holds the history that was given up, not what is acknowledged from now on.
            changed.elr.clear();
        }
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(replicas: &[i32], isr: &[i32], elr: &[i32]) -> PartitionImage {
        let nodes = |list: &[i32]| list.iter().map(|&node| NodeId(node)).collect::<Vec<_>>();
        PartitionImage {
            replicas: nodes(replicas),
            isr: nodes(isr),
            elr: nodes(elr),
            leader: None,
            leader_epoch: LeaderEpoch(4),
            partition_epoch: 9,
            adding: Vec::new(),
            removing: Vec::new(),
        }
    }

    #[test]
    fn the_table_of_elections() {
        // replicas, isr, elr, alive, unclean -> leader
        type Row = (
            &'static [i32],
            &'static [i32],
            &'static [i32],
            &'static [i32],
            bool,
            Option<i32>,
        );
        let rows: &[Row] = &[
            (&[1, 2, 3], &[1, 2, 3], &[], &[1, 2, 3], false, Some(1)),
            (&[1, 2, 3], &[3, 2], &[], &[1, 2, 3], false, Some(2)),
            (&[1, 2, 3], &[2], &[3], &[1, 3], false, Some(3)),
            (&[1, 2, 3], &[2], &[], &[1, 3], false, None),
            (&[1, 2, 3], &[2], &[], &[1, 3], true, Some(1)),
            (&[1, 2, 3], &[], &[], &[], true, None),
        ];
        for (replicas, isr, elr, alive, unclean, expected) in rows {
            let found = elect(
                &partition(replicas, isr, elr),
                |node| alive.contains(&node.0),
                *unclean,
            );
            assert_eq!(
                found,
                expected.map(NodeId),
                "replicas {replicas:?} isr {isr:?} elr {elr:?} alive {alive:?}"
            );
        }
    }

    #[test]
    fn an_election_always_opens_a_new_epoch() {
        let same = with_leader(&partition(&[1, 2], &[1, 2], &[]), Some(NodeId(1)));
        assert_eq!((same.leader_epoch, same.partition_epoch), (LeaderEpoch(5), 10));
        assert_eq!(same.isr, [NodeId(1), NodeId(2)]);
        let eligible = with_leader(&partition(&[1, 2], &[], &[2]), Some(NodeId(2)));
        assert_eq!((eligible.isr, eligible.elr), (vec![NodeId(2)], vec![]));
    }
}
