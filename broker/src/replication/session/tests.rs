//! Both ends of a session, without sockets.

use super::*;
use crate::replication::follower::Following;
use protocol::ids::{NodeId, TopicId};

fn partition(number: i32) -> TopicPartition {
    TopicPartition {
        topic_id: TopicId([1; 16]),
        partition: number,
    }
}

fn ask(slot: Slot, round: u32) -> Ask {
    Ask {
        slot,
        round,
        partition: partition(slot as i32),
        leader_epoch: LeaderEpoch(3),
        fetch_offset: Offset(100),
        last_fetched_epoch: 2,
        log_start: Offset(0),
        synced: Offset(90),
    }
}

fn given(bytes: usize, end: i64) -> Given {
    Given {
        bytes,
        end: (bytes > 0).then_some((Offset(end), LeaderEpoch(3))),
        high_watermark: Offset(90),
        log_start: Offset(0),
        log_end: Offset(10_000),
    }
}

/// The follower has all with that.
fn given_the_rest(bytes: usize, end: i64) -> Given {
    Given {
        log_end: Offset(end),
        ..given(bytes, end)
    }
}

fn serving(slots: u32, credit: u32) -> Serving {
    let mut serving = Serving::default();
    for slot in 0..slots {
        serving.ask(ask(slot, 1), false).expect("room");
    }
    serving.grant(credit);
    serving
}

fn next(serving: &mut Serving) -> Option<Slot> {
    serving.next_turn().map(|turn| turn.slot)
}

#[test]
fn positions_go_on_where_the_last_answer_ended() {
    let mut serving = serving(1, 1000);
    let turn = serving.next_turn().expect("asked");
    assert_eq!(turn.position.fetch_offset, Offset(100));
    assert!(serving.read(0, 1, given(10, 107)));
    let turn = serving.next_turn().expect("there may be more");
    assert_eq!(
        (turn.position.fetch_offset, turn.position.last_fetched_epoch),
        (Offset(107), 3),
        "nothing was synced in between"
    );
    assert!(!serving.read(0, 1, given(0, 0)), "nothing new");
    assert_eq!(serving.next_turn(), None);
    serving.moved(0);
    assert_eq!(next(&mut serving), Some(0));
}

#[test]
fn a_moved_high_watermark_is_news_once() {
    let mut serving = serving(1, 1000);
    next(&mut serving);
    assert!(serving.read(0, 1, given(0, 0)), "the first one is");
    assert!(!serving.read(0, 1, given(0, 0)));
    let moved = Given {
        high_watermark: Offset(95),
        ..given(0, 0)
    };
    assert!(serving.read(0, 1, moved));
}

#[test]
fn a_big_partition_comes_again_after_the_small_ones() {
    let mut serving = serving(3, 1 << 20);
    let mut order = Vec::new();
    for _ in 0..5 {
        let slot = next(&mut serving).expect("something is ready");
        order.push(slot);
        let bytes = if slot == 0 { 1000 } else { 0 };
        serving.read(slot, 1, given(bytes, 200));
    }
    assert_eq!(order, [0, 1, 2, 0, 0]);
}

/// Three partitions, two of them far behind.
fn two_are_behind() -> Serving {
    let mut serving = serving(3, 1 << 20);
    for slot in 0..3 {
        assert_eq!(next(&mut serving), Some(slot));
        let bytes = if slot < 2 { 1000 } else { 0 };
        serving.read(slot, 1, given(bytes, 200));
    }
    serving
}

