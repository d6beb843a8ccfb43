//! One real broker process on loopback with a data directory of its own; ended with the test.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::program::{DEADLINE, wait};

pub(crate) struct Broker {
    child: Option<Child>,
    dir: TempDir,
    pub(crate) port: u16,
    http: u16,
    settings: Vec<String>,
    environment: Vec<(String, String)>,
    /// Size of a tmpfs that the broker alone sees in place of its data directory.
    small_disk: Option<String>,
    /// Where it listens: loopback, or its address in a network namespace of the test.
    host: String,
    /// The network namespace it lives in, if not the test's own.
    namespace: Option<String>,
}

/// A port of its own for each call, below those that the kernel gives to outgoing connections: one of them could take the
/// port of a broker that was killed, also a client's that calls it again and again and so connects to itself.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(20_000);
    loop {
        let port = NEXT.fetch_add(1, Ordering::Relaxed);
        assert!(port < 32_000, "no port is free");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

impl Broker {
    /// A broker with the given `key=value` settings on top of what a test needs (ports, directory).
    pub(crate) fn start(settings: &[&str]) -> Broker {
        let port = free_port();
        let mut all = vec![format!("listeners=PLAINTEXT://127.0.0.1:{port}")];
        all.extend(settings.iter().map(|setting| (*setting).to_string()));
        Broker::launch(port, all, Vec::new(), None)
    }

    /// A broker whose data lies on a tmpfs of this size, mounted in a mount namespace of its own; needs root. What is on
    /// it is gone when the broker ends.
    pub(crate) fn on_small_disk(size: &str, settings: &[&str]) -> Broker {
        let port = free_port();
        let mut all = vec![format!("listeners=PLAINTEXT://127.0.0.1:{port}")];
        all.extend(settings.iter().map(|setting| (*setting).to_string()));
        Broker::launch(port, all, Vec::new(), Some(size.to_string()))
    }

    /// A broker that is told nothing but environment variables, as a Docker user does; `port` is where it is reached.
    pub(crate) fn from_environment(port: u16, variables: &[(&str, &str)]) -> Broker {
        let variables = variables
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect();
        Broker::launch(port, Vec::new(), variables, None)
    }

    /// One of several: it listens on `host`, in `namespace` if there is one, and is ready only once others are there too,
    /// so nothing is waited for.
    pub(crate) fn of_cluster(
        host: &str,
        namespace: Option<&str>,
        port: u16,
        settings: Vec<String>,
    ) -> Broker {
        let mut broker = Broker::made(port, settings, Vec::new(), None);
        broker.host = host.to_string();
        broker.namespace = namespace.map(str::to_string);
        broker.spawn();
        broker
    }

    fn launch(
        port: u16,
        settings: Vec<String>,
        environment: Vec<(String, String)>,
        small_disk: Option<String>,
    ) -> Broker {
        let mut broker = Broker::made(port, settings, environment, small_disk);
        broker.spawn();
        broker.wait_ready();
        broker
    }

    fn made(
        port: u16,
        settings: Vec<String>,
        environment: Vec<(String, String)>,
        small_disk: Option<String>,
    ) -> Broker {
        Broker {
            child: None,
            dir: TempDir::new().expect("a folder for the data"),
            port,
            http: free_port(),
            settings,
            environment,
            small_disk,
            host: "127.0.0.1".to_string(),
            namespace: None,
        }
    }

    fn spawn(&mut self) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_path())
            .expect("a file for the broker's log");
        let binary = env!("CARGO_BIN_EXE_millrace-broker");
        let mut command = match (&self.small_disk, &self.namespace) {
            (None, None) => Command::new(binary),
            (None, Some(namespace)) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", namespace, binary]);
                command
            }
            (Some(size), _) => {
                std::fs::create_dir_all(self.data()).expect("a mount point");
                let script = format!("mount -t tmpfs -o size={size} tmpfs \"$0\" && exec {binary} \"$@\"");
                let mut command = Command::new("unshare");
                command
                    .args(["--mount", "--propagation", "private", "sh", "-c", &script])
                    .arg(self.data());
                command
            }
        };
        command
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .envs(self.environment.iter().cloned());
        for own in [
            format!("log.dirs={}", self.data().display()),
            format!("http.listener={}:{}", self.host, self.http),
            format!("admin.listener={}:0", self.host),
        ]
        .iter()
        .chain(&self.settings)
        {
            command.args(["--override", own]);
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("the log file"))
            .stderr(log)
            .spawn()
            .expect("the broker binary runs");
        self.child = Some(child);
    }

    pub(crate) fn wait_ready(&mut self) {
        let end = Instant::now() + DEADLINE;
        while !self.ready() {
            let ended = self
                .child
                .as_mut()
                .and_then(|child| child.try_wait().expect("a child of this test"));
            assert!(ended.is_none(), "the broker ended at start:\n{}", self.log());
            assert!(Instant::now() < end, "the broker is not ready:\n{}", self.log());
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    fn ready(&self) -> bool {
        self.http_get("/readyz")
            .is_some_and(|answer| answer.starts_with("HTTP/1.1 200"))
    }

    /// The whole answer of the HTTP port, or `None` while nobody listens.
    pub(crate) fn http_get(&self, path: &str) -> Option<String> {
        let address = SocketAddr::new(self.host.parse().expect("an IP address"), self.http);
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
        )
        .ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }

    pub(crate) fn bootstrap(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().expect("the broker runs").id()
    }

    fn log_path(&self) -> PathBuf {
        self.dir.path().join("broker.log")
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// SIGKILL: the next start is a crash recovery.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().expect("the broker runs");
        child.kill().expect("a child of this test");
        child.wait().expect("a child of this test");
    }

    /// SIGTERM, and the broker must leave by itself with exit code 0.
    pub(crate) fn stop(&mut self) {
        self.signal("TERM");
        let mut child = self.child.take().expect("the broker runs");
        assert_eq!(
            wait(&mut child, DEADLINE),
            Some(true),
            "SIGTERM must end it with 0:\n{}",
            self.log()
        );
    }

    /// Sends a signal by name, as `STOP` or `CONT`.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &self.pid().to_string()])
            .status()
            .expect("kill runs");
        assert!(sent.success(), "SIG{name} to a broker of this test");
    }

    pub(crate) fn start_again(&mut self) {
        assert!(self.child.is_none(), "still running");
        self.spawn();
        self.wait_ready();
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- log of the broker on port {}\n{}", self.port, self.log());
        }
    }
}
