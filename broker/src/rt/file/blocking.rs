//! Files and directories from threads that may wait: [`crate::rt::blocking`] closures and the control plane.
//! Owns the sync forms of everything, atomic replacement, directory locks and free space.
#![allow(unsafe_code)]

use super::counters::{COLD_SYNCS, COLD_WRITES};
use super::{Disk, OpenOptions, Track, named, raw};
use crate::rt::recorder::memory::MemoryLock;
use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// A file used from one blocking call to the next. `Send`; positions are explicit, so `&self` suffices.
pub struct BlockingFile {
    /// `None`: the recorder that tracks it holds it.
    file: Option<fs::File>,
    track: Track,
}

impl BlockingFile {
    /// Reads into `buffer` from `pos`; returns how much, 0 at the end of the file.
    pub fn read_at(&self, buffer: &mut [u8], pos: u64) -> io::Result<usize> {
        match (&self.file, &self.track) {
            (Some(file), _) => file.read_at(buffer, pos),
            (None, Some((recorder, node))) => recorder.read(*node, buffer, pos),
            (None, None) => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Fills `buffer` from `pos` or fails with `UnexpectedEof`.
    pub fn read_exact_at(&self, buffer: &mut [u8], pos: u64) -> io::Result<()> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.read_at(&mut buffer[filled..], pos + filled as u64) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(got) => filled += got,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes all of `buffer` at `pos`.
    pub fn write_all_at(&self, buffer: &[u8], pos: u64) -> io::Result<()> {
        if let Some((recorder, node)) = &self.track {
            recorder.check_write(*node)?;
        }
        match (&self.file, &self.track) {
            (Some(file), _) => file.write_all_at(buffer, pos)?,
            (None, Some((recorder, _))) => recorder.check_room(buffer.len() as u64)?,
            (None, None) => return Err(io::ErrorKind::NotFound.into()),
        }
        COLD_WRITES.add(1);
        if let Some((recorder, node)) = &self.track {
            recorder.wrote(*node, pos, &[bytes::Bytes::copy_from_slice(buffer)]);
        }
        Ok(())
    }

    /// fdatasync: bytes and the size they need.
    pub fn sync_data(&self) -> io::Result<()> {
        self.sync(fs::File::sync_data)
    }

    /// fsync: bytes and all metadata of the file (not its name: see [`Disk::sync_dir`]).
    pub fn sync_all(&self) -> io::Result<()> {
        self.sync(fs::File::sync_all)
    }

    fn sync(&self, call: fn(&fs::File) -> io::Result<()>) -> io::Result<()> {
        let mark = match &self.track {
            Some((recorder, node)) => Some(recorder.sync_begin(*node)?),
            None => None,
        };
        if let Some(file) = &self.file {
            call(file)?;
        }
        COLD_SYNCS.add(1);
        if let (Some((recorder, node)), Some(mark)) = (&self.track, mark) {
            recorder.wait_while_syncs_are_held();
            recorder.sync_end(*node, mark);
        }
        Ok(())
    }

    /// Cuts or extends (with zeros) to `len`. Durable after a sync.
    pub fn set_len(&self, len: u64) -> io::Result<()> {
        if let Some(file) = &self.file {
            file.set_len(len)?;
        }
        if let Some((recorder, node)) = &self.track {
            recorder.set_len(*node, len);
        }
        Ok(())
    }

    /// Current length in bytes.
    pub fn len(&self) -> io::Result<u64> {
        match (&self.file, &self.track) {
            (Some(file), _) => Ok(file.metadata()?.len()),
            (None, Some((recorder, node))) => Ok(recorder.len_of(*node)),
            (None, None) => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Whether the file holds nothing.
    pub fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// An exclusive lock on a file, held until dropped or until the process ends. Not inherited by children.
pub struct DirLock {
    _held: Held,
}

enum Held {
    File { file: fs::File },
    Memory { _lock: MemoryLock },
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Held::File { file } = self {
            // Closing alone would leave the lock to a child that was forked at this moment and still has the descriptor.
            // SAFETY: flock takes a descriptor, which `file` keeps open for the call.
            unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_UN) };
        }
    }
}

/// The operations of one disk that may wait. None of them may be called on a shard thread outside
/// [`crate::rt::blocking`].
impl Disk {
    /// Opens a file for blocking use.
    pub fn open_blocking(&self, path: impl AsRef<Path>, options: OpenOptions) -> io::Result<BlockingFile> {
        if let Some(recorder) = self.memory() {
            let node = self.open_in_memory(path.as_ref(), options)?;
            return Ok(BlockingFile {
                file: None,
                track: Some((recorder.clone(), node)),
            });
        }
        let (file, track) = self.open_std(path.as_ref(), options)?;
        Ok(BlockingFile {
            file: Some(file),
            track,
        })
    }

    /// The whole file. The error keeps `NotFound` apart.
    pub fn read(&self, path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
        let read = match self.memory() {
            Some(recorder) => recorder.read_whole(path.as_ref()),
            None => fs::read(&path),
        };
        read.map_err(|error| named("read", path.as_ref(), &error))
    }

    /// Replaces `path` by a file that holds `content`, durably and all or nothing: `path.tmp`, fsync, rename, fsync of
    /// the directory. A crash leaves the old or the new content, and perhaps the temporary file.
    pub fn write_atomic(&self, path: impl AsRef<Path>, content: &[u8]) -> io::Result<()> {
        let path = path.as_ref();
        let mut name = path.as_os_str().to_owned();
        name.push(".tmp");
        let temporary = PathBuf::from(name);
        let file = self.open_blocking(
            &temporary,
            OpenOptions {
                create: true,
                write: true,
            },
        )?;
        file.set_len(0)?;
        file.write_all_at(content, 0)?;
        file.sync_all()?;
        self.rename(&temporary, path)?;
        self.sync_dir(parent_of(path))
    }

    /// Names (not paths) in a directory, sorted.
    pub fn read_dir(&self, path: impl AsRef<Path>) -> io::Result<Vec<String>> {
        let path = path.as_ref();
        if let Some(recorder) = self.memory() {
            return recorder.list(path).map_err(|error| named("list", path, &error));
        }
        let mut names = Vec::new();
        for entry in fs::read_dir(path).map_err(|error| named("list", path, &error))? {
            let entry = entry.map_err(|error| named("list", path, &error))?;
            // A name that is not UTF-8 is none of ours; callers report what they do not know by name.
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    /// Whether something is there.
    pub fn exists(&self, path: impl AsRef<Path>) -> bool {
        match self.memory() {
            Some(recorder) => recorder.exists(path.as_ref()),
            None => path.as_ref().exists(),
        }
    }

    /// Whether a directory is there.
    pub fn is_dir(&self, path: impl AsRef<Path>) -> bool {
        match self.memory() {
            Some(recorder) => recorder.is_dir(path.as_ref()),
            None => path.as_ref().is_dir(),
        }
    }

    /// Creates the directory and its missing parents, and makes their names durable.
    pub fn create_dir_all(&self, path: impl AsRef<Path>) -> io::Result<()> {
        let path = path.as_ref();
        let mut missing = Vec::new();
        let mut at = path;
        while !at.as_os_str().is_empty() && !self.exists(at) {
            missing.push(at.to_path_buf());
            at = parent_of(at);
        }
        for directory in missing.iter().rev() {
            let created = match self.memory() {
                Some(_) => Ok(()),
                None => fs::create_dir(directory),
            };
            match created {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && self.is_dir(directory) => {}
                Err(error) => return Err(named("create directory", directory, &error)),
            }
            if let Some(recorder) = self.recorder() {
                recorder.created_dir(directory)?;
            }
            self.sync_dir(parent_of(directory))?;
        }
        if self.is_dir(path) {
            Ok(())
        } else {
            Err(named(
                "create directory",
                path,
                &io::ErrorKind::NotADirectory.into(),
            ))
        }
    }

    /// Creates one directory whose parent is there. Its name is durable after [`Disk::sync_dir`] of the parent or
    /// [`Disk::sync_tree`]. `AlreadyExists` when something is there.
    pub fn create_dir(&self, path: impl AsRef<Path>) -> io::Result<()> {
        let path = path.as_ref();
        let created = match self.memory() {
            Some(recorder) if recorder.exists(path) => Err(io::ErrorKind::AlreadyExists.into()),
            Some(_) => Ok(()),
            None => fs::create_dir(path),
        };
        created.map_err(|error| named("create directory", path, &error))?;
        match self.recorder() {
            Some(recorder) => recorder.created_dir(path),
            None => Ok(()),
        }
    }

    /// Makes everything durable that was written, created, renamed and removed in `directory` and below it before this
    /// call: one syncfs. It waits for whatever else is unwritten on the same file system, so it pays where hundreds of
    /// small files were made.
    pub fn sync_tree(&self, directory: impl AsRef<Path>) -> io::Result<()> {
        let directory = directory.as_ref();
        let marks = match self.recorder() {
            Some(recorder) => recorder.sync_tree_begin(directory)?,
            None => Vec::new(),
        };
        if self.memory().is_none() {
            let file = fs::File::open(directory).map_err(|error| named("open", directory, &error))?;
            raw::sync_file_system(file.as_raw_fd())
                .map_err(|error| named("sync the file system of", directory, &error))?;
        }
        COLD_SYNCS.add(1);
        if let Some(recorder) = self.recorder() {
            recorder.wait_while_syncs_are_held();
            for (node, mark) in marks {
                recorder.sync_end(node, mark);
            }
        }
        Ok(())
    }

    /// Renames a file or directory, replacing a file that is there. Durable after [`Disk::sync_dir`] of the parent.
    pub fn rename(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<()> {
        let (from, to) = (from.as_ref(), to.as_ref());
        if self.memory().is_none() {
            fs::rename(from, to).map_err(|error| named("rename", from, &error))?;
        }
        match self.recorder() {
            Some(recorder) => recorder
                .renamed(from, to)
                .map_err(|error| named("rename", from, &error)),
            None => Ok(()),
        }
    }

    /// Removes a file's name. Durable after [`Disk::sync_dir`] of the parent.
    pub fn remove_file(&self, path: impl AsRef<Path>) -> io::Result<()> {
        let path = path.as_ref();
        if self.memory().is_none() {
            fs::remove_file(path).map_err(|error| named("remove", path, &error))?;
        }
        match self.recorder() {
            Some(recorder) => recorder
                .removed(path)
                .map_err(|error| named("remove", path, &error)),
            None => Ok(()),
        }
    }

    /// Removes a directory with all it holds. Durable after [`Disk::sync_dir`] of the parent.
    pub fn remove_dir_all(&self, path: impl AsRef<Path>) -> io::Result<()> {
        let path = path.as_ref();
        if self.memory().is_none() {
            fs::remove_dir_all(path).map_err(|error| named("remove directory", path, &error))?;
        }
        match self.recorder() {
            Some(recorder) => recorder
                .removed(path)
                .map_err(|error| named("remove directory", path, &error)),
            None => Ok(()),
        }
    }

    /// fsync of a directory: names created, renamed and removed in it before this call become durable.
    pub fn sync_dir(&self, path: impl AsRef<Path>) -> io::Result<()> {
        let path = if path.as_ref().as_os_str().is_empty() {
            Path::new(".")
        } else {
            path.as_ref()
        };
        let node = match self.recorder() {
            Some(recorder) => recorder.sync_dir_begin(path)?,
            None => None,
        };
        if self.memory().is_none() {
            let directory = fs::File::open(path).map_err(|error| named("open", path, &error))?;
            directory
                .sync_all()
                .map_err(|error| named("sync directory", path, &error))?;
        }
        COLD_SYNCS.add(1);
        if let (Some(recorder), Some((node, mark))) = (self.recorder(), node) {
            recorder.wait_while_syncs_are_held();
            recorder.sync_end(node, mark);
        }
        Ok(())
    }

    /// Length of the file at `path`.
    pub fn len(&self, path: impl AsRef<Path>) -> io::Result<u64> {
        let path = path.as_ref();
        if let Some(recorder) = self.memory() {
            return recorder.len_at(path).map_err(|error| named("stat", path, &error));
        }
        Ok(fs::metadata(path)
            .map_err(|error| named("stat", path, &error))?
            .len())
    }

    /// Takes the lock file at `path` (created if missing). `WouldBlock` when another process, or another lock of this
    /// one, holds it.
    pub fn lock(&self, path: impl AsRef<Path>) -> io::Result<DirLock> {
        let path = path.as_ref();
        if let Some(recorder) = self.memory() {
            let lock = recorder.lock(path).map_err(|error| named("lock", path, &error))?;
            return Ok(DirLock {
                _held: Held::Memory { _lock: lock },
            });
        }
        let (file, _) = self.open_std(
            path,
            OpenOptions {
                create: true,
                write: true,
            },
        )?;
        // SAFETY: flock takes a descriptor, which `file` keeps open for the call.
        let outcome = unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) };
        if outcome == 0 {
            return Ok(DirLock {
                _held: Held::File { file },
            });
        }
        Err(named("lock", path, &io::Error::last_os_error()))
    }

    /// The room on the file system of `path`.
    pub fn space(&self, path: impl AsRef<Path>) -> io::Result<Space> {
        let path = path.as_ref();
        if let Some(recorder) = self.memory() {
            return Ok(recorder.space());
        }
        let c_path = CString::new(path.as_os_str().as_bytes())?;
        // SAFETY: `c_path` is a NUL-terminated string that outlives the call; the kernel fills the zeroed struct.
        let (outcome, stats) = unsafe {
            let mut stats: libc::statvfs = std::mem::zeroed();
            (libc::statvfs(c_path.as_ptr(), &raw mut stats), stats)
        };
        if outcome != 0 {
            return Err(named("statvfs", path, &io::Error::last_os_error()));
        }
        Ok(Space {
            total: stats.f_blocks * stats.f_frsize,
            free: stats.f_bavail * stats.f_frsize,
        })
    }
}

/// Bytes of a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// All there are.
    pub total: u64,
    /// Those an unprivileged process may still write.
    pub free: u64,
}

/// The directory that holds `path`'s name; `.` for a bare name.
fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) => Path::new("."),
        None => path,
    }
}