#[test]
fn what_is_new_comes_before_what_goes_on() {
    let mut serving = two_are_behind();
    for (end, behind) in [(201, 0), (202, 1), (203, 0)] {
        serving.moved(2);
        assert_eq!(next(&mut serving), Some(2), "before the others");
        serving.read(2, 1, given_the_rest(10, end));
        assert_eq!(next(&mut serving), Some(2), "looked at once more");
        serving.read(2, 1, given(0, 0));
        assert_eq!(next(&mut serving), Some(behind), "they go on, in turn");
        serving.read(behind, 1, given(1000, end));
    }
    serving.moved(2);
    assert_eq!(next(&mut serving), Some(2));
    serving.read(2, 1, given(10, 204));
    assert_eq!(next(&mut serving), Some(1), "it is behind itself by now");
    serving.ask(ask(3, 1), true).expect("room");
    assert_eq!(next(&mut serving), Some(3), "acknowledgements wait for it");
}

#[test]
fn what_is_new_without_end_leaves_every_other_turn_to_what_goes_on() {
    let mut serving = two_are_behind();
    let (mut order, mut end) = (Vec::new(), 200);
    for _ in 0..6 {
        serving.grant(TURN_BYTES as u32);
        serving.moved(2);
        let slot = next(&mut serving).expect("there is credit");
        order.push(slot);
        end += 1;
        let given = match slot {
            2 => given_the_rest(TURN_BYTES, end),
            _ => given(1000, end),
        };
        serving.read(slot, 1, given);
    }
    assert_eq!(order, [2, 0, 2, 1, 2, 0]);
}

#[test]
fn some_credit_is_left_to_what_is_new() {
    let mut serving = two_are_behind();
    let mut sent = 0;
    while let Some(slot) = next(&mut serving) {
        assert!(slot < 2, "nothing is new");
        sent += TURN_BYTES;
        serving.read(slot, 1, given(TURN_BYTES, 300));
    }
    assert!(sent <= 1 << 20, "{sent} bytes");
    serving.moved(2);
    assert_eq!(next(&mut serving), Some(2));
    serving.read(2, 1, given_the_rest(10, 201));
    assert_eq!(next(&mut serving), Some(2), "looked at once more");
    serving.read(2, 1, given(0, 0));
    assert_eq!(next(&mut serving), None, "the others wait for more credit");
    serving.grant(TURN_BYTES as u32);
    assert_eq!(next(&mut serving), Some(1));
}

#[test]
fn nothing_is_read_without_credit_and_one_batch_may_be_over_it() {
    let mut serving = serving(2, 100);
    let turn = serving.next_turn().expect("there is credit");
    assert_eq!(turn.position.max_bytes, 100);
    serving.read(0, 1, given(150, 200));
    assert_eq!(serving.next_turn(), None);
    serving.grant(50);
    assert_eq!(serving.next_turn(), None, "the last one was over by that");
    serving.grant(33);
    assert_eq!(serving.next_turn(), None, "a third is for what is new");
    serving.grant(1);
    assert_eq!(next(&mut serving), Some(1));
}

#[test]
fn what_was_read_for_an_earlier_ask_is_of_no_use() {
    let mut serving = serving(1, 100);
    next(&mut serving);
    serving.ask(ask(0, 2), false).expect("room");
    assert!(!serving.read(0, 1, given(10, 200)));
    let turn = serving.next_turn().expect("the new ask");
    assert_eq!((turn.round, turn.position.fetch_offset), (2, Offset(100)));
    serving.forget(0);
    assert!(!serving.read(0, 2, given(10, 200)));
    serving.moved(0);
    assert_eq!(serving.next_turn(), None);
}

#[test]
fn an_ended_ask_rests_until_there_is_another() {
    let mut serving = serving(1, 100);
    next(&mut serving);
    serving.ended(0, 1);
    serving.moved(0);
    assert_eq!(serving.next_turn(), None);
    serving.ask(ask(0, 2), false).expect("room");
    assert_eq!(next(&mut serving), Some(0));
}

#[test]
fn a_follower_that_knows_more_waits_for_the_image() {
    let mut serving = serving(1, 100);
    next(&mut serving);
    serving.until_newer_image(0, 1);
    assert_eq!(serving.next_turn(), None);
    serving.image_changed();
    assert_eq!(next(&mut serving), Some(0));
}

