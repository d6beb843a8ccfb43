//! One broker process: where it listens, starting it, watching it, stopping it, starting it again after a crash.
//!
//! Owns the process and its folder below the data directory (`server.properties`, `broker.log`, `data/`). A broker never
//! outlives this program, however that ends: it is started through a hidden subcommand of our own binary that asks the
//! kernel for SIGTERM on the parent's death and then becomes the broker.

use crate::cluster::build::properties::{Places, properties, render};
use crate::cluster::model::{Cluster, Listener};
use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Seek, SeekFrom};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

/// Address of everything in local mode.
const HOST: &str = "127.0.0.1";
/// First and longest pause before a crashed broker is started again.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// How long a broker may take to stop.
const GRACE: Duration = Duration::from_secs(30);

/// Longest wait for a health page: a busy machine is no broker that hangs.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// Where one broker listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ports {
    /// By listener name.
    pub listeners: BTreeMap<String, u16>,
    /// Admin service.
    pub admin: u16,
    /// Health and metrics.
    pub http: u16,
    /// What the other brokers know.
    pub between: Between,
}

/// The ports at which one broker is reached by the others. Every broker's file names them, so they stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Between {
    /// Control listener.
    pub control: u16,
    /// Replication listener.
    pub replication: u16,
}

impl Between {
    /// Both can be bound at this moment.
    pub fn is_free(&self) -> bool {
        [self.control, self.replication]
            .iter()
            .all(|port| TcpListener::bind((HOST, *port)).is_ok())
    }

    /// Ports nobody has at the moment.
    pub fn choose(taken: &mut BTreeSet<u16>) -> std::io::Result<Between> {
        Ok(Between {
            control: free(taken)?,
            replication: free(taken)?,
        })
    }
}

impl Ports {
    /// The listeners' own ports where they are free, others where not; what had to change is said in the second value.
    /// The second and later brokers of a cluster take the ports a hundred above each other.
    pub fn choose(
        cluster: &Cluster,
        node_id: i32,
        taken: &mut BTreeSet<u16>,
        between: Between,
    ) -> std::io::Result<(Ports, Vec<String>)> {
        let free_port = |port: u16| TcpListener::bind((HOST, port)).is_ok();
        let (listeners, said) = listener_ports(cluster, node_id, taken, BTreeMap::new(), free_port)?;
        let (admin, http) = (free(taken)?, free(taken)?);
        Ok((
            Ports {
                listeners,
                admin,
                http,
                between,
            },
            said,
        ))
    }

    /// Those of the next start, with other listeners: what stays keeps its port, and the ports that this broker has now are
    /// free by then.
    pub fn change(
        &self,
        before: &Cluster,
        after: &Cluster,
        node_id: i32,
        taken: &mut BTreeSet<u16>,
    ) -> std::io::Result<(Ports, Vec<String>)> {
        let stays = before.listeners.iter().filter(|one| {
            let same = |other: &Listener| (&one.name, one.port) == (&other.name, other.port);
            after.listeners.iter().any(same)
        });
        let stays = stays.filter_map(|one| Some((one.name.clone(), *self.listeners.get(&one.name)?)));
        let own: BTreeSet<u16> = self.listeners.values().copied().collect();
        taken.retain(|port| !own.contains(port));
        let free_port = |port: u16| own.contains(&port) || TcpListener::bind((HOST, port)).is_ok();
        let (listeners, said) = listener_ports(after, node_id, taken, stays.collect(), free_port)?;
        // Until it is restarted it has them.
        taken.extend(own);
        Ok((
            Ports {
                listeners,
                ..self.clone()
            },
            said,
        ))
    }

    /// Can all of them be bound at this moment?
    pub fn are_free(&self) -> bool {
        let all = self.listeners.values().chain([&self.admin, &self.http]);
        all.into_iter()
            .all(|port| TcpListener::bind((HOST, *port)).is_ok())
    }

