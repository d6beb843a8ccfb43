//! Local mode: the operator without Kubernetes. A manifest file is watched instead of an API server, and for each
//! broker of a KafkaCluster a process runs on 127.0.0.1; what to do is decided by the same validation, property building and
//! topic plans.
//!
//! One loop on one thread owns everything: it looks at the file and the processes a few times a second, acts on what
//! changed, and prints what a person wants to know. Ephemeral clusters keep their data in a folder that is emptied at
//! start, as a new pod would find it.

pub mod manifest;
pub mod member;
pub mod place;
pub mod process;
pub mod running;
pub mod schema;
pub mod table;
pub mod watch;

use crate::cluster::validate::{Defaults, Kept, validate};
use crate::crd::kafka_cluster::PullPolicy;
use manifest::Manifest;
use running::Running;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;
use table::{ClusterRow, TopicRow};

/// How often the file and the processes are looked at.
const TICK: Duration = Duration::from_millis(100);
/// How often topics are compared again when nothing changed, so that drift is corrected.
const RESYNC: Duration = Duration::from_secs(10);

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The manifest.
    pub file: PathBuf,
    /// Where brokers keep their data.
    pub data: PathBuf,
    /// The broker's program.
    pub broker: PathBuf,
}

/// Where data goes when nobody says: below XDG_DATA_HOME if that is set, else in the current folder.
pub fn default_data() -> PathBuf {
    match std::env::var_os("XDG_DATA_HOME").filter(|home| !home.is_empty()) {
        Some(home) => Path::new(&home).join("millrace"),
        None => PathBuf::from("millrace-data"),
    }
}

/// The broker's program: next to this one, else on the PATH.
pub fn find_broker() -> Option<PathBuf> {
    const NAME: &str = "millrace-broker";
    let beside = std::env::current_exe()
        .ok()
        .and_then(|own| Some(own.parent()?.join(NAME)));
    let on_path = std::env::var_os("PATH");
    let on_path = on_path
        .iter()
        .flat_map(std::env::split_paths)
        .map(|folder| folder.join(NAME));
    beside.into_iter().chain(on_path).find(|path| path.is_file())
}

/// Runs until `stop` ends, then stops every broker.
pub async fn run(options: Options, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
    std::fs::create_dir_all(&options.data)?;
    let data = options.data.canonicalize()?;
    let found = Manifest::beside(place::brokers(&data));
    let (manifest, mistakes) = manifest::load(&options.file, &found)?;
    if !mistakes.is_empty() {
        anyhow::bail!("{}", mistakes.join("\n"));
    }
    say(&format!("data in {}", data.display()));
    let mut local = Local {
        watch: watch::Watch::new(&options.file),
        options: Options { data, ..options },
        manifest,
        clusters: BTreeMap::new(),
        shown: String::new(),
    };
    local.adopt_manifest().await?;
    let mut stop = std::pin::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            () = local.turn() => {}
        }
        // Apart from the turn: a turn that is cut short must not lose a started step.
        if tokio::time::timeout(TICK, &mut stop).await.is_ok() {
            break;
        }
    }
    say("stopping");
    local.stop().await;
    Ok(())
}

/// One line to the person at the terminal. A closed terminal is not an error.
fn say(line: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stdout(), "{line}");
}

struct Local {
    options: Options,
    watch: watch::Watch,
    manifest: Manifest,
    clusters: BTreeMap<String, Running>,
    shown: String,
}

impl Local {
    async fn turn(&mut self) {
        if self.watch.changed() {
            self.reload().await;
        }
        for running in self.clusters.values_mut() {
            running.turn().await;
        }
        self.show();
    }

    async fn reload(&mut self) {
        self.manifest.found = place::brokers(&self.options.data);
        match manifest::load(&self.options.file, &self.manifest) {
            Err(error) => say(&format!("{error}; going on with what was there")),
            Ok((manifest, mistakes)) => {
                for mistake in &mistakes {
                    say(mistake);
                }
                self.manifest = manifest;
                if let Err(error) = self.adopt_manifest().await {
                    say(&format!("{error:#}"));
                }
            }
        }
    }

