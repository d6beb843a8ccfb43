//! The operator is granted nothing that it does not use: every verb of its roles occurs in the audit log of all stories.

use std::collections::BTreeSet;

use anyhow::{Result, bail, ensure};
use serde_json::Value;

use super::Env;
use crate::{audit, operator};

/// Granted and used by no request, with the reason: resource, verb.
const EXCEPTIONS: &[(&str, &str)] = &[
    // Asked for by the admission plug-in OwnerReferencesPermissionEnforcement, where a cluster has it switched on.
    ("kafkaclusters/finalizers", "update"),
];

pub(super) fn tell(env: &Env<'_>) -> Result<()> {
    let Ok(own) = env.cluster.own() else {
        bail!("the table asks for a cluster of our own")
    };
    let requests = audit::requests_of(&own.audit_log(), &operator::user())?;
    let used: BTreeSet<(&str, &str)> = requests
        .iter()
        .map(|request| (request.resource.as_str(), request.verb.as_str()))
        .collect();

    let system = operator::kubectl(env.cluster);
    let mut granted = BTreeSet::new();
    for kind in ["clusterroles", "roles"] {
        for role in system.list(kind, "app.kubernetes.io/name=millrace-operator")? {
            collect(&role, &mut granted);
        }
    }
    ensure!(!granted.is_empty(), "the chart's roles are not found");
    let unused: Vec<_> = granted
        .iter()
        .map(|(resource, verb)| (resource.as_str(), verb.as_str()))
        .filter(|right| !used.contains(right) && !EXCEPTIONS.contains(right))
        .collect();
    ensure!(unused.is_empty(), "granted, and used by no story: {unused:?}");
    Ok(())
}

fn collect(role: &Value, granted: &mut BTreeSet<(String, String)>) {
    for rule in role["rules"].as_array().into_iter().flatten() {
        for resource in rule["resources"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
        {
            for verb in rule["verbs"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
            {
                granted.insert((resource.to_owned(), verb.to_owned()));
            }
        }
    }
}
