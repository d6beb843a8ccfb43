//! The bytes in the log are Kafka's. Captured by hand from the formats, never regenerated.

use bytes::Bytes;

use super::super::record::{Committed, group_record, offset_record, offset_tombstone, restored};
use super::super::state::{Group, Member, State};
use super::super::{Groups, Limits};
use super::{Scene, arc, consumer, kinds, offset};
use crate::state_machine::{Record, StateMachine};
use protocol::TopicId;

#[test]
fn an_offset_is_stored_in_version_4_with_its_topic_id() {
    let mut committed = Committed {
        offset: 0x0102,
        leader_epoch: 5,
        metadata: arc("m"),
        commit_ms: 0x0304,
        expire_ms: None,
        topic_id: TopicId([9; 16]),
    };
    let record = offset_record("g", "orders", 3, &committed);
    assert_eq!(&*record.key, b"\0\x01\0\x01g\0\x06orders\0\0\0\x03");
    let mut expected = b"\0\x04\0\0\0\0\0\0\x01\x02\0\0\0\x05\x02m\0\0\0\0\0\0\x03\x04\x01\0\x10".to_vec();
    expected.extend([9; 16]);
    assert_eq!(record.value.as_deref(), Some(&*expected));
    // One with an expiry of its own is stored in the only version that has room for it.
    committed.expire_ms = Some(0x0506);
    let record = offset_record("g", "orders", 3, &committed);
    let expected = b"\0\x01\0\0\0\0\0\0\x01\x02\0\x01m\0\0\0\0\0\0\x03\x04\0\0\0\0\0\0\x05\x06";
    assert_eq!(record.value.as_deref(), Some(&expected[..]));
    assert_eq!(offset_tombstone("g", "orders", 3).value, None);
}

#[test]
fn a_group_is_stored_in_version_3() {
    let mut group = Group::at_rest(State::Stable, 7, Some(0x0102));
    group.protocol_type = Some(arc("consumer"));
    group.protocol = Some(arc("range"));
    let mut member = Member::new(arc("m-1"), Some(arc("i")));
    member.client_id = arc("c");
    member.client_host = arc("/h");
    member.rebalance_timeout_ms = 0x10;
    member.session_timeout_ms = 0x20;
    member.protocols = vec![(arc("range"), Bytes::from_static(b"sub"))];
    member.assignment = Bytes::from_static(b"plan");
    group.add(member);
    let record = group_record("g", &group);
    assert_eq!(&*record.key, b"\0\x02\0\x01g");
    let expected = b"\0\x03\0\x08consumer\0\0\0\x07\0\x05range\0\x03m-1\0\0\0\0\0\0\x01\x02\0\0\0\x01\
        \0\x03m-1\0\x01i\0\x01c\0\x02/h\0\0\0\x10\0\0\0\x20\0\0\0\x03sub\0\0\0\x04plan";
    assert_eq!(record.value.as_deref(), Some(&expected[..]));
    // And back.
    let mut groups = Groups::new(Limits::default());
    groups.replay(&record).unwrap();
    let back = restored(&groups.durable.groups["g"]);
    assert_eq!(group_record("g", &back), record);
}

#[test]
fn what_older_brokers_stored_is_read() {
    let mut scene = Scene::new();
    // A legacy commit (key type 0, value version 0) and a group of version 0: no timestamps, no rebalance timeout.
    scene.log = vec![
        Record {
            key: Bytes::from_static(b"\0\0\0\x07readers\0\x06orders\0\0\0\0"),
            value: Some(Bytes::from_static(
                b"\0\0\0\0\0\0\0\0\0\x0b\0\0\0\0\0\0\0\0\0\x01",
            )),
        },
        Record {
            key: Bytes::from_static(b"\0\x02\0\x07readers"),
            value: Some(Bytes::from_static(
                b"\0\0\0\x08consumer\0\0\0\x02\0\x05range\0\x01m\0\0\0\x01\
                \0\x01m\0\x01c\0\x02/h\0\0\x27\x10\0\0\0\0\0\0\0\x01a",
            )),
        },
    ];
    scene.restart();
    assert_eq!(scene.committed("orders", 7), 11);
    assert_eq!(scene.state(), "Stable");
    assert_eq!(scene.beat("m", 2), protocol::ErrorCode::None);
}

#[test]
fn records_of_groups_that_are_not_served_are_passed_over_and_broken_ones_are_not() {
    let mut groups = Groups::new(Limits::default());
    for kind in [3u8, 4, 5, 6, 7, 8, 10, 11, 16, 17, 200] {
        let record = Record {
            key: Bytes::from(vec![0, kind, 0, 1, b'g']),
            value: Some(Bytes::from_static(b"\0\0")),
        };
        groups.replay(&record).unwrap();
    }
    assert!(groups.is_empty());
    let cut = Record {
        key: Bytes::from_static(b"\0\x01\0\x09g"),
        value: None,
    };
    assert!(groups.replay(&cut).is_err());
}

#[test]
fn a_generation_costs_one_record_and_a_commit_one_per_partition() {
    let mut scene = Scene::new();
    let member = scene.stable_with(&consumer());
    scene.commit(&offset(1).by(&member, 1));
    for _ in 0..10 {
        scene.beat(&member, 1);
    }
    assert_eq!(kinds(&scene.log), [(2, false), (1, false)]);
}
