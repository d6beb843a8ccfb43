//! Who may vote in the metadata quorum: which change of the voters comes next, which are refused, and which members without a
//! vote are forgotten.
//!
//! Pure. Owns the rules; leaves carrying a change out to `electing.rs`, and the safety of one (joint consensus, one at a
//! time) to Raft. A voter is a node with one particular directory (KIP-853).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use protocol::ErrorCode;
use serde::{Deserialize, Serialize};

use super::handle::Refused;
use super::types::Voter;
use crate::rt::Instant;

/// More voters make every change slower and survive no likelier loss.
pub const MOST_VOTERS: usize = 5;
/// A member that was not heard of for so long gets no vote: a voter that is gone counts against the majority.
const ALIVE_WITHIN: Duration = Duration::from_millis(1500);
/// A member without a vote that is registered as no broker is forgotten after so much silence. Generous: a newcomer that lives
/// answers the leader many times a second, and one that is cut off for a while should find its place again.
pub const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);
/// A leader that did not look at its members for so long was paused itself.
const PAUSED_FOR: Duration = Duration::from_secs(2);

/// What may be asked of the quorum's leader about its voters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum VotersRequest {
    Describe,
    /// Gives a member its vote, once it knows everything.
    Add(Voter),
    /// Takes a vote away; a broker that lives stays a member without a vote.
    Remove(Voter),
}

/// The leader's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum VotersReply {
    Described(Description),
    /// Committed.
    Changed,
}

/// The quorum as its leader knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    pub leader: Voter,
    pub term: u64,
    /// Entries that are committed, counted from 0.
    pub high_watermark: u64,
    pub voters: Vec<Member>,
    /// Members without a vote.
    pub observers: Vec<Member>,
}

/// One member of the quorum.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    pub voter: Voter,
    /// host:port of its control listener; empty where it has none.
    pub address: String,
    /// Entries that it has on disk; none before it was heard of.
    pub log_end: Option<u64>,
    /// When it last answered the leader, in ms since 1970; -1: never in this term.
    pub heard_ms: i64,
    /// When it last had everything, in ms since 1970; -1: never in this term.
    pub caught_up_ms: i64,
}

/// The membership as the leader's Raft knows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Roll {
    /// Two sets while one is being replaced by the other.
    pub(super) configs: Vec<BTreeSet<Voter>>,
    /// The newest membership is committed.
    pub(super) settled: bool,
    pub(super) addresses: BTreeMap<Voter, String>,
    /// Members that have everything that is committed.
    pub(super) caught_up: BTreeSet<Voter>,
    /// For how long each member has not answered; nothing of those that never did in this term.
    pub(super) silent: BTreeMap<Voter, Duration>,
}

/// A broker's last sign of life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) at: Instant,
    /// Where its control listener is; empty where it did not say.
    pub(super) address: String,
    /// `controller.quorum.auto.join.enable`.
    pub(super) wants_vote: bool,
}

/// Members' last signs of life in this term.
pub(super) type Signs = BTreeMap<Voter, Seen>;

/// Since when the leader knows each member, in this term. Who came only just had no time yet to give a sign of life.
#[derive(Debug, Clone)]
pub(super) struct Known {
    since: BTreeMap<Voter, Instant>,
    looked: Instant,
}

impl Known {
    /// Nobody yet.
    pub(super) fn new(now: Instant) -> Known {
        Known {
            since: BTreeMap::new(),
            looked: now,
        }
    }

    /// Who comes and goes; to be called all the time. A leader that was paused heard of nobody meanwhile, which says nothing
    /// about them: everybody's time begins anew.
    pub(super) fn look(&mut self, roll: &Roll, now: Instant) {
        if now - self.looked >= PAUSED_FOR {
            self.since.clear();
        }
        self.looked = now;
        self.since.retain(|member, _| roll.addresses.contains_key(member));
        for member in roll.addresses.keys() {
            self.since.entry(*member).or_insert(now);
        }
    }
}

/// One step of the membership.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// A change that an earlier leader began is ended.
    Settle,
    /// The member votes from now on; a voter of the same node with another directory does no longer.
    Promote { voter: Voter, replaces: Option<Voter> },
    /// The voter loses its vote; `stays`: it goes on as a member without one.
    Remove { voter: Voter, stays: bool },
    /// A member without a vote is forgotten: its directory is gone, or it is no broker.
    Forget(Voter),
    /// The member is elsewhere now.
    Move(Voter, String),
}

