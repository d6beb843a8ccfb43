//! The API server's audit log: who asked for what, and with what answer.
//!
//! Owns the reading of it. Only a cluster of our own has one that we can read.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

/// One finished request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) verb: String,
    pub(crate) user: String,
    /// Name of the pod whose token was used, when the user is a service account.
    pub(crate) pod: String,
    /// Empty for the core group.
    pub(crate) group: String,
    /// With the subresource: `pods/status`.
    pub(crate) resource: String,
    pub(crate) code: u64,
    /// Refused for want of rights. A 403 alone may also mean that the namespace is going away.
    pub(crate) forbidden: bool,
    /// As the API server wrote it: RFC 3339 in UTC with microseconds, so text order is time order.
    pub(crate) time: String,
}

impl Request {
    /// True if it asked to change something.
    pub(crate) fn writes(&self) -> bool {
        !matches!(self.verb.as_str(), "get" | "list" | "watch")
    }
}

/// Everything that one user asked for, in the order of the log. A half-written last line is left out.
pub(crate) fn requests_of(log: &Path, user: &str) -> Result<Vec<Request>> {
    let text = fs::read_to_string(log).with_context(|| format!("read {}", log.display()))?;
    let finished = text
        .lines()
        // Most lines are of others, and stories read the log several times a second.
        .filter(|line| line.contains(user))
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    Ok(finished
        .map(|event| request(&event))
        .filter(|request| request.user == user)
        .collect())
}

fn request(event: &Value) -> Request {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let target = &event["objectRef"];
    let mut resource = text(&target["resource"]);
    if let Some(subresource) = target["subresource"].as_str() {
        resource = format!("{resource}/{subresource}");
    }
    Request {
        verb: text(&event["verb"]),
        user: text(&event["user"]["username"]),
        pod: text(&event["user"]["extra"]["authentication.kubernetes.io/pod-name"][0]),
        group: text(&target["apiGroup"]),
        resource,
        forbidden: event["annotations"]["authorization.k8s.io/decision"] == "forbid",
        code: event["responseStatus"]["code"].as_u64().unwrap_or_default(),
        time: text(&event["stageTimestamp"]),
    }
}
