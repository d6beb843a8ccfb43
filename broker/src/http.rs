//! The HTTP port: `/healthz`, `/readyz` with reasons, `/metrics` for Prometheus. It opens before anything else, so that a
//! start that hangs can be asked why.
//!
//! Owns the list of start steps ([`Health`]) and the registry of what is measured ([`Metrics`]). Leaves measuring to
//! those who do the work: they hand in closures that read their own counters, from any thread, without waiting.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::rt::control::ControlHandle;
use crate::rt::control::http::{self, Server, Version};
use crate::rt::control::net::Listener;
use crate::rt::{Instant, now};

/// What the broker has yet to do before clients may come, and whether it is well. Clones share it.
#[derive(Clone)]
pub struct Health(Arc<Mutex<Steps>>);

struct Steps {
    open: Vec<Step>,
    /// Asked at every look: a reason in words while something is not as it should be.
    watches: Vec<Box<dyn Fn() -> Option<String> + Send + Sync>>,
    stopping: bool,
    failed: Option<String>,
}

struct Step {
    name: &'static str,
    /// How far it is, or what it waits for.
    progress: Option<String>,
}

impl Health {
    /// Not ready until each of `steps` is done; they are shown in this order.
    pub fn new(steps: &[&'static str]) -> Health {
        let step = |name: &&'static str| Step { name, progress: None };
        Health(Arc::new(Mutex::new(Steps {
            open: steps.iter().map(step).collect(),
            watches: Vec::new(),
            stopping: false,
            failed: None,
        })))
    }

    /// A step of the start is done.
    pub fn done(&self, step: &str) {
        self.lock().open.retain(|open| open.name != step);
    }

    /// How far a step is, or what it waits for, in words.
    pub fn progress(&self, step: &str, words: impl Into<String>) {
        let mut steps = self.lock();
        if let Some(open) = steps.open.iter_mut().find(|open| open.name == step) {
            open.progress = Some(words.into());
        }
    }

    /// Adds a condition that can come and go: not ready while it gives a reason. Asked from any thread.
    pub fn watch(&self, reason: impl Fn() -> Option<String> + Send + Sync + 'static) {
        self.lock().watches.push(Box::new(reason));
    }

    /// From now on not ready: this broker is on its way down.
    pub fn stopping(&self) {
        self.lock().stopping = true;
    }

    /// From now on not alive either: only a restart helps.
    pub fn failed(&self, words: impl Into<String>) {
        self.lock().failed.get_or_insert(words.into());
    }

    /// Why this broker is not ready; empty when it is.
    pub fn not_ready(&self) -> Vec<String> {
        let steps = self.lock();
        let mut reasons: Vec<String> = steps
            .failed
            .iter()
            .map(|words| format!("failed: {words}"))
            .collect();
        if steps.stopping {
            reasons.push("stopping".into());
        }
        reasons.extend(steps.open.iter().map(|step| match &step.progress {
            Some(words) => format!("{}: {words}", step.name),
            None => step.name.to_string(),
        }));
        reasons.extend(steps.watches.iter().filter_map(|watch| watch()));
        reasons
    }

    /// Why this broker cannot go on; none while it is alive.
    pub fn failure(&self) -> Option<String> {
        self.lock().failed.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Steps> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a [`Sample`] counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows; its name is written with `_total`.
    Counter,
    Gauge,
}

/// One number as it is now.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// With unit, without `_total`, for example `millrace_produce_bytes`. Samples of one name share help and kind.
    pub name: &'static str,
    pub help: &'static str,
    pub kind: Kind,
    pub labels: Vec<(&'static str, String)>,
    pub value: f64,
}

/// Where samples come from: called at every scrape, from a thread of the control plane; must not wait.
pub type Source = Box<dyn Fn() -> Vec<Sample> + Send + Sync>;

/// What is measured. Clones share it.
#[derive(Clone, Default)]
pub struct Metrics(Arc<Mutex<Vec<Source>>>);

impl Metrics {
    /// With what every process tells: version, uptime, resident memory, readiness.
    pub fn new(version: &'static str, started: Instant, health: &Health) -> Metrics {
        let metrics = Metrics::default();
        let health = health.clone();
        metrics.add(Box::new(move || {
            let gauge = |name, help, labels, value| Sample {
                name,
                help,
                kind: Kind::Gauge,
                labels,
                value,
            };
            let build = vec![("version", version.to_string())];
            let ready = f64::from(u8::from(health.not_ready().is_empty()));
            vec![
                gauge(
                    "millrace_build_info",
                    "Version of this broker; always 1",
                    build,
                    1.0,
                ),
                gauge(
                    "millrace_uptime_seconds",
                    "Since the process started",
                    vec![],
                    (now() - started).as_secs_f64(),
                ),
                gauge("millrace_ready", "1 when clients may come", vec![], ready),
                gauge(
                    "process_resident_memory_bytes",
                    "Memory in use",
                    vec![],
                    resident_bytes() as f64,
                ),
            ]
        }));
        metrics
    }

    /// Names the engine the broker runs on, and why.
    pub fn engine(&self, engine: &'static str, reason: impl Into<String>) {
        let reason = reason.into();
        self.add(Box::new(move || {
            vec![Sample {
                name: "millrace_io_engine_info",
                help: "Engine of the data plane and why it was chosen; always 1",
                kind: Kind::Gauge,
                labels: vec![("engine", engine.to_string()), ("reason", reason.clone())],
                value: 1.0,
            }]
        }));
    }

    /// Adds a source of samples.
    pub fn add(&self, source: Source) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(source);
    }

    /// Everything, in Prometheus' text format.
    pub fn render(&self) -> Result<String, fmt::Error> {
        let mut samples: Vec<Sample> = {
            let sources = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            sources.iter().flat_map(|source| source()).collect()
        };
        // A family must stand together.
        samples.sort_by(|one, other| one.name.cmp(other.name));
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Scrape(samples)));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry)?;
        Ok(text)
    }
}

