//! What std does not offer: reads into a vector's spare capacity and from the page cache only, positioned writes of
//! several slices, and the sync of a whole file system.
#![allow(unsafe_code)]

use std::io::{self, IoSlice};
use std::os::fd::RawFd;

/// Appends to `buffer` what is at `pos`, until it holds `len` bytes at most; 0 at the end of the file. May wait.
pub(super) fn read(fd: RawFd, buffer: &mut Vec<u8>, pos: u64, len: usize) -> io::Result<usize> {
    loop {
        match preadv2(fd, buffer, pos, len, 0) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}

/// As [`read`], but only what is in the page cache: `WouldBlock` when the first byte is not.
pub(super) fn read_nowait(fd: RawFd, buffer: &mut Vec<u8>, pos: u64, len: usize) -> io::Result<usize> {
    preadv2(fd, buffer, pos, len, libc::RWF_NOWAIT)
}

fn preadv2(fd: RawFd, buffer: &mut Vec<u8>, pos: u64, len: usize, flags: libc::c_int) -> io::Result<usize> {
    let wanted = len.saturating_sub(buffer.len());
    buffer.reserve(wanted);
    let spare = &mut buffer.spare_capacity_mut()[..wanted];
    let part = libc::iovec {
        iov_base: spare.as_mut_ptr().cast(),
        iov_len: spare.len(),
    };
    let pos = libc::off_t::try_from(pos).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    // SAFETY: `part` describes spare capacity of `buffer`, borrowed mutably for the call; the kernel writes at most
    // `iov_len` bytes into it before the call returns.
    let got = unsafe { libc::preadv2(fd, &raw const part, 1, pos, flags) };
    let got = usize::try_from(got).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: the kernel initialized `got` bytes of the spare capacity right behind the current length.
    unsafe { buffer.set_len(buffer.len() + got) };
    Ok(got)
}

/// Everything written to the file system of `fd` so far, names included, is on disk (syncfs; it reports errors of
/// writing back since Linux 5.8). May wait.
pub(super) fn sync_file_system(fd: RawFd) -> io::Result<()> {
    // SAFETY: syncfs takes a descriptor and no memory.
    match unsafe { libc::syncfs(fd) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Writes some of `parts` at `pos`; returns how many bytes.
pub(super) fn write(fd: RawFd, parts: &[IoSlice<'_>], pos: u64) -> io::Result<usize> {
    let pos = libc::off_t::try_from(pos).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let count =
        libc::c_int::try_from(parts.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    loop {
        // SAFETY: an `IoSlice` is laid out as an iovec; the kernel only reads what the slices borrow, during the call.
        let wrote = unsafe { libc::pwritev(fd, parts.as_ptr().cast(), count, pos) };
        match usize::try_from(wrote) {
            Ok(wrote) => return Ok(wrote),
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
}
