//! A manifest file -> checked resources, with the words the API server would use: the same schema, the same CEL rules.

use crate::crd::{self, GROUP, KafkaCluster, KafkaTopic, VERSION};
use kube::core::cel::Validator;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// The accepted resources of a file, by name.
#[derive(Clone, Debug, Default)]
pub struct Manifest {
    /// Every KafkaCluster.
    pub clusters: BTreeMap<String, KafkaCluster>,
    /// Every KafkaTopic.
    pub topics: BTreeMap<String, KafkaTopic>,
    /// As they were written, by kind/name; the next version of the file is compared with them.
    accepted: BTreeMap<String, Value>,
    /// Number of brokers by name of the clusters whose data is here: one that is not running has its number of brokers too.
    pub found: BTreeMap<String, i32>,
}

/// The file cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// No such file, or not ours to read.
    #[error("read {path}: {source}")]
    Unreadable {
        /// As given.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Not YAML.
    #[error("{path}: {detail}")]
    NotYaml {
        /// As given.
        path: String,
        /// With line and column.
        detail: String,
    },
}

/// Reads a file. Resources with mistakes are left out, or stay as they were in `before`; the mistakes are returned.
pub fn load(path: &Path, before: &Manifest) -> Result<(Manifest, Vec<String>), ManifestError> {
    let shown = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|source| ManifestError::Unreadable {
        path: shown.clone(),
        source,
    })?;
    parse(&text, before).map_err(|detail| ManifestError::NotYaml { path: shown, detail })
}

/// The same for a text.
pub fn parse(text: &str, before: &Manifest) -> Result<(Manifest, Vec<String>), String> {
    let (mut manifest, mut mistakes) = (Manifest::default(), Vec::new());
    for document in serde_yaml::Deserializer::from_str(text) {
        let value = Value::deserialize(document).map_err(|error| error.to_string())?;
        if value.is_null() {
            continue;
        }
        if let Err(found) = accept(value, before, &mut manifest) {
            mistakes.extend(found);
        }
    }
    Ok((manifest, mistakes))
}

fn accept(mut value: Value, before: &Manifest, manifest: &mut Manifest) -> Result<(), Vec<String>> {
    let kind = value["kind"].as_str().unwrap_or_default().to_owned();
    let name = value["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let title = format!("{kind} \"{name}\"");
    if value["apiVersion"] != format!("{GROUP}/{VERSION}") {
        return Err(vec![format!("{title}: apiVersion must be {GROUP}/{VERSION}")]);
    }
    let Some(schema) = crd::schema_of(&kind) else {
        return Err(vec![format!("{title}: kind must be KafkaCluster or KafkaTopic")]);
    };
    if name.is_empty() {
        return Err(vec![format!("{kind}: metadata.name: Required value")]);
    }
    if let Some(spec) = value.get_mut("spec") {
        super::schema::fill(&schema["properties"]["spec"], spec);
    }
    let key = format!("{kind}/{name}");
    let old = before.accepted.get(&key);
    let found = before.found_as_old(&kind, &name, &value);
    let mistakes = check(&schema, &value, old.or(found.as_ref()));
    let kept = match (mistakes.is_empty(), old) {
        (true, _) => value,
        // As with an API server: what was accepted before stays in force.
        (false, Some(old)) => old.clone(),
        (false, None) => return Err(named(&title, mistakes)),
    };
    let unreadable = |error: serde_json::Error| vec![format!("{title}: {error}")];
    match kind.as_str() {
        "KafkaCluster" => {
            manifest
                .clusters
                .insert(name, serde_json::from_value(kept.clone()).map_err(unreadable)?);
        }
        _ => {
            manifest
                .topics
                .insert(name, serde_json::from_value(kept.clone()).map_err(unreadable)?);
        }
    }
    manifest.accepted.insert(key, kept);
    if mistakes.is_empty() {
        Ok(())
    } else {
        Err(named(&title, mistakes))
    }
}

impl Manifest {
    /// Nothing accepted yet, beside the data of clusters with so many brokers.
    pub fn beside(found: BTreeMap<String, i32>) -> Manifest {
        Manifest {
            found,
            ..Manifest::default()
        }
    }

    /// What the rules compare a cluster with that is run again: itself, with the brokers it has. An ephemeral one begins
    /// anew.
    fn found_as_old(&self, kind: &str, name: &str, value: &Value) -> Option<Value> {
        let replicas = self.found.get(name).filter(|_| kind == "KafkaCluster")?;
        if value["spec"]["storage"]["type"] == "ephemeral" {
            return None;
        }
        let mut old = value.clone();
        old.get_mut("spec")?
            .as_object_mut()?
            .insert("replicas".into(), (*replicas).into());
        Some(old)
    }
}

fn named(title: &str, mistakes: Vec<String>) -> Vec<String> {
    mistakes
        .into_iter()
        .map(|mistake| format!("the {title} is invalid: {mistake}"))
        .collect()
}

