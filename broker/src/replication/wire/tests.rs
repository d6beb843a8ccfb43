//! Every frame comes back as it went, and none that is cut or hostile is believed.

use super::*;

fn partition(number: i32) -> TopicPartition {
    TopicPartition {
        topic_id: TopicId([number as u8; 16]),
        partition: number,
    }
}

fn ask(slot: Slot) -> Ask {
    Ask {
        slot,
        round: 9,
        partition: partition(slot as i32),
        leader_epoch: LeaderEpoch(4),
        fetch_offset: Offset(1 << 40),
        last_fetched_epoch: -1,
        log_start: Offset(3),
        synced: Offset(17),
    }
}

fn synced(slot: Slot) -> Synced {
    Synced {
        slot,
        leader_epoch: LeaderEpoch(4),
        log_start: Offset(3),
        synced: Offset(18),
    }
}

fn from_follower() -> Vec<FromFollower> {
    vec![
        FromFollower::Fetch(Fetch {
            credit: 1 << 20,
            forget: vec![7, 8],
            ask: vec![ask(1), ask(2)],
        }),
        FromFollower::Fetch(Fetch::default()),
        FromFollower::Progress(Progress {
            credit: 5,
            synced: vec![synced(1), synced(2)],
        }),
        FromFollower::Progress(Progress::default()),
        FromFollower::Alive,
    ]
}

fn answered(slot: Slot, outcome: Outcome) -> Answered {
    Answered {
        slot,
        round: 3,
        outcome,
    }
}

fn records(of: &'static [u8]) -> Outcome {
    Outcome::Records {
        high_watermark: Offset(20),
        log_start: Offset(3),
        records: Bytes::from_static(of),
    }
}

fn from_leader() -> Vec<FromLeader> {
    let end = EpochEnd {
        epoch: LeaderEpoch(-1),
        end_offset: Offset(5),
    };
    let range = Outcome::OutOfRange {
        start: Offset(5),
        end: Offset(50),
    };
    let mut all = vec![
        answered(1, records(b"first")),
        answered(2, Outcome::Diverging(end)),
        answered(3, range),
        answered(4, records(b"")),
        answered(5, records(b"the second")),
    ];
    all.extend(REFUSALS.map(|refusal| answered(6, Outcome::Refused(refusal))));
    vec![
        FromLeader::Answer(all),
        FromLeader::Answer(Vec::new()),
        FromLeader::Alive,
    ]
}

/// The frame without its prefix, which must be right.
fn body(frame: &[u8], limit: usize) -> Bytes {
    let prefix = frame[..PREFIX].try_into().expect("four bytes");
    assert_eq!(length(prefix, limit), Ok(frame.len() - PREFIX));
    Bytes::copy_from_slice(&frame[PREFIX..])
}

fn leader_body(frame: &FromLeader) -> Bytes {
    body(&frame.encode().concat(), LARGEST_FROM_LEADER)
}

#[test]
fn frames_come_back_as_they_went() {
    for frame in from_follower() {
        let body = body(&frame.encode(), LARGEST_FROM_FOLLOWER);
        assert_eq!(FromFollower::decode(body), Ok(frame));
    }
    for frame in from_leader() {
        assert_eq!(FromLeader::decode(leader_body(&frame)), Ok(frame));
    }
}

#[test]
fn few_bytes_come_whole_before_many_and_in_order() {
    let of = |slot: Slot, bytes: usize| {
        let records = Outcome::Records {
            high_watermark: Offset(20),
            log_start: Offset(3),
            records: vec![slot as u8; bytes].into(),
        };
        answered(slot, records)
    };
    let slots = |answers: &[(Slot, usize)]| {
        let answers = answers.iter().map(|(slot, bytes)| of(*slot, *bytes));
        let frames = FromLeader::in_frames(answers.collect()).into_iter();
        let slots = frames.map(|frame| match frame {
            FromLeader::Answer(answers) => answers.iter().map(|it| it.slot).collect(),
            FromLeader::Alive => Vec::new(),
        });
        slots.collect::<Vec<Vec<Slot>>>()
    };
    let many = FRAME_BYTES + 1;
    assert!(slots(&[]).is_empty());
    assert_eq!(
        slots(&[(1, 10), (2, 0), (3, many), (4, 10), (5, many), (5, 1), (6, 0)]),
        [vec![1, 2], vec![3], vec![4], vec![5], vec![5, 6]]
    );
    assert_eq!(
        slots(&[(1, FRAME_BYTES / 2), (2, FRAME_BYTES / 2), (3, 1)]),
        [vec![1, 2], vec![3]]
    );
}

