//! The stories: what a user does and must see, one file each, and the table of them.
//!
//! Owns what surrounds a story: a namespace of its own, the report when it fails, and taking the namespace away.

mod bare_pod;
mod broker_loss;
mod cluster_changes;
mod crd_rules;
mod examples;
mod first_cluster;
mod given;
mod io_uring;
mod lease;
mod one_to_three;
mod pod_loss;
mod quiet;
mod quorum_loss;
mod rights;
mod roll;
mod scale_partitions;
mod three_brokers;
mod topic_lifecycle;

use std::cell::Cell;

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;

use crate::cluster::{Cluster, Images};
use crate::kafka::Kcat;
use crate::kubectl::Kubectl;
use crate::wait::{self, seconds};
use crate::{operator, report, timed};

/// One row of the table.
pub(crate) struct Story {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    /// Whether the chart must be installed for it.
    operator: bool,
    /// Whether it needs nodes and files that only a cluster of our own lets us reach.
    own_cluster: bool,
    /// How many nodes a cluster of our own must have for it.
    pub(crate) nodes: usize,
    /// Whether it looks at what all the others did.
    after_all: bool,
    /// The Pod Security Standard that its namespace enforces.
    pod_security: &'static str,
    tell: fn(&Env<'_>) -> Result<()>,
}

const fn story(name: &'static str, about: &'static str, tell: fn(&Env<'_>) -> Result<()>) -> Story {
    Story {
        name,
        about,
        operator: true,
        own_cluster: false,
        nodes: 1,
        after_all: false,
        pod_security: "restricted",
        tell,
    }
}

impl Story {
    const fn after_all(mut self) -> Story {
        self.after_all = true;
        self
    }

    const fn without_operator(mut self) -> Story {
        self.operator = false;
        self
    }

    /// On a cluster of our own with so many nodes.
    const fn on_nodes(mut self, nodes: usize) -> Story {
        self.own_cluster = true;
        self.nodes = nodes;
        self
    }

    const fn on_own_cluster(mut self) -> Story {
        self.own_cluster = true;
        self
    }
}

pub(crate) const STORIES: &[Story] = &[
    story(
        "bare_pod",
        "the broker image with KAFKA_* variables only serves kcat",
        bare_pod::tell,
    )
    .without_operator(),
    story(
        "crd_rules",
        "each rule of the custom resources passes one object and refuses one",
        crd_rules::tell,
    ),
    story(
        "examples",
        "every example is accepted, every broken one is refused with the field named",
        examples::tell,
    ),
    story(
        "first_cluster",
        "one file; clients inside and outside see the same records",
        first_cluster::tell,
    ),
    story(
        "topic_lifecycle",
        "create, patch, scale, configs, drift, refusals, delete, retain",
        topic_lifecycle::tell,
    ),
    story(
        "cluster_changes",
        "properties, resources, a larger volume, a listener less",
        cluster_changes::tell,
    ),
    story(
        "pod_loss",
        "pod deleted, broker killed: nothing acknowledged is lost; a lost volume is said to be",
        pod_loss::tell,
    )
    .on_own_cluster(),
    story(
        "three_brokers",
        "three brokers form one cluster, once, also when it is made again; one may go at a time, and not ready means not ready",
        three_brokers::tell,
    )
    .on_own_cluster(),
    story(
        "roll",
        "an edit restarts three brokers one by one, and no client notices",
        roll::tell,
    ),
    story(
        "broker_loss",
        "the leader of a partition killed, its pod deleted: neither a record nor a committed offset is lost",
        broker_loss::tell,
    )
    .on_own_cluster(),
    story(
        "scale_partitions",
        "more partitions under load: a running group reads them, and commits",
        scale_partitions::tell,
    ),
    story(
        "quorum_loss",
        "two of three machines without power, one volume gone, all volumes gone, two of them restored: said, healed, never formed anew",
        quorum_loss::tell,
    )
    .on_nodes(3),
    story(
        "one_to_three",
        "one broker becomes three under load, and then survives the loss of the first",
        one_to_three::tell,
    )
    .on_own_cluster(),
    story(
        "io_uring",
        "used where allowed, done without where forbidden, and said so",
        io_uring::tell,
    )
    .on_own_cluster(),
    story(
        "quiet",
        "a settled operator writes nothing but its Lease",
        quiet::tell,
    )
    .on_own_cluster(),
    story("lease", "two operators never both write", lease::tell).on_own_cluster(),
    story(
        "rights",
        "the operator is granted nothing that no story uses",
        rights::tell,
    )
    .on_own_cluster()
    .after_all(),
];

/// How a story ended.
pub(crate) enum Outcome {
    Passed,
    Skipped(&'static str),
    /// Why.
    Failed(String),
}

/// What a story works with.
pub(crate) struct Env<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) images: &'a Images,
    /// Bound to the story's own namespace.
    pub(crate) kubectl: Kubectl,
    pub(crate) namespace: String,
    has_client: Cell<bool>,
}

/// Runs one story in a namespace of its own.
pub(crate) fn play(story: &Story, cluster: &Cluster, installed: &Cell<bool>, all_passed: bool) -> Outcome {
    if story.after_all && !all_passed {
        return Outcome::Skipped("needs all other stories to have passed before it");
    }
    if story.own_cluster {
        match cluster.own() {
            Err(reason) => return Outcome::Skipped(reason),
            Ok(own) if own.nodes() < story.nodes => {
                return Outcome::Skipped("needs more nodes than NODES says");
            }
            Ok(_) => {}
        }
    }
    let namespace = format!("e2e-{}", story.name.replace('_', "-"));
    let env = Env {
        cluster,
        images: &cluster.images,
        kubectl: cluster.kubectl(&namespace),
        namespace,
        has_client: Cell::new(false),
    };
    let result = env.prepare(story, installed).and_then(|()| (story.tell)(&env));
    if let Err(error) = &result {
        eprintln!("story {} failed: {error:#}", story.name);
        report::print(cluster, &env.namespace);
    }
    // Waiting for the end of it shows that deletion works: finalizers, pods that stop in time.
    let cleaned = env.remove_namespace();
    match (result, cleaned) {
        (Err(error), _) => Outcome::Failed(format!("{error:#}")),
        (Ok(()), Err(error)) => {
            eprintln!("story {}: its namespace does not go away: {error:#}", story.name);
            report::print(cluster, &env.namespace);
            Outcome::Failed(format!("its namespace does not go away: {error:#}"))
        }
        (Ok(()), Ok(())) => Outcome::Passed,
    }
}

impl Env<'_> {
    fn prepare(&self, story: &Story, installed: &Cell<bool>) -> Result<()> {
        if story.operator && !installed.replace(true) {
            timed("helm install", || operator::install(self.cluster, &[]))?;
        }
        // Everything must work where the strictest of the Pod Security Standards is enforced.
        self.kubectl.apply(&format!(
            "{{apiVersion: v1, kind: Namespace, metadata: {{name: {}, \
             labels: {{pod-security.kubernetes.io/enforce: {}}}}}}}",
            self.namespace, story.pod_security,
        ))?;
        Ok(())
    }

