//! Joining, syncing, staying alive, leaving.

use protocol::ErrorCode;

use super::super::{Limits, Reply, Request};
use super::{GROUP, REBALANCE_MS, SESSION_MS, Scene, consumer, kinds};

#[test]
fn a_new_member_gets_its_id_first_and_joins_with_it() {
    let mut scene = Scene::new();
    let member = scene.member_id(&consumer());
    assert!(
        member.starts_with("client-") && member.len() == "client-".len() + 36,
        "{member}"
    );
    assert_eq!(scene.state(), "Empty", "it is not a member yet");
    let ticket = scene.join(&consumer().called(&member));
    assert!(scene.is_parked(ticket), "a new group waits for more members");
    scene.pass(3_000);
    let reply = scene.joined(ticket);
    assert_eq!((reply.error_code, reply.generation_id), (0, 1));
    assert_eq!((&*reply.leader, &*reply.member_id), (&*member, &*member));
    assert_eq!(reply.protocol_name.as_deref(), Some("range"));
    assert_eq!(reply.protocol_type.as_deref(), Some("consumer"));
    assert_eq!(reply.members.len(), 1);
    assert_eq!(scene.state(), "CompletingRebalance");
}

#[test]
fn before_version_4_a_member_joins_without_an_id() {
    let mut scene = Scene::new();
    let ticket = scene.join(&consumer().version(3));
    scene.pass(3_000);
    let reply = scene.joined(ticket);
    assert_eq!((reply.error_code, reply.generation_id), (0, 1));
}

#[test]
fn a_member_id_that_is_not_used_is_forgotten() {
    let mut scene = Scene::new();
    let member = scene.member_id(&consumer());
    scene.pass(i64::from(SESSION_MS));
    let ticket = scene.join(&consumer().called(&member));
    assert_eq!(scene.joined(ticket).error_code, ErrorCode::UnknownMemberId.code());
    assert_eq!(scene.state(), "Dead", "nothing is left of the group");
    assert!(scene.log.is_empty());
}

#[test]
fn the_initial_delay_is_extended_while_members_come_but_not_beyond_the_rebalance_timeout() {
    let mut scene = Scene::new();
    let first = scene.join(&consumer().version(3));
    scene.pass(2_000);
    let second = scene.join(&consumer().version(3));
    scene.pass(1_000);
    assert!(scene.is_parked(first), "the second member extended the delay");
    for _ in 0..40 {
        scene.pass(2_000);
        if scene.is_parked(first) {
            scene.join(&consumer().version(3));
        }
    }
    assert!(!scene.is_parked(first), "60 s are over");
    let reply = scene.joined(second);
    assert_eq!(reply.generation_id, 1);
}

#[test]
fn two_members_share_the_work_and_the_second_takes_over_when_the_first_dies() {
    let mut scene = Scene::new();
    let (first, second) = scene.stable_with_two();
    assert_eq!(scene.state(), "Stable");
    // The first one, the leader, is killed; the second keeps sending heartbeats.
    scene.pass(i64::from(SESSION_MS) - 1);
    assert_eq!(scene.beat(&second, 2), ErrorCode::None);
    scene.pass(1);
    assert_eq!(scene.beat(&second, 2), ErrorCode::RebalanceInProgress);
    let ticket = scene.join(&consumer().called(&second));
    let reply = scene.joined(ticket);
    assert_eq!((reply.generation_id, &*reply.leader), (3, &*second));
    assert_eq!(reply.members.len(), 1);
    let ticket = scene.sync_as(&second, 3, &[(&second, "p0 p1")]);
    assert_eq!(&*scene.synced(ticket).assignment, b"p0 p1");
    assert_eq!(scene.beat(&first, 2), ErrorCode::UnknownMemberId);
}

#[test]
fn members_that_do_not_join_again_in_time_are_out() {
    let mut scene = Scene::new();
    let (first, second) = scene.stable_with_two();
    let third = scene.member_id(&consumer());
    let joining = scene.join(&consumer().called(&third));
    let again = scene.join(&consumer().called(&second));
    // The first keeps sending heartbeats and never joins.
    for _ in 0..REBALANCE_MS / 5_000 {
        assert_eq!(scene.beat(&first, 2), ErrorCode::RebalanceInProgress);
        scene.pass(5_000);
    }
    let reply = scene.joined(again);
    assert_eq!(reply.generation_id, 3);
    assert_ne!(
        &*reply.leader, &*first,
        "a leader that did not join leads no more"
    );
    let members = reply.members.len() + scene.joined(joining).members.len();
    assert_eq!(members, 2, "the leader alone is told the members");
    assert_eq!(scene.beat(&first, 3), ErrorCode::UnknownMemberId);
}

