//! Starting and joining the shard threads. Owns thread creation, binding to cpus, and what a panic on a shard does.
#![allow(unsafe_code)]

use super::cores::CorePlan;
use super::engine::{Context, PanicPayload, run_shard};
use super::{Engine, LocalBoxFuture, ShardId};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;

/// What a panic on a shard does to the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PanicPolicy {
    /// Abort: the state of that shard is unknown, and recovery is bounded. The default.
    Abort,
    /// End the shard and report it from [`Executors::join`]. For tests.
    Report,
}

static REPORT_PANICS: AtomicBool = AtomicBool::new(false);

/// Sets the process-wide policy for panics on shards.
pub fn on_shard_panic(policy: PanicPolicy) {
    REPORT_PANICS.store(policy == PanicPolicy::Report, Ordering::Relaxed);
}

/// Called once per panic, on the shard, before anything else happens.
pub(super) fn panicked(shard: ShardId, payload: &PanicPayload) {
    let words = words_of(payload);
    if super::sim::active() {
        return super::sim::panicked(format!("shard {shard}: {words}"));
    }
    if REPORT_PANICS.load(Ordering::Relaxed) {
        return;
    }
    tracing::error!(%shard, "shard panicked, ending the process: {words}");
    eprintln!("millrace: shard {shard} panicked, ending the process: {words}");
    std::process::abort();
}

fn words_of(payload: &PanicPayload) -> String {
    match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(words), _) => (*words).to_owned(),
        (_, Some(words)) => words.clone(),
        _ => "panic without words".to_owned(),
    }
}

/// A shard ended by a panic (only under [`PanicPolicy::Report`]).
#[derive(Debug, thiserror::Error)]
#[error("shard {shard} panicked: {words}")]
pub struct ShardPanicked {
    pub shard: ShardId,
    pub words: String,
}

/// The running shards. Dropping it leaves them running; [`Executors::join`] waits until each `main` has returned.
#[must_use = "join the executors, or the process ends under them"]
pub struct Executors {
    threads: Vec<JoinHandle<Result<(), ShardPanicked>>>,
}

impl Executors {
    /// Waits for all shards to end. The first panic is reported, after all have ended.
    pub fn join(self) -> Result<(), ShardPanicked> {
        let mut outcome = Ok(());
        for (index, thread) in self.threads.into_iter().enumerate() {
            let ended = thread.join().unwrap_or_else(|payload| {
                let shard = ShardId(u16::try_from(index).unwrap_or(u16::MAX));
                Err(ShardPanicked {
                    shard,
                    words: words_of(&payload),
                })
            });
            outcome = outcome.and(ended);
        }
        outcome
    }
}

/// Starts one thread per shard of `plan` and runs `main` on each. Returns once every executor exists; if one cannot be
/// built (memlock, threads, descriptors) none runs `main` and the error says which and why.
pub fn start(
    engine: Engine,
    plan: &CorePlan,
    main: impl Fn(ShardId) -> LocalBoxFuture<'static, ()> + Send + Clone + 'static,
) -> io::Result<Executors> {
    if engine == Engine::Sim {
        super::sim::start_shards(plan, main)?;
        return Ok(Executors { threads: Vec::new() });
    }
    let (report, reports) = mpsc::channel::<io::Result<()>>();
    let mut threads = Vec::new();
    let mut gates = Vec::new();
    let mut outcome = Ok(());
    for index in 0..plan.shards {
        let shard = ShardId(index);
        let cpu = plan.cpus.get(shard.index()).copied().flatten();
        let (gate, opened) = mpsc::channel::<()>();
        let report = report.clone();
        let main = main.clone();
        let thread = std::thread::Builder::new()
            .name(format!("shard-{index}"))
            .spawn(move || run_thread(engine, shard, cpu, &report, &opened, move || main(shard)));
        match thread {
            Ok(thread) => {
                threads.push(thread);
                gates.push(gate);
            }
            Err(error) => {
                outcome = Err(error);
                break;
            }
        }
    }
    drop(report);
    for _ in 0..threads.len() {
        let built = reports
            .recv()
            .unwrap_or_else(|_| Err(io::Error::other("a shard thread ended while starting")));
        outcome = outcome.and(built);
    }
    if let Err(error) = outcome {
        // Closed gates end the threads that did start.
        drop(gates);
        for thread in threads {
            let _ = thread.join();
        }
        return Err(error);
    }
    for gate in gates {
        gate.send(())
            .map_err(|_| io::Error::other("a shard thread ended while starting"))?;
    }
    Ok(Executors { threads })
}

/// The body of one shard thread: build the executor, report, wait for all others, run.
fn run_thread(
    engine: Engine,
    shard: ShardId,
    cpu: Option<usize>,
    report: &mpsc::Sender<io::Result<()>>,
    opened: &mpsc::Receiver<()>,
    main: impl FnOnce() -> LocalBoxFuture<'static, ()>,
) -> Result<(), ShardPanicked> {
    let context = Context::new(engine, shard);
    let ended = match engine {
        Engine::Uring => {
            let executor = match super::uring::executor(cpu.is_some()) {
                Ok(executor) => executor,
                Err(error) => {
                    let _ = report.send(Err(error));
                    return Ok(());
                }
            };
            if !ready(cpu, report, opened) {
                return Ok(());
            }
            super::uring::run(&executor, run_shard(context, main))
        }
        Engine::Posix => {
            let runtime = match super::posix::runtime() {
                Ok(runtime) => runtime,
                Err(error) => {
                    let _ = report.send(Err(error));
                    return Ok(());
                }
            };
            if !ready(cpu, report, opened) {
                return Ok(());
            }
            super::posix::run(runtime, run_shard(context, main))
        }
        Engine::Sim => unreachable!("simulated shards have no threads"),
    };
    ended.map_err(|payload| ShardPanicked {
        shard,
        words: words_of(&payload),
    })
}

/// Binds the thread, says that its executor exists, and waits until all do. Binding comes after the executor: its pool's
/// threads inherit the mask of the thread that makes them, and they must not sit on the shard's own core.
fn ready(cpu: Option<usize>, report: &mpsc::Sender<io::Result<()>>, opened: &mpsc::Receiver<()>) -> bool {
    if let Some(cpu) = cpu
        && let Err(error) = bind(cpu)
    {
        tracing::warn!(cpu, %error, "cannot bind the shard to its cpu; it runs unpinned");
    }
    report.send(Ok(())).is_ok() && opened.recv().is_ok()
}

fn bind(cpu: usize) -> io::Result<()> {
    // SAFETY: a zeroed cpu_set_t is the empty set; CPU_SET is given an index below the set's size; the kernel only
    // reads the set, whose size is passed with it.
    let outcome = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        if cpu >= libc::CPU_SETSIZE as usize {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set)
    };
    if outcome == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
