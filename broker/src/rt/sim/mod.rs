//! Engine `sim`: whole brokers on one thread, in virtual time, from one seed. For tests.
//!
//! ```text
//! World ── clock, seeded random stream, timers, run queue (picked by seed)
//!   ├─ Process 0: the scenario (clients, checker)
//!   ├─ Process 1: a broker: its shards (each with a `Context`), its control plane, its address
//!   └─ Network: listeners and connections between addresses      Disk: `file::Disk::simulated`, one per machine
//! ```
//!
//! Owns: what runs next, what time it is, processes that are killed and paused, and (in [`net`]) what arrives when. A run
//! is a function of its seed as long as nothing under test looks at real time, real randomness or the order of a
//! `HashMap`. Leaves disks to [`super::recorder`], which knows what a power cut leaves.
//!
//! Virtual time moves when nothing can run, to the next timer, and by a microsecond or two per poll, so that no loop is
//! free. Nothing of a world is `Send` to another thread: one world per thread.

pub(super) mod net;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Wake, Waker};
use std::time::Duration;

use super::cores::CorePlan;
use super::engine::{self, Context};
use super::{Engine, LocalBoxFuture, ShardId, random};

/// When a simulated run begins, on the wall clock: 2026-01-01T00:00:00Z.
const EPOCH_MS: i64 = 1_767_225_600_000;
/// What a blocking call or a disk operation takes, in microseconds.
const DISK_MICROS: (u64, u64) = (20, 300);

/// One simulated process. 0 is the scenario itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessId(u32);

/// The process of the scenario.
const SCENARIO: ProcessId = ProcessId(0);

type TaskId = u64;
type TimerKey = (u64, u64);

