//! What must be found again beside the data of a local cluster, and where that data lies:
//!
//! ```text
//! <data>/first/cluster.json   cluster id, number of brokers, whether it was formed, the ports brokers know of each other
//! <data>/first/0/             one folder per broker: server.properties, broker.log, data/
//! <data>/first/data/          a lone broker's records as an earlier version kept them; they are moved to 0/data/
//! ```

use super::process::Between;
use crate::cluster::model::Cluster;
use crate::crd::kafka_cluster::NO_FEWER_BROKERS;
use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};

const FILE: &str = "cluster.json";

/// A cluster's folder, and what its file says.
#[derive(Clone, Debug)]
pub struct Place {
    folder: PathBuf,
    kept: Kept,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    cluster_id: String,
    /// Nothing in the file of an earlier version, which names the ports of every broker all the same.
    #[serde(default)]
    replicas: i32,
    formed: bool,
    between: BTreeMap<i32, Between>,
}

impl Place {
    /// As it was, with ports that are free at this moment; a new one for a fresh folder.
    pub fn open(cluster: &Cluster, folder: &Path, taken: &mut BTreeSet<u16>) -> anyhow::Result<Place> {
        std::fs::create_dir_all(folder)?;
        move_lone_data(folder)?;
        let mut place = Place {
            folder: folder.to_owned(),
            kept: read(folder)?.unwrap_or_default(),
        };
        if place.kept.formed && !(0..place.kept.replicas).any(|id| place.broker(id).join("data").exists()) {
            bail!(
                "{}: the cluster was formed, and the data of its brokers is gone from {}; restore it, or remove that folder to begin anew",
                cluster.name,
                folder.display()
            );
        }
        if place.kept.cluster_id.is_empty() {
            let found = id_of_data(&place.broker(0));
            place.kept.cluster_id =
                found.unwrap_or_else(|| protocol::ids::uuid_text(uuid::Uuid::new_v4().as_bytes()));
        }
        place.kept.between.retain(|_, between| between.is_free());
        // Nobody has opened them yet; they must not be given away.
        let kept = place.kept.between.values();
        taken.extend(kept.flat_map(|between| [between.control, between.replication]));
        place.grow(cluster, taken)?;
        Ok(place)
    }

    /// Room for the brokers of `cluster`, which has at least as many as before. On disk before the first of them starts.
    pub fn grow(&mut self, cluster: &Cluster, taken: &mut BTreeSet<u16>) -> anyhow::Result<()> {
        if cluster.replicas < self.kept.replicas {
            bail!("{}: spec.replicas: {NO_FEWER_BROKERS}", cluster.name);
        }
        for id in cluster.node_ids() {
            if let Entry::Vacant(free) = self.kept.between.entry(id) {
                free.insert(Between::choose(taken)?);
            }
        }
        self.kept.replicas = cluster.replicas;
        self.save()?;
        Ok(())
    }

    /// From now on an empty metadata log is a lost one. True when that is news.
    pub fn remember_formed(&mut self) -> std::io::Result<bool> {
        if self.kept.formed {
            return Ok(false);
        }
        self.kept.formed = true;
        self.save()?;
        Ok(true)
    }

    /// The cluster's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A broker's folder.
    pub fn broker(&self, node_id: i32) -> PathBuf {
        self.folder.join(node_id.to_string())
    }

    /// The ports by which a broker is known to the others.
    pub fn between(&self, node_id: i32) -> Between {
        self.kept.between[&node_id]
    }

    /// Control ports by node id.
    pub fn voters(&self) -> BTreeMap<i32, u16> {
        let ports = self.kept.between.iter();
        ports.map(|(id, ports)| (*id, ports.control)).collect()
    }

    /// The cluster with what this place knows of it.
    pub fn complete(&self, mut cluster: Cluster) -> Cluster {
        cluster.cluster_id.clone_from(&self.kept.cluster_id);
        cluster.formed = self.kept.formed;
        cluster
    }

    fn save(&self) -> std::io::Result<()> {
        let text = serde_json::to_vec_pretty(&self.kept).expect("ids and ports");
        let beside = self.folder.join(format!("{FILE}.new"));
        let mut file = std::fs::File::create(&beside)?;
        file.write_all(&text)?;
        file.sync_all()?;
        std::fs::rename(beside, self.folder.join(FILE))
    }
}

/// Number of brokers of every cluster whose data is in a folder: what the rules of a spec compare with when a cluster is
/// run again.
pub fn brokers(data: &Path) -> BTreeMap<String, i32> {
    let folders = std::fs::read_dir(data).into_iter().flatten().flatten();
    let found = folders.filter_map(|entry| {
        let kept = read(&entry.path()).ok().flatten()?;
        Some((entry.file_name().into_string().ok()?, kept.replicas))
    });
    found.collect()
}

fn read(folder: &Path) -> anyhow::Result<Option<Kept>> {
    let path = folder.join(FILE);
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| path.display().to_string()),
    };
    let kept: serde_json::Result<Kept> = serde_json::from_slice(&text);
    let mut kept = kept.with_context(|| {
        format!(
            "{} cannot be read, and without it another cluster would be begun over the data; restore it, or remove the folder",
            path.display()
        )
    })?;
    if kept.replicas == 0 {
        kept.replicas = i32::try_from(kept.between.len()).unwrap_or(0);
    }
    Ok(Some(kept))
}

