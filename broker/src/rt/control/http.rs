//! HTTP of the control plane on [`super::net`], with the control plane's own tasks and sockets: gRPC between brokers and to
//! the operator (HTTP/2), health and metrics (HTTP/1). So all of it runs in a simulated world as it does on a network;
//! tonic's and axum's own transports name tokio and cannot.
//!
//! Owns connections: how many are served, when one is made anew. Leaves messages to tonic's generated code and to axum, and
//! deadlines to the callers: a call that is dropped is cancelled.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tonic::body::Body;
use tower::Service;

use super::net::{Listener, Stream};
use super::{ControlHandle, ControlTask, spawn};

/// Connections served at once by one server; more are closed at once.
const MOST_CONNECTIONS: usize = 512;
/// Streams of one connection at once.
const MOST_STREAMS: u32 = 256;

/// HTTP/2's own tasks are tasks of the control plane.
#[derive(Clone, Copy)]
struct Tasks;

impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, future: F) {
        drop(spawn(async move {
            future.await;
        }));
    }
}

/// A server that answers on one address. Dropping it lets it run on; [`Server::stop`] ends it.
pub struct Server {
    /// Where it listens, with the real port.
    pub address: SocketAddr,
    task: ControlTask<()>,
    open: Arc<Mutex<Vec<ControlTask<()>>>>,
}

impl Server {
    /// Takes no more connections, and drops those that are open with what they are about.
    pub fn stop(&self) {
        self.task.abort();
        for connection in self.open.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            connection.abort();
        }
    }
}

/// What is spoken on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.1, for probes and Prometheus.
    One,
    /// HTTP/2, for gRPC.
    Two,
}

/// Serves `service`, a tonic server or an axum router, to everybody who connects.
pub fn serve<S, B>(
    control: &ControlHandle,
    listener: Listener,
    version: Version,
    service: S,
) -> io::Result<Server>
where
    S: Service<http::Request<Incoming>, Response = http::Response<B>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send + 'static,
    B: hyper::body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let address = listener.local_addr()?;
    let open: Arc<Mutex<Vec<ControlTask<()>>>> = Arc::default();
    let connections = open.clone();
    let task = control.spawn(async move {
        let count = Arc::new(AtomicUsize::new(0));
        loop {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a connection of the control plane was not accepted");
                    super::sleep(std::time::Duration::from_millis(50)).await;
                    continue;
                }
            };
            if count.load(Ordering::Relaxed) >= MOST_CONNECTIONS {
                tracing::warn!(
                    limit = MOST_CONNECTIONS,
                    "the control port has too many connections; one is refused"
                );
                continue;
            }
            count.fetch_add(1, Ordering::Relaxed);
            let (service, count) = (service.clone(), count.clone());
            let connection = spawn(async move {
                let (stream, service) = (TokioIo::new(stream), TowerToHyperService::new(service));
                let served = match version {
                    Version::One => {
                        hyper::server::conn::http1::Builder::new()
                            .auto_date_header(false)
                            .serve_connection(stream, service)
                            .await
                    }
                    Version::Two => {
                        hyper::server::conn::http2::Builder::new(Tasks)
                            .auto_date_header(false)
                            .max_concurrent_streams(MOST_STREAMS)
                            .serve_connection(stream, service)
                            .await
                    }
                };
                count.fetch_sub(1, Ordering::Relaxed);
                if let Err(error) = served {
                    tracing::debug!(%error, "a connection of the control plane ended");
                }
            });
            let mut open = connections.lock().unwrap_or_else(PoisonError::into_inner);
            open.retain(|connection| !connection.is_finished());
            open.push(connection);
        }
    });
    Ok(Server { address, task, open })
}

/// Why a call did not reach its peer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error("no connection to {address}: {error}")]
    Connect { address: Arc<str>, error: io::Error },
    #[error("the connection to {address} failed: {error}")]
    Http { address: Arc<str>, error: hyper::Error },
}

/// One peer, connected when it is first asked and again when the connection is gone. A clone shares the connection.
#[derive(Clone)]
pub struct Channel(Arc<Peer>);

struct Peer {
    address: Arc<str>,
    connection: super::sync::Mutex<Option<SendRequest<Body>>>,
}

impl Channel {
    /// To `host:port`; not connected yet.
    pub fn new(address: &str) -> Channel {
        Channel(Arc::new(Peer {
            address: address.into(),
            connection: super::sync::Mutex::new(None),
        }))
    }

    /// Where it goes.
    pub fn address(&self) -> &Arc<str> {
        &self.0.address
    }

    /// What tonic's clients want to know beside the channel.
    pub fn origin(&self) -> http::Uri {
        let uri = format!("http://{}", self.0.address);
        uri.parse()
            .unwrap_or_else(|_| http::Uri::from_static("http://peer"))
    }

    /// Forgets the connection: for a peer that did not answer in time, whose end may be gone without a word.
    pub async fn reconnect(&self) {
        *self.0.connection.lock().await = None;
    }

    async fn connected(&self) -> Result<SendRequest<Body>, CallError> {
        let mut connection = self.0.connection.lock().await;
        if let Some(open) = connection.as_ref().filter(|open| !open.is_closed()) {
            return Ok(open.clone());
        }
        *connection = None;
        let address = || self.0.address.clone();
        let stream = Stream::connect(&self.0.address).await;
        let stream = stream.map_err(|error| CallError::Connect {
            address: address(),
            error,
        })?;
        let (open, driver) = hyper::client::conn::http2::Builder::new(Tasks)
            // The library forgets calls that were given up by the machine's clock, which no simulated world may see: it
            // forgets them at once, and late answers to them are no reason to end the connection.
            .max_concurrent_reset_streams(0)
            .max_local_error_reset_streams(None)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| CallError::Http {
                address: address(),
                error,
            })?;
        drop(spawn(async move {
            // Ends when the peer closes, or nobody holds the channel. Calls under way say what happened.
            let _ = driver.await;
        }));
        *connection = Some(open.clone());
        Ok(open)
    }
}

impl Service<http::Request<Body>> for Channel {
    type Response = http::Response<Incoming>;
    type Error = CallError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, CallError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), CallError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let channel = self.clone();
        Box::pin(async move {
            let mut open = channel.connected().await?;
            let sent = open.send_request(request).await;
            sent.map_err(|error| CallError::Http {
                address: channel.0.address.clone(),
                error,
            })
        })
    }
}
