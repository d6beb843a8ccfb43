//! A file on the shard's ring (engine `uring`). Owns its glommio handle; the caller sees that operations run to the end.
#![allow(unsafe_code)]

use super::counters::{RING_BYTES, RING_READS, RING_SYNCS, RING_WRITES};
use bytes::Bytes;
use glommio::io::BufferedFile;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, RawFd};

/// Dropped, the descriptor is closed through the ring on the reactor's next turn.
pub(super) struct RingFile(BufferedFile);

impl RingFile {
    pub(super) fn new(file: fs::File) -> RingFile {
        // SAFETY: the descriptor was just given up by `file`, so the handle is its only owner.
        RingFile(unsafe { BufferedFile::from_raw_fd(file.into_raw_fd()) })
    }

    pub(super) fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// One ring write for the whole range; more only when the kernel took less. glommio drops the buffer it is given,
    /// so the slices are gathered into a copy and stay with us for the rest of a short write.
    pub(super) async fn write_all(&self, slices: &[Bytes], pos: u64) -> io::Result<()> {
        let total: usize = slices.iter().map(Bytes::len).sum();
        let mut done = 0;
        while done < total {
            let rest = gather(slices, done, total - done);
            let wrote = self
                .0
                .write_at(rest, pos + done as u64)
                .await
                .map_err(io::Error::from)?;
            if wrote == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            RING_WRITES.add(1);
            RING_BYTES.add(wrote as u64);
            done += wrote;
        }
        Ok(())
    }

    /// One ring read appended to `buffer`, which ends at `len` at most; 0 at the end of the file.
    pub(super) async fn read(&self, buffer: &mut Vec<u8>, pos: u64, len: usize) -> io::Result<usize> {
        let got = self
            .0
            .read_at(pos, len - buffer.len())
            .await
            .map_err(io::Error::from)?;
        RING_READS.add(1);
        buffer.extend_from_slice(&got);
        Ok(got.len())
    }

    pub(super) async fn sync_data(&self) -> io::Result<()> {
        self.0.fdatasync().await.map_err(io::Error::from)?;
        RING_SYNCS.add(1);
        Ok(())
    }
}

/// The bytes of `slices` without the first `skip`.
fn gather(slices: &[Bytes], skip: usize, len: usize) -> Vec<u8> {
    let mut gathered = Vec::with_capacity(len);
    let mut skip = skip;
    for slice in slices {
        let from = skip.min(slice.len());
        gathered.extend_from_slice(&slice[from..]);
        skip -= from;
    }
    gathered
}
