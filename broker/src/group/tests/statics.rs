//! Static members (`group.instance.id`, KIP-345) and the assignment that a returning leader need not make (KIP-814).

use protocol::ErrorCode;
use protocol::Str;
use protocol::messages::heartbeat::HeartbeatRequest;

use super::super::{Reply, Request};
use super::{GROUP, SESSION_MS, Scene, consumer, kinds};

fn beat_as(scene: &mut Scene, member: &str, instance: &'static str) -> ErrorCode {
    let ticket = scene.ask(Request::Heartbeat(HeartbeatRequest {
        group_id: GROUP.into(),
        generation_id: 1,
        member_id: Str::copy_from(member),
        group_instance_id: Some(instance.into()),
    }));
    match scene.take(ticket) {
        Reply::Heartbeat(code) => code,
        other => panic!("not an answer to a heartbeat: {other:?}"),
    }
}

/// Static members need no round for their id.
fn stable_static(scene: &mut Scene) -> String {
    let ticket = scene.join(&consumer().instance("i-1"));
    scene.pass(3_000);
    let reply = scene.joined(ticket);
    assert!(reply.member_id.starts_with("i-1-"), "{}", &*reply.member_id);
    let member = reply.member_id.to_string();
    let ticket = scene.sync_as(&member, 1, &[(&member, "mine")]);
    assert_eq!(scene.synced(ticket).error_code, 0);
    member
}

#[test]
fn a_restarted_static_member_gets_its_assignment_back_without_a_rebalance() {
    let mut scene = Scene::new();
    let old = stable_static(&mut scene);
    let written = scene.log.len();
    let ticket = scene.join(&consumer().instance("i-1"));
    let reply = scene.joined(ticket);
    assert_eq!((reply.error_code, reply.generation_id), (0, 1));
    assert!(
        reply.skip_assignment,
        "it leads, and knows that nothing is to be assigned"
    );
    assert_eq!(reply.members.len(), 1);
    let new = reply.member_id.to_string();
    assert_ne!(new, old);
    assert_eq!(&*reply.leader, &*new);
    assert_eq!(scene.state(), "Stable");
    assert_eq!(
        kinds(&scene.log[written..]),
        [(2, false)],
        "the new member id is stored"
    );
    let ticket = scene.sync_as(&new, 1, &[]);
    assert_eq!(&*scene.synced(ticket).assignment, b"mine");
    assert_eq!(beat_as(&mut scene, &old, "i-1"), ErrorCode::FencedInstanceId);
    assert_eq!(beat_as(&mut scene, &new, "i-1"), ErrorCode::None);
}

#[test]
fn a_returning_leader_that_cannot_skip_is_told_that_its_old_self_leads() {
    let mut scene = Scene::new();
    let old = stable_static(&mut scene);
    let ticket = scene.join(&consumer().instance("i-1").version(8));
    let reply = scene.joined(ticket);
    assert_eq!(&*reply.leader, &*old);
    assert!(reply.members.is_empty() && !reply.skip_assignment);
}

#[test]
fn a_static_member_that_comes_back_with_another_protocol_starts_a_rebalance() {
    let mut scene = Scene::new();
    stable_static(&mut scene);
    let ticket = scene.join(&consumer().instance("i-1").offers(&["sticky", "range"]));
    // It is the only member, so the join phase ends at once.
    let reply = scene.joined(ticket);
    assert_eq!(
        (reply.generation_id, reply.protocol_name.as_deref()),
        (2, Some("sticky"))
    );
}

#[test]
fn a_parked_process_is_fenced_by_its_successor() {
    let mut scene = Scene::new();
    let old = scene.join(&consumer().instance("i-1"));
    let new = scene.join(&consumer().instance("i-1"));
    assert_eq!(scene.joined(old).error_code, ErrorCode::FencedInstanceId.code());
    scene.pass(6_000);
    let reply = scene.joined(new);
    assert_eq!((reply.error_code, reply.members.len()), (0, 1));
}

#[test]
fn a_static_member_keeps_its_place_until_its_session_ends() {
    let mut scene = Scene::new();
    let member = stable_static(&mut scene);
    let dynamic = scene.join(&consumer().version(3));
    scene.pass(i64::from(SESSION_MS) - 1);
    assert!(scene.is_parked(dynamic));
    assert_eq!(
        beat_as(&mut scene, &member, "i-1"),
        ErrorCode::RebalanceInProgress
    );
    scene.pass(i64::from(SESSION_MS));
    assert_eq!(
        scene.joined(dynamic).members.len(),
        1,
        "the static member is gone now"
    );
}

#[test]
fn an_administrator_can_remove_a_static_member_by_its_instance_alone() {
    let mut scene = Scene::new();
    stable_static(&mut scene);
    assert_eq!(
        scene.leave(&[("", Some("i-2")), ("", Some("i-1"))]),
        [ErrorCode::UnknownMemberId.code(), 0]
    );
    assert_eq!(scene.state(), "Empty");
}

#[test]
fn a_static_member_is_known_again_after_a_restart() {
    let mut scene = Scene::new();
    let old = stable_static(&mut scene);
    scene.restart();
    let ticket = scene.join(&consumer().instance("i-1"));
    let reply = scene.joined(ticket);
    assert_eq!((reply.error_code, reply.generation_id), (0, 1));
    assert_eq!(beat_as(&mut scene, &old, "i-1"), ErrorCode::FencedInstanceId);
}

#[test]
fn an_id_that_was_given_to_somebody_else_makes_nobody_static() {
    let mut scene = Scene::new();
    let member = scene.member_id(&consumer());
    let ticket = scene.join(&consumer().called(&member).instance("i-1"));
    assert_eq!(scene.joined(ticket).error_code, ErrorCode::UnknownMemberId.code());
    let ticket = scene.join(&consumer().called(&member));
    assert!(scene.is_parked(ticket), "its owner can still join");
}
