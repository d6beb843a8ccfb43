//! The primitive types of the wire: integers, varints, strings, bytes, arrays, uuids, with every length checked against
//! the bytes that remain before memory is asked for.

use bytes::{Bytes, BytesMut};

pub use crate::text::Str;

/// Most entries of one array, and of all arrays of one frame together. Kafka 4.4 refuses larger arrays (a
/// denial-of-service guard).
pub const MAX_ELEMENTS: usize = 1_000_000;
/// Most memory that the array entries of one frame may take once they are read, beside the frame itself. An entry of two
/// bytes may be a struct of a hundred, so the frame's own limit bounds too little. Kafka has no such limit; 32 MiB are
/// some 200,000 partitions in one request.
pub const MAX_DECODED_BYTES: usize = 32 << 20;
/// Most tagged fields of one section, as in Kafka 4.4.
pub const MAX_TAGGED_FIELDS: usize = 10_000;
/// From this size on, bytes are kept as a slice of their own in an encoded frame instead of being copied into it.
pub const SLICE_FROM: usize = 4096;

/// Why a frame cannot be read. `at` is the byte of the frame where reading stopped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A value reaches beyond the end of the frame.
    #[error("byte {at}: {wanted} more bytes are needed, {left} are left")]
    Truncated {
        /// Where the value starts.
        at: usize,
        /// How many bytes it needs.
        wanted: usize,
        /// How many there are.
        left: usize,
    },
    /// A length below zero (other than -1 for null where null is allowed).
    #[error("byte {at}: {what} of length {length}")]
    BadLength {
        /// Where the length starts.
        at: usize,
        /// The kind of value.
        what: &'static str,
        /// The length read.
        length: i64,
    },
    /// Null where the version does not allow it.
    #[error("byte {at}: null is not allowed here")]
    Null {
        /// Where the value starts.
        at: usize,
    },
    /// A string that is not UTF-8.
    #[error("byte {at}: not UTF-8")]
    NotUtf8 {
        /// Where the string starts.
        at: usize,
    },
    /// A varint longer than its type.
    #[error("byte {at}: varint is too long")]
    BadVarint {
        /// Where the varint starts.
        at: usize,
    },
    /// More entries than [`MAX_ELEMENTS`] or [`MAX_TAGGED_FIELDS`].
    #[error("byte {at}: {count} entries are more than the allowed {limit}")]
    TooMany {
        /// Where the count starts.
        at: usize,
        /// The count read.
        count: usize,
        /// The limit.
        limit: usize,
    },
    /// The entries read so far, and those of this array, take more memory than [`MAX_DECODED_BYTES`].
    #[error(
        "byte {at}: {count} entries of {field} take more than the {limit} bytes of memory that one frame may"
    )]
    TooLarge {
        /// Where the array starts.
        at: usize,
        /// The field.
        field: &'static str,
        /// The count read.
        count: usize,
        /// The limit.
        limit: usize,
    },
    /// A tagged field's size does not match its content.
    #[error("byte {at}: tagged field {tag} has {size} bytes but {used} were used")]
    TagSize {
        /// Where the field starts.
        at: usize,
        /// Its tag.
        tag: u32,
        /// The size it declares.
        size: usize,
        /// What its type read.
        used: usize,
    },
    /// Bytes are left after the whole message was read.
    #[error("byte {at}: {left} bytes are left over")]
    Trailing {
        /// Where the message ended.
        at: usize,
        /// How many bytes follow.
        left: usize,
    },
    /// The version is not one of the message's.
    #[error("version {version} of {message} is not known")]
    Version {
        /// The message.
        message: &'static str,
        /// The version asked for.
        version: i16,
    },
}

/// Why a message cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// Null in a field that this version does not allow to be null.
    #[error("{field} must not be null in version {version}")]
    Null {
        /// The field.
        field: &'static str,
        /// The version written.
        version: i16,
    },
    /// A string, bytes or array too long for its length field.
    #[error("{what} of length {length} does not fit its length field")]
    TooLong {
        /// The kind of value.
        what: &'static str,
        /// Its length.
        length: usize,
    },
    /// The version is not one of the message's.
    #[error("version {version} of {message} is not known")]
    Version {
        /// The message.
        message: &'static str,
        /// The version asked for.
        version: i16,
    },
}

/// An encoded message: pieces to be sent one after the other, large ones without having been copied.
#[derive(Clone, Debug, Default)]
pub struct Frame {
    /// The pieces, in order.
    pub segments: Vec<Bytes>,
    /// Bytes of all pieces.
    pub len: usize,
}

