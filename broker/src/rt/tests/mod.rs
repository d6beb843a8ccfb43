//! One suite for both engines, with one and with two shards. `uring` is left out, with a line that says why, only where
//! the start ladder refuses it.

mod channels;
mod disk;
mod files;
mod ladder;
mod measure;
mod power_cut;
mod sim;
mod sockets;
mod tasks;

use super::cores::CorePlan;
use super::{Engine, IoEngine, LocalBoxFuture, PanicPolicy, ShardId, probe};
use std::future::Future;

/// Engines to run on here.
fn engines() -> Vec<Engine> {
    let mut engines = vec![Engine::Posix];
    match probe::choose(IoEngine::Uring, 2) {
        Ok(_) => engines.push(Engine::Uring),
        Err(refused) => println!("not run on uring: {refused}"),
    }
    engines
}

/// Runs `main` on every engine, with one shard and with two, and waits until all shards have ended.
fn on_all<F>(main: impl Fn(ShardId) -> F + Send + Clone + 'static)
where
    F: Future<Output = ()> + 'static,
{
    for engine in engines() {
        for shards in [1, 2] {
            println!("{engine}, {shards} shards");
            run(engine, shards, main.clone());
        }
    }
}

fn run<F>(engine: Engine, shards: u16, main: impl Fn(ShardId) -> F + Send + Clone + 'static)
where
    F: Future<Output = ()> + 'static,
{
    super::on_shard_panic(PanicPolicy::Report);
    let boxed = move |shard| -> LocalBoxFuture<'static, ()> { Box::pin(main(shard)) };
    let executors = super::start(engine, &CorePlan::unpinned(shards), boxed).unwrap();
    if let Err(panicked) = executors.join() {
        panic!("{panicked}");
    }
}
