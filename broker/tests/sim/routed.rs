//! A client of a whole cluster: it learns who leads, asks there, and looks again when it is told so or hears nothing.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use broker::rt;
use bytes::Bytes;
use protocol::messages::find_coordinator::FindCoordinatorRequest;
use protocol::messages::metadata::{MetadataRequest, MetadataRequestTopic};
use protocol::{ErrorCode, Str};

use crate::client::{Client, Identity};
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

pub(crate) struct Routed {
    seeds: Vec<SocketAddr>,
    connections: BTreeMap<SocketAddr, Client>,
    leaders: BTreeMap<i32, SocketAddr>,
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
                self.connections.remove(&address);
                None
            }
        }
    }

    /// Asks anybody until there is an answer that `accept` takes.
    pub(crate) async fn anybody<T>(
        &mut self,
        mut ask: impl AsyncFnMut(&mut Client) -> io::Result<T>,
        accept: impl Fn(&T) -> bool,
    ) -> T {
        loop {
            let address = self.any();
            if let Some(answer) = self.ask(address, &mut ask).await.filter(&accept) {
                return answer;
            }
            rt::sleep(AGAIN_AFTER).await;
        }
    }

    /// Makes a topic with as many replicas as the brokers give it.
    pub(crate) async fn create(&mut self, topic: &str, partitions: i32) {
        let done = |code: &ErrorCode| settled(*code, ErrorCode::TopicAlreadyExists);
        self.anybody(async |client| client.create_topic(topic, partitions).await, done)
            .await;
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

    pub(crate) async fn configure(&mut self, topic: &str, property: &str, value: &str) {
        let done = |code: &ErrorCode| settled(*code, ErrorCode::None);
        self.anybody(
            async |client| client.configure(topic, property, value).await,
            done,
        )
        .await;
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

    async fn learn(&mut self, topic: &str) {
        let request = MetadataRequest {
            topics: Some(vec![MetadataRequestTopic {
                name: Some(Str::copy_from(topic)),
                ..Default::default()
            }]),
            allow_auto_topic_creation: false,
            ..Default::default()
        };
        let address = self.any();
        let Some(answer) = self
            .ask(address, async |client| client.call(12, &request).await)
            .await
        else {
            return;
        };
        let brokers: BTreeMap<i32, SocketAddr> = answer
            .brokers
            .iter()
            .filter_map(|broker| {
                let address = format!("{}:{}", broker.host, broker.port);
                Some((broker.node_id, address.parse().ok()?))
            })
            .collect();
        for partition in answer.topics.iter().flat_map(|topic| &topic.partitions) {
            match brokers.get(&partition.leader_id) {
                Some(address) => self.leaders.insert(partition.partition_index, *address),
                None => self.leaders.remove(&partition.partition_index),
            };
        }
    }

    /// The leader of a partition, as soon as somebody knows one.
    pub(crate) async fn leader(&mut self, topic: &str, partition: i32) -> SocketAddr {
        loop {
            if let Some(leader) = self.leaders.get(&partition) {
                return *leader;
            }
            self.learn(topic).await;
            if !self.leaders.contains_key(&partition) {
                rt::sleep(AGAIN_AFTER).await;
            }
        }
    }

    /// One try to produce with `acks=all`; none if it was not acknowledged, which says nothing about the records.
    pub(crate) async fn try_produce(&mut self, topic: &str, partition: i32, batch: Bytes) -> Option<i64> {
        let leader = self.leader(topic, partition).await;
        let produce = async |client: &mut Client| client.produce(topic, partition, batch).await;
        match self.ask(leader, produce).await {
            Some(Ok(base)) => Some(base),
            Some(Err(code)) => {
                assert!(
                    code.retriable(),
                    "{topic}-{partition} at {leader}: {code:?}, at {} ms",
                    rt::wall_ms()
                );
                self.leaders.remove(&partition);
                rt::sleep(AGAIN_AFTER).await;
                None
            }
            None => {
                self.leaders.remove(&partition);
                None
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
        let leader = self.leader(topic, partition).await;
        let read = async |client: &mut Client| client.read_all(topic, partition, from).await;
        let found = self.ask(leader, read).await;
        if found.is_none() {
            self.leaders.remove(&partition);
            rt::sleep(AGAIN_AFTER).await;
        }
        found
    }

    async fn coordinator(&mut self, group: &str) -> SocketAddr {
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
