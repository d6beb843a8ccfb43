//! Randomness: a fast stream per thread for jitter and ids of no secrecy, the kernel's for uuids. Any thread.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::hash::Hasher;

thread_local! {
    static STATE: Cell<u64> = Cell::new(u64::from_ne_bytes(kernel_random()));
}

/// 64 random bits, fast, not secret (splitmix64 seeded from the kernel).
pub fn random_u64() -> u64 {
    if super::sim::active() {
        return super::sim::random_u64();
    }
    STATE.with(draw)
}

/// The next number of a splitmix64 stream.
pub(super) fn draw(state: &Cell<u64>) -> u64 {
    let next = state.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
    state.set(next);
    let mut z = next;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A version-4 uuid from the kernel's generator.
pub fn random_uuid() -> [u8; 16] {
    let mut bytes: [u8; 16] = if super::sim::active() {
        let (high, low) = (super::sim::random_u64(), super::sim::random_u64());
        (u128::from(high) << 64 | u128::from(low)).to_be_bytes()
    } else {
        kernel_random()
    };
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    bytes
}

/// Hash keys from [`random_u64`]: as safe from chosen keys as std's, and decided by the seed in a simulated world, where
/// the order of a map's walk must not differ from run to run.
#[derive(Clone, Debug)]
pub struct Hashing(u64);

impl Default for Hashing {
    fn default() -> Hashing {
        Hashing(random_u64())
    }
}

impl std::hash::BuildHasher for Hashing {
    type Hasher = std::hash::DefaultHasher;

    fn build_hasher(&self) -> Self::Hasher {
        let mut hasher = std::hash::DefaultHasher::new();
        hasher.write_u64(self.0);
        hasher
    }
}

fn kernel_random<const N: usize>() -> [u8; N] {
    let mut bytes = [0u8; N];
    let mut filled = 0;
    while filled < N {
        // SAFETY: the pointer and length describe the unfilled part of `bytes`, which outlives the call.
        let got = unsafe { libc::getrandom(bytes[filled..].as_mut_ptr().cast(), N - filled, 0) };
        match usize::try_from(got) {
            Ok(got) => filled += got,
            Err(_) => {
                let error = std::io::Error::last_os_error();
                assert!(
                    error.kind() == std::io::ErrorKind::Interrupted,
                    "the kernel's random generator failed: {error}"
                );
            }
        }
    }
    bytes
}