impl Roll {
    pub(super) fn voters(&self) -> BTreeSet<Voter> {
        self.configs.last().cloned().unwrap_or_default()
    }

    fn voter_of(&self, node: i32) -> Option<Voter> {
        self.voters().into_iter().find(|voter| voter.node == node)
    }
}

/// For how long it gave no sign of life and did not answer the leader's Raft; nothing where it never did in this term. A member
/// that catches up does not do the one yet, and a new leader has not heard of the other.
fn silence(roll: &Roll, signs: &Signs, voter: &Voter, now: Instant) -> Option<Duration> {
    let seen = signs.get(voter).map(|seen| now - seen.at);
    let silent = roll.silent.get(voter).copied();
    seen.into_iter().chain(silent).min()
}

fn alive(roll: &Roll, signs: &Signs, voter: &Voter, now: Instant) -> bool {
    silence(roll, signs, voter, now).is_some_and(|since| since < ALIVE_WITHIN)
}

/// What the leader changes by itself; none when all is as it should be, or a change is under way.
pub(super) fn next(roll: &Roll, signs: &Signs, now: Instant) -> Option<Change> {
    if !roll.settled {
        return None;
    }
    if roll.configs.len() > 1 {
        return Some(Change::Settle);
    }
    let voters = roll.voters();
    let living = || {
        roll.addresses
            .iter()
            .filter(|(voter, _)| alive(roll, signs, voter, now))
    };
    for (voter, address) in living() {
        let real = signs.get(voter).map(|seen| &seen.address);
        if let Some(real) = real.filter(|real| !real.is_empty() && *real != address) {
            return Some(Change::Move(*voter, real.clone()));
        }
    }
    let successor = |gone: &Voter| {
        !alive(roll, signs, gone, now) && living().any(|(voter, _)| voter.node == gone.node && voter != gone)
    };
    if let Some(gone) = roll
        .addresses
        .keys()
        .find(|member| !voters.contains(member) && successor(member))
    {
        return Some(Change::Forget(*gone));
    }
    let wants = |voter: &Voter| signs.get(voter).is_some_and(|seen| seen.wants_vote);
    let mut wanting = living()
        .map(|(voter, _)| *voter)
        .filter(|voter| !voters.contains(voter) && wants(voter) && roll.caught_up.contains(voter));
    wanting.find_map(|voter| match roll.voter_of(voter.node) {
        Some(older) => (!alive(roll, signs, &older, now)).then_some(Change::Promote {
            voter,
            replaces: Some(older),
        }),
        None => (voters.len() < MOST_VOTERS).then_some(Change::Promote {
            voter,
            replaces: None,
        }),
    })
}

/// Which member the leader forgets, where nothing else is to be changed: one without a vote that is registered as no broker and
/// has been silent for long. It was unregistered, or never came to register. The membership alone does not tell it from a newcomer.
pub(super) fn forgotten(
    roll: &Roll,
    signs: &Signs,
    known: &Known,
    registered: impl Fn(&Voter) -> bool,
    now: Instant,
) -> Option<Voter> {
    if !roll.settled || roll.configs.len() != 1 {
        return None;
    }
    let voters = roll.voters();
    let gone = |member: &Voter| {
        let known = known
            .since
            .get(member)
            .map_or(Duration::ZERO, |since| now - *since);
        let silent = silence(roll, signs, member, now).map_or(known, |silent| silent.min(known));
        silent >= FORGOTTEN_AFTER
    };
    let mut observers = roll
        .addresses
        .keys()
        .copied()
        .filter(|member| !voters.contains(member));
    observers.find(|member| !registered(member) && gone(member))
}

/// What AddRaftVoter does now: a change, or nothing yet (with the reason, for when the time is up), or a refusal.
pub(super) fn add(
    roll: &Roll,
    signs: &Signs,
    now: Instant,
    voter: Voter,
) -> Result<Result<Change, String>, Refused> {
    if let Some(there) = roll.voter_of(voter.node) {
        let message = if there == voter {
            format!("{voter} is a voter already")
        } else {
            format!(
                "node {} votes with another directory, as {there}; remove that voter first",
                voter.node
            )
        };
        return Err(Refused::new(ErrorCode::DuplicateVoter, message));
    }
    if roll.voters().len() >= MOST_VOTERS {
        let message = format!("{MOST_VOTERS} brokers vote already, and no more are served");
        return Err(Refused::new(ErrorCode::InvalidRequest, message));
    }
    if !roll.addresses.contains_key(&voter) {
        return Ok(Err(format!(
            "{voter} is no member of the metadata quorum: a broker becomes one by itself when it runs, has this \
             directory, and knows the voters"
        )));
    }
    if !alive(roll, signs, &voter, now) {
        return Ok(Err(format!("{voter} gives no sign of life")));
    }
    if !roll.caught_up.contains(&voter) {
        return Ok(Err(format!(
            "{voter} does not have everything that is committed yet"
        )));
    }
    Ok(ready(
        roll,
        Change::Promote {
            voter,
            replaces: None,
        },
    ))
}

