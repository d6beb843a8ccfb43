//! A restart, clean or not, brings back topics, records, configs and ids.

use std::path::Path;

use crate::client::Client;
use crate::harness::everywhere;

#[test]
fn a_clean_restart_keeps_topics_and_records() {
    everywhere(|setup| {
        let dir = tempfile::tempdir().unwrap();
        let broker = setup.start(dir.path());
        let mut client = broker.client();
        let id = client.create_topic("orders", 3, &[("retention.ms", "1000000")]);
        for partition in 0..3 {
            client.append("orders", partition, &["a", "b"]);
        }
        broker.stop();
        assert!(
            dir.path().join(".kafka_cleanshutdown").exists(),
            "the mark of a clean shutdown"
        );

        let broker = setup.start(dir.path());
        assert!(
            !dir.path().join(".kafka_cleanshutdown").exists(),
            "and it is gone while the broker runs"
        );
        let mut client = broker.client();
        assert_eq!(client.topic_id("orders"), Some(id));
        for partition in 0..3 {
            assert_eq!(client.append("orders", partition, &["c"]), 2);
            assert_eq!(client.read_all("orders", partition, 0).len(), 3);
        }
        broker.stop();
    });
}

#[test]
fn the_number_of_shards_may_change_between_two_starts() {
    let dir = tempfile::tempdir().unwrap();
    everywhere(|setup| {
        let broker = setup.start(dir.path());
        let mut client = broker.client();
        if client.topic_id("orders").is_none() {
            client.create_topic("orders", 4, &[]);
        }
        let before = client.read_all("orders", 2, 0).len() as i64;
        assert_eq!(client.append("orders", 2, &["x"]), before);
        broker.stop();
    });
}

#[test]
fn logs_of_no_known_topic_are_set_aside_and_not_deleted() {
    everywhere(|setup| {
        let dir = tempfile::tempdir().unwrap();
        let broker = setup.start(dir.path());
        let mut client = broker.client();
        client.create_topic("orders", 1, &[]);
        client.append("orders", 0, &["precious"]);
        broker.stop();
        let set_aside = || {
            let names = std::fs::read_dir(dir.path()).unwrap();
            let names = names.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
            names
                .filter(|name| name.starts_with("ghost-0.") && name.ends_with("-stray"))
                .count()
        };
        // Twice: what was set aside before must not be in the way.
        for times in 1..=2 {
            // Another partition's directory appears, as it would if the metadata were of another cluster.
            let stray = dir.path().join("ghost-0");
            std::fs::create_dir(&stray).unwrap();
            for entry in std::fs::read_dir(dir.path().join("orders-0")).unwrap() {
                let entry = entry.unwrap();
                std::fs::copy(entry.path(), stray.join(entry.file_name())).unwrap();
            }
            std::fs::write(
                stray.join("partition.metadata"),
                "version: 0\ntopic_id: 4L6g3nShT-eMCtK--X86sw",
            )
            .unwrap();
            let broker = setup.start(dir.path());
            crate::harness::eventually("the stray is set aside", || (set_aside() == times).then_some(()));
            assert!(!stray.exists());
            assert_eq!(broker.client().read_all("orders", 0, 0).len(), 1);
            broker.stop();
        }
    });
}

/// Large enough that a sector of zeros fits into its batch.
const SMALL: usize = 4000;
/// Two of these are more than one durability round writes.
const LARGE: usize = 900_000;

/// A topic of five batches whose second one reads as zeros after a power cut, although more than one round of valid batches
/// lies behind it.
fn with_a_lost_write(client: &mut Client, topic: &str, policy: &str) {
    client.create_topic(topic, 1, &[("flush.policy", policy)]);
    for (offset, size) in [SMALL, SMALL, SMALL, LARGE, LARGE].into_iter().enumerate() {
        assert_eq!(client.append(topic, 0, &[&"x".repeat(size)]), offset as i64);
    }
}

fn lose_the_second_write(dir: &Path, topic: &str) {
    let path = dir.join(format!("{topic}-0/00000000000000000000.log"));
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[SMALL + 500..2 * SMALL].fill(0);
    std::fs::write(&path, bytes).unwrap();
}

#[test]
fn a_lost_write_is_judged_by_the_flush_policy_that_its_topic_has() {
    everywhere(|setup| {
        let dir = tempfile::tempdir().unwrap();
        let broker = setup.start(dir.path());
        let mut client = broker.client();
        with_a_lost_write(&mut client, "clicks", "async");
        with_a_lost_write(&mut client, "orders", "sync");
        broker.stop();
        std::fs::remove_file(dir.path().join(".kafka_cleanshutdown")).unwrap();
        std::fs::remove_file(dir.path().join("recovery-point-offset-checkpoint")).unwrap();
        ["clicks", "orders"]
            .iter()
            .for_each(|topic| lose_the_second_write(dir.path(), topic));

        let broker = setup.start(dir.path());
        let mut client = broker.client();
        assert_eq!(
            client.append("clicks", 0, &["y"]),
            1,
            "nothing behind the lost write was promised: it is cut"
        );
        assert_eq!(client.read_all("clicks", 0, 0).len(), 2);
        assert_eq!(
            client.append("orders", 0, &["y"]),
            5,
            "what follows was synced later, so the lost write had been promised: nothing is cut"
        );
        assert_eq!(client.read_all("orders", 0, 2).len(), 4);
        broker.stop();
    });
}
