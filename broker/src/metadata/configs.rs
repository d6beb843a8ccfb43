//! Properties of topics and dynamic properties of brokers are changed.
//!
//! Owns what a change to a property comes to (set, delete, append, subtract) and who may be changed. Leaves names, kinds
//! and ranges to `protocol::properties`; that a property has an effect is its users' business.

use std::collections::{BTreeMap, BTreeSet};

use protocol::error_code::ErrorCode;
use protocol::ids::NodeId;

use super::rules::{self, Level};
use super::{
    AlterResource, ConfigChange, ConfigOp, Defaults, ItemError, MetadataImage, Outcome, Record, Reply,
    Resource, ResourceReply, Updated, is_internal, isr, record,
};

/// The properties a new topic starts with, checked.
pub(super) fn of_new_topic(
    topic: &str,
    configs: &[(String, Option<String>)],
) -> Result<BTreeMap<String, String>, ItemError> {
    let mut checked = BTreeMap::new();
    for (name, value) in configs {
        let Some(value) = value else {
            return Err(ItemError::new(
                ErrorCode::InvalidConfig,
                format!("property {name} has no value: leave it out to get the default"),
            ));
        };
        let level = topic_level(topic);
        rules::check(level, name, value)?;
        if checked.insert(name.clone(), value.clone()).is_some() {
            return Err(named_twice(name));
        }
    }
    Ok(checked)
}

/// IncrementalAlterConfigs: each resource on its own, all of its changes or none.
pub(super) fn alter(
    image: &MetadataImage,
    defaults: &Defaults,
    resources: &[AlterResource],
    validate_only: bool,
) -> Outcome {
    let mut seen = BTreeSet::new();
    let twice: BTreeSet<&Resource> = resources
        .iter()
        .map(|asked| &asked.resource)
        .filter(|resource| !seen.insert(*resource))
        .collect();
    let mut records = Vec::new();
    let mut replies = Vec::with_capacity(resources.len());
    for asked in resources {
        let result = if twice.contains(&asked.resource) {
            Err(ItemError::new(
                ErrorCode::InvalidRequest,
                format!("{} is named twice in one request", in_words(&asked.resource)),
            ))
        } else {
            alter_one(image, asked)
        };
        replies.push(ResourceReply {
            resource: asked.resource.clone(),
            result: result.map(|new| records.extend(new)),
        });
    }
    if validate_only {
        records.clear();
    }
    records.extend(isr::resettled(image, defaults, &records));
    Outcome {
        records,
        reply: Reply::AlterConfigs(replies),
    }
}

/// Dynamic properties of one broker or of all, as the admin API sets them: all or none.
pub(super) fn set_dynamic(
    image: &MetadataImage,
    defaults: &Defaults,
    node: Option<NodeId>,
    set: &BTreeMap<String, String>,
    unset: &[String],
) -> Outcome {
    let changes = set
        .iter()
        .map(|(name, value)| ConfigChange {
            name: name.clone(),
            op: ConfigOp::Set,
            value: Some(value.clone()),
        })
        .chain(unset.iter().map(|name| ConfigChange {
            name: name.clone(),
            op: ConfigOp::Delete,
            value: None,
        }));
    let asked = AlterResource {
        resource: node.map_or(Resource::Cluster, Resource::Broker),
        changes: changes.collect(),
    };
    match alter_one(image, &asked) {
        Err(error) => Outcome {
            records: Vec::new(),
            reply: Reply::SetDynamicConfigs(Err(error)),
        },
        Ok(mut records) => {
            records.extend(isr::resettled(image, defaults, &records));
            let mut after = image.clone();
            after
                .apply_each(&records)
                .expect("a property of a broker always fits");
            let value = after
                .broker_configs
                .get(&node)
                .map(|level| BTreeMap::clone(level))
                .unwrap_or_default();
            Outcome {
                reply: Reply::SetDynamicConfigs(Ok(Updated {
                    value,
                    changed: !records.is_empty(),
                })),
                records,
            }
        }
    }
}

