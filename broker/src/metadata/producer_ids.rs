//! Producer ids, handed to brokers in blocks so that InitProducerId needs the quorum once in a thousand times.

use protocol::error_code::ErrorCode;
use protocol::ids::{NodeId, ProducerId};

use super::{ItemError, MetadataImage, Outcome, ProducerIdBlock, Reply, record};

/// Ids in one block, as in Kafka.
pub const BLOCK_LEN: i64 = 1000;

/// The next block. What a broker does not use of its block before it stops is never used: ids are never given twice.
pub(super) fn allocate(image: &MetadataImage, node: NodeId) -> Outcome {
    let first = image.next_producer_id;
    let refused = if image.broker(node).is_none() {
        let message = format!("broker {node} is not registered and gets no producer ids");
        Some(ItemError::new(ErrorCode::BrokerIdNotRegistered, message))
    } else if first.checked_add(BLOCK_LEN).is_none() {
        Some(ItemError::new(
            ErrorCode::UnknownServerError,
            "all producer ids are used up",
        ))
    } else {
        None
    };
    if let Some(error) = refused {
        return Outcome {
            records: Vec::new(),
            reply: Reply::AllocateProducerIds(Err(error)),
        };
    }
    let next = first + BLOCK_LEN;
    Outcome {
        records: vec![record::ProducerIds { next }.into()],
        reply: Reply::AllocateProducerIds(Ok(ProducerIdBlock {
            first: ProducerId(first),
            len: BLOCK_LEN,
        })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::Request;
    use crate::metadata::fixtures::{done, image};

    #[test]
    fn blocks_follow_each_other_and_strangers_get_none() {
        let mut image = image(2);
        for (node, expected) in [(0, 0), (1, 1000), (0, 2000)] {
            let reply = done(&mut image, &Request::AllocateProducerIds { node: NodeId(node) });
            let block = ProducerIdBlock {
                first: ProducerId(expected),
                len: BLOCK_LEN,
            };
            assert_eq!(reply, Reply::AllocateProducerIds(Ok(block)));
        }
        let reply = done(&mut image, &Request::AllocateProducerIds { node: NodeId(7) });
        assert!(matches!(reply, Reply::AllocateProducerIds(Err(_))));
        assert_eq!(image.next_producer_id, 3000);
    }
}
