//! Logs: which events are written, and how. Set up once, before anything else speaks.
//!
//! Counters are for the folders that count and for the HTTP port that renders them.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people: time, level, where, text.
    #[default]
    Text,
    /// One JSON object per line, for collectors.
    Json,
}

/// The variable that says which events are written, in `tracing`'s syntax: `info,broker::quorum=debug`.
pub const FILTER_VARIABLE: &str = "MILLRACE_LOG";

/// What is written when the variable is not set. The Raft library tells its whole inner life at `info`.
const DEFAULT_FILTER: &str = "info,openraft=error";

/// Writes events to stderr from now on. Returns what is wrong with the filter, if something is; the default holds then.
pub fn init(format: LogFormat) -> Option<String> {
    let given = std::env::var(FILTER_VARIABLE)
        .ok()
        .filter(|text| !text.is_empty());
    let (filter, complaint) = match given.as_deref().map(EnvFilter::try_new) {
        None => (EnvFilter::new(DEFAULT_FILTER), None),
        Some(Ok(filter)) => (filter, None),
        Some(Err(error)) => (
            EnvFilter::new(DEFAULT_FILTER),
            Some(format!("{FILTER_VARIABLE}: {error}")),
        ),
    };
    let registry = tracing_subscriber::registry().with(filter);
    let in_colour = std::io::IsTerminal::is_terminal(&std::io::stderr());
    // A second call, as in a process that runs several brokers in tests, leaves the first in place.
    let _ = match format {
        LogFormat::Text => registry
            .with(fmt::layer().with_ansi(in_colour).with_writer(std::io::stderr))
            .try_init(),
        LogFormat::Json => registry
            .with(fmt::layer().json().with_writer(std::io::stderr))
            .try_init(),
    };
    complaint
}
