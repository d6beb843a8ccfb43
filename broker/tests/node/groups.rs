//! Consumer groups as a client sees them: a coordinator is found, members join and share, offsets are kept. Every version of
//! every request is asked at least once.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use broker::rt::file::Disk;
use broker::rt::recorder::Recorder;
use bytes::Bytes;
use protocol::messages::delete_groups::DeleteGroupsRequest;
use protocol::messages::delete_topics::DeleteTopicsRequest;
use protocol::messages::describe_groups::DescribeGroupsRequest;
use protocol::messages::find_coordinator::FindCoordinatorRequest;
use protocol::messages::heartbeat::HeartbeatRequest;
use protocol::messages::join_group::{JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse};
use protocol::messages::leave_group::{LeaveGroupRequest, LeaveGroupRequestMember};
use protocol::messages::list_groups::ListGroupsRequest;
use protocol::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestTopic, OffsetCommitRequestTopicPartition,
};
use protocol::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestGroupTopic, OffsetFetchRequestTopic,
};
use protocol::messages::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment};
use protocol::{ErrorCode, Str};

use crate::client::Client;
use crate::harness::{Broker, Setup, eventually, everywhere};
use crate::topics::altered;

/// Members come one after the other in a test; nobody waits for more of them, and silent ones are noticed soon.
fn start(setup: Setup, dir: &Path) -> Broker {
    setup
        .plan(dir)
        .with("group.initial.rebalance.delay.ms", "0")
        .with("group.min.session.timeout.ms", "100")
        .with("offsets.topic.num.partitions", "5")
        .start()
}

/// What group clients do, in few words.
pub(crate) trait Member {
    /// Asks for the coordinator until there is one; `host:port`.
    fn coordinator(&mut self, group: &str) -> String;
    fn join(&mut self, version: i16, member: &str, session_ms: i32) -> JoinGroupResponse;
    /// Joins, with the id that the broker gave first.
    fn join_new(&mut self, session_ms: i32) -> JoinGroupResponse;
    /// The leader's own sync: all the work for itself.
    fn sync(&mut self, version: i16, joined: &JoinGroupResponse) -> Bytes;
    fn beat(&mut self, version: i16, joined: &JoinGroupResponse) -> ErrorCode;
    fn commit_of(
        &mut self,
        group: &str,
        version: i16,
        joined: &JoinGroupResponse,
        topic: [u8; 16],
        offset: i64,
    ) -> ErrorCode;
    fn committed_of(&mut self, group: &str, version: i16, topic: [u8; 16]) -> (i64, ErrorCode);

    fn commit(
        &mut self,
        version: i16,
        joined: &JoinGroupResponse,
        topic: [u8; 16],
        offset: i64,
    ) -> ErrorCode {
        self.commit_of(GROUP, version, joined, topic, offset)
    }

    fn committed(&mut self, version: i16, topic: [u8; 16]) -> (i64, ErrorCode) {
        self.committed_of(GROUP, version, topic)
    }
}

const GROUP: &str = "readers";

/// Somebody who assigns partitions without the group's help.
pub(crate) fn nobody() -> JoinGroupResponse {
    JoinGroupResponse {
        generation_id: -1,
        ..Default::default()
    }
}

impl Member for Client {
    fn coordinator(&mut self, group: &str) -> String {
        eventually("a coordinator", || {
            let request = FindCoordinatorRequest {
                key: Str::copy_from(group),
                ..Default::default()
            };
            let found = self.call(2, &request);
            (found.error_code == 0).then(|| format!("{}:{}", &*found.host, found.port))
        })
    }

    fn join(&mut self, version: i16, member: &str, session_ms: i32) -> JoinGroupResponse {
        let protocol = JoinGroupRequestProtocol {
            name: "range".into(),
            metadata: Bytes::from_static(b"\0\0\0\0\0\0"),
        };
        let request = JoinGroupRequest {
            group_id: GROUP.into(),
            session_timeout_ms: session_ms,
            rebalance_timeout_ms: 60_000,
            member_id: Str::copy_from(member),
            protocol_type: "consumer".into(),
            protocols: vec![protocol],
            ..Default::default()
        };
        self.call(version, &request)
    }

