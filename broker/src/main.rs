//! Entry point of `millrace-broker`: arguments, then `node`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use broker::config::{self, Config};
use broker::node::{Node, Signals};
use broker::rt::file::Disk;
use broker::rt::limits;
use broker::telemetry::{self, LogFormat};
use clap::Parser;
use protocol::properties::{Kind, broker_property};

/// How long an orderly stop may take.
const STOP_WITHIN: Duration = Duration::from_secs(30);

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A broker that speaks the Kafka protocol. Properties are Kafka's; CONFIGURATION.md lists them. The command line wins
/// over the environment (KAFKA_LOG_DIRS is log.dirs), which wins over the file.
#[derive(Parser)]
#[command(name = "millrace-broker", version)]
struct Arguments {
    /// Properties file, as Kafka's server.properties.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// One property, over file and environment; may be repeated.
    #[arg(long = "override", value_name = "NAME=VALUE")]
    overrides: Vec<String>,
    /// Check the configuration, print the properties that were given, and end.
    #[arg(long)]
    print_config: bool,
    /// How lines of the log look.
    #[arg(long, value_enum, default_value_t, env = "MILLRACE_LOG_FORMAT")]
    log_format: LogFormat,
}

fn main() -> ExitCode {
    limits::small_pages_only();
    let arguments = Arguments::parse();
    if let Some(complaint) = telemetry::init(arguments.log_format) {
        tracing::warn!("{complaint}");
    }
    let config = match config::load(arguments.config.as_deref(), &arguments.overrides) {
        Ok(config) => config,
        Err(errors) => return fail(&errors),
    };
    if arguments.print_config {
        print(&config);
        return ExitCode::SUCCESS;
    }
    for note in &config.notes {
        tracing::info!("{note}");
    }
    run(config)
}

/// Runs a broker until a signal ends it. The first one stops it in order, the second one at once: what was acknowledged is
/// on disk, so only time is lost.
fn run(config: Config) -> ExitCode {
    let signals = match Signals::new() {
        Ok(signals) => signals,
        Err(error) => return fail(&format!("listen for signals: {error}")),
    };
    let (stop, stopping) = mpsc::channel();
    let started = Arc::new(AtomicBool::new(false));
    let has_started = started.clone();
    std::thread::spawn(move || {
        signals.wait();
        if has_started.load(Ordering::SeqCst) && stop.send(()).is_ok() {
            signals.wait_for_second(STOP_WITHIN);
        }
        // Also while it starts: nothing is promised to anybody yet that is not on disk.
        eprintln!("millrace-broker: ended at once; the next start recovers");
        std::process::exit(1);
    });
    let node = match Node::start(config, Disk::real()) {
        Ok(node) => node,
        Err(error) => return fail(&error),
    };
    started.store(true, Ordering::SeqCst);
    // The thread that sends lives as long as the process.
    let _ = stopping.recv();
    tracing::info!("stopping");
    match node.stop_to_exit() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

/// Said on stderr whatever the log's filter is: a start that fails must never be silent.
fn fail(why: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("millrace-broker: {why}");
    ExitCode::FAILURE
}

fn print(config: &Config) {
    for note in &config.notes {
        println!("# {note}");
    }
    for (name, value) in config.given.iter() {
        let is_secret = broker_property(name).is_some_and(|property| property.kind == Kind::Password);
        println!("{name}={}", if is_secret { "(hidden)" } else { value });
    }
}
