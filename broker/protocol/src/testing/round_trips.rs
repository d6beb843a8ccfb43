//! Round trips of generated values: every message in every version, and the coordinators' records.

use std::fmt::Debug;
use std::ops::RangeInclusive;

use super::{Random, Sample};
use crate::{ApiKey, Decoder, Encoder, Message};

const SEEDS: u64 = 20;

fn round_trips<M: Message + Sample + PartialEq + Debug>(versions: RangeInclusive<i16>) {
    for version in versions {
        for seed in 0..SEEDS {
            let value = M::sample(&mut Random::new(seed), version);
            let mut out = Encoder::new();
            value
                .encode(version, &mut out)
                .unwrap_or_else(|e| panic!("{} v{version} seed {seed}: {e}", M::NAME));
            let frame = out.finish();
            assert_eq!(
                frame.len,
                frame.segments.iter().map(bytes::Bytes::len).sum::<usize>()
            );
            let mut input = Decoder::new(frame.into_bytes());
            let back = M::decode(&mut input, version);
            assert_eq!(back, Ok(value), "{} v{version} seed {seed}", M::NAME);
            assert_eq!(input.finish(), Ok(()), "{} v{version} seed {seed}", M::NAME);
        }
    }
}

#[test]
fn every_message_survives_the_wire() {
    macro_rules! one {
        ($name:ident, $request:ident, $response:ident) => {
            round_trips::<crate::messages::$request>(ApiKey::$name.versions());
            round_trips::<crate::messages::$response>(ApiKey::$name.versions());
        };
    }
    for_each_api!(one);
}

#[test]
fn every_coordinator_record_survives() {
    use crate::coordinator_records::{
        consumer_group::*, group_metadata::*, offset_commit::*, share_group::*, share_state::*,
        streams_group::*, transaction_log::*,
    };
    round_trips::<OffsetCommitKey>(0..=0);
    round_trips::<OffsetCommitValue>(0..=4);
    round_trips::<LegacyOffsetCommitValue>(0..=0);
    round_trips::<GroupMetadataKey>(0..=0);
    round_trips::<GroupMetadataValue>(0..=4);
    round_trips::<ConsumerGroupMemberMetadataValue>(0..=0);
    round_trips::<ConsumerGroupCurrentMemberAssignmentValue>(0..=0);
    round_trips::<ConsumerGroupTargetAssignmentMemberValue>(0..=0);
    round_trips::<ShareGroupStatePartitionMetadataValue>(0..=0);
    round_trips::<ShareSnapshotValue>(0..=0);
    round_trips::<ShareUpdateValue>(0..=0);
    round_trips::<StreamsGroupTopologyValue>(0..=0);
    round_trips::<StreamsGroupMemberMetadataValue>(0..=0);
    round_trips::<TransactionLogValue>(0..=1);
}
