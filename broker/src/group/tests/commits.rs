//! Offsets: who may commit, what is given back, what goes when.

use protocol::ErrorCode;
use protocol::messages::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteRequestTopic, OffsetDeleteRequestTopicPartition,
};
use protocol::messages::offset_fetch::OffsetFetchRequestGroup;

use super::super::{Limits, Reply, Request};
use super::{GROUP, SESSION_MS, Scene, arc, consumer, kinds, offset};

const WEEK_MS: i64 = 7 * 24 * 3600 * 1000;
const CHECK_MS: i64 = 600_000;

#[test]
fn a_member_commits_and_its_successor_starts_there() {
    let mut scene = Scene::new();
    let member = scene.stable_with(&consumer());
    assert_eq!(scene.committed("orders", 7), -1);
    assert_eq!(scene.commit(&offset(42).by(&member, 1)), ErrorCode::None);
    assert_eq!(scene.committed("orders", 7), 42);
    scene.restart();
    assert_eq!(scene.committed("orders", 7), 42);
}

#[test]
fn offsets_of_another_topic_of_the_same_name_are_not_given_back() {
    let mut scene = Scene::new();
    scene.commit(&offset(42));
    assert_eq!(scene.committed("orders", 8), -1);
    assert_eq!(scene.committed("orders", 0), 42, "a client that knows names only");
}

#[test]
fn a_commit_is_checked_against_the_generation() {
    let mut scene = Scene::new();
    let member = scene.stable_with(&consumer());
    assert_eq!(
        scene.commit(&offset(1).by(&member, 0)),
        ErrorCode::IllegalGeneration
    );
    assert_eq!(scene.commit(&offset(1).by("who?", 1)), ErrorCode::UnknownMemberId);
    assert_eq!(
        scene.commit(&offset(1)),
        ErrorCode::UnknownMemberId,
        "the group has members"
    );
    assert_eq!(scene.committed("orders", 7), -1);
}

#[test]
fn commits_wait_for_the_sync_and_go_on_while_members_join_again() {
    let mut scene = Scene::new();
    let member = scene.stable_with(&consumer());
    let ticket = scene.join(&consumer().called(&member));
    assert_eq!(scene.joined(ticket).generation_id, 2);
    assert_eq!(
        scene.commit(&offset(5).by(&member, 2)),
        ErrorCode::RebalanceInProgress
    );
    let ticket = scene.sync_as(&member, 2, &[]);
    scene.synced(ticket);
    scene.join(&consumer().version(3));
    assert_eq!(scene.state(), "PreparingRebalance");
    assert_eq!(scene.commit(&offset(5).by(&member, 2)), ErrorCode::None);
}

#[test]
fn a_commit_is_a_sign_of_life() {
    let mut scene = Scene::new();
    let member = scene.stable_with(&consumer());
    for n in 0..5 {
        scene.pass(i64::from(SESSION_MS) - 1);
        assert_eq!(scene.commit(&offset(n).by(&member, 1)), ErrorCode::None);
    }
}

#[test]
fn a_group_may_be_nothing_but_its_offsets() {
    let mut scene = Scene::new();
    assert_eq!(scene.commit(&offset(9)), ErrorCode::None);
    assert_eq!(scene.state(), "Empty");
    assert_eq!(kinds(&scene.log), [(1, false)]);
    let group = scene.describe();
    assert_eq!(&*group.protocol_type, "");
}

#[test]
fn a_generation_of_a_group_that_does_not_exist_is_refused_in_the_words_of_the_version() {
    let mut scene = Scene::new();
    let mut commit = offset(1).by("m", 4);
    assert_eq!(scene.commit(&commit), ErrorCode::GroupIdNotFound);
    commit.version = 8;
    assert_eq!(scene.commit(&commit), ErrorCode::IllegalGeneration);
}

#[test]
fn metadata_has_a_limit() {
    let mut scene = Scene::new();
    let mut commit = offset(1);
    commit.metadata = "x".repeat(4_097);
    assert_eq!(scene.commit(&commit), ErrorCode::OffsetMetadataTooLarge);
    assert_eq!(scene.committed("orders", 7), -1);
    commit.metadata.pop();
    assert_eq!(scene.commit(&commit), ErrorCode::None);
}

#[test]
fn all_topics_of_a_group_can_be_asked_for() {
    let mut scene = Scene::new();
    scene.commit(&offset(1));
    scene.commit(&offset(2).of("payments"));
    let body = OffsetFetchRequestGroup {
        group_id: GROUP.into(),
        topics: None,
        ..Default::default()
    };
    let ticket = scene.ask(Request::Fetch(body));
    let Reply::Fetch(reply) = scene.take(ticket) else {
        panic!("not an answer to a fetch")
    };
    let found: Vec<_> = reply
        .topics
        .iter()
        .map(|topic| (&*topic.name, topic.partitions[0].committed_offset))
        .collect();
    assert_eq!(found, [("orders", 1), ("payments", 2)]);
    assert_eq!(reply.topics[0].partitions[0].committed_leader_epoch, 3);
}

