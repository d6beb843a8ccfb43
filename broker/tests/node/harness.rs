//! Starts brokers in this process: on a port of the system's choice, in a folder of their own, on every engine that this
//! machine allows, with one and with two shards.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use broker::config::{Config, Facts, Settings};
use broker::node::{Node, TestSwitches};
use broker::rt::IoEngine;
use broker::rt::file::Disk;

use crate::client::Client;

/// How a broker is run in a test.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub(crate) engine: &'static str,
    pub(crate) shards: u16,
}

/// Runs a scenario on every engine with one and with two shards.
pub(crate) fn everywhere(scenario: impl Fn(Setup)) {
    for engine in engines() {
        for shards in [1, 2] {
            let setup = Setup { engine, shards };
            println!("--- {setup:?}");
            scenario(setup);
        }
    }
}

fn engines() -> Vec<&'static str> {
    match broker::rt::probe::choose(IoEngine::Uring, 2) {
        Ok(_) => vec!["posix", "uring"],
        Err(refused) => {
            println!("engine uring is not tested here: {}", refused.detail);
            vec!["posix"]
        }
    }
}

/// A broker to be started.
pub(crate) struct Plan {
    setup: Setup,
    dir: PathBuf,
    overrides: Vec<String>,
    disk: Disk,
    switches: TestSwitches,
}

impl Setup {
    pub(crate) fn plan(self, dir: &Path) -> Plan {
        Plan {
            setup: self,
            dir: dir.to_path_buf(),
            overrides: Vec::new(),
            disk: Disk::real(),
            switches: TestSwitches {
                // Tests run beside each other, each with a broker or two, under whatever limit the machine gives.
                open_files: Some(64),
                // A test that fails takes its folder away under the broker: what is told of must be the test, and a
                // broker that failed for itself is found at its stop.
                survive_failed_disk: true,
                ..TestSwitches::default()
            },
        }
    }

    pub(crate) fn start(self, dir: &Path) -> Broker {
        self.plan(dir).start()
    }
}

impl Plan {
    pub(crate) fn with(mut self, property: &str, value: &str) -> Plan {
        self.overrides.push(format!("{property}={value}"));
        self
    }

    pub(crate) fn on(mut self, disk: Disk) -> Plan {
        self.disk = disk;
        self
    }

    pub(crate) fn answering_before_the_sync(mut self) -> Plan {
        self.switches.answer_before_sync = true;
        self
    }

    pub(crate) fn start(self) -> Broker {
        // What brokers warn of is printed with a test that fails.
        let _ = tracing_subscriber::fmt()
            .with_test_writer()
            .with_max_level(tracing::Level::WARN)
            .try_init();
        let mut overrides = vec![
            format!("log.dirs={}", self.dir.display()),
            format!("io.engine={}", self.setup.engine),
            format!("shards={}", self.setup.shards),
            "admin.listener=127.0.0.1:0".to_string(),
            "http.listener=127.0.0.1:0".to_string(),
        ];
        if !self.overrides.iter().any(|given| given.starts_with("listeners=")) {
            overrides.push("listeners=PLAINTEXT://127.0.0.1:0".into());
        }
        overrides.extend(self.overrides);
        let settings = Settings::gather(None, Vec::new(), &overrides);
        let facts = Facts {
            hostname: "localhost".into(),
            default_log_dir: self.dir,
        };
        let config = Config::new(settings, &facts).expect("a configuration");
        let node = Node::start_with(config, self.disk, self.switches).expect("a broker");
        Broker {
            address: node.addresses[0].1,
            node,
        }
    }
}

/// A running broker.
pub(crate) struct Broker {
    pub(crate) address: SocketAddr,
    pub(crate) node: Node,
}

impl Broker {
    pub(crate) fn client(&self) -> Client {
        Client::connect(self.address)
    }

    pub(crate) fn stop(self) {
        assert_eq!(self.node.failure(), None, "the broker went on after a failure");
        self.node.stop().expect("a clean stop");
    }
}

/// Waits until `condition` gives something; panics with `what` when it never does.
pub(crate) fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
