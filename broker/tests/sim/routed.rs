//! A client of a whole cluster: it learns who leads, asks there, and looks again when it is told so or hears nothing.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt::Debug;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use broker::rt;
use bytes::Bytes;
use protocol::messages::find_coordinator::FindCoordinatorRequest;
use protocol::messages::list_offsets::{
    ListOffsetsRequest, ListOffsetsRequestTopic, ListOffsetsRequestTopicPartition,
};
use protocol::messages::metadata::{MetadataRequest, MetadataResponse};
use protocol::{ErrorCode, Request, Str};

use crate::client::{Client, Fetched, Identity, metadata_request};
use crate::life::Tally;

/// Between two tries.
const AGAIN_AFTER: Duration = Duration::from_millis(20);
/// Virtual: how long one try may take before another broker is asked.
const TRY: Duration = Duration::from_secs(5);

/// Whether a change is there, by this request or an earlier one that was not heard of (`before` says so).
fn settled(code: ErrorCode, before: ErrorCode) -> bool {
    let settled = code == ErrorCode::None || code == before;
    assert!(settled || code.retriable(), "{code:?}");
    settled
}

/// How often something was asked for until it was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tries(u64);

impl Tries {
    /// Whether nothing of it can happen any more.
    pub(crate) fn are_over(self) -> bool {
        self.0 == 1
    }
}

/// Who leads a partition.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leads {
    pub(crate) leader: i32,
    pub(crate) epoch: i32,
    address: SocketAddr,
}

/// Who leads, by partition.
fn leaders_in(answer: &MetadataResponse) -> BTreeMap<i32, Leads> {
    let address = |leader: i32| {
        let broker = answer.brokers.iter().find(|broker| broker.node_id == leader)?;
        format!("{}:{}", broker.host, broker.port).parse().ok()
    };
    let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
    let led = partitions.filter_map(|found| {
        let leads = Leads {
            leader: found.leader_id,
            epoch: found.leader_epoch,
            address: address(found.leader_id)?,
        };
        Some((found.partition_index, leads))
    });
    led.collect()
}

pub(crate) struct Routed {
    seeds: Vec<SocketAddr>,
    connections: BTreeMap<SocketAddr, Client>,
    /// By topic and partition.
    leaders: BTreeMap<String, BTreeMap<i32, Leads>>,
    coordinator: Option<SocketAddr>,
    pub(crate) tally: Tally,
    /// Odd while a fault is under way.
    faults: Rc<Cell<u64>>,
}

impl Routed {
    pub(crate) fn new(seeds: Vec<SocketAddr>) -> Routed {
        Routed {
            seeds,
            connections: BTreeMap::new(),
            leaders: BTreeMap::new(),
            coordinator: None,
            tally: Tally::default(),
            faults: Rc::default(),
        }
    }

    /// Counts which operations overlap a fault: `faults` is odd while one is under way.
    pub(crate) fn beside(mut self, faults: Rc<Cell<u64>>) -> Routed {
        self.faults = faults;
        self
    }

    /// A broker picked by seed.
    fn any(&self) -> SocketAddr {
        self.seeds[(rt::random_u64() % self.seeds.len() as u64) as usize]
    }

    async fn at(&mut self, address: SocketAddr) -> io::Result<&mut Client> {
        if let Entry::Vacant(place) = self.connections.entry(address) {
            let connected = rt::timeout(TRY, Client::connect(address)).await;
            place.insert(connected.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??);
        }
        Ok(self.connections.get_mut(&address).expect("just put there"))
    }

    /// One request at one broker; a connection that fails or is silent is given up.
    pub(crate) async fn ask<T>(
        &mut self,
        address: SocketAddr,
        ask: impl AsyncFnOnce(&mut Client) -> io::Result<T>,
    ) -> Option<T> {
        let before = self.faults.get();
        let answered = match self.at(address).await {
            Ok(client) => rt::timeout(TRY, ask(client)).await.map_err(|_| ()),
            Err(_) => Err(()),
        };
        let beside = before % 2 == 1 || before != self.faults.get();
        self.tally.operations += 1;
        self.tally.beside_faults += u64::from(beside);
        match answered {
            Ok(Ok(answer)) => Some(answer),
            _ => {
                tracing::debug!(at = %address, "no answer");
                self.connections.remove(&address);
                None
            }
        }
    }

    /// Asks anybody until there is an answer that `accept` takes.
    pub(crate) async fn anybody<T>(
        &mut self,
        ask: impl AsyncFnMut(&mut Client) -> io::Result<T>,
        accept: impl Fn(&T) -> bool,
    ) -> T {
        self.tried(ask, accept).await.0
    }

