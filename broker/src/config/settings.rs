//! Collects properties from a file, the environment and the command line, each checked against the property tables.
//!
//! The command line wins over the environment, which wins over the file. Everything wrong is collected, so that a user
//! sees all of it at once; what the properties mean together is for `config`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use protocol::properties::{self, Effect, PropertyError};

use super::environment::{self, Variable};
use super::file;

/// Where a value was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A line of the file, from 1.
    File(PathBuf, usize),
    /// The environment variable of this name.
    Environment(String),
    /// `--override`.
    CommandLine,
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File(path, line) => write!(out, "{}:{line}", path.display()),
            Origin::Environment(name) => write!(out, "{name}"),
            Origin::CommandLine => write!(out, "--override"),
        }
    }
}

/// A value and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    pub value: String,
    pub origin: Origin,
}

/// Names that older Kafka versions had. They have nothing to do any more, but files and compose files still hold them.
const RETIRED: &[&str] = &[
    "inter.broker.protocol.version",
    "log.message.format.version",
    "log.message.downconversion.enable",
    "log.message.timestamp.difference.max.ms",
    "control.plane.listener.name",
    "zookeeper.metadata.migration.enable",
    "broker.id.generation.enable",
    "reserved.broker.max.id",
];

/// All properties that were given, each a known name with a value it takes.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    given: BTreeMap<&'static str, Setting>,
    /// Lines for the log that say what was taken note of without effect.
    pub notes: Vec<String>,
    /// Everything that is wrong, one line each.
    pub errors: Vec<String>,
    saw_zookeeper: bool,
}

impl Settings {
    /// Reads all sources. `file` is the path and content of `--config`; `overrides` are `name=value`.
    pub fn gather(
        file: Option<(&Path, &str)>,
        environment: impl IntoIterator<Item = (String, String)>,
        overrides: &[String],
    ) -> Settings {
        let mut settings = Settings::default();
        if let Some((path, text)) = file {
            settings.take_file(path, text);
        }
        settings.take_environment(environment);
        settings.take_overrides(overrides);
        settings
    }

    fn take_file(&mut self, path: &Path, text: &str) {
        let mut seen = BTreeMap::new();
        for entry in file::parse(text) {
            let origin = Origin::File(path.to_path_buf(), entry.line);
            if let Some(before) = seen.insert(entry.name.clone(), entry.line) {
                self.notes.push(format!(
                    "{origin}: {} replaces the value of line {before}",
                    entry.name
                ));
            }
            self.take(&entry.name, &entry.value, origin);
        }
    }

    fn take_environment(&mut self, environment: impl IntoIterator<Item = (String, String)>) {
        // Sorted, so that two variables for one property always end the same way.
        let sorted: BTreeMap<String, String> = environment.into_iter().collect();
        for (variable, value) in sorted {
            // Compose files pass variables on that are not set: as empty ones.
            if value.is_empty() {
                continue;
            }
            if let Variable::Property(name) = environment::classify(&variable, &value) {
                self.take(&name, &value, Origin::Environment(variable));
            }
        }
    }

    fn take_overrides(&mut self, overrides: &[String]) {
        for given in overrides {
            match given.split_once('=') {
                Some((name, value)) => self.take(name.trim(), value, Origin::CommandLine),
                None => self
                    .errors
                    .push(format!("--override {given}: name=value is expected")),
            }
        }
    }

    fn take(&mut self, name: &str, value: &str, origin: Origin) {
        if name.starts_with("zookeeper.") {
            if !self.saw_zookeeper {
                self.saw_zookeeper = true;
                self.notes.push(format!(
                    "{origin}: no ZooKeeper is needed; it is not connected to"
                ));
            }
            return;
        }
        if RETIRED.contains(&name) {
            self.notes.push(format!(
                "{origin}: {name} was retired by Kafka 4 and has no effect"
            ));
            return;
        }
        match properties::check_broker(name, value) {
            Ok(property) => {
                if property.effect == Effect::Accepted {
                    self.notes.push(format!(
                        "{origin}: {name} is accepted without effect. {}",
                        property.doc
                    ));
                }
                let value = value.trim().to_string();
                self.given.insert(property.name, Setting { value, origin });
            }
            // The environment is shared with other programs, which may have names of their own with KAFKA_ before them.
            Err(error @ PropertyError::Unknown { .. }) if matches!(origin, Origin::Environment(_)) => {
                self.notes.push(format!("{origin} is ignored: {error}"));
            }
            Err(error) => self.errors.push(format!("{origin}: {error}")),
        }
    }

