//! The metadata log as openraft sees it: entries readable at once, answered for when they are synced.
//!
//! Owns the order of writes (one at a time, in the order openraft asks) and group commit: appends that arrive while a
//! sync runs share the next write and the next sync. The live part of the log is held in memory; it is bounded because
//! snapshots are taken by size and count. Files are `log_files.rs`'s.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};

use super::log_files::{LogError, LogFiles, Place, Recovered};
use super::log_format::push_entry;
use super::raft::{Config, Entry, LogId, Vote, entry_id, from_openraft, log_id, to_openraft};
use super::types::{EntryId, SavedVote};
use crate::rt::control;
use crate::rt::control::sync::{mpsc, oneshot};

/// Frames that share one write and one sync at most.
const GROUP_BYTES: usize = 4 << 20;
/// Of what a snapshot has, as many records stay for members that are a little behind. An entry is one record or ten
/// thousand, so entries are no measure; whoever is further behind gets the snapshot, which is hardly larger.
const KEPT_RECORDS: usize = 4096;

/// How much log a restart would have to replay, and how large the last snapshot was: what decides that it is time for
/// the next one.
#[derive(Clone, Default)]
pub(super) struct LogGauge(Arc<Gauges>);

#[derive(Default)]
struct Gauges {
    since_snapshot: AtomicU64,
    snapshot: AtomicU64,
}

impl LogGauge {
    fn appended(&self, bytes: u64) {
        self.0.since_snapshot.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn snapshot_written(&self, bytes: u64) {
        self.0.since_snapshot.store(0, Ordering::Relaxed);
        self.0.snapshot.store(bytes, Ordering::Relaxed);
    }

    /// Log bytes since the last snapshot began, and the size of that one.
    pub(super) fn read(&self) -> (u64, u64) {
        (
            self.0.since_snapshot.load(Ordering::Relaxed),
            self.0.snapshot.load(Ordering::Relaxed),
        )
    }
}

/// openraft's handle on the log. Clones share it.
#[derive(Clone)]
pub(super) struct LogStore {
    memory: Arc<Mutex<Memory>>,
    writer: mpsc::UnboundedSender<Job>,
    gauge: LogGauge,
    answer_before_sync: bool,
}

struct Memory {
    /// Without holes, oldest first.
    entries: VecDeque<Entry>,
    purged: Option<LogId>,
    vote: Option<Vote>,
    committed: Option<LogId>,
    /// Where synced entries end, oldest first; for promises.
    places: VecDeque<(u64, Place)>,
    /// The segment that was written to at the start.
    active: Arc<Path>,
}

impl Memory {
    fn purgeable(&self, snapshot: u64) -> Option<u64> {
        let mut kept = self.entries.iter().map(records).sum::<usize>();
        let mut found = None;
        for entry in &self.entries {
            if entry.log_id.index() > snapshot || kept <= KEPT_RECORDS {
                break;
            }
            kept -= records(entry);
            found = Some(entry.log_id.index());
        }
        found
    }
}

fn records(entry: &Entry) -> usize {
    match &entry.payload {
        openraft::EntryPayload::Normal(proposal) => proposal.records.len(),
        openraft::EntryPayload::Blank | openraft::EntryPayload::Membership(_) => 1,
    }
}

type Change = Box<dyn FnOnce(&mut LogFiles) -> Result<(), LogError> + Send>;

enum Job {
    Append {
        frames: Vec<u8>,
        /// Entries and where their frames end.
        ends: Vec<(EntryId, u64)>,
        flushed: IOFlushed<Config>,
    },
    Change {
        change: Change,
        done: oneshot::Sender<Result<(), LogError>>,
    },
}

impl LogStore {
    /// Starts the writer. `answer_before_sync` is a deliberate fault for tests that prove they would notice.
    pub(super) fn start(recovered: Recovered, answer_before_sync: bool) -> io::Result<LogStore> {
        let entries: VecDeque<Entry> = recovered
            .entries
            .into_iter()
            .map(to_openraft)
            .collect::<io::Result<_>>()?;
        let committed = recovered.committed.and_then(|index| {
            let found = entries.iter().find(|entry| entry.log_id.index() == index);
            found.map(|entry| entry.log_id)
        });
        let gauge = LogGauge::default();
        gauge.appended(recovered.files.bytes());
        let memory = Arc::new(Mutex::new(Memory {
            entries,
            purged: recovered.previous.map(log_id),
            vote: recovered.vote.map(|saved| to_vote(&saved)),
            committed,
            places: VecDeque::new(),
            active: recovered.files.active_path(),
        }));
        let (writer, jobs) = mpsc::unbounded_channel();
        control::spawn(write(recovered.files, jobs, memory.clone()));
        Ok(LogStore {
            memory,
            writer,
            gauge,
            answer_before_sync,
        })
    }

