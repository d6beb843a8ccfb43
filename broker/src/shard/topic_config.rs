//! The effective properties of one topic, parsed once per change and shared by everything on a core that asks.
//!
//! Owns which level wins (topic, this broker, every broker, the file, the default: Kafka's order) and the parsed struct.
//! Where there is one value for all brokers, no broker has one of its own, and the file is the quorum leader's
//! (`metadata/statics.rs`).
//! Leaves the list of properties, their kinds and defaults to `protocol::properties`.

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol::properties::{self, Scope, ThrottledReplicas, TopicProperty};
use protocol::record::compression::Compression;
use protocol::{NodeId, TopicId};

use crate::log::{FlushPolicy, LogConfig, TimestampType};
use crate::metadata::image::MetadataImage;

/// Broker properties as they were given at start (file, overrides, environment), by name. Defaults are not in it.
pub type Given = Arc<BTreeMap<String, String>>;

/// What a partition and its producers need to know of their topic's properties.
#[derive(Clone, Debug)]
pub struct TopicConfig {
    /// The log's share.
    pub log: LogConfig,
    /// `min.insync.replicas`.
    pub min_insync_replicas: usize,
    /// `max.message.bytes`: the largest batch, after compression.
    pub max_message_bytes: usize,
    /// `message.timestamp.type=LogAppendTime`: the broker's clock replaces the producer's.
    pub log_append_time: bool,
    /// `message.timestamp.before.max.ms`.
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`.
    pub timestamp_after_max_ms: i64,
    /// `compression.type`, none for `producer`: stored as it comes.
    pub compression: Option<Compression>,
    /// `leader.replication.throttled.replicas`.
    pub throttled_leaders: ThrottledReplicas,
    /// `follower.replication.throttled.replicas`.
    pub throttled_followers: ThrottledReplicas,
}

/// Where an effective value comes from: DescribeConfigs' sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Set on the topic.
    Topic,
    /// Set while running, on one broker.
    DynamicBroker,
    /// Set while running, for every broker.
    DynamicDefault,
    /// Given at start.
    StaticBroker,
    /// Nobody said anything.
    Default,
}

impl Source {
    /// The wire's number.
    pub fn code(self) -> i8 {
        match self {
            Source::Topic => 1,
            Source::DynamicBroker => 2,
            Source::DynamicDefault => 3,
            Source::StaticBroker => 4,
            Source::Default => 5,
        }
    }
}

/// All the places a value may come from, in the order in which they win.
pub struct Levels<'a> {
    /// The topic's own values; empty if this is not about a topic.
    pub topic: &'a BTreeMap<String, String>,
    /// The image, for dynamic broker values.
    pub image: &'a MetadataImage,
    /// Which broker.
    pub node: NodeId,
    /// Values given at start.
    pub given: &'a BTreeMap<String, String>,
}

/// One value of a property at one level.
pub struct Leveled {
    /// The property's name at that level: a topic property has another name at the broker.
    pub name: &'static str,
    /// Its value there.
    pub value: String,
    /// Which level.
    pub source: Source,
}

/// Broker properties that say the same as one in milliseconds, in other units, the stronger first (Kafka's order).
const OTHER_UNITS: &[(&str, &[(&str, i64)])] = &[
    (
        "log.retention.ms",
        &[
            ("log.retention.minutes", 60_000),
            ("log.retention.hours", 3_600_000),
        ],
    ),
    ("log.roll.ms", &[("log.roll.hours", 3_600_000)]),
    ("log.roll.jitter.ms", &[("log.roll.jitter.hours", 3_600_000)]),
];

impl Levels<'_> {
    /// Every level above the default that has a value for a topic property, the winner first.
    pub fn of_topic(&self, row: &'static TopicProperty) -> Vec<Leveled> {
        let name = row.property.name;
        let own = self
            .topic
            .get(name)
            .map(|value| leveled(name, value.clone(), Source::Topic));
        let mut levels: Vec<Leveled> = own.into_iter().collect();
        if let Some(broker) = row.broker {
            levels.extend(self.of_broker(broker));
            let others = OTHER_UNITS
                .iter()
                .filter(|(in_ms, _)| *in_ms == broker)
                .flat_map(|(_, others)| others.iter());
            for (other, unit) in others {
                levels.extend(
                    self.of_broker(other)
                        .into_iter()
                        .map(|level| in_millis(level, *unit)),
                );
            }
        }
        levels
    }

    /// Every level above the default that has a value for a broker property, the winner first.
    pub fn of_broker(&self, name: &'static str) -> Vec<Leveled> {
        let property = properties::broker_property(name);
        let mut levels = Vec::new();
        if let Some(property) = property.filter(|property| property.scope == Scope::OneForAll)
            && let Some(published) = self.image.static_configs.get(name)
        {
            let cluster = self.image.broker_configs.get(&None);
            if let Some(value) = cluster.and_then(|configs| configs.get(name)) {
                levels.push(leveled(name, value.clone(), Source::DynamicDefault));
            }
            if property.default != Some(published) {
                levels.push(leveled(name, published.clone(), Source::StaticBroker));
            }
            return levels;
        }
        for (level, source) in [
            (Some(self.node), Source::DynamicBroker),
            (None, Source::DynamicDefault),
        ] {
            if let Some(value) = self
                .image
                .broker_configs
                .get(&level)
                .and_then(|configs| configs.get(name))
            {
                levels.push(leveled(name, value.clone(), source));
            }
        }
        if let Some(value) = self.given.get(name) {
            levels.push(leveled(name, value.clone(), Source::StaticBroker));
        }
        levels
    }

    /// The value in force for a topic property; empty where there is none.
    fn text(&self, name: &'static str) -> String {
        let Some(row) = properties::topic_property(name) else {
            return String::new();
        };
        let winner = self.of_topic(row).into_iter().next().map(|level| level.value);
        winner
            .or_else(|| row.property.default.map(str::to_string))
            .unwrap_or_default()
    }

    /// The same as a number. Values were validated when they were set; one that does not parse (written by another version
    /// of this program) is the default.
    fn number(&self, name: &'static str) -> i64 {
        let default = || properties::topic_property(name).and_then(|row| row.property.default?.parse().ok());
        self.text(name).trim().parse().ok().or_else(default).unwrap_or(0)
    }
}

impl Levels<'_> {
    fn broker_text(&self, name: &'static str) -> String {
        let winner = self.of_broker(name).into_iter().next().map(|level| level.value);
        winner
            .or_else(|| properties::broker_property(name)?.default.map(str::to_string))
            .unwrap_or_default()
    }

    fn broker_number(&self, name: &'static str) -> i64 {
        let default = || properties::broker_property(name)?.default?.parse().ok();
        self.broker_text(name)
            .trim()
            .parse()
            .ok()
            .or_else(default)
            .unwrap_or(0)
    }
}

fn leveled(name: &'static str, value: String, source: Source) -> Leveled {
    Leveled { name, value, source }
}

fn in_millis(level: Leveled, unit: i64) -> Leveled {
    match level.value.parse::<i64>() {
        // Negative is "no limit" in every unit.
        Ok(value) if value >= 0 => Leveled {
            value: value.saturating_mul(unit).to_string(),
            ..level
        },
        _ => level,
    }
}

/// The value in force of a property that only brokers have; empty where there is none.
pub(super) fn broker_value(given: &Given, image: &MetadataImage, node: NodeId, name: &'static str) -> String {
    let levels = Levels {
        topic: &BTreeMap::new(),
        image,
        node,
        given,
    };
    levels.broker_text(name)
}

impl TopicConfig {
    /// The properties in force for a topic.
    pub fn effective(given: &Given, image: &MetadataImage, node: NodeId, topic: TopicId) -> TopicConfig {
        let none = BTreeMap::new();
        let topic = image.topic_by_id(topic);
        let levels = Levels {
            topic: topic.map_or(&none, |topic| &topic.configs),
            image,
            node,
            given,
        };
        let internal = topic.is_some_and(|topic| topic.internal);
        // What the brokers themselves promise (group offsets) is always synced.
        let flush = match levels.text("flush.policy").as_str() {
            "async" if !internal => FlushPolicy::Async,
            _ => FlushPolicy::Sync,
        };
        let throttled = |name| ThrottledReplicas::parse(&levels.text(name)).unwrap_or_default();
        TopicConfig {
            log: log_config(&levels, flush),
            min_insync_replicas: usize::try_from(levels.number("min.insync.replicas")).unwrap_or(1),
            max_message_bytes: usize::try_from(levels.number("max.message.bytes")).unwrap_or(0),
            log_append_time: levels.text("message.timestamp.type") == "LogAppendTime",
            timestamp_before_max_ms: levels.number("message.timestamp.before.max.ms"),
            timestamp_after_max_ms: levels.number("message.timestamp.after.max.ms"),
            compression: compression(&levels.text("compression.type")),
            throttled_leaders: throttled("leader.replication.throttled.replicas"),
            throttled_followers: throttled("follower.replication.throttled.replicas"),
        }
    }
}

fn compression(name: &str) -> Option<Compression> {
    Some(match name {
        "uncompressed" => Compression::None,
        "gzip" => Compression::Gzip,
        "snappy" => Compression::Snappy,
        "lz4" => Compression::Lz4,
        "zstd" => Compression::Zstd,
        _ => return None,
    })
}

/// The log's share. Numbers that do not fit are cut to the nearest that does; the tables have checked their ranges.
fn log_config(levels: &Levels<'_>, flush: FlushPolicy) -> LogConfig {
    let size = |name| u32::try_from(levels.number(name).clamp(0, i64::from(u32::MAX))).unwrap_or(u32::MAX);
    let policy = levels.text("cleanup.policy");
    let has = |wanted: &str| policy.split(',').any(|word| word.trim() == wanted);
    // Age and size delete only where the policy says so: in a compacted topic the newest record of a key has no age.
    let deletes = has("delete");
    LogConfig {
        segment_bytes: size("segment.bytes"),
        segment_ms: levels.number("segment.ms"),
        index_interval_bytes: size("index.interval.bytes"),
        index_max_bytes: size("segment.index.bytes"),
        retention_ms: Some(levels.number("retention.ms")).filter(|limit| deletes && *limit >= 0),
        retention_bytes: u64::try_from(levels.number("retention.bytes"))
            .ok()
            .filter(|_| deletes),
        file_delete_delay_ms: levels.number("file.delete.delay.ms").unsigned_abs(),
        max_message_bytes: size("max.message.bytes"),
        compacted: has("compact"),
        timestamp_type: match levels.text("message.timestamp.type").as_str() {
            "LogAppendTime" => TimestampType::LogAppendTime,
            _ => TimestampType::CreateTime,
        },
        timestamp_before_max_ms: levels.number("message.timestamp.before.max.ms"),
        timestamp_after_max_ms: levels.number("message.timestamp.after.max.ms"),
        flush,
        producer_expiration_ms: levels.broker_number("producer.id.expiration.ms"),
        ..LogConfig::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let owned = |(name, value): &(&str, &str)| (name.to_string(), value.to_string());
        pairs.iter().map(owned).collect()
    }

    fn effective(given: &[(&str, &str)], topic: &[(&str, &str)]) -> Vec<(String, Source)> {
        let (given, topic) = (map(given), map(topic));
        let image = MetadataImage::default();
        let levels = Levels {
            topic: &topic,
            image: &image,
            node: NodeId(1),
            given: &given,
        };
        let row = properties::topic_property("retention.ms").expect("in the table");
        levels
            .of_topic(row)
            .into_iter()
            .map(|level| (level.value, level.source))
            .collect()
    }

    #[test]
    fn the_topic_wins_then_the_broker_and_milliseconds_before_hours() {
        assert_eq!(effective(&[], &[]), vec![]);
        assert_eq!(
            effective(&[("log.retention.hours", "2")], &[]),
            vec![("7200000".into(), Source::StaticBroker)]
        );
        let both = effective(
            &[("log.retention.hours", "2"), ("log.retention.ms", "5")],
            &[("retention.ms", "1")],
        );
        let values: Vec<&str> = both.iter().map(|(value, _)| value.as_str()).collect();
        assert_eq!(values, ["1", "5", "7200000"]);
        assert_eq!(
            effective(&[("log.retention.hours", "-1")], &[]),
            vec![("-1".into(), Source::StaticBroker)]
        );
    }

    /// Else this broker would acknowledge by a number that the quorum does not elect by.
    #[test]
    fn where_there_is_one_value_for_all_this_brokers_own_is_not_looked_at() {
        let given = Arc::new(map(&[("min.insync.replicas", "1"), ("flush.policy", "async")]));
        let mut image = MetadataImage::default();
        let read = |image: &MetadataImage| {
            let config = TopicConfig::effective(&given, image, NodeId(1), TopicId([1; 16]));
            (config.min_insync_replicas, config.log.flush)
        };
        assert_eq!(
            read(&image),
            (1, FlushPolicy::Async),
            "no leader has said anything"
        );
        let published = [("min.insync.replicas", "2"), ("flush.policy", "sync")];
        image.static_configs = Arc::new(map(&published));
        assert_eq!(read(&image), (2, FlushPolicy::Sync));
        let own = map(&[("min.insync.replicas", "1"), ("flush.policy", "async")]);
        image.broker_configs.insert(Some(NodeId(1)), Arc::new(own));
        assert_eq!(
            read(&image),
            (2, FlushPolicy::Sync),
            "written by an earlier version"
        );
        let cluster = map(&[("min.insync.replicas", "3"), ("flush.policy", "async")]);
        image.broker_configs.insert(None, Arc::new(cluster));
        assert_eq!(read(&image), (3, FlushPolicy::Async));
    }
}
