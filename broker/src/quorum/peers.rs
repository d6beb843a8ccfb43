//! The other brokers' control ports: one connection each, and calls with a deadline.
//!
//! Owns who we say we are, and telling "nothing was sent" from "nobody knows whether it was done". Leaves what is said to
//! `network.rs` (Raft), `forward.rs` (changes), `joining.rs` and `liveness.rs`.

use std::collections::BTreeMap;
use std::error::Error;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ::admin::control as pb;
use ::admin::control::control_client::ControlClient;
use tonic::{Response, Status};

use super::types::Voter;
use super::wire;
use crate::rt::control;
use crate::rt::control::http::{CallError, Channel};

/// One peer's service.
pub(super) type Client = ControlClient<Channel>;

/// Why a peer gave no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum PeerError {
    /// Nothing was sent: nobody listens there, or the name means nothing.
    #[error("{0}")]
    Unreachable(String),
    /// It may have arrived.
    #[error("{0}")]
    Lost(String),
    /// It may have arrived, and the peer may be gone without a word.
    #[error("no answer from {0} within {1:?}")]
    TimedOut(Arc<str>, Duration),
    /// The peer refused in words.
    #[error("{address} refuses: {message}", message = status.message())]
    Refused { address: Arc<str>, status: Box<Status> },
}

/// Everybody we may call. Clones share the connections.
#[derive(Clone)]
pub(super) struct Peers(Arc<Shared>);

struct Shared {
    cluster_id: Arc<str>,
    here: Voter,
    channels: Mutex<BTreeMap<String, Channel>>,
}

impl Peers {
    /// As `here` of that cluster.
    pub(super) fn new(cluster_id: Arc<str>, here: Voter) -> Peers {
        Peers(Arc::new(Shared {
            cluster_id,
            here,
            channels: Mutex::default(),
        }))
    }

    pub(super) fn here(&self) -> Voter {
        self.0.here
    }

    pub(super) fn cluster_id(&self) -> &Arc<str> {
        &self.0.cluster_id
    }

    /// Who asks, and whom it means to ask.
    pub(super) fn caller(&self, to: Option<Voter>) -> pb::Caller {
        pb::Caller {
            version: wire::VERSION,
            oldest_version: wire::OLDEST_VERSION,
            cluster_id: self.0.cluster_id.to_string(),
            from: Some(wire::voter(self.0.here)),
            to: to.map(wire::voter),
        }
    }

    fn channel(&self, address: &str) -> Channel {
        let mut channels = self.0.channels.lock().unwrap_or_else(PoisonError::into_inner);
        channels
            .entry(address.to_string())
            .or_insert_with(|| Channel::new(address))
            .clone()
    }

    /// Calls the peer at `host:port`, and gives up after `within`.
    pub(super) async fn call<T, F>(
        &self,
        address: &str,
        within: Duration,
        call: impl FnOnce(Client) -> F,
    ) -> Result<T, PeerError>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let channel = self.channel(address);
        let client = ControlClient::with_origin(channel.clone(), channel.origin())
            .max_decoding_message_size(wire::MOST_BYTES)
            .max_encoding_message_size(wire::MOST_BYTES);
        match control::timeout(within, call(client)).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(peer_error(channel.address(), status)),
            Err(_) => {
                channel.reconnect().await;
                Err(PeerError::TimedOut(channel.address().clone(), within))
            }
        }
    }
}

fn peer_error(address: &Arc<str>, status: Status) -> PeerError {
    match status
        .source()
        .and_then(|source| source.downcast_ref::<CallError>())
    {
        Some(error @ CallError::Connect { .. }) => PeerError::Unreachable(error.to_string()),
        Some(error) => PeerError::Lost(error.to_string()),
        None if status.code() == tonic::Code::Unknown || status.code() == tonic::Code::Internal => {
            PeerError::Lost(format!("{address}: {}", status.message()))
        }
        None => PeerError::Refused {
            address: address.clone(),
            status: Box::new(status),
        },
    }
}