    /// The value given for a property, if one was.
    pub fn given(&self, name: &str) -> Option<&Setting> {
        self.given.get(name)
    }

    /// The value that holds: the given one, or the table's default.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.given.get(name) {
            Some(setting) => Some(&setting.value),
            None => properties::broker_property(name).and_then(|property| property.default),
        }
    }

    /// All given properties, as the shards and DescribeConfigs want them.
    pub fn to_map(&self) -> BTreeMap<String, String> {
        self.given
            .iter()
            .map(|(name, setting)| (name.to_string(), setting.value.clone()))
            .collect()
    }

    /// One line about a property that was given, with its origin before it.
    pub(super) fn refuse(&mut self, name: &str, why: impl fmt::Display) {
        let line = match self.given.get(name) {
            Some(setting) => format!("{}: {name}={}: {why}", setting.origin, setting.value),
            None => format!("{name}: {why}"),
        };
        self.errors.push(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter()
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect()
    }

    #[test]
    fn the_command_line_wins_over_the_environment_over_the_file() {
        let path = Path::new("server.properties");
        let file = "num.partitions=1\nnode.id=1\nlog.dirs=/file\n";
        let settings = Settings::gather(
            Some((path, file)),
            variables(&[("KAFKA_NUM_PARTITIONS", "2"), ("KAFKA_NODE_ID", "2")]),
            &["num.partitions=3".to_string()],
        );
        assert_eq!(settings.errors, Vec::<String>::new());
        assert_eq!(settings.text("num.partitions"), Some("3"));
        assert_eq!(settings.text("node.id"), Some("2"));
        assert_eq!(settings.text("log.dirs"), Some("/file"));
        assert_eq!(settings.text("default.replication.factor"), Some("1"));
        assert_eq!(
            settings.given("log.dirs").unwrap().origin.to_string(),
            "server.properties:3"
        );
    }

    #[test]
    fn an_unknown_name_is_an_error_except_in_the_environment() {
        let path = Path::new("s");
        let settings = Settings::gather(
            Some((path, "num.partition=1")),
            variables(&[("KAFKA_NUM_PARTITION", "2")]),
            &["nonsense".to_string(), "log.dir.s=/x".to_string()],
        );
        assert_eq!(
            settings.errors,
            [
                "s:1: unknown property num.partition; did you mean num.partitions?",
                "--override nonsense: name=value is expected",
                "--override: unknown property log.dir.s; did you mean log.dirs?",
            ]
        );
        assert_eq!(
            settings.notes,
            ["KAFKA_NUM_PARTITION is ignored: unknown property num.partition; did you mean num.partitions?"]
        );
    }

    #[test]
    fn what_has_no_effect_yet_is_refused_wherever_it_comes_from() {
        let settings = Settings::gather(None, variables(&[("KAFKA_LOG_CLEANER_THREADS", "4")]), &[]);
        assert_eq!(settings.errors.len(), 1);
        assert!(settings.errors[0].starts_with("KAFKA_LOG_CLEANER_THREADS: log.cleaner.threads=4"));
    }

    #[test]
    fn zookeeper_is_said_to_be_unneeded_once() {
        let file = "zookeeper.connect=a:2181\nzookeeper.connection.timeout.ms=1\ninter.broker.protocol.version=2.8\n";
        let settings = Settings::gather(Some((Path::new("s"), file)), [], &[]);
        assert_eq!(settings.errors, Vec::<String>::new());
        assert_eq!(
            settings.notes,
            [
                "s:1: no ZooKeeper is needed; it is not connected to",
                "s:3: inter.broker.protocol.version was retired by Kafka 4 and has no effect",
            ]
        );
    }
}
