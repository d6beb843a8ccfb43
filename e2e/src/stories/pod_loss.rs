//! A producer with acks=all runs on while its only broker is lost, once by deleting the pod and once by kill -9 from the
//! node: every acknowledged record is there afterwards, and a group goes on from the offset that it has committed. Then its
//! volume is lost: that is said, and no empty cluster takes the place of the one that was.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::Env;
use super::given::{CLUSTER, Given, POD, lose_volumes, stays_lost, topic};
use crate::kafka::Kcat;
use crate::wait::{self, seconds};

const TOPIC: &str = "orders";

pub(super) fn tell(env: &Env<'_>) -> Result<()> {
    let given = Given::cluster(env, &topic(TOPIC, "partitions: 1"))?;
    Given::topic_ready(env, TOPIC)?;
    let kcat = env.kcat_inside()?;

    let mut expected = produce_through(&kcat, &given.inside, "deleted", || delete_pod(env))?;
    let read = kcat.consume_in_group(&given.inside, "readers", TOPIC, expected.len() / 2)?;

    let after = produce_through(&kcat, &given.inside, "killed", || kill_broker(env))?;
    expected.extend(after);

    // The topic has one partition and the producer is idempotent: record and offset belong together, once.
    let found: BTreeMap<i64, String> = kcat
        .consume(&given.inside, TOPIC)?
        .into_iter()
        .map(|record| (record.offset, record.value))
        .collect();
    for (offset, value) in &expected {
        let there = found.get(offset);
        ensure!(
            there == Some(value),
            "offset {offset} was acknowledged for {value:?}, and holds {there:?}"
        );
    }
    ensure!(
        found.len() == expected.len(),
        "{} records acknowledged, {} there",
        expected.len(),
        found.len()
    );

    let rest = kcat.consume_in_group(&given.inside, "readers", TOPIC, expected.len() - read.len())?;
    let next = rest.first().map(|record| record.offset);
    let wanted = read.last().map(|record| record.offset + 1);
    ensure!(
        next == wanted,
        "the group goes on at {next:?}, and had committed {wanted:?}"
    );

    let (id, _) = given.identity(env)?;
    lose_volumes(env, &[0])?;
    stays_lost(env, &id)
}

/// Produces numbered lines one by one, makes the broker fail in the middle, and goes on until all are acknowledged.
/// Gives the acknowledged offset of each line.
fn produce_through(
    kcat: &Kcat,
    bootstrap: &str,
    name: &str,
    fail: impl FnOnce() -> Result<()>,
) -> Result<BTreeMap<i64, String>> {
    let settings =
        "acks=all,enable.idempotence=true,message.timeout.ms=120000,linger.ms=0,reconnect.backoff.max.ms=500";
    let mut arguments = vec!["-b", bootstrap, "-P", "-t", TOPIC, "-vv", "-E"];
    for setting in settings.split(',') {
        arguments.extend(["-X", setting]);
    }
    let mut producer = kcat
        .command(&arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("start the producer")?;
    let mut lines = producer.stdin.take().context("the producer has no input")?;
    let errors = producer.stderr.take().context("the producer has no output")?;
    // Acknowledgements of an idempotent producer come in the order of its lines.
    let offsets = std::thread::spawn(move || {
        let printed = BufReader::new(errors).lines().map_while(Result::ok);
        printed.partition::<Vec<String>, _>(|line| line.contains("Message delivered to partition"))
    });

    let mut sent = Vec::new();
    let mut fail = Some(fail);
    for number in 0..200 {
        let line = format!("{name} {number}");
        writeln!(lines, "{line}").context("the producer stopped reading")?;
        sent.push(line);
        if number == 60
            && let Some(fail) = fail.take()
        {
            fail()?;
        }
        // The load's own pace: the failure must fall between records.
        std::thread::sleep(Duration::from_millis(25));
    }
    drop(lines);
    let status = producer.wait()?;
    let Ok((delivered, other)) = offsets.join() else {
        bail!("the reader of the producer's output panicked")
    };
    ensure!(
        status.success(),
        "the producer failed ({status}): {}",
        other.join("\n")
    );
    ensure!(
        delivered.len() == sent.len(),
        "{} of {} lines are acknowledged",
        delivered.len(),
        sent.len()
    );
    let offsets = delivered
        .iter()
        .map(|line| offset_in(line))
        .collect::<Result<Vec<_>>>()?;
    Ok(offsets.into_iter().zip(sent).collect())
}

/// The offset in kcat's "Message delivered to partition 0 (offset 17)".
fn offset_in(line: &str) -> Result<i64> {
    let after = line.rsplit("offset ").next().unwrap_or_default();
    let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().with_context(|| format!("no offset in {line:?}"))
}

fn delete_pod(env: &Env<'_>) -> Result<()> {
    let before = env.kubectl.get("pod", POD)?["metadata"]["uid"].clone();
    env.kubectl.delete("pod", POD)?;
    env.kubectl.wait_until("pod", POD, seconds(90), |pod| {
        ensure!(pod["metadata"]["uid"] != before, "the pod is not replaced yet");
        Ok(())
    })?;
    env.kubectl.wait_ready(POD, seconds(60)).map(drop)
}

/// SIGKILL from the node, as the kernel's out-of-memory killer does it.
fn kill_broker(env: &Env<'_>) -> Result<()> {
    env.signal(POD, "SIGKILL")?;
    wait::until("the broker is restarted", seconds(60), || {
        let pod = env.kubectl.get("pod", POD)?;
        let restarts = &pod["status"]["containerStatuses"][0]["restartCount"];
        ensure!(restarts.as_u64() >= Some(1), "no restart yet");
        Ok(())
    })?;
    env.kubectl.wait_ready(POD, seconds(60))?;
    env.kubectl
        .wait_condition("kafkacluster", CLUSTER, "Ready", "True", seconds(60))
        .map(drop)
}
