//! IncrementalAlterConfigs: topics, one broker, or every broker. All changes of a resource are made, or none.

use std::collections::HashSet;
use std::time::Duration;

use protocol::messages::incremental_alter_configs::{
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsRequestResource, IncrementalAlterConfigsResponse,
    IncrementalAlterConfigsResponseResponse,
};
use protocol::{ErrorCode, Str};

use super::describe_configs::{BROKER, TOPIC, resource_of};
use super::replies::{Replies, unanswered};
use super::serve::Ctx;
use crate::metadata::{AlterResource, ConfigChange, ConfigOp, ItemError, Reply, Request};

/// The request carries no deadline of its own; this is the Java admin client's default.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Changes what can be changed, answers per resource.
pub async fn handle(ctx: &Ctx, request: IncrementalAlterConfigsRequest) -> IncrementalAlterConfigsResponse {
    let checked: Vec<Result<AlterResource, ItemError>> = request.resources.iter().map(check).collect();
    let resources = checked
        .iter()
        .filter_map(|resource| resource.as_ref().ok().cloned())
        .collect();
    let submitted = Request::AlterConfigs {
        resources,
        validate_only: request.validate_only,
    };
    let replies = match ctx.shard().submit(submitted, TIMEOUT).await {
        Ok(Reply::AlterConfigs(replies)) => Ok(replies.into_iter().map(|reply| reply.result)),
        Ok(_) => Err(unanswered()),
        Err(refused) => Err(refused),
    };
    let mut replies = Replies::new(replies);
    let responses = request
        .resources
        .into_iter()
        .zip(checked)
        .map(|(resource, checked)| {
            let error = checked.and_then(|_| replies.next()).err();
            IncrementalAlterConfigsResponseResponse {
                error_code: error.as_ref().map_or(ErrorCode::None, |error| error.code).code(),
                error_message: error.map(|error| Str::from(error.message)),
                resource_type: resource.resource_type,
                resource_name: resource.resource_name,
            }
        });
    IncrementalAlterConfigsResponse {
        responses: responses.collect(),
        ..Default::default()
    }
}

fn check(resource: &IncrementalAlterConfigsRequestResource) -> Result<AlterResource, ItemError> {
    let named = resource_of(resource.resource_type, &resource.resource_name).ok_or_else(|| {
        let why = format!("only topics ({TOPIC}) and brokers ({BROKER}) have properties to change here");
        ItemError::new(ErrorCode::InvalidRequest, why)
    })?;
    let mut seen = HashSet::new();
    let changes = resource.configs.iter().map(|config| {
        if !seen.insert(config.name.clone()) {
            return Err(ItemError::new(
                ErrorCode::InvalidRequest,
                format!("{} is named twice", config.name),
            ));
        }
        let op = ConfigOp::from_wire(config.config_operation)
            .ok_or_else(|| ItemError::new(ErrorCode::InvalidRequest, "unknown config operation"))?;
        let value = config.value.as_ref().map(ToString::to_string);
        Ok(ConfigChange {
            name: config.name.to_string(),
            op,
            value,
        })
    });
    Ok(AlterResource {
        resource: named,
        changes: changes.collect::<Result<_, _>>()?,
    })
}
