//! A running cluster is changed: properties that need no restart and one that does, a larger volume, a listener less.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::Env;
use super::given::{CLUSTER, Given, POD, topic};
use crate::wait::{self, seconds};

pub(super) fn tell(env: &Env<'_>) -> Result<()> {
    let given = Given::cluster(env, &topic("orders", "partitions: 1"))?;
    Given::topic_ready(env, "orders")?;
    let kcat = env.kcat_inside()?;
    let before = env.kubectl.get("pod", POD)?;

    // Without a restart.
    env.kubectl.patch(
        "kafkacluster",
        CLUSTER,
        &json!({"spec": {"config": {"log.retention.ms": "86400000"}}}),
    )?;
    settled(env)?;
    wait::until("the brokers have the new default", seconds(60), || {
        let found = kcat.topic_config(&given.inside, "orders", "retention.ms")?;
        ensure!(found == "86400000", "retention.ms is {found}");
        Ok(())
    })?;
    ensure!(
        uid(env)? == before["metadata"]["uid"],
        "a dynamic property restarted the broker"
    );

    // With one, carried out by the operator, with the reason told.
    let resources = json!({"requests": {"cpu": "100m", "memory": "192Mi"}, "limits": {"memory": "512Mi"}});
    env.kubectl.patch(
        "kafkacluster",
        CLUSTER,
        &json!({"spec": {"resources": resources}}),
    )?;
    env.kubectl.wait_until("pod", POD, seconds(120), |pod| {
        let found = &pod["spec"]["containers"][0]["resources"]["limits"]["memory"];
        ensure!(found == "512Mi", "the pod's memory limit is {found}");
        Ok(())
    })?;
    env.kubectl.wait_ready(POD, seconds(60))?;
    settled(env)?;
    let events = env.kubectl.run(&["get", "events", "-o", "json"])?;
    let events: Value = serde_json::from_str(&events)?;
    let restarted = events["items"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|event| event["reason"] == "BrokerRestarted");
    restarted.context("no Event BrokerRestarted")?;

    // The volume grows in place; the provisioner of the cluster does its part.
    env.kubectl.patch(
        "kafkacluster",
        CLUSTER,
        &json!({"spec": {"storage": {"size": "2Gi"}}}),
    )?;
    wait::until("the claim has grown", seconds(60), || {
        let claims = env.kubectl.list("pvc", "")?;
        let capacity = &claims.first().context("there is no claim")?["status"]["capacity"]["storage"];
        ensure!(capacity == "2Gi", "its capacity is {capacity}");
        Ok(())
    })?;

    // Fewer listeners: its services go, and the bootstrap address leaves the status.
    let listeners = json!([{"name": "plain", "port": 9092, "type": "internal"}]);
    env.kubectl.patch(
        "kafkacluster",
        CLUSTER,
        &json!({"spec": {"listeners": listeners}}),
    )?;
    wait::until("the node port is given back", seconds(120), || {
        let services = env.kubectl.list("services", "")?;
        ensure!(
            services
                .iter()
                .all(|service| service["spec"]["type"] != "NodePort"),
            "a NodePort service is left"
        );
        Ok(())
    })?;
    env.kubectl
        .wait_until("kafkacluster", CLUSTER, seconds(60), |cluster| {
            let count = cluster["status"]["listeners"].as_array().map_or(0, Vec::len);
            ensure!(count == 1, "the status tells of {count} listeners");
            Ok(())
        })?;
    settled(env)?;
    env.kubectl.wait_ready(POD, seconds(60))?;
    kcat.produce(&given.inside, "orders", &["after all changes".to_owned()])?;
    ensure!(
        kcat.consume(&given.inside, "orders")?.len() == 1,
        "the record is not there"
    );
    Ok(())
}

fn settled(env: &Env<'_>) -> Result<()> {
    env.kubectl
        .wait_condition("kafkacluster", CLUSTER, "Ready", "True", seconds(120))
        .map(drop)
}

fn uid(env: &Env<'_>) -> Result<Value> {
    Ok(env.kubectl.get("pod", POD)?["metadata"]["uid"].clone())
}
