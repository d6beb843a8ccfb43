//! A restart, clean or not, brings back topics, records, configs and ids.

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
        crate::harness::eventually("the stray is set aside", || {
            dir.path().join("ghost-0-stray").exists().then_some(())
        });
        assert_eq!(broker.client().read_all("orders", 0, 0).len(), 1);
        broker.stop();
    });
}