    fn join_new(&mut self, session_ms: i32) -> JoinGroupResponse {
        let first = self.join(9, "", session_ms);
        assert_eq!(first.error_code, ErrorCode::MemberIdRequired.code());
        let joined = self.join(9, &first.member_id, session_ms);
        assert_eq!(joined.error_code, 0);
        joined
    }

    fn sync(&mut self, version: i16, joined: &JoinGroupResponse) -> Bytes {
        let request = SyncGroupRequest {
            group_id: GROUP.into(),
            generation_id: joined.generation_id,
            member_id: joined.member_id.clone(),
            protocol_type: Some("consumer".into()),
            protocol_name: Some("range".into()),
            assignments: vec![SyncGroupRequestAssignment {
                member_id: joined.member_id.clone(),
                assignment: Bytes::from_static(b"everything"),
            }],
            ..Default::default()
        };
        let answer = self.call(version, &request);
        assert_eq!(answer.error_code, 0);
        answer.assignment
    }

    fn beat(&mut self, version: i16, joined: &JoinGroupResponse) -> ErrorCode {
        let request = HeartbeatRequest {
            group_id: GROUP.into(),
            generation_id: joined.generation_id,
            member_id: joined.member_id.clone(),
            group_instance_id: None,
        };
        ErrorCode::from_code(self.call(version, &request).error_code)
    }

    fn commit_of(
        &mut self,
        group: &str,
        version: i16,
        joined: &JoinGroupResponse,
        topic: [u8; 16],
        offset: i64,
    ) -> ErrorCode {
        let partition = OffsetCommitRequestTopicPartition {
            committed_offset: offset,
            committed_metadata: Some("note".into()),
            ..Default::default()
        };
        let request = OffsetCommitRequest {
            group_id: Str::copy_from(group),
            generation_id_or_member_epoch: joined.generation_id,
            member_id: joined.member_id.clone(),
            topics: vec![OffsetCommitRequestTopic {
                topic_id: topic,
                name: "orders".into(),
                partitions: vec![partition],
            }],
            ..Default::default()
        };
        match self.try_call(version, &request) {
            Ok(answer) => ErrorCode::from_code(answer.topics[0].partitions[0].error_code),
            Err(_) => ErrorCode::NetworkException,
        }
    }

    fn committed_of(&mut self, group: &str, version: i16, topic: [u8; 16]) -> (i64, ErrorCode) {
        if version < 8 {
            let topic = OffsetFetchRequestTopic {
                name: "orders".into(),
                partition_indexes: vec![0],
            };
            let request = OffsetFetchRequest {
                group_id: Str::copy_from(group),
                topics: Some(vec![topic]),
                ..Default::default()
            };
            let answer = self.call(version, &request);
            let partition = &answer.topics[0].partitions[0];
            return (
                partition.committed_offset,
                ErrorCode::from_code(partition.error_code),
            );
        }
        let topic = OffsetFetchRequestGroupTopic {
            topic_id: topic,
            name: "orders".into(),
            partition_indexes: vec![0],
        };
        let group = OffsetFetchRequestGroup {
            group_id: Str::copy_from(group),
            topics: Some(vec![topic]),
            ..Default::default()
        };
        let request = OffsetFetchRequest {
            groups: vec![group],
            ..Default::default()
        };
        eventually("a coordinator that is loaded", || {
            let answer = self.call(version, &request);
            let topic = answer.groups[0].topics.first()?;
            let partition = &topic.partitions[0];
            Some((
                partition.committed_offset,
                ErrorCode::from_code(partition.error_code),
            ))
        })
    }
}

