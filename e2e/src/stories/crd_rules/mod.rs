//! Every rule of the custom resources on the API server itself: for each one object that it lets pass and one that it
//! refuses with the rule's own words. A rule without a row in the table fails the story, and so does a row without a rule.

mod cases;

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::Env;
use cases::{CASES, Case, Kind};

pub(super) fn tell(env: &Env<'_>) -> Result<()> {
    let mut rules = BTreeSet::new();
    for crd in ["kafkaclusters.millrace.dev", "kafkatopics.millrace.dev"] {
        collect_rules(&env.kubectl.get("crd", crd)?, &mut rules);
    }
    let told: BTreeSet<&str> = CASES.iter().map(|case| case.rule).collect();
    let known: BTreeSet<&str> = rules.iter().map(String::as_str).collect();
    let without_case: Vec<_> = known.difference(&told).collect();
    let without_rule: Vec<_> = told.difference(&known).collect();
    ensure!(without_case.is_empty(), "rules without a case: {without_case:#?}");
    ensure!(without_rule.is_empty(), "cases without a rule: {without_rule:#?}");

    for (number, case) in CASES.iter().enumerate() {
        check(env, number, case).with_context(|| format!("rule {:?}", case.rule))?;
    }
    Ok(())
}

fn check(env: &Env<'_>, number: usize, case: &Case) -> Result<()> {
    let mut object = base(case.kind, number);
    let mut verb = "create";
    if let Some(before) = case.before {
        merge(&mut object, &parse(before)?);
        env.kubectl
            .run_with_input(&["create", "-f", "-"], &object.to_string())
            .context("the object before")?;
        verb = "replace";
    }
    let call = [verb, "--dry-run=server", "-f", "-"];
    let with = |patch: &str| -> Result<String> {
        let mut changed = object.clone();
        merge(&mut changed, &parse(patch)?);
        Ok(changed.to_string())
    };
    env.kubectl
        .run_with_input(&call, &with(case.passes)?)
        .context("the case that must pass")?;
    let words = env.kubectl.refusal(&call, &with(case.refused)?)?;
    ensure!(words.contains(case.rule), "refused in other words: {words}");
    if case.before.is_some() {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        env.kubectl.delete(case.kind.plural(), name)?;
    }
    Ok(())
}

/// The smallest object of its kind. Paused: if an operator is there, it is to leave it alone.
fn base(kind: Kind, number: usize) -> Value {
    let spec = match kind {
        Kind::KafkaCluster => json!({"paused": true, "storage": {"type": "ephemeral"}}),
        Kind::KafkaTopic => json!({"paused": true, "clusterRef": {"name": "none"}}),
    };
    json!({
        "apiVersion": "millrace.dev/v1alpha1",
        "kind": kind.name(),
        "metadata": {"name": format!("case-{number}")},
        "spec": spec,
    })
}

fn parse(patch: &str) -> Result<Value> {
    serde_json::from_str(patch).with_context(|| format!("the table holds no JSON: {patch}"))
}

/// A JSON merge patch (RFC 7386).
fn merge(target: &mut Value, patch: &Value) {
    let Some(fields) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (name, value) in fields {
        if value.is_null() {
            if let Some(fields) = target.as_object_mut() {
                fields.remove(name);
            }
        } else {
            merge(&mut target[name.as_str()], value);
        }
    }
}

/// The messages of all rules, wherever they stand in a definition.
fn collect_rules(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                if name == "x-kubernetes-validations" {
                    let rules = value.as_array().into_iter().flatten();
                    found.extend(rules.filter_map(|rule| Some(rule["message"].as_str()?.to_owned())));
                }
                collect_rules(value, found);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| collect_rules(value, found)),
        _ => {}
    }
}
