//! What this process may take from the machine: files, which others must divide among themselves, and memory pages.
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

/// Has the kernel give this process memory in small pages only. Where huge ones are the rule (`transparent_hugepage` is
/// `always`), an allocator that uses a little here and there has 2 MiB resident for each place: an idle broker took three
/// times its memory. A kernel that refuses changes nothing but that. To be called first thing.
pub fn small_pages_only() {
    // SAFETY: a flag of this process, given by value; the kernel wants the unused arguments to be zero.
    let _ = unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) };
}