thread_local! {
    static WORLD: RefCell<Option<Rc<World>>> = const { RefCell::new(None) };
    static ACTIVE: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread runs a simulated world.
pub(super) fn active() -> bool {
    ACTIVE.with(Cell::get)
}

fn world() -> Rc<World> {
    WORLD.with(|world| {
        world
            .borrow()
            .clone()
            .expect("a simulated world runs on this thread")
    })
}

struct World {
    now: Cell<u64>,
    random: Cell<u64>,
    ready: Arc<Mutex<Vec<TaskId>>>,
    tasks: RefCell<HashMap<TaskId, Slot>>,
    timers: RefCell<BTreeMap<TimerKey, Due>>,
    processes: RefCell<BTreeMap<ProcessId, ProcessState>>,
    network: net::Network,
    current: Cell<ProcessId>,
    next_id: Cell<u64>,
    failure: RefCell<Option<String>>,
    polls: Cell<u64>,
    /// Folded over everything that was decided: two runs of one seed must agree.
    trace: Cell<u64>,
}

enum Due {
    Wake(Waker),
    Call(Box<dyn FnOnce()>),
}

struct Slot {
    /// Taken out while it is polled.
    future: Option<LocalBoxFuture<'static, ()>>,
    context: Option<Rc<Context>>,
    process: ProcessId,
    waker: Arc<TaskWaker>,
}

struct ProcessState {
    name: String,
    ip: IpAddr,
    running: Running,
    /// Tasks that became ready while it was paused.
    parked: Vec<TaskId>,
    /// Its disk does not answer.
    stalled: bool,
    /// How far its wall clock is off, in milliseconds.
    clock_ms: i64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Running {
    Yes,
    Paused,
    Dead,
}

struct TaskWaker {
    task: TaskId,
    queued: AtomicBool,
    ready: Arc<Mutex<Vec<TaskId>>>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        if !self.queued.swap(true, Ordering::Relaxed) {
            lock(&self.ready).push(self.task);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a finished run tells about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Virtual time that passed.
    pub lasted: Duration,
    /// Polls of tasks.
    pub polls: u64,
    /// Depends on every decision of the run: equal for equal seeds, or the run is not deterministic.
    pub trace: u64,
}

/// Runs `scenario` (made in the world) in virtual time, on the calling thread, until it ends. Everything it started ends
/// with it.
///
/// # Panics
/// When the scenario or any simulated task panics, when nothing can ever happen again before the scenario has ended, and
/// on a thread that is a shard or runs another world.
pub fn run<T: 'static>(seed: u64, scenario: impl Future<Output = T> + 'static) -> (T, Report) {
    assert!(!active(), "this thread runs a simulated world already");
    let world = Rc::new(World {
        now: Cell::new(0),
        random: Cell::new(seed ^ 0x6d69_6c6c_7261_6365),
        ready: Arc::default(),
        tasks: RefCell::default(),
        timers: RefCell::default(),
        processes: RefCell::default(),
        network: net::Network::default(),
        current: Cell::new(SCENARIO),
        next_id: Cell::new(1),
        failure: RefCell::new(None),
        polls: Cell::new(0),
        trace: Cell::new(0xcbf2_9ce4_8422_2325),
    });
    world.add_process(SCENARIO, "scenario", IpAddr::V4(Ipv4Addr::new(10, 0, 255, 1)));
    WORLD.with(|slot| *slot.borrow_mut() = Some(world.clone()));
    ACTIVE.with(|slot| slot.set(true));
    let ending = Ending(world.clone());
    let outcome: Rc<RefCell<Option<T>>> = Rc::default();
    let slot = outcome.clone();
    let context = Context::new(Engine::Sim, ShardId(0));
    let body = engine::run_shard(context.clone(), move || {
        Box::pin(async move {
            let value = scenario.await;
            *slot.borrow_mut() = Some(value);
        })
    });
    world.add_task(SCENARIO, Some(context), Box::pin(async move { drop(body.await) }));
    let value = loop {
        if let Some(value) = outcome.borrow_mut().take() {
            break value;
        }
        world.step();
    };
    let report = Report {
        lasted: Duration::from_nanos(world.now.get()),
        polls: world.polls.get(),
        trace: world.trace.get(),
    };
    drop(ending);
    (value, report)
}

/// Takes the world down, also when a step panics: futures first, while what their destructors call still exists.
struct Ending(Rc<World>);

impl Drop for Ending {
    fn drop(&mut self) {
        let ids: Vec<ProcessId> = self.0.processes.borrow().keys().copied().collect();
        for id in ids {
            self.0.end(id);
        }
        ACTIVE.with(|slot| slot.set(false));
        WORLD.with(|slot| slot.borrow_mut().take());
    }
}

impl World {
    fn id(&self) -> u64 {
        let id = self.next_id.get();
        self.next_id.set(id + 1);
        id
    }

    fn note(&self, what: u64) {
        // FNV-1a over words.
        self.trace
            .set((self.trace.get() ^ what).wrapping_mul(0x0000_0100_0000_01b3));
    }

    fn draw(&self) -> u64 {
        random::draw(&self.random)
    }

    fn between(&self, (low, high): (u64, u64)) -> u64 {
        low + self.draw() % (high - low + 1)
    }

    fn add_process(&self, id: ProcessId, name: &str, ip: IpAddr) {
        let state = ProcessState {
            name: name.to_owned(),
            ip,
            running: Running::Yes,
            parked: Vec::new(),
            stalled: false,
            clock_ms: 0,
        };
        self.processes.borrow_mut().insert(id, state);
    }

    fn add_task(
        &self,
        process: ProcessId,
        context: Option<Rc<Context>>,
        future: LocalBoxFuture<'static, ()>,
    ) -> TaskId {
        let task = self.id();
        let waker = Arc::new(TaskWaker {
            task,
            queued: AtomicBool::new(false),
            ready: self.ready.clone(),
        });
        let slot = Slot {
            future: Some(future),
            context,
            process,
            waker: waker.clone(),
        };
        self.tasks.borrow_mut().insert(task, slot);
        waker.wake();
        task
    }

    fn at(&self, when: u64, due: Due) -> TimerKey {
        let key = (when, self.id());
        self.timers.borrow_mut().insert(key, due);
        key
    }

    /// Polls one task, or moves time to the next timer.
    fn step(&self) {
        if let Some(words) = self.failure.borrow_mut().take() {
            panic!("a simulated shard panicked: {words}");
        }
        let picked = {
            let mut ready = lock(&self.ready);
            let many = ready.len() as u64;
            // By number, not by order of waking: tokio's watch wakes its receivers in an order of its own dice.
            ready.sort_unstable();
            (many > 0).then(|| ready.remove((self.draw() % many) as usize))
        };
        match picked {
            Some(task) => self.poll(task),
            None => self.advance(),
        }
    }

    fn advance(&self) {
        let (key, due) = match self.timers.borrow_mut().pop_first() {
            Some(first) => first,
            None => panic!("nothing can happen any more, and the scenario has not ended"),
        };
        self.now.set(self.now.get().max(key.0));
        match due {
            Due::Wake(waker) => waker.wake(),
            Due::Call(call) => call(),
        }
    }

    fn poll(&self, task: TaskId) {
        let (mut future, context, process, waker) = {
            let mut tasks = self.tasks.borrow_mut();
            let Some(slot) = tasks.get_mut(&task) else {
                return;
            };
            let mut processes = self.processes.borrow_mut();
            let state = processes.get_mut(&slot.process).expect("a task has a process");
            if state.running == Running::Paused {
                state.parked.push(task);
                return;
            }
            slot.waker.queued.store(false, Ordering::Relaxed);
            let Some(future) = slot.future.take() else {
                return;
            };
            (future, slot.context.clone(), slot.process, slot.waker.clone())
        };
        self.now.set(self.now.get() + self.between((200, 2_000)));
        self.polls.set(self.polls.get() + 1);
        self.note(task ^ self.now.get());
        let outcome = self.on_behalf(process, context.clone(), || {
            let waker = Waker::from(waker);
            future.as_mut().poll(&mut std::task::Context::from_waker(&waker))
        });
        let over = outcome.is_ready() || self.processes.borrow()[&process].running == Running::Dead;
        let mut tasks = self.tasks.borrow_mut();
        if over {
            tasks.remove(&task);
            drop(tasks);
            self.on_behalf(process, context, move || drop(future));
        } else if let Some(slot) = tasks.get_mut(&task) {
            slot.future = Some(future);
        } else {
            // Cancelled by itself.
            drop(tasks);
            self.on_behalf(process, context, move || drop(future));
        }
    }

    /// Does something as a process and, with a context, as one of its shards.
    fn on_behalf<T>(&self, process: ProcessId, context: Option<Rc<Context>>, act: impl FnOnce() -> T) -> T {
        let process_before = self.current.replace(process);
        let context_before = engine::enter(context);
        let value = act();
        engine::enter(context_before);
        self.current.set(process_before);
        value
    }

    /// Ends a process where it stands.
    fn end(&self, process: ProcessId) {
        if let Some(state) = self.processes.borrow_mut().get_mut(&process) {
            state.running = Running::Dead;
            state.parked.clear();
        }
        let mut ids: Vec<TaskId> = self
            .tasks
            .borrow()
            .iter()
            .filter(|(_, slot)| slot.process == process)
            .map(|(id, _)| *id)
            .collect();
        ids.sort_unstable();
        for id in ids {
            // One that is being polled ends after its poll.
            let slot = self.tasks.borrow_mut().remove(&id);
            if let Some(Slot { future, context, .. }) = slot {
                self.on_behalf(process, context, move || drop(future));
            }
        }
    }
}

/// Virtual time and the process that acts, in words, for a history of a run. Empty outside of a world.
pub fn who_and_when() -> String {
    if !active() {
        return String::new();
    }
    let world = world();
    let micros = world.now.get() / 1_000;
    let processes = world.processes.borrow();
    let name = processes
        .get(&world.current.get())
        .map_or("", |state| state.name.as_str());
    format!("{:>4}.{:06} {name:<9}", micros / 1_000_000, micros % 1_000_000)
}

/// A simulated machine's process: where a broker runs.
#[derive(Clone, Debug)]
pub struct Process {
    id: ProcessId,
    ip: IpAddr,
}

impl Process {
    /// Starts a process at the address `10.0.0.<host>`; `main` is its first task, on its control plane. A new life at the
    /// same address is a new process.
    pub fn start(name: &str, host: u8, main: impl Future<Output = ()> + 'static) -> Process {
        let world = world();
        let id = ProcessId(u32::try_from(world.id()).expect("few processes"));
        let ip = IpAddr::V4(Ipv4Addr::new(10, 0, 0, host));
        world.add_process(id, name, ip);
        world.network.power(ip);
        world.add_task(id, None, Box::pin(main));
        Process { id, ip }
    }

    /// The process of the scenario itself, for cuts.
    pub fn scenario() -> Process {
        let ip = world().processes.borrow()[&SCENARIO].ip;
        Process { id: SCENARIO, ip }
    }

    /// Where it listens.
    pub fn ip(&self) -> IpAddr {
        self.ip
    }

    /// SIGKILL: it does nothing more; the machine closes its connections (peers see a reset).
    pub fn kill(&self) {
        let world = world();
        world.network.close_all(&world, self.id, net::Closing::Reset);
        world.end(self.id);
    }

    /// The machine loses power: peers hear nothing at all. What its disk keeps is the disk's affair.
    pub fn power_off(&self) {
        let world = world();
        world.network.close_all(&world, self.id, net::Closing::Silent);
        world.end(self.id);
    }

    /// SIGSTOP.
    pub fn pause(&self) {
        let world = world();
        let mut processes = world.processes.borrow_mut();
        let state = processes.get_mut(&self.id).expect("known since its start");
        if state.running == Running::Yes {
            state.running = Running::Paused;
        }
    }

    /// SIGCONT.
    pub fn resume(&self) {
        let world = world();
        let mut processes = world.processes.borrow_mut();
        let state = processes.get_mut(&self.id).expect("known since its start");
        if state.running == Running::Paused {
            state.running = Running::Yes;
            lock(&world.ready).append(&mut state.parked);
        }
    }

    /// From now on (or no longer) no operation of its disk comes to an end.
    pub fn stall_disk(&self, stalled: bool) {
        let world = world();
        let mut processes = world.processes.borrow_mut();
        processes
            .get_mut(&self.id)
            .expect("known since its start")
            .stalled = stalled;
    }

    /// Its wall clock jumps by so many milliseconds, forward or back. The monotonic clock does not, as elsewhere.
    pub fn jump_clock(&self, ms: i64) {
        let world = world();
        let mut processes = world.processes.borrow_mut();
        processes
            .get_mut(&self.id)
            .expect("known since its start")
            .clock_ms += ms;
    }

    /// Cuts what this process sends to `other` (one way), until [`Process::heal`].
    pub fn cut(&self, other: &Process) {
        let world = world();
        world.network.cut(self.ip, other.ip);
    }

    /// What this process sends to `other` takes up to `most` longer, each write by another time, as on a link that loses
    /// packets; zero ends it.
    pub fn slow(&self, other: &Process, most: Duration) {
        let world = world();
        world.network.slow(self.ip, other.ip, most);
    }

    /// A connection from this process to `other` carries at most so many bytes a second; zero ends it.
    pub fn narrow(&self, other: &Process, bytes_per_s: u64) {
        let world = world();
        world.network.narrow(self.ip, other.ip, bytes_per_s);
    }

    /// Undoes [`Process::cut`]; what was sent meanwhile arrives now, as TCP would send it again.
    pub fn heal(&self, other: &Process) {
        let world = world();
        world.network.heal(&world, self.ip, other.ip);
    }

    /// Whether it still runs (or is paused).
    pub fn is_alive(&self) -> bool {
        world().processes.borrow()[&self.id].running != Running::Dead
    }
}

impl std::fmt::Display for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match world().processes.borrow().get(&self.id) {
            Some(state) => write!(f, "{} ({})", state.name, state.ip),
            None => write!(f, "process {}", self.id.0),
        }
    }
}

