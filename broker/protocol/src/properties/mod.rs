//! Properties as rows: name, kind, default, range, scope, effect, doc. A property is declared once, here; what parses,
//! describes, validates or restarts because of it reads its row.

mod broker;
mod topic;

use std::net::IpAddr;

/// The type of a property's value, in Kafka's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`.
    Boolean,
    /// 32 bits.
    Int,
    /// 64 bits.
    Long,
    /// 16 bits.
    Short,
    /// A floating-point number.
    Double,
    /// Text.
    String,
    /// Texts separated by commas.
    List,
    /// A Java class name.
    Class,
    /// Text that is never shown.
    Password,
}

impl Kind {
    /// The number that DescribeConfigs gives the kind (Kafka's `ConfigType`).
    pub fn code(self) -> i8 {
        match self {
            Kind::Boolean => 1,
            Kind::String => 2,
            Kind::Int => 3,
            Kind::Short => 4,
            Kind::Long => 5,
            Kind::Double => 6,
            Kind::List => 7,
            Kind::Class => 8,
            Kind::Password => 9,
        }
    }

    /// Kafka's word for it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Boolean => "boolean",
            Kind::Int => "int",
            Kind::Long => "long",
            Kind::Short => "short",
            Kind::Double => "double",
            Kind::String => "string",
            Kind::List => "list",
            Kind::Class => "class",
            Kind::Password => "password",
        }
    }
}

/// Which values of its kind a property takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Range {
    /// All.
    Any,
    /// Numbers from here on.
    AtLeast(i64),
    /// Numbers from the first to the second.
    Between(i64, i64),
    /// These words (each word of a list).
    OneOf(&'static [&'static str]),
    /// Any text but the empty one.
    NotEmpty,
    /// Numbers from 0 by IP address, as [`counts_by_address`] reads them.
    CountsByAddress,
    /// Replicas as `partition:broker`, or `*` for all of a topic's, as [`ThrottledReplicas`] reads them.
    Replicas,
}

/// What it takes to change a property.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// A restart of the broker.
    ReadOnly,
    /// Nothing; it holds for one broker.
    PerBroker,
    /// Nothing; it holds for all brokers or may be set for one.
    ClusterWide,
    /// Nothing; it holds for all brokers and may not be set for one: the metadata quorum decides by it, and every leader has
    /// to act by the same value. What brokers are given at start must be the same too.
    OneForAll,
}

/// Whether setting a property does anything in this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It does what its doc says.
    Served,
    /// It has no counterpart here; setting it is harmless and gets one log line.
    Accepted,
    /// It has no effect yet; setting it to anything but its default is refused by name.
    NotYet,
}

/// One property.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Property {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// The value where none is given; `None` where there is none (Kafka's null).
    pub default: Option<&'static str>,
    /// Which values it takes.
    pub range: Range,
    /// What it takes to change it.
    pub scope: Scope,
    /// Whether it does anything.
    pub effect: Effect,
    /// One sentence for users; empty for a property without effect.
    pub doc: &'static str,
}

/// A property of topics and the broker property that gives its default.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TopicProperty {
    /// The row.
    pub property: Property,
    /// The broker property whose value holds where the topic has none.
    pub broker: Option<&'static str>,
}

/// Why a setting is refused. Every message names the property.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PropertyError {
    /// Nobody knows the name.
    #[error("unknown property {name}{}", nearest.map(|near| format!("; did you mean {near}?")).unwrap_or_default())]
    Unknown {
        /// As given.
        name: String,
        /// The known name that looks most like it.
        nearest: Option<&'static str>,
    },
    /// The value is not of the kind or outside the range.
    #[error("{name}={value}: {wanted} is expected")]
    Invalid {
        /// The property.
        name: &'static str,
        /// The value given.
        value: String,
        /// What it takes.
        wanted: String,
    },
    /// A property without effect yet, set to something else than its default.
    #[error("{name}={value} is not served yet; leave it out or at its default ({})", default.unwrap_or("none"))]
    NotServed {
        /// The property.
        name: &'static str,
        /// The value given.
        value: String,
        /// The only value accepted.
        default: Option<&'static str>,
    },
}

