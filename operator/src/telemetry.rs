//! Logs, metrics and health of the operator.

use axum::http::StatusCode;
use axum::routing::get;
use prometheus_client::encoding::{EncodeLabelSet, text::encode};
use prometheus_client::metrics::{counter::Counter, family::Family, gauge::Gauge};
use prometheus_client::registry::Registry;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What is counted. Cheap to clone; any thread.
#[derive(Clone, Default)]
pub struct Telemetry {
    /// Looks at resources, by controller and outcome.
    pub reconciliations: Family<Look, Counter>,
    /// 1 while this process holds the Lease.
    pub leader: Gauge,
    /// All caches are filled.
    pub ready: Arc<AtomicBool>,
}

/// Labels of `reconciliations`.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Look {
    /// cluster or topic.
    pub controller: &'static str,
    /// ok or the step that failed.
    pub outcome: &'static str,
}

impl Telemetry {
    /// Counts one look.
    pub fn looked(&self, controller: &'static str, outcome: &'static str) {
        self.reconciliations
            .get_or_create(&Look { controller, outcome })
            .inc();
    }

    /// Serves /metrics, /healthz (the process answers) and /readyz (its caches are filled) until the process ends.
    pub async fn serve_at(self, address: String) -> std::io::Result<()> {
        let mut registry = Registry::with_prefix("millrace_operator");
        registry.register(
            "reconciliations",
            "Looks at resources",
            self.reconciliations.clone(),
        );
        registry.register(
            "leader",
            "1 while this process holds the Lease",
            self.leader.clone(),
        );
        let registry = Arc::new(registry);
        let ready = self.ready.clone();
        let metrics = move || {
            let mut text = String::new();
            let encoded = encode(&mut text, &registry);
            std::future::ready(match encoded {
                Ok(()) => (StatusCode::OK, text),
                Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
            })
        };
        let readiness = move || {
            std::future::ready(match ready.load(Ordering::Acquire) {
                true => (StatusCode::OK, "ready\n"),
                false => (
                    StatusCode::SERVICE_UNAVAILABLE,
                    "the first lists of all watches are not complete\n",
                ),
            })
        };
        let router = axum::Router::new()
            .route("/metrics", get(metrics))
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/readyz", get(readiness));
        let listener = tokio::net::TcpListener::bind(address).await?;
        axum::serve(listener, router).await
    }
}

/// Log lines on standard error, filtered by RUST_LOG.
pub fn start_logs() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
}