/// The process that runs now, for handles that spawn on its behalf later.
pub(super) fn current_process() -> ProcessId {
    world().current.get()
}

pub(super) fn now_nanos() -> u64 {
    world().now.get()
}

pub(super) fn wall_ms() -> i64 {
    let world = world();
    let processes = world.processes.borrow();
    let off_ms = processes
        .get(&world.current.get())
        .map_or(0, |state| state.clock_ms);
    EPOCH_MS + off_ms + i64::try_from(world.now.get() / 1_000_000).unwrap_or(i64::MAX)
}

pub(super) fn random_u64() -> u64 {
    world().draw()
}

/// A shard panicked: the run ends with it.
pub(super) fn panicked(words: String) {
    world().failure.borrow_mut().get_or_insert(words);
}

/// Starts a task of the current shard.
pub(super) fn spawn(future: impl Future<Output = ()> + 'static) {
    let world = world();
    world.add_task(world.current.get(), Some(engine::current()), Box::pin(future));
}

/// Starts a task of a process's control plane. Nothing is started in a process that is dead.
pub(super) fn spawn_control(process: ProcessId, future: impl Future<Output = ()> + 'static) -> TaskId {
    let world = world();
    let dead = world
        .processes
        .borrow()
        .get(&process)
        .is_none_or(|state| state.running == Running::Dead);
    if dead {
        drop(future);
        return world.id();
    }
    world.add_task(process, None, Box::pin(future))
}

