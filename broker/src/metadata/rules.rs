//! Which property may be set where, to what: the property tables of `protocol`, with the words for a refusal.

use protocol::ErrorCode;
use protocol::properties::{self, Kind, Property, Scope};

use super::ItemError;

/// Where a property is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    UserTopic,
    /// A topic of the brokers themselves, which may ask for what is not offered to users.
    InternalTopic,
    /// Dynamic, one broker.
    Broker,
    /// Dynamic, every broker.
    Cluster,
}

/// May `name` be set to `value` at this level?
pub(super) fn check(level: Level, name: &str, value: &str) -> Result<(), ItemError> {
    known(level, name)?;
    let checked = match level {
        Level::UserTopic | Level::InternalTopic => properties::check_topic(name, value).map(|_| ()),
        Level::Broker | Level::Cluster => properties::check_broker(name, value).map(|_| ()),
    };
    checked.map_err(|error| invalid(error.to_string()))?;
    served(level, name, value)
}

/// Values the tables allow and this version does not act on. Accepting them would be a promise nobody keeps.
fn served(level: Level, name: &str, value: &str) -> Result<(), ItemError> {
    let name_and_value = format!("{name}={value}");
    match name {
        "cleanup.policy" if level == Level::UserTopic && words(value).any(|word| word == "compact") => {
            Err(invalid(format!(
                "{name_and_value}: compaction is not served yet, so cleanup.policy must be delete"
            )))
        }
        "log.cleanup.policy" if words(value).any(|word| word == "compact") => Err(invalid(format!(
            "{name_and_value}: compaction is not served yet, so log.cleanup.policy must be delete"
        ))),
        _ => Ok(()),
    }
}

/// Is there a property `name` that can be changed at this level?
pub(super) fn known(level: Level, name: &str) -> Result<(), ItemError> {
    let property = property(level, name)?;
    let refused = match (level, property.scope) {
        (Level::UserTopic | Level::InternalTopic, _) => None,
        (_, Scope::ReadOnly) => {
            Some("it is read at start only: set it in the broker's configuration and restart")
        }
        (Level::Cluster, Scope::PerBroker) => Some("it belongs to one broker and has no cluster-wide value"),
        (Level::Broker, Scope::OneForAll) => Some(
            "it has one value for all brokers, by which leaders are elected: set it for the cluster (no broker id) or a topic",
        ),
        (Level::Broker | Level::Cluster, _) => None,
    };
    match refused {
        Some(why) => Err(ItemError::new(
            ErrorCode::InvalidRequest,
            format!("{name} cannot be set so: {why}"),
        )),
        None => Ok(()),
    }
}

/// The default of a property that is a list; anything else cannot be appended to.
pub(super) fn list_default(level: Level, name: &str) -> Result<String, ItemError> {
    let property = property(level, name)?;
    if property.kind != Kind::List {
        let kind = property.kind.name();
        return Err(invalid(format!(
            "{name} is of kind {kind}: only a list can be appended to or subtracted from"
        )));
    }
    Ok(property.default.unwrap_or("").to_string())
}

fn property(level: Level, name: &str) -> Result<&'static Property, ItemError> {
    let (found, nearest) = match level {
        Level::UserTopic | Level::InternalTopic => (
            properties::topic_property(name).map(|row| &row.property),
            properties::nearest(name, properties::topic_properties().map(|row| row.property.name)),
        ),
        Level::Broker | Level::Cluster => (
            properties::broker_property(name),
            properties::nearest(
                name,
                properties::broker_properties().map(|property| property.name),
            ),
        ),
    };
    found.ok_or_else(|| {
        let hint = nearest
            .map(|near| format!("; did you mean {near}?"))
            .unwrap_or_default();
        invalid(format!("unknown property {name}{hint}"))
    })
}

fn words(value: &str) -> impl Iterator<Item = String> + '_ {
    value.split(',').map(|word| word.trim().to_ascii_lowercase())
}

fn invalid(message: String) -> ItemError {
    ItemError::new(ErrorCode::InvalidConfig, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_levels() {
        let rows = [
            (Level::UserTopic, "retention.ms", "1", None),
            (
                Level::UserTopic,
                "compression.type",
                "zip",
                Some(ErrorCode::InvalidConfig),
            ),
            (Level::UserTopic, "compression.type", "zstd", None),
            (Level::UserTopic, "node.id", "1", Some(ErrorCode::InvalidConfig)),
            (Level::UserTopic, "min.compaction.lag.ms", "0", None),
            (
                Level::UserTopic,
                "min.compaction.lag.ms",
                "1",
                Some(ErrorCode::InvalidConfig),
            ),
            (Level::Cluster, "node.id", "1", Some(ErrorCode::InvalidRequest)),
            (Level::Broker, "node.id", "1", Some(ErrorCode::InvalidRequest)),
            (Level::Cluster, "min.insync.replicas", "2", None),
            (Level::UserTopic, "min.insync.replicas", "2", None),
            (
                Level::Broker,
                "min.insync.replicas",
                "2",
                Some(ErrorCode::InvalidRequest),
            ),
            (
                Level::Broker,
                "flush.policy",
                "async",
                Some(ErrorCode::InvalidRequest),
            ),
            (
                Level::Broker,
                "unclean.leader.election.enable",
                "true",
                Some(ErrorCode::InvalidRequest),
            ),
            (Level::Cluster, "log.retention.ms", "5", None),
            (Level::Broker, "log.retention.ms", "5", None),
            (
                Level::Cluster,
                "log.cleanup.policy",
                "compact",
                Some(ErrorCode::InvalidConfig),
            ),
        ];
        for (level, name, value, expected) in rows {
            let found = check(level, name, value).err().map(|error| error.code);
            assert_eq!(found, expected, "{level:?} {name}={value}");
        }
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_nearest_known_one() {
        let error = check(Level::UserTopic, "retentoin.ms", "1").unwrap_err();
        assert!(error.message.contains("retention.ms"), "{}", error.message);
    }
}