/// Schema first; the rules only when it holds, as in the API server.
fn check(schema: &Value, value: &Value, old: Option<&Value>) -> Vec<String> {
    let mut mistakes = Vec::new();
    // The API server, not the schema, knows what is in metadata.
    super::schema::check(
        &schema["properties"]["spec"],
        value.get("spec"),
        "spec",
        &mut mistakes,
    );
    for field in value.as_object().into_iter().flat_map(|object| object.keys()) {
        if !["apiVersion", "kind", "metadata", "spec", "status"].contains(&field.as_str()) {
            mistakes.push(format!("{field}: unknown field"));
        }
    }
    if !mistakes.is_empty() {
        return mistakes;
    }
    match Validator::new().validate(schema, value, old) {
        Ok(()) => Vec::new(),
        Err(refused) => {
            let told = refused.into_vec().into_iter();
            told.map(|one| format!("{}: {}", one.field_path.trim_start_matches('.'), one.message))
                .collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crd::kafka_cluster::NO_FEWER_BROKERS;
    use crate::crd::kafka_topic::NO_FEWER_PARTITIONS;

    fn examples(folder: &str) -> Vec<std::path::PathBuf> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../charts/examples")
            .join(folder);
        let files = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        files
            .filter(|path| path.extension().is_some_and(|ending| ending == "yaml"))
            .collect()
    }

    #[test]
    fn every_example_is_accepted() {
        for path in examples("") {
            let (manifest, mistakes) = load(&path, &Manifest::default()).unwrap();
            assert!(mistakes.is_empty(), "{}: {mistakes:?}", path.display());
            assert!(!manifest.clusters.is_empty() || !manifest.topics.is_empty());
        }
    }

    /// The first line of a broken example names the field.
    #[test]
    fn every_broken_example_is_refused_by_its_field() {
        let files = examples("broken");
        assert!(files.len() > 10);
        for path in files {
            let text = std::fs::read_to_string(&path).unwrap();
            let field = text.lines().next().unwrap().strip_prefix("# Refused: ").unwrap();
            let (_, mistakes) = parse(&text, &Manifest::default()).unwrap();
            let named = mistakes
                .iter()
                .any(|mistake| mistake.contains(&format!("{field}:")));
            assert!(named, "{}: {field} is not named in {mistakes:?}", path.display());
        }
    }

    #[test]
    fn lowering_partitions_is_refused_in_the_words_of_the_rule_and_the_rest_is_taken() {
        let topic = |name: &str, partitions| {
            format!(
                "---\napiVersion: millrace.dev/v1alpha1\nkind: KafkaTopic\nmetadata: {{name: {name}}}\nspec: {{clusterRef: {{name: c}}, partitions: {partitions}}}\n"
            )
        };
        let (first, _) = parse(
            &format!("{}{}", topic("a", 6), topic("b", 1)),
            &Manifest::default(),
        )
        .unwrap();
        let (second, mistakes) = parse(&format!("{}{}", topic("a", 3), topic("b", 2)), &first).unwrap();
        assert_eq!(
            mistakes,
            [format!(
                "the KafkaTopic \"a\" is invalid: spec.partitions: {NO_FEWER_PARTITIONS}"
            )]
        );
        assert_eq!(second.topics["a"].spec.partitions, Some(6));
        assert_eq!(second.topics["b"].spec.partitions, Some(2));
    }

    /// One row: brokers in the file that is run, or found with the data; then in the next file; and whether that is refused.
    #[test]
    fn lowering_brokers_is_refused_while_they_run_and_between_two_runs() {
        let cluster = |replicas: &str, storage: &str| {
            format!(
                "apiVersion: millrace.dev/v1alpha1\nkind: KafkaCluster\nmetadata: {{name: a}}\nspec: {{{replicas}storage: {{{storage}}}}}\n"
            )
        };
        let claim = "type: persistent-claim, size: 1Gi";
        let rows = [
            (3, "replicas: 1, ", claim, true),
            (5, "", claim, true),
            (1, "replicas: 3, ", claim, false),
            (1, "", claim, false),
            (3, "replicas: 3, ", claim, false),
        ];
        let refused = format!("the KafkaCluster \"a\" is invalid: spec.replicas: {NO_FEWER_BROKERS}");
        for (had, replicas, storage, lowered) in rows {
            let wanted: &[String] = if lowered {
                std::slice::from_ref(&refused)
            } else {
                &[]
            };
            let next = cluster(replicas, storage);
            let (running, _) = parse(
                &cluster(&format!("replicas: {had}, "), storage),
                &Manifest::default(),
            )
            .unwrap();
            let (after, mistakes) = parse(&next, &running).unwrap();
            assert_eq!(mistakes, wanted, "{had}, then {replicas:?}, while it runs");
            assert!(!lowered || after.clusters["a"].spec.replicas == had);
            let found = Manifest::beside(BTreeMap::from([("a".to_owned(), had)]));
            let (after, mistakes) = parse(&next, &found).unwrap();
            assert_eq!(mistakes, wanted, "{had}, then {replicas:?}, between two runs");
            assert_eq!(after.clusters.is_empty(), lowered);
        }
        let found = Manifest::beside(BTreeMap::from([("a".to_owned(), 3)]));
        let (_, mistakes) = parse(&cluster("replicas: 1, ", "type: ephemeral"), &found).unwrap();
        assert!(
            mistakes.is_empty(),
            "an ephemeral cluster begins anew: {mistakes:?}"
        );
    }
}
