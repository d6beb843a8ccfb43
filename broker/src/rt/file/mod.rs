//! Files. Owns: [`Disk`] (which disk the process writes to: the real one, or a recorded one in tests), [`File`] (async,
//! shard-local: the ring on `uring`, the pool on `posix`), [`BlockingFile`] and the cold operations (for
//! [`super::blocking`] and the control plane), and counters of how bytes reached the disk.
//! Leaves to others: formats, when to sync, how many files are open.
//!
//! Paths given to one `Disk` are used as they are; a recorded disk wants them absolute and below its root.

mod blocking;
mod counters;
mod pool;
mod raw;
mod ring;

pub use blocking::{BlockingFile, DirLock, Space};
pub use counters::{Counters, counters};

use super::recorder::{Led, NodeId, Recorder};
use super::{Engine, engine};
use bytes::Bytes;
use std::cell::Cell;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

/// Which disk. Cheap to clone; handed explicitly to whoever does file IO.
#[derive(Clone)]
pub struct Disk(Kind);

#[derive(Clone)]
enum Kind {
    Real,
    Recorded(Arc<Recorder>),
    /// Nothing real behind it: a simulated machine's.
    Memory(Arc<Recorder>),
}

/// How to open a file. Reading is always allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenOptions {
    /// Create the file if it is not there. Its name is durable only after a sync of the directory.
    pub create: bool,
    /// Allow writing.
    pub write: bool,
}

impl OpenOptions {
    fn std(self) -> fs::OpenOptions {
        let mut options = fs::OpenOptions::new();
        options
            .read(true)
            .write(self.write || self.create)
            .create(self.create);
        options
    }
}

/// A recorded file's identity, if the disk is recorded.
type Track = Option<(Arc<Recorder>, NodeId)>;

impl Disk {
    /// The machine's file systems.
    pub fn real() -> Disk {
        Disk(Kind::Real)
    }

    /// The machine's file systems, with a model beside them of what a power cut would leave. For tests.
    pub fn recorded(recorder: Arc<Recorder>) -> Disk {
        Disk(Kind::Recorded(recorder))
    }

    /// A simulated machine's disk ([`Recorder::in_memory`]).
    pub fn simulated(recorder: Arc<Recorder>) -> Disk {
        Disk(Kind::Memory(recorder))
    }

    fn recorder(&self) -> Option<&Arc<Recorder>> {
        match &self.0 {
            Kind::Real => None,
            Kind::Recorded(recorder) | Kind::Memory(recorder) => Some(recorder),
        }
    }

    fn memory(&self) -> Option<&Arc<Recorder>> {
        match &self.0 {
            Kind::Real | Kind::Recorded(_) => None,
            Kind::Memory(recorder) => Some(recorder),
        }
    }

    /// Opens a file for this shard. The open itself runs on the blocking pool: it costs up to tens of milliseconds.
    pub async fn open(&self, path: impl Into<PathBuf>, options: OpenOptions) -> io::Result<File> {
        let path: PathBuf = path.into();
        let disk = self.clone();
        if let Some(recorder) = self.memory().cloned() {
            let node = super::blocking(move || disk.open_in_memory(&path, options)).await?;
            return Ok(File::simulated(recorder, node));
        }
        let (file, track) = super::blocking(move || disk.open_std(&path, options)).await?;
        Ok(File::new(file, track))
    }

    fn open_std(&self, path: &Path, options: OpenOptions) -> io::Result<(fs::File, Track)> {
        let opened = match self.recorder().and_then(|recorder| recorder.refused_open()) {
            Some(error) => Err(error),
            None => options.std().open(path),
        };
        let file = opened.map_err(|error| named("open", path, &error))?;
        let track = match self.recorder() {
            None => None,
            Some(recorder) => Some((recorder.clone(), recorder.opened(path)?)),
        };
        Ok((file, track))
    }

    fn open_in_memory(&self, path: &Path, options: OpenOptions) -> io::Result<NodeId> {
        let recorder = self.memory().expect("asked of a simulated disk");
        let opened = match recorder.refused_open() {
            Some(error) => Err(error),
            None => recorder.open_in_memory(path, options.create),
        };
        opened.map_err(|error| named("open", path, &error))
    }

    /// Whether promises are recorded: what is needed to make one may cost something.
    pub fn is_recorded(&self) -> bool {
        self.recorder().is_some()
    }

    /// Tests: the caller has promised to somebody that bytes `[0, end)` of `path` survive a power cut. Recorded as a
    /// violation if they would not. No effect on the real disk.
    pub fn promise(&self, path: &Path, end: u64) {
        if let Some(recorder) = self.recorder() {
            recorder.promise(path, end);
        }
    }