    pub(super) fn gauge(&self) -> LogGauge {
        self.gauge.clone()
    }

    /// Where an entry ends on disk: what an answer that depends on it promises. None when it is in a snapshot. For an
    /// entry that is not synced: none where `others` may have made its majority without this disk, else a promise no file
    /// keeps.
    pub(super) fn place(&self, index: u64, others: bool) -> Option<Place> {
        let memory = self.lock();
        if memory.purged.is_some_and(|purged| index <= purged.index()) {
            return None;
        }
        let found = memory.places.iter().rev().find(|(other, _)| *other == index);
        let unsynced = || Place {
            path: memory.active.clone(),
            end: u64::MAX,
        };
        match found {
            Some((_, place)) => Some(place.clone()),
            None => (!others).then(unsynced),
        }
    }

    /// Up to which entry the log is not needed any more, `snapshot` being the last one that the snapshot has.
    pub(super) fn purgeable(&self, snapshot: u64) -> Option<u64> {
        self.lock().purgeable(snapshot)
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a change of the files after everything asked for before it.
    async fn change(
        &self,
        change: impl FnOnce(&mut LogFiles) -> Result<(), LogError> + Send + 'static,
    ) -> Result<(), io::Error> {
        let (done, changed) = oneshot::channel();
        let change = Box::new(change);
        let gone = || io::Error::other("the metadata log is closed");
        self.writer
            .send(Job::Change { change, done })
            .map_err(|_| gone())?;
        changed.await.map_err(|_| gone())?.map_err(io::Error::other)
    }
}

/// The only task that touches the files.
async fn write(files: LogFiles, mut jobs: mpsc::UnboundedReceiver<Job>, memory: Arc<Mutex<Memory>>) {
    let mut files = files;
    let mut next = jobs.recv().await;
    while let Some(job) = next.take() {
        match job {
            Job::Change { change, done } => {
                let (back, result) = control::blocking(move || {
                    let result = change(&mut files);
                    (files, result)
                })
                .await;
                files = back;
                // Nobody waits any more only when the quorum stops.
                let _ = done.send(result);
            }
            Job::Append {
                frames,
                ends,
                flushed,
            } => {
                let mut group = Group {
                    frames,
                    ends,
                    flushed: vec![flushed],
                };
                while let Ok(job) = jobs.try_recv() {
                    if let Some(other) = group.take(job) {
                        next = Some(other);
                        break;
                    }
                }
                files = group.append(files, &memory).await;
            }
        }
        if next.is_none() {
            next = jobs.recv().await;
        }
    }
}

/// Appends that share a write and a sync.
struct Group {
    frames: Vec<u8>,
    ends: Vec<(EntryId, u64)>,
    flushed: Vec<IOFlushed<Config>>,
}

impl Group {
    /// Takes an append that fits; gives anything else back.
    fn take(&mut self, job: Job) -> Option<Job> {
        match job {
            Job::Append {
                frames,
                ends,
                flushed,
            } if self.frames.len() + frames.len() <= GROUP_BYTES => {
                let at = self.frames.len() as u64;
                self.frames.extend_from_slice(&frames);
                self.ends.extend(ends.iter().map(|(id, end)| (*id, at + end)));
                self.flushed.push(flushed);
                None
            }
            other => Some(other),
        }
    }

