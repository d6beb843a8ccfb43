//! FindCoordinator: which broker answers for a group, at the address that the client's own listener advertises. The first
//! one ever asked for makes the offsets topic.

use protocol::messages::find_coordinator::{
    FindCoordinatorRequest, FindCoordinatorResponse, FindCoordinatorResponseCoordinator,
};
use protocol::{ErrorCode, Str};

use super::groups;
use super::serve::Ctx;

/// From this version on many keys can be asked for at once.
const MANY_KEYS: i16 = 4;

/// `key_type` of a group; the others are 1 (transactional id) and 2 (share group).
const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
const SHARE: i8 = 2;

struct Found {
    node_id: i32,
    host: Str,
    port: i32,
}

struct NotFound {
    code: ErrorCode,
    why: Option<String>,
}

/// Answers for every key.
pub async fn handle(ctx: &Ctx, request: FindCoordinatorRequest) -> FindCoordinatorResponse {
    if ctx.version() < MANY_KEYS {
        return one(find(ctx, request.key_type, &request.key).await);
    }
    let mut coordinators = Vec::with_capacity(request.coordinator_keys.len());
    for key in request.coordinator_keys {
        let found = find(ctx, request.key_type, &key).await;
        coordinators.push(one_of_many(key, found));
    }
    FindCoordinatorResponse {
        coordinators,
        ..Default::default()
    }
}

async fn find(ctx: &Ctx, key_type: i8, key: &str) -> Result<Found, NotFound> {
    match key_type {
        GROUP => find_group(ctx, key).await,
        // Clients retry COORDINATOR_NOT_AVAILABLE for ever. This one they take as final: the Java producer throws from
        // initTransactions with these words, and nobody waits for a coordinator that will not come.
        TRANSACTION => Err(unsupported("transactions are not served by this broker yet")),
        SHARE => Err(unsupported("share groups are not served by this broker yet")),
        other => Err(NotFound {
            code: ErrorCode::InvalidRequest,
            why: Some(format!("there is no coordinator of key type {other}")),
        }),
    }
}

fn unsupported(why: &str) -> NotFound {
    NotFound {
        code: ErrorCode::UnsupportedVersion,
        why: Some(why.to_owned()),
    }
}

async fn find_group(ctx: &Ctx, group: &str) -> Result<Found, NotFound> {
    let shard = ctx.shard();
    let unavailable = || NotFound {
        code: ErrorCode::CoordinatorNotAvailable,
        why: None,
    };
    let topic = shard
        .coordinators
        .offsets_topic(shard)
        .await
        .map_err(|code| NotFound { code, why: None })?;
    let place = groups::place(&topic, group);
    let leader = topic
        .partition(place.partition)
        .and_then(|partition| partition.leader);
    let leader = leader.ok_or_else(unavailable)?;
    let image = shard.image();
    let broker = image.broker(leader).ok_or_else(unavailable)?;
    // A broker that does not have the client's listener cannot be reached by this client.
    let endpoint = broker
        .endpoint(&ctx.connection.listener)
        .ok_or_else(unavailable)?;
    Ok(Found {
        node_id: leader.0,
        host: Str::from(endpoint.host.to_string()),
        port: i32::from(endpoint.port),
    })
}

fn one(found: Result<Found, NotFound>) -> FindCoordinatorResponse {
    match found {
        Ok(found) => FindCoordinatorResponse {
            error_message: None,
            node_id: found.node_id,
            host: found.host,
            port: found.port,
            ..Default::default()
        },
        Err(error) => FindCoordinatorResponse {
            error_code: error.code.code(),
            error_message: error.why.map(Str::from),
            node_id: -1,
            port: -1,
            ..Default::default()
        },
    }
}

fn one_of_many(key: Str, found: Result<Found, NotFound>) -> FindCoordinatorResponseCoordinator {
    match found {
        Ok(found) => FindCoordinatorResponseCoordinator {
            key,
            node_id: found.node_id,
            host: found.host,
            port: found.port,
            error_code: 0,
            error_message: None,
        },
        Err(error) => FindCoordinatorResponseCoordinator {
            key,
            node_id: -1,
            host: Str::EMPTY,
            port: -1,
            error_code: error.code.code(),
            error_message: error.why.map(Str::from),
        },
    }
}