    /// The same, and after how many tries. What was tried before may be on its way still and happen later.
    async fn tried<T>(
        &mut self,
        mut ask: impl AsyncFnMut(&mut Client) -> io::Result<T>,
        accept: impl Fn(&T) -> bool,
    ) -> (T, Tries) {
        let mut tries = 1;
        loop {
            let address = self.any();
            if let Some(answer) = self.ask(address, &mut ask).await.filter(&accept) {
                return (answer, Tries(tries));
            }
            tries += 1;
            rt::sleep(AGAIN_AFTER).await;
        }
    }

    /// Makes a topic with as many replicas as the brokers give it.
    pub(crate) async fn create(&mut self, topic: &str, partitions: i32) -> Tries {
        let done = |code: &ErrorCode| settled(*code, ErrorCode::TopicAlreadyExists);
        self.tried(async |client| client.create_topic(topic, partitions).await, done)
            .await
            .1
    }

    /// Gives a topic so many partitions, if it has fewer.
    pub(crate) async fn raise(&mut self, topic: &str, partitions: i32) {
        let done = |code: &ErrorCode| settled(*code, ErrorCode::InvalidPartitions);
        self.anybody(
            async |client| client.create_partitions(topic, partitions).await,
            done,
        )
        .await;
    }

    pub(crate) async fn configure(&mut self, topic: &str, property: &str, value: &str) -> Tries {
        let done = |code: &ErrorCode| settled(*code, ErrorCode::None);
        self.tried(
            async |client| client.configure(topic, property, value).await,
            done,
        )
        .await
        .1
    }

    pub(crate) async fn delete(&mut self, topic: &str) {
        let done = |code: &ErrorCode| settled(*code, ErrorCode::UnknownTopicOrPartition);
        self.anybody(async |client| client.delete_topic(topic).await, done)
            .await;
    }

    pub(crate) async fn producer_id(&mut self) -> Identity {
        self.anybody(async |client| client.producer_id().await, |_| true)
            .await
    }

    /// What any broker says of a topic.
    async fn described(&mut self, topic: &str) -> Option<MetadataResponse> {
        let request = MetadataRequest {
            allow_auto_topic_creation: false,
            ..metadata_request(topic)
        };
        let address = self.any();
        self.ask(address, async |client| client.call(12, &request).await)
            .await
    }

    async fn learn(&mut self, topic: &str) {
        if let Some(answer) = self.described(topic).await {
            self.leaders.insert(topic.to_string(), leaders_in(&answer));
        }
    }

    /// Who leads a partition, as any broker says.
    pub(crate) async fn try_leader(&mut self, topic: &str, partition: i32) -> Option<Leads> {
        leaders_in(&self.described(topic).await?).remove(&partition)
    }

    /// Whoever leads it, it is not who was thought.
    fn forget_leader(&mut self, topic: &str, partition: i32) {
        if let Some(leaders) = self.leaders.get_mut(topic) {
            leaders.remove(&partition);
        }
    }

    /// The high watermark of a partition, if its leader says so and leads in that epoch still.
    pub(crate) async fn try_latest(&mut self, topic: &str, partition: i32, leads: &Leads) -> Option<i64> {
        const LATEST: i64 = -1;
        let request = ListOffsetsRequest {
            replica_id: -1,
            topics: vec![ListOffsetsRequestTopic {
                name: Str::copy_from(topic),
                partitions: vec![ListOffsetsRequestTopicPartition {
                    partition_index: partition,
                    current_leader_epoch: leads.epoch,
                    timestamp: LATEST,
                }],
            }],
            ..Default::default()
        };
        let answer = self
            .ask(leads.address, async |client| client.call(7, &request).await)
            .await?;
        let answer = answer.topics.first()?.partitions.first()?;
        (answer.error_code == 0).then_some(answer.offset)
    }

    /// The leader of a partition, as soon as somebody knows one.
    async fn leader(&mut self, topic: &str, partition: i32) -> Leads {
        let mut learned = false;
        loop {
            if let Some(leader) = self.leaders.get(topic).and_then(|them| them.get(&partition)) {
                return *leader;
            }
            if learned {
                rt::sleep(AGAIN_AFTER).await;
            }
            self.learn(topic).await;
            learned = true;
        }
    }