/// All broker properties: Kafka's, then Millrace's own.
pub fn broker_properties() -> impl Iterator<Item = &'static Property> {
    broker::KAFKA.iter().chain(broker::OWN)
}

/// All topic properties.
pub fn topic_properties() -> impl Iterator<Item = &'static TopicProperty> {
    topic::TOPIC.iter()
}

/// Broker properties with one value for the whole cluster.
pub fn one_for_all() -> impl Iterator<Item = &'static Property> {
    broker_properties().filter(|property| property.scope == Scope::OneForAll)
}

/// The broker property of this name.
pub fn broker_property(name: &str) -> Option<&'static Property> {
    let find = |table: &'static [Property]| {
        let at = table.binary_search_by(|property| property.name.cmp(name)).ok()?;
        table.get(at)
    };
    find(broker::KAFKA).or_else(|| find(broker::OWN))
}

/// The topic property of this name.
pub fn topic_property(name: &str) -> Option<&'static TopicProperty> {
    let at = topic::TOPIC
        .binary_search_by(|row| row.property.name.cmp(name))
        .ok()?;
    topic::TOPIC.get(at)
}

/// Looks a broker property up and checks a value for it.
pub fn check_broker(name: &str, value: &str) -> Result<&'static Property, PropertyError> {
    let property = broker_property(name).ok_or_else(|| PropertyError::Unknown {
        name: name.to_string(),
        nearest: nearest(name, broker_properties().map(|property| property.name)),
    })?;
    property.check(value).map(|()| property)
}

/// Looks a topic property up and checks a value for it.
pub fn check_topic(name: &str, value: &str) -> Result<&'static TopicProperty, PropertyError> {
    let row = topic_property(name).ok_or_else(|| PropertyError::Unknown {
        name: name.to_string(),
        nearest: nearest(name, topic_properties().map(|row| row.property.name)),
    })?;
    row.property.check(value).map(|()| row)
}

impl Property {
    /// Whether `value` may be set: of the kind, in the range, and served.
    pub fn check(&self, value: &str) -> Result<(), PropertyError> {
        let value = value.trim();
        if !self.takes(value) {
            return Err(PropertyError::Invalid {
                name: self.name,
                value: self.shown(value),
                wanted: self.wanted(),
            });
        }
        let default = self.default.unwrap_or("");
        if self.effect == Effect::NotYet && value != default {
            return Err(PropertyError::NotServed {
                name: self.name,
                value: self.shown(value),
                default: self.default,
            });
        }
        Ok(())
    }

    /// The value as it may be printed.
    fn shown(&self, value: &str) -> String {
        if self.kind == Kind::Password {
            "(hidden)".to_string()
        } else {
            value.to_string()
        }
    }

    fn takes(&self, value: &str) -> bool {
        let number = |low: i64, high: i64| {
            value
                .parse::<i64>()
                .is_ok_and(|number| (low..=high).contains(&number) && self.in_range(number))
        };
        match self.kind {
            Kind::Boolean => matches!(value.to_ascii_lowercase().as_str(), "true" | "false"),
            Kind::Short => number(i64::from(i16::MIN), i64::from(i16::MAX)),
            Kind::Int => number(i64::from(i32::MIN), i64::from(i32::MAX)),
            Kind::Long => number(i64::MIN, i64::MAX),
            Kind::Double => value.parse::<f64>().is_ok_and(|number| self.in_range_f64(number)),
            Kind::String | Kind::Class | Kind::Password => self.takes_word(value),
            Kind::List => {
                value
                    .split(',')
                    .map(str::trim)
                    .filter(|word| !word.is_empty())
                    .all(|word| self.takes_word(word))
                    && (!value.is_empty() || self.range != Range::NotEmpty)
                    // Kafka takes `*` only by itself.
                    && (self.range != Range::Replicas || ThrottledReplicas::parse(value).is_some())
            }
        }
    }

    fn takes_word(&self, word: &str) -> bool {
        match self.range {
            Range::OneOf(words) => words.iter().any(|known| known.eq_ignore_ascii_case(word)),
            Range::NotEmpty => !word.is_empty(),
            Range::CountsByAddress => counts_by_address(word).is_some(),
            Range::Replicas => ThrottledReplicas::parse(word).is_some(),
            _ => true,
        }
    }

