//! Kafka as its users see it: kcat, inside the cluster (a pod) or outside of it.
//!
//! Owns how kcat is called. It is built on librdkafka, so nothing here shares code with the broker.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::kubectl::{Kubectl, output_of, output_with_input};

/// Where kcat runs.
#[derive(Clone, Debug)]
pub(crate) enum Kcat {
    /// In this pod, made from the client image.
    Pod { kubectl: Kubectl, pod: String },
    /// On this machine, by the given program and arguments, outside the cluster's networks.
    Outside { prefix: Vec<String> },
}

/// One record as kcat prints it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Record {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) value: String,
}

/// A name may lead to the address of a pod that is gone, for as long as DNS remembers it. Nobody there refuses, and the
/// default is to wait for 30 s.
const CONNECT_WITHIN: [&str; 2] = ["-X", "socket.connection.setup.timeout.ms=3000"];

/// kcat ends at the first moment in which it has no connection at all, and the bootstrap address is one connection: for a
/// second or two kube-proxy still leads it to a pod that is gone. With this it tries again within its own limit, as every
/// application does. What is not delivered by then is an error nevertheless.
const GO_ON: &str = "-E";

impl Kcat {
    /// kcat with arguments; not started yet.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        match self {
            Kcat::Pod { kubectl, pod } => {
                let mut all = vec!["exec", "--quiet", "-i", pod, "--", "kcat"];
                all.extend(CONNECT_WITHIN);
                all.extend(arguments);
                kubectl.command(&all)
            }
            Kcat::Outside { prefix } => {
                let mut command = Command::new(&prefix[0]);
                command
                    .args(&prefix[1..])
                    .arg("kcat")
                    .args(CONNECT_WITHIN)
                    .args(arguments);
                command
            }
        }
    }

    /// A topic's configuration value, as an admin client reads it. Only in a pod.
    pub(crate) fn topic_config(&self, bootstrap: &str, topic: &str, key: &str) -> Result<String> {
        Ok(self
            .topic_config_program(&[bootstrap, topic, key])?
            .trim()
            .to_owned())
    }

    /// Sets it, as somebody else's admin client does. Only in a pod.
    pub(crate) fn set_topic_config(
        &self,
        bootstrap: &str,
        topic: &str,
        key: &str,
        value: &str,
    ) -> Result<()> {
        self.topic_config_program(&[bootstrap, topic, key, value])
            .map(drop)
    }

    fn topic_config_program(&self, arguments: &[&str]) -> Result<String> {
        let Kcat::Pod { kubectl, pod } = self else {
            bail!("the admin client is in the client image only")
        };
        let mut all = vec!["exec", "--quiet", pod, "--", "topic-config"];
        all.extend(arguments);
        kubectl.run(&all)
    }

    fn run(&self, arguments: &[&str]) -> Result<String> {
        output_of(
            self.command(arguments).stdin(Stdio::null()),
            &format!("kcat {}", arguments.join(" ")),
        )
    }

    /// `kcat -L`: brokers and topics, as JSON.
    pub(crate) fn metadata(&self, bootstrap: &str) -> Result<Value> {
        serde_json::from_str(&self.run(&["-b", bootstrap, "-L", "-J", "-m", "10", GO_ON])?)
            .context("kcat -L -J is not JSON")
    }

    /// Number of partitions that the topic has, for this client; 0 if it knows no such topic.
    pub(crate) fn partitions(&self, bootstrap: &str, topic: &str) -> Result<usize> {
        let metadata = self.metadata(bootstrap)?;
        let topics = metadata["topics"]
            .as_array()
            .context("kcat -L -J has no topics")?;
        Ok(topics
            .iter()
            .find(|found| found["topic"] == topic)
            .and_then(|found| found["partitions"].as_array())
            .map_or(0, Vec::len))
    }

    /// Produces one record per line with acks=all; succeeds when each one is acknowledged.
    pub(crate) fn produce(&self, bootstrap: &str, topic: &str, lines: &[String]) -> Result<()> {
        self.produce_within(bootstrap, topic, lines, 30)
    }

    /// The same with another limit, in seconds.
    pub(crate) fn produce_within(
        &self,
        bootstrap: &str,
        topic: &str,
        lines: &[String],
        limit: u64,
    ) -> Result<()> {
        let timeout = format!("message.timeout.ms={}", limit * 1000);
        let arguments = [
            "-b", bootstrap, "-P", "-t", topic, "-X", "acks=all", "-X", &timeout, GO_ON,
        ];
        output_with_input(
            &mut self.command(&arguments),
            &(lines.join("\n") + "\n"),
            "kcat -P",
        )?;
        Ok(())
    }

    /// Everything in the topic, from the beginning to its present end, sorted by partition and offset.
    pub(crate) fn consume(&self, bootstrap: &str, topic: &str) -> Result<Vec<Record>> {
        let text = self.run(&[
            "-b",
            bootstrap,
            "-C",
            "-t",
            topic,
            "-o",
            "beginning",
            "-e",
            "-q",
            "-f",
            FORMAT,
        ])?;
        records(&text)
    }

    /// Joins the group, takes the next `count` records, commits, leaves.
    pub(crate) fn consume_in_group(
        &self,
        bootstrap: &str,
        group: &str,
        topic: &str,
        count: usize,
    ) -> Result<Vec<Record>> {
        let count = count.to_string();
        let earliest = "auto.offset.reset=earliest";
        let text = self.run(&[
            "-b", bootstrap, "-q", "-c", &count, "-X", earliest, "-f", FORMAT, "-G", group, topic,
        ])?;
        records(&text)
    }
}

const FORMAT: &str = "%p %o %s\\n";

fn records(text: &str) -> Result<Vec<Record>> {
    let mut records = text.lines().map(record).collect::<Result<Vec<_>>>()?;
    records.sort();
    Ok(records)
}

/// A line of `partition offset value`.
pub(crate) fn record(line: &str) -> Result<Record> {
    let mut parts = line.splitn(3, ' ');
    let (Some(partition), Some(offset), Some(value)) = (parts.next(), parts.next(), parts.next()) else {
        bail!("kcat printed {line:?}, not a record");
    };
    let partition = partition
        .parse()
        .with_context(|| format!("partition in {line:?}"))?;
    let offset = offset.parse().with_context(|| format!("offset in {line:?}"))?;
    Ok(Record {
        partition,
        offset,
        value: value.to_owned(),
    })
}
