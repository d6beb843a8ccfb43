//! The service account of the brokers: it exists so that they do not run as `default`, has no role, and no token is mounted.

use super::{Kind, Object, labels};
use crate::cluster::model::Cluster;
use serde_json::json;

/// The account.
pub fn service_account(cluster: &Cluster) -> Object {
    let name = cluster.set_name();
    Object {
        kind: Kind::ServiceAccount,
        body: json!({
            "metadata": labels::metadata(cluster, &name),
            "automountServiceAccountToken": false,
        }),
        name,
    }
}
