//! Golden bytes: messages of every key, version and direction, encoded by Kafka's own Java client 4.4.0. Each must be read
//! whole and come back as the same bytes.

use bytes::Bytes;
use protocol::{ApiKey, Decoder, Encoder, Message};

const VECTORS: &str = include_str!("data/vectors.tsv");

/// Versions that the file has no line for.
const NOT_IN_THE_FILE: &[&str] = &["UpdateRaftVoter v0"];

fn bytes_of(hex: &str) -> Bytes {
    let digits: Vec<u8> = hex
        .chars()
        .map(|digit| digit.to_digit(16).expect("hex") as u8)
        .collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn again<M: Message>(bytes: &Bytes, version: i16) -> Result<Bytes, String> {
    let mut input = Decoder::new(bytes.clone());
    let message = M::decode(&mut input, version).map_err(|error| error.to_string())?;
    input.finish().map_err(|error| error.to_string())?;
    let mut out = Encoder::new();
    message
        .encode(version, &mut out)
        .map_err(|error| error.to_string())?;
    Ok(out.finish().into_bytes())
}

fn check(key: ApiKey, direction: &str, version: i16, bytes: &Bytes) -> Result<Bytes, String> {
    macro_rules! one {
        ($name:ident, $request:ident, $response:ident) => {
            if key == ApiKey::$name {
                return match direction {
                    "request" => again::<protocol::messages::$request>(bytes, version),
                    _ => again::<protocol::messages::$response>(bytes, version),
                };
            }
        };
    }
    protocol::for_each_api!(one);
    Err("no such API".into())
}

#[test]
fn every_vector_is_read_whole_and_written_back_as_it_was() {
    let mut wrong = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    let mut lines = 0;
    for line in VECTORS.lines() {
        let columns: Vec<&str> = line.split('\t').collect();
        let [code, name, version, direction, hex, _json] = columns[..] else {
            panic!("six columns: {line}")
        };
        let key = ApiKey::from_code(code.parse().expect("a number")).expect("a key of the table");
        assert_eq!(key.name(), name);
        let version: i16 = version.parse().expect("a number");
        assert!(
            key.versions().contains(&version) || key == ApiKey::Produce,
            "{name} {version}"
        );
        let bytes = bytes_of(hex);
        match check(key, direction, version, &bytes) {
            Ok(back) if back == bytes => {}
            Ok(back) => wrong.push(format!(
                "{name} v{version} {direction}: written back as {back:02x?}\n  wanted {bytes:02x?}"
            )),
            Err(error) => wrong.push(format!("{name} v{version} {direction}: {error}")),
        }
        seen.insert((key, version, direction.to_string()));
        lines += 1;
    }
    assert!(
        wrong.is_empty(),
        "{} of {lines} differ:\n{}",
        wrong.len(),
        wrong[..wrong.len().min(10)].join("\n")
    );
    // The Java client has no public encoder for UpdateRaftVoter's vectors; round trips cover it.
    let missing: Vec<_> = ApiKey::ALL
        .iter()
        .flat_map(|key| key.versions().map(move |version| (*key, version)))
        .filter(|(key, version)| {
            ["request", "response"]
                .iter()
                .any(|to| !seen.contains(&(*key, *version, to.to_string())))
        })
        .map(|(key, version)| format!("{} v{version}", key.name()))
        .collect();
    assert_eq!(missing, NOT_IN_THE_FILE);
}
