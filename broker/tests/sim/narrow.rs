//! Links that carry little: a follower behind one comes on slowly, and surely. Large batches there take longer than the silence
//! after which a connection is given up.

use std::time::Duration;

use broker::rt;

use crate::machine::Machine;
use crate::replicating::{in_sync, leader_among, produce, start_with_topic, state_of};
use crate::seeds::with_seeds;

/// A batch of a megabyte takes ten seconds; eight of silence end a connection.
const BYTES_PER_S: u64 = 100_000;

#[test]
fn a_large_batch_over_a_narrow_link_is_no_silence() {
    with_seeds(3, |_| async move {
        let machines: Vec<Machine> = start_with_topic(&[1, 1, 1]).await;
        in_sync(&machines, 3).await;
        let (leader, _) = state_of(&machines[0], 0).await.expect("it is led");
        let there = leader_among(&machines, leader).expect("it runs");
        let behind = machines
            .iter()
            .find(|machine| machine.host() != there.host())
            .expect("another");
        there.process().narrow(&behind.process(), BYTES_PER_S);
        // Acknowledged once it has come over that link: all three are in sync.
        let began = rt::now();
        let offset = produce(&machines, 0, &"x".repeat(1_000_000)).await;
        let took = began.elapsed();
        assert!(took > Duration::from_secs(8), "{took:?}: longer than a silence");
        assert!(took < Duration::from_secs(25), "{took:?}: it came once");
        assert_eq!(offset, 0, "at the first attempt");
        let (_, isr) = state_of(&machines[0], 0).await.expect("it is led");
        assert_eq!(isr.len(), 3, "nobody left");
    });
}