/// The samples of one scrape, sorted by name.
#[derive(Debug)]
struct Scrape(Vec<Sample>);

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for family in self.0.chunk_by(|one, other| one.name == other.name) {
            let first = &family[0];
            let kind = match first.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
            };
            let mut encoder = encoder.encode_descriptor(first.name, first.help, None, kind)?;
            for sample in family {
                encode_sample(sample, &mut encoder)?;
            }
        }
        Ok(())
    }
}

fn encode_sample(sample: &Sample, encoder: &mut MetricEncoder<'_>) -> Result<(), fmt::Error> {
    let labels: Vec<(&str, &str)> = sample
        .labels
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let encode = |encoder: MetricEncoder<'_>| match sample.kind {
        Kind::Counter => ConstCounter::new(sample.value).encode(encoder),
        Kind::Gauge => ConstGauge::new(sample.value).encode(encoder),
    };
    if labels.is_empty() {
        // An empty label set would be written as `{}`.
        return match sample.kind {
            Kind::Counter => encoder.encode_counter::<NoLabelSet, _, f64>(&sample.value, None),
            Kind::Gauge => encoder.encode_gauge(&sample.value),
        };
    }
    encode(encoder.encode_family(&labels)?)
}

/// Resident memory of this process, in bytes; 0 where the system does not tell.
pub fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = status.lines().find_map(|line| {
        line.strip_prefix("VmRSS:")?
            .trim()
            .strip_suffix("kB")?
            .trim()
            .parse()
            .ok()
    });
    kib.unwrap_or(0u64) * 1024
}

/// Opens the port. An address that stays in use is an error after two seconds.
pub async fn serve(
    control: &ControlHandle,
    address: SocketAddr,
    health: Health,
    metrics: Metrics,
) -> io::Result<Server> {
    let listener = Listener::bind(address).await?;
    let routes = Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(scrape))
        .with_state((health, metrics));
    http::serve(control, listener, Version::One, routes)
}

type Shared = (Health, Metrics);

async fn healthz(State((health, _)): State<Shared>) -> impl IntoResponse {
    match health.failure() {
        None => (StatusCode::OK, "ok\n".to_string()),
        Some(words) => (StatusCode::SERVICE_UNAVAILABLE, format!("{words}\n")),
    }
}

async fn readyz(State((health, _)): State<Shared>) -> impl IntoResponse {
    let reasons = health.not_ready();
    if reasons.is_empty() {
        return (StatusCode::OK, "ready\n".to_string());
    }
    (
        StatusCode::SERVICE_UNAVAILABLE,
        format!("not ready\n{}\n", reasons.join("\n")),
    )
}