#[test]
fn a_group_lives_from_its_first_member_to_its_deletion() {
    everywhere(|setup| {
        let dir = tempfile::tempdir().unwrap();
        let broker = start(setup, dir.path());
        let mut client = broker.client();
        let orders = client.create_topic("orders", 1, &[]);
        assert_eq!(client.coordinator(GROUP), broker.address.to_string());
        let me = client.join_new(30_000);
        assert_eq!((me.generation_id, &*me.leader), (1, &*me.member_id));
        assert_eq!(&*client.sync(5, &me), b"everything");
        assert_eq!(client.beat(4, &me), ErrorCode::None);
        assert_eq!(client.committed(10, orders), (-1, ErrorCode::None));
        assert_eq!(client.commit(10, &me, orders, 42), ErrorCode::None);
        assert_eq!(client.committed(10, orders), (42, ErrorCode::None));

        let listed = client.call(5, &ListGroupsRequest::default());
        let listed: Vec<_> = listed
            .groups
            .iter()
            .map(|group| (&*group.group_id, &*group.group_state))
            .collect();
        assert_eq!(listed, [(GROUP, "Stable")]);
        let request = DescribeGroupsRequest {
            groups: vec![GROUP.into()],
            include_authorized_operations: true,
        };
        let described = client.call(6, &request).groups.remove(0);
        assert_eq!(&*described.members[0].client_host, "/127.0.0.1");
        assert_eq!(&*described.members[0].member_assignment, b"everything");
        assert!(described.authorized_operations > 0);

        let delete = DeleteGroupsRequest {
            groups_names: vec![GROUP.into()],
        };
        assert_eq!(
            client.call(2, &delete).results[0].error_code,
            ErrorCode::NonEmptyGroup.code()
        );
        let member = LeaveGroupRequestMember {
            member_id: me.member_id.clone(),
            ..Default::default()
        };
        let leave = LeaveGroupRequest {
            group_id: GROUP.into(),
            members: vec![member],
            ..Default::default()
        };
        assert_eq!(client.call(5, &leave).members[0].error_code, 0);
        assert_eq!(client.call(2, &delete).results[0].error_code, 0);
        assert_eq!(client.committed(10, orders), (-1, ErrorCode::None));
        broker.stop();
    });
}

#[test]
fn every_version_of_the_requests_is_answered() {
    let setup = Setup {
        engine: "posix",
        shards: 2,
    };
    let dir = tempfile::tempdir().unwrap();
    let broker = start(setup, dir.path());
    let mut client = broker.client();
    let orders = client.create_topic("orders", 1, &[]);
    client.coordinator(GROUP);
    for version in 0..=6 {
        let request = FindCoordinatorRequest {
            key: GROUP.into(),
            coordinator_keys: vec![GROUP.into(), "another".into()],
            ..Default::default()
        };
        let found = client.call(version, &request);
        let ports = match version {
            ..4 => vec![found.port],
            _ => found.coordinators.iter().map(|each| each.port).collect(),
        };
        assert!(
            ports.iter().all(|port| *port == i32::from(broker.address.port())),
            "version {version}"
        );
    }
    let mut me = client.join(0, "", 30_000);
    for version in 0..=9 {
        me = client.join(version, &me.member_id, 30_000);
        assert_eq!(
            (me.error_code, me.protocol_name.as_deref()),
            (0, Some("range")),
            "version {version}"
        );
        assert_eq!(&*client.sync(version.min(5), &me), b"everything");
    }
    for version in 0..=4 {
        assert_eq!(client.beat(version, &me), ErrorCode::None);
    }
    for version in 2..=10 {
        assert_eq!(
            client.commit(version, &me, orders, i64::from(version)),
            ErrorCode::None
        );
        for fetched in 1..=10 {
            assert_eq!(
                client.committed(fetched, orders),
                (i64::from(version), ErrorCode::None)
            );
        }
    }
    for version in 0..=6 {
        let request = DescribeGroupsRequest {
            groups: vec![GROUP.into()],
            ..Default::default()
        };
        assert_eq!(&*client.call(version, &request).groups[0].group_state, "Stable");
    }
    for version in 0..=5 {
        assert_eq!(
            client.call(version, &ListGroupsRequest::default()).groups.len(),
            1
        );
    }
    for version in 0..=5 {
        let member = LeaveGroupRequestMember {
            member_id: me.member_id.clone(),
            ..Default::default()
        };
        let leave = LeaveGroupRequest {
            group_id: GROUP.into(),
            members: if version < 3 { Vec::new() } else { vec![member] },
            member_id: if version < 3 {
                me.member_id.clone()
            } else {
                Str::EMPTY
            },
        };
        let left = client.call(version, &leave);
        assert_eq!(left.error_code, 0, "version {version}");
        assert!(
            left.members.iter().all(|member| member.error_code == 0),
            "version {version}"
        );
        me = client.join(3, "", 30_000);
        assert_eq!(
            (me.error_code, me.members.len()),
            (0, 1),
            "version {version}: the group was empty"
        );
    }
    broker.stop();
}