fn alter_one(image: &MetadataImage, asked: &AlterResource) -> Result<Vec<Record>, ItemError> {
    let none = BTreeMap::new();
    let mut seen = BTreeSet::new();
    if let Some(change) = asked
        .changes
        .iter()
        .find(|change| !seen.insert(change.name.as_str()))
    {
        return Err(named_twice(&change.name));
    }
    match &asked.resource {
        Resource::Topic(name) => {
            let unknown = || {
                let message = format!("there is no topic {name}");
                ItemError::new(ErrorCode::UnknownTopicOrPartition, message)
            };
            let topic = image.topic(name).ok_or_else(unknown)?;
            let changes = changed(topic_level(name), &topic.configs, &asked.changes)?;
            let record = |(name, value): (String, Option<String>)| record::TopicConfig {
                topic: topic.id,
                name: name.into(),
                value: value.map(Into::into),
            };
            Ok(changes.into_iter().map(|change| record(change).into()).collect())
        }
        Resource::Broker(node) if image.broker(*node).is_none() => Err(ItemError::new(
            ErrorCode::InvalidRequest,
            format!("broker {node} is not registered"),
        )),
        Resource::Broker(_) | Resource::Cluster => {
            let (node, level) = match &asked.resource {
                Resource::Broker(node) => (Some(*node), Level::Broker),
                _ => (None, Level::Cluster),
            };
            let current = image.broker_configs.get(&node).map_or(&none, |configs| configs);
            let changes = changed(level, current, &asked.changes)?;
            let record = |(name, value): (String, Option<String>)| record::BrokerConfig {
                node,
                name: name.into(),
                value: value.map(Into::into),
            };
            Ok(changes.into_iter().map(|change| record(change).into()).collect())
        }
    }
}

/// New values of the properties that really change; no value: back to the default.
fn changed(
    level: Level,
    current: &BTreeMap<String, String>,
    changes: &[ConfigChange],
) -> Result<Vec<(String, Option<String>)>, ItemError> {
    let mut new = Vec::new();
    for change in changes {
        let set = current.get(&change.name);
        let value = match change.op {
            ConfigOp::Delete => {
                if set.is_none() {
                    rules::known(level, &change.name)?;
                }
                None
            }
            ConfigOp::Set => {
                let value = needed_value(change)?;
                rules::check(level, &change.name, value)?;
                Some(value.to_string())
            }
            ConfigOp::Append | ConfigOp::Subtract => {
                let value = needed_value(change)?;
                let from = rules::list_default(level, &change.name)?;
                let list = combined(set.map_or(from.as_str(), String::as_str), change.op, value);
                rules::check(level, &change.name, &list)?;
                Some(list)
            }
        };
        if set != value.as_ref() {
            new.push((change.name.clone(), value));
        }
    }
    Ok(new)
}

fn combined(list: &str, op: ConfigOp, value: &str) -> String {
    let items = |text: &str| -> Vec<String> {
        let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
        items.map(String::from).collect()
    };
    let mut list = items(list);
    let named = items(value);
    match op {
        ConfigOp::Subtract => list.retain(|item| !named.contains(item)),
        _ => {
            for item in named {
                if !list.contains(&item) {
                    list.push(item);
                }
            }
        }
    }
    list.join(",")
}

fn needed_value(change: &ConfigChange) -> Result<&str, ItemError> {
    change.value.as_deref().ok_or_else(|| {
        ItemError::new(
            ErrorCode::InvalidRequest,
            format!(
                "property {} has no value: delete it to get the default",
                change.name
            ),
        )
    })
}

fn topic_level(topic: &str) -> Level {
    if is_internal(topic) {
        Level::InternalTopic
    } else {
        Level::UserTopic
    }
}

fn named_twice(name: &str) -> ItemError {
    ItemError::new(
        ErrorCode::InvalidRequest,
        format!("property {name} is named twice for one resource"),
    )
}