impl Frame {
    /// All pieces copied into one.
    pub fn into_bytes(self) -> Bytes {
        match <[Bytes; 1]>::try_from(self.segments) {
            Ok([only]) => only,
            Err(segments) => {
                let mut whole = BytesMut::with_capacity(self.len);
                for segment in segments {
                    whole.extend_from_slice(&segment);
                }
                whole.freeze()
            }
        }
    }
}

/// Writes primitives; large bytes are kept as slices.
#[derive(Debug, Default)]
pub struct Encoder {
    done: Vec<Bytes>,
    done_len: usize,
    open: BytesMut,
}

impl Encoder {
    /// An empty encoder.
    pub fn new() -> Encoder {
        Encoder::default()
    }

    /// Bytes written so far.
    pub fn len(&self) -> usize {
        self.done_len + self.open.len()
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The frame.
    pub fn finish(mut self) -> Frame {
        self.close();
        Frame {
            segments: self.done,
            len: self.done_len,
        }
    }

    fn close(&mut self) {
        if !self.open.is_empty() {
            let piece = self.open.split().freeze();
            self.done_len += piece.len();
            self.done.push(piece);
        }
    }

    /// Raw bytes, copied.
    pub fn put(&mut self, bytes: &[u8]) {
        self.open.extend_from_slice(bytes);
    }

    /// Raw bytes, kept as a slice if they are large.
    pub fn put_bytes(&mut self, bytes: &Bytes) {
        if bytes.len() >= SLICE_FROM {
            self.close();
            self.done_len += bytes.len();
            self.done.push(bytes.clone());
        } else {
            self.put(bytes);
        }
    }

    /// Another frame's pieces.
    pub fn put_frame(&mut self, frame: &Frame) {
        for segment in &frame.segments {
            self.put_bytes(segment);
        }
    }

    /// A varint of up to 5 bytes, not zig-zagged: lengths and tags of flexible versions.
    pub fn put_uvarint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.put(&[value as u8 | 0x80]);
            value >>= 7;
        }
        self.put(&[value as u8]);
    }
}

/// Reads primitives from one frame.
#[derive(Clone, Debug)]
pub struct Decoder {
    frame: Bytes,
    at: usize,
    elements_left: usize,
    decoded_bytes: usize,
}

impl Decoder {
    /// Starts at the first byte.
    pub fn new(frame: Bytes) -> Decoder {
        Decoder {
            frame,
            at: 0,
            elements_left: MAX_ELEMENTS,
            decoded_bytes: 0,
        }
    }

    /// Memory that the array entries read so far take.
    pub fn decoded_bytes(&self) -> usize {
        self.decoded_bytes
    }

    /// Charges `count` entries of `size` bytes, which `field` is about to have.
    fn charge(
        &mut self,
        at: usize,
        field: &'static str,
        count: usize,
        size: usize,
    ) -> Result<(), DecodeError> {
        let decoded = self.decoded_bytes.saturating_add(count.saturating_mul(size));
        if decoded > MAX_DECODED_BYTES {
            return Err(DecodeError::TooLarge {
                at,
                field,
                count,
                limit: MAX_DECODED_BYTES,
            });
        }
        self.decoded_bytes = decoded;
        Ok(())
    }

    /// The next byte's place.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Bytes not read yet.
    pub fn remaining(&self) -> usize {
        self.frame.len() - self.at
    }

    /// What is left, as a slice of the frame.
    pub fn rest(&self) -> Bytes {
        self.frame.slice(self.at..)
    }

    /// An error unless every byte was read.
    pub fn finish(&self) -> Result<(), DecodeError> {
        match self.remaining() {
            0 => Ok(()),
            left => Err(DecodeError::Trailing { at: self.at, left }),
        }
    }

    /// The next `wanted` bytes as a slice of the frame.
    pub fn take(&mut self, wanted: usize) -> Result<Bytes, DecodeError> {
        self.check(wanted)?;
        let bytes = self.frame.slice(self.at..self.at + wanted);
        self.at += wanted;
        Ok(bytes)
    }

    fn check(&self, wanted: usize) -> Result<(), DecodeError> {
        if wanted > self.remaining() {
            return Err(DecodeError::Truncated {
                at: self.at,
                wanted,
                left: self.remaining(),
            });
        }
        Ok(())
    }