/// What RemoveRaftVoter does now; see [`add`].
pub(super) fn remove(
    roll: &Roll,
    signs: &Signs,
    now: Instant,
    voter: Voter,
) -> Result<Result<Change, String>, Refused> {
    let voters = roll.voters();
    if !voters.contains(&voter) {
        let named: Vec<String> = voters.iter().map(Voter::to_string).collect();
        let message = format!("{voter} is no voter; voters are {}", named.join(", "));
        return Err(Refused::new(ErrorCode::VoterNotFound, message));
    }
    if voters.len() == 1 {
        let message = format!("{voter} is the only voter: without it nothing could be decided");
        return Err(Refused::new(ErrorCode::InvalidRequest, message));
    }
    if let Some(why) = left_without_majority(roll, signs, now, voter) {
        return Err(Refused::new(ErrorCode::InvalidRequest, why));
    }
    let stays = alive(roll, signs, &voter, now);
    Ok(ready(roll, Change::Remove { voter, stays }))
}

/// Why those who vote beside `voter` cannot do without it. The change needs a majority of them too, and once it was begun it
/// cannot be taken back: the quorum would decide nothing until enough of them return.
fn left_without_majority(roll: &Roll, signs: &Signs, now: Instant, voter: Voter) -> Option<String> {
    let left = roll.voters().into_iter().filter(|other| *other != voter);
    let (living, silent): (Vec<Voter>, Vec<Voter>) = left.partition(|other| alive(roll, signs, other, now));
    let all = living.len() + silent.len();
    let named: Vec<String> = silent.iter().map(Voter::to_string).collect();
    (living.len() * 2 <= all).then(|| {
        format!(
            "without {voter} there would be {all} voters, and of those {} give no sign of life: no majority could decide \
             anything; start them, or remove them first",
            named.join(", ")
        )
    })
}

/// Why the quorum cannot do without `node` now, in words; none where the other voters decide on, where it has no vote, or
/// where nobody else has one.
pub(super) fn missed(quorum: &Description, node: i32) -> Option<String> {
    let votes = quorum.voters.iter().any(|member| member.voter.node == node);
    if !votes || quorum.voters.len() == 1 {
        return None;
    }
    // The leader hears of itself at this moment: its clock, which may not be ours.
    let members = quorum.voters.iter().chain(&quorum.observers);
    let now_ms = members.map(|member| member.heard_ms).max().unwrap_or(-1);
    let lately = |member: &&Member| {
        let silent_ms = u128::try_from(now_ms - member.heard_ms).unwrap_or(u128::MAX);
        member.heard_ms >= 0 && silent_ms < ALIVE_WITHIN.as_millis()
    };
    let others = quorum.voters.iter().filter(|member| member.voter.node != node);
    let (left, silent): (Vec<_>, Vec<_>) = others.partition(lately);
    let needed = quorum.voters.len() / 2 + 1;
    if left.len() >= needed {
        return None;
    }
    let mut words = format!(
        "without it {} of {} voters of the metadata quorum are left, {needed} are needed to decide anything",
        left.len(),
        quorum.voters.len()
    );
    if !silent.is_empty() {
        let named: Vec<String> = silent
            .iter()
            .map(|member| member.voter.node.to_string())
            .collect();
        words.push_str(&format!("; not heard of lately: {}", named.join(", ")));
    }
    Some(words)
}