#[test]
fn files_are_read_few_at_a_time_and_their_room_is_set_aside() {
    let all = MOST_COLD as u32 * 250_000 + KEPT_FOR_NEWS as u32;
    let mut serving = serving(MOST_COLD as u32 + 2, all);
    for slot in 0..MOST_COLD as u32 {
        assert_eq!(next(&mut serving), Some(slot));
        assert!(serving.begin_cold(slot, 1, 250_000));
    }
    assert_eq!(serving.next_turn(), None, "all but what is kept is set aside");
    serving.grant(10);
    let waiting = MOST_COLD as u32;
    assert_eq!(next(&mut serving), Some(waiting));
    assert!(!serving.begin_cold(waiting, 1, 10), "enough are read");
    serving.moved(waiting);
    assert_eq!(next(&mut serving), Some(waiting + 1), "its turn comes by itself");
    assert!(serving.end_cold(0, 1));
    assert!(serving.read(0, 1, given(100, 200)));
    let turn = serving.next_turn().expect("one has ended");
    assert_eq!(turn.slot, waiting, "before the one that has just been served");
    // Asked anew while its file is read.
    serving.ask(ask(1, 2), false).expect("room");
    assert!(!serving.end_cold(1, 1));
    serving.forget(2);
    assert!(!serving.end_cold(2, 1));
}

#[test]
fn who_waits_for_a_file_has_its_turn_when_those_before_it_are_forgotten() {
    let most = MOST_COLD as u32;
    let mut serving = serving(2 * most + 1, 1 << 20);
    for slot in 0..=2 * most {
        assert_eq!(next(&mut serving), Some(slot));
        assert_eq!(serving.begin_cold(slot, 1, 10), slot < most);
    }
    (0..most).for_each(|slot| assert!(serving.end_cold(slot, 1)));
    (0..2 * most).for_each(|slot| serving.forget(slot));
    assert_eq!(next(&mut serving), Some(2 * most));
}

fn following(epoch: i32, at: i64, synced: i64) -> Following {
    Following {
        leader: NodeId(1),
        leader_epoch: LeaderEpoch(epoch),
        fetch_offset: Offset(at),
        last_fetched_epoch: epoch,
        log_start: Offset(0),
        synced: Offset(synced),
    }
}

fn asking(partitions: i32, window: u32) -> Asking {
    let mut asking = Asking::new(window);
    (0..partitions).for_each(|number| asking.want(partition(number)));
    asking.connected();
    asking
}

#[test]
fn all_is_asked_on_a_new_connection_and_then_only_changes() {
    let mut asking = asking(3, 500);
    let all = asking.next_fetch(|_| Some(following(1, 10, 5))).expect("all");
    assert_eq!((all.ask.len(), all.forget.len(), all.credit), (3, 0, 500));
    assert_eq!(asking.next_fetch(|_| Some(following(1, 10, 5))), None);
    asking.want(partition(1));
    assert_eq!(
        asking.next_fetch(|_| Some(following(1, 12, 5))),
        None,
        "it is being sent under that epoch"
    );
    asking.want(partition(1));
    let one = asking.next_fetch(|_| Some(following(2, 12, 5))).expect("one");
    assert_eq!((one.ask.len(), one.ask[0].partition), (1, partition(1)));
    assert!(one.ask[0].round > all.ask[1].round);
    asking.connected();
    let again = asking.next_fetch(|_| Some(following(2, 12, 5))).expect("all");
    assert_eq!((again.ask.len(), again.credit), (3, 500));
}