    /// host:port of a listener, where there is one of this name.
    pub fn address(&self, listener: &str) -> Option<String> {
        let port = self.listeners.get(listener)?;
        Some(format!("{HOST}:{port}"))
    }

    /// host:port of the admin service.
    pub fn admin_address(&self) -> String {
        format!("{HOST}:{}", self.admin)
    }
}

/// A port for every listener: the one in `stays`, or its own if `free_port` says so and nobody took it, or another.
fn listener_ports(
    cluster: &Cluster,
    node_id: i32,
    taken: &mut BTreeSet<u16>,
    stays: BTreeMap<String, u16>,
    free_port: impl Fn(u16) -> bool,
) -> std::io::Result<(BTreeMap<String, u16>, Vec<String>)> {
    let above = u16::try_from(node_id).unwrap_or(0).saturating_mul(100);
    taken.extend(stays.values());
    let (mut ports, mut said) = (stays, Vec::new());
    for listener in &cluster.listeners {
        if ports.contains_key(&listener.name) {
            continue;
        }
        let own = listener.port.saturating_add(above);
        let mut port = own;
        if taken.contains(&port) || !free_port(port) {
            port = free(taken)?;
            said.push(format!(
                "{}: port {own} is in use on this machine; listener {} is at {HOST}:{port}",
                cluster.name, listener.name
            ));
        }
        taken.insert(port);
        ports.insert(listener.name.clone(), port);
    }
    Ok((ports, said))
}

/// A port nobody has at the moment.
fn free(taken: &mut BTreeSet<u16>) -> std::io::Result<u16> {
    loop {
        let port = TcpListener::bind((HOST, 0))?.local_addr()?.port();
        if taken.insert(port) {
            return Ok(port);
        }
    }
}

/// The property file of a local broker. `voters` are the control ports by node id.
pub fn local_properties(
    cluster: &Cluster,
    node_id: i32,
    ports: &Ports,
    voters: &BTreeMap<i32, u16>,
    folder: &Path,
) -> BTreeMap<String, String> {
    let places = Places {
        bind: HOST.to_owned(),
        ports: ports.listeners.clone(),
        data: folder.join("data").display().to_string(),
        admin: ports.admin_address(),
        http: format!("{HOST}:{}", ports.http),
        advertised_file: None,
        control: format!("{HOST}:{}", ports.between.control),
        replication: format!("{HOST}:{}", ports.between.replication),
        voters: voters
            .iter()
            .map(|(id, port)| (*id, format!("{HOST}:{port}")))
            .collect(),
    };
    let mut all = properties(cluster, &places);
    set_ports(&mut all, cluster, ports);
    all.insert("node.id".into(), node_id.to_string());
    all.insert("cluster.id".into(), cluster.cluster_id.clone());
    if cluster.is_quorum() {
        // Several brokers share this machine; more shards than cores would take turns, and none is bound to one.
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let brokers = usize::try_from(cluster.replicas).unwrap_or(1);
        all.entry("shards".into())
            .or_insert_with(|| (cores / brokers).max(1).to_string());
    }
    all
}

/// The part of the file that speaks of ports which may change from start to start.
pub fn set_ports(all: &mut BTreeMap<String, String>, cluster: &Cluster, ports: &Ports) {
    let addresses = cluster.listeners.iter().filter_map(|one| {
        let address = ports.address(&one.name)?;
        Some(format!("{}://{address}", one.kafka_name()))
    });
    let addresses = addresses.collect::<Vec<_>>().join(",");
    all.insert("listeners".into(), addresses.clone());
    all.insert("advertised.listeners".into(), addresses);
    all.insert("admin.listener".into(), ports.admin_address());
    all.insert("http.listener".into(), format!("{HOST}:{}", ports.http));
}

/// What a look at the process found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It runs.
    Running,
    /// It ended since the last look: how, and its last words.
    Ended(String),
    /// It is not running, and waits for its next start.
    Waiting,
}

