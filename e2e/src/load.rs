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

    /// A member of a group that reads from the beginning.
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
