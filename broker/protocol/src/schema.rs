//! The `message!` macro: one list of fields with their versions becomes a struct, its encoder and its decoder for every
//! version. A line reads like Kafka's schema:
//!
//! ```text
//! message! {
//!     pub struct ExampleRequest, flexible 2 {
//!         name: Str, versions 0..;
//!         group: Option<Str> = None, versions 1.., nullable 1..;
//!         retries: i32 = -1, versions 0..=3;
//!         extra: Vec<i32>, versions 2.., tag 0;
//!     }
//! }
//! ```
//!
//! A field outside its versions is not written and reads as its default. Tagged fields are written when they differ from
//! their default, in the order of their tags; unknown tags are skipped (KIP-482).

use crate::primitives::{DecodeError, Decoder, EncodeError, Encoder};

/// A whole request or response body, or a record with versions.
pub trait Message: Sized {
    /// Its name, for errors.
    const NAME: &'static str;
    /// Appends the body in `version`.
    fn encode(&self, version: i16, out: &mut Encoder) -> Result<(), EncodeError>;
    /// Reads the body in `version`; bytes after it are left to the caller ([`Decoder::finish`]).
    fn decode(input: &mut Decoder, version: i16) -> Result<Self, DecodeError>;
}

/// In this crate's tests every message can make values of itself (`testing`); elsewhere nothing is added.
#[cfg(not(test))]
#[doc(hidden)]
#[macro_export]
macro_rules! generated_values {
    ($($any:tt)*) => {};
}

