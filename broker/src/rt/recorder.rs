//! An independent model of what a power cut would leave. For tests: a [`super::file::Disk`] made with it tells it every
//! write, rename and sync, and it keeps beside the real files the ones that are *durable*.
//!
//! The rules, stricter than most file systems and as strict as POSIX allows:
//! - bytes (and a file's length) are durable once an fsync or fdatasync of that file has *completed* that was *issued*
//!   after their write completed;
//! - a name (created, renamed, removed) is durable once an fsync of its directory has completed likewise. A file whose
//!   bytes are synced but whose name is not is lost;
//! - [`Recorder::stop_after`] is a crash at one operation of the disk: that one is under way, and nothing after it was ever done;
//! - [`Recorder::freeze`] is the instant of the power cut: what completes later is not durable, and promises made later
//!   never reached anybody. It writes what is durable to [`Recorder::shadow_dir`], where a new process can be started.
//!
//! Everything is kept in memory: meant for megabytes.

pub(super) mod memory;
mod tree;

use bytes::Bytes;
use memory::PAGE;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard};
use tree::{Change, Tree};

/// A file or directory of the model, whatever its name is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(u64);

/// What had been done to a node when a sync was issued.
#[derive(Clone, Copy, Debug)]
pub struct Mark(u64);

/// What of the unsynced changes a power cut leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survives {
    /// Nothing: the strictest disk.
    Synced,
    /// By seed: some unsynced writes in any order, one of them perhaps torn, and a prefix of the unsynced names.
    Some { seed: u64 },
}

/// See the module.
pub struct Recorder {
    root: PathBuf,
    shadow: PathBuf,
    state: Mutex<State>,
    released: Condvar,
}

struct State {
    tree: Tree,
    frozen: bool,
    held: bool,
    /// Operations until the disk stops.
    until_stop: Option<u64>,
    stopped: bool,
    fail_syncs_of: Option<String>,
    /// And the errno.
    fail_writes_of: Option<(String, i32)>,
    fail_reads_of: Option<String>,
    /// Pages of files that cannot be read (in memory only).
    lost_pages: BTreeSet<(NodeId, u64)>,
    refuse_opens: usize,
    /// Lock files that somebody holds; bytes the disk has room for (in memory only).
    locked: BTreeSet<NodeId>,
    capacity: u64,
    promises: u64,
    /// What was asked of it that changes something.
    operations: u64,
    violations: Vec<String>,
    led: BTreeSet<Led>,
}

/// A leader epoch in which records of a partition were accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Led {
    /// Id of its topic: a name may be given again, and epochs begin anew then.
    pub topic_id: [u8; 16],
    /// Its number.
    pub partition: i32,
    /// The leader's epoch.
    pub epoch: i32,
}

impl State {
    /// One operation more. The one at which the disk stops is under way then: what it changes may survive like anything
    /// that was not synced. Those after it change nothing that a power cut could leave.
    fn operation(&mut self) {
        self.operations += 1;
        if self.stopped {
            return self.tree.stop();
        }
        match &mut self.until_stop {
            Some(0) => {
                self.stopped = true;
                super::sim::disk_stopped();
            }
            Some(left) => *left -= 1,
            None => {}
        }
    }

    fn new(tree: Tree, capacity: u64) -> State {
        State {
            tree,
            frozen: false,
            held: false,
            until_stop: None,
            stopped: false,
            fail_syncs_of: None,
            fail_writes_of: None,
            fail_reads_of: None,
            lost_pages: BTreeSet::new(),
            refuse_opens: 0,
            locked: BTreeSet::new(),
            capacity,
            promises: 0,
            operations: 0,
            violations: Vec::new(),
            led: BTreeSet::new(),
        }
    }
}

