//! Malformed input: every message of Kafka's own vectors, cut at every byte and with impossible lengths written over
//! every byte. Each must be an error or a message, never a panic, and must not cost memory beyond what came in: a
//! counting allocator watches every decode.
#![allow(unsafe_code, clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::BTreeMap;

use bytes::Bytes;
use protocol::primitives::MAX_DECODED_BYTES;
use protocol::{ApiKey, DecodeError, Decoder, Message};

struct Counting;

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn count(change: isize) {
    // A thread that is ending has no counters any more, and nothing to measure.
    let _ = LIVE.try_with(|live| {
        live.set(live.get() + change);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(live.get())));
    });
}

// SAFETY: every call is passed on unchanged to the system's allocator; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: as this function's own contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: as this function's own contract.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What a decode may have allocated at once, in multiples of the frame: an element of a few bytes on the wire is a
/// struct of some strings in memory, and a growing vector is there twice while it moves.
const MULTIPLE: usize = 64;
/// And this much whatever the frame's size, for the first small vectors.
const FREE: usize = 8 * 1024;

struct Vector {
    key: ApiKey,
    is_request: bool,
    version: i16,
    body: Vec<u8>,
}

/// The longer of the two vectors of each key, version and direction.
fn vectors() -> Vec<Vector> {
    let mut longest: BTreeMap<(i16, i16, bool), Vec<u8>> = BTreeMap::new();
    for line in include_str!("data/vectors.tsv").lines() {
        let columns: Vec<&str> = line.split('\t').collect();
        let digits: Vec<u8> = columns[4]
            .chars()
            .map(|digit| digit.to_digit(16).unwrap() as u8)
            .collect();
        let body: Vec<u8> = digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect();
        let at = (
            columns[0].parse().unwrap(),
            columns[2].parse().unwrap(),
            columns[3] == "request",
        );
        let entry = longest.entry(at).or_default();
        if body.len() >= entry.len() {
            *entry = body;
        }
    }
    let vectors = longest
        .into_iter()
        .map(|((key, version, is_request), body)| Vector {
            key: ApiKey::from_code(key).unwrap(),
            is_request,
            version,
            body,
        });
    vectors.collect()
}

/// Decodes and returns the outcome; panics if the decode held more memory than the frame allows.
fn decode(vector: &Vector, body: Vec<u8>) -> Result<(), DecodeError> {
    let len = body.len();
    let body = Bytes::from(body);
    PEAK.set(LIVE.get());
    let before = LIVE.get();
    let outcome = decode_any(vector, body);
    let used = (PEAK.get() - before) as usize;
    assert!(
        used <= MULTIPLE * len + FREE,
        "{} v{} (request: {}): {used} bytes for a frame of {len}",
        vector.key.name(),
        vector.version,
        vector.is_request
    );
    outcome
}

fn decode_any(vector: &Vector, body: Bytes) -> Result<(), DecodeError> {
    fn whole<M: Message>(body: Bytes, version: i16) -> Result<(), DecodeError> {
        let mut input = Decoder::new(body);
        M::decode(&mut input, version)?;
        input.finish()
    }
    macro_rules! one {
        ($name:ident, $request:ident, $response:ident) => {
            if vector.key == ApiKey::$name {
                return match vector.is_request {
                    true => whole::<protocol::messages::$request>(body, vector.version),
                    false => whole::<protocol::messages::$response>(body, vector.version),
                };
            }
        };
    }
    protocol::for_each_api!(one);
    unreachable!("every key is in the list")
}

#[test]
fn a_message_cut_anywhere_is_an_error() {
    for vector in vectors() {
        for at in 0..vector.body.len() {
            let outcome = decode(&vector, vector.body[..at].to_vec());
            assert!(
                outcome.is_err(),
                "{} v{} cut at {at}",
                vector.key.name(),
                vector.version
            );
        }
        let mut longer = vector.body.clone();
        longer.push(0);
        assert!(
            decode(&vector, longer).is_err(),
            "{} v{}, one byte more",
            vector.key.name(),
            vector.version
        );
    }
}

#[test]
fn lengths_written_over_any_byte_cost_nothing() {
    // Largest int16, int32 and compact lengths; the smallest int32; and a million elements, which is within the limit.
    let lengths: [&[u8]; 5] = [
        &[0x7f, 0xff],
        &[0x7f, 0xff, 0xff, 0xff],
        &[0xff, 0xff, 0xff, 0xff, 0x0f],
        &[0x80, 0, 0, 0],
        &[0xc1, 0x84, 0x3d],
    ];
    for vector in vectors() {
        for at in 0..vector.body.len() {
            for length in lengths {
                let mut body = vector.body.clone();
                let end = (at + length.len()).min(body.len());
                body[at..end].copy_from_slice(&length[..end - at]);
                let _ = decode(&vector, body);
            }
        }
    }
}

#[test]
fn a_frame_of_a_million_cheap_elements_is_refused_before_it_costs_memory() {
    // An empty name is two bytes on the wire and a struct in memory.
    let metadata = |count: u32| {
        let mut body = count.to_be_bytes().to_vec();
        body.resize(body.len() + 2 * count as usize, 0);
        body
    };
    let read = |body: Vec<u8>| {
        PEAK.set(LIVE.get());
        let before = LIVE.get();
        let outcome =
            protocol::messages::metadata::MetadataRequest::decode(&mut Decoder::new(Bytes::from(body)), 1);
        (
            outcome.map(|request| request.topics.map_or(0, |topics| topics.len())),
            PEAK.get() - before,
        )
    };
    let (outcome, used) = read(metadata(1_000_000));
    let words = outcome.unwrap_err().to_string();
    assert!(words.contains("1000000 entries of topics"), "{words}");
    assert!(used < 8 * 1024, "{used} bytes");
    let (outcome, used) = read(metadata(200_000));
    assert_eq!(outcome, Ok(200_000));
    assert!(used < 3 * MAX_DECODED_BYTES as isize, "{used} bytes");
}

#[test]
fn arrays_of_the_cheapest_elements_stay_in_proportion() {
    // At every byte an array begins that the frame can really hold: thousands of elements of nearly nothing, so that
    // arrays nest in arrays where the schema lets them.
    for vector in vectors() {
        for at in 0..vector.body.len().min(60) {
            for filling in [0u8, 1, 2] {
                let compact = [0x81, 0x20];
                let plain = [0, 0, 0x10, 0];
                for length in [&compact[..], &plain[..]] {
                    let mut body = vector.body[..at].to_vec();
                    body.extend_from_slice(length);
                    body.resize(body.len() + 4096, filling);
                    let _ = decode(&vector, body);
                }
            }
        }
    }
}
