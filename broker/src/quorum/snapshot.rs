//! Snapshots of the image on disk: written whole, checked whole, one at a time.
//!
//! Blocking calls only. The bytes are `log_format.rs`'s.

use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::log_files::{LogError, io_at};
use super::log_format::{self as format, SnapshotHead};
use crate::metadata::MetadataImage;
use crate::rt::file::Disk;

const ENDING: &str = ".snapshot";

/// The snapshot directory (the metadata log's own).
#[derive(Clone)]
pub(super) struct Snapshots {
    disk: Disk,
    dir: PathBuf,
}

impl Snapshots {
    pub(super) fn new(disk: &Disk, dir: &Path) -> Snapshots {
        Snapshots {
            disk: disk.clone(),
            dir: dir.to_path_buf(),
        }
    }

    /// Writes a snapshot of `image` and removes older ones. Durable when it returns.
    pub(super) fn write(&self, head: &SnapshotHead, image: &MetadataImage) -> Result<Bytes, LogError> {
        let bytes = Bytes::from(format::snapshot_bytes(head, image.to_records()));
        self.put(head, &bytes)?;
        Ok(bytes)
    }

    /// Checks and keeps a snapshot that came from another voter.
    pub(super) fn install(&self, bytes: &Bytes) -> Result<(SnapshotHead, MetadataImage), LogError> {
        let (head, image) = decode(&self.dir, bytes)?;
        self.put(&head, bytes)?;
        Ok((head, image))
    }

    fn put(&self, head: &SnapshotHead, bytes: &[u8]) -> Result<(), LogError> {
        let index = head.last.map_or(0, |id| id.index);
        let name = format!("{index:020}{ENDING}");
        let path = self.dir.join(&name);
        self.disk.write_atomic(&path, bytes).map_err(io_at(&path))?;
        for older in self.names()?.iter().filter(|other| **other < name) {
            let path = self.dir.join(older);
            self.disk.remove_file(&path).map_err(io_at(&path))?;
        }
        self.disk.sync_dir(&self.dir).map_err(io_at(&self.dir))
    }

    /// The latest snapshot, checked.
    pub(super) fn latest(&self) -> Result<Option<(SnapshotHead, Bytes)>, LogError> {
        let Some((path, bytes)) = self.read_latest()? else {
            return Ok(None);
        };
        let head = format::snapshot(&bytes, drop).map_err(|error| refused(&path, &error))?;
        Ok(Some((head, bytes)))
    }

    /// The image of the latest snapshot.
    pub(super) fn load(&self) -> Result<Option<(SnapshotHead, MetadataImage)>, LogError> {
        let Some((path, bytes)) = self.read_latest()? else {
            return Ok(None);
        };
        decode(&path, &bytes).map(Some)
    }

    fn read_latest(&self) -> Result<Option<(PathBuf, Bytes)>, LogError> {
        let Some(name) = self.names()?.pop() else {
            return Ok(None);
        };
        let path = self.dir.join(name);
        let bytes = self.disk.read(&path).map_err(io_at(&path))?;
        Ok(Some((path, bytes.into())))
    }

    /// Names of the snapshots there are, oldest first.
    fn names(&self) -> Result<Vec<String>, LogError> {
        let mut names = self.disk.read_dir(&self.dir).map_err(io_at(&self.dir))?;
        names.retain(|name| name.ends_with(ENDING));
        names.sort();
        Ok(names)
    }
}

fn decode(path: &Path, bytes: &[u8]) -> Result<(SnapshotHead, MetadataImage), LogError> {
    let mut image = MetadataImage::default();
    let mut applied = Ok(());
    let head = format::snapshot(bytes, |records| {
        if applied.is_ok() {
            applied = image.apply_each(&records);
        }
    })
    .map_err(|error| refused(path, &error))?;
    applied.map_err(|error| LogError::Inconsistent {
        path: path.to_path_buf(),
        what: error.to_string(),
    })?;
    image.offset = head.last.map_or(0, |id| id.index);
    Ok((head, image))
}

fn refused(path: &Path, error: &format::FormatError) -> LogError {
    LogError::Damaged {
        path: path.to_path_buf(),
        at: 0,
        what: format!("the metadata snapshot cannot be read: {error}"),
    }
}
