//! What clients, operator and broker agree on: the Kafka protocol (every message of every version as data), record
//! batches, and the property tables. No runtime, no IO.

pub mod api_key;
pub mod coordinator_records;
pub mod error_code;
pub mod frame;
pub mod ids;
pub mod listener;
#[macro_use]
pub mod messages;
pub mod primitives;
pub mod properties;
pub mod record;
pub mod schema;
#[cfg(test)]
mod testing;
pub mod text;

pub use api_key::ApiKey;
pub use error_code::ErrorCode;
pub use ids::{LeaderEpoch, NodeId, Offset, ProducerEpoch, ProducerId, TopicId, TopicPartition};
pub use messages::Request;
pub use primitives::{DecodeError, Decoder, EncodeError, Encoder, Frame, Str};
pub use schema::Message;
