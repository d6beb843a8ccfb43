//! A simulated machine: a disk that outlives its processes, and the broker that runs on it.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use broker::config::{Config, Facts, Settings};
use broker::node::{Node, TestSwitches};
use broker::rt;
use broker::rt::file::Disk;
use broker::rt::local::Event;
use broker::rt::recorder::{Recorder, Survives};
use broker::rt::sim::Process;

use crate::client::Client;

const PORT: u16 = 9092;
const CONTROL_PORT: u16 = 9646;
/// How often a process looks whether its broker has failed.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Log files all cores of a broker keep open.
const OPEN_FILES: usize = 1024;

/// One machine, on or off.
pub(crate) struct Machine {
    host: u8,
    shards: u16,
    overrides: Vec<String>,
    switches: TestSwitches,
    pub(crate) disk: Arc<Recorder>,
    running: RefCell<Option<Running>>,
    /// The newest, running or not.
    process: RefCell<Option<Process>>,
}

struct Running {
    process: Process,
    shared: Rc<Shared>,
}

/// What the broker's process and the scenario tell each other.
#[derive(Default)]
struct Shared {
    started: RefCell<Option<Result<(), String>>>,
    stop: RefCell<bool>,
    stopped: RefCell<Option<Result<(), String>>>,
    changed: Event,
    failed: Event,
}

impl Machine {
    pub(crate) fn new(host: u8, shards: u16) -> Machine {
        Machine {
            host,
            shards,
            overrides: Vec::new(),
            switches: TestSwitches {
                survive_failed_disk: true,
                // Not by the limits of whoever runs the tests.
                open_files: Some(OPEN_FILES),
                ..TestSwitches::default()
            },
            disk: Arc::new(Recorder::in_memory()),
            running: RefCell::new(None),
            process: RefCell::new(None),
        }
    }

    pub(crate) fn answering_before_the_sync(mut self) -> Machine {
        self.switches.answer_before_sync = true;
        self
    }

    /// A deliberate fault, for tests that show that it would be noticed.
    pub(crate) fn broken(mut self, fault: impl FnOnce(&mut TestSwitches)) -> Machine {
        fault(&mut self.switches);
        self
    }

    pub(crate) fn with(mut self, property: &str, value: &str) -> Machine {
        self.overrides.push(format!("{property}={value}"));
        self
    }

    /// Topics have three replicas, of which two must be in sync.
    pub(crate) fn with_three_replicas(self) -> Machine {
        self.with("default.replication.factor", "3")
            .with("min.insync.replicas", "2")
    }

    /// Machines 1 to `many`, all voters of one cluster.
    pub(crate) fn several(many: u8, shards: u16) -> Vec<Machine> {
        Machine::cluster(&vec![shards; usize::from(many)])
    }

    /// The same with so many shards each.
    pub(crate) fn cluster(shards: &[u16]) -> Vec<Machine> {
        let voters: Vec<String> = (1..=shards.len())
            .map(|host| format!("{host}@10.0.0.{host}:{CONTROL_PORT}"))
            .collect();
        (1..)
            .zip(shards)
            .map(|(host, shards)| {
                Machine::new(host, *shards)
                    .with("cluster.id", "simulated")
                    .with("controller.quorum.voters", &voters.join(","))
            })
            .collect()
    }

    /// It starts with another value of a property from now on.
    pub(crate) fn set(&mut self, property: &str, value: &str) {
        let before = format!("{property}=");
        self.overrides.retain(|given| !given.starts_with(&before));
        self.overrides.push(format!("{property}={value}"));
    }

    /// It starts with another number of cores from now on.
    pub(crate) fn set_shards(&mut self, shards: u16) {
        self.shards = shards;
    }

    fn config(&self) -> Config {
        let host = format!("10.0.0.{}", self.host);
        let mut overrides = vec![
            "log.dirs=/data".to_string(),
            format!("node.id={}", self.host),
            format!("shards={}", self.shards),
            format!("listeners=PLAINTEXT://{host}:{PORT}"),
            format!("control.listener={host}:{CONTROL_PORT}"),
            format!("replication.listener={host}:9647"),
            format!("admin.listener={host}:9644"),
        ];
        overrides.extend(self.overrides.iter().cloned());
        let settings = Settings::gather(None, Vec::new(), &overrides);
        let facts = Facts {
            hostname: host,
            default_log_dir: "/data".into(),
        };
        Config::new(settings, &facts).expect("a configuration")
    }

