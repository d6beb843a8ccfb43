//! What a person sees: a table when something changed, and the commands to paste next. Pure: values in, text out.

use crate::topic::status::Outcome;

/// One row per cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterRow {
    /// `metadata.name`.
    pub name: String,
    /// Ready, Starting, Stopped, or what is wrong.
    pub state: String,
    /// uring, posix, or nothing yet.
    pub engine: String,
    /// (listener, host:port).
    pub listeners: Vec<(String, String)>,
}

/// One row per topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicRow {
    /// The topic's name in Kafka.
    pub name: String,
    /// Its cluster.
    pub cluster: String,
    /// How it stands.
    pub outcome: Outcome,
}

/// Both tables.
pub fn table(clusters: &[ClusterRow], topics: &[TopicRow]) -> String {
    let mut rows = vec![
        ["CLUSTER", "STATE", "IO", "LISTENERS"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for cluster in clusters {
        let listeners: Vec<String> = cluster
            .listeners
            .iter()
            .map(|(name, at)| format!("{name} {at}"))
            .collect();
        rows.push(vec![
            cluster.name.clone(),
            cluster.state.clone(),
            cluster.engine.clone(),
            listeners.join(", "),
        ]);
    }
    let mut text = columns(&rows);
    if !topics.is_empty() {
        let mut rows = vec![
            ["TOPIC", "CLUSTER", "PARTITIONS", "ISR", "STATE"]
                .map(str::to_owned)
                .to_vec(),
        ];
        rows.extend(topics.iter().map(topic_row));
        text.push('\n');
        text.push_str(&columns(&rows));
    }
    text
}

fn topic_row(topic: &TopicRow) -> Vec<String> {
    let numbers = |found: &crate::kafka::Topic| {
        (
            found.partitions.to_string(),
            format!("{}/{}", found.in_sync, found.all_replicas),
        )
    };
    let nothing = || (String::new(), String::new());
    let ((partitions, in_sync), state) = match &topic.outcome {
        Outcome::Synced(found) => (numbers(found), "Ready".to_owned()),
        Outcome::Refused {
            reason,
            message,
            found,
        } => (
            found.as_ref().map_or_else(nothing, numbers),
            format!("{reason}: {message}"),
        ),
        Outcome::Waiting(text) => (nothing(), format!("Waiting: {text}")),
        Outcome::Failed(text) => (nothing(), format!("Failed, trying again: {text}")),
        Outcome::Conflict(with) => (nothing(), format!("Conflict: {with} owns it")),
        Outcome::Paused => (nothing(), "Paused".to_owned()),
    };
    vec![
        topic.name.clone(),
        topic.cluster.clone(),
        partitions,
        in_sync,
        state,
    ]
}

fn columns(rows: &[Vec<String>]) -> String {
    let count = rows.first().map_or(0, Vec::len);
    let widths: Vec<usize> = (0..count)
        .map(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for row in rows {
        let cells = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// Commands for a person who has Kafka's tools or kcat.
pub fn next_commands(bootstrap: &str, topic: Option<&str>) -> String {
    let topic = topic.unwrap_or("orders");
    format!(
        "Bootstrap address: {bootstrap}\n\
         \n  kcat -b {bootstrap} -L\
         \n  echo hello | kcat -b {bootstrap} -P -t {topic}\
         \n  kcat -b {bootstrap} -C -t {topic} -o beginning -e\
         \n  kafka-topics.sh --bootstrap-server {bootstrap} --describe --topic {topic}\
         \n  kafka-console-producer.sh --bootstrap-server {bootstrap} --topic {topic}\
         \n  kafka-console-consumer.sh --bootstrap-server {bootstrap} --topic {topic} --from-beginning\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let cluster = ClusterRow {
            name: "first".into(),
            state: "Ready".into(),
            engine: "uring".into(),
            listeners: vec![("plain".into(), "127.0.0.1:9092".into())],
        };
        let text = table(&[cluster], &[]);
        assert_eq!(
            text,
            "CLUSTER  STATE  IO     LISTENERS\nfirst    Ready  uring  plain 127.0.0.1:9092\n"
        );
    }
}
