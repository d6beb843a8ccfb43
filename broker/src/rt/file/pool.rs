//! A file on the blocking pool (engine `posix`): every operation is one pool call, so a shard never stalls on a disk.

use super::counters::{POOL_BYTES, POOL_READS, POOL_SYNCS, POOL_WRITES};
use super::raw;
use crate::rt::slices::Unsent;
use bytes::Bytes;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

pub(super) struct PoolFile(Arc<fs::File>);

impl PoolFile {
    pub(super) fn new(file: fs::File) -> PoolFile {
        PoolFile(Arc::new(file))
    }

    pub(super) fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// One positioned write of all slices; more only when the kernel takes less, or there are very many.
    pub(super) async fn write_all(&self, slices: Vec<Bytes>, pos: u64) -> io::Result<()> {
        let file = self.0.clone();
        crate::rt::blocking(move || {
            let mut left = Unsent::new(&slices);
            let mut at = pos;
            while !left.is_done() {
                let wrote = left.with_parts(|parts| raw::write(file.as_raw_fd(), parts, at))?;
                if wrote == 0 {
                    return Err(io::ErrorKind::WriteZero.into());
                }
                left.advance(wrote);
                at += wrote as u64;
                POOL_WRITES.add(1);
                POOL_BYTES.add(wrote as u64);
            }
            Ok(())
        })
        .await
    }

    /// One read appended to `buffer`, which ends at `len` at most; 0 at the end of the file.
    pub(super) async fn read(&self, buffer: &mut Vec<u8>, pos: u64, len: usize) -> io::Result<usize> {
        let file = self.0.clone();
        let mut moved = std::mem::take(buffer);
        let (moved, got) = crate::rt::blocking(move || {
            let got = raw::read(file.as_raw_fd(), &mut moved, pos, len);
            POOL_READS.add(1);
            (moved, got)
        })
        .await;
        *buffer = moved;
        got
    }

    pub(super) async fn sync_data(&self) -> io::Result<()> {
        let file = self.0.clone();
        crate::rt::blocking(move || {
            file.sync_data()?;
            POOL_SYNCS.add(1);
            Ok(())
        })
        .await
    }
}
