//! The log directories as a whole: formatted on first use, locked while a broker uses them, and refused when they
//! belong to somebody else.
//!
//! Each holds `meta.properties` in Kafka's format, which says whose it is:
//!
//! ```text
//! version=1
//! cluster.id=4L6g3nShT-eMCtK--X86sw      the same in all directories of the cluster
//! node.id=1                              the same in all directories of the broker
//! directory.id=fNJ6Bm1GTHWqjVbRbTLKRg    random, of this directory alone
//! ```
//!
//! Owns that file and the lock. What else lies there is for `log` and `quorum`.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use protocol::NodeId;

use crate::config::NodeOptions;
use crate::rt::file::{DirLock, Disk};

const META: &str = "meta.properties";
const LOCK: &str = ".lock";
/// The node id of a fresh directory when nothing says which.
const FIRST_NODE: NodeId = NodeId(1);

/// The broker's identity, and its directories while they are locked.
pub struct Directories {
    pub node_id: NodeId,
    pub cluster_id: Arc<str>,
    /// In the order of `log.dirs`.
    pub dirs: Vec<LogDirectory>,
    /// Nothing in them speaks of an earlier life (no logs, no metadata of a cluster), so a new cluster may be formed.
    pub may_form: bool,
    /// What was done, for the log.
    pub notes: Vec<String>,
}

/// One directory of `log.dirs`.
pub struct LogDirectory {
    pub path: PathBuf,
    /// `directory.id`: an emptied disk comes back with another one.
    pub directory_id: [u8; 16],
    /// Held as long as the process runs, so that no second one writes here.
    _lock: DirLock,
}

/// Why the directories cannot be used. Each is one line that a person can act on.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    #[error("log directory {}: {error}", .path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error("log directory {} lies on a read-only file system; mount it writable, or point log.dirs elsewhere", .0.display())]
    ReadOnly(PathBuf),
    #[error("log directory {} is in use by another process", .0.display())]
    Locked(PathBuf),
    #[error("log directory {} belongs to {what} {found}, but this broker is told {wanted}; point log.dirs elsewhere or correct {property}", .path.display())]
    Foreign {
        path: PathBuf,
        what: &'static str,
        property: &'static str,
        found: String,
        wanted: String,
    },
    #[error("{}: {why}", .path.display())]
    Unreadable { path: PathBuf, why: String },
    #[error("log directory {} holds logs ({example}) but no meta.properties; it was never formatted, or lost the file. Restore it, or point log.dirs at an empty folder", .path.display())]
    Unformatted { path: PathBuf, example: String },
}

/// What a `meta.properties` says.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Meta {
    cluster_id: String,
    node_id: NodeId,
    directory_id: [u8; 16],
}

/// A directory that was looked at but not yet formatted.
struct Found {
    path: PathBuf,
    meta: Option<Meta>,
    lock: DirLock,
}

/// Locks the directories, checks whose they are, and formats those that are fresh. `new_id` gives random uuids. Blocks.
pub fn open(
    disk: &Disk,
    log_dirs: &[PathBuf],
    node: &NodeOptions,
    mut new_id: impl FnMut() -> [u8; 16],
) -> Result<Directories, DirectoryError> {
    let mut found = Vec::new();
    let mut may_form = true;
    for path in log_dirs {
        let looked_at = look(disk, path)?;
        may_form &= logs_in(disk, path)?.is_none();
        found.push(looked_at);
    }
    let (node_id, cluster_id) = identity(&found, node, &mut new_id)?;
    let mut notes = Vec::new();
    let mut dirs = Vec::new();
    for Found { path, meta, lock } in found {
        let directory_id = match meta {
            Some(meta) => meta.directory_id,
            None => {
                let meta = Meta {
                    cluster_id: cluster_id.clone(),
                    node_id,
                    directory_id: directory_id(&mut new_id),
                };
                format_directory(disk, &path, &meta)?;
                notes.push(format!(
                    "formatted {} for node {node_id} of cluster {cluster_id}",
                    path.display()
                ));
                meta.directory_id
            }
        };
        dirs.push(LogDirectory {
            path,
            directory_id,
            _lock: lock,
        });
    }
    Ok(Directories {
        node_id,
        cluster_id: cluster_id.into(),
        dirs,
        may_form,
        notes,
    })
}