impl Recorder {
    /// Records everything below `root` (absolute; what is there now counts as durable). `shadow` is created by
    /// [`Recorder::freeze`] and must not lie below `root`.
    pub fn new(root: impl Into<PathBuf>, shadow: impl Into<PathBuf>) -> io::Result<Recorder> {
        let root = root.into();
        let tree = Tree::load(&root)?;
        Ok(Recorder {
            root,
            shadow: shadow.into(),
            state: Mutex::new(State::new(tree, u64::MAX)),
            released: Condvar::new(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The path below the root.
    fn below<'a>(&self, path: &'a Path) -> io::Result<&'a Path> {
        path.strip_prefix(&self.root).map_err(|_| {
            io::Error::other(format!(
                "{} is not below the recorded {}",
                path.display(),
                self.root.display()
            ))
        })
    }

    /// The power cut. Later completions and promises count for nothing. Writes what is durable to the shadow directory
    /// and returns its path.
    pub fn freeze(&self, survives: Survives) -> io::Result<PathBuf> {
        let mut state = self.state();
        if !state.frozen {
            state.frozen = true;
            state.held = false;
            if let Survives::Some { seed } = survives {
                state.tree.let_some_survive(seed);
            }
            state.tree.write_durable(&self.shadow)?;
        }
        self.released.notify_all();
        Ok(self.shadow.clone())
    }

    /// Where [`Recorder::freeze`] puts what is durable.
    pub fn shadow_dir(&self) -> &Path {
        &self.shadow
    }

    /// Promises that were not kept at the moment they were made, in words.
    pub fn violations(&self) -> Vec<String> {
        self.state().violations.clone()
    }

    /// Promises made before the power cut.
    pub fn promises(&self) -> u64 {
        self.state().promises
    }

    /// Writes, syncs, cuts and changes of names so far.
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// From now on no sync completes until [`Recorder::release_syncs`] (or the power cut): whoever answers meanwhile
    /// answers too early.
    pub fn hold_syncs(&self) {
        self.state().held = true;
    }

    /// Lets held syncs complete.
    pub fn release_syncs(&self) {
        self.state().held = false;
        self.released.notify_all();
    }

    /// Syncs of files and directories whose path contains `part` fail with EIO from now on; `None` ends it.
    pub fn fail_syncs_of(&self, part: Option<&str>) {
        self.state().fail_syncs_of = part.map(str::to_owned);
    }

    /// The next `times` opens by shards fail with EMFILE.
    pub fn refuse_opens(&self, times: usize) {
        self.state().refuse_opens = times;
    }

    /// What the next open answers, if it is refused.
    pub(super) fn refused_open(&self) -> Option<io::Error> {
        let left = &mut self.state().refuse_opens;
        let refused = *left > 0;
        *left = left.saturating_sub(1);
        refused.then(|| io::Error::from_raw_os_error(libc::EMFILE))
    }

    /// Writes to files whose path contains `part` fail with ENOSPC from now on; `None` ends it.
    pub fn fail_writes_of(&self, part: Option<&str>) {
        self.state().fail_writes_of = part.map(|part| (part.to_owned(), libc::ENOSPC));
    }

    /// The same with EIO: the disk is broken.
    pub fn break_writes_of(&self, part: Option<&str>) {
        self.state().fail_writes_of = part.map(|part| (part.to_owned(), libc::EIO));
    }

    /// Bytes of `path` that a power cut now would leave; `None` when its name would be gone.
    pub fn durable_bytes(&self, path: &Path) -> Option<Vec<u8>> {
        let below = self.below(path).ok()?;
        self.state().tree.durable_bytes(below)
    }

    /// Bytes of the files of a directory, by name, that a power cut now would leave; `None` when the directory would be gone.
    pub fn durable_files(&self, path: &Path) -> Option<BTreeMap<String, Vec<u8>>> {
        let below = self.below(path).ok()?;
        self.state().tree.durable_files(below)
    }

    /// Whether a power cut now could lose something of `path`: bytes that were written and not synced.
    pub fn is_unsynced(&self, path: &Path) -> bool {
        let below = self.below(path);
        below.is_ok_and(|below| self.state().tree.is_unsynced(below))
    }

    pub(super) fn promise(&self, path: &Path, end: u64) {
        let mut state = self.state();
        if state.frozen {
            return;
        }
        state.promises += 1;
        let outcome = match self.below(path) {
            Ok(below) => state.tree.check_durable(below, end),
            Err(error) => Err(error.to_string()),
        };
        if let Err(words) = outcome {
            state
                .violations
                .push(format!("promised {} up to {end}: {words}", path.display()));
        }
    }

    /// The disk carries out so many operations more (writes, syncs, cuts, names made, renamed and removed, of files and of
    /// directories, also within one blocking call), then it stops in the middle of one: what is asked of it later is not
    /// done, and nobody hears of it. Until the power cut that has to follow. For disks in memory.
    pub fn stop_after(&self, operations: u64) {
        self.state().until_stop = Some(operations);
    }

    /// Whether it has stopped.
    pub fn is_stopped(&self) -> bool {
        self.state().stopped
    }

    /// Records were accepted by a leader; see [`super::file::Disk::led`].
    pub fn led(&self, led: Led) {
        self.state().led.insert(led);
    }

    /// Where and when records were accepted here by a leader.
    pub fn leaderships(&self) -> BTreeSet<Led> {
        self.state().led.clone()
    }

    pub(super) fn opened(&self, path: &Path) -> io::Result<NodeId> {
        self.state().tree.open(self.below(path)?)
    }

    pub(super) fn check_write(&self, node: NodeId) -> io::Result<()> {
        let state = self.state();
        match &state.fail_writes_of {
            Some((part, errno)) if state.tree.path_of(node).contains(part) => {
                Err(io::Error::from_raw_os_error(*errno))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn wrote(&self, node: NodeId, pos: u64, slices: &[Bytes]) {
        let mut at = pos;
        let mut state = self.state();
        state.operation();
        let len: usize = slices.iter().map(Bytes::len).sum();
        // A sector that is written again is another one.
        let written = pos / PAGE..(pos + len as u64).div_ceil(PAGE);
        state
            .lost_pages
            .retain(|(lost, page)| *lost != node || !written.contains(page));
        for slice in slices {
            state.tree.change(
                node,
                Change::Write {
                    pos: at,
                    bytes: slice.to_vec(),
                },
            );
            at += slice.len() as u64;
        }
    }

    pub(super) fn set_len(&self, node: NodeId, len: u64) {
        let mut state = self.state();
        state.operation();
        state
            .lost_pages
            .retain(|(lost, page)| *lost != node || page * PAGE < len);
        state.tree.change(node, Change::SetLen(len));
    }

    pub(super) fn sync_begin(&self, node: NodeId) -> io::Result<Mark> {
        let state = self.state();
        match &state.fail_syncs_of {
            Some(part) if state.tree.path_of(node).contains(part) => {
                Err(io::Error::from_raw_os_error(libc::EIO))
            }
            _ => Ok(state.tree.mark(node)),
        }
    }

    pub(super) fn sync_end(&self, node: NodeId, mark: Mark) {
        let mut state = self.state();
        state.operation();
        if !state.frozen && !state.stopped {
            state.tree.apply(node, mark);
        }
    }

    pub(super) fn syncs_are_held(&self) -> bool {
        self.state().held
    }

    pub(super) fn wait_while_syncs_are_held(&self) {
        let mut state = self.state();
        while state.held {
            state = self
                .released
                .wait(state)
                .unwrap_or_else(|poisoned| poisoned.into_inner());
        }
    }

    /// The directory's node; `None` above the root, where nothing is recorded.
    pub(super) fn sync_dir_begin(&self, path: &Path) -> io::Result<Option<(NodeId, Mark)>> {
        let Ok(below) = self.below(path) else {
            return Ok(None);
        };
        let node = self.state().tree.resolve(below)?;
        Ok(Some((node, self.sync_begin(node)?)))
    }

    /// The nodes of a directory and of everything below it; EIO if the sync of one of them is to fail.
    pub(super) fn sync_tree_begin(&self, path: &Path) -> io::Result<Vec<(NodeId, Mark)>> {
        let below = self.state().tree.below(self.below(path)?)?;
        let begin = |node| Ok((node, self.sync_begin(node)?));
        below.into_iter().map(begin).collect()
    }

    pub(super) fn created_dir(&self, path: &Path) -> io::Result<()> {
        match self.below(path) {
            Ok(below) => {
                let mut state = self.state();
                state.operation();
                state.tree.create_dir(below)
            }
            Err(_) => Ok(()),
        }
    }

    pub(super) fn renamed(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (self.below(from)?, self.below(to)?);
        let mut state = self.state();
        state.operation();
        state.tree.rename(from, to)
    }

    pub(super) fn removed(&self, path: &Path) -> io::Result<()> {
        let below = self.below(path)?;
        let mut state = self.state();
        state.operation();
        state.tree.remove(below)
    }
}