    /// Tests: the caller has accepted records as the leader of a partition in an epoch, which at most one broker may. No
    /// effect on the real disk.
    pub fn led(&self, led: Led) {
        if let Some(recorder) = self.recorder() {
            recorder.led(led);
        }
    }
}

/// An error of the file system with the operation and the path, and the errno it came with.
#[derive(Debug, thiserror::Error)]
#[error("{words}")]
struct Named {
    words: String,
    errno: Option<i32>,
}

/// Adds the operation and the path to an error, keeping its kind and its errno.
fn named(verb: &str, path: &Path, error: &io::Error) -> io::Error {
    let words = format!("{verb} {}: {error}", path.display());
    let errno = error.raw_os_error();
    io::Error::new(error.kind(), Named { words, errno })
}

/// Whether an open failed because this process or the machine has no file descriptor left (EMFILE, ENFILE): that passes
/// when others close theirs, and says nothing about the disk.
pub fn out_of_files(error: &io::Error) -> bool {
    matches!(errno(error), Some(libc::EMFILE | libc::ENFILE))
}

/// Whether a read failed because the medium does not give back what was written there: EIO, or what drives and file
/// systems with checksums of their own say instead. Other places of the same file may be well.
pub fn is_unreadable(error: &io::Error) -> bool {
    const UNREADABLE: [i32; 4] = [libc::EIO, libc::ENODATA, libc::EBADMSG, libc::EUCLEAN];
    errno(error).is_some_and(|errno| UNREADABLE.contains(&errno))
}

fn errno(error: &io::Error) -> Option<i32> {
    let named = error.get_ref().and_then(|inner| inner.downcast_ref::<Named>());
    named.map_or(error.raw_os_error(), |named| named.errno)
}

/// An open file of one shard. Cheap to clone (`Rc`). Any number of operations may be in flight; the kernel does not
/// order them, so a caller that needs "write, then sync" awaits the write first.
/// Every operation that has started runs to its end, whatever happens to its future.
#[derive(Clone)]
pub struct File(Rc<Inner>);

struct Inner {
    handle: Handle,
    track: Track,
    /// The file system refused RWF_NOWAIT once; do not ask again.
    no_cached_reads: Cell<bool>,
}

enum Handle {
    Ring(ring::RingFile),
    Pool(pool::PoolFile),
    /// The recorder that tracks it holds it.
    Memory,
}

impl File {
    fn new(file: fs::File, track: Track) -> File {
        let handle = match engine::current().engine {
            Engine::Uring => Handle::Ring(ring::RingFile::new(file)),
            Engine::Posix | Engine::Sim => Handle::Pool(pool::PoolFile::new(file)),
        };
        File(Rc::new(Inner {
            handle,
            track,
            no_cached_reads: Cell::new(false),
        }))
    }

    fn simulated(recorder: Arc<Recorder>, node: NodeId) -> File {
        File(Rc::new(Inner {
            handle: Handle::Memory,
            track: Some((recorder, node)),
            no_cached_reads: Cell::new(false),
        }))
    }

    /// One read appended to `buffer`, of a file that exists in memory only.
    fn read_memory(&self, buffer: &mut Vec<u8>, pos: u64, len: usize) -> io::Result<usize> {
        let Some((recorder, node)) = &self.0.track else {
            return Ok(0);
        };
        let before = buffer.len();
        buffer.resize(len, 0);
        let got = recorder.read(*node, &mut buffer[before..], pos);
        buffer.truncate(before + got.as_ref().unwrap_or(&0));
        got
    }

    /// Whether nothing of this range is lost, of a file that exists in memory only.
    fn is_readable(&self, pos: u64, len: usize) -> bool {
        let track = self.0.track.as_ref();
        track.is_none_or(|(recorder, node)| {
            recorder
                .readable(*node, pos, len)
                .is_ok_and(|readable| readable == len)
        })
    }

    /// Writes the whole buffer at `pos` and gives it back. See [`File::write_slices_at`].
    pub async fn write_at(&self, buffer: Vec<u8>, pos: u64) -> io::Result<Vec<u8>> {
        let whole = Bytes::from(buffer);
        self.write_slices_at(std::slice::from_ref(&whole), pos).await?;
        Ok(Vec::from(whole))
    }