/// Drops a task's future, now or (its own) after its poll.
pub(super) fn cancel(task: TaskId) {
    if !active() {
        return;
    }
    let world = world();
    let slot = world.tasks.borrow_mut().remove(&task);
    if let Some(Slot {
        future,
        context,
        process,
        ..
    }) = slot
    {
        world.on_behalf(process, context, move || drop(future));
    }
}

/// Starts the shards of the current process.
pub(super) fn start_shards(
    plan: &CorePlan,
    main: impl Fn(ShardId) -> LocalBoxFuture<'static, ()> + Send + Clone + 'static,
) -> io::Result<()> {
    let world = world();
    for index in 0..plan.shards {
        let shard = ShardId(index);
        let context = Context::new(Engine::Sim, shard);
        let main = main.clone();
        let body = engine::run_shard(context.clone(), move || main(shard));
        world.add_task(
            world.current.get(),
            Some(context),
            Box::pin(async move { drop(body.await) }),
        );
    }
    Ok(())
}

/// Runs a blocking call: after a while, in one go, for no other work of this world can run meanwhile. Nobody hears of one
/// in which the disk stopped.
pub(super) async fn blocking<T>(call: impl FnOnce() -> T) -> T {
    disk_delay().await;
    let value = call();
    while_stalled().await;
    value
}

