//! A disk that exists in memory only, for simulated machines: the recorder's tree with nothing real behind it. Owns the
//! file operations that elsewhere the kernel carries out, and what a power cut does to the machine's disk.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};

use super::tree::Tree;
use super::{NodeId, Recorder, State, Survives};
use crate::rt::file::Space;

/// Room on a simulated disk until a test says otherwise.
const CAPACITY: u64 = 16 << 30;
/// What the kernel reads at least, and loses with one sector of it.
pub(super) const PAGE: u64 = 4096;

impl Recorder {
    /// An empty disk. Paths are absolute; `/` exists.
    pub fn in_memory() -> Recorder {
        Recorder {
            root: PathBuf::from("/"),
            shadow: PathBuf::new(),
            state: Mutex::new(State::new(Tree::in_memory(), CAPACITY)),
            released: Condvar::new(),
        }
    }

    /// The machine loses power: what was not durable is gone, but for what `survives` of it. The next process finds the
    /// rest.
    pub fn power_cut(&self, survives: Survives) {
        let mut state = self.state();
        if let Survives::Some { seed } = survives {
            state.tree.let_some_survive(seed);
        }
        state.tree.forget_what_is_not_durable();
        (state.until_stop, state.stopped) = (None, false);
        state.locked.clear();
    }

    /// How many bytes fit.
    pub fn set_capacity(&self, bytes: u64) {
        self.state().capacity = bytes;
    }

    /// Bit rot: turns over one bit of a file, for good.
    pub fn flip_bit(&self, path: &Path, byte: usize, bit: u8) -> io::Result<()> {
        let below = self.below(path)?;
        let mut state = self.state();
        let node = state.tree.resolve(below)?;
        state.tree.flip_bit(node, byte, bit);
        Ok(())
    }

    fn node(&self, path: &Path) -> io::Result<NodeId> {
        self.state().tree.resolve(self.below(path)?)
    }

    pub(in crate::rt) fn open_in_memory(&self, path: &Path, create: bool) -> io::Result<NodeId> {
        let below = self.below(path)?;
        let mut state = self.state();
        match state.tree.resolve(below) {
            Ok(node) if state.tree.is_dir(node) => Err(io::ErrorKind::IsADirectory.into()),
            Ok(node) => Ok(node),
            Err(error) if error.kind() == io::ErrorKind::NotFound && create => {
                state.operation();
                state.tree.open(below)
            }
            Err(error) => Err(error),
        }
    }

    /// A sector that the disk can write and no longer read: reads of the page that holds `byte` fail with EIO, until
    /// something is written there or it is cut off.
    pub fn lose_page(&self, path: &Path, byte: u64) -> io::Result<()> {
        let node = self.node(path)?;
        self.state().lost_pages.insert((node, byte / PAGE));
        Ok(())
    }

    /// Reads of files whose path contains `part` fail with EIO from now on; `None` ends it.
    pub fn fail_reads_of(&self, part: Option<&str>) {
        self.state().fail_reads_of = part.map(str::to_owned);
    }

    /// How many of `len` bytes at `pos` can be read; EIO where that is none of them.
    pub(in crate::rt) fn readable(&self, node: NodeId, pos: u64, len: usize) -> io::Result<usize> {
        let state = self.state();
        let unreadable = || io::Error::from_raw_os_error(libc::EIO);
        let fails = |part: &String| state.tree.path_of(node).contains(part);
        if state.fail_reads_of.as_ref().is_some_and(fails) {
            return Err(unreadable());
        }
        let (first, last) = (
            pos / PAGE,
            pos.saturating_add(len as u64).saturating_sub(1) / PAGE,
        );
        let mut lost = state.lost_pages.range((node, first)..=(node, last));
        match lost.next() {
            None => Ok(len),
            Some((_, page)) if page * PAGE <= pos => Err(unreadable()),
            Some((_, page)) => Ok((page * PAGE - pos) as usize),
        }
    }

    pub(in crate::rt) fn read(&self, node: NodeId, buffer: &mut [u8], pos: u64) -> io::Result<usize> {
        let in_file = self.len_of(node).saturating_sub(pos).min(buffer.len() as u64) as usize;
        if in_file == 0 {
            return Ok(0);
        }
        let readable = self.readable(node, pos, in_file)?;
        Ok(self.state().tree.read(node, &mut buffer[..readable], pos))
    }

    pub(in crate::rt) fn len_of(&self, node: NodeId) -> u64 {
        self.state().tree.len(node)
    }

    pub(in crate::rt) fn read_whole(&self, path: &Path) -> io::Result<Vec<u8>> {
        let node = self.open_in_memory(path, false)?;
        let mut content = vec![0; self.len_of(node) as usize];
        let mut filled = 0;
        while filled < content.len() {
            filled += self.read(node, &mut content[filled..], filled as u64)?;
        }
        Ok(content)
    }

    pub(in crate::rt) fn len_at(&self, path: &Path) -> io::Result<u64> {
        Ok(self.len_of(self.node(path)?))
    }

    pub(in crate::rt) fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let node = self.node(path)?;
        self.state()
            .tree
            .list(node)
            .ok_or_else(|| io::ErrorKind::NotADirectory.into())
    }

    pub(in crate::rt) fn exists(&self, path: &Path) -> bool {
        self.node(path).is_ok()
    }

    pub(in crate::rt) fn is_dir(&self, path: &Path) -> bool {
        self.node(path).is_ok_and(|node| self.state().tree.is_dir(node))
    }

    pub(in crate::rt) fn space(&self) -> Space {
        let state = self.state();
        Space {
            total: state.capacity,
            free: state.capacity.saturating_sub(state.tree.used()),
        }
    }

    /// ENOSPC when `more` bytes do not fit.
    pub(in crate::rt) fn check_room(&self, more: u64) -> io::Result<()> {
        if self.space().free < more {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    pub(in crate::rt) fn lock(self: &Arc<Self>, path: &Path) -> io::Result<MemoryLock> {
        let node = self.open_in_memory(path, true)?;
        if !self.state().locked.insert(node) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(MemoryLock {
            recorder: self.clone(),
            node,
        })
    }
}

/// Held until dropped, or until the power goes.
pub(in crate::rt) struct MemoryLock {
    recorder: Arc<Recorder>,
    node: NodeId,
}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        self.recorder.state().locked.remove(&self.node);
    }
}
