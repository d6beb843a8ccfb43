//! IO: carries out the steps of a plan, in order. Every write passes the fence of the Lease on its way out.

use super::build::{Kind, Object, labels};
use super::observe::{Observed, admin_address};
use super::plan::{Plan, Restart, Step};
use crate::broker::{Broker, BrokerError, CanStop};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Service};
use kube::Client;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams, Preconditions,
    PropagationPolicy,
};
use serde_json::{Value, json};

/// What became of a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Restarts that were carried out.
    pub restarted: Vec<Restart>,
    /// Why a restart has to wait, in the broker's words.
    pub blocked: Option<String>,
    /// Brokers that were told their addresses.
    pub advertised: Vec<(i32, String)>,
    /// The broker was told its dynamic properties.
    pub told: bool,
    /// A broker that did not take what it was told.
    pub refused: Option<String>,
}

/// A request that the API server refused, with what it was for.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {source}")]
pub struct ApplyError {
    /// Verb and object.
    pub what: String,
    /// The API server's words.
    pub source: kube::Error,
}

impl ApplyError {
    /// The namespace is on its way out, and takes everything in it along.
    pub fn namespace_goes(&self) -> bool {
        matches!(&self.source, kube::Error::Api(status) if status.code == 403 && status.message.contains("being terminated"))
    }
}

/// Carries the steps out. Kubernetes' refusals end it; a broker's refusal is part of the outcome.
pub async fn apply(
    client: &Client,
    namespace: &str,
    plan: &Plan,
    observed: &Observed,
    cluster_id: &str,
) -> Result<Applied, ApplyError> {
    let mut applied = Applied::default();
    for step in &plan.steps {
        match step {
            Step::Apply(object) => apply_object(client, namespace, object).await?,
            Step::DeleteService(name) => {
                let services: Api<Service> = Api::namespaced(client.clone(), namespace);
                let deleted = services.delete(name, &DeleteParams::default()).await;
                gone_is_fine(deleted.map(drop), || format!("delete service {name}"))?;
            }
            Step::GrowClaim { name, size } => {
                let patch = json!({"spec": {"resources": {"requests": {"storage": size}}}});
                patch_claim(client, namespace, name, &patch, "grow").await?;
            }
            Step::MarkFormed(name) => {
                let patch = json!({"metadata": {"annotations": {labels::FORMED: "true"}}});
                patch_claim(client, namespace, name, &patch, "annotate").await?;
            }
            Step::Advertise { node_id, addresses } => {
                let told = async {
                    connect(observed, cluster_id, *node_id)
                        .await?
                        .set_advertised(addresses)
                        .await
                };
                match told.await {
                    Ok(_) => {
                        let shown = addresses.iter().map(|(name, (host, port))| {
                            format!("{name} {}", super::build::listeners::text(host, *port))
                        });
                        applied
                            .advertised
                            .push((*node_id, shown.collect::<Vec<_>>().join(", ")));
                    }
                    Err(error) => applied.refused = Some(error.to_string()),
                }
            }
            Step::SetDynamic { node_id, configs } => {
                let told = async {
                    connect(observed, cluster_id, *node_id)
                        .await?
                        .set_dynamic(configs)
                        .await
                };
                match told.await {
                    Ok(_) => applied.told = true,
                    Err(error) => applied.refused = Some(error.to_string()),
                }
            }
            Step::Restart(restart) => {
                carry_out(client, namespace, restart, observed, cluster_id, &mut applied).await?
            }
        }
    }
    Ok(applied)
}

async fn connect(observed: &Observed, cluster_id: &str, node_id: i32) -> Result<Broker, BrokerError> {
    let ip = observed
        .pods
        .get(&node_id)
        .and_then(|pod| pod.ip.as_deref())
        .unwrap_or_default();
    Broker::connect(&admin_address(ip), Some(cluster_id), node_id).await
}

async fn apply_object(client: &Client, namespace: &str, object: &Object) -> Result<(), ApplyError> {
    let (group, version, plural) = object.kind.api();
    let resource =
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, object.kind.name()), plural);
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    let how = PatchParams::apply(labels::MANAGER).force().validation_strict();
    let patched = api.patch(&object.name, &how, &Patch::Apply(&object.body)).await;
    patched.map(drop).map_err(|source| ApplyError {
        what: format!("apply {} {}", kind_word(object.kind), object.name),
        source,
    })
}

fn kind_word(kind: Kind) -> &'static str {
    kind.name()
}

async fn patch_claim(
    client: &Client,
    namespace: &str,
    name: &str,
    patch: &Value,
    verb: &str,
) -> Result<(), ApplyError> {
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), namespace);
    let patched = claims
        .patch(name, &PatchParams::default(), &Patch::Merge(patch))
        .await;
    patched.map(drop).map_err(|source| ApplyError {
        what: format!("{verb} volume claim {name}"),
        source,
    })
}

async fn carry_out(
    client: &Client,
    namespace: &str,
    restart: &Restart,
    observed: &Observed,
    cluster_id: &str,
    applied: &mut Applied,
) -> Result<(), ApplyError> {
    if restart.ask {
        let asked = async {
            connect(observed, cluster_id, restart.node_id)
                .await?
                .can_stop()
                .await
        };
        match asked.await {
            Ok(CanStop::Allowed) => {}
            Ok(CanStop::Blocked(why)) => {
                applied.blocked = Some(why);
                return Ok(());
            }
            Err(error) => {
                applied.blocked = Some(format!(
                    "broker {} does not say whether it may stop: {error}",
                    restart.node_id
                ));
                return Ok(());
            }
        }
    }
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let only_this_pod = DeleteParams {
        preconditions: Some(Preconditions {
            uid: Some(restart.uid.clone()),
            resource_version: None,
        }),
        propagation_policy: Some(PropagationPolicy::Background),
        ..DeleteParams::default()
    };
    let deleted = pods.delete(&restart.pod, &only_this_pod).await;
    gone_is_fine(deleted.map(drop), || format!("delete pod {}", restart.pod))?;
    applied.restarted.push(restart.clone());
    Ok(())
}

/// Gone already, or another object by now.
fn gone_is_fine(result: Result<(), kube::Error>, what: impl Fn() -> String) -> Result<(), ApplyError> {
    match result {
        Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Ok(()),
        Err(source) => Err(ApplyError { what: what(), source }),
        Ok(()) => Ok(()),
    }
}
