//! The operator is granted nothing that it does not use: every verb of its roles occurs in the audit log of all stories.

use std::collections::BTreeSet;

use anyhow::{Result, bail, ensure};
use serde_json::Value;

use super::Env;
use crate::audit::{self, Request};
use crate::operator;

/// API group, resource, verb.
type Right = (String, String, String);

/// Granted and used by no request, with the reason.
const EXCEPTIONS: &[(&str, &str, &str)] = &[
    // Asked for by the admission plug-in OwnerReferencesPermissionEnforcement, where a cluster has it switched on.
    ("millrace.dev", "kafkaclusters/finalizers", "update"),
];

pub(super) fn tell(env: &Env<'_>) -> Result<()> {
    let Ok(own) = env.cluster.own() else {
        bail!("the table asks for a cluster of our own")
    };
    let requests = audit::requests_of(&own.audit_log(), &operator::user())?;
    let used: BTreeSet<Right> = requests
        .iter()
        .filter(|request| !request.forbidden)
        .flat_map(rights_used)
        .collect();

    let system = operator::kubectl(env.cluster);
    let mut granted = BTreeSet::new();
    for kind in ["clusterroles", "roles"] {
        for role in system.list(kind, "app.kubernetes.io/name=millrace-operator")? {
            collect(&role, &mut granted);
        }
    }
    ensure!(!granted.is_empty(), "the chart's roles are not found");
    let excepted: BTreeSet<Right> = EXCEPTIONS
        .iter()
        .map(|(group, resource, verb)| ((*group).to_owned(), (*resource).to_owned(), (*verb).to_owned()))
        .collect();
    let unused: Vec<_> = granted
        .difference(&used)
        .filter(|right| !excepted.contains(right))
        .collect();
    ensure!(unused.is_empty(), "granted, and used by no story: {unused:?}");
    let idle: Vec<_> = excepted
        .iter()
        .filter(|right| used.contains(right) || !granted.contains(right))
        .collect();
    ensure!(idle.is_empty(), "listed as exceptions without need: {idle:?}");
    Ok(())
}

/// What the API server asked its authorizer for this request.
fn rights_used(request: &Request) -> Vec<Right> {
    let right = |verb: &str| (request.group.clone(), request.resource.clone(), verb.to_owned());
    let mut rights = vec![right(&request.verb)];
    // A server-side apply is logged as patch; where it makes the object, the right to create was asked for as well.
    if request.verb == "patch" && request.code == 201 {
        rights.push(right("create"));
    }
    rights
}

fn collect(role: &Value, granted: &mut BTreeSet<Right>) {
    let words = |list: &Value| -> Vec<String> {
        let words = list.as_array().into_iter().flatten().filter_map(Value::as_str);
        words.map(str::to_owned).collect()
    };
    for rule in role["rules"].as_array().into_iter().flatten() {
        for group in words(&rule["apiGroups"]) {
            for resource in words(&rule["resources"]) {
                for verb in words(&rule["verbs"]) {
                    granted.insert((group.clone(), resource.clone(), verb));
                }
            }
        }
    }
}
