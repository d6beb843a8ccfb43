//! A `KafkaCluster` becomes brokers: observe, validate, build, plan, apply, status; nothing else.

pub mod apply;
pub mod build;
pub mod lost;
pub mod model;
pub mod observe;
pub mod plan;
pub mod roll;
pub mod status;
pub mod validate;

use crate::cache::Key;
use crate::crd::{KafkaCluster, KafkaClusterStatus};
use crate::run::{Context, GOING};
use apply::Applied;
use build::labels;
use jiff::Timestamp;
use kube::ResourceExt;
use observe::Observed;
use plan::Plan;
use std::time::Duration;
use validate::Invalid;

/// Pause before the next look while something is under way. Pods are watched; a broker's own progress is asked for.
const SOON: Duration = Duration::from_secs(1);

/// One look at a cluster. Returns when to look again if nothing happens before; a cluster that is gone is forgotten.
pub async fn reconcile(context: &Context, key: &Key) -> Result<Option<Duration>, String> {
    let quiet = context.options.full_reconciliation;
    let Some(resource) = context.caches.clusters.get(&key.0, &key.1) else {
        // Owner references take care of the objects.
        context.forget(key);
        return Ok(None);
    };
    let resource = context.with_written(&*resource);
    if resource.metadata.deletion_timestamp.is_some() {
        return Ok(Some(quiet));
    }
    if context.namespace_goes(&resource) {
        return Ok(Some(GOING));
    }
    let observed = observe::observe(&context.caches, &resource).await;
    let paused = resource.spec.paused
        || resource
            .annotations()
            .get(labels::PAUSED)
            .is_some_and(|value| value == "true");
    let recorded = resource
        .status
        .as_ref()
        .and_then(|status| status.cluster_id.clone());
    let kept = observed.kept(recorded.as_deref());
    let checked = validate::validate(&resource, &kept, &context.options.defaults);
    let (status, applied) = match &checked {
        Err(wrong) => (
            conclude(
                &resource,
                Err(wrong),
                &observed,
                &Plan::default(),
                Ok(&Applied::default()),
                paused,
            ),
            None,
        ),
        Ok(cluster) => {
            let desired = build::build(cluster, &observed.around);
            let mut plan = plan::plan(cluster, &desired, &observed, &context.told(key));
            if paused {
                plan.steps.clear();
            }
            // The id is written down before anything starts with it.
            if recorded.is_none() && !paused {
                let first = KafkaClusterStatus {
                    cluster_id: Some(cluster.cluster_id.clone()),
                    ..conclude(
                        &resource,
                        Ok((cluster, &desired)),
                        &observed,
                        &plan,
                        Ok(&Applied::default()),
                        paused,
                    )
                };
                return record(context, &resource, &first, None)
                    .await
                    .map(|()| Some(Duration::ZERO));
            }
            let applied = apply::apply(&context.client, &key.0, &plan, &observed, &cluster.cluster_id).await;
            if applied.as_ref().is_err_and(apply::ApplyError::namespace_goes) {
                context.note_namespace_goes(&resource);
                return Ok(Some(GOING));
            }
            let text = applied.as_ref().err().map(ToString::to_string);
            if let Some(error) = &text {
                tracing::warn!(namespace = key.0, cluster = key.1, error, "apply");
            }
            if let Ok(applied) = &applied
                && let Some(refused) = &applied.refused
            {
                tracing::warn!(
                    namespace = key.0,
                    cluster = key.1,
                    error = refused,
                    "tell the broker"
                );
            }
            if applied.as_ref().is_ok_and(|applied| applied.told)
                && let Some((_, facts)) = observed.speaker()
            {
                context.remember_told(key, facts.incarnation.clone(), desired.dynamic_config.clone());
            }
            let outcome = match (&applied, &text) {
                (Ok(applied), _) => Ok(applied),
                (Err(_), text) => Err(text.as_deref().unwrap_or_default()),
            };
            let status = conclude(
                &resource,
                Ok((cluster, &desired)),
                &observed,
                &plan,
                outcome,
                paused,
            );
            (status, applied.ok())
        }
    };
    record(context, &resource, &status, applied.as_ref()).await?;
    let settled = !crate::crd::conditions::is_true(&status.conditions, crate::crd::conditions::RECONCILING);
    let acted = applied
        .as_ref()
        .is_some_and(|applied| *applied != Applied::default());
    // A settled cluster is asked about now and then: a broker may lose its engine's word or its address unseen.
    Ok(Some(if !settled || acted {
        SOON
    } else {
        quiet.min(Duration::from_secs(30))
    }))
}

fn conclude(
    resource: &KafkaCluster,
    checked: Result<(&model::Cluster, &build::Desired), &Vec<Invalid>>,
    observed: &Observed,
    plan: &Plan,
    applied: Result<&Applied, &str>,
    paused: bool,
) -> KafkaClusterStatus {
    let outcome = status::Outcome {
        checked: checked.map_err(Vec::as_slice),
        observed,
        plan,
        applied,
        paused,
    };
    status::status(resource, &outcome, Timestamp::now())
}

/// Writes status and Events, if there is anything new in them.
async fn record(
    context: &Context,
    resource: &KafkaCluster,
    status: &KafkaClusterStatus,
    applied: Option<&Applied>,
) -> Result<(), String> {
    let before = resource.status.clone().unwrap_or_default();
    for (warning, reason, text) in status::events(&before, status, applied) {
        context.event(resource, warning, reason, &text).await;
    }
    if before == *status {
        return Ok(());
    }
    context.write_status(resource, status).await
}