    /// The next `N` bytes, copied.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        self.check(N)?;
        let mut bytes = [0; N];
        bytes.copy_from_slice(&self.frame[self.at..self.at + N]);
        self.at += N;
        Ok(bytes)
    }

    /// A varint of up to 5 bytes, not zig-zagged.
    pub fn uvarint(&mut self) -> Result<u32, DecodeError> {
        let start = self.at;
        let mut value = 0u64;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.array()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return u32::try_from(value).map_err(|_| DecodeError::BadVarint { at: start });
            }
        }
        Err(DecodeError::BadVarint { at: start })
    }

    /// A length of `what`: compact (varint of length + 1) or `wide` bytes; `None` is null.
    fn length(
        &mut self,
        what: &'static str,
        flexible: bool,
        wide: bool,
    ) -> Result<Option<usize>, DecodeError> {
        let at = self.at;
        let length = match (flexible, wide) {
            (true, _) => i64::from(self.uvarint()?) - 1,
            (false, true) => i64::from(i32::from_be_bytes(self.array()?)),
            (false, false) => i64::from(i16::from_be_bytes(self.array()?)),
        };
        match length {
            -1 => Ok(None),
            0.. => Ok(Some(length as usize)),
            _ => Err(DecodeError::BadLength { at, what, length }),
        }
    }

    fn text(&mut self, flexible: bool) -> Result<Option<Str>, DecodeError> {
        let Some(length) = self.length("string", flexible, false)? else {
            return Ok(None);
        };
        let at = self.at;
        let bytes = self.take(length)?;
        Str::from_utf8(bytes)
            .map(Some)
            .map_err(|_| DecodeError::NotUtf8 { at })
    }

    fn blob(&mut self, flexible: bool) -> Result<Option<Bytes>, DecodeError> {
        let Some(length) = self.length("bytes", flexible, true)? else {
            return Ok(None);
        };
        self.take(length).map(Some)
    }

    /// The count of an array, within what the frame can hold and the frame's budget of elements.
    fn count(&mut self, flexible: bool) -> Result<Option<usize>, DecodeError> {
        let at = self.at;
        let Some(count) = self.length("array", flexible, true)? else {
            return Ok(None);
        };
        // Every element of every message takes at least one byte.
        self.check(count)?;
        if count > self.elements_left {
            return Err(DecodeError::TooMany {
                at,
                count,
                limit: MAX_ELEMENTS,
            });
        }
        self.elements_left -= count;
        Ok(Some(count))
    }

    /// The number of tagged fields of one section.
    pub fn tag_count(&mut self) -> Result<usize, DecodeError> {
        let at = self.at;
        let count = self.uvarint()? as usize;
        if count > MAX_TAGGED_FIELDS {
            return Err(DecodeError::TooMany {
                at,
                count,
                limit: MAX_TAGGED_FIELDS,
            });
        }
        Ok(count)
    }
}

/// How one field is written in one version.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    /// The message's version.
    pub version: i16,
    /// Compact lengths and tag sections.
    pub flexible: bool,
    /// Whether null is allowed.
    pub nullable: bool,
    /// The field's name, for errors.
    pub field: &'static str,
}

impl Form {
    fn null(&self) -> EncodeError {
        EncodeError::Null {
            field: self.field,
            version: self.version,
        }
    }
}

/// A type that can stand in a field.
pub trait Field: Sized {
    /// Appends the value.
    fn write(&self, form: Form, out: &mut Encoder) -> Result<(), EncodeError>;
    /// Reads a value.
    fn read(form: Form, input: &mut Decoder) -> Result<Self, DecodeError>;
}

macro_rules! fixed_size_fields {
    ($($kind:ty)*) => {$(
        impl Field for $kind {
            fn write(&self, _: Form, out: &mut Encoder) -> Result<(), EncodeError> {
                out.put(&self.to_be_bytes());
                Ok(())
            }
            fn read(_: Form, input: &mut Decoder) -> Result<$kind, DecodeError> {
                Ok(<$kind>::from_be_bytes(input.array()?))
            }
        }
    )*};
}
fixed_size_fields!(i8 i16 u16 i32 u32 i64 f64);

impl Field for bool {
    fn write(&self, _: Form, out: &mut Encoder) -> Result<(), EncodeError> {
        out.put(&[u8::from(*self)]);
        Ok(())
    }
    fn read(_: Form, input: &mut Decoder) -> Result<bool, DecodeError> {
        Ok(input.array::<1>()? != [0])
    }
}

/// A uuid as its sixteen bytes.
pub type Uuid = [u8; 16];

impl Field for Uuid {
    fn write(&self, _: Form, out: &mut Encoder) -> Result<(), EncodeError> {
        out.put(self);
        Ok(())
    }
    fn read(_: Form, input: &mut Decoder) -> Result<Uuid, DecodeError> {
        input.array()
    }
}

