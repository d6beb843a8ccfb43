//! A topic from its creation to its end, changed by the means that a user has: patch, scale, and somebody else's
//! admin client. What cannot be done is refused by the API server, in words.

use anyhow::{Result, bail, ensure};
use serde_json::json;

use super::Env;
use super::given::{Given, topic};
use crate::kafka::Kcat;
use crate::wait::{self, seconds};

pub(super) fn tell(env: &Env<'_>) -> Result<()> {
    let orders = topic("orders", "partitions: 3, config: {retention.ms: '3600000'}");
    let given = Given::cluster(env, &orders)?;
    let bootstrap = given.inside.as_str();
    Given::topic_ready(env, "orders")?;
    let kcat = env.kcat_inside()?;
    ensure!(
        kcat.partitions(bootstrap, "orders")? == 3,
        "the client sees another number of partitions than 3"
    );
    ensure!(
        kcat.topic_config(bootstrap, "orders", "retention.ms")? == "3600000",
        "retention.ms is not as wanted"
    );

    env.kubectl
        .patch("kafkatopic", "orders", &json!({"spec": {"partitions": 6}}))?;
    sees_partitions(&kcat, bootstrap, 6)?;
    env.kubectl.run(&["scale", "kafkatopic/orders", "--replicas=9"])?;
    sees_partitions(&kcat, bootstrap, 9)?;

    let lower = json!({"spec": {"partitions": 4}}).to_string();
    let words = env.kubectl.refusal(
        &["patch", "kafkatopic", "orders", "--type=merge", "-p", &lower],
        "",
    )?;
    ensure!(
        words.contains("partitions"),
        "the refusal does not name the field: {words}"
    );
    let words = env
        .kubectl
        .refusal(&["scale", "kafkatopic/orders", "--replicas=4"], "")?;
    ensure!(
        words.contains("partitions"),
        "the refusal does not name the field: {words}"
    );

    env.kubectl.patch(
        "kafkatopic",
        "orders",
        &json!({"spec": {"config": {"retention.ms": "7200000"}}}),
    )?;
    has_retention(&kcat, bootstrap, "7200000")?;

    // Somebody else's admin client changes a value that the file owns, and one that it does not.
    kcat.set_topic_config(bootstrap, "orders", "retention.ms", "1000000")?;
    kcat.set_topic_config(bootstrap, "orders", "segment.bytes", "1048576")?;
    has_retention(&kcat, bootstrap, "7200000")?;
    let unowned = kcat.topic_config(bootstrap, "orders", "segment.bytes")?;
    ensure!(
        unowned == "1048576",
        "a value that the file does not list was changed to {unowned}"
    );

    env.kubectl.delete("kafkatopic", "orders")?;
    env.kubectl.wait_gone("kafkatopic", "orders", seconds(60))?;
    sees_partitions(&kcat, bootstrap, 0)?;

    env.kubectl
        .apply(&topic("kept", "partitions: 2, deletionPolicy: Retain"))?;
    Given::topic_ready(env, "kept")?;
    let lines = ["still here".to_owned()];
    kcat.produce(bootstrap, "kept", &lines)?;
    env.kubectl.delete("kafkatopic", "kept")?;
    env.kubectl.wait_gone("kafkatopic", "kept", seconds(60))?;
    ensure!(
        kcat.consume(bootstrap, "kept")?.len() == 1,
        "the retained topic lost its record"
    );
    Ok(())
}

fn sees_partitions(kcat: &Kcat, bootstrap: &str, wanted: usize) -> Result<()> {
    wait::until("the client sees the partitions", seconds(60), || {
        let found = kcat.partitions(bootstrap, "orders")?;
        if found == wanted {
            Ok(())
        } else {
            bail!("{found} partitions, {wanted} wanted")
        }
    })
}

/// The operator looks for drift from time to time; nothing tells it of another client's change.
fn has_retention(kcat: &Kcat, bootstrap: &str, wanted: &str) -> Result<()> {
    wait::until("retention.ms as in the file", seconds(180), || {
        let found = kcat.topic_config(bootstrap, "orders", "retention.ms")?;
        if found == wanted {
            Ok(())
        } else {
            bail!("retention.ms is {found}, {wanted} wanted")
        }
    })
}