/// One broker.
pub struct Process {
    program: PathBuf,
    folder: PathBuf,
    child: Option<Child>,
    next_start: Instant,
    back_off: Duration,
    started: Instant,
}

impl Process {
    /// Not started yet.
    pub fn new(program: &Path, folder: &Path) -> Process {
        Process {
            program: program.to_owned(),
            folder: folder.to_owned(),
            child: None,
            next_start: Instant::now(),
            back_off: BACK_OFF.0,
            started: Instant::now(),
        }
    }

    /// The broker's log.
    pub fn log(&self) -> PathBuf {
        self.folder.join("broker.log")
    }

    /// When it was started last.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// It was started and has not been seen to end.
    pub fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// May it be started now?
    pub fn may_start(&self) -> bool {
        self.child.is_none() && Instant::now() >= self.next_start
    }

    /// Writes the property file and starts the broker.
    pub fn start(&mut self, properties: &BTreeMap<String, String>) -> std::io::Result<()> {
        std::fs::create_dir_all(&self.folder)?;
        let file = self.folder.join("server.properties");
        std::fs::write(&file, render(properties))?;
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.log())?;
        let own = std::env::current_exe()?;
        let mut command = Command::new(own);
        command
            .args(["start-broker", "--parent", &std::process::id().to_string(), "--"])
            .arg(&self.program)
            .arg("--config")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // A Ctrl-C of the terminal is for us; we stop the broker in our own order.
            .process_group(0)
            .kill_on_drop(true);
        // Settings of some other Kafka on this machine are not for this broker.
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            if name.starts_with("KAFKA_") || name == "CLUSTER_ID" {
                command.env_remove(name);
            }
        }
        self.started = Instant::now();
        self.child = Some(command.spawn()?);
        Ok(())
    }

    /// Looks whether it still runs. After an unwanted end the next start waits, longer each time.
    pub fn look(&mut self) -> Seen {
        let Some(child) = &mut self.child else {
            return Seen::Waiting;
        };
        let ended = match child.try_wait() {
            Ok(None) => return Seen::Running,
            // Its last words are the reason only when it ended by itself.
            Ok(Some(status)) => match status.code() {
                Some(_) => {
                    let words = last_line(&self.log()).unwrap_or_else(|| "it left no message".to_owned());
                    format!("{status}: {words}")
                }
                None => status.to_string(),
            },
            Err(error) => error.to_string(),
        };
        self.child = None;
        // One that ran for a while begins again with a short pause.
        if self.started.elapsed() > BACK_OFF.1 {
            self.back_off = BACK_OFF.0;
        }
        self.next_start = Instant::now() + self.back_off;
        self.back_off = (self.back_off * 2).min(BACK_OFF.1);
        Seen::Ended(ended)
    }

    /// It serves: the next crash is a first one.
    pub fn settled(&mut self) {
        self.back_off = BACK_OFF.0;
    }

    /// SIGTERM, then wait; SIGKILL when the grace is over. True when it ended by itself.
    pub async fn stop(&mut self) -> bool {
        // Kept in its place while waiting: a stop that is cut short can be begun again.
        let Some(child) = &mut self.child else { return true };
        let pid = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // It may be gone already, which is what is wanted.
            let _ = rustix::process::kill_process(pid, Signal::TERM);
        }
        self.next_start = Instant::now();
        let clean = tokio::time::timeout(GRACE, child.wait()).await.is_ok();
        if !clean {
            let _ = child.kill().await;
        }
        self.child = None;
        clean
    }
}

/// Becomes the broker; the hidden subcommand `start-broker`. Returns only when that fails.
pub fn become_broker(parent: u32, program: &Path, arguments: &[String]) -> std::io::Error {
    use std::os::unix::process::CommandExt;
    if let Err(error) = rustix::process::set_parent_process_death_signal(Some(Signal::TERM)) {
        return error.into();
    }
    // The parent may have died before the request.
    let alive = rustix::process::getppid().is_some_and(|found| found.as_raw_nonzero().get() as u32 == parent);
    if !alive {
        return std::io::Error::other("the parent is gone");
    }
    std::process::Command::new(program).args(arguments).exec()
}