/// What an operation of the disk takes.
pub(super) async fn disk_delay() {
    let micros = world().between(DISK_MICROS);
    Sleep::lasting(Duration::from_micros(micros)).await;
    while_stalled().await;
}

/// Waits for as long as the disk of the current process does not answer.
pub(super) async fn while_stalled() {
    while is_stalled() {
        Sleep::lasting(Duration::from_millis(1)).await;
    }
}

/// The disk of the current process stopped for good: whatever uses it waits from now on, until the process ends.
pub(super) fn disk_stopped() {
    if !active() {
        return;
    }
    let world = world();
    let process = world.current.get();
    if let Some(state) = world.processes.borrow_mut().get_mut(&process) {
        state.stalled = true;
    }
}

fn is_stalled() -> bool {
    let world = world();
    let process = world.current.get();
    world
        .processes
        .borrow()
        .get(&process)
        .is_some_and(|state| state.stalled)
}

/// Lets others run now and then where another engine would look at its budget.
pub(super) async fn yield_if_needed() {
    if world().draw().is_multiple_of(16) {
        super::yield_now().await;
    }
}

/// A timer of the virtual clock. `Send`, as the control plane's are: it holds numbers only.
pub(super) struct Sleep {
    deadline: u64,
    key: Option<TimerKey>,
}

impl Sleep {
    pub(super) fn lasting(duration: Duration) -> Sleep {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Sleep {
            deadline: now_nanos().saturating_add(nanos),
            key: None,
        }
    }

    fn disarm(&mut self) {
        if let Some(key) = self.key.take()
            && active()
        {
            world().timers.borrow_mut().remove(&key);
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<()> {
        self.disarm();
        let world = world();
        if world.now.get() >= self.deadline {
            return Poll::Ready(());
        }
        self.key = Some(world.at(self.deadline, Due::Wake(cx.waker().clone())));
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.disarm();
    }
}
