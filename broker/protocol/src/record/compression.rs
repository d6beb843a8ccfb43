//! The codecs of record batches behind one enum. The broker stores batches as they come; it decompresses only where a
//! topic demands it, and then with a bound.

use std::io::{Error, ErrorKind, Read, Write};

/// How a batch's records are compressed; the number is the attribute bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Compression {
    /// Not at all.
    None = 0,
    /// gzip (RFC 1952).
    Gzip = 1,
    /// Snappy in xerial's framing, as Kafka's clients write it.
    Snappy = 2,
    /// LZ4 frame format.
    Lz4 = 3,
    /// Zstandard (RFC 8878).
    Zstd = 4,
}

/// What xerial's Snappy stream starts with: magic, then two version numbers.
const XERIAL: &[u8] = &[
    0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1,
];

impl Compression {
    /// The codec of the three attribute bits.
    pub fn from_bits(bits: u8) -> Option<Compression> {
        Some(match bits {
            0 => Compression::None,
            1 => Compression::Gzip,
            2 => Compression::Snappy,
            3 => Compression::Lz4,
            4 => Compression::Zstd,
            _ => return None,
        })
    }

    /// The name in `compression.type`.
    pub fn name(self) -> &'static str {
        match self {
            Compression::None => "uncompressed",
            Compression::Gzip => "gzip",
            Compression::Snappy => "snappy",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        }
    }

    /// Compresses a body.
    pub fn compress(self, body: &[u8]) -> Result<Vec<u8>, Error> {
        match self {
            Compression::None => Ok(body.to_vec()),
            Compression::Gzip => {
                let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
                out.write_all(body)?;
                out.finish()
            }
            Compression::Snappy => {
                let block = snap::raw::Encoder::new()
                    .compress_vec(body)
                    .map_err(Error::other)?;
                let length = u32::try_from(block.len()).map_err(Error::other)?;
                Ok([XERIAL, &length.to_be_bytes(), &block].concat())
            }
            Compression::Lz4 => {
                let mut out = lz4_flex::frame::FrameEncoder::new(Vec::new());
                out.write_all(body)?;
                out.finish().map_err(Error::other)
            }
            Compression::Zstd => zstd::encode_all(body, 3),
        }
    }

    /// Decompresses a body that may be at most `limit` bytes; a larger one is an error and never held whole.
    pub fn decompress(self, body: &[u8], limit: usize) -> Result<Vec<u8>, Error> {
        match self {
            Compression::None if body.len() > limit => Err(too_large(limit)),
            Compression::None => Ok(body.to_vec()),
            Compression::Gzip => bounded(flate2::read::MultiGzDecoder::new(body), limit),
            Compression::Snappy => snappy(body, limit),
            Compression::Lz4 => bounded(lz4_flex::frame::FrameDecoder::new(body), limit),
            Compression::Zstd => bounded(zstd::Decoder::with_buffer(body)?, limit),
        }
    }
}

fn too_large(limit: usize) -> Error {
    Error::new(
        ErrorKind::InvalidData,
        format!("decompressed it is larger than {limit} bytes"),
    )
}

fn bounded(reader: impl Read, limit: usize) -> Result<Vec<u8>, Error> {
    let mut out = Vec::new();
    reader.take(limit as u64 + 1).read_to_end(&mut out)?;
    if out.len() > limit {
        Err(too_large(limit))
    } else {
        Ok(out)
    }
}

/// xerial's framing (blocks with a four-byte length each), or one bare block as some clients write.
fn snappy(body: &[u8], limit: usize) -> Result<Vec<u8>, Error> {
    let mut out = Vec::new();
    let Some(mut rest) = body.strip_prefix(&XERIAL[..8]).and_then(|rest| rest.get(8..)) else {
        snappy_block(body, limit, &mut out)?;
        return Ok(out);
    };
    while !rest.is_empty() {
        let cut_off = || Error::new(ErrorKind::UnexpectedEof, "a snappy block is cut off");
        let (length, after) = rest.split_first_chunk::<4>().ok_or_else(cut_off)?;
        let block = after
            .get(..u32::from_be_bytes(*length) as usize)
            .ok_or_else(cut_off)?;
        snappy_block(block, limit, &mut out)?;
        rest = &after[block.len()..];
    }
    Ok(out)
}

fn snappy_block(block: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), Error> {
    let size = snap::raw::decompress_len(block).map_err(Error::other)?;
    if size > limit.saturating_sub(out.len()) {
        return Err(too_large(limit));
    }
    let start = out.len();
    out.resize(start + size, 0);
    snap::raw::Decoder::new()
        .decompress(block, &mut out[start..])
        .map_err(Error::other)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Compression; 5] = [
        Compression::None,
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ];

    #[test]
    fn every_codec_comes_back_and_is_bounded() {
        let body: Vec<u8> = (0..100_000u32)
            .flat_map(|number| (number % 251).to_be_bytes())
            .collect();
        for codec in ALL {
            let packed = codec.compress(&body).expect("compresses");
            assert_eq!(
                codec.decompress(&packed, body.len()).expect("comes back"),
                body,
                "{codec:?}"
            );
            assert!(
                codec.decompress(&packed, body.len() - 1).is_err(),
                "{codec:?} over its bound"
            );
            assert_eq!(Compression::from_bits(codec as u8), Some(codec));
        }
    }

    #[test]
    fn broken_bodies_are_errors() {
        for codec in &ALL[1..] {
            let packed = codec.compress(b"some bytes that are here").expect("compresses");
            for length in 0..packed.len() {
                // A frame that lost only its end mark may still hold everything; it never holds anything else.
                let cut = codec.decompress(&packed[..length], 1 << 20);
                assert!(
                    cut.is_err() || cut.is_ok_and(|out| b"some bytes that are here".starts_with(&out)),
                    "{codec:?} {length}"
                );
            }
        }
    }
}
