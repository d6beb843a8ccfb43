//! One group: its members, its states and the legal moves between them, and the arithmetic over members (votes for a
//! protocol, who still has to join). Who is answered when is in `membership.rs` and `rebalance.rs`.
//!
//! ```text
//!             first join                 all joined              leader's assignment
//!   Empty ───────────────▶ Preparing ───────────────▶ Completing ───────────────▶ Stable
//!     ▲                     ▲  │  ▲                       │                          │
//!     └──── nobody left ────┼──┘  └──── member change ────┴──────────────────────────┘
//! ```
//! Dead is what a group is called that we do not hold; it is not a state of one that we do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use super::subscription;
use crate::state_machine::Ticket;

/// The protocol type of Kafka's consumers; only theirs are looked into.
pub(super) const CONSUMER: &str = "consumer";

/// Where a group is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// No members; offsets may be kept.
    Empty,
    /// Waits for its members to join again.
    PreparingRebalance,
    /// All joined; waits for the leader's assignment.
    CompletingRebalance,
    /// Members have their assignment.
    Stable,
}

impl State {
    /// Kafka's name, as ListGroups and DescribeGroups say it.
    pub(super) fn name(self) -> &'static str {
        match self {
            State::Empty => "Empty",
            State::PreparingRebalance => "PreparingRebalance",
            State::CompletingRebalance => "CompletingRebalance",
            State::Stable => "Stable",
        }
    }

    fn may_become(self, next: State) -> bool {
        use State::{CompletingRebalance, Empty, PreparingRebalance, Stable};
        matches!(
            (self, next),
            (Empty | CompletingRebalance | Stable, PreparingRebalance)
                | (PreparingRebalance, Empty | CompletingRebalance)
                | (CompletingRebalance, Stable)
        )
    }
}

/// Kafka's name for a group that we do not hold.
pub(super) const DEAD: &str = "Dead";

/// One member of a group.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) id: Arc<str>,
    /// `group.instance.id` of a static member.
    pub(super) instance: Option<Arc<str>>,
    pub(super) client_id: Arc<str>,
    pub(super) client_host: Arc<str>,
    pub(super) rebalance_timeout_ms: i32,
    pub(super) session_timeout_ms: i32,
    /// What it can do, best first, with the metadata for each; only it and the leader read that.
    pub(super) protocols: Vec<(Arc<str>, Bytes)>,
    pub(super) assignment: Bytes,
    /// Has not seen the answer to its first join yet, and can send no heartbeat.
    pub(super) is_new: bool,
    joining: Option<Ticket>,
    pub(super) syncing: Option<Ticket>,
}

impl Member {
    /// A member with nothing but its names.
    pub(super) fn new(id: Arc<str>, instance: Option<Arc<str>>) -> Member {
        Member {
            id,
            instance,
            client_id: Arc::from(""),
            client_host: Arc::from(""),
            rebalance_timeout_ms: 0,
            session_timeout_ms: 0,
            protocols: Vec::new(),
            assignment: Bytes::new(),
            is_new: false,
            joining: None,
            syncing: None,
        }
    }

    /// Its metadata for one protocol.
    pub(super) fn metadata(&self, protocol: &str) -> Option<Bytes> {
        self.protocols
            .iter()
            .find(|(name, _)| &**name == protocol)
            .map(|(_, metadata)| metadata.clone())
    }

    /// Whether its JoinGroup is parked.
    pub(super) fn is_joining(&self) -> bool {
        self.joining.is_some()
    }
}

/// The time a group gives to more members after its first one came (`group.initial.rebalance.delay.ms`).
#[derive(Clone, Copy, Debug)]
pub(super) struct InitialDelay {
    pub(super) delay_ms: i64,
    pub(super) remaining_ms: i64,
}

/// One group as the coordinator works with it.
#[derive(Clone, Debug)]
pub(super) struct Group {
    state: State,
    previous: State,
    since_ms: Option<i64>,
    pub(super) generation: i32,
    /// `consumer`, `connect`, ...; none for a group that only ever stored offsets.
    pub(super) protocol_type: Option<Arc<str>>,
    /// The assignor of the generation.
    pub(super) protocol: Option<Arc<str>>,
    pub(super) leader: Option<Arc<str>>,
    members: BTreeMap<Arc<str>, Member>,
    statics: BTreeMap<Arc<str>, Arc<str>>,
    /// Members by protocol: one that all support may be chosen.
    supporters: BTreeMap<Arc<str>, usize>,
    joining: usize,
    /// Member ids that were given out and have not joined with them yet.
    pub(super) pending: BTreeSet<Arc<str>>,
    /// Members of this generation that have not fetched their assignment.
    pub(super) pending_sync: BTreeSet<Arc<str>>,
    pub(super) initial_delay: Option<InitialDelay>,
    /// Somebody joined during the initial delay: it may be extended.
    pub(super) new_member_added: bool,
    subscribed: Option<BTreeSet<Arc<str>>>,
}