#[test]
fn members_that_do_not_fetch_their_assignment_in_time_are_out() {
    let mut scene = Scene::new();
    let first = scene.stable_with(&consumer());
    let second = scene.member_id(&consumer());
    let joining = scene.join(&consumer().called(&second));
    let again = scene.join(&consumer().called(&first));
    assert_eq!(scene.joined(again).generation_id, 2);
    assert_eq!(scene.joined(joining).generation_id, 2);
    let leading = scene.sync_as(&first, 2, &[(&first, "p0"), (&second, "p1")]);
    assert_eq!(scene.synced(leading).error_code, 0);
    for _ in 0..REBALANCE_MS / 5_000 {
        scene.beat(&first, 2);
        scene.beat(&second, 2);
        scene.pass(5_000);
    }
    assert_eq!(scene.beat(&first, 2), ErrorCode::RebalanceInProgress);
    assert_eq!(scene.beat(&second, 2), ErrorCode::UnknownMemberId);
}

#[test]
fn a_rebalance_wakes_those_who_wait_for_an_assignment() {
    let mut scene = Scene::new();
    let first = scene.stable_with(&consumer());
    let second = scene.member_id(&consumer());
    let joining = scene.join(&consumer().called(&second));
    let again = scene.join(&consumer().called(&first));
    assert_eq!(scene.joined(again).generation_id, 2);
    assert_eq!(scene.joined(joining).generation_id, 2);
    let waiting = scene.sync_as(&second, 2, &[]);
    scene.join(&consumer().version(3));
    assert_eq!(
        scene.synced(waiting).error_code,
        ErrorCode::RebalanceInProgress.code()
    );
    assert_eq!(scene.state(), "PreparingRebalance");
}

#[test]
fn the_leader_can_ask_for_a_rebalance_and_an_unchanged_follower_cannot() {
    let mut scene = Scene::new();
    let (first, second) = scene.stable_with_two();
    let ticket = scene.join(&consumer().called(&second));
    assert_eq!(scene.joined(ticket).generation_id, 2, "the generation as it is");
    assert_eq!(scene.state(), "Stable");
    let ticket = scene.join(&consumer().called(&first));
    assert!(scene.is_parked(ticket));
    assert_eq!(scene.state(), "PreparingRebalance");
}

#[test]
fn a_follower_with_another_subscription_starts_a_rebalance() {
    let mut scene = Scene::new();
    let (_, second) = scene.stable_with_two();
    let mut changed = consumer().called(&second);
    changed.protocols = vec![("range", super::subscription("payments"))];
    let ticket = scene.join(&changed);
    assert!(scene.is_parked(ticket));
}

#[test]
fn old_generations_are_told_so() {
    let mut scene = Scene::new();
    let member = scene.stable_with(&consumer());
    assert_eq!(scene.beat(&member, 0), ErrorCode::IllegalGeneration);
    assert_eq!(scene.beat("who?", 1), ErrorCode::UnknownMemberId);
    let ticket = scene.sync_as(&member, 2, &[]);
    assert_eq!(
        scene.synced(ticket).error_code,
        ErrorCode::IllegalGeneration.code()
    );
}

#[test]
fn the_protocol_is_the_one_that_most_members_prefer_of_those_that_all_support() {
    let mut scene = Scene::new();
    let tickets = [
        scene.join(&consumer().version(3).offers(&["sticky", "range", "odd"])),
        scene.join(&consumer().version(3).offers(&["range", "sticky"])),
        scene.join(&consumer().version(3).offers(&["range", "sticky"])),
    ];
    let ticket = scene.join(&consumer().version(3).offers(&["odd"]));
    assert_eq!(
        scene.joined(ticket).error_code,
        ErrorCode::InconsistentGroupProtocol.code()
    );
    scene.pass(REBALANCE_MS.into());
    for ticket in tickets {
        assert_eq!(scene.joined(ticket).protocol_name.as_deref(), Some("range"));
    }
}

#[test]
fn another_protocol_type_is_refused_and_so_is_none() {
    let mut scene = Scene::new();
    scene.stable_with(&consumer());
    let mut connect = consumer().version(3);
    connect.kind = "connect";
    let ticket = scene.join(&connect);
    assert_eq!(
        scene.joined(ticket).error_code,
        ErrorCode::InconsistentGroupProtocol.code()
    );
    let mut scene = Scene::new();
    let ticket = scene.join(&consumer().version(3).offers(&[]));
    assert_eq!(
        scene.joined(ticket).error_code,
        ErrorCode::InconsistentGroupProtocol.code()
    );
    assert_eq!(scene.state(), "Dead");
}

#[test]
fn session_timeouts_outside_of_the_limits_are_refused() {
    let mut scene = Scene::new();
    for session_ms in [5_999, 1_800_001, -1] {
        let mut who = consumer();
        who.session_ms = session_ms;
        let ticket = scene.join(&who);
        assert_eq!(
            scene.joined(ticket).error_code,
            ErrorCode::InvalidSessionTimeout.code(),
            "{session_ms}"
        );
    }
}

