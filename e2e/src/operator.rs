//! The operator as its user installs it: helm and the chart.
//!
//! Owns the chart's values for the tests, and finding the operator's pods. One installation serves all stories.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::cluster::Cluster;
use crate::kubectl::{Kubectl, output_of};
use crate::wait::seconds;

/// Where the operator runs.
pub(crate) const NAMESPACE: &str = "millrace-system";
/// Name of the helm release, of the operator's Deployment and of its service account.
pub(crate) const RELEASE: &str = "millrace";
pub(crate) const DEPLOYMENT: &str = "millrace-operator";

/// Installs the chart, or upgrades it, with further `--set` values, and waits until the operator is there.
pub(crate) fn install(cluster: &Cluster, values: &[&str]) -> Result<()> {
    let chart = cluster.repository.join("charts/millrace").display().to_string();
    helm(cluster, &["lint", "--strict", "--quiet", &chart])?;
    let images = &cluster.images;
    let (registry, tag) = (&images.registry, &images.tag);
    let settings = [
        format!("image.repository={registry}/millrace-operator"),
        format!("image.tag={tag}"),
        format!("brokerImage.repository={registry}/millrace-broker"),
        format!("brokerImage.tag={tag}"),
        // Drift that nothing tells of is found at the next full round; the default of two minutes is long for a test.
        "fullReconciliationSeconds=15".to_owned(),
    ];
    let mut arguments = vec![
        "upgrade",
        "--install",
        RELEASE,
        &chart,
        "--namespace",
        NAMESPACE,
        "--create-namespace",
    ];
    arguments.extend(["--wait", "--timeout", "120s"]);
    for setting in settings.iter().map(String::as_str).chain(values.iter().copied()) {
        arguments.extend(["--set", setting]);
    }
    helm(cluster, &arguments).map(drop)
}

fn helm(cluster: &Cluster, arguments: &[&str]) -> Result<String> {
    let words = cluster.outside(&["env", "helm"]);
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).args(arguments).stdin(Stdio::null());
    output_of(&mut command, &format!("helm {}", arguments[0]))
}

pub(crate) fn kubectl(cluster: &Cluster) -> Kubectl {
    cluster.kubectl(NAMESPACE)
}

/// The operator's name in the audit log.
pub(crate) fn user() -> String {
    format!("system:serviceaccount:{NAMESPACE}:{DEPLOYMENT}")
}

/// The operator's running pods.
pub(crate) fn pods(cluster: &Cluster) -> Result<Vec<Value>> {
    let pods = kubectl(cluster).list("pods", "app.kubernetes.io/name=millrace-operator")?;
    Ok(pods
        .into_iter()
        .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null())
        .collect())
}

/// Waits until there are so many operator pods, and all are ready.
pub(crate) fn wait_pods(cluster: &Cluster, replicas: u64) -> Result<()> {
    kubectl(cluster).wait_until("deployment", DEPLOYMENT, seconds(60), |deployment| {
        let status = &deployment["status"];
        let (ready, all) = (status["readyReplicas"].as_u64(), status["replicas"].as_u64());
        if ready != Some(replicas) || all != Some(replicas) {
            bail!("{replicas} operator pods wanted, status is {status}");
        }
        Ok(())
    })?;
    Ok(())
}

/// Name of the pod that holds the operator's Lease, and the Lease itself.
pub(crate) fn leader(cluster: &Cluster) -> Result<(String, Value)> {
    let leases = kubectl(cluster).run(&["get", "lease", "-o", "json"])?;
    let leases: Value = serde_json::from_str(&leases)?;
    let lease = leases["items"]
        .as_array()
        .and_then(|items| {
            items
                .iter()
                .find(|lease| lease["metadata"]["name"].as_str() == Some(DEPLOYMENT))
        })
        .context("the operator has no Lease")?;
    let holder = lease["spec"]["holderIdentity"].as_str().unwrap_or_default();
    if holder.is_empty() {
        bail!("nobody holds the Lease: {}", lease["spec"]);
    }
    Ok((holder.to_owned(), lease.clone()))
}