#[test]
fn offsets_of_an_empty_group_expire_when_nobody_came_back_and_the_group_goes_with_them() {
    let mut scene = Scene::new();
    let member = scene.stable_with(&consumer());
    scene.commit(&offset(42).by(&member, 1));
    scene.leave(&[(&member, None)]);
    let written = scene.log.len();
    scene.pass(WEEK_MS - CHECK_MS);
    assert_eq!(scene.committed("orders", 7), 42);
    scene.pass(2 * CHECK_MS);
    assert_eq!(scene.committed("orders", 7), -1);
    assert_eq!(
        kinds(&scene.log[written..]),
        [(1, true), (2, true)],
        "tombstones, in Kafka's order"
    );
    assert_eq!(scene.state(), "Dead");
    scene.restart();
    assert_eq!(scene.state(), "Dead");
}

#[test]
fn offsets_of_a_living_group_expire_only_for_topics_that_nobody_reads_any_more() {
    let limits = Limits {
        offsets_retention_ms: 60_000,
        retention_check_ms: 10_000,
        ..Limits::default()
    };
    let mut scene = Scene::with(limits);
    let member = scene.stable_with(&consumer());
    scene.commit(&offset(1).by(&member, 1));
    scene.commit(&offset(2).of("payments").by(&member, 1));
    for _ in 0..20 {
        scene.pass(5_000);
        assert_eq!(scene.beat(&member, 1), ErrorCode::None);
    }
    assert_eq!(scene.committed("orders", 7), 1);
    assert_eq!(scene.committed("payments", 7), -1);
}

#[test]
fn offsets_without_members_expire_after_their_last_commit_or_when_the_commit_said_so() {
    let limits = Limits {
        offsets_retention_ms: 60_000,
        retention_check_ms: 10_000,
        ..Limits::default()
    };
    let mut scene = Scene::with(limits);
    scene.commit(&offset(1));
    let mut short = offset(2).of("payments");
    short.retention_ms = 20_000;
    scene.commit(&short);
    scene.pass(30_000);
    assert_eq!(
        (scene.committed("orders", 7), scene.committed("payments", 7)),
        (1, -1)
    );
    scene.pass(40_000);
    assert_eq!(scene.committed("orders", 7), -1);
}

#[test]
fn deleted_topics_take_their_offsets_with_them() {
    let mut scene = Scene::new();
    scene.commit(&offset(1));
    scene.commit(&offset(2).of("payments"));
    scene.ask(Request::ForgetTopics(vec![arc("orders")]));
    assert_eq!(
        (scene.committed("orders", 7), scene.committed("payments", 7)),
        (-1, 2)
    );
}

#[test]
fn only_a_group_without_members_can_be_deleted() {
    let mut scene = Scene::new();
    let delete = |scene: &mut Scene| {
        let ticket = scene.ask(Request::Delete(GROUP.into()));
        match scene.take(ticket) {
            Reply::Delete(reply) => ErrorCode::from_code(reply.error_code),
            other => panic!("not an answer to a deletion: {other:?}"),
        }
    };
    assert_eq!(delete(&mut scene), ErrorCode::GroupIdNotFound);
    let member = scene.stable_with(&consumer());
    scene.commit(&offset(42).by(&member, 1));
    assert_eq!(delete(&mut scene), ErrorCode::NonEmptyGroup);
    scene.leave(&[(&member, None)]);
    assert_eq!(delete(&mut scene), ErrorCode::None);
    assert_eq!((scene.state(), scene.committed("orders", 7)), ("Dead".into(), -1));
    assert!(scene.groups.is_empty());
}

#[test]
fn offsets_of_topics_in_use_cannot_be_deleted() {
    let mut scene = Scene::new();
    let member = scene.stable_with(&consumer());
    scene.commit(&offset(1).by(&member, 1));
    scene.commit(&offset(2).of("payments").by(&member, 1));
    let topic = |name: &'static str| OffsetDeleteRequestTopic {
        name: name.into(),
        partitions: vec![OffsetDeleteRequestTopicPartition { partition_index: 0 }],
    };
    let body = OffsetDeleteRequest {
        group_id: GROUP.into(),
        topics: vec![topic("orders"), topic("payments")],
    };
    let ticket = scene.ask(Request::DeleteOffsets(body));
    let Reply::DeleteOffsets(reply) = scene.take(ticket) else {
        panic!("not an answer to a deletion")
    };
    let codes: Vec<i16> = reply
        .topics
        .iter()
        .map(|topic| topic.partitions[0].error_code)
        .collect();
    assert_eq!(codes, [ErrorCode::GroupSubscribedToTopic.code(), 0]);
    assert_eq!(
        (scene.committed("orders", 7), scene.committed("payments", 7)),
        (1, -1)
    );
}
