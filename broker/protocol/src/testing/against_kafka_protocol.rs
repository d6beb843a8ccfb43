//! A second opinion: generated values that we encode are read and written again by the crate `kafka-protocol`, which
//! shares no code with ours. Its bytes must be ours, for every API and version that it knows.

use bytes::{Bytes, BytesMut};
use kafka_protocol::protocol::{Decodable, Encodable, Message as Theirs};

use super::{Random, Sample};
use crate::{ApiKey, Encoder, Message};

const SEEDS: u64 = 10;

/// Returns how many messages were compared.
fn compare<Ours: Message + Sample, Other: Theirs + Decodable + Encodable>(key: ApiKey) -> usize {
    let mut compared = 0;
    for version in key.versions() {
        if version < Other::VERSIONS.min || version > Other::VERSIONS.max {
            continue;
        }
        for seed in 0..SEEDS {
            let mut out = Encoder::new();
            Ours::sample(&mut Random::new(seed), version)
                .encode(version, &mut out)
                .unwrap();
            let ours: Bytes = out.finish().into_bytes();
            let mut rest = ours.clone();
            let said = |what: &str| format!("{} v{version} seed {seed}: {what}", Ours::NAME);
            let value =
                Other::decode(&mut rest, version).unwrap_or_else(|e| panic!("{}", said(&e.to_string())));
            assert!(rest.is_empty(), "{}", said("they read less than we wrote"));
            let mut theirs = BytesMut::new();
            value
                .encode(&mut theirs, version)
                .unwrap_or_else(|e| panic!("{}", said(&e.to_string())));
            assert_eq!(theirs.freeze(), ours, "{}", said("they write other bytes"));
            compared += 1;
        }
    }
    compared
}

#[test]
fn another_implementation_reads_and_writes_the_same_bytes() {
    let mut compared = 0;
    macro_rules! one {
        // Not in the crate.
        (StreamsGroupHeartbeat, $request:ident, $response:ident) => {};
        (StreamsGroupDescribe, $request:ident, $response:ident) => {};
        (StreamsGroupTopologyDescriptionUpdate, $request:ident, $response:ident) => {};
        (UnregisterController, $request:ident, $response:ident) => {};
        ($name:ident, $request:ident, $response:ident) => {
            compared +=
                compare::<crate::messages::$request, kafka_protocol::messages::$request>(ApiKey::$name);
            compared +=
                compare::<crate::messages::$response, kafka_protocol::messages::$response>(ApiKey::$name);
        };
    }
    for_each_api!(one);
    assert!(compared > 4000, "only {compared} messages were compared");
}