fn in_words(resource: &Resource) -> String {
    match resource {
        Resource::Topic(name) => format!("topic {name}"),
        Resource::Broker(node) => format!("broker {node}"),
        Resource::Cluster => "the cluster-wide default".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::fixtures::{decided, done, image, new_topic};
    use crate::metadata::{NewTopic, Request};

    fn change(name: &str, op: ConfigOp, value: Option<&str>) -> ConfigChange {
        ConfigChange {
            name: name.into(),
            op,
            value: value.map(String::from),
        }
    }

    fn alter_topic(topic: &str, changes: Vec<ConfigChange>) -> Request {
        Request::AlterConfigs {
            resources: vec![AlterResource {
                resource: Resource::Topic(topic.into()),
                changes,
            }],
            validate_only: false,
        }
    }

    fn code(reply: Reply) -> Option<ErrorCode> {
        match reply {
            Reply::AlterConfigs(mut replies) => replies.remove(0).result.err().map(|error| error.code),
            Reply::CreateTopics(mut replies) => replies.remove(0).result.err().map(|error| error.code),
            Reply::SetDynamicConfigs(result) => result.err().map(|error| error.code),
            other => panic!("not about properties: {other:?}"),
        }
    }

    fn with_topic(name: &str) -> MetadataImage {
        let mut image = image(1);
        let create = Request::CreateTopics {
            topics: vec![new_topic(name, 1, 1)],
            validate_only: false,
        };
        done(&mut image, &create);
        image
    }

    #[test]
    fn the_table_of_topic_changes() {
        use ConfigOp::*;
        let invalid = Some(ErrorCode::InvalidConfig);
        let request = Some(ErrorCode::InvalidRequest);
        let rows = [
            (vec![change("retention.ms", Set, Some("60000"))], None),
            (vec![change("retention.ms", Set, Some("-1"))], None),
            (vec![change("retention.ms", Set, Some("soon"))], invalid),
            (vec![change("retention.ms", Set, None)], request),
            (vec![change("retention.ms", Delete, None)], None),
            (vec![change("retenshun.ms", Set, Some("1"))], invalid),
            (vec![change("retenshun.ms", Delete, None)], invalid),
            (vec![change("retention.ms", Append, Some("1"))], invalid),
            (vec![change("cleanup.policy", Set, Some("delete"))], None),
            (vec![change("cleanup.policy", Set, Some("compact"))], invalid),
            (vec![change("cleanup.policy", Append, Some("compact"))], invalid),
            (vec![change("cleanup.policy", Append, Some("delete"))], None),
            (
                vec![
                    change("retention.ms", Set, Some("1")),
                    change("retention.ms", Delete, None),
                ],
                request,
            ),
        ];
        let image = with_topic("t");
        for (changes, expected) in rows {
            let reply = decided(&image, &alter_topic("t", changes.clone())).reply;
            assert_eq!(code(reply), expected, "{changes:?}");
        }
        let unknown = decided(&image, &alter_topic("nobody", vec![]));
        assert_eq!(code(unknown.reply), Some(ErrorCode::UnknownTopicOrPartition));
    }

    #[test]
    fn what_was_set_is_there_and_what_was_deleted_is_not() {
        let mut image = with_topic("t");
        let set = alter_topic("t", vec![change("retention.ms", ConfigOp::Set, Some("5"))]);
        assert_eq!(code(done(&mut image, &set)), None);
        assert_eq!(image.topic("t").unwrap().configs["retention.ms"], "5");
        assert!(
            decided(&image, &set).records.is_empty(),
            "the same value again is no change"
        );
        let delete = alter_topic("t", vec![change("retention.ms", ConfigOp::Delete, None)]);
        done(&mut image, &delete);
        assert!(image.topic("t").unwrap().configs.is_empty());
    }

    #[test]
    fn one_wrong_change_stops_all_changes_of_its_resource() {
        let image = with_topic("t");
        let changes = vec![
            change("retention.ms", ConfigOp::Set, Some("5")),
            change("segment.bytes", ConfigOp::Set, Some("lots")),
        ];
        let outcome = decided(&image, &alter_topic("t", changes));
        assert!(outcome.records.is_empty());
        assert_eq!(code(outcome.reply), Some(ErrorCode::InvalidConfig));
    }

    #[test]
    fn a_users_topic_cannot_be_compacted_yet_and_the_brokers_own_can() {
        let create = |name: &str| Request::CreateTopics {
            topics: vec![NewTopic {
                configs: vec![("cleanup.policy".into(), Some("compact".into()))],
                ..new_topic(name, 1, 1)
            }],
            validate_only: false,
        };
        let image = image(1);
        let Reply::CreateTopics(replies) = decided(&image, &create("mine")).reply else {
            panic!("a reply about topics");
        };
        let error = replies[0].result.clone().unwrap_err();
        assert_eq!(error.code, ErrorCode::InvalidConfig);
        assert!(error.message.contains("cleanup.policy"), "{}", error.message);
        assert_eq!(code(decided(&image, &create("__consumer_offsets")).reply), None);
    }

    #[test]
    fn lists_grow_and_shrink() {
        assert_eq!(combined("a, b", ConfigOp::Append, "b,c"), "a,b,c");
        assert_eq!(combined("a,b", ConfigOp::Subtract, "a"), "b");
        assert_eq!(combined("", ConfigOp::Append, "x"), "x");
    }

    #[test]
    fn a_resource_named_twice_is_refused_both_times() {
        let image = with_topic("t");
        let asked = AlterResource {
            resource: Resource::Topic("t".into()),
            changes: vec![change("retention.ms", ConfigOp::Set, Some("5"))],
        };
        let request = Request::AlterConfigs {
            resources: vec![asked.clone(), asked],
            validate_only: false,
        };
        let Reply::AlterConfigs(replies) = decided(&image, &request).reply else {
            panic!("a reply about properties");
        };
        assert!(replies.iter().all(|reply| reply.result.is_err()));
    }
}