/// Creates the directory if need be, takes its lock and reads whose it is.
fn look(disk: &Disk, path: &Path) -> Result<Found, DirectoryError> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem => DirectoryError::ReadOnly(path.to_path_buf()),
        io::ErrorKind::WouldBlock => DirectoryError::Locked(path.to_path_buf()),
        _ => DirectoryError::Io {
            path: path.to_path_buf(),
            error,
        },
    };
    disk.create_dir_all(path).map_err(failed)?;
    let lock = disk.lock(path.join(LOCK)).map_err(failed)?;
    let file = path.join(META);
    let meta = match disk.read(&file) {
        Ok(bytes) => Some(parse(&file, &bytes)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(failed(error)),
    };
    if meta.is_none()
        && let Some(example) = logs_in(disk, path)?
    {
        return Err(DirectoryError::Unformatted {
            path: path.to_path_buf(),
            example,
        });
    }
    Ok(Found {
        path: path.to_path_buf(),
        meta,
        lock,
    })
}

/// The name of something that looks like a partition's directory, if there is one.
fn logs_in(disk: &Disk, path: &Path) -> Result<Option<String>, DirectoryError> {
    let names = disk.read_dir(path).map_err(|error| DirectoryError::Io {
        path: path.to_path_buf(),
        error,
    })?;
    let is_partition = |name: &String| {
        let number = name.rsplit_once('-').map_or("", |(_, number)| number);
        !number.is_empty()
            && number.bytes().all(|digit| digit.is_ascii_digit())
            && disk.is_dir(path.join(name))
    };
    // The metadata log forms the cluster itself; it may have been interrupted in doing so.
    Ok(names
        .into_iter()
        .filter(|name| name != "__cluster_metadata-0")
        .find(is_partition))
}

/// Who this broker is, by what it was told and by what the directories say; both must agree.
fn identity(
    found: &[Found],
    node: &NodeOptions,
    new_id: &mut impl FnMut() -> [u8; 16],
) -> Result<(NodeId, String), DirectoryError> {
    let first = found.iter().find_map(|found| found.meta.as_ref());
    let node_id = node
        .node_id
        .or(first.map(|meta| meta.node_id))
        .unwrap_or(FIRST_NODE);
    let cluster_id = node
        .cluster_id
        .clone()
        .or_else(|| first.map(|meta| meta.cluster_id.clone()))
        .unwrap_or_else(|| protocol::TopicId(directory_id(new_id)).to_string());
    for Found { path, meta, .. } in found {
        let Some(meta) = meta else { continue };
        if meta.cluster_id != cluster_id {
            return Err(DirectoryError::Foreign {
                path: path.clone(),
                what: "cluster",
                property: "cluster.id",
                found: meta.cluster_id.clone(),
                wanted: cluster_id,
            });
        }
        if meta.node_id != node_id {
            return Err(DirectoryError::Foreign {
                path: path.clone(),
                what: "node",
                property: "node.id",
                found: meta.node_id.0.to_string(),
                wanted: node_id.0.to_string(),
            });
        }
    }
    Ok((node_id, cluster_id))
}

/// A random id whose text does not begin with `-`, which command lines would take for an option.
fn directory_id(new_id: &mut impl FnMut() -> [u8; 16]) -> [u8; 16] {
    loop {
        let id = new_id();
        if !protocol::TopicId(id).to_string().starts_with('-') {
            return id;
        }
    }
}

