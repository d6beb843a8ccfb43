//! What the popular Docker images of Kafka make of environment variables: `KAFKA_LOG_DIRS` is `log.dirs`.
//!
//! Owns the spelling rule and the list of `KAFKA_…` names that are none of our business: those of the JVM, of the
//! images' own scripts, and of Kubernetes, which announces every Service of a namespace to every pod, so that a Service
//! called `kafka` sets `KAFKA_PORT` and the like.

/// What one variable is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Variable {
    /// A property by this name.
    Property(String),
    /// Known, and not for us.
    Ignored,
    /// Not one of Kafka's variables at all.
    Foreign,
}

/// Names under which images pass the cluster's id.
const CLUSTER_ID: &[&str] = &["CLUSTER_ID", "KAFKA_CLUSTER_ID", "KAFKA_KRAFT_CLUSTER_ID"];

/// Variables of the JVM and of start scripts.
const IGNORED: &[&str] = &[
    "KAFKA_BASE_DIR",
    "KAFKA_CLASSPATH",
    "KAFKA_DEBUG",
    "KAFKA_ENABLE_KRAFT",
    "KAFKA_GC_LOG_OPTS",
    "KAFKA_GROUP",
    "KAFKA_HEAP_OPTS",
    "KAFKA_HOME",
    "KAFKA_JVM_PERFORMANCE_OPTS",
    "KAFKA_MODE",
    "KAFKA_OPTS",
    "KAFKA_TOOLS_LOG4J_LOGLEVEL",
    "KAFKA_USER",
    "KAFKA_VERSION",
    "KAFKA_VOLUME_DIR",
    "KAFKA_ZOOKEEPER_PROTOCOL",
];

/// Beginnings of such names.
const IGNORED_BEGINNINGS: &[&str] = &["KAFKA_JMX_", "KAFKA_LOG4J_", "KAFKA_DEBUG_", "KAFKA_JVM_"];

/// Says what the variable is. The value matters for one name: `KAFKA_PORT` is a Service's when it holds an address.
pub(super) fn classify(name: &str, value: &str) -> Variable {
    if CLUSTER_ID.contains(&name) {
        return Variable::Property("cluster.id".to_string());
    }
    let Some(rest) = name.strip_prefix("KAFKA_") else {
        return Variable::Foreign;
    };
    let ignored = IGNORED.contains(&name)
        || IGNORED_BEGINNINGS
            .iter()
            .any(|beginning| name.starts_with(beginning))
        || is_service_link(rest, value);
    if ignored || rest.is_empty() {
        return Variable::Ignored;
    }
    // Bitnami's image puts CFG_ before the property.
    Variable::Property(property_name(rest.strip_prefix("CFG_").unwrap_or(rest)))
}

/// `A_B` is `a.b`, `A__B` is `a_b`, `A___B` is `a-b`.
fn property_name(rest: &str) -> String {
    let lower = rest.to_ascii_lowercase();
    lower
        .replace("___", "-")
        .replace("__", "\u{0}")
        .replace('_', ".")
        .replace('\u{0}', "_")
}

/// `SERVICE_HOST`, `SERVICE_PORT[_NAME]`, `PORT` holding an address, `PORT_9092_TCP[_ADDR|_PORT|_PROTO]`; before each of
/// them the rest of the Service's name may stand.
fn is_service_link(rest: &str, value: &str) -> bool {
    let ends = |tail: &str| rest == tail || rest.ends_with(&format!("_{tail}"));
    let is_address = value.starts_with("tcp://") || value.starts_with("udp://");
    if ends("SERVICE_HOST") || ends("SERVICE_PORT") || (ends("PORT") && is_address) {
        return true;
    }
    if rest.starts_with("SERVICE_PORT_") || rest.contains("_SERVICE_PORT_") {
        return true;
    }
    let words: Vec<&str> = rest.split('_').collect();
    words.windows(3).any(|three| {
        three[0] == "PORT" && three[1].parse::<u16>().is_ok() && matches!(three[2], "TCP" | "UDP" | "SCTP")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_spelled_as_the_images_spell_them() {
        let property = |name: &str| match classify(name, "x") {
            Variable::Property(name) => name,
            other => panic!("{name}: {other:?}"),
        };
        assert_eq!(property("KAFKA_LOG_DIRS"), "log.dirs");
        assert_eq!(property("KAFKA_SOME__NAME_X"), "some_name.x");
        assert_eq!(property("KAFKA_SOME___NAME"), "some-name");
        assert_eq!(property("KAFKA_CFG_NODE_ID"), "node.id");
        assert_eq!(property("CLUSTER_ID"), "cluster.id");
        assert_eq!(classify("PATH", "x"), Variable::Foreign);
    }

    #[test]
    fn the_jvms_and_kubernetes_names_are_ignored() {
        for (name, value) in [
            ("KAFKA_HEAP_OPTS", "-Xmx1G"),
            ("KAFKA_OPTS", ""),
            ("KAFKA_JMX_PORT", "9999"),
            ("KAFKA_LOG4J_ROOT_LOGLEVEL", "INFO"),
            ("KAFKA_PORT", "tcp://10.0.0.1:9092"),
            ("KAFKA_SERVICE_HOST", "10.0.0.1"),
            ("KAFKA_SERVICE_PORT", "9092"),
            ("KAFKA_SERVICE_PORT_TCP_CLIENTS", "9092"),
            ("KAFKA_PORT_9092_TCP", "tcp://10.0.0.1:9092"),
            ("KAFKA_PORT_9092_TCP_ADDR", "10.0.0.1"),
            ("KAFKA_BOOTSTRAP_SERVICE_HOST", "10.0.0.1"),
            ("KAFKA_BOOTSTRAP_PORT_9092_TCP_PROTO", "tcp"),
            ("KAFKA_BOOTSTRAP_PORT", "tcp://10.0.0.1:9092"),
        ] {
            assert_eq!(classify(name, value), Variable::Ignored, "{name}");
        }
        assert_eq!(
            classify("KAFKA_PORT", "9092"),
            Variable::Property("port".to_string())
        );
    }
}