    async fn append(self, files: LogFiles, memory: &Mutex<Memory>) -> LogFiles {
        let Group {
            frames,
            ends,
            flushed,
        } = self;
        let (files, result) = control::blocking(move || {
            let mut files = files;
            let result = files.append(&frames, &ends);
            let places: Vec<(u64, Place)> = ends
                .iter()
                .filter_map(|(id, _)| Some((id.index, files.place(id.index)?)))
                .collect();
            (files, result.map(|()| places))
        })
        .await;
        let result = result.map(|places| {
            memory
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .places
                .extend(places);
        });
        let error = result.err().map(|error| error.to_string());
        for flushed in flushed {
            flushed.io_completed(match &error {
                None => Ok(()),
                Some(error) => Err(io::Error::other(error.clone())),
            });
        }
        files
    }
}

fn to_vote(saved: &SavedVote) -> Vote {
    let mut vote = Vote::new(saved.term, saved.voter);
    vote.committed = saved.committed;
    vote
}

impl RaftLogReader<Config> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + openraft::OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        let memory = self.lock();
        let Some(first) = memory.entries.front().map(|entry| entry.log_id.index()) else {
            return Ok(Vec::new());
        };
        let start = match range.start_bound() {
            Bound::Included(index) => *index,
            Bound::Excluded(index) => index + 1,
            Bound::Unbounded => first,
        };
        let skip = usize::try_from(start.saturating_sub(first)).unwrap_or(usize::MAX);
        let entries = memory.entries.iter().skip(skip);
        Ok(entries
            .take_while(|entry| range.contains(&entry.log_id.index()))
            .cloned()
            .collect())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.lock().vote)
    }
}

impl RaftLogStorage<Config> for LogStore {
    type LogReader = LogStore;

    async fn get_log_state(&mut self) -> Result<LogState<Config>, io::Error> {
        let memory = self.lock();
        let last = memory.entries.back().map(|entry| entry.log_id);
        Ok(LogState {
            last_purged_log_id: memory.purged,
            last_log_id: last.or(memory.purged),
        })
    }

    async fn get_log_reader(&mut self) -> LogStore {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let saved = SavedVote {
            term: vote.leader_id.term,
            voter: vote.leader_id.voted_for,
            committed: vote.committed,
        };
        // A vote is a promise to its receiver: on disk before anybody learns of it.
        self.change(move |files| files.save_vote(&saved)).await?;
        self.lock().vote = Some(*vote);
        Ok(())
    }

    /// Kept in memory and written with the next entry: it saves a restarted follower some waiting, nothing depends on it.
    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        self.lock().committed = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.lock().committed)
    }

    async fn append<I>(&mut self, entries: I, flushed: IOFlushed<Config>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + openraft::OptionalSend,
        I::IntoIter: openraft::OptionalSend,
    {
        let (mut frames, mut ends) = (Vec::new(), Vec::new());
        {
            let mut memory = self.lock();
            let committed = memory.committed.as_ref().map(|id| id.index());
            for entry in entries {
                push_entry(&from_openraft(&entry), committed, &mut frames);
                ends.push((entry_id(&entry.log_id), frames.len() as u64));
                memory.entries.push_back(entry);
            }
        }
        self.gauge.appended(frames.len() as u64);
        let flushed = if self.answer_before_sync {
            flushed.io_completed(Ok(()));
            IOFlushed::noop()
        } else {
            flushed
        };
        let job = Job::Append {
            frames,
            ends,
            flushed,
        };
        self.writer
            .send(job)
            .map_err(|_| io::Error::other("the metadata log is closed"))
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        let keep = last.as_ref().map(entry_id);
        let stays = move |index: u64| keep.is_some_and(|keep| index <= keep.index);
        {
            let mut memory = self.lock();
            while memory
                .entries
                .back()
                .is_some_and(|entry| !stays(entry.log_id.index()))
            {
                memory.entries.pop_back();
            }
        }
        self.change(move |files| files.truncate_after(keep)).await?;
        let mut memory = self.lock();
        while memory.places.back().is_some_and(|(index, _)| !stays(*index)) {
            memory.places.pop_back();
        }
        Ok(())
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        {
            let mut memory = self.lock();
            memory.purged = memory.purged.max(Some(upto));
            while memory
                .entries
                .front()
                .is_some_and(|entry| entry.log_id.index() <= upto.index())
            {
                memory.entries.pop_front();
            }
            while memory
                .places
                .front()
                .is_some_and(|(index, _)| *index <= upto.index())
            {
                memory.places.pop_front();
            }
        }
        let upto = entry_id(&upto);
        self.change(move |files| files.purge(upto)).await
    }
}
