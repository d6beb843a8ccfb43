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
    let chart = cluster.repository.join("charts/millrace");
    helm(
        cluster,
        &["lint", "--strict", "--quiet"]
            .map(str::to_owned)
            .into_iter()
            .chain([chart.display().to_string()])
            .collect::<Vec<_>>(),
    )?;
    let images = &cluster.images;
    let registry = &images.registry;
    let tag = &images.tag;
    let mut arguments: Vec<String> = ["upgrade", "--install", RELEASE].map(str::to_owned).to_vec();
    arguments.push(chart.display().to_string());
    arguments.extend(
        [
            "--namespace",
            NAMESPACE,
            "--create-namespace",
            "--wait",
            "--timeout",
            "120s",
        ]
        .map(str::to_owned),
    );
    for value in [
        format!("image.repository={registry}/millrace-operator"),
        format!("image.tag={tag}"),
        format!("brokerImage.repository={registry}/millrace-broker"),
        format!("brokerImage.tag={tag}"),
        // Drift that nothing tells of is found at the next full round; the default of two minutes is long for a test.
        "fullReconciliationSeconds=15".to_owned(),
    ] {
        arguments.extend(["--set".to_owned(), value]);
    }
    for value in values {
        arguments.extend(["--set".to_owned(), (*value).to_owned()]);
    }
    helm(cluster, &arguments).map(drop)
}

fn helm(cluster: &Cluster, arguments: &[String]) -> Result<String> {
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

/// Sets the number of operator pods and waits until all are ready.
pub(crate) fn scale(cluster: &Cluster, replicas: u32) -> Result<()> {
    let kubectl = kubectl(cluster);
    kubectl.run(&[
        "scale",
        "deployment",
        DEPLOYMENT,
        &format!("--replicas={replicas}"),
    ])?;
    kubectl.wait_until("deployment", DEPLOYMENT, seconds(60), |deployment| {
        let status = &deployment["status"];
        let (ready, all) = (status["readyReplicas"].as_u64(), status["replicas"].as_u64());
        if ready != Some(replicas.into()) || all != Some(replicas.into()) {
            bail!("{} operator pods wanted, status is {status}", replicas);
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
