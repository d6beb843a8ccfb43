//! The start ladder under a real seccomp filter, as container runtimes install it. A filter binds the thread that
//! installs it, so each case has a thread of its own.
#![allow(unsafe_code)]

use crate::rt::{Engine, EngineReason, IoEngine, probe};

/// From now on this thread's `io_uring_setup` fails with `errno`.
fn refuse_io_uring(errno: i32) {
    let statement = |code: u32, jump_true: u8, jump_false: u8, value: u32| libc::sock_filter {
        code: u16::try_from(code).unwrap(),
        jt: jump_true,
        jf: jump_false,
        k: value,
    };
    let setup = u32::try_from(libc::SYS_io_uring_setup).unwrap();
    let program = [
        // The system call's number is the first word of what the filter sees.
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, setup),
        statement(
            libc::BPF_RET | libc::BPF_K,
            0,
            0,
            libc::SECCOMP_RET_ERRNO | u32::try_from(errno).unwrap(),
        ),
        statement(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let filter = libc::sock_fprog {
        len: u16::try_from(program.len()).unwrap(),
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: the kernel copies the program, which outlives both calls; they change this thread only.
    let outcome = unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter)
    };
    assert_eq!(outcome, 0, "{}", std::io::Error::last_os_error());
}

#[test]
fn a_seccomp_profile_is_named_as_the_reason() {
    for errno in [libc::EPERM, libc::ENOSYS] {
        let climbing = std::thread::spawn(move || {
            let free = probe::choose(IoEngine::Auto, 1).unwrap();
            refuse_io_uring(errno);
            (
                free,
                probe::choose(IoEngine::Auto, 1).unwrap(),
                probe::choose(IoEngine::Uring, 1).unwrap_err(),
            )
        });
        let (free, choice, refused) = climbing.join().unwrap();
        if free.engine != Engine::Uring {
            println!("io_uring is refused on this machine anyway: {}", free.detail);
            return;
        }
        assert_eq!(
            (choice.engine, choice.reason),
            (Engine::Posix, EngineReason::SeccompDenied),
            "{}",
            choice.detail
        );
        assert_eq!((refused.reason, refused.detail), (choice.reason, choice.detail));
    }
}