impl Group {
    /// A group that nobody has joined yet.
    pub(super) fn new(now_ms: i64) -> Group {
        Group::at_rest(State::Empty, 0, Some(now_ms))
    }

    /// A group with no rebalance under way, as a record describes it.
    pub(super) fn at_rest(state: State, generation: i32, since_ms: Option<i64>) -> Group {
        Group {
            state,
            previous: state,
            since_ms,
            generation,
            protocol_type: None,
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            statics: BTreeMap::new(),
            supporters: BTreeMap::new(),
            joining: 0,
            pending: BTreeSet::new(),
            pending_sync: BTreeSet::new(),
            initial_delay: None,
            new_member_added: false,
            subscribed: None,
        }
    }

    pub(super) fn state(&self) -> State {
        self.state
    }

    /// Whether the rebalance under way began when the group had no members.
    pub(super) fn was_empty(&self) -> bool {
        self.previous == State::Empty
    }

    /// Wall time of the last change of state.
    pub(super) fn since_ms(&self) -> Option<i64> {
        self.since_ms
    }

    /// The only way to change the state.
    pub(super) fn become_state(&mut self, next: State, now_ms: i64) {
        assert!(
            self.state.may_become(next),
            "a group cannot go from {:?} to {next:?}",
            self.state
        );
        self.previous = self.state;
        self.state = next;
        self.since_ms = Some(now_ms);
    }

    pub(super) fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    pub(super) fn member_ids(&self) -> Vec<Arc<str>> {
        self.members.keys().cloned().collect()
    }

    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub(super) fn member(&self, id: &str) -> Option<&Member> {
        self.members.get(id)
    }

    /// For changes that leave its protocols and its parked join alone: those are counted.
    pub(super) fn member_mut(&mut self, id: &str) -> Option<&mut Member> {
        self.members.get_mut(id)
    }

    pub(super) fn static_member(&self, instance: &str) -> Option<Arc<str>> {
        self.statics.get(instance).cloned()
    }

    pub(super) fn is_leader(&self, id: &str) -> bool {
        self.leader.as_deref() == Some(id)
    }

    /// Takes a member in; the first one leads.
    pub(super) fn add(&mut self, member: Member) {
        self.pending.remove(&member.id);
        self.leader.get_or_insert_with(|| member.id.clone());
        if let Some(instance) = &member.instance {
            self.statics.insert(instance.clone(), member.id.clone());
        }
        self.count(&member, true);
        self.members.insert(member.id.clone(), member);
    }

    /// Forgets a member, pending or not; who led is followed by another one.
    pub(super) fn remove(&mut self, id: &str) -> Option<Member> {
        self.pending.remove(id);
        self.pending_sync.remove(id);
        let member = self.members.remove(id)?;
        self.count(&member, false);
        if let Some(instance) = &member.instance {
            self.statics.remove(instance);
        }
        if self.is_leader(id) {
            self.leader = self.members.keys().next().cloned();
        }
        Some(member)
    }

    /// Puts the new process of a static member in the place of the old one, which is returned. It keeps the assignment.
    pub(super) fn replace_static(&mut self, old: &str, new: Arc<str>) -> Option<Member> {
        let led = self.is_leader(old);
        let gone = self.remove(old)?;
        let mut member = gone.clone();
        member.id = new.clone();
        member.joining = None;
        member.syncing = None;
        self.add(member);
        if led {
            self.leader = Some(new);
        }
        Some(gone)
    }

    /// What a member says it can do now.
    pub(super) fn set_protocols(&mut self, id: &str, protocols: Vec<(Arc<str>, Bytes)>) {
        let Some(mut member) = self.members.remove(id) else {
            return;
        };
        self.count(&member, false);
        member.protocols = protocols;
        self.count(&member, true);
        self.members.insert(member.id.clone(), member);
    }

