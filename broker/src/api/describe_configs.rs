//! DescribeConfigs: the effective properties of topics and of this broker, with where each value comes from.
//!
//! Everything is read off the property tables; which level wins is `shard/topic_config.rs`'s.

use std::collections::BTreeMap;

use protocol::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsRequestResource, DescribeConfigsResponse,
    DescribeConfigsResponseResult, DescribeConfigsResponseResultConfig,
    DescribeConfigsResponseResultConfigSynonym,
};
use protocol::properties::{self, Kind, Property, Scope};
use protocol::{ErrorCode, NodeId, Str};

use super::serve::Ctx;
use crate::metadata::Resource;
use crate::metadata::image::MetadataImage;
use crate::shard::Shard;
use crate::shard::topic_config::{Leveled, Levels, Source};

/// `ConfigResource.Type.TOPIC` of the Java client.
pub(super) const TOPIC: i8 = 2;
/// `ConfigResource.Type.BROKER`.
pub(super) const BROKER: i8 = 4;

/// The resource behind a type and a name, if it is one that has properties here.
pub(super) fn resource_of(kind: i8, name: &str) -> Option<Resource> {
    match kind {
        TOPIC => Some(Resource::Topic(name.to_string())),
        BROKER if name.is_empty() => Some(Resource::Cluster),
        BROKER => name.parse().ok().map(|node| Resource::Broker(NodeId(node))),
        _ => None,
    }
}

/// One property with its effective value.
pub(super) struct Described {
    property: &'static Property,
    /// All levels above the default, the winner first.
    levels: Vec<Leveled>,
}

impl Described {
    pub(super) fn name(&self) -> &'static str {
        self.property.name
    }

    /// The value in force. A password's is never told.
    pub(super) fn value(&self) -> Option<Str> {
        self.shown(
            self.levels
                .first()
                .map_or(self.property.default, |level| Some(&level.value)),
        )
    }

    pub(super) fn source(&self) -> i8 {
        self.levels
            .first()
            .map_or(Source::Default, |level| level.source)
            .code()
    }

    pub(super) fn is_sensitive(&self) -> bool {
        self.property.kind == Kind::Password
    }

    pub(super) fn is_read_only(&self) -> bool {
        self.property.scope == Scope::ReadOnly
    }

    fn shown(&self, value: Option<&str>) -> Option<Str> {
        value.filter(|_| !self.is_sensitive()).map(Str::copy_from)
    }

    fn synonyms(&self) -> Vec<DescribeConfigsResponseResultConfigSynonym> {
        let above = self
            .levels
            .iter()
            .map(|level| (level.name, Some(level.value.as_str()), level.source));
        let default = self
            .property
            .default
            .map(|value| (self.property.name, Some(value), Source::Default));
        above
            .chain(default)
            .map(
                |(name, value, source)| DescribeConfigsResponseResultConfigSynonym {
                    name: Str::copy_from(name),
                    value: self.shown(value),
                    source: source.code(),
                },
            )
            .collect()
    }
}

/// The properties of a topic that has `own` ones set.
pub(super) fn of_topic(
    shard: &Shard,
    image: &MetadataImage,
    own: &BTreeMap<String, String>,
) -> Vec<Described> {
    let levels = Levels {
        topic: own,
        image,
        node: shard.options.node_id,
        given: &shard.options.given,
    };
    let rows = properties::topic_properties();
    rows.map(|row| Described {
        property: &row.property,
        levels: levels.of_topic(row),
    })
    .collect()
}

/// The properties of this broker; of every broker where `node` is none (dynamic ones only, as Kafka tells them).
fn of_broker(shard: &Shard, image: &MetadataImage, node: Option<NodeId>) -> Vec<Described> {
    let none = BTreeMap::new();
    let levels = Levels {
        topic: &none,
        image,
        node: shard.options.node_id,
        given: &shard.options.given,
    };
    let all = properties::broker_properties();
    let described = all.map(|property| Described {
        property,
        levels: levels.of_broker(property.name),
    });
    match node {
        Some(_) => described.collect(),
        None => described
            .map(|described| Described {
                levels: described
                    .levels
                    .into_iter()
                    .filter(|level| level.source == Source::DynamicDefault)
                    .collect(),
                ..described
            })
            .filter(|described| !described.levels.is_empty())
            .collect(),
    }
}

/// Answers per resource.
pub async fn handle(ctx: &Ctx, request: DescribeConfigsRequest) -> DescribeConfigsResponse {
    let image = ctx.shard().image();
    let results = request.resources.iter().map(|resource| {
        let result = described(ctx, &image, resource);
        answer(
            resource,
            result,
            request.include_synonyms,
            request.include_documentation,
        )
    });
    DescribeConfigsResponse {
        results: results.collect(),
        ..Default::default()
    }
}

fn described(
    ctx: &Ctx,
    image: &MetadataImage,
    resource: &DescribeConfigsRequestResource,
) -> Result<Vec<Described>, (ErrorCode, String)> {
    let shard = ctx.shard();
    match resource_of(resource.resource_type, &resource.resource_name) {
        Some(Resource::Topic(name)) => match image.topic(&name) {
            Some(topic) => Ok(of_topic(shard, image, &topic.configs)),
            None => Err((
                ErrorCode::UnknownTopicOrPartition,
                format!("there is no topic {name}"),
            )),
        },
        Some(Resource::Cluster) => Ok(of_broker(shard, image, None)),
        Some(Resource::Broker(node)) if node == shard.options.node_id => {
            Ok(of_broker(shard, image, Some(node)))
        }
        Some(Resource::Broker(node)) => Err((
            ErrorCode::InvalidRequest,
            format!("this is broker {}, not {node}", shard.options.node_id),
        )),
        None => {
            let kind = resource.resource_type;
            Err((
                ErrorCode::InvalidRequest,
                format!("resources of type {kind} have no properties here"),
            ))
        }
    }
}

fn answer(
    resource: &DescribeConfigsRequestResource,
    result: Result<Vec<Described>, (ErrorCode, String)>,
    synonyms: bool,
    documentation: bool,
) -> DescribeConfigsResponseResult {
    let asked = |name: &str| {
        resource
            .configuration_keys
            .as_ref()
            .is_none_or(|keys| keys.iter().any(|key| *key == name))
    };
    let (error, message, described) = match result {
        Ok(described) => (ErrorCode::None, None, described),
        Err((error, message)) => (error, Some(Str::from(message)), Vec::new()),
    };
    let configs = described.iter().filter(|described| asked(described.name()));
    DescribeConfigsResponseResult {
        error_code: error.code(),
        error_message: message,
        resource_type: resource.resource_type,
        resource_name: resource.resource_name.clone(),
        configs: configs
            .map(|described| config(described, synonyms, documentation))
            .collect(),
    }
}

fn config(described: &Described, synonyms: bool, documentation: bool) -> DescribeConfigsResponseResultConfig {
    DescribeConfigsResponseResultConfig {
        name: Str::copy_from(described.name()),
        value: described.value(),
        read_only: described.is_read_only(),
        config_source: described.source(),
        is_sensitive: described.is_sensitive(),
        synonyms: if synonyms {
            described.synonyms()
        } else {
            Vec::new()
        },
        config_type: described.property.kind.code(),
        documentation: documentation.then(|| Str::copy_from(described.property.doc)),
    }
}