#[test]
fn their_bytes_do_not_change() {
    let fetch = FromFollower::Fetch(Fetch {
        credit: 258,
        forget: vec![7],
        ask: vec![Ask {
            fetch_offset: Offset(10),
            ..ask(2)
        }],
    });
    let golden = b"\0\0\0\x4d\x01\0\0\x01\x02\0\0\0\x01\0\0\0\x07\0\0\0\x01\0\0\0\x02\0\0\0\x09\
        \x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\0\0\0\x02\0\0\0\x04\
        \0\0\0\0\0\0\0\x0a\xff\xff\xff\xff\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x11";
    assert_eq!(fetch.encode(), golden[..]);
    let answer = FromLeader::Answer(vec![answered(2, records(b"xy"))]);
    let golden =
        b"\0\0\0\x24\x10\0\0\0\x01\0\0\0\x02\0\0\0\x03\0\0\0\0\0\0\0\0\x14\0\0\0\0\0\0\0\x03\0\0\0\x02xy";
    assert_eq!(answer.encode().concat(), golden[..]);
    assert_eq!(FromFollower::Alive.encode(), b"\0\0\0\x01\x03"[..]);
    assert_eq!(FromLeader::Alive.encode().concat(), b"\0\0\0\x01\x11");
}

#[test]
fn records_are_sent_and_read_without_a_copy() {
    let sent = Bytes::from(vec![7; 100]);
    let frame = FromLeader::Answer(vec![answered(
        1,
        Outcome::Records {
            high_watermark: Offset(1),
            log_start: Offset(0),
            records: sent.clone(),
        },
    )]);
    assert_eq!(frame.encode()[1].as_ptr(), sent.as_ptr());
    let body = leader_body(&frame);
    let FromLeader::Answer(answers) = FromLeader::decode(body.clone()).expect("as sent") else {
        panic!("an answer");
    };
    let found = answers[0].outcome.records();
    assert!(body.as_ptr_range().contains(&found.as_ptr()));
}

#[test]
fn a_frame_cut_anywhere_is_refused() {
    for frame in from_follower() {
        let body = body(&frame.encode(), LARGEST_FROM_FOLLOWER);
        for len in 0..body.len() {
            assert!(
                FromFollower::decode(body.slice(..len)).is_err(),
                "{frame:?} at {len}"
            );
        }
    }
    for frame in from_leader() {
        let body = leader_body(&frame);
        for len in 0..body.len() {
            assert!(
                FromLeader::decode(body.slice(..len)).is_err(),
                "{frame:?} at {len}"
            );
        }
    }
}

#[test]
fn bytes_behind_a_frame_are_refused() {
    let longer = |body: Bytes| Bytes::from([&body[..], &[0]].concat());
    for frame in from_follower() {
        let body = longer(body(&frame.encode(), LARGEST_FROM_FOLLOWER));
        assert!(FromFollower::decode(body).is_err(), "{frame:?}");
    }
    for frame in from_leader() {
        assert!(
            FromLeader::decode(longer(leader_body(&frame))).is_err(),
            "{frame:?}"
        );
    }
}

#[test]
fn lengths_are_checked_before_memory_is_asked_for() {
    let too_long = |prefix: u32, limit| length(prefix.to_be_bytes(), limit);
    assert!(too_long(0, 10).is_err());
    assert_eq!(too_long(10, 10), Ok(10));
    assert!(matches!(too_long(11, 10), Err(Malformed::TooLong { .. })));
    assert!(too_long(u32::MAX, LARGEST_FROM_LEADER).is_err());
    // As many entries as a u32 can say, in a few bytes.
    for frame in [
        &b"\x01\0\0\0\0\xff\xff\xff\xff\0\0"[..],
        b"\x01\0\0\0\0\0\0\0\0\xff\xff\xff\xff\0",
        b"\x02\0\0\0\0\xff\xff\xff\xff\0",
    ] {
        let decoded = FromFollower::decode(Bytes::from_static(frame));
        assert!(matches!(decoded, Err(Malformed::Count { .. })), "{decoded:?}");
    }
    let answer = FromLeader::decode(Bytes::from_static(b"\x10\xff\xff\xff\xff\0\0"));
    assert!(matches!(answer, Err(Malformed::Count { .. })), "{answer:?}");
}

#[test]
fn what_no_peer_may_say_is_refused() {
    let unknown = |body: &'static [u8]| FromFollower::decode(Bytes::from_static(body));
    assert!(matches!(unknown(b"\x09"), Err(Malformed::Unknown { .. })));
    let frame = FromLeader::Answer(vec![answered(1, records(b""))]);
    let at = |place: usize, value: u8| {
        let mut bytes = leader_body(&frame).to_vec();
        bytes[place] = value;
        FromLeader::decode(Bytes::from(bytes))
    };
    let outcome = KIND + 4 + 8;
    assert!(matches!(at(outcome, 200), Err(Malformed::Unknown { .. })));
    assert!(matches!(at(outcome + 1, 0x80), Err(Malformed::Negative { .. })));
}
