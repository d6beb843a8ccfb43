//! The gRPC contract between operator and broker: `proto/admin.proto` as Rust types, client and server.
//!
//! Owns the contract and nothing else: who answers the requests is `broker`'s `quorum/admin.rs`, who asks them is
//! `operator`'s `broker.rs`.

/// `millrace.admin.v1`: messages, [`v1::admin_client::AdminClient`] and [`v1::admin_server::AdminServer`].
pub mod v1 {
    #![allow(clippy::all, missing_docs, unreachable_pub)]
    tonic::include_proto!("millrace.admin.v1");
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