    /// Makes `clusters` follow the manifest.
    async fn adopt_manifest(&mut self) -> anyhow::Result<()> {
        let gone: Vec<String> = self
            .clusters
            .keys()
            .filter(|name| !self.manifest.clusters.contains_key(*name))
            .cloned()
            .collect();
        for name in gone {
            if let Some(mut running) = self.clusters.remove(&name) {
                running.stop().await;
                say(&format!(
                    "{name}: left the file; its brokers are stopped, its data stays in {}",
                    running.folder().display()
                ));
            }
        }
        let mut taken: BTreeSet<u16> = self.clusters.values().flat_map(Running::listener_ports).collect();
        for (name, resource) in &self.manifest.clusters {
            let cluster = match validate(resource, &Kept::default(), &defaults()) {
                Ok(cluster) => cluster,
                Err(wrong) => {
                    for mistake in wrong {
                        say(&format!("the KafkaCluster \"{name}\" is invalid: {mistake}"));
                    }
                    continue;
                }
            };
            match self.clusters.get_mut(name) {
                Some(running) => running.change(cluster, &self.options, &mut taken)?,
                None => {
                    let running = Running::new(cluster, &self.options, &mut taken)?;
                    self.clusters.insert(name.clone(), running);
                }
            }
        }
        for topic in self.manifest.topics.values() {
            if !self.clusters.contains_key(&topic.spec.cluster_ref.name) {
                let cluster = &topic.spec.cluster_ref.name;
                say(&format!(
                    "{}: waits for the cluster {cluster}, which is not in the file",
                    topic.topic_name()
                ));
            }
        }
        for (name, running) in &mut self.clusters {
            let topics = self
                .manifest
                .topics
                .values()
                .filter(|topic| topic.spec.cluster_ref.name == *name);
            let mut wanted = BTreeMap::new();
            for topic in topics {
                if let Some(other) = wanted.insert(topic.topic_name().to_owned(), topic.clone()) {
                    say(&format!(
                        "two KafkaTopics want the topic {}; one of them wins",
                        other.topic_name()
                    ));
                }
            }
            running.want(wanted);
        }
        Ok(())
    }

    fn show(&mut self) {
        let clusters: Vec<ClusterRow> = self.clusters.values().map(Running::row).collect();
        let topics: Vec<TopicRow> = self.clusters.values().flat_map(Running::topic_rows).collect();
        let text = table::table(&clusters, &topics);
        if text != self.shown {
            say(&format!("\n{}", text.trim_end()));
            self.shown = text;
        }
        for running in self.clusters.values_mut() {
            if running.settled() && !running.welcomed && running.outcomes.len() >= running.wanted.len() {
                running.welcomed = true;
                let listener = running
                    .cluster
                    .listeners
                    .first()
                    .map_or("", |listener| &listener.name);
                let topic = running.wanted.keys().next().map(String::as_str);
                say(&format!(
                    "\n{}",
                    table::next_commands(&running.addresses(listener), topic)
                ));
            }
        }
    }

    async fn stop(&mut self) {
        let stops = self.clusters.values_mut().map(|running| running.stop());
        let clean = futures::future::join_all(stops).await;
        if clean.iter().all(|clean| *clean) {
            say("stopped; the next run finds the data");
        } else {
            say("a broker did not stop in time and was killed; it recovers at its next start");
        }
    }
}

/// Images are Kubernetes' business.
fn defaults() -> Defaults {
    Defaults {
        image: "local".to_owned(),
        pull_policy: PullPolicy::Never,
        pull_secrets: Vec::new(),
        operator_namespace: String::new(),
    }
}

/// "name old -> new" for every property that differs.
pub fn differences(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Vec<String> {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let changed = names
        .into_iter()
        .filter(|name| before.get(*name) != after.get(*name));
    let text = |value: Option<&String>| value.map_or("unset", String::as_str).to_owned();
    changed
        .map(|name| format!("{name} {} -> {}", text(before.get(name)), text(after.get(name))))
        .collect()
}
