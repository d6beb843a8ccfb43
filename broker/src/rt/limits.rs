//! Limits of this process that others must divide among themselves.
#![allow(unsafe_code)]

/// Files this process may have open, sockets included. Raises the soft limit to the hard one first, as every server does:
/// the low default protects programs that use `select`. 1024 where the system does not tell.
pub fn open_files() -> usize {
    const UNKNOWN: usize = 1024;
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is a valid rlimit that outlives the call.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } != 0 {
        return UNKNOWN;
    }
    if limit.rlim_cur < limit.rlim_max {
        let raised = libc::rlimit {
            rlim_cur: limit.rlim_max,
            rlim_max: limit.rlim_max,
        };
        // SAFETY: `raised` is a valid rlimit; the kernel refuses what it does not allow and changes nothing then.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raised) } == 0 {
            limit = raised;
        }
    }
    usize::try_from(limit.rlim_cur).unwrap_or(UNKNOWN)
}
