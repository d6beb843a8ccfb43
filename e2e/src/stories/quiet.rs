//! Where nothing happens, nothing is written: for a minute the operator leaves the API server alone, but for its Lease.

use anyhow::{Result, bail, ensure};

use super::Env;
use super::given::{Given, topic};
use crate::audit::{self, Request};
use crate::operator;
use crate::wait::{self, seconds};

/// No write for so long is "settled".
const SETTLED: u64 = 10;
const MINUTE: u64 = 60;

pub(super) fn tell(env: &Env<'_>) -> Result<()> {
    Given::cluster(
        env,
        &(topic("orders", "partitions: 3") + &topic("kept", "deletionPolicy: Retain")),
    )?;
    Given::topic_ready(env, "orders")?;
    Given::topic_ready(env, "kept")?;

    let mut seen = 0;
    wait::until("no more writes by the operator", seconds(60), || {
        seen = writes(env)?.len();
        wait::stays("no write", seconds(SETTLED), || {
            ensure!(writes(env)?.len() == seen, "it still writes");
            Ok(())
        })
    })?;
    wait::stays("the operator writes nothing", seconds(MINUTE), || {
        match writes(env)?.get(seen..) {
            Some([]) => Ok(()),
            other => bail!("{other:?}"),
        }
    })?;

    let refused: Vec<Request> = requests(env)?
        .into_iter()
        .filter(|request| request.forbidden)
        .collect();
    ensure!(refused.is_empty(), "the operator lacks rights: {refused:?}");
    Ok(())
}

fn requests(env: &Env<'_>) -> Result<Vec<Request>> {
    let Ok(own) = env.cluster.own() else {
        bail!("the table asks for a cluster of our own")
    };
    audit::requests_of(&own.audit_log(), &operator::user())
}

/// What the operator wrote so far, but for its Lease.
fn writes(env: &Env<'_>) -> Result<Vec<Request>> {
    Ok(requests(env)?
        .into_iter()
        .filter(|request| request.writes() && request.resource != "leases")
        .collect())
}