    /// Writes all slices one after the other at `pos`: on `uring` gathered into one ring write (more only after a short
    /// one), on `posix` one pool call. Not durable until a [`File::sync_data`] issued after it has returned.
    /// Errors with `WriteZero` when the kernel takes nothing.
    pub async fn write_slices_at(&self, slices: &[Bytes], pos: u64) -> io::Result<()> {
        if let Some((recorder, node)) = &self.0.track {
            recorder.check_write(*node)?;
        }
        let this = self.clone();
        let slices: Vec<Bytes> = slices.to_vec();
        engine::to_the_end(async move {
            match &this.0.handle {
                Handle::Ring(file) => file.write_all(&slices, pos).await,
                Handle::Pool(file) => file.write_all(slices.clone(), pos).await,
                Handle::Memory => {
                    super::sim::disk_delay().await;
                    match &this.0.track {
                        Some((recorder, _)) => {
                            recorder.check_room(slices.iter().map(|slice| slice.len() as u64).sum())
                        }
                        None => Ok(()),
                    }
                }
            }?;
            if let Some((recorder, node)) = &this.0.track {
                recorder.wrote(*node, pos, &slices);
            }
            this.heard().await;
            Ok(())
        })
        .await
    }

    /// Reads `len` bytes at `pos`; fewer only at the end of the file. Tries the page cache on this core first.
    pub async fn read_at(&self, pos: u64, len: usize) -> io::Result<Bytes> {
        let mut buffer = Vec::with_capacity(len);
        if self.read_cached(&mut buffer, pos, len)? {
            return Ok(Bytes::from(buffer));
        }
        let this = self.clone();
        engine::to_the_end(async move {
            while buffer.len() < len {
                let at = pos + buffer.len() as u64;
                let got = match &this.0.handle {
                    Handle::Ring(file) => file.read(&mut buffer, at, len).await?,
                    Handle::Pool(file) => file.read(&mut buffer, at, len).await?,
                    Handle::Memory => {
                        super::sim::disk_delay().await;
                        this.read_memory(&mut buffer, at, len)?
                    }
                };
                if got == 0 {
                    break;
                }
            }
            Ok(Bytes::from(buffer))
        })
        .await
    }

    /// What is at `pos`, if all of it (up to the end of the file) is in the page cache: costs one system call and
    /// never waits for the disk. `None` when any of it is not, or the file system cannot say.
    pub fn try_read_cached(&self, pos: u64, len: usize) -> Option<Bytes> {
        let mut buffer = Vec::with_capacity(len);
        match self.read_cached(&mut buffer, pos, len) {
            Ok(true) => Some(Bytes::from(buffer)),
            Ok(false) | Err(_) => None,
        }
    }

    /// Fills `buffer` up to `len` from the page cache; true when nothing more is to be had from anywhere.
    fn read_cached(&self, buffer: &mut Vec<u8>, pos: u64, len: usize) -> io::Result<bool> {
        while buffer.len() < len && !self.0.no_cached_reads.get() {
            let fd = match &self.0.handle {
                Handle::Ring(file) => file.fd(),
                Handle::Pool(file) => file.fd(),
                // By seed, for both must work: part of it lies in the page cache or does not.
                Handle::Memory if super::random_u64().is_multiple_of(4) => return Ok(false),
                Handle::Memory => {
                    let at = pos + buffer.len() as u64;
                    let whole = self.is_readable(at, len - buffer.len());
                    // What cannot be read is in no page cache.
                    return Ok(whole && self.read_memory(buffer, at, len).is_ok());
                }
            };
            match raw::read_nowait(fd, buffer, pos + buffer.len() as u64, len) {
                Ok(0) => return Ok(true),
                Ok(_) => counters::CACHED_READS.add(1),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
                    self.0.no_cached_reads.set(true);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(buffer.len() >= len)
    }

    /// Makes durable all writes that completed before this call: their bytes and the file size they need.
    /// After an error nothing is known about them any more: the log directory has failed.
    pub async fn sync_data(&self) -> io::Result<()> {
        let this = self.clone();
        let mark = match &self.0.track {
            Some((recorder, node)) => Some(recorder.sync_begin(*node)?),
            None => None,
        };
        engine::to_the_end(async move {
            match &this.0.handle {
                Handle::Ring(file) => file.sync_data().await,
                Handle::Pool(file) => file.sync_data().await,
                Handle::Memory => {
                    super::sim::disk_delay().await;
                    Ok(())
                }
            }?;
            if let (Some((recorder, node)), Some(mark)) = (&this.0.track, mark) {
                while recorder.syncs_are_held() {
                    super::sleep(std::time::Duration::from_millis(1)).await;
                }
                recorder.sync_end(*node, mark);
            }
            this.heard().await;
            Ok(())
        })
        .await
    }

    /// Nobody hears of the operation at which a simulated disk stopped.
    async fn heard(&self) {
        if let Handle::Memory = self.0.handle {
            super::sim::while_stalled().await;
        }
    }

    /// Closes the file once the last clone is gone; this clone is given up now.
    pub fn close(self) {
        drop(self);
    }
}
