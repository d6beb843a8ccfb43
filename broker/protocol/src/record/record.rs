//! One record inside a batch.
//!
//! ```text
//! varint length | int8 attributes | varlong timestamp delta | varint offset delta
//! | varint key length (-1 null), key | varint value length (-1 null), value | varint header count, headers
//! ```
//! Varints are zig-zagged (as Protocol Buffers' sint).

/// A header of a record: a name and bytes or null.
pub type Header<'a> = (&'a str, Option<&'a [u8]>);

/// One record; `'a` is the decompressed body of its batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record<'a> {
    /// Milliseconds after the batch's base timestamp.
    pub timestamp_delta: i64,
    /// Offsets after the batch's base offset.
    pub offset_delta: i32,
    /// The key, or null.
    pub key: Option<&'a [u8]>,
    /// The value, or null (a tombstone).
    pub value: Option<&'a [u8]>,
    /// Headers in order; names may repeat.
    pub headers: Vec<Header<'a>>,
}

/// Why a record cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("record {index}: {what}")]
pub struct RecordError {
    /// Which record of the batch, from 0.
    pub index: usize,
    /// What is wrong.
    pub what: &'static str,
}

/// Appends a signed varint.
pub fn put_varint(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Appends one record with its length.
pub fn encode_record(record: &Record<'_>, out: &mut Vec<u8>) {
    let mut body = vec![0];
    put_varint(&mut body, record.timestamp_delta);
    put_varint(&mut body, i64::from(record.offset_delta));
    for bytes in [record.key, record.value] {
        put_optional(&mut body, bytes);
    }
    put_varint(&mut body, record.headers.len() as i64);
    for (name, value) in &record.headers {
        put_optional(&mut body, Some(name.as_bytes()));
        put_optional(&mut body, *value);
    }
    put_varint(out, body.len() as i64);
    out.extend_from_slice(&body);
}

fn put_optional(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        Some(bytes) => {
            put_varint(out, bytes.len() as i64);
            out.extend_from_slice(bytes);
        }
        None => put_varint(out, -1),
    }
}

/// Walks the records of a decompressed body; ends after the first error.
pub struct Records<'a> {
    rest: &'a [u8],
    index: usize,
    count: usize,
}

/// The `count` records of a batch's decompressed body.
pub fn records(body: &[u8], count: i32) -> Records<'_> {
    Records {
        rest: body,
        index: 0,
        count: count.max(0) as usize,
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.index >= self.count {
            return None;
        }
        let index = self.index;
        self.index += 1;
        let read = read_record(&mut self.rest);
        if read.is_err() {
            self.index = self.count;
        }
        Some(read.map_err(|what| RecordError { index, what }))
    }
}

fn read_record<'a>(rest: &mut &'a [u8]) -> Result<Record<'a>, &'static str> {
    let length = usize::try_from(varint(rest)?).map_err(|_| "its length is negative")?;
    let mut body = take(rest, length)?;
    let body = &mut body;
    take(body, 1)?;
    let timestamp_delta = varint(body)?;
    let offset_delta = i32::try_from(varint(body)?).map_err(|_| "its offset delta is too large")?;
    let key = optional(body)?;
    let value = optional(body)?;
    let count = usize::try_from(varint(body)?).map_err(|_| "its header count is negative")?;
    // A header takes two bytes at least.
    if count > body.len() / 2 {
        return Err("it has fewer bytes than headers");
    }
    let mut headers = Vec::with_capacity(count);
    for _ in 0..count {
        let name = optional(body)?.ok_or("a header has no name")?;
        let name = std::str::from_utf8(name).map_err(|_| "a header's name is not UTF-8")?;
        headers.push((name, optional(body)?));
    }
    if !body.is_empty() {
        return Err("bytes are left over in it");
    }
    Ok(Record {
        timestamp_delta,
        offset_delta,
        key,
        value,
        headers,
    })
}

fn take<'a>(rest: &mut &'a [u8], wanted: usize) -> Result<&'a [u8], &'static str> {
    if wanted > rest.len() {
        return Err("it is cut off");
    }
    let (taken, left) = rest.split_at(wanted);
    *rest = left;
    Ok(taken)
}

fn optional<'a>(rest: &mut &'a [u8]) -> Result<Option<&'a [u8]>, &'static str> {
    match varint(rest)? {
        -1 => Ok(None),
        length => take(
            rest,
            usize::try_from(length).map_err(|_| "a length in it is negative")?,
        )
        .map(Some),
    }
}

fn varint(rest: &mut &[u8]) -> Result<i64, &'static str> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = take(rest, 1)?[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
        }
    }
    Err("a varint in it is too long")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_and_truncation_is_an_error_at_every_byte() {
        let record = Record {
            timestamp_delta: -5,
            offset_delta: 3,
            key: Some(b"key"),
            value: None,
            headers: vec![("h", Some(b"1")), ("h", None)],
        };
        let mut body = Vec::new();
        encode_record(&record, &mut body);
        assert_eq!(records(&body, 1).collect::<Vec<_>>(), [Ok(record)]);
        for length in 0..body.len() {
            assert!(
                records(&body[..length], 1).next().expect("one item").is_err(),
                "{length}"
            );
        }
    }

    #[test]
    fn huge_counts_and_lengths_are_refused_before_memory_is_asked_for() {
        let mut body = vec![0u8, 0, 0, 1, 1];
        put_varint(&mut body, i64::from(i32::MAX));
        let mut whole = Vec::new();
        put_varint(&mut whole, body.len() as i64);
        whole.extend_from_slice(&body);
        assert_eq!(
            records(&whole, 1).next(),
            Some(Err(RecordError {
                index: 0,
                what: "it has fewer bytes than headers"
            }))
        );
    }
}