    /// Starts the broker and waits until clients are served, or tells why it does not start.
    pub(crate) async fn try_start(&self) -> Result<(), String> {
        let shared: Rc<Shared> = Rc::default();
        let told = shared.clone();
        let (config, disk, switches) = (self.config(), Disk::simulated(self.disk.clone()), self.switches);
        let process = Process::start(&format!("broker-{}", self.host), self.host, async move {
            let node = match Node::start_simulated(config, disk, switches).await {
                Ok(node) => node,
                Err(error) => {
                    *told.started.borrow_mut() = Some(Err(error.to_string()));
                    return told.changed.notify_all();
                }
            };
            *told.started.borrow_mut() = Some(Ok(()));
            told.changed.notify_all();
            loop {
                let changed = told.changed.wait();
                if *told.stop.borrow() {
                    break;
                }
                if node.failure().is_some() {
                    // As the program does: it exits, and whoever supervises it starts it again.
                    told.failed.notify_all();
                    return std::future::pending().await;
                }
                let _ = rt::control::timeout(LOOK_EVERY, changed).await;
            }
            let stopped = node.stop_simulated().await.map_err(|error| error.to_string());
            *told.stopped.borrow_mut() = Some(stopped);
            told.changed.notify_all();
        });
        *self.process.borrow_mut() = Some(process.clone());
        *self.running.borrow_mut() = Some(Running {
            process,
            shared: shared.clone(),
        });
        loop {
            let changed = shared.changed.wait();
            if let Some(started) = shared.started.borrow_mut().take() {
                return started;
            }
            rt::timeout(Duration::from_secs(120), changed)
                .await
                .map_err(|_| "no start within two minutes".to_string())?;
        }
    }

    pub(crate) async fn start(&self) {
        self.try_start().await.expect("a broker starts");
    }

    /// SIGTERM, and its end.
    pub(crate) async fn stop(&self) {
        let Some(Running { process, shared }) = self.running.borrow_mut().take() else {
            return;
        };
        *shared.stop.borrow_mut() = true;
        shared.changed.notify_all();
        loop {
            let changed = shared.changed.wait();
            if let Some(stopped) = shared.stopped.borrow_mut().take() {
                stopped.expect("a clean stop");
                break;
            }
            rt::timeout(Duration::from_secs(60), changed)
                .await
                .expect("it stops within a minute");
        }
        process.kill();
    }

    pub(crate) fn is_running(&self) -> bool {
        self.running.borrow().is_some()
    }

    /// Waits until the broker ends by itself.
    pub(crate) async fn ended(&self) {
        let shared = self.running.borrow().as_ref().expect("it runs").shared.clone();
        rt::timeout(Duration::from_secs(120), shared.failed.wait())
            .await
            .expect("a broker without a disk ends");
        self.kill();
    }

    /// SIGKILL: what was written is there, synced or not.
    pub(crate) fn kill(&self) {
        if let Some(running) = self.running.borrow_mut().take() {
            running.process.kill();
        }
    }

    /// No power: what was not synced may be gone, torn or there, by `seed`.
    pub(crate) fn power_off(&self, seed: u64) {
        if let Some(running) = self.running.borrow_mut().take() {
            running.process.power_off();
        }
        self.disk.power_cut(match seed % 3 {
            0 => Survives::Synced,
            _ => Survives::Some { seed },
        });
    }

    /// Its process, or its last one: links are cut by addresses, which both have.
    pub(crate) fn process(&self) -> Process {
        let process = self.process.borrow();
        process.as_ref().expect("it was started").clone()
    }

    /// Also its node id.
    pub(crate) fn host(&self) -> u8 {
        self.host
    }

    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, self.host], PORT))
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(self.address()).await.expect("a connection")
    }
}