    fn in_range(&self, number: i64) -> bool {
        match self.range {
            Range::AtLeast(low) => number >= low,
            Range::Between(low, high) => (low..=high).contains(&number),
            _ => true,
        }
    }

    fn in_range_f64(&self, number: f64) -> bool {
        match self.range {
            Range::AtLeast(low) => number >= low as f64,
            Range::Between(low, high) => number >= low as f64 && number <= high as f64,
            _ => number.is_finite(),
        }
    }

    /// What the property takes, in words.
    pub fn wanted(&self) -> String {
        let kind = match self.kind {
            Kind::Boolean => return "true or false".to_string(),
            Kind::Short | Kind::Int | Kind::Long => "a whole number",
            Kind::Double => "a number",
            Kind::List => "a list",
            _ => "text",
        };
        match self.range {
            Range::Any => kind.to_string(),
            Range::AtLeast(low) => format!("{kind} from {low}"),
            Range::Between(low, high) => format!("{kind} from {low} to {high}"),
            Range::OneOf(words) if self.kind == Kind::List => format!("a list of {}", words.join(", ")),
            Range::OneOf(words) => format!("one of {}", words.join(", ")),
            Range::NotEmpty => format!("{kind} that is not empty"),
            Range::CountsByAddress => "a list of address:number".to_string(),
            Range::Replicas => "a list of partition:broker, or *".to_string(),
        }
    }
}

/// Reads `address:number` pairs separated by commas; none if anything else is among them. The address is an IP address:
/// Kafka also takes host names, which mean another address after every change of DNS.
pub fn counts_by_address(text: &str) -> Option<Vec<(IpAddr, u32)>> {
    let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    let parse = |entry: &str| {
        let (address, number) = entry.rsplit_once(':')?;
        let address = address.trim().trim_start_matches('[').trim_end_matches(']');
        let number: i32 = number.trim().parse().ok()?;
        Some((address.parse().ok()?, u32::try_from(number).ok()?))
    };
    entries.map(parse).collect()
}

/// Which replicas of a topic are copied no faster than the throttle allows (`leader.replication.throttled.replicas`,
/// `follower.replication.throttled.replicas`; KIP-73).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ThrottledReplicas {
    /// All.
    All,
    /// These, as (partition, broker), sorted; mostly none.
    These(Vec<(i32, i32)>),
}

impl Default for ThrottledReplicas {
    fn default() -> Self {
        ThrottledReplicas::These(Vec::new())
    }
}

impl ThrottledReplicas {
    /// Reads `*`, or `partition:broker` pairs separated by commas; none if it is neither.
    pub fn parse(text: &str) -> Option<ThrottledReplicas> {
        if text.trim() == "*" {
            return Some(ThrottledReplicas::All);
        }
        let number = |digits: &str| -> Option<i32> {
            let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
            digits.parse().ok().filter(|_| plain)
        };
        let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        let pairs = entries.map(|entry| {
            let (partition, broker) = entry.split_once(':')?;
            Some((number(partition)?, number(broker)?))
        });
        let mut pairs: Vec<(i32, i32)> = pairs.collect::<Option<_>>()?;
        pairs.sort_unstable();
        Some(ThrottledReplicas::These(pairs))
    }

