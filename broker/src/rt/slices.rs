//! What is left of a list of slices that the kernel takes piece by piece: for sends and positioned writes.

use bytes::Bytes;
use std::io::IoSlice;

/// Slices per system call. The kernel's limit is 1,024; a stack array of this size is plenty.
const BATCH: usize = 64;

/// A cursor over slices.
pub(super) struct Unsent<'a> {
    slices: &'a [Bytes],
    /// Bytes of the first slice that are done.
    done: usize,
}

impl<'a> Unsent<'a> {
    pub(super) fn new(slices: &'a [Bytes]) -> Unsent<'a> {
        let mut unsent = Unsent { slices, done: 0 };
        // Passes empty slices at the front, so that `is_done` and `first` need not.
        unsent.advance(0);
        unsent
    }

    pub(super) fn is_done(&self) -> bool {
        self.slices.is_empty()
    }

    /// The rest of the first slice; not empty unless all is done.
    pub(super) fn first(&self) -> &'a [u8] {
        self.slices.first().map_or(&[], |first| &first[self.done..])
    }

    /// Gives the next slices, as many as one call takes, to `call`.
    pub(super) fn with_parts<T>(&self, call: impl FnOnce(&[IoSlice<'_>]) -> T) -> T {
        let mut parts = [IoSlice::new(&[]); BATCH];
        let mut count = 0;
        for (index, slice) in self.slices.iter().take(BATCH).enumerate() {
            parts[index] = IoSlice::new(if index == 0 { &slice[self.done..] } else { slice });
            count += 1;
        }
        call(&parts[..count])
    }

    /// `count` more bytes are done.
    pub(super) fn advance(&mut self, mut count: usize) {
        while let Some(first) = self.slices.first() {
            let left = first.len() - self.done;
            if count < left {
                self.done += count;
                return;
            }
            count -= left;
            self.done = 0;
            self.slices = &self.slices[1..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_split_of_a_list_gives_the_same_bytes() {
        let slices: Vec<Bytes> = ["", "ab", "", "", "cde", "f", ""]
            .into_iter()
            .map(Bytes::from)
            .collect();
        for step in 1..8 {
            let (mut left, mut got) = (Unsent::new(&slices), Vec::new());
            while !left.is_done() {
                assert!(!left.first().is_empty());
                let taken = left.with_parts(|parts| {
                    let all: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
                    all[..step.min(all.len())].to_vec()
                });
                left.advance(taken.len());
                got.extend(taken);
            }
            assert_eq!(got, b"abcdef", "step {step}");
        }
        assert!(Unsent::new(&[]).is_done());
        assert!(Unsent::new(&[Bytes::new()]).is_done());
    }

    #[test]
    fn more_slices_than_one_call_takes() {
        let slices: Vec<Bytes> = (0..200u8).map(|byte| Bytes::from(vec![byte])).collect();
        let (mut left, mut calls) = (Unsent::new(&slices), 0);
        while !left.is_done() {
            let taken = left.with_parts(|parts| parts.len());
            left.advance(taken);
            calls += 1;
        }
        assert_eq!(calls, 4);
    }
}