/// Declares message structs; see the module's documentation.
#[macro_export]
macro_rules! message {
    ($(
        $(#[$meta:meta])*
        pub struct $name:ident, flexible $flexible:tt {
            $(
                $(#[$field_meta:meta])*
                $field:ident : $kind:ty $(= $default:expr)?, versions $low:literal $(..)? $(..= $high:literal)?
                    $(, nullable $null_low:literal $(..)? $(..= $null_high:literal)?)? $(, tag $tag:literal)?;
            )*
        }
    )*) => {$(
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $( $(#[$field_meta])* pub $field: $kind, )*
        }

        impl Default for $name {
            fn default() -> Self {
                $name { $( $field: $crate::message!(@default $kind $(, $default)?), )* }
            }
        }

        impl $crate::schema::Message for $name {
            const NAME: &'static str = stringify!($name);

            #[allow(unused_variables, unused_mut, unused_assignments, unreachable_patterns, clippy::absurd_extreme_comparisons)]
            fn encode(
                &self,
                version: i16,
                out: &mut $crate::primitives::Encoder,
            ) -> Result<(), $crate::primitives::EncodeError> {
                let flexible = $crate::message!(@flexible $flexible, version);
                $( $crate::message!(@write_plain self, $field, version, flexible, out,
                    ($low $(, $high)?), ($($null_low $(, $null_high)?)?), ($($tag)?)); )*
                if flexible {
                    let mut tagged: Vec<(u32, $crate::primitives::Frame)> = Vec::new();
                    $( $crate::message!(@write_tagged self, $field, $kind, ($($default)?), version, tagged,
                        ($low $(, $high)?), ($($null_low $(, $null_high)?)?), ($($tag)?)); )*
                    $crate::schema::put_tagged(out, &tagged);
                }
                Ok(())
            }

            #[allow(unused_variables, unused_mut, unused_assignments, unreachable_patterns, clippy::absurd_extreme_comparisons)]
            fn decode(
                input: &mut $crate::primitives::Decoder,
                version: i16,
            ) -> Result<Self, $crate::primitives::DecodeError> {
                let flexible = $crate::message!(@flexible $flexible, version);
                let mut message = $name::default();
                $( $crate::message!(@read_plain message, $field, $kind, version, flexible, input,
                    ($low $(, $high)?), ($($null_low $(, $null_high)?)?), ($($tag)?)); )*
                if flexible {
                    for _ in 0..input.tag_count()? {
                        let tag = input.uvarint()?;
                        let size = input.uvarint()? as usize;
                        let start = input.position();
                        match tag {
                            $( $crate::message!(@tag_pattern ($($tag)?)) => {
                                $crate::message!(@read_tagged message, $field, $kind, version, input,
                                    ($low $(, $high)?), ($($null_low $(, $null_high)?)?), ($($tag)?), size);
                            } )*
                            _ => {
                                input.take(size)?;
                            }
                        }
                        $crate::schema::check_tag(input, tag, start, size)?;
                    }
                }
                Ok(message)
            }
        }

        $crate::generated_values! {
            $name { $( $field: $kind, ($low $(, $high)?), ($($null_low $(, $null_high)?)?); )* }
        }

        impl $crate::primitives::Field for $name {
            fn write(
                &self,
                form: $crate::primitives::Form,
                out: &mut $crate::primitives::Encoder,
            ) -> Result<(), $crate::primitives::EncodeError> {
                $crate::schema::Message::encode(self, form.version, out)
            }
            fn read(
                form: $crate::primitives::Form,
                input: &mut $crate::primitives::Decoder,
            ) -> Result<Self, $crate::primitives::DecodeError> {
                $crate::schema::Message::decode(input, form.version)
            }
        }

        // A nullable struct is one byte before it: -1 is null, 1 is there (Kafka's generated code).
        impl $crate::primitives::Field for Option<$name> {
            fn write(
                &self,
                form: $crate::primitives::Form,
                out: &mut $crate::primitives::Encoder,
            ) -> Result<(), $crate::primitives::EncodeError> {
                if form.nullable {
                    out.put(&[if self.is_some() { 1 } else { 0xff }]);
                }
                match self {
                    Some(value) => $crate::schema::Message::encode(value, form.version, out),
                    None if form.nullable => Ok(()),
                    None => Err($crate::primitives::EncodeError::Null { field: form.field, version: form.version }),
                }
            }
            fn read(
                form: $crate::primitives::Form,
                input: &mut $crate::primitives::Decoder,
            ) -> Result<Self, $crate::primitives::DecodeError> {
                if form.nullable && (i8::from_be_bytes(input.array()?)) < 0 {
                    return Ok(None);
                }
                $crate::schema::Message::decode(input, form.version).map(Some)
            }
        }
    )*};

    (@default $kind:ty) => { <$kind>::default() };
    (@default $kind:ty, $default:expr) => { $default };

    (@flexible none, $version:ident) => { false };
    (@flexible $from:literal, $version:ident) => { ($from..).contains(&$version) };

    (@within $version:ident, ()) => { false };
    (@within $version:ident, ($low:literal)) => { ($low..).contains(&$version) };
    (@within $version:ident, ($low:literal, $high:literal)) => { ($low..=$high).contains(&$version) };

    (@form $field:ident, $version:ident, $flexible:expr, $nulls:tt) => {
        $crate::primitives::Form {
            version: $version,
            flexible: $flexible,
            nullable: $crate::message!(@within $version, $nulls),
            field: stringify!($field),
        }
    };

    (@write_plain $self:ident, $field:ident, $version:ident, $flexible:ident, $out:ident, $versions:tt, $nulls:tt, ()) => {
        if $crate::message!(@within $version, $versions) {
            $crate::primitives::Field::write(
                &$self.$field, $crate::message!(@form $field, $version, $flexible, $nulls), $out)?;
        }
    };
    (@write_plain $self:ident, $field:ident, $version:ident, $flexible:ident, $out:ident, $versions:tt, $nulls:tt, ($tag:literal)) => {};

    (@write_tagged $self:ident, $field:ident, $kind:ty, ($($default:expr)?), $version:ident, $tagged:ident, $versions:tt, $nulls:tt, ()) => {};
    (@write_tagged $self:ident, $field:ident, $kind:ty, ($($default:expr)?), $version:ident, $tagged:ident, $versions:tt, $nulls:tt, ($tag:literal)) => {
        let default: $kind = $crate::message!(@default $kind $(, $default)?);
        if $crate::message!(@within $version, $versions) && $self.$field != default {
            let mut value = $crate::primitives::Encoder::new();
            $crate::primitives::Field::write(
                &$self.$field, $crate::message!(@form $field, $version, true, $nulls), &mut value)?;
            $tagged.push(($tag, value.finish()));
        }
    };

    (@read_plain $message:ident, $field:ident, $kind:ty, $version:ident, $flexible:ident, $input:ident, $versions:tt, $nulls:tt, ()) => {
        if $crate::message!(@within $version, $versions) {
            $message.$field = <$kind as $crate::primitives::Field>::read(
                $crate::message!(@form $field, $version, $flexible, $nulls), $input)?;
        }
    };
    (@read_plain $message:ident, $field:ident, $kind:ty, $version:ident, $flexible:ident, $input:ident, $versions:tt, $nulls:tt, ($tag:literal)) => {};

    // An untagged field has no arm of its own: its pattern can never match a tag.
    (@tag_pattern ()) => { u32::MAX };
    (@tag_pattern ($tag:literal)) => { $tag };

    (@read_tagged $message:ident, $field:ident, $kind:ty, $version:ident, $input:ident, $versions:tt, $nulls:tt, (), $size:ident) => {
        $input.take($size)?;
    };
    (@read_tagged $message:ident, $field:ident, $kind:ty, $version:ident, $input:ident, $versions:tt, $nulls:tt, ($tag:literal), $size:ident) => {
        if $crate::message!(@within $version, $versions) {
            $message.$field = <$kind as $crate::primitives::Field>::read(
                $crate::message!(@form $field, $version, true, $nulls), $input)?;
        } else {
            $input.take($size)?;
        }
    };
}

/// Writes a section of tagged fields.
pub fn put_tagged(out: &mut Encoder, fields: &[(u32, crate::primitives::Frame)]) {
    out.put_uvarint(fields.len() as u32);
    for (tag, value) in fields {
        out.put_uvarint(*tag);
        out.put_uvarint(value.len as u32);
        out.put_frame(value);
    }
}

/// A tagged field must use exactly the bytes it declares.
pub fn check_tag(input: &Decoder, tag: u32, start: usize, size: usize) -> Result<(), DecodeError> {
    let used = input.position() - start;
    if used == size {
        Ok(())
    } else {
        Err(DecodeError::TagSize {
            at: start,
            tag,
            size,
            used,
        })
    }
}