async fn scrape(State((_, metrics)): State<Shared>) -> impl IntoResponse {
    let format = [(
        header::CONTENT_TYPE,
        "application/openmetrics-text; version=1.0.0; charset=utf-8",
    )];
    match metrics.render() {
        Ok(text) => (StatusCode::OK, format, text),
        Err(error) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            format,
            format!("metrics cannot be written: {error}\n"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use std::io::{Read, Write};
    use std::net::TcpStream;

    use super::*;
    use crate::rt::control::Control;

    fn get(address: SocketAddr, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(address).unwrap();
        stream
            .write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes())
            .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_string())
    }

    #[test]
    fn readiness_names_every_step_until_it_is_done() {
        let control = Control::start(1).unwrap();
        let handle = control.handle();
        let health = Health::new(&["logs are opened", "metadata quorum has a leader"]);
        let metrics = Metrics::new("1.2.3", now(), &health);
        let serving = serve(&handle, "127.0.0.1:0".parse().unwrap(), health.clone(), metrics);
        let server = control.block_on(serving).unwrap();
        let readyz = || get(server.address, "/readyz");

        health.progress("logs are opened", "3 of 10");
        let (status, body) = readyz();
        assert_eq!(status, 503);
        assert!(
            body.contains("logs are opened: 3 of 10\nmetadata quorum has a leader"),
            "{body}"
        );
        health.done("logs are opened");
        assert!(!readyz().1.contains("logs"));
        health.done("metadata quorum has a leader");
        assert_eq!(readyz(), (200, "ready\n".to_string()));

        let broken = Arc::new(Mutex::new(Some("no leader".to_string())));
        let watched = broken.clone();
        health.watch(move || watched.lock().unwrap().clone());
        assert_eq!(readyz(), (503, "not ready\nno leader\n".to_string()));
        *broken.lock().unwrap() = None;
        assert_eq!(readyz().0, 200);
        assert_eq!(get(server.address, "/healthz").0, 200);

        health.failed("the disk is gone");
        assert_eq!(
            get(server.address, "/healthz"),
            (503, "the disk is gone\n".to_string())
        );
        assert_eq!(get(server.address, "/nowhere").0, 404);
        server.stop();
        control.shutdown(Duration::from_secs(5));
    }

    #[test]
    fn a_port_that_comes_free_is_taken_and_one_that_does_not_is_an_error() {
        let control = Control::start(1).unwrap();
        let handle = control.handle();
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let health = Health::new(&[]);
        let metrics = Metrics::new("1.2.3", now(), &health);
        let serving = control.block_on(serve(&handle, address, health.clone(), metrics.clone()));
        assert_eq!(
            serving.err().map(|error| error.kind()),
            Some(io::ErrorKind::AddrInUse)
        );
        let opening = control.handle().spawn(async move {
            let handle = handle;
            serve(&handle, address, health, metrics).await
        });
        drop(taken);
        let server = control.block_on(opening.join()).unwrap().unwrap();
        assert_eq!(get(address, "/readyz").0, 200);
        server.stop();
        control.shutdown(Duration::from_secs(5));
    }

    #[test]
    fn metrics_are_text_that_prometheus_reads() {
        let health = Health::new(&[]);
        let metrics = Metrics::new("1.2.3", now(), &health);
        metrics.engine("posix", "SeccompDenied");
        for shard in ["0", "1"] {
            metrics.add(Box::new(move || {
                vec![Sample {
                    name: "millrace_produce_records",
                    help: "Records produced",
                    kind: Kind::Counter,
                    labels: vec![("shard", shard.to_string())],
                    value: 7.0,
                }]
            }));
        }
        let text = metrics.render().unwrap();
        for line in [
            "millrace_build_info{version=\"1.2.3\"} 1.0",
            "millrace_io_engine_info{engine=\"posix\",reason=\"SeccompDenied\"} 1.0",
            "millrace_produce_records_total{shard=\"0\"} 7.0",
            "millrace_produce_records_total{shard=\"1\"} 7.0",
            "# TYPE millrace_produce_records counter",
            "millrace_ready 1.0",
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{line} is missing in\n{text}"
            );
        }
        assert_eq!(text.matches("# TYPE millrace_produce_records").count(), 1);
        assert!(resident_bytes() > 1 << 20);
    }
}