fn format_directory(disk: &Disk, path: &Path, meta: &Meta) -> Result<(), DirectoryError> {
    let text = format!(
        "version=1\ncluster.id={}\nnode.id={}\ndirectory.id={}\n",
        meta.cluster_id,
        meta.node_id.0,
        protocol::TopicId(meta.directory_id)
    );
    disk.write_atomic(path.join(META), text.as_bytes())
        .map_err(|error| DirectoryError::Io {
            path: path.to_path_buf(),
            error,
        })
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Meta, DirectoryError> {
    let unreadable = |why: String| DirectoryError::Unreadable {
        path: path.to_path_buf(),
        why,
    };
    let text = std::str::from_utf8(bytes).map_err(|_| unreadable("not text".to_string()))?;
    let lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let values: BTreeMap<&str, &str> = lines
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.trim(), value.trim()))
        .collect();
    let value = |name: &str| {
        values
            .get(name)
            .copied()
            .ok_or_else(|| unreadable(format!("{name} is missing")))
    };
    match value("version")? {
        "1" => {}
        "0" => {
            return Err(unreadable(
                "version 0 was written by a Kafka with ZooKeeper; it cannot be taken over".into(),
            ));
        }
        other => {
            return Err(unreadable(format!(
                "version {other} is newer than this broker knows (1)"
            )));
        }
    }
    let number = |text: &str| text.parse().ok().filter(|id: &i32| *id >= 0);
    let node_id = number(value("node.id")?).ok_or_else(|| unreadable("node.id is not a node's id".into()))?;
    let directory_id: protocol::TopicId = value("directory.id")?
        .parse()
        .map_err(|_| unreadable("directory.id is not an id".into()))?;
    Ok(Meta {
        cluster_id: value("cluster.id")?.to_string(),
        node_id: NodeId(node_id),
        directory_id: directory_id.0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(node_id: Option<i32>, cluster_id: Option<&str>) -> NodeOptions {
        NodeOptions {
            node_id: node_id.map(NodeId),
            cluster_id: cluster_id.map(str::to_string),
            rack: None,
        }
    }

    fn ids() -> impl FnMut() -> [u8; 16] {
        let mut next = 0;
        move || {
            next += 1;
            [next; 16]
        }
    }

    fn opened(dir: &Path, node: &NodeOptions) -> Result<Directories, String> {
        open(&Disk::real(), &[dir.to_path_buf()], node, ids()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_fresh_folder_is_formatted_once_and_found_again() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("a/data");
        let first = opened(&dir, &told(None, None)).unwrap();
        assert_eq!(
            (first.node_id, first.may_form, first.notes.len()),
            (NodeId(1), true, 1)
        );
        let (cluster, directory) = (first.cluster_id.clone(), first.dirs[0].directory_id);
        drop(first);
        let text = std::fs::read_to_string(dir.join(META)).unwrap();
        let id = protocol::TopicId(directory);
        assert_eq!(
            text,
            format!("version=1\ncluster.id={cluster}\nnode.id=1\ndirectory.id={id}\n")
        );
        let again = opened(&dir, &told(Some(1), Some(&cluster))).unwrap();
        assert_eq!(
            (again.cluster_id, again.dirs[0].directory_id, again.notes.len()),
            (cluster, directory, 0)
        );
    }

    #[test]
    fn what_is_told_is_written() {
        let root = tempfile::tempdir().unwrap();
        let opened = opened(root.path(), &told(Some(7), Some("mine"))).unwrap();
        assert_eq!((opened.node_id, &*opened.cluster_id), (NodeId(7), "mine"));
    }

    #[test]
    fn another_brokers_directory_is_refused_in_words() {
        let root = tempfile::tempdir().unwrap();
        drop(opened(root.path(), &told(Some(1), Some("mine"))).unwrap());
        let error = opened(root.path(), &told(Some(2), None)).err().unwrap();
        assert!(
            error.contains("belongs to node 1, but this broker is told 2"),
            "{error}"
        );
        let error = opened(root.path(), &told(None, Some("other"))).err().unwrap();
        assert!(
            error.contains("belongs to cluster mine, but this broker is told other"),
            "{error}"
        );
        assert!(error.contains("cluster.id"), "{error}");
    }

    #[test]
    fn a_directory_in_use_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let first = opened(root.path(), &told(None, None)).unwrap();
        let error = opened(root.path(), &told(None, None)).err().unwrap();
        assert!(error.contains("in use by another process"), "{error}");
        drop(first);
        assert!(opened(root.path(), &told(None, None)).is_ok());
    }

    #[test]
    fn logs_without_an_owner_are_not_taken_over() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("orders-0")).unwrap();
        let error = opened(root.path(), &told(None, None)).err().unwrap();
        assert!(
            error.contains("holds logs (orders-0) but no meta.properties"),
            "{error}"
        );
    }

    #[test]
    fn a_directory_with_logs_may_not_form_a_cluster() {
        let root = tempfile::tempdir().unwrap();
        drop(opened(root.path(), &told(None, None)).unwrap());
        std::fs::create_dir(root.path().join("__cluster_metadata-0")).unwrap();
        assert!(opened(root.path(), &told(None, None)).unwrap().may_form);
        std::fs::create_dir(root.path().join("orders-0")).unwrap();
        assert!(!opened(root.path(), &told(None, None)).unwrap().may_form);
    }

    #[test]
    fn kafkas_own_file_is_read_and_broken_ones_are_named() {
        let path = Path::new("meta.properties");
        let kafka = "#\n#Thu Nov 19 10:00:00 UTC 2026\ncluster.id=4L6g3nShT-eMCtK--X86sw\ndirectory.id=AQEBAQEBAQEBAQEBAQEBAQ\nnode.id=3\nversion=1\n";
        let meta = parse(path, kafka.as_bytes()).unwrap();
        assert_eq!(meta.node_id, NodeId(3));
        assert_eq!(meta.directory_id, [1; 16]);
        for (text, why) in [
            ("version=0\nbroker.id=1\n", "ZooKeeper"),
            ("version=2\n", "newer"),
            ("version=1\nnode.id=1\n", "directory.id is missing"),
            ("version=1\nnode.id=x\n", "node.id is not"),
            ("", "version is missing"),
        ] {
            let error = parse(path, text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