/// A length field: compact (length + 1 as a varint) or `wide` bytes; `None` writes null.
fn put_length(
    out: &mut Encoder,
    what: &'static str,
    length: Option<usize>,
    flexible: bool,
    wide: bool,
) -> Result<(), EncodeError> {
    let too_long = |length| EncodeError::TooLong { what, length };
    match (flexible, length) {
        (true, None) => out.put_uvarint(0),
        (true, Some(length)) => {
            let value = u32::try_from(length)
                .ok()
                .and_then(|length| length.checked_add(1));
            out.put_uvarint(value.ok_or_else(|| too_long(length))?);
        }
        (false, None) if wide => out.put(&(-1i32).to_be_bytes()),
        (false, None) => out.put(&(-1i16).to_be_bytes()),
        (false, Some(length)) if wide => {
            out.put(&i32::try_from(length).map_err(|_| too_long(length))?.to_be_bytes())
        }
        (false, Some(length)) => out.put(&i16::try_from(length).map_err(|_| too_long(length))?.to_be_bytes()),
    }
    Ok(())
}

impl Field for Str {
    fn write(&self, form: Form, out: &mut Encoder) -> Result<(), EncodeError> {
        put_length(out, "string", Some(self.len()), form.flexible, false)?;
        out.put(self.as_bytes());
        Ok(())
    }
    fn read(form: Form, input: &mut Decoder) -> Result<Str, DecodeError> {
        let at = input.at;
        input.text(form.flexible)?.ok_or(DecodeError::Null { at })
    }
}

impl Field for Bytes {
    fn write(&self, form: Form, out: &mut Encoder) -> Result<(), EncodeError> {
        put_length(out, "bytes", Some(self.len()), form.flexible, true)?;
        out.put_bytes(self);
        Ok(())
    }
    fn read(form: Form, input: &mut Decoder) -> Result<Bytes, DecodeError> {
        let at = input.at;
        input.blob(form.flexible)?.ok_or(DecodeError::Null { at })
    }
}

impl Field for Option<Str> {
    fn write(&self, form: Form, out: &mut Encoder) -> Result<(), EncodeError> {
        match self {
            Some(text) => text.write(form, out),
            None if form.nullable => put_length(out, "string", None, form.flexible, false),
            None => Err(form.null()),
        }
    }
    fn read(form: Form, input: &mut Decoder) -> Result<Option<Str>, DecodeError> {
        let at = input.at;
        let text = input.text(form.flexible)?;
        if text.is_none() && !form.nullable {
            Err(DecodeError::Null { at })
        } else {
            Ok(text)
        }
    }
}

impl Field for Option<Bytes> {
    fn write(&self, form: Form, out: &mut Encoder) -> Result<(), EncodeError> {
        match self {
            Some(bytes) => bytes.write(form, out),
            None if form.nullable => put_length(out, "bytes", None, form.flexible, true),
            None => Err(form.null()),
        }
    }
    fn read(form: Form, input: &mut Decoder) -> Result<Option<Bytes>, DecodeError> {
        let at = input.at;
        let bytes = input.blob(form.flexible)?;
        if bytes.is_none() && !form.nullable {
            Err(DecodeError::Null { at })
        } else {
            Ok(bytes)
        }
    }
}

fn read_elements<T: Field>(form: Form, input: &mut Decoder) -> Result<Option<Vec<T>>, DecodeError> {
    let at = input.at;
    let Some(count) = input.count(form.flexible)? else {
        return Ok(None);
    };
    input.charge(at, form.field, count, size_of::<T>())?;
    // The first allocation is never larger than the bytes that are there; it grows as elements really come.
    let first = count.min(input.remaining() / size_of::<T>().max(1) + 1);
    let mut elements = Vec::with_capacity(first);
    let form = Form {
        nullable: false,
        ..form
    };
    for _ in 0..count {
        elements.push(T::read(form, input)?);
    }
    Ok(Some(elements))
}

impl<T: Field> Field for Vec<T> {
    fn write(&self, form: Form, out: &mut Encoder) -> Result<(), EncodeError> {
        put_length(out, "array", Some(self.len()), form.flexible, true)?;
        let form = Form {
            nullable: false,
            ..form
        };
        self.iter().try_for_each(|element| element.write(form, out))
    }
    fn read(form: Form, input: &mut Decoder) -> Result<Vec<T>, DecodeError> {
        let at = input.at;
        read_elements(form, input)?.ok_or(DecodeError::Null { at })
    }
}

impl<T: Field> Field for Option<Vec<T>> {
    fn write(&self, form: Form, out: &mut Encoder) -> Result<(), EncodeError> {
        match self {
            Some(elements) => elements.write(form, out),
            None if form.nullable => put_length(out, "array", None, form.flexible, true),
            None => Err(form.null()),
        }
    }
    fn read(form: Form, input: &mut Decoder) -> Result<Option<Vec<T>>, DecodeError> {
        let at = input.at;
        let elements = read_elements(form, input)?;
        if elements.is_none() && !form.nullable {
            Err(DecodeError::Null { at })
        } else {
            Ok(elements)
        }
    }
}