    /// Whether the replica of `partition` on `broker` is one of them.
    pub fn contains(&self, partition: i32, broker: i32) -> bool {
        match self {
            ThrottledReplicas::All => true,
            ThrottledReplicas::These(pairs) => pairs.binary_search(&(partition, broker)).is_ok(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        *self == ThrottledReplicas::default()
    }
}

/// The known name that differs least from `name`, if it differs little.
pub fn nearest(name: &str, known: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    let folded = name.to_ascii_lowercase().replace(['_', '-'], ".");
    known
        .map(|candidate| (distance(&folded, candidate), candidate))
        .min()
        .filter(|(distance, candidate)| *distance <= candidate.len().max(folded.len()) / 3)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance: letters to insert, remove or replace.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (at, letter) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = at + 1;
        for (column, other) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *other);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_found_by_its_name() {
        // Which needs the tables to be sorted.
        for property in broker_properties() {
            assert_eq!(broker_property(property.name), Some(property));
        }
        for row in topic_properties() {
            assert_eq!(topic_property(row.property.name), Some(row));
        }
        for table in [broker::KAFKA, broker::OWN] {
            assert!(table.is_sorted_by_key(|property| property.name));
        }
        assert!(topic::TOPIC.is_sorted_by_key(|row| row.property.name));
        assert_eq!(broker_property("zzz").map(|property| property.name), None);
    }

    #[test]
    fn names_are_unique_and_every_default_is_a_value_it_takes() {
        let mut names: Vec<_> = broker_properties().map(|property| property.name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        for property in broker_properties().chain(topic_properties().map(|row| &row.property)) {
            if let Some(default) = property.default {
                assert!(
                    property.takes(default),
                    "{}={default}: {}",
                    property.name,
                    property.wanted()
                );
            }
            assert!(
                property.effect == Effect::NotYet || !property.doc.is_empty(),
                "{} has no doc",
                property.name
            );
        }
    }

    #[test]
    fn every_topic_property_has_the_default_of_its_broker_property() {
        for row in topic_properties() {
            let Some(broker) = row.broker else { continue };
            let broker =
                broker_property(broker).unwrap_or_else(|| panic!("{} names {broker}", row.property.name));
            assert_eq!(
                broker.effect == Effect::NotYet,
                row.property.effect == Effect::NotYet,
                "{}",
                row.property.name
            );
        }
    }

    #[test]
    fn throttled_replicas_are_pairs_or_all() {
        let of = |text| ThrottledReplicas::parse(text);
        assert_eq!(of("*"), Some(ThrottledReplicas::All));
        assert_eq!(of(""), Some(ThrottledReplicas::default()));
        assert_eq!(
            of("1:3, 0:2"),
            Some(ThrottledReplicas::These(vec![(0, 2), (1, 3)]))
        );
        for wrong in [
            "1",
            "1:",
            ":1",
            "1:2:3",
            "-1:2",
            "+1:2",
            "*,0:1",
            "a:b",
            "99999999999:1",
        ] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
        let some = of("0:2,1:3").expect("a list");
        assert!(some.contains(0, 2) && !some.contains(0, 3) && !some.is_empty());
        let set = |value| check_topic("leader.replication.throttled.replicas", value).map(|_| ());
        assert_eq!(set("0:1,1:2"), Ok(()));
        assert_eq!(set("*"), Ok(()));
        for wrong in ["*,0:1", "none"] {
            let said = set(wrong).expect_err("refused").to_string();
            assert!(
                said.ends_with("a list of partition:broker, or * is expected"),
                "{said}"
            );
        }
    }

    #[test]
    fn settings_are_checked_in_words() {
        let say = |name, value| check_broker(name, value).err().map(|error| error.to_string());
        assert_eq!(say("log.segment.bytes", "1048576"), None);
        assert_eq!(
            say("log.segment.byte", "1").as_deref(),
            Some("unknown property log.segment.byte; did you mean log.segment.bytes?")
        );
        assert_eq!(say("zzz", "1").as_deref(), Some("unknown property zzz"));
        assert_eq!(
            say("log.segment.bytes", "many").as_deref(),
            Some("log.segment.bytes=many: a whole number from 1048576 is expected")
        );
        assert_eq!(
            say("io.engine", "fast").as_deref(),
            Some("io.engine=fast: one of auto, uring, posix is expected")
        );
        assert_eq!(
            say("log.cleaner.threads", "4").as_deref(),
            Some("log.cleaner.threads=4 is not served yet; leave it out or at its default (1)")
        );
        assert_eq!(say("log.cleaner.threads", "1"), None);
        assert_eq!(
            say("ssl.key.password", "secret").map(|said| said.contains("secret")),
            Some(false)
        );
        assert_eq!(
            say("max.connections.per.ip.overrides", "127.0.0.1:7, [::1]:0"),
            None
        );
        assert_eq!(
            say("max.connections.per.ip.overrides", "db.example:7").as_deref(),
            Some("max.connections.per.ip.overrides=db.example:7: a list of address:number is expected")
        );
        assert!(check_topic("cleanup.policy", "shred").is_err());
        assert!(check_topic("retention.ms", "-1").is_ok());
    }
}