#[test]
fn a_silent_member_is_replaced_and_the_next_one_starts_at_its_commit() {
    everywhere(|setup| {
        let dir = tempfile::tempdir().unwrap();
        let broker = start(setup, dir.path());
        let (mut first, mut second) = (broker.client(), broker.client());
        let orders = first.create_topic("orders", 1, &[]);
        first.coordinator(GROUP);
        let one = first.join_new(30_000);
        first.sync(5, &one);
        assert_eq!(first.commit(9, &one, orders, 7), ErrorCode::None);
        // With a session that a busy machine may outlast, only now: the first one says nothing any more.
        let one = first.join(5, &one.member_id, 100);
        assert_eq!(one.error_code, 0);
        // The second is parked until it is given up.
        let two = second.join_new(30_000);
        assert_eq!((&*two.leader, two.members.len()), (&*two.member_id, 1));
        assert_eq!(&*second.sync(5, &two), b"everything");
        assert_eq!(second.committed(9, orders), (7, ErrorCode::None));
        assert_eq!(first.beat(4, &one), ErrorCode::UnknownMemberId);
        broker.stop();
    });
}

#[test]
fn a_restart_keeps_offsets_generations_and_members() {
    everywhere(|setup| {
        let dir = tempfile::tempdir().unwrap();
        let broker = start(setup, dir.path());
        let mut client = broker.client();
        let orders = client.create_topic("orders", 1, &[]);
        client.coordinator(GROUP);
        let me = client.join_new(30_000);
        client.sync(5, &me);
        assert_eq!(client.commit(10, &me, orders, 42), ErrorCode::None);
        broker.stop();
        let broker = start(setup, dir.path());
        let mut client = broker.client();
        assert_eq!(client.coordinator(GROUP), broker.address.to_string());
        eventually("the coordinator to be loaded", || {
            (client.beat(4, &me) == ErrorCode::None).then_some(())
        });
        assert_eq!(client.committed(10, orders), (42, ErrorCode::None));
        assert_eq!(&*client.sync(5, &me), b"everything");
        assert_eq!(client.commit(10, &me, orders, 43), ErrorCode::None);
        broker.stop();
    });
}

#[test]
fn topics_that_do_not_exist_are_named_and_deleted_ones_lose_their_offsets() {
    let setup = Setup {
        engine: "posix",
        shards: 2,
    };
    let dir = tempfile::tempdir().unwrap();
    let broker = start(setup, dir.path());
    let mut client = broker.client();
    client.coordinator(GROUP);
    assert_eq!(
        client.commit(9, &nobody(), [9; 16], 1),
        ErrorCode::UnknownTopicOrPartition
    );
    assert_eq!(
        client.commit(10, &nobody(), [9; 16], 1),
        ErrorCode::UnknownTopicId
    );
    assert_eq!(client.committed(10, [9; 16]), (-1, ErrorCode::UnknownTopicId));
    let orders = client.create_topic("orders", 1, &[]);
    assert_eq!(client.commit(10, &nobody(), orders, 5), ErrorCode::None);
    let delete = DeleteTopicsRequest {
        topic_names: vec!["orders".into()],
        timeout_ms: 30_000,
        ..Default::default()
    };
    assert_eq!(client.call(4, &delete).responses[0].error_code, 0);
    eventually("the offset to go", || {
        (client.committed(9, orders).0 == -1).then_some(())
    });
    let again = client.create_topic("orders", 1, &[]);
    assert_eq!(client.committed(10, again), (-1, ErrorCode::None));
    broker.stop();
}

