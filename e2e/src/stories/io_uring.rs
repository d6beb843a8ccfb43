//! The broker uses io_uring where the node allows it, runs on without it where a seccomp profile forbids it and says so,
//! and uses it again with the profile that the chart ships. The operator carries out the restarts in between.

use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};

use super::Env;
use super::given::{CLUSTER, Given, topic};
use crate::kubectl::condition_of;
use crate::operator;
use crate::wait::seconds;

/// Allows everything but io_uring, and answers as container runtimes do: EPERM.
const FORBIDS: &str = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
  {"names": ["io_uring_setup", "io_uring_enter", "io_uring_register"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}]}"#;

/// Where the chart's installer puts the shipped profile; `charts/examples/seccomp.yaml` names it too.
const SHIPPED: &str = "millrace/io-uring-v1.json";

pub(super) fn tell(env: &Env<'_>) -> Result<()> {
    let Ok(own) = env.cluster.own() else {
        bail!("the table asks for a cluster of our own")
    };
    own.install_seccomp_profile("e2e/without-io-uring.json", FORBIDS)?;
    // The chart brings the profile to the nodes, as it would for a user.
    operator::install(env.cluster, &["seccompInstaller.enabled=true"])?;

    let given = Given::cluster(env, &topic("orders", "partitions: 1"))?;
    Given::topic_ready(env, "orders")?;
    runs_on(env, "uring", "True", "Enabled")?;
    let kcat = env.kcat_inside()?;
    kcat.produce(&given.inside, "orders", &["on uring".to_owned()])?;

    use_profile(env, "e2e/without-io-uring.json")?;
    runs_on(env, "posix", "False", "SeccompDenied")?;
    kcat.produce(&given.inside, "orders", &["on posix".to_owned()])?;

    use_profile(env, SHIPPED)?;
    runs_on(env, "uring", "True", "Enabled")?;
    kcat.produce(&given.inside, "orders", &["on uring again".to_owned()])?;

    // Both engines wrote one log.
    let values: Vec<String> = kcat
        .consume(&given.inside, "orders")?
        .into_iter()
        .map(|record| record.value)
        .collect();
    ensure!(
        values == ["on uring", "on posix", "on uring again"],
        "the topic holds {values:?}"
    );
    Ok(())
}

fn use_profile(env: &Env<'_>, name: &str) -> Result<()> {
    let profile = json!({"type": "Localhost", "localhostProfile": name});
    env.kubectl
        .patch(
            "kafkacluster",
            CLUSTER,
            &json!({"spec": {"security": {"seccompProfile": profile}}}),
        )
        .map(drop)
}

/// Waits until the status says so; the operator has to replace the pod first.
fn runs_on(env: &Env<'_>, engine: &str, status: &str, reason: &str) -> Result<()> {
    env.kubectl
        .wait_until("kafkacluster", CLUSTER, seconds(120), |cluster| {
            let found = &cluster["status"]["brokers"][0]["ioEngine"];
            let same = found
                .as_str()
                .is_some_and(|found| found.eq_ignore_ascii_case(engine));
            let condition = condition_of(cluster, "IoUringAvailable")
                .cloned()
                .unwrap_or(Value::Null);
            let ready = condition_of(cluster, "Ready").cloned().unwrap_or(Value::Null);
            ensure!(same, "the engine is {found}, {engine} wanted; {condition}");
            ensure!(
                condition["status"] == *status && condition["reason"] == *reason,
                "IoUringAvailable is {condition}"
            );
            ensure!(ready["status"] == "True", "Ready is {ready}");
            Ok(())
        })?;
    Ok(())
}
