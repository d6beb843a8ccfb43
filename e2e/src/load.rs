//! A producer or a member of a consumer group that runs on while something happens to the brokers.
//!
//! Owns the process (the program `load` in the client's pod) and what it said so far. What must be true of it is the
//! stories' business, but for one thing: a client that was told of an error fails the story.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use anyhow::{Context, Result, bail, ensure};

use crate::kafka::{Record, record};
use crate::kubectl::Kubectl;
use crate::wait::{self, seconds};

/// A running client.
pub(crate) struct Load {
    child: Child,
    /// The client ends when its input does.
    input: Option<ChildStdin>,
    /// Its lines. A group reads again what it had not committed: each record counts once.
    said: Arc<Mutex<BTreeSet<String>>>,
    readers: Vec<JoinHandle<String>>,
}

impl Load {
    /// A producer that writes `NAME 0`, `NAME 1`, … with acks=all, one every few milliseconds.
    pub(crate) fn produce(kubectl: &Kubectl, bootstrap: &str, topic: &str, name: &str) -> Result<Load> {
        Load::start(kubectl, &["produce", bootstrap, topic, name])
    }

    /// A member of a group that reads from the beginning and commits what it read.
    pub(crate) fn consume(kubectl: &Kubectl, bootstrap: &str, topic: &str, group: &str) -> Result<Load> {
        Load::start(kubectl, &["consume", bootstrap, topic, group])
    }

