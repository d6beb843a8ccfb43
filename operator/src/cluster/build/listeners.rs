//! What each broker tells clients to connect to, by Kafka's listener name. Pure.

use crate::cluster::model::{Cluster, Listener};
use crate::crd::kafka_cluster::NodeAddressType;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Where nodes and services are, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Whereabouts {
    /// Kubernetes node by node id of the broker.
    pub node_of: BTreeMap<i32, String>,
    /// (type, address) pairs by Kubernetes node.
    pub addresses: BTreeMap<String, Vec<(String, String)>>,
    /// Allocated port by (node id, listener name).
    pub node_ports: BTreeMap<(i32, String), u16>,
}

/// host and port.
pub type Address = (String, i32);

/// The addresses of one broker by Kafka's listener name. A listener whose address is not known yet is absent.
pub fn advertised(cluster: &Cluster, node_id: i32, around: &Whereabouts) -> BTreeMap<String, Address> {
    let known = cluster.listeners.iter().filter_map(|listener| {
        let address = match listener.is_nodeport() {
            false => Some((cluster.pod_host(node_id), i32::from(listener.port))),
            true => outside(listener, node_id, around),
        };
        address.map(|address| (listener.kafka_name(), address))
    });
    known.collect()
}

fn outside(listener: &Listener, node_id: i32, around: &Whereabouts) -> Option<Address> {
    let port = around.node_ports.get(&(node_id, listener.name.clone()))?;
    let addresses = around.addresses.get(around.node_of.get(&node_id)?)?;
    let host = node_address(addresses, listener.node_address)?;
    Some((host, i32::from(*port)))
}

/// The address of the wanted type, or the first there is in Strimzi's order.
fn node_address(addresses: &[(String, String)], wanted: Option<NodeAddressType>) -> Option<String> {
    use NodeAddressType::{ExternalDNS, ExternalIP, Hostname, InternalDNS, InternalIP};
    let order = match wanted {
        Some(one) => vec![one],
        None => vec![ExternalDNS, ExternalIP, InternalDNS, InternalIP, Hostname],
    };
    order.into_iter().find_map(|kind| {
        let found = addresses.iter().find(|(name, _)| name == kind.name());
        found.map(|(_, address)| address.clone())
    })
}

/// The table the brokers watch: node id -> listener -> host:port.
pub fn table(cluster: &Cluster, around: &Whereabouts) -> Value {
    let rows = cluster.node_ids().map(|node_id| {
        let row: BTreeMap<String, String> = advertised(cluster, node_id, around)
            .into_iter()
            .map(|(name, (host, port))| (name, text(&host, port)))
            .collect();
        (node_id.to_string(), json!(row))
    });
    Value::Object(rows.collect())
}

/// host:port, with brackets around an IPv6 address.
pub fn text(host: &str, port: i32) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{checked, cluster};

    fn around() -> Whereabouts {
        Whereabouts {
            node_of: BTreeMap::from([(0, "n1".to_owned())]),
            addresses: BTreeMap::from([(
                "n1".to_owned(),
                vec![
                    ("InternalIP".into(), "10.0.0.1".into()),
                    ("Hostname".into(), "n1".into()),
                ],
            )]),
            node_ports: BTreeMap::from([((0, "external".to_owned()), 31000)]),
        }
    }

    #[test]
    fn internal_listeners_have_the_pods_name_and_nodeport_ones_the_nodes_address() {
        let cluster = checked(cluster("a").nodeport("external", 9094));
        let table = table(&cluster, &around());
        assert_eq!(table["0"]["PLAIN"], "a-kafka-0.a-kafka-brokers.apps.svc:9092");
        assert_eq!(table["0"]["EXTERNAL"], "10.0.0.1:31000");
    }

    #[test]
    fn an_address_that_is_not_known_yet_is_left_out() {
        let cluster = checked(cluster("a").nodeport("external", 9094));
        assert!(!advertised(&cluster, 0, &Whereabouts::default()).contains_key("EXTERNAL"));
    }

    #[test]
    fn the_wanted_type_of_address_is_taken_or_none() {
        let addresses = &around().addresses["n1"];
        assert_eq!(
            node_address(addresses, Some(NodeAddressType::Hostname)).as_deref(),
            Some("n1")
        );
        assert_eq!(node_address(addresses, Some(NodeAddressType::ExternalIP)), None);
    }
}
