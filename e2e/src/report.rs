//! What a person needs to see when a story failed: events, objects with their conditions, pods and their logs.

use crate::cluster::Cluster;
use crate::kubectl::Kubectl;
use crate::operator;

/// Lines of log printed for each container.
const TAIL: &str = "--tail=60";

/// Prints the story's namespace and the operator. Never fails: the report must not hide the failure.
pub(crate) fn print(cluster: &Cluster, namespace: &str) {
    let kubectl = cluster.kubectl(namespace);
    eprintln!("---- what {namespace} looks like ----");
    show(
        &kubectl,
        &[
            "get",
            "kafkaclusters,kafkatopics,statefulsets,pods,services,pvc",
            "-o",
            "wide",
        ],
    );
    show(&kubectl, &["get", "kafkaclusters,kafkatopics", "-o", "yaml"]);
    show(&kubectl, &["get", "events", "--sort-by=.lastTimestamp"]);
    show(&kubectl, &["describe", "pods"]);
    logs(&kubectl);
    eprintln!("---- the operator ----");
    let system = operator::kubectl(cluster);
    logs(&system);
    show(&system, &["get", "events", "--sort-by=.lastTimestamp"]);
    show(&system, &["get", "pods,leases", "-o", "wide"]);
    show(
        &system,
        &[
            "get",
            "nodes",
            "-o",
            "custom-columns=NODE:.metadata.name,CONDITIONS:.status.conditions[?(@.status=='True')].type,TAINTS:.spec.taints[*].key",
        ],
    );
    eprintln!("---- end ----");
}

fn logs(kubectl: &Kubectl) {
    // A pod that was evicted has no containers to ask; its events say why.
    let Ok(pods) = kubectl.run(&[
        "get",
        "pods",
        "-o",
        "name",
        "--field-selector=status.phase!=Failed",
    ]) else {
        return;
    };
    for pod in pods.lines() {
        show(kubectl, &["logs", pod, "--all-containers", TAIL]);
        // The log of the container before the last restart; there is none without a restart.
        if let Ok(previous) = kubectl.run(&["logs", pod, "--previous", TAIL]) {
            eprintln!("$ kubectl logs {pod} --previous\n{previous}");
        }
    }
}

fn show(kubectl: &Kubectl, arguments: &[&str]) {
    match kubectl.run(arguments) {
        Ok(text) => eprintln!("$ kubectl {}\n{text}", arguments.join(" ")),
        Err(error) => eprintln!("$ kubectl {}\n{error:#}", arguments.join(" ")),
    }
}