/// Is the broker ready? Asks `/readyz`; on a refusal the answer's text, which names the steps that are not done.
pub async fn ready(ports: &Ports) -> Result<(), String> {
    let ask = async {
        let mut stream = tokio::net::TcpStream::connect((HOST, ports.http)).await?;
        stream
            .write_all(b"GET /readyz HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .await?;
        let mut answer = Vec::new();
        stream.take(64 << 10).read_to_end(&mut answer).await?;
        std::io::Result::Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    let answer = match tokio::time::timeout(ANSWER_WITHIN, ask).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) | Err(_) => return Err(format!("it does not answer at {HOST}:{}", ports.http)),
    };
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    if head.split_ascii_whitespace().nth(1) == Some("200") {
        return Ok(());
    }
    Err(body.lines().next().unwrap_or("starting").trim().to_owned())
}

/// The last line of a file that is not empty.
fn last_line(path: &Path) -> Option<String> {
    const TAIL: u64 = 8 << 10;
    let mut file = std::fs::File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL))).ok()?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail).ok()?;
    let text = String::from_utf8_lossy(&tail).into_owned();
    text.lines()
        .rev()
        .find(|line| !line.trim().is_empty())
        .map(|line| line.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{checked, cluster};

    fn choose(cluster: &Cluster) -> (Ports, Vec<String>) {
        let mut taken = BTreeSet::new();
        let between = Between::choose(&mut taken).unwrap();
        Ports::choose(cluster, 0, &mut taken, between).unwrap()
    }

    #[test]
    fn a_port_in_use_is_replaced_and_said() {
        let held = TcpListener::bind((HOST, 0)).unwrap();
        let mut wanted = checked(cluster("a"));
        wanted.listeners[0].port = held.local_addr().unwrap().port();
        let (ports, said) = choose(&wanted);
        assert_ne!(ports.listeners["plain"], wanted.listeners[0].port);
        assert_eq!(said.len(), 1);
    }

    #[test]
    fn the_local_file_is_one_the_broker_takes() {
        let mut wanted = checked(cluster("a").nodeport("external", 9094));
        wanted.listeners[0].port = 0;
        let (ports, _) = choose(&wanted);
        let voters = BTreeMap::from([(0, ports.between.control)]);
        for (name, value) in local_properties(&wanted, 0, &ports, &voters, Path::new("/data/a")) {
            protocol::properties::check_broker(&name, &value).unwrap();
        }
    }

    /// A broker that runs holds its ports; that must not drive its listeners away.
    #[test]
    fn a_listener_that_stays_keeps_its_port_and_a_new_one_may_have_that_of_one_that_goes() {
        let ports: Vec<u16> = (0..2)
            .map(|_| TcpListener::bind((HOST, 0)).unwrap().local_addr().unwrap().port())
            .collect();
        let mut before = checked(cluster("a").nodeport("external", 9094));
        (before.listeners[0].port, before.listeners[1].port) = (ports[0], ports[1]);
        let (now, said) = choose(&before);
        assert!(said.is_empty(), "{said:?}");
        let held: Vec<TcpListener> = ports
            .iter()
            .map(|port| TcpListener::bind((HOST, *port)).unwrap())
            .collect();
        let mut after = before.clone();
        after.listeners[1].name = "outside".into();
        let mut taken: BTreeSet<u16> = ports.iter().copied().collect();
        let (next, said) = now.change(&before, &after, 0, &mut taken).unwrap();
        assert!(said.is_empty(), "{said:?}");
        let wanted = BTreeMap::from([("plain".to_owned(), ports[0]), ("outside".to_owned(), ports[1])]);
        assert_eq!(next.listeners, wanted);
        assert_eq!(
            (next.admin, next.http, next.between),
            (now.admin, now.http, now.between)
        );
        drop(held);
    }
}
