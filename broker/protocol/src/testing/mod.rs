//! Generated values for tests: every message can make one of itself for a version, from a seed that a failure prints.

mod against_kafka_protocol;
mod round_trips;

use bytes::Bytes;

use crate::primitives::Str;

/// A small seeded generator (splitmix64), so that a failing run can be replayed from its seed.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// A value with content in every field that exists in `version`, and defaults elsewhere.
pub(crate) trait Sample: Sized {
    fn sample(random: &mut Random, version: i16) -> Self;

    /// As a field, which in some versions must not be null.
    fn sample_field(random: &mut Random, version: i16, _may_be_null: bool) -> Self {
        Self::sample(random, version)
    }
}

macro_rules! integers {
    ($($ty:ty)*) => {$(
        impl Sample for $ty {
            fn sample(random: &mut Random, _: i16) -> Self {
                match random.below(4) {
                    0 => <$ty>::MAX,
                    1 => <$ty>::MIN,
                    _ => random.next() as $ty,
                }
            }
        }
    )*};
}

integers!(i8 i16 u16 i32 u32 i64);

impl Sample for bool {
    fn sample(random: &mut Random, _: i16) -> Self {
        random.below(2) == 0
    }
}

impl Sample for f64 {
    fn sample(random: &mut Random, _: i16) -> Self {
        random.next() as f64 / 1024.0
    }
}

impl Sample for [u8; 16] {
    fn sample(random: &mut Random, _: i16) -> Self {
        std::array::from_fn(|_| random.next() as u8)
    }
}

impl Sample for Str {
    fn sample(random: &mut Random, _: i16) -> Self {
        let letters = ["a", "Z", "-", "é", "☃", "topic", " "];
        let count = random.below(12);
        Str::from(
            (0..count)
                .map(|_| letters[random.below(7) as usize])
                .collect::<String>(),
        )
    }
}

impl Sample for Bytes {
    fn sample(random: &mut Random, _: i16) -> Self {
        let len = if random.below(20) == 0 {
            5000
        } else {
            random.below(40)
        };
        (0..len).map(|_| random.next() as u8).collect()
    }
}

impl<T: Sample> Sample for Option<T> {
    fn sample(random: &mut Random, version: i16) -> Self {
        Self::sample_field(random, version, true)
    }

    fn sample_field(random: &mut Random, version: i16, may_be_null: bool) -> Self {
        (!may_be_null || random.below(4) != 0).then(|| T::sample(random, version))
    }
}

impl<T: Sample> Sample for Vec<T> {
    fn sample(random: &mut Random, version: i16) -> Self {
        (0..random.below(4)).map(|_| T::sample(random, version)).collect()
    }
}

/// Adds [`Sample`] to every message of the crate; called by `message!`.
#[macro_export]
macro_rules! generated_values {
    ($name:ident { $($field:ident: $kind:ty, $versions:tt, $nulls:tt;)* }) => {
        impl $crate::testing::Sample for $name {
            fn sample(random: &mut $crate::testing::Random, version: i16) -> Self {
                let mut value = Self::default();
                $(
                    if $crate::message!(@within version, $versions) {
                        let may_be_null = $crate::message!(@within version, $nulls);
                        value.$field = <$kind as $crate::testing::Sample>::sample_field(random, version, may_be_null);
                    }
                )*
                value
            }
        }
    };
}