#[test]
fn a_full_group_takes_nobody_in() {
    let mut scene = Scene::with(Limits {
        max_size: 2,
        ..Limits::default()
    });
    let (_, second) = scene.stable_with_two();
    let third = scene.join(&consumer());
    let reply = scene.joined(third);
    assert_eq!(reply.error_code, ErrorCode::GroupMaxSizeReached.code());
    assert_eq!(scene.beat(&second, 2), ErrorCode::None);
}

#[test]
fn who_leaves_is_out_at_once_and_the_last_one_leaves_an_empty_group() {
    let mut scene = Scene::new();
    let (first, second) = scene.stable_with_two();
    let written = scene.log.len();
    assert_eq!(
        scene.leave(&[(&second, None), ("who?", None)]),
        [0, ErrorCode::UnknownMemberId.code()]
    );
    assert_eq!(scene.beat(&first, 2), ErrorCode::RebalanceInProgress);
    assert_eq!(scene.leave(&[(&first, None)]), [0]);
    assert_eq!(scene.state(), "Empty");
    assert_eq!(
        kinds(&scene.log[written..]),
        [(2, false)],
        "the empty group is stored"
    );
}

#[test]
fn a_client_that_asks_twice_is_answered_twice() {
    let mut scene = Scene::new();
    let (first, second) = scene.stable_with_two();
    let before = scene.join(&consumer().called(&first));
    let after = scene.join(&consumer().called(&first));
    assert_eq!(
        scene.joined(before).error_code,
        ErrorCode::RebalanceInProgress.code()
    );
    let last = scene.join(&consumer().called(&second));
    assert_eq!(scene.joined(after).generation_id, 3);
    assert_eq!(scene.joined(last).generation_id, 3);
}

#[test]
fn a_new_member_whose_client_gave_up_does_not_hold_the_group_up_for_ever() {
    let mut scene = Scene::new();
    let first = scene.stable_with(&consumer());
    let mut slow = consumer().version(3);
    slow.session_ms = 6_000;
    let lost = scene.join(&slow);
    // The first one never joins again but stays alive; both are parked or silent for long.
    for _ in 0..REBALANCE_MS / 5_000 {
        scene.beat(&first, 1);
        scene.pass(5_000);
    }
    assert_eq!(scene.joined(lost).generation_id, 2, "the silent member is out");
}

#[test]
fn after_a_restart_members_go_on_where_they_were() {
    let mut scene = Scene::new();
    let (first, second) = scene.stable_with_two();
    scene.restart();
    assert_eq!(scene.state(), "Stable");
    assert_eq!(scene.beat(&first, 2), ErrorCode::None);
    let ticket = scene.sync_as(&second, 2, &[]);
    assert_eq!(&*scene.synced(ticket).assignment, b"p1");
    // And those that do not come back are noticed.
    scene.pass(i64::from(SESSION_MS) - 1);
    scene.beat(&first, 2);
    scene.pass(1);
    assert_eq!(scene.beat(&second, 2), ErrorCode::UnknownMemberId);
    assert_eq!(scene.beat(&first, 2), ErrorCode::RebalanceInProgress);
}

#[test]
fn lists_can_be_filtered_by_state_and_type() {
    let mut scene = Scene::new();
    scene.stable_with(&consumer());
    let mut list = |states: &[&'static str], types: &[&'static str]| {
        let request = protocol::messages::list_groups::ListGroupsRequest {
            states_filter: states.iter().map(|state| (*state).into()).collect(),
            types_filter: types.iter().map(|kind| (*kind).into()).collect(),
        };
        let ticket = scene.ask(Request::List(request));
        match scene.take(ticket) {
            Reply::List(groups) => groups
                .iter()
                .map(|group| group.group_id.to_string())
                .collect::<Vec<_>>(),
            other => panic!("not a list: {other:?}"),
        }
    };
    assert_eq!(list(&[], &[]), [GROUP]);
    assert_eq!(list(&["stable"], &["Classic"]), [GROUP]);
    assert!(list(&["Empty"], &[]).is_empty());
    assert!(list(&[], &["consumer"]).is_empty());
}

#[test]
fn a_description_tells_assignments_of_a_stable_group_and_the_absence_of_others() {
    let mut scene = Scene::new();
    let gone = scene.describe();
    assert_eq!(gone.error_code, ErrorCode::GroupIdNotFound.code());
    assert_eq!(gone.error_message.as_deref(), Some("Group readers not found."));
    let member = scene.stable_with(&consumer());
    let group = scene.describe();
    assert_eq!(
        (&*group.group_state, &*group.protocol_type, &*group.protocol_data),
        ("Stable", "consumer", "range")
    );
    assert_eq!(&*group.members[0].member_id, &*member);
    assert_eq!(&*group.members[0].client_host, "/10.0.0.1");
    assert_eq!(&*group.members[0].member_assignment, b"all of it");
    let old = scene.ask(Request::Describe {
        version: 5,
        group: "nobody".into(),
    });
    match scene.take(old) {
        Reply::Describe(reply) => assert_eq!((reply.error_code, &*reply.group_state), (0, "Dead")),
        other => panic!("not a description: {other:?}"),
    }
}
