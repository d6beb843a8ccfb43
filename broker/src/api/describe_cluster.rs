//! DescribeCluster: id, controller and brokers, as seen from the client's listener.

use protocol::ErrorCode;
use protocol::Str;
use protocol::messages::describe_cluster::{
    DescribeClusterRequest, DescribeClusterResponse, DescribeClusterResponseBroker,
};

use super::metadata::controller;
use super::serve::Ctx;

/// The endpoint type that asks for brokers; the other one asks for controllers, which have no listener of this kind here.
const BROKERS: i8 = 1;

/// Answers from this core's image.
pub async fn handle(ctx: &Ctx, request: DescribeClusterRequest) -> DescribeClusterResponse {
    let image = ctx.shard().image();
    if request.endpoint_type != BROKERS {
        let (error, why) = match request.endpoint_type {
            2 => (ErrorCode::MismatchedEndpointType, "this listener serves brokers"),
            _ => (ErrorCode::UnsupportedEndpointType, "unknown endpoint type"),
        };
        return DescribeClusterResponse {
            error_code: error.code(),
            error_message: Some(Str::from(why)),
            endpoint_type: request.endpoint_type,
            ..Default::default()
        };
    }
    let listed = image
        .brokers
        .values()
        .filter(|broker| request.include_fenced_brokers || !broker.fenced);
    let brokers = listed.filter_map(|broker| {
        let endpoint = broker.endpoint(&ctx.connection.listener)?;
        Some(DescribeClusterResponseBroker {
            broker_id: broker.node.0,
            host: Str::from(endpoint.host.to_string()),
            port: i32::from(endpoint.port),
            rack: broker.rack.as_ref().map(|rack| Str::from(rack.to_string())),
            is_fenced: broker.fenced,
        })
    });
    DescribeClusterResponse {
        endpoint_type: BROKERS,
        cluster_id: Str::from(image.cluster_id.to_string()),
        controller_id: controller(ctx, &image),
        brokers: brokers.collect(),
        ..Default::default()
    }
}
