//! Leader election by a Lease, and the fence that every write of this process passes.
//!
//! No clock of another machine is believed: a holder counts its own time from before it asked for the renewal, a candidate
//! counts from when it saw the Lease change last. The holder stops writing well before a candidate may start. The clock is
//! monotonic and goes on while the process is stopped, so one that was stopped for longer than its Lease writes nothing
//! when it goes on: the fence stands in the HTTP client itself, in front of every request that is not a read.

use http::Method;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, ObjectMeta, PostParams};
use std::future::{Ready, ready};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tower::{BoxError, Layer, Service};

/// Name of the Lease.
pub const NAME: &str = "millrace-operator";

/// Says whether this process may write now. Cheap to clone; any thread.
#[derive(Clone)]
pub struct Guard {
    until: Arc<Mutex<Option<Instant>>>,
    held: watch::Sender<bool>,
}

impl Guard {
    fn closed() -> Guard {
        Guard {
            until: Arc::default(),
            held: watch::Sender::new(false),
        }
    }

    /// A guard that is always open: one operator only, by the user's word.
    pub fn open() -> Guard {
        let guard = Guard::closed();
        guard.set(Some(Instant::now() + Duration::from_secs(100 * 365 * 86_400)));
        guard
    }

    /// May this process write at this moment?
    pub fn may_write(&self) -> bool {
        let until = *self
            .until
            .lock()
            .expect("no code panics while it holds the guard");
        until.is_some_and(|until| Instant::now() < until)
    }

    /// Follows becoming and ceasing to be the leader.
    pub fn follow(&self) -> watch::Receiver<bool> {
        self.held.subscribe()
    }

    fn set(&self, until: Option<Instant>) {
        *self
            .until
            .lock()
            .expect("no code panics while it holds the guard") = until;
        self.held
            .send_if_modified(|held| std::mem::replace(held, until.is_some()) != until.is_some());
    }
}

/// Puts the fence in front of a client.
#[derive(Clone)]
pub struct FenceLayer(pub Guard);

impl<S> Layer<S> for FenceLayer {
    type Service = Fence<S>;

    fn layer(&self, inner: S) -> Fence<S> {
        Fence {
            inner,
            guard: self.0.clone(),
        }
    }
}

/// Refuses writes while the Lease is not ours.
#[derive(Clone)]
pub struct Fence<S> {
    inner: S,
    guard: Guard,
}

/// The refusal.
#[derive(Debug, thiserror::Error)]
#[error("the Lease is not held; nothing was sent")]
pub struct Fenced;

impl<S, B> Service<http::Request<B>> for Fence<S>
where
    S: Service<http::Request<B>>,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = futures::future::Either<
        Ready<Result<S::Response, BoxError>>,
        futures::future::ErrInto<S::Future, BoxError>,
    >;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        use futures::TryFutureExt;
        let reads = request.method() == Method::GET;
        if !reads && !self.guard.may_write() {
            return futures::future::Either::Left(ready(Err(Fenced.into())));
        }
        futures::future::Either::Right(self.inner.call(request).err_into())
    }
}

/// What a look at the Lease says to do. Pure, so that every case is in a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Move {
    /// There is none, it was given up, or its holder has been silent for too long.
    Take,
    /// It is ours.
    Renew,
    /// Somebody else's.
    Wait,
}

/// `silent`: for how long the Lease has not changed as seen from here.
fn next_move(lease: &LeaseSpec, own: &str, silent: Duration) -> Move {
    let holder = lease.holder_identity.as_deref().unwrap_or_default();
    let seconds = lease
        .lease_duration_seconds
        .and_then(|seconds| u64::try_from(seconds).ok())
        .unwrap_or(0);
    if holder == own {
        Move::Renew
    } else if holder.is_empty() || silent >= Duration::from_secs(seconds) {
        Move::Take
    } else {
        Move::Wait
    }
}

/// Takes part in the election.
pub struct Election {
    api: Api<Lease>,
    identity: String,
    duration: Duration,
    guard: Guard,
    seen: Option<(Lease, Instant)>,
}

impl Election {
    /// `client` is not fenced: the Lease itself is written by who does not hold it yet.
    pub fn new(client: kube::Client, namespace: &str, identity: &str, duration: Duration) -> Election {
        Election {
            api: Api::namespaced(client, namespace),
            identity: identity.to_owned(),
            duration,
            guard: Guard::closed(),
            seen: None,
        }
    }

    /// The guard of everything that writes.
    pub fn guard(&self) -> Guard {
        self.guard.clone()
    }

    /// Takes and renews the Lease until `stop` ends, then gives it up so that another need not wait.
    pub async fn run(mut self, stop: impl Future<Output = ()>) {
        let mut stop = std::pin::pin!(stop);
        loop {
            let pause = match tokio::time::timeout(self.duration / 3, self.turn()).await {
                Ok(Ok(())) => self.duration / 5,
                Ok(Err(error)) => {
                    tracing::warn!(%error, "the Lease could not be read or written");
                    Duration::from_secs(1)
                }
                Err(_) => Duration::ZERO,
            };
            // Out of time without a renewal: whoever follows the guard stops; the fence is closed already.
            if !self.guard.may_write() && *self.guard.held.borrow() {
                tracing::warn!("the Lease could not be renewed in time; not writing any more");
                self.guard.set(None);
            }
            tokio::select! {
                () = &mut stop => break,
                () = tokio::time::sleep(pause) => {}
            }
        }
        self.give_up().await;
    }