    fn start(kubectl: &Kubectl, arguments: &[&str]) -> Result<Load> {
        let mut all = vec!["exec", "--quiet", "-i", "client", "--", "load"];
        all.extend(arguments);
        let mut child = kubectl
            .command(&all)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("start the load")?;
        let output = child.stdout.take().context("the load has no output")?;
        let mut notices = child.stderr.take().context("the load has no notices")?;
        let said = Arc::new(Mutex::new(BTreeSet::new()));
        let lines = said.clone();
        let readers = vec![
            std::thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    lines.lock().unwrap_or_else(PoisonError::into_inner).insert(line);
                }
                String::new()
            }),
            std::thread::spawn(move || {
                let mut all = Vec::new();
                let _ = notices.read_to_end(&mut all);
                String::from_utf8_lossy(&all).into_owned()
            }),
        ];
        Ok(Load {
            input: child.stdin.take(),
            child,
            said,
            readers,
        })
    }

    /// How many records were acknowledged, or read, so far.
    pub(crate) fn count(&self) -> usize {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Waits until so many more records than now went through: the load is not standing still.
    pub(crate) fn goes_on(&self, more: usize) -> Result<()> {
        let wanted = self.count() + more;
        self.reaches(wanted)
    }

    /// Waits until so many records went through in all.
    pub(crate) fn reaches(&self, wanted: usize) -> Result<()> {
        wait::until("the load goes on", seconds(90), || {
            let count = self.count();
            ensure!(
                count >= wanted,
                "{count} records went through, {wanted} are waited for"
            );
            Ok(())
        })
    }

    fn lines(&self) -> BTreeSet<String> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends the client in order, and gives its records, each once. An error that the client was told of is an error here.
    pub(crate) fn end(mut self) -> Result<Vec<Record>> {
        drop(self.input.take());
        let status = self.child.wait().context("wait for the load")?;
        let mut notices = Vec::new();
        for reader in self.readers.drain(..) {
            let Ok(text) = reader.join() else {
                bail!("a reader of the load's output panicked")
            };
            notices.push(text);
        }
        let said = std::mem::take(&mut *self.said.lock().unwrap_or_else(PoisonError::into_inner));
        let errors: Vec<&String> = said.iter().filter(|line| line.starts_with("error")).collect();
        ensure!(
            status.success() && errors.is_empty(),
            "the load ended with {status} and {} errors, of which the first are {:?}; its notices: {}",
            errors.len(),
            errors.iter().take(3).collect::<Vec<_>>(),
            notices.concat().trim()
        );
        said.iter().map(|line| record(line)).collect()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // A story that failed ends here; the client in the pod goes with its namespace.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Two members of a consumer group that read and commit while something happens to the brokers.
pub(crate) struct Group {
    kubectl: Kubectl,
    bootstrap: String,
    topic: String,
    name: String,
    members: Vec<Load>,
}

/// How far a group is in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    /// -1 where nothing is committed.
    pub(crate) committed: i64,
    pub(crate) end: i64,
}

/// Of a topic, by partition.
pub(crate) type Positions = BTreeMap<i32, Position>;

impl Group {
    pub(crate) fn of_two(kubectl: &Kubectl, bootstrap: &str, topic: &str, name: &str) -> Result<Group> {
        let members = (0..2)
            .map(|_| Load::consume(kubectl, bootstrap, topic, name))
            .collect::<Result<Vec<_>>>()?;
        Ok(Group {
            kubectl: kubectl.clone(),
            bootstrap: bootstrap.to_owned(),
            topic: topic.to_owned(),
            name: name.to_owned(),
            members,
        })
    }

    fn count(&self) -> usize {
        let mut all = BTreeSet::new();
        self.members.iter().for_each(|member| all.extend(member.lines()));
        all.len()
    }

    /// Waits until the members together have read so many records, each counted once.
    pub(crate) fn reaches(&self, wanted: usize) -> Result<()> {
        wait::until("the group goes on", seconds(90), || {
            let count = self.count();
            ensure!(
                count >= wanted,
                "it has read {count} records, {wanted} are waited for"
            );
            Ok(())
        })
    }

    /// Waits until it has read so many more than now.
    pub(crate) fn goes_on(&self, more: usize) -> Result<()> {
        self.reaches(self.count() + more)
    }

    /// Waits until each member alone has read something more: both have partitions.
    pub(crate) fn shares(&self) -> Result<()> {
        self.members.iter().try_for_each(|member| member.goes_on(1))
    }

    /// What it has committed, as an outsider is told, whoever coordinates the group now.
    pub(crate) fn positions(&self) -> Result<Positions> {
        let arguments = ["committed", &self.bootstrap, &self.topic, &self.name];
        let mut all = vec!["exec", "--quiet", "client", "--", "load"];
        all.extend(arguments);
        let said = wait::until("the group's coordinator", seconds(30), || self.kubectl.run(&all))?;
        said.lines().map(position).collect()
    }

    /// Nothing that it had committed before is forgotten.
    pub(crate) fn remembers(&self, before: &Positions) -> Result<()> {
        let now = self.positions()?;
        for (partition, before) in before {
            let committed = now.get(partition).map_or(-1, |now| now.committed);
            ensure!(
                committed >= before.committed,
                "of partition {partition} offset {} was committed, and now {committed} is",
                before.committed
            );
        }
        Ok(())
    }

    /// The members leave, and what they committed is the end of every partition: nobody would read a record again. Gives
    /// what they read, each record once.
    pub(crate) fn end(mut self) -> Result<Vec<Record>> {
        let mut records = BTreeSet::new();
        for member in std::mem::take(&mut self.members) {
            let found = member.end()?;
            ensure!(!found.is_empty(), "a member of the group has read nothing");
            records.extend(found);
        }
        for (partition, at) in self.positions()? {
            // A partition without records has nothing to commit.
            ensure!(
                at.committed.max(0) == at.end,
                "partition {partition} ends at {}, and {} is committed",
                at.end,
                at.committed
            );
        }
        Ok(records.into_iter().collect())
    }
}

/// A line of `partition committed end`.
fn position(line: &str) -> Result<(i32, Position)> {
    let numbers: Vec<&str> = line.split(' ').collect();
    let [partition, committed, end] = numbers[..] else {
        bail!("{line:?} is no partition with its offsets")
    };
    let position = Position {
        committed: committed.parse()?,
        end: end.parse()?,
    };
    Ok((partition.parse()?, position))
}

/// Everything acknowledged is there, once, where the acknowledgement said, and nothing else is. An idempotent producer's
/// records are in its order in every partition.
pub(crate) fn nothing_lost(acknowledged: &[Record], found: &[Record]) -> Result<()> {
    let mut acknowledged = acknowledged.to_vec();
    acknowledged.sort();
    let mut found = found.to_vec();
    found.sort();
    for record in &acknowledged {
        ensure!(
            found.binary_search(record).is_ok(),
            "acknowledged and not there: {record:?}"
        );
    }
    for record in &found {
        ensure!(
            acknowledged.binary_search(record).is_ok(),
            "there and not acknowledged: {record:?}"
        );
    }
    ensure!(
        acknowledged == found,
        "{} records are acknowledged, {} are there",
        acknowledged.len(),
        found.len()
    );
    let mut last = BTreeMap::new();
    for record in &found {
        let (name, number) = record.value.rsplit_once(' ').unwrap_or_default();
        let number: u64 = number.parse().unwrap_or_default();
        let before = last.insert((record.partition, name), number);
        ensure!(
            before.is_none_or(|before| before < number),
            "{record:?} stands behind {name} {before:?}"
        );
    }
    Ok(())
}
