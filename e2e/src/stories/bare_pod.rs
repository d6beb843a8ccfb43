//! A user of the popular Docker images moves a container over: the broker image, `KAFKA_*` variables, and nothing else.
//! No operator takes part, no volume, no command line.

use anyhow::{Result, ensure};

use super::Env;
use crate::wait::{self, seconds};

const POD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: kafka, labels: {app: kafka}}
spec:
  securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
  containers:
  - name: kafka
    image: $IMAGE
    imagePullPolicy: IfNotPresent
    env:
    - {name: KAFKA_BROKER_ID, value: '1'}
    - {name: KAFKA_ZOOKEEPER_CONNECT, value: 'zookeeper:2181'}
    - {name: KAFKA_ADVERTISED_LISTENERS, value: 'PLAINTEXT://kafka:9092'}
    - {name: KAFKA_LISTENER_SECURITY_PROTOCOL_MAP, value: 'PLAINTEXT:PLAINTEXT'}
    - {name: KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR, value: '1'}
    - {name: KAFKA_AUTO_CREATE_TOPICS_ENABLE, value: 'true'}
    securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
---
apiVersion: v1
kind: Service
metadata: {name: kafka}
spec:
  selector: {app: kafka}
  ports: [{port: 9092}]
";

pub(super) fn tell(env: &Env<'_>) -> Result<()> {
    env.kubectl.apply(&POD.replace("$IMAGE", &env.images.broker()))?;
    let kcat = env.kcat_inside()?;
    env.kubectl.wait_ready("kafka", seconds(60))?;

    let metadata = wait::until("the broker answers", seconds(30), || kcat.metadata("kafka:9092"))?;
    ensure!(
        metadata["brokers"][0]["name"] == "kafka:9092",
        "the advertised address is not told: {metadata}"
    );
    ensure!(
        metadata["brokers"][0]["id"] == 1,
        "KAFKA_BROKER_ID is not the node id: {metadata}"
    );

    let lines: Vec<String> = (0..100).map(|n| format!("line {n}")).collect();
    kcat.produce("kafka:9092", "made-by-itself", &lines)?;
    let read = kcat.consume("kafka:9092", "made-by-itself")?;
    ensure!(
        read.len() == lines.len(),
        "{} of {} records are there",
        read.len(),
        lines.len()
    );
    let in_group = kcat.consume_in_group("kafka:9092", "readers", "made-by-itself", lines.len())?;
    ensure!(
        in_group == read,
        "the group reads other records than a plain consumer"
    );
    Ok(())
}
