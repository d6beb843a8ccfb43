//! Facts for the start ladder, asked of the kernel by raw system calls: glommio would panic or exit where we want words.
#![allow(unsafe_code)]

use super::{Facts, Setup};
use std::ffi::CStr;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Operations glommio insists on: code in the kernel's list, name without its prefix.
const NEEDED: &[(u8, &str)] = &[
    (0, "NOP"),
    (1, "READV"),
    (2, "WRITEV"),
    (3, "FSYNC"),
    (4, "READ_FIXED"),
    (5, "WRITE_FIXED"),
    (6, "POLL_ADD"),
    (7, "POLL_REMOVE"),
    (9, "SENDMSG"),
    (10, "RECVMSG"),
    (11, "TIMEOUT"),
    (12, "TIMEOUT_REMOVE"),
    (13, "ACCEPT"),
    (14, "ASYNC_CANCEL"),
    (15, "LINK_TIMEOUT"),
    (16, "CONNECT"),
    (17, "FALLOCATE"),
    (18, "OPENAT"),
    (19, "CLOSE"),
    (21, "STATX"),
    (22, "READ"),
    (23, "WRITE"),
    (26, "SEND"),
    (27, "RECV"),
];

/// `IORING_REGISTER_PROBE`.
const REGISTER_PROBE: libc::c_long = 8;
/// `IO_URING_OP_SUPPORTED`.
const OP_SUPPORTED: u16 = 1;
/// Operations asked about.
const PROBED: usize = 64;

/// The kernel's `struct io_uring_params` (120 bytes), of which we need nothing back.
type Params = [u32; 30];

/// The kernel's `struct io_uring_probe` with room for [`PROBED`] operations.
#[repr(C)]
struct Probe {
    last_op: u8,
    ops_len: u8,
    reserved: u16,
    reserved2: [u32; 3],
    ops: [ProbeOp; PROBED],
}

#[repr(C)]
#[derive(Clone, Copy)]
struct ProbeOp {
    op: u8,
    reserved: u8,
    flags: u16,
    reserved2: u32,
}

const _: () =
    assert!(size_of::<Params>() == 120 && size_of::<ProbeOp>() == 8 && size_of::<Probe>() == 16 + 8 * PROBED);

pub(super) fn facts() -> Facts {
    Facts {
        release: release(),
        sysctl: sysctl(),
        seccomp: seccomp(),
        setup: setup(),
        memlock: raise_memlock(),
    }
}

fn release() -> String {
    // SAFETY: uname fills the zeroed struct; its fields are NUL-terminated.
    unsafe {
        let mut name: libc::utsname = std::mem::zeroed();
        if libc::uname(&raw mut name) != 0 {
            return String::new();
        }
        CStr::from_ptr(name.release.as_ptr())
            .to_string_lossy()
            .into_owned()
    }
}

fn sysctl() -> Option<u32> {
    fs::read_to_string("/proc/sys/kernel/io_uring_disabled")
        .ok()?
        .trim()
        .parse()
        .ok()
}

fn seccomp() -> bool {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    status.lines().any(|line| {
        line.strip_prefix("Seccomp:")
            .is_some_and(|mode| mode.trim() != "0")
    })
}

/// Makes a small ring, asks what it can do, and closes it.
fn setup() -> Setup {
    let mut params: Params = [0; 30];
    // SAFETY: the kernel reads and fills `params`, which has the size of its `struct io_uring_params` and outlives the
    // call; a non-negative result is a descriptor that nobody else owns.
    let ring = unsafe {
        let fd = libc::syscall(libc::SYS_io_uring_setup, 2u32, params.as_mut_ptr());
        if fd < 0 {
            return Setup::Refused(io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL));
        }
        OwnedFd::from_raw_fd(fd as i32)
    };
    let mut probe = Probe {
        last_op: 0,
        ops_len: 0,
        reserved: 0,
        reserved2: [0; 3],
        ops: [ProbeOp {
            op: 0,
            reserved: 0,
            flags: 0,
            reserved2: 0,
        }; PROBED],
    };
    // SAFETY: the kernel fills at most `PROBED` operations of `probe`, which outlives the call.
    let outcome = unsafe {
        libc::syscall(
            libc::SYS_io_uring_register,
            ring.as_raw_fd(),
            REGISTER_PROBE,
            &raw mut probe,
            PROBED,
        )
    };
    if outcome < 0 {
        let errno = io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL);
        // Before 5.6 there is no probe; a profile may also allow setup and forbid register.
        return if errno == libc::EINVAL {
            Setup::Works {
                missing: vec!["PROBE"],
            }
        } else {
            Setup::Refused(errno)
        };
    }
    let has = |code: u8| {
        probe
            .ops
            .get(usize::from(code))
            .is_some_and(|op| op.flags & OP_SUPPORTED != 0)
    };
    Setup::Works {
        missing: NEEDED
            .iter()
            .filter(|(code, _)| !has(*code))
            .map(|(_, name)| *name)
            .collect(),
    }
}

/// Raises the soft RLIMIT_MEMLOCK to the hard one, and returns what holds then.
fn raise_memlock() -> u64 {
    // SAFETY: both calls work on `limit`, which outlives them.
    unsafe {
        let mut limit = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        if libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) != 0 {
            return u64::MAX;
        }
        if limit.rlim_cur < limit.rlim_max {
            let raised = libc::rlimit {
                rlim_cur: limit.rlim_max,
                ..limit
            };
            if libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const raised) == 0 {
                limit = raised;
            }
        }
        if limit.rlim_cur == libc::RLIM_INFINITY {
            u64::MAX
        } else {
            limit.rlim_cur
        }
    }
}