#[test]
fn a_producer_with_transactions_is_told_so_at_once() {
    let setup = Setup {
        engine: "posix",
        shards: 1,
    };
    let dir = tempfile::tempdir().unwrap();
    let broker = start(setup, dir.path());
    let request = FindCoordinatorRequest {
        key_type: 1,
        coordinator_keys: vec!["tx".into()],
        ..Default::default()
    };
    let found = broker.client().call(4, &request).coordinators.remove(0);
    assert_eq!(
        ErrorCode::from_code(found.error_code),
        ErrorCode::UnsupportedVersion
    );
    assert_eq!(
        found.error_message.as_deref(),
        Some("transactions are not served by this broker yet")
    );
    broker.stop();
}

/// A commit of group `GROUP` for two partitions with this much text beside each.
fn commit_with_text(topic: [u8; 16], text: usize) -> OffsetCommitRequest {
    let partition = |index| OffsetCommitRequestTopicPartition {
        partition_index: index,
        committed_offset: 7,
        committed_metadata: Some("x".repeat(text).into()),
        ..Default::default()
    };
    OffsetCommitRequest {
        group_id: GROUP.into(),
        generation_id_or_member_epoch: -1,
        topics: vec![OffsetCommitRequestTopic {
            topic_id: topic,
            name: "orders".into(),
            partitions: vec![partition(0), partition(1)],
        }],
        ..Default::default()
    }
}

#[test]
fn clients_of_a_coordinator_that_loads_are_told_to_come_again() {
    everywhere(|setup| {
        let dir = tempfile::tempdir().unwrap();
        let (data, shadow) = (dir.path().join("data"), dir.path().join("shadow"));
        std::fs::create_dir(&data).unwrap();
        let recorder = Arc::new(Recorder::new(&data, &shadow).unwrap());
        let broker = setup
            .plan(&data)
            .on(Disk::recorded(recorder.clone()))
            .with("offsets.topic.num.partitions", "1")
            .start();
        let appends = || -> u64 {
            let counters = broker.node.counters.iter();
            counters.map(|core| core.appends.load(Relaxed)).sum()
        };
        let (mut one, mut two) = (broker.client(), broker.client());
        let orders = one.create_topic("orders", 2, &[]);
        one.coordinator(GROUP);
        assert_eq!(one.commit(9, &nobody(), orders, 1), ErrorCode::None);

        let limited = altered(
            &mut one,
            2,
            "__consumer_offsets",
            "max.message.bytes",
            Some("5000"),
        );
        assert_eq!(limited, ErrorCode::None);

        // A commit that lies in the log and is not on disk yet; then one that the log refuses, so that it is loaded again.
        recorder.hold_syncs();
        let before = appends();
        let waiting = one.send(9, &commit_with_text(orders, 10));
        eventually("the commit is appended", || (appends() > before).then_some(()));
        let refused = two.call(9, &commit_with_text(orders, 3000));
        assert_ne!(refused.topics[0].partitions[0].error_code, 0);
        eventually("the log is being loaded", || {
            let code = two.commit(9, &nobody(), orders, 2);
            (code == ErrorCode::CoordinatorLoadInProgress).then_some(())
        });
        let joining = two.join(9, "", 10_000);
        assert_eq!(
            ErrorCode::from_code(joining.error_code),
            ErrorCode::CoordinatorLoadInProgress
        );

        recorder.release_syncs();
        let told = one.receive::<OffsetCommitRequest>(9, waiting);
        assert_ne!(
            told.topics[0].partitions[0].error_code, 0,
            "its commit was not known to be on disk"
        );
        eventually("it is loaded", || {
            (two.committed(9, orders) == (7, ErrorCode::None)).then_some(())
        });
        assert_eq!(two.commit(9, &nobody(), orders, 8), ErrorCode::None);
        broker.stop();
    });
}