#[test]
fn answers_to_an_earlier_ask_are_told_apart() {
    let mut asking = asking(1, 500);
    let first = asking.next_fetch(|_| Some(following(1, 10, 5))).expect("one").ask[0];
    assert_eq!(
        asking.answered(first.slot, first.round),
        Some((partition(0), LeaderEpoch(1)))
    );
    asking.want(partition(0));
    let second = asking.next_fetch(|_| Some(following(2, 10, 5))).expect("one").ask[0];
    assert_eq!(asking.answered(first.slot, first.round), None);
    assert!(asking.answered(second.slot, second.round).is_some());
    asking.drop(&partition(0));
    assert_eq!(asking.answered(second.slot, second.round), None);
    asking.want(partition(7));
    let third = asking.next_fetch(|_| Some(following(1, 0, 0))).expect("one");
    assert_eq!(third.ask[0].slot, second.slot, "its number is used again");
    assert!(third.forget.is_empty(), "the ask says it");
    assert_eq!(asking.answered(second.slot, second.round), None);
}

#[test]
fn what_is_not_followed_any_more_is_forgotten() {
    let mut asking = asking(2, 500);
    asking.next_fetch(|_| Some(following(1, 10, 5)));
    asking.want(partition(0));
    let cut = asking.next_fetch(|_| None).expect("it is being cut");
    assert_eq!((cut.forget.as_slice(), cut.ask.len()), (&[0][..], 0));
    asking.drop(&partition(1));
    let gone = asking.next_fetch(|_| None).expect("it is gone");
    assert_eq!(gone.forget, [1]);
    assert!(!asking.is_empty());
    asking.drop(&partition(0));
    assert!(asking.is_empty());
}

#[test]
fn credit_comes_back_when_records_are_durable() {
    let mut asking = asking(1, 500);
    let slot = asking
        .next_fetch(|_| Some(following(1, 10, 10)))
        .expect("one")
        .ask[0]
        .slot;
    asking.appended(slot, Offset(20), 100);
    asking.appended(slot, Offset(30), 70);
    assert_eq!(asking.next_progress(|_| Some(following(1, 30, 10))), None);
    asking.synced(&partition(0));
    let progress = asking
        .next_progress(|_| Some(following(1, 30, 20)))
        .expect("some");
    assert_eq!((progress.credit, progress.synced[0].synced), (100, Offset(20)));
    asking.discarded(9);
    let stale = asking.next_progress(|_| None).expect("credit alone");
    assert_eq!((stale.credit, stale.synced.len()), (9, 0));
    asking.refused(slot, Again::Now);
    let anew = asking.next_fetch(|_| Some(following(1, 20, 20))).expect("anew");
    assert_eq!((anew.credit, anew.ask.len(), anew.forget.len()), (70, 1, 0));
}

#[test]
fn what_is_asked_later_is_asked_after_the_pause() {
    let mut asking = asking(1, 500);
    let slot = asking
        .next_fetch(|_| Some(following(1, 10, 10)))
        .expect("one")
        .ask[0]
        .slot;
    asking.ended(slot, Again::Later);
    assert_eq!(asking.next_fetch(|_| Some(following(1, 10, 10))), None);
    assert!(asking.try_again());
    assert!(asking.next_fetch(|_| Some(following(1, 10, 10))).is_some());
    assert!(!asking.try_again());
}

#[test]
fn what_is_refused_again_and_again_is_asked_with_pauses() {
    let mut asking = asking(1, 500);
    let ask = |asking: &mut Asking| asking.next_fetch(|_| Some(following(1, 10, 10)));
    let slot = ask(&mut asking).expect("one").ask[0].slot;
    asking.refused(slot, Again::Now);
    assert!(ask(&mut asking).is_some(), "at once");
    asking.refused(slot, Again::Now);
    let forgotten = ask(&mut asking).expect("the leader is to stop");
    assert!(forgotten.ask.is_empty(), "not asked at once a second time");
    assert!(asking.try_again());
    assert!(ask(&mut asking).is_some());
    asking.appended(slot, Offset(20), 10);
    asking.refused(slot, Again::Now);
    assert!(ask(&mut asking).is_some(), "something was appended in between");
}