fn ready(roll: &Roll, change: Change) -> Result<Change, String> {
    if roll.settled && roll.configs.len() == 1 {
        Ok(change)
    } else {
        Err("an earlier change of the voters is not finished".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voter(node: i32, directory: u8) -> Voter {
        Voter {
            node,
            directory: [directory; 16],
        }
    }

    fn at(node: i32) -> String {
        format!("broker-{node}:9088")
    }

    fn roll(voters: &[Voter], observers: &[Voter]) -> Roll {
        let members: BTreeSet<Voter> = voters.iter().chain(observers).copied().collect();
        Roll {
            configs: vec![voters.iter().copied().collect()],
            settled: true,
            addresses: members.iter().map(|member| (*member, at(member.node))).collect(),
            caught_up: members,
            silent: BTreeMap::new(),
        }
    }

    fn now() -> Instant {
        crate::rt::now()
    }

    fn signs(members: &[Voter]) -> Signs {
        let seen = |member: &Voter| Seen {
            at: now(),
            address: at(member.node),
            wants_vote: true,
        };
        members.iter().map(|member| (*member, seen(member))).collect()
    }

    #[test]
    fn a_member_that_wants_to_votes_once_it_lives_and_knows_everything() {
        let (zero, one) = (voter(0, 1), voter(1, 1));
        let mut roll = roll(&[zero], &[one]);
        let mut signs = signs(&[zero, one]);
        let promote = Some(Change::Promote {
            voter: one,
            replaces: None,
        });
        assert_eq!(next(&roll, &signs, now()), promote);
        assert_eq!(next(&roll, &signs, now() + ALIVE_WITHIN), None, "not heard of");
        roll.caught_up.remove(&one);
        assert_eq!(next(&roll, &signs, now()), None, "behind");
        roll.caught_up.insert(one);
        roll.settled = false;
        assert_eq!(next(&roll, &signs, now()), None, "one change at a time");
        roll.settled = true;
        signs.get_mut(&one).unwrap().wants_vote = false;
        assert_eq!(next(&roll, &signs, now()), None, "nobody asked");
    }

    #[test]
    fn a_node_with_a_new_directory_replaces_its_older_self() {
        let (zero, one, old, new) = (voter(0, 1), voter(1, 1), voter(2, 1), voter(2, 2));
        let roll = roll(&[zero, one, old], &[new]);
        let replace = Some(Change::Promote {
            voter: new,
            replaces: Some(old),
        });
        assert_eq!(next(&roll, &signs(&[zero, one, new]), now()), replace);
        let both = signs(&[zero, one, old, new]);
        assert_eq!(
            next(&roll, &both, now()),
            None,
            "two processes say they are node 2"
        );
    }

    #[test]
    fn a_sixth_vote_is_not_given() {
        let five: Vec<Voter> = (0..5).map(|node| voter(node, 1)).collect();
        let sixth = voter(5, 1);
        let roll = roll(&five, &[sixth]);
        let all: Vec<Voter> = five.iter().copied().chain([sixth]).collect();
        assert_eq!(next(&roll, &signs(&all), now()), None);
        let refused = add(&roll, &signs(&all), now(), sixth).unwrap_err();
        assert_eq!(refused.code, ErrorCode::InvalidRequest);
    }

    #[test]
    fn a_change_that_was_left_half_done_is_ended_first() {
        let (zero, one) = (voter(0, 1), voter(1, 1));
        let mut roll = roll(&[zero], &[one]);
        roll.configs.push([zero, one].into());
        assert_eq!(next(&roll, &signs(&[zero, one]), now()), Some(Change::Settle));
        assert!(remove(&roll, &signs(&[zero, one]), now(), one).unwrap().is_err());
    }

    #[test]
    fn observers_are_forgotten_and_moved() {
        let (zero, old, new) = (voter(0, 1), voter(7, 1), voter(7, 2));
        let roll = roll(&[zero], &[old, new]);
        let mut signs = signs(&[zero, new]);
        signs.get_mut(&new).unwrap().wants_vote = false;
        assert_eq!(next(&roll, &signs, now()), Some(Change::Forget(old)));
        signs.get_mut(&zero).unwrap().address = "elsewhere:1".into();
        assert_eq!(
            next(&roll, &signs, now()),
            Some(Change::Move(zero, "elsewhere:1".into()))
        );
    }

    /// One row: for how many seconds the leader knows the observer, how long ago its last sign of life and its last answer were
    /// (nothing: never), whether it is registered, and whether it is forgotten.
    #[test]
    fn an_observer_that_is_no_broker_is_forgotten_once_it_is_silent_for_long() {
        type Row = (&'static str, u64, Option<u64>, Option<u64>, bool, bool);
        const LONG: u64 = FORGOTTEN_AFTER.as_secs();
        let rows: &[Row] = &[
            ("never heard of", LONG, None, None, false, true),
            ("it had no time yet", LONG - 1, None, None, false, false),
            ("it answers", 3 * LONG, None, Some(0), false, false),
            (
                "it answered not long ago",
                3 * LONG,
                Some(2 * LONG),
                Some(LONG - 1),
                false,
                false,
            ),
            ("it asked to join", 3 * LONG, Some(LONG - 1), None, false, false),
            ("it answered once", 3 * LONG, None, Some(LONG), false, true),
            ("it asked once", 3 * LONG, Some(LONG), None, false, true),
            (
                "both are long ago",
                3 * LONG,
                Some(2 * LONG),
                Some(LONG),
                false,
                true,
            ),
            ("the leader was paused", 1, Some(LONG), Some(LONG), false, false),
            ("a broker that is away", 3 * LONG, None, Some(LONG), true, false),
        ];
        let (zero, one) = (voter(0, 1), voter(1, 1));
        let end = now() + Duration::from_secs(3 * LONG);
        let ago = |seconds: u64| end.before(Duration::from_secs(seconds));
        for (words, known_for, seen, answered, registered, wanted) in rows {
            let mut roll = roll(&[zero], &[one]);
            let answered = answered.map(|seconds| (one, Duration::from_secs(seconds)));
            roll.silent.extend(answered);
            let seen = seen.map(|seconds| Seen {
                at: ago(seconds),
                address: String::new(),
                wants_vote: false,
            });
            let signs: Signs = seen.into_iter().map(|seen| (one, seen)).collect();
            let mut known = Known::new(ago(*known_for));
            known.look(&roll, ago(*known_for));
            let found = forgotten(&roll, &signs, &known, |_| *registered, end);
            assert_eq!(found, wanted.then_some(one), "{words}");
        }
    }

    #[test]
    fn no_voter_is_forgotten_and_nobody_while_members_change() {
        let (zero, one, two) = (voter(0, 1), voter(1, 1), voter(2, 1));
        let mut roll = roll(&[zero, one], &[two]);
        let began = now();
        let mut known = Known::new(began);
        known.look(&roll, began);
        let find = |roll: &Roll| {
            let later = began + FORGOTTEN_AFTER;
            forgotten(roll, &Signs::new(), &known, |_| false, later)
        };
        assert_eq!(find(&roll), Some(two), "the only one without a vote");
        roll.settled = false;
        assert_eq!(find(&roll), None, "one change at a time");
        roll.settled = true;
        roll.configs.push([zero].into());
        assert_eq!(find(&roll), None, "a change is half done");
    }

    #[test]
    fn a_member_has_its_whole_time_from_when_the_leader_knows_it_and_hears() {
        let (zero, one, two) = (voter(0, 1), voter(1, 1), voter(2, 1));
        let (before, after) = (roll(&[zero], &[one]), roll(&[zero], &[one, two]));
        let began = now();
        let mut known = Known::new(began);
        let find =
            |roll: &Roll, known: &Known, at: Instant| forgotten(roll, &Signs::new(), known, |_| false, at);
        let mut at = began;
        while at < began + FORGOTTEN_AFTER {
            known.look(&before, at);
            at = at + Duration::from_secs(1);
        }
        assert_eq!(find(&after, &known, at), Some(one));
        assert_eq!(
            find(&roll(&[zero], &[two]), &known, at),
            None,
            "it came after the last look"
        );
        known.look(&after, at);
        assert_eq!(find(&roll(&[zero], &[two]), &known, at), None, "it came just now");
        let paused = at + FORGOTTEN_AFTER;
        known.look(&after, paused);
        assert_eq!(find(&after, &known, paused), None, "the leader heard of nobody");
        assert_eq!(find(&after, &known, paused + FORGOTTEN_AFTER), Some(one));
    }

    #[test]
    fn adding_is_refused_or_waits_in_words() {
        let (zero, one) = (voter(0, 1), voter(1, 1));
        let alone = roll(&[zero], &[]);
        let code = |voter| add(&alone, &signs(&[zero]), now(), voter).unwrap_err().code;
        assert_eq!(code(zero), ErrorCode::DuplicateVoter);
        assert_eq!(code(voter(0, 9)), ErrorCode::DuplicateVoter);
        let waits = |roll: &Roll, signs: &Signs| add(roll, signs, now(), one).unwrap().unwrap_err();
        assert!(waits(&alone, &signs(&[zero])).contains("no member"));
        let mut known = roll(&[zero], &[one]);
        assert!(waits(&known, &signs(&[zero])).contains("no sign of life"));
        known.caught_up.remove(&one);
        assert!(waits(&known, &signs(&[zero, one])).contains("committed"));
        known.caught_up.insert(one);
        let added = add(&known, &signs(&[zero, one]), now(), one).unwrap();
        assert_eq!(
            added,
            Ok(Change::Promote {
                voter: one,
                replaces: None
            })
        );
    }

    #[test]
    fn a_voter_that_the_others_need_for_their_majority_is_not_removed() {
        let (zero, one, two) = (voter(0, 1), voter(1, 1), voter(2, 1));
        let three = roll(&[zero, one, two], &[]);
        let without_two = signs(&[zero, one]);
        let asked = |gone| remove(&three, &without_two, now(), gone);
        let refused = asked(one).unwrap_err();
        assert_eq!(refused.code, ErrorCode::InvalidRequest);
        assert!(refused.message.contains(&two.to_string()), "{refused}");
        assert!(asked(zero).is_err());
        let stays = false;
        assert_eq!(asked(two).unwrap(), Ok(Change::Remove { voter: two, stays }));
        let all = signs(&[zero, one, two]);
        let stays = true;
        let removed = remove(&three, &all, now(), one).unwrap();
        assert_eq!(removed, Ok(Change::Remove { voter: one, stays }));
    }

    #[test]
    fn removing_names_a_voter_and_leaves_one() {
        let (zero, one) = (voter(0, 1), voter(1, 1));
        let two = roll(&[zero, one], &[]);
        let gone = signs(&[zero]);
        let refused = remove(&two, &gone, now(), voter(1, 9)).unwrap_err();
        assert_eq!(refused.code, ErrorCode::VoterNotFound);
        let last = remove(&roll(&[zero], &[one]), &gone, now(), zero).unwrap_err();
        assert_eq!(last.code, ErrorCode::InvalidRequest);
        let removed = |signs: &Signs| remove(&two, signs, now(), one).unwrap();
        assert_eq!(
            removed(&gone),
            Ok(Change::Remove {
                voter: one,
                stays: false
            })
        );
        assert_eq!(
            removed(&signs(&[zero, one])),
            Ok(Change::Remove {
                voter: one,
                stays: true
            })
        );
    }

    /// One row: the voters and for how long each is silent (-1: never heard of), who is to stop, and who is left.
    #[test]
    fn a_voter_stops_only_while_the_others_heard_of_lately_are_a_majority() {
        type Row = (&'static str, &'static [(i32, i64)], i32, Option<&'static str>);
        const LATELY: i64 = 300;
        let rows: &[Row] = &[
            ("all are heard", &[(0, 0), (1, LATELY), (2, LATELY)], 1, None),
            ("the leader itself", &[(0, 0), (1, LATELY), (2, LATELY)], 0, None),
            (
                "another is away",
                &[(0, 0), (1, LATELY), (2, 5000)],
                1,
                Some("not heard of lately: 2"),
            ),
            (
                "another was never heard of",
                &[(0, 0), (1, LATELY), (2, -1)],
                0,
                Some("not heard of lately: 2"),
            ),
            (
                "it is the one that is away",
                &[(0, 0), (1, LATELY), (2, 5000)],
                2,
                None,
            ),
            (
                "two of five are away",
                &[(0, 0), (1, 1), (2, 1), (3, 9000), (4, 9000)],
                1,
                Some("2 of 5"),
            ),
            (
                "one of five is away",
                &[(0, 0), (1, 1), (2, 1), (3, 1), (4, 9000)],
                1,
                None,
            ),
            ("it has no vote", &[(0, 0), (1, 5000), (2, 5000)], 7, None),
            ("it is the only one", &[(0, 0)], 0, None),
            (
                "one became two, and the third is to come",
                &[(0, 0), (1, LATELY)],
                0,
                Some("1 of 2"),
            ),
        ];
        let wall = 1_000_000;
        for (words, voters, node, wanted) in rows {
            let member = |&(node, silent): &(i32, i64)| Member {
                voter: voter(node, 1),
                address: at(node),
                log_end: Some(1),
                heard_ms: if silent < 0 { -1 } else { wall - silent },
                caught_up_ms: -1,
            };
            let quorum = Description {
                leader: voter(0, 1),
                term: 1,
                high_watermark: 1,
                voters: voters.iter().map(member).collect(),
                observers: Vec::new(),
            };
            let found = missed(&quorum, *node);
            assert_eq!(found.is_some(), wanted.is_some(), "{words}: {found:?}");
            if let (Some(found), Some(wanted)) = (found, wanted) {
                assert!(found.contains(wanted), "{words}: {found}");
            }
        }
    }
}
