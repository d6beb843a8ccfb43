//! ApiVersions: what this broker serves, computed from the table of handlers.

use bytes::Bytes;
use protocol::messages::api_versions::{
    ApiVersionsRequest, ApiVersionsResponse, ApiVersionsResponseApiKey, ApiVersionsResponseFinalizedFeature,
    ApiVersionsResponseSupportedFeature,
};
use protocol::{ApiKey, ErrorCode, Str};

use super::serve::{self, Core, Ctx, Outcome};
use super::update_features::{FEATURES, Feature};

/// Answers with the table.
pub async fn handle(ctx: &Ctx, request: ApiVersionsRequest) -> ApiVersionsResponse {
    let core = &ctx.connection.core;
    if ctx.version() >= 5
        && let Some(error) = wrong_target(ctx, &request)
    {
        return ApiVersionsResponse {
            error_code: error.code(),
            ..answer(core)
        };
    }
    answer(core)
}

/// KIP-1242: the client says whom it means to talk to; a recycled address must not be taken for the old broker.
fn wrong_target(ctx: &Ctx, request: &ApiVersionsRequest) -> Option<ErrorCode> {
    let image = ctx.shard().image();
    let cluster = request
        .cluster_id
        .as_deref()
        .is_some_and(|wanted| wanted != &*image.cluster_id);
    let node = request.node_id >= 0 && request.node_id != ctx.shard().options.node_id.0;
    (cluster || node).then_some(ErrorCode::RebootstrapRequired)
}

fn answer(core: &Core) -> ApiVersionsResponse {
    ApiVersionsResponse {
        api_keys: core.served().map(advertised).collect(),
        supported_features: FEATURES.iter().map(supported).collect(),
        // They are what they were when the cluster was formed.
        finalized_features_epoch: 0,
        finalized_features: FEATURES.iter().map(finalized).collect(),
        ..Default::default()
    }
}

fn supported(feature: &Feature) -> ApiVersionsResponseSupportedFeature {
    ApiVersionsResponseSupportedFeature {
        name: Str::from(feature.name),
        min_version: feature.level,
        max_version: feature.level,
    }
}

fn finalized(feature: &Feature) -> ApiVersionsResponseFinalizedFeature {
    ApiVersionsResponseFinalizedFeature {
        name: Str::from(feature.name),
        min_version_level: feature.level,
        max_version_level: feature.level,
    }
}

/// The range of one API as clients are told.
fn advertised(key: ApiKey) -> ApiVersionsResponseApiKey {
    let served = serve::served_versions(key);
    // Old librdkafka derives features from version overlap and turns compression and more off when Produce does not
    // begin at 0, though it never sends versions below 3 to a broker with newer ones (KAFKA-18659).
    let min_version = if key == ApiKey::Produce {
        0
    } else {
        *served.start()
    };
    ApiVersionsResponseApiKey {
        api_key: key.code(),
        min_version,
        max_version: *served.end(),
    }
}

/// A version of ApiVersions that we do not know: the one request that can be answered, in version 0, with the real ranges,
/// so that the client tries again with one it knows.
pub(super) fn unknown_version(core: &Core, frame: &Bytes) -> Outcome {
    let response = ApiVersionsResponse {
        error_code: ErrorCode::UnsupportedVersion.code(),
        ..answer(core)
    };
    let correlation_id = frame
        .get(4..8)
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(0, i32::from_be_bytes);
    serve::encode(ApiKey::ApiVersions, 0, correlation_id, &response)
}