    /// One try to produce with `acks=all`; none if it was not acknowledged, which says nothing about the records.
    pub(crate) async fn try_produce(&mut self, topic: &str, partition: i32, batch: Bytes) -> Option<i64> {
        let leader = self.leader(topic, partition).await.address;
        let produce = async |client: &mut Client| client.produce(topic, partition, batch).await;
        match self.ask(leader, produce).await {
            Some(Ok(base)) => Some(base),
            Some(Err(code)) => {
                assert!(
                    code.retriable(),
                    "{topic}-{partition} at {leader}: {code:?}, at {} ms",
                    rt::wall_ms()
                );
                self.forget_leader(topic, partition);
                rt::sleep(AGAIN_AFTER).await;
                None
            }
            None => {
                self.forget_leader(topic, partition);
                None
            }
        }
    }

    /// Produces with `acks=all`, again and again until it is acknowledged; the first offset.
    pub(crate) async fn produce(&mut self, topic: &str, partition: i32, batch: Bytes) -> i64 {
        loop {
            if let Some(base) = self.try_produce(topic, partition, batch.clone()).await {
                return base;
            }
        }
    }

    /// Everything of a partition from `from` to the high watermark; none if its leader did not say.
    pub(crate) async fn try_read(
        &mut self,
        topic: &str,
        partition: i32,
        from: i64,
    ) -> Option<Vec<(i64, String)>> {
        let leader = self.leader(topic, partition).await.address;
        let read = async |client: &mut Client| client.read_all(topic, partition, from).await;
        let found = self.ask(leader, read).await;
        if found.is_none() {
            self.forget_leader(topic, partition);
            rt::sleep(AGAIN_AFTER).await;
        }
        found
    }

    /// What is at `from` and after it, and who says so: the leader of an epoch that it leads in still.
    pub(crate) async fn try_fetch(
        &mut self,
        topic: &str,
        partition: i32,
        from: i64,
    ) -> Option<(Leads, Fetched)> {
        let leads = self.leader(topic, partition).await;
        let fetch = async |client: &mut Client| client.fetch(topic, partition, from, leads.epoch).await;
        let fetched = self.ask(leads.address, fetch).await;
        if fetched.is_none() {
            self.forget_leader(topic, partition);
            rt::sleep(AGAIN_AFTER).await;
        }
        Some((leads, fetched?))
    }

    /// One request at a group's coordinator; one that says nothing is looked for anew.
    pub(crate) async fn try_coordinator<R>(
        &mut self,
        group: &str,
        version: i16,
        request: &R,
    ) -> Option<R::Response>
    where
        R: Request<Response: Debug> + Debug,
    {
        let coordinator = self.coordinator(group).await;
        let call = async |client: &mut Client| client.call(version, request).await;
        let answer = self.ask(coordinator, call).await;
        if answer.is_none() {
            self.coordinator = None;
        }
        answer
    }

    pub(crate) fn forget_coordinator(&mut self) {
        self.coordinator = None;
    }

    pub(crate) fn known_coordinator(&self) -> Option<SocketAddr> {
        self.coordinator
    }

    pub(crate) async fn coordinator(&mut self, group: &str) -> SocketAddr {
        loop {
            if let Some(known) = self.coordinator {
                return known;
            }
            let request = FindCoordinatorRequest {
                key: Str::copy_from(group),
                ..Default::default()
            };
            let address = self.any();
            let answer = self
                .ask(address, async |client| client.call(2, &request).await)
                .await;
            if let Some(answer) = answer.filter(|answer| answer.error_code == 0) {
                self.coordinator = format!("{}:{}", answer.host, answer.port).parse().ok();
            } else {
                rt::sleep(AGAIN_AFTER).await;
            }
        }
    }

    /// Commits, once; whether it was acknowledged.
    pub(crate) async fn try_commit(&mut self, group: &str, topic: &str, offset: i64) -> bool {
        let coordinator = self.coordinator(group).await;
        let commit = async |client: &mut Client| client.commit(group, topic, offset).await;
        match self.ask(coordinator, commit).await {
            Some(ErrorCode::None) => true,
            Some(code) => {
                assert!(code.retriable(), "{group}: {code:?}");
                self.coordinator = None;
                rt::sleep(AGAIN_AFTER).await;
                false
            }
            None => {
                self.coordinator = None;
                false
            }
        }
    }

    /// The committed offset; none if nobody said.
    pub(crate) async fn try_committed(&mut self, group: &str, topic: &str) -> Option<i64> {
        let coordinator = self.coordinator(group).await;
        let look = async |client: &mut Client| client.committed(group, topic).await;
        match self.ask(coordinator, look).await {
            Some(Ok(found)) => Some(found),
            Some(Err(code)) => {
                assert!(code.retriable(), "{group}: {code:?}");
                self.coordinator = None;
                rt::sleep(AGAIN_AFTER).await;
                None
            }
            None => {
                self.coordinator = None;
                None
            }
        }
    }
}