    async fn turn(&mut self) -> Result<(), kube::Error> {
        let asked = Instant::now();
        let Some(found) = self.api.get_opt(NAME).await? else {
            let lease = Lease {
                metadata: ObjectMeta {
                    name: Some(NAME.to_owned()),
                    ..ObjectMeta::default()
                },
                spec: Some(self.spec(None)),
            };
            let made = self.api.create(&PostParams::default(), &lease).await?;
            self.won(made, asked, "taken");
            return Ok(());
        };
        let changed = self
            .seen
            .as_ref()
            .is_none_or(|(seen, _)| seen.metadata.resource_version != found.metadata.resource_version);
        if changed {
            self.seen = Some((found.clone(), asked));
        }
        let silent = self
            .seen
            .as_ref()
            .map_or(Duration::ZERO, |(_, since)| asked.duration_since(*since));
        let spec = found.spec.clone().unwrap_or_default();
        match next_move(&spec, &self.identity, silent) {
            Move::Wait => {
                if *self.guard.held.borrow() {
                    tracing::warn!(
                        holder = spec.holder_identity.as_deref(),
                        "somebody else took the Lease"
                    );
                    self.guard.set(None);
                }
            }
            // The resource version that was read goes along: of two who try, one is refused.
            what @ (Move::Take | Move::Renew) => {
                let lease = Lease {
                    spec: Some(self.spec(Some(&spec))),
                    ..found
                };
                let written = self.api.replace(NAME, &PostParams::default(), &lease).await?;
                self.won(
                    written,
                    asked,
                    if what == Move::Take { "taken" } else { "renewed" },
                );
            }
        }
        Ok(())
    }

    /// The time in which we may write counts from before the request, and ends a third of the Lease early.
    fn won(&mut self, lease: Lease, asked: Instant, how: &str) {
        if how == "taken" {
            tracing::info!(identity = self.identity, "leader");
        }
        self.seen = Some((lease, asked));
        self.guard.set(Some(asked + self.duration * 2 / 3));
    }

    fn spec(&self, before: Option<&LeaseSpec>) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        let same = before.is_some_and(|before| before.holder_identity.as_deref() == Some(&self.identity));
        let (acquired, transitions) = match before {
            Some(before) if same => (before.acquire_time.clone(), before.lease_transitions),
            Some(before) => (Some(now.clone()), Some(before.lease_transitions.unwrap_or(0) + 1)),
            None => (Some(now.clone()), Some(0)),
        };
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(self.duration.as_secs()).ok(),
            acquire_time: acquired,
            renew_time: Some(now),
            lease_transitions: transitions,
            ..LeaseSpec::default()
        }
    }

    async fn give_up(&mut self) {
        let held = self.guard.may_write();
        self.guard.set(None);
        let Some((lease, _)) = self.seen.take().filter(|_| held) else {
            return;
        };
        let mut lease = lease;
        if let Some(spec) = &mut lease.spec {
            spec.holder_identity = Some(String::new());
        }
        if let Err(error) = self.api.replace(NAME, &PostParams::default(), &lease).await {
            tracing::warn!(%error, "the Lease was not given up; another operator waits until it ends");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moves() {
        let lease = |holder: &str| LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: Some(15),
            ..LeaseSpec::default()
        };
        let table = [
            ("me", 0, Move::Renew),
            ("me", 100, Move::Renew),
            ("", 0, Move::Take),
            ("other", 0, Move::Wait),
            ("other", 14, Move::Wait),
            ("other", 15, Move::Take),
        ];
        for (holder, silent, wanted) in table {
            assert_eq!(
                next_move(&lease(holder), "me", Duration::from_secs(silent)),
                wanted,
                "{holder} {silent}"
            );
        }
    }

    #[test]
    fn the_guard_closes_by_itself() {
        let guard = Guard::closed();
        assert!(!guard.may_write());
        guard.set(Some(Instant::now() + Duration::from_secs(60)));
        assert!(guard.may_write());
        guard.set(Some(Instant::now()));
        assert!(!guard.may_write());
    }

    #[tokio::test]
    async fn the_fence_lets_reads_through_and_stops_writes() {
        let guard = Guard::closed();
        let service = tower::service_fn(|_: http::Request<()>| async { Ok::<_, BoxError>(()) });
        let mut fence = FenceLayer(guard.clone()).layer(service);
        let request = |method: Method| http::Request::builder().method(method).body(()).unwrap();
        assert!(fence.call(request(Method::GET)).await.is_ok());
        assert!(fence.call(request(Method::PATCH)).await.is_err());
        guard.set(Some(Instant::now() + Duration::from_secs(60)));
        assert!(fence.call(request(Method::PATCH)).await.is_ok());
    }
}
