//! The gRPC contracts: between operator and broker (`proto/admin.proto`), and between the brokers of a cluster
//! (`proto/control.proto`), as Rust types, clients and servers.
//!
//! Owns the contracts and nothing else. The operator's requests are answered by `broker`'s `quorum/admin.rs` and asked by
//! `operator`'s `broker.rs`; brokers ask and answer each other in `quorum/`.

/// `millrace.admin.v1`: messages, [`v1::admin_client::AdminClient`] and [`v1::admin_server::AdminServer`].
pub mod v1 {
    #![allow(clippy::all, missing_docs, unreachable_pub)]
    tonic::include_proto!("millrace.admin.v1");
}

/// `millrace.control.v1`: messages, [`control::control_client::ControlClient`] and
/// [`control::control_server::ControlServer`].
pub mod control {
    #![allow(clippy::all, missing_docs, unreachable_pub)]
    tonic::include_proto!("millrace.control.v1");
}

#[cfg(test)]
mod tests {
    use super::v1;

    #[test]
    fn the_contract_has_the_requests_the_operator_asks() {
        let target = v1::Target {
            cluster_id: "abc".into(),
            node_id: 0,
        };
        let request = v1::CanStopRequest { target: Some(target) };
        assert_eq!(request.target.map(|target| target.node_id), Some(0));
        assert_eq!(v1::admin_server::SERVICE_NAME, "millrace.admin.v1.Admin");
    }
}
