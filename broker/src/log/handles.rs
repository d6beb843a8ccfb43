//! Open files of one shard, bounded. Owns: which files are open, and closing the one unused for longest when another is
//! needed. Leaves to others: the limit (the caller derives it from RLIMIT_NOFILE, with room for connections), and names.
//!
//! The limit is strict: when as many files as that are in use, the next one waits. A job must therefore hold at most one
//! [`Handle`] at a time, or two jobs could wait for each other; every job of `log/` opens, uses and drops before the next.
//!
//! Where the process runs out of descriptors all the same (connections took more than their share), the limit shrinks to
//! what is open now: an older file is closed for the new one. Only a cache with nothing to give fails the open.
//!
//! A file renamed or unlinked while a job holds its handle stays readable and writable to that job.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::ops::Deref;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use crate::rt;
use crate::rt::file::{self, Disk, File, OpenOptions};
use crate::rt::local::Event;

/// Between two tries to open a file while there is no descriptor for it.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(2);

/// A file's identity within one [`HandleCache`], for its whole life and through renames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct FileKey(u64);

impl FileKey {
    /// Of a file no cache knows yet.
    pub(super) const UNASSIGNED: FileKey = FileKey(0);
}

/// The open files of one shard. `!Send`: lives and dies on its core.
pub struct HandleCache {
    disk: Disk,
    limit: Cell<usize>,
    next_key: Cell<u64>,
    slots: RefCell<Slots>,
    /// Rings when a file came free, finished opening, or failed to.
    changed: Event,
}

#[derive(Default)]
struct Slots {
    by_key: HashMap<FileKey, Slot>,
    /// Files nobody uses, least recently used first: (when, which).
    idle: BTreeMap<u64, FileKey>,
    clock: u64,
}

enum Slot {
    Opening {
        forgotten: bool,
    },
    Open {
        file: File,
        users: usize,
        idle_since: u64,
        forgotten: bool,
    },
}

/// An open file in use. Dropping it lets the cache close the file.
pub(super) struct Handle {
    file: File,
    key: FileKey,
    cache: Rc<HandleCache>,
}

impl Deref for Handle {
    type Target = File;
    fn deref(&self) -> &File {
        &self.file
    }
}

impl HandleCache {
    /// A cache of at most `limit` (at least 1) open files.
    pub fn new(disk: &Disk, limit: usize) -> Rc<HandleCache> {
        Rc::new(HandleCache {
            disk: disk.clone(),
            limit: Cell::new(limit.max(1)),
            next_key: Cell::new(1),
            slots: RefCell::default(),
            changed: Event::default(),
        })
    }

    /// The disk its files are on.
    pub fn disk(&self) -> &Disk {
        &self.disk
    }

    /// Files open or being opened now.
    pub fn open_files(&self) -> usize {
        self.slots.borrow().by_key.len()
    }

    /// An identity for a file that will be opened through this cache.
    pub(super) fn new_key(&self) -> FileKey {
        let key = self.next_key.get();
        self.next_key.set(key + 1);
        FileKey(key)
    }

    /// The file of `key`, opened at `path` if it is not open. With `create` it is made if missing; its name is durable
    /// only after a sync of its directory.
    pub(super) async fn get(self: &Rc<Self>, key: FileKey, path: &Path, create: bool) -> io::Result<Handle> {
        loop {
            // Before the look: a change between look and wait must end the wait.
            let changed = self.changed.wait();
            match self.look(key) {
                Look::Ready(handle) => return Ok(handle),
                Look::Wait => changed.await,
                Look::Open => match self.open(key, path, create).await {
                    // The ring closes a file on a later turn: without a pause the next try would come before that.
                    Err(error) if file::out_of_files(&error) && self.shrink() => {
                        rt::sleep(SHORTAGE_PAUSE).await
                    }
                    opened => return opened,
                },
            }
        }
    }

    /// No descriptor was left: from now on as many files as are open now. False if there are none, so that waiting for one
    /// of them would have no end.
    fn shrink(&self) -> bool {
        let open = self.open_files();
        if open == 0 {
            return false;
        }
        if open < self.limit.get() {
            tracing::warn!(
                limit = open,
                "out of file descriptors: fewer log files stay open from now on; raise the limit of open files (ulimit -n)"
            );
            self.limit.set(open);
        }
        true
    }

    /// Closes the file of `key` when nobody uses it, and does not keep it afterwards: it was unlinked.
    pub(super) fn forget(&self, key: FileKey) {
        let mut slots = self.slots.borrow_mut();
        let slots = &mut *slots;
        match slots.by_key.get_mut(&key) {
            Some(Slot::Opening { forgotten }) => *forgotten = true,
            Some(Slot::Open { users, forgotten, .. }) if *users > 0 => *forgotten = true,
            Some(Slot::Open { idle_since, .. }) => {
                slots.idle.remove(idle_since);
                slots.by_key.remove(&key);
                self.changed.notify_all();
            }
            None => {}
        }
    }

    fn look(self: &Rc<Self>, key: FileKey) -> Look {
        let mut slots = self.slots.borrow_mut();
        let slots = &mut *slots;
        match slots.by_key.get_mut(&key) {
            Some(Slot::Open {
                file,
                users,
                idle_since,
                ..
            }) => {
                if *users == 0 {
                    slots.idle.remove(idle_since);
                }
                *users += 1;
                return Look::Ready(Handle {
                    file: file.clone(),
                    key,
                    cache: self.clone(),
                });
            }
            Some(Slot::Opening { .. }) => return Look::Wait,
            None => {}
        }
        if slots.by_key.len() >= self.limit.get() {
            let Some((_, oldest)) = slots.idle.pop_first() else {
                return Look::Wait;
            };
            slots.by_key.remove(&oldest);
        }
        slots.by_key.insert(key, Slot::Opening { forgotten: false });
        Look::Open
    }

    async fn open(self: &Rc<Self>, key: FileKey, path: &Path, create: bool) -> io::Result<Handle> {
        // Gives the place back if opening fails or the caller goes away.
        let opening = Opening { cache: self, key };
        let file = self.disk.open(path, OpenOptions { create, write: true }).await?;
        {
            let mut slots = self.slots.borrow_mut();
            let forgotten = matches!(slots.by_key.get(&key), Some(Slot::Opening { forgotten: true }));
            let slot = Slot::Open {
                file: file.clone(),
                users: 1,
                idle_since: 0,
                forgotten,
            };
            slots.by_key.insert(key, slot);
        }
        std::mem::forget(opening);
        self.changed.notify_all();
        Ok(Handle {
            file,
            key,
            cache: self.clone(),
        })
    }
}

enum Look {
    Ready(Handle),
    Open,
    Wait,
}

struct Opening<'a> {
    cache: &'a HandleCache,
    key: FileKey,
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.cache.slots.borrow_mut().by_key.remove(&self.key);
        self.cache.changed.notify_all();
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let mut slots = self.cache.slots.borrow_mut();
        let slots = &mut *slots;
        let now = slots.clock;
        slots.clock += 1;
        let Some(Slot::Open {
            users,
            idle_since,
            forgotten,
            ..
        }) = slots.by_key.get_mut(&self.key)
        else {
            return;
        };
        *users -= 1;
        if *users > 0 {
            return;
        }
        *idle_since = now;
        if *forgotten {
            slots.by_key.remove(&self.key);
        } else {
            slots.idle.insert(now, self.key);
        }
        self.cache.changed.notify_all();
    }
}