    /// Parks a member's JoinGroup; an older one of it that nobody waits for any more is returned.
    pub(super) fn park_join(&mut self, id: &str, ticket: Ticket) -> Option<Ticket> {
        let before = self.members.get_mut(id)?.joining.replace(ticket);
        self.joining += usize::from(before.is_none());
        before
    }

    /// Takes a member's parked JoinGroup to answer it.
    pub(super) fn unpark_join(&mut self, id: &str) -> Option<Ticket> {
        let parked = self.members.get_mut(id)?.joining.take();
        self.joining -= usize::from(parked.is_some());
        parked
    }

    fn count(&mut self, member: &Member, came: bool) {
        let step = |count: &mut usize| if came { *count += 1 } else { *count -= 1 };
        let mut seen = BTreeSet::new();
        for (name, _) in &member.protocols {
            // A client may name one twice; it still is one supporter.
            if seen.insert(name) {
                step(self.supporters.entry(name.clone()).or_default());
            }
        }
        self.supporters.retain(|_, count| *count > 0);
        if member.joining.is_some() {
            step(&mut self.joining);
        }
    }

    /// Members whose JoinGroup is parked.
    pub(super) fn joining(&self) -> usize {
        self.joining
    }

    /// Nobody is missing any more in the join phase.
    pub(super) fn all_joined(&self) -> bool {
        self.joining == self.members.len() && self.pending.is_empty()
    }

    /// The longest any member asked for.
    pub(super) fn rebalance_timeout_ms(&self) -> i64 {
        self.members
            .values()
            .map(|member| i64::from(member.rebalance_timeout_ms))
            .max()
            .unwrap_or(0)
    }

    /// Whether somebody of this protocol type who offers these protocols can be a member beside those there are.
    pub(super) fn supports<'a>(&self, kind: &str, mut offered: impl Iterator<Item = &'a str>) -> bool {
        if self.state == State::Empty {
            return !kind.is_empty() && offered.next().is_some();
        }
        self.protocol_type.as_deref() == Some(kind)
            && offered.any(|name| self.supporters.get(name).copied().unwrap_or(0) == self.members.len())
    }

    /// The protocol with most votes among those that every member supports; each votes for the first it offers. Equal
    /// votes are decided by name, so that the choice does not depend on the order of joins.
    pub(super) fn elect_protocol(&self) -> Option<Arc<str>> {
        let everyone = |name: &str| self.supporters.get(name) == Some(&self.members.len());
        let mut votes: BTreeMap<&Arc<str>, usize> = BTreeMap::new();
        for member in self.members.values() {
            let (choice, _) = member.protocols.iter().find(|(name, _)| everyone(name))?;
            *votes.entry(choice).or_default() += 1;
        }
        let most = votes.values().copied().max()?;
        votes
            .into_iter()
            .find(|(_, count)| *count == most)
            .map(|(name, _)| name.clone())
    }

    /// A leader that did not join again is followed by one that did. False if nobody did.
    pub(super) fn elect_leader_among_joined(&mut self) -> bool {
        let Some(leader) = &self.leader else { return false };
        if self.members.get(leader).is_some_and(Member::is_joining) {
            return true;
        }
        match self.members.values().find(|member| member.is_joining()) {
            Some(member) => {
                self.leader = Some(member.id.clone());
                true
            }
            None => false,
        }
    }

    /// Reads from the members' metadata which topics a consumer group uses: offsets of those do not expire.
    pub(super) fn learn_subscriptions(&mut self) {
        self.subscribed = self.subscriptions();
    }

    fn subscriptions(&self) -> Option<BTreeSet<Arc<str>>> {
        if self.protocol_type.as_deref() != Some(CONSUMER) {
            return None;
        }
        let mut topics = BTreeSet::new();
        for member in self.members.values() {
            let metadata = self.protocol.as_deref().and_then(|name| member.metadata(name))?;
            topics.extend(subscription::topics(&metadata)?.into_iter().map(Arc::<str>::from));
        }
        Some(topics)
    }

    /// Whether the topics in use are known.
    pub(super) fn knows_subscriptions(&self) -> bool {
        self.subscribed.is_some()
    }

    /// Whether a consumer of this group reads the topic; yes if we cannot know.
    pub(super) fn is_subscribed_to(&self, topic: &str) -> bool {
        match &self.subscribed {
            Some(topics) => topics.contains(topic),
            None => self.protocol_type.as_deref() == Some(CONSUMER),
        }
    }
}
