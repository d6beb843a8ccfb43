//! One broker of a local cluster: its ports, what its file says, its process, and how it stands.
//!
//! Owns starting it, noticing its end and its readiness. Which broker is restarted when is the cluster's to decide.

use super::process::{self, Ports, Process, Seen};
use super::say;
use crate::broker::{Broker, BrokerError, BrokerFacts, CanStop};
use crate::cluster::build::properties::FOR_THE_NEXT_START;
use crate::cluster::model::Cluster;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A broker.
pub struct Member {
    /// Kafka's id of it.
    pub node_id: i32,
    /// Where it listens.
    pub ports: Ports,
    /// Where it will from its next start on.
    pub next_ports: Ports,
    /// Its file as it should be.
    pub wanted: BTreeMap<String, String>,
    /// Its file as it was started with.
    in_force: BTreeMap<String, String>,
    /// Its process.
    pub process: Process,
    /// Below the data directory.
    pub folder: PathBuf,
    /// For the table.
    pub state: String,
    /// uring or posix, once it has said so.
    pub engine: String,
    /// It serves.
    pub ready: bool,
    /// It has served since its last start.
    served: bool,
    looked: Instant,
}

/// How often one that serves is asked whether it still does: a process that lives may have stopped serving.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What a turn came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turned {
    /// Nothing new.
    Same,
    /// It serves from now on.
    BecameReady,
    /// Its process ended by itself.
    Ended,
}

impl Member {
    /// Not started yet.
    pub fn new(node_id: i32, ports: Ports, program: &Path, folder: PathBuf) -> Member {
        Member {
            node_id,
            next_ports: ports.clone(),
            ports,
            wanted: BTreeMap::new(),
            in_force: BTreeMap::new(),
            process: Process::new(program, &folder),
            folder,
            state: "Starting".to_owned(),
            engine: String::new(),
            ready: false,
            served: false,
            looked: Instant::now(),
        }
    }

    /// Why it has to be restarted; nothing while it does not run.
    pub fn restart_reasons(&self) -> Vec<String> {
        if !self.process.is_running() {
            return Vec::new();
        }
        let without = |all: &BTreeMap<String, String>| {
            let mut all = all.clone();
            all.retain(|name, _| !FOR_THE_NEXT_START.contains(&name.as_str()));
            all
        };
        super::differences(&without(&self.in_force), &without(&self.wanted))
    }

    async fn ask(&self) -> Result<Broker, BrokerError> {
        Broker::connect(&self.ports.admin_address(), None, self.node_id).await
    }

    /// What it says of itself; nothing where it does not answer.
    pub async fn facts(&self) -> Option<BrokerFacts> {
        self.ask().await.ok()?.describe().await.ok()
    }

    /// Would stopping it hurt? In words.
    pub async fn may_stop(&self) -> Result<(), String> {
        let asked = async { self.ask().await?.can_stop().await };
        match asked.await {
            Ok(CanStop::Allowed) => Ok(()),
            Ok(CanStop::Blocked(why)) => Err(why),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Tells it the dynamic properties of the cluster. True when something changed.
    pub async fn tell(&self, dynamic: &BTreeMap<String, String>) -> Result<bool, BrokerError> {
        self.ask().await?.set_dynamic(dynamic).await
    }

    /// Stops it; the next turn starts it again.
    pub async fn stop(&mut self) -> bool {
        self.ready = false;
        self.state = "Starting".to_owned();
        self.process.stop().await
    }

    /// Looks after the process.
    pub async fn turn(&mut self, cluster: &Cluster) -> Turned {
        match self.process.look() {
            Seen::Running => {}
            Seen::Waiting if !self.process.may_start() => return Turned::Same,
            Seen::Waiting => {
                if let Err(error) = self.start(cluster) {
                    self.state = format!("cannot start: {error}");
                }
                return Turned::Same;
            }
            Seen::Ended(how) => {
                say(&format!(
                    "{}: {} ended ({how}); it is started again; its log is {}",
                    cluster.name,
                    self.title(cluster),
                    self.process.log().display()
                ));
                self.ready = false;
                self.state = format!("Crashed: {how}");
                return Turned::Ended;
            }
        }
        if self.ready && self.looked.elapsed() < LOOK_AGAIN {
            return Turned::Same;
        }
        let was = self.ready;
        self.look_whether_ready().await;
        match (was, self.ready) {
            (false, true) => Turned::BecameReady,
            _ => Turned::Same,
        }
    }

    /// "the broker" where there is no other.
    pub fn title(&self, cluster: &Cluster) -> String {
        match cluster.is_quorum() {
            true => format!("broker {}", self.node_id),
            false => "the broker".to_owned(),
        }
    }

    /// Somebody may have taken a port since it was chosen, or since the broker ended. The ports that other brokers know
    /// stay: their file names them.
    fn start(&mut self, cluster: &Cluster) -> std::io::Result<()> {
        if !self.next_ports.are_free() {
            let between = self.ports.between;
            let (ports, said) = Ports::choose(cluster, self.node_id, &mut BTreeSet::new(), between)?;
            said.iter().for_each(|line| say(line));
            process::set_ports(&mut self.wanted, cluster, &ports);
            self.next_ports = ports;
        }
        self.ports = self.next_ports.clone();
        self.served = false;
        self.in_force = self.wanted.clone();
        self.process.start(&self.wanted)
    }

    async fn look_whether_ready(&mut self) {
        self.looked = Instant::now();
        match process::ready(&self.ports).await {
            Ok(()) => {
                (self.ready, self.served) = (true, true);
                self.process.settled();
                self.state = "Ready".to_owned();
            }
            Err(reason) => {
                self.ready = false;
                // The reasons of a normal start go by in milliseconds; only one that stays is worth a line.
                if self.served {
                    self.state = format!("Not ready: {reason}");
                } else if self.process.started().elapsed() > Duration::from_secs(2) {
                    self.state = format!("Starting: {reason}");
                }
            }
        }
    }
}
