//! The stories: what a user does and must see, one file each, and the table of them.
//!
//! Owns what surrounds a story: a namespace of its own, the report when it fails, and taking the namespace away.

mod bare_pod;

use std::cell::Cell;

use anyhow::{Context, Result};

use crate::cluster::{Cluster, Images};
use crate::kafka::Kcat;
use crate::kubectl::Kubectl;
use crate::wait::seconds;
use crate::{operator, report, timed};

/// One row of the table.
pub(crate) struct Story {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    /// Whether the chart must be installed for it.
    operator: bool,
    /// Whether it needs nodes and files that only a cluster of our own lets us reach.
    own_cluster: bool,
    /// The Pod Security Standard that its namespace enforces.
    pod_security: &'static str,
    tell: fn(&Env<'_>) -> Result<()>,
}

pub(crate) const STORIES: &[Story] = &[Story {
    name: "bare_pod",
    about: "the broker image with KAFKA_* variables only, without the operator, serves kcat",
    operator: false,
    own_cluster: false,
    pod_security: "restricted",
    tell: bare_pod::tell,
}];

/// How a story ended.
pub(crate) enum Outcome {
    Passed,
    Skipped(&'static str),
    Failed,
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
pub(crate) fn play(story: &Story, cluster: &Cluster, installed: &Cell<bool>) -> Outcome {
    if story.own_cluster
        && let Err(reason) = cluster.own()
    {
        return Outcome::Skipped(reason);
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
        (Err(_), _) => Outcome::Failed,
        (Ok(()), Err(error)) => {
            eprintln!("story {}: its namespace does not go away: {error:#}", story.name);
            report::print(cluster, &env.namespace);
            Outcome::Failed
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

    fn remove_namespace(&self) -> Result<()> {
        self.kubectl.delete("namespace", &self.namespace)?;
        self.kubectl.wait_gone("namespace", &self.namespace, seconds(90))
    }

    /// kcat in a pod of the story's namespace, which is started at the first call.
    pub(crate) fn kcat_inside(&self) -> Result<Kcat> {
        if !self.has_client.replace(true) {
            self.kubectl
                .apply(&CLIENT_POD.replace("$IMAGE", &self.images.client))?;
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
  securityContext: {runAsNonRoot: true, runAsUser: 1000, seccompProfile: {type: RuntimeDefault}}
  containers:
  - name: client
    image: $IMAGE
    imagePullPolicy: IfNotPresent
    command: [sleep, infinity]
    securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
";
