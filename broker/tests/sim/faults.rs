//! What can happen to machines and between them, and to two of them at once.

use std::time::Duration;

use broker::rt;

use crate::machine::Machine;

/// Of a disk, before a crash at one of them: while a broker serves, and while it recovers.
const MOST_OPERATIONS: u64 = 500;
const MOST_OPERATIONS_OF_A_START: u64 = 60;
/// Virtual: how long a crash point or the end of a broker may take, where something else may be in its way.
const PATIENCE: Duration = Duration::from_secs(10);
/// Less than `message.timestamp.after.max.ms` allows, so that no client is wrong about the time.
const MOST_JUMP_MS: u64 = 50 * 60 * 1000;

/// What can happen.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    Kill,
    PowerCut,
    /// All machines at once.
    Blackout,
    Restart,
    Pause,
    DiskStalls,
    DiskFull,
    SyncFails,
    /// Power goes at one operation of the disk, wherever in log, quorum or checkpoint that is, and perhaps again while the
    /// broker recovers.
    CrashPoint,
    /// One machine hears another no more; the other hears it.
    OneWay,
    /// One machine and nobody else.
    Alone,
    /// Between two machines everything takes longer, as where packets are lost.
    Slow,
    /// The wall clock is wrong for a while.
    ClockJumps,
}

pub(crate) const KILLS: &[Fault] = &[Fault::Kill, Fault::Restart];
pub(crate) const POWER: &[Fault] = &[Fault::PowerCut, Fault::Blackout];
pub(crate) const BLACKOUTS: &[Fault] = &[Fault::Blackout];
pub(crate) const CRASH_POINTS: &[Fault] = &[Fault::CrashPoint];
pub(crate) const NETWORK: &[Fault] = &[Fault::OneWay, Fault::Alone, Fault::Slow, Fault::Pause];
pub(crate) const ALL: &[Fault] = &[
    Fault::Kill,
    Fault::PowerCut,
    Fault::Blackout,
    Fault::Restart,
    Fault::Pause,
    Fault::DiskStalls,
    Fault::DiskFull,
    Fault::SyncFails,
    Fault::CrashPoint,
    Fault::OneWay,
    Fault::Alone,
    Fault::Slow,
    Fault::ClockJumps,
];

pub(crate) async fn some_time(most_ms: u64) {
    rt::sleep(Duration::from_micros(rt::random_u64() % (most_ms * 1000))).await;
}

/// One of `faults` befalls a machine, now and then another one another machine meanwhile. Afterwards everything runs.
pub(crate) async fn befall(machines: &[Machine], faults: &[Fault], seed: u64, number: u64) {
    let (of, seed) = (seed, seed.wrapping_mul(31) + number);
    let pick = || faults[(rt::random_u64() % faults.len() as u64) as usize];
    let at = (rt::random_u64() % machines.len() as u64) as usize;
    let first = pick();
    let second = rt::random_u64()
        .is_multiple_of(4)
        .then(|| (pick(), other_than(machines, at)))
        .filter(|(second, _)| !first.is_of_all() && !second.is_of_all());
    let host = |at: usize| machines[at].host();
    match second {
        None => {
            println!("seed {of}: {first:?} of {} at {} ms", host(at), rt::wall_ms());
            happen(machines, at, first, seed).await;
        }
        Some((second, beside)) => {
            println!(
                "seed {of}: {first:?} of {} and {second:?} of {} at {} ms",
                host(at),
                host(beside),
                rt::wall_ms()
            );
            let second = happen(machines, beside, second, seed ^ 0x5555);
            futures::future::join(happen(machines, at, first, seed), second).await;
        }
    }
    let down = machines.iter().filter(|machine| !machine.is_running());
    futures::future::join_all(down.map(Machine::start)).await;
}

impl Fault {
    fn is_of_all(self) -> bool {
        matches!(self, Fault::Blackout)
    }
}

fn other_than(machines: &[Machine], at: usize) -> usize {
    let many = machines.len() as u64;
    (at + 1 + (rt::random_u64() % (many - 1)) as usize) % machines.len()
}

async fn happen(machines: &[Machine], at: usize, fault: Fault, seed: u64) {
    let machine = &machines[at];
    match fault {
        Fault::Kill => {
            machine.kill();
            some_time(8_000).await;
        }
        Fault::PowerCut => {
            machine.power_off(seed);
            some_time(8_000).await;
        }
        Fault::Blackout => {
            for (number, machine) in machines.iter().enumerate() {
                machine.power_off(seed + number as u64);
            }
            some_time(1_000).await;
        }
        Fault::CrashPoint => crash(machine, seed).await,
        Fault::Restart => machine.stop().await,
        Fault::Pause => {
            let process = machine.process();
            process.pause();
            some_time(40_000).await;
            process.resume();
        }
        Fault::DiskStalls => {
            let process = machine.process();
            process.stall_disk(true);
            // Shorter than others wait before they take over, or a good deal longer.
            some_time(if rt::random_u64().is_multiple_of(2) {
                8_000
            } else {
                40_000
            })
            .await;
            process.stall_disk(false);
        }
        Fault::DiskFull => {
            machine.disk.fail_writes_of(Some(".log"));
            some_time(3_000).await;
            machine.disk.fail_writes_of(None);
        }
        Fault::SyncFails => {
            machine.disk.fail_syncs_of(Some(".log"));
            machine.ended().await;
            machine.disk.fail_syncs_of(None);
        }
        Fault::OneWay => {
            let (from, to) = (machine.process(), machines[other_than(machines, at)].process());
            from.cut(&to);
            some_time(15_000).await;
            from.heal(&to);
        }
        Fault::Alone => {
            let alone = machine.process();
            let others: Vec<_> = machines.iter().map(Machine::process).collect();
            for other in &others {
                alone.cut(other);
                other.cut(&alone);
            }
            some_time(15_000).await;
            for other in &others {
                alone.heal(other);
                other.heal(&alone);
            }
        }
        Fault::Slow => {
            let (one, other) = (machine.process(), machines[other_than(machines, at)].process());
            let most = Duration::from_millis(1 + rt::random_u64() % 400);
            one.slow(&other, most);
            other.slow(&one, most);
            some_time(15_000).await;
            one.slow(&other, Duration::ZERO);
            other.slow(&one, Duration::ZERO);
        }
        Fault::ClockJumps => {
            let process = machine.process();
            let ms = (rt::random_u64() % (2 * MOST_JUMP_MS)) as i64 - MOST_JUMP_MS as i64;
            process.jump_clock(ms);
            some_time(15_000).await;
            process.jump_clock(-ms);
        }
    }
}

/// Power goes at an operation of the disk, and by seed once more at one of the start that follows.
async fn crash(machine: &Machine, seed: u64) {
    let stopped = async || {
        while !machine.disk.is_stopped() {
            rt::sleep(Duration::from_millis(1)).await;
        }
    };
    machine.disk.stop_after(rt::random_u64() % MOST_OPERATIONS);
    // One that leads and follows nothing just now may rest.
    let _ = rt::timeout(PATIENCE, stopped()).await;
    machine.power_off(seed);
    some_time(3_000).await;
    if rt::random_u64().is_multiple_of(2) {
        return;
    }
    machine
        .disk
        .stop_after(rt::random_u64() % MOST_OPERATIONS_OF_A_START);
    {
        let started = std::pin::pin!(machine.try_start());
        let stopped = std::pin::pin!(stopped());
        // A start that is over, or that waits for others, is as good a moment.
        let _ = rt::timeout(PATIENCE, futures::future::select(started, stopped)).await;
    }
    machine.power_off(seed + 1);
    some_time(1_000).await;
}
