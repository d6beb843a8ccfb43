//! Two operators, one of them at work: the one that holds the Lease. It is killed, and another time it is stopped for
//! longer than the Lease lasts and then goes on: each time the other one takes over, and nobody writes in another's term.

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;

use super::Env;
use super::given::{Given, topic};
use crate::audit::{self, Request};
use crate::operator;
use crate::wait::{self, seconds};

pub(super) fn tell(env: &Env<'_>) -> Result<()> {
    let result = two_operators(env);
    // The other stories go on with one.
    operator::install(env.cluster, &[])?;
    result
}

fn two_operators(env: &Env<'_>) -> Result<()> {
    operator::install(env.cluster, &["replicas=2"])?;
    Given::cluster(env, &topic("orders", "partitions: 1"))?;
    Given::topic_ready(env, "orders")?;

    let first = leader(env)?;
    operator::kubectl(env.cluster).run(&["delete", "pod", &first, "--force", "--grace-period=0"])?;
    let second = other_leader(env, &first)?;
    works(env, 2)?;
    operator::wait_pods(env.cluster, 2)?;

    let system = env.in_namespace(operator::NAMESPACE);
    system.signal(&second, "SIGSTOP")?;
    let stopped = other_leader(env, &second).and_then(|third| works(env, 3).map(|()| third));
    // It wakes up in the middle of somebody else's term, with its old plans.
    system.signal(&second, "SIGCONT")?;
    let third = stopped?;
    works(env, 4)?;
    works(env, 5)?;

    let Ok(own) = env.cluster.own() else {
        bail!("the table asks for a cluster of our own")
    };
    let requests = audit::requests_of(&own.audit_log(), &operator::user())?;
    ensure!(
        requests.iter().any(|request| request.pod == third),
        "the audit log does not name the operators' pods"
    );
    one_writer_per_term(&requests)
}

/// In the order of the log, whoever writes must be the one that wrote the Lease last.
fn one_writer_per_term(requests: &[Request]) -> Result<()> {
    let mut requests: Vec<&Request> = requests
        .iter()
        .filter(|request| request.writes() && request.code < 300)
        .collect();
    requests.sort_by(|one, other| one.time.cmp(&other.time));
    let mut holder = None;
    for request in requests {
        if request.resource == "leases" {
            holder = Some(&request.pod);
        } else if holder.is_some_and(|holder| *holder != request.pod) {
            bail!("{request:?} was written in the term of {holder:?}");
        }
    }
    Ok(())
}

/// The pod that holds the Lease. Its identity may have more than the pod's name in it.
fn leader(env: &Env<'_>) -> Result<String> {
    wait::until("somebody holds the Lease", seconds(60), || {
        let (holder, _) = operator::leader(env.cluster)?;
        let pods = operator::pods(env.cluster)?;
        let names = pods.iter().filter_map(|pod| pod["metadata"]["name"].as_str());
        names
            .map(str::to_owned)
            .find(|name| holder.contains(name))
            .with_context(|| format!("{holder} is no pod of ours"))
    })
}

fn other_leader(env: &Env<'_>, old: &str) -> Result<String> {
    wait::until("another one holds the Lease", seconds(60), || {
        let now = leader(env)?;
        ensure!(now != old, "{old} still holds it");
        Ok(now)
    })
}

/// A change is carried out, so somebody is at work.
fn works(env: &Env<'_>, partitions: u32) -> Result<()> {
    env.kubectl.patch(
        "kafkatopic",
        "orders",
        &json!({"spec": {"partitions": partitions}}),
    )?;
    env.kubectl
        .wait_until("kafkatopic", "orders", seconds(60), |topic| {
            ensure!(
                topic["status"]["partitions"] == partitions,
                "status is {}",
                topic["status"]
            );
            Ok(())
        })?;
    Ok(())
}
