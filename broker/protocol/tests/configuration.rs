//! `CONFIGURATION.md` says what the property tables say. `make generate` writes it; this test compares.

use std::fmt::Write;
use std::path::Path;

use protocol::properties::{Effect, Kind, Property, Range, Scope, broker_properties, topic_properties};

/// The page's name at the root of the repository.
const PAGE: &str = "CONFIGURATION.md";

const HEAD: &str = "# Configuration

Generated from the property tables in `broker/protocol/src/properties` by `make generate`; edit those.

A broker reads its properties from `--config FILE` (Kafka's `server.properties`), from the environment as the Docker
images do (`KAFKA_LOG_DIRS` is `log.dirs`; `__` stands for `_`, `___` for `-`), and from `--override NAME=VALUE`. The
command line wins over the environment, which wins over the file. An unknown name is an error that says which known one
is nearest; in the environment it is a line in the log. `millrace-broker --print-config` checks and prints what was given.

- **restart**: fixed at start. **broker** and **cluster**: changed while running, for one broker or for all.
  **cluster only**: changed while running, for all; where it is not, the file of the broker that leads the metadata quorum
  counts for all brokers, so give all the same.
- Topic properties are set when a topic is created or altered; where a topic has none, the broker property named in the
  last column holds.
";

fn range(property: &Property) -> String {
    match property.range {
        Range::Any => String::new(),
        Range::AtLeast(low) => format!("{low} and up"),
        Range::Between(low, high) => format!("{low} to {high}"),
        Range::OneOf(words) => words.join(", "),
        Range::NotEmpty => "not empty".to_string(),
        Range::CountsByAddress => "address:number, ...".to_string(),
        Range::Replicas => "partition:broker, ... or *".to_string(),
    }
}

fn scope(property: &Property) -> &'static str {
    match property.scope {
        Scope::ReadOnly => "restart",
        Scope::PerBroker => "broker",
        Scope::ClusterWide => "cluster",
        Scope::OneForAll => "cluster only",
    }
}

fn default(property: &Property) -> String {
    match property.default {
        None => "none".to_string(),
        Some("") => "empty".to_string(),
        Some(_) if property.kind == Kind::Password => "hidden".to_string(),
        Some(value) => format!("`{value}`"),
    }
}

fn broker_table(page: &mut String, effect: Effect) {
    page.push_str(
        "\n| Property | Type | Default | Values | Change takes | What it does |\n|---|---|---|---|---|---|\n",
    );
    for row in broker_properties().filter(|row| row.effect == effect) {
        let (default, range, scope) = (default(row), range(row), scope(row));
        let line = format!(
            "| `{}` | {} | {default} | {range} | {scope} | {} |",
            row.name,
            row.kind.name(),
            row.doc
        );
        writeln!(page, "{line}").expect("a string takes everything");
    }
}

fn topic_table(page: &mut String) {
    page.push_str("\n| Property | Type | Default | Values | What it does | Broker property |\n|---|---|---|---|---|---|\n");
    for row in topic_properties().filter(|row| row.property.effect != Effect::NotYet) {
        let property = &row.property;
        let broker = row.broker.map(|name| format!("`{name}`")).unwrap_or_default();
        let (default, range) = (default(property), range(property));
        let (name, kind) = (property.name, property.kind.name());
        writeln!(
            page,
            "| `{name}` | {kind} | {default} | {range} | {} | {broker} |",
            property.doc
        )
        .expect("a string takes everything");
    }
}

fn names(page: &mut String, names: impl Iterator<Item = &'static str>) {
    let names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
    page.push('\n');
    page.push_str(&names.join(", "));
    page.push_str(".\n");
}

fn page() -> String {
    let mut page = HEAD.to_string();
    page.push_str("\n## Broker properties\n");
    broker_table(&mut page, Effect::Served);
    page.push_str("\n## Topic properties\n");
    topic_table(&mut page);
    page.push_str("\n## Accepted without effect\n\nThey tune parts that Kafka has and this broker has not. Setting one gets a line in the log.\n");
    broker_table(&mut page, Effect::Accepted);
    page.push_str("\n## Without effect yet\n\nKnown by name, and refused when set to anything but Kafka's default. Of brokers:\n");
    names(
        &mut page,
        broker_properties()
            .filter(|row| row.effect == Effect::NotYet)
            .map(|row| row.name),
    );
    page.push_str("\nOf topics:\n");
    let topics = topic_properties().filter(|row| row.property.effect == Effect::NotYet);
    names(&mut page, topics.map(|row| row.property.name));
    page
}

#[test]
fn the_page_says_what_the_tables_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(PAGE);
    let wanted = page();
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        std::fs::write(&path, &wanted).expect("the repository can be written");
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(there == wanted, "{PAGE} is out of date: run `make generate`");
}