/// The records go last, in one step: a move that is cut short is begun again.
fn move_lone_data(folder: &Path) -> anyhow::Result<()> {
    let (old, own) = (folder.join("data"), folder.join("0"));
    let new = own.join("data");
    if !old.exists() {
        return Ok(());
    }
    if new.exists() {
        bail!(
            "{} and {} both hold records: an earlier version kept those of a lone broker in the first and those of one among several in the second. They are of two clusters; move the one that is not wanted elsewhere",
            old.display(),
            new.display()
        );
    }
    std::fs::create_dir_all(&own)?;
    let (log, file) = (folder.join("broker.log"), folder.join("server.properties"));
    if log.exists() {
        std::fs::rename(log, own.join("broker.log"))?;
    }
    if file.exists() {
        // Written anew at every start.
        std::fs::remove_file(file)?;
    }
    std::fs::rename(&old, &new).with_context(|| format!("move {} to {}", old.display(), new.display()))
}

/// The cluster id that a broker wrote beside its records. A lone broker of an earlier version chose its own.
fn id_of_data(broker: &Path) -> Option<String> {
    let text = std::fs::read_to_string(broker.join("data/meta.properties")).ok()?;
    let id = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("cluster.id="))?;
    Some(id.trim().to_owned()).filter(|id| !id.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{checked, cluster};

    fn open(folder: &Path, replicas: i32) -> anyhow::Result<Place> {
        Place::open(
            &checked(cluster("first").replicas(replicas)),
            folder,
            &mut BTreeSet::new(),
        )
    }

    fn lone_data_of_an_earlier_version(folder: &Path) {
        std::fs::create_dir_all(folder.join("data")).unwrap();
        std::fs::write(
            folder.join("data/meta.properties"),
            "version=1\ncluster.id=keptkeptkeptkeptkeptke\nnode.id=0\n",
        )
        .unwrap();
        std::fs::write(folder.join("broker.log"), "words").unwrap();
        std::fs::write(folder.join("server.properties"), "node.id=0").unwrap();
    }

    fn id(place: &Place) -> String {
        place.complete(checked(cluster("first"))).cluster_id
    }

    #[test]
    fn what_was_remembered_is_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut first = open(folder.path(), 1).unwrap();
        std::fs::create_dir_all(first.broker(0).join("data")).unwrap();
        assert!(first.remember_formed().unwrap());
        let again = open(folder.path(), 3).unwrap();
        assert_eq!(again.between(0), first.between(0));
        assert_eq!((id(&again), again.voters().len()), (id(&first), 3));
        assert!(again.complete(checked(cluster("first"))).formed);
        let data = folder.path().parent().unwrap();
        let name = folder.path().file_name().unwrap().to_str().unwrap();
        assert_eq!(brokers(data).get(name), Some(&3));
    }

    #[test]
    fn fewer_brokers_are_refused_in_the_words_of_the_rule() {
        let folder = tempfile::tempdir().unwrap();
        open(folder.path(), 3).unwrap();
        let refused = open(folder.path(), 1).unwrap_err().to_string();
        assert!(refused.ends_with(NO_FEWER_BROKERS), "{refused}");
    }

    /// Also when it was cut short at any step before.
    #[test]
    fn a_lone_brokers_data_of_an_earlier_version_is_moved_and_keeps_its_cluster() {
        type Cut = fn(&Path);
        let cuts: [(&str, Cut); 3] = [
            ("not begun", |_| {}),
            ("the log is moved", |folder| {
                std::fs::create_dir_all(folder.join("0")).unwrap();
                std::fs::rename(folder.join("broker.log"), folder.join("0/broker.log")).unwrap();
            }),
            ("all is moved, the file is not written", |folder| {
                move_lone_data(folder).unwrap();
            }),
        ];
        for (words, cut) in cuts {
            let folder = tempfile::tempdir().unwrap();
            lone_data_of_an_earlier_version(folder.path());
            cut(folder.path());
            for replicas in [1, 3] {
                let place = open(folder.path(), replicas).unwrap();
                assert_eq!(id(&place), "keptkeptkeptkeptkeptke", "{words}");
            }
            assert!(folder.path().join("0/data/meta.properties").exists(), "{words}");
            assert!(folder.path().join("0/broker.log").exists(), "{words}");
            assert!(!folder.path().join("data").exists(), "{words}");
        }
    }

    #[test]
    fn records_of_two_clusters_are_not_mixed() {
        let folder = tempfile::tempdir().unwrap();
        lone_data_of_an_earlier_version(folder.path());
        std::fs::create_dir_all(folder.path().join("0/data")).unwrap();
        let refused = open(folder.path(), 3).unwrap_err().to_string();
        assert!(refused.contains("two clusters"), "{refused}");
        assert!(folder.path().join("data/meta.properties").exists());
    }

    #[test]
    fn a_file_of_an_earlier_version_names_its_brokers() {
        let folder = tempfile::tempdir().unwrap();
        let text = r#"{"cluster_id": "keptkeptkeptkeptkeptke", "formed": false,
            "between": {"0": {"control": 1, "replication": 2}, "1": {"control": 3, "replication": 4}, "2": {"control": 5, "replication": 6}}}"#;
        std::fs::write(folder.path().join(FILE), text).unwrap();
        assert!(open(folder.path(), 1).is_err());
        assert_eq!(id(&open(folder.path(), 3).unwrap()), "keptkeptkeptkeptkeptke");
    }

    #[test]
    fn nothing_is_begun_anew_over_what_cannot_be_read_or_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE), "{").unwrap();
        assert!(open(folder.path(), 1).is_err());
        std::fs::remove_file(folder.path().join(FILE)).unwrap();
        let mut place = open(folder.path(), 1).unwrap();
        place.remember_formed().unwrap();
        let refused = open(folder.path(), 1).unwrap_err().to_string();
        assert!(refused.contains("is gone from"), "{refused}");
    }
}