    /// Deletes the namespace and waits: for its pods, which shows that brokers stop in time, then for all else in it.
    fn remove_namespace(&self) -> Result<()> {
        self.kubectl.delete("namespace", &self.namespace)?;
        wait::until("the namespace's pods gone", seconds(60), || {
            let pods = self.kubectl.list("pods", "")?;
            let names: Vec<_> = pods.iter().map(|pod| &pod["metadata"]["name"]).collect();
            ensure!(names.is_empty(), "{names:?} are still there");
            Ok(())
        })?;
        // The namespace controller deletes nothing else while pods are left, and looks again only after half of their
        // longest grace period, unless the namespace changes: Kubernetes, pkg/controller/namespace.
        let change = json!({"metadata": {"annotations": {"e2e.millrace.dev/pods": "gone"}}});
        if self.kubectl.exists("namespace", &self.namespace)?
            && let Err(error) = self.kubectl.patch("namespace", &self.namespace, &change)
            && self.kubectl.exists("namespace", &self.namespace)?
        {
            return Err(error);
        }
        self.kubectl.wait_gone("namespace", &self.namespace, seconds(60))
    }

    /// The same, looking at another namespace.
    pub(crate) fn in_namespace(&self, namespace: &str) -> Env<'_> {
        Env {
            cluster: self.cluster,
            images: self.images,
            kubectl: self.cluster.kubectl(namespace),
            namespace: namespace.to_owned(),
            has_client: Cell::new(false),
        }
    }

    /// Sends a signal to the first container of a pod, from its node.
    pub(crate) fn signal(&self, pod: &str, signal: &str) -> Result<()> {
        let Ok(own) = self.cluster.own() else {
            bail!("signals are sent from a node, and this is not a cluster of our own")
        };
        let pod = self.kubectl.get("pod", pod)?;
        let node = pod["spec"]["nodeName"]
            .as_str()
            .context("the pod is on no node")?;
        let container = pod["status"]["containerStatuses"][0]["containerID"]
            .as_str()
            .context("it has no container")?;
        let container = container.trim_start_matches("containerd://");
        own.node(node)?
            .run("ctr", &["-n", "k8s.io", "tasks", "kill", "-s", signal, container])
            .map(drop)
    }

    /// kcat in a pod of the story's namespace, which is started at the first call.
    pub(crate) fn kcat_inside(&self) -> Result<Kcat> {
        self.kcat_on("{}")
    }

    /// The same, on a node with these labels, in YAML.
    pub(crate) fn kcat_on(&self, labels: &str) -> Result<Kcat> {
        if !self.has_client.replace(true) {
            let pod = CLIENT_POD
                .replace("$IMAGE", &self.images.client)
                .replace("$NODE", labels);
            self.kubectl.apply(&pod)?;
            self.kubectl
                .wait_ready("client", seconds(60))
                .context("the client pod")?;
        }
        Ok(Kcat::Pod {
            kubectl: self.kubectl.clone(),
            pod: "client".to_owned(),
        })
    }
}

const CLIENT_POD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: client}
spec:
  terminationGracePeriodSeconds: 0
  automountServiceAccountToken: false
  nodeSelector: $NODE
  securityContext: {runAsNonRoot: true, runAsUser: 1000, seccompProfile: {type: RuntimeDefault}}
  containers:
  - name: client
    image: $IMAGE
    imagePullPolicy: IfNotPresent
    command: [sleep, infinity]
    securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
";
