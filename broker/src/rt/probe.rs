//! The start ladder: may this process use io_uring, and if not, exactly why and what to do about it. Owns the facts it
//! reads, the order of the rungs, reasons and remedies. The decision is a pure function of the facts.
//!
//! Rungs: kernel, sysctl `kernel.io_uring_disabled`, an `io_uring_setup` of our own (seccomp answers for it), the
//! operations glommio needs, RLIMIT_MEMLOCK after raising soft to hard. glommio itself would panic or exit on most.

mod kernel;

use super::{Engine, IoEngine};
use std::fmt;

/// Oldest kernel glommio works on.
const MIN_KERNEL: (u32, u32) = (5, 8);
/// From here on ring memory is charged to the memory cgroup, not to RLIMIT_MEMLOCK.
const UNLOCKED_RINGS_KERNEL: (u32, u32) = (5, 12);
/// glommio refuses to start below this limit.
const MEMLOCK_PER_EXECUTOR: u64 = 512 << 10;

/// Why this engine. The words are those of the condition `IoUringAvailable` in Kubernetes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EngineReason {
    /// io_uring is in use.
    Enabled,
    /// A seccomp profile refuses the system calls.
    SeccompDenied,
    /// Off by sysctl, by the kernel's build, or by a security module.
    KernelDisabled,
    /// Older than 5.8, or without an operation that is needed.
    KernelTooOld,
    /// RLIMIT_MEMLOCK is too low, and raising it is not allowed.
    MemlockTooLow,
    /// `io.engine=posix` was asked for.
    Disabled,
}

impl EngineReason {
    pub fn as_str(self) -> &'static str {
        match self {
            EngineReason::Enabled => "Enabled",
            EngineReason::SeccompDenied => "SeccompDenied",
            EngineReason::KernelDisabled => "KernelDisabled",
            EngineReason::KernelTooOld => "KernelTooOld",
            EngineReason::MemlockTooLow => "MemlockTooLow",
            EngineReason::Disabled => "Disabled",
        }
    }
}

impl fmt::Display for EngineReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The engine of this process, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineChoice {
    pub engine: Engine,
    pub reason: EngineReason,
    /// One line: what was found and, unless `Enabled`, what would allow io_uring.
    pub detail: String,
}

impl EngineChoice {
    /// The engine of a simulated world.
    fn simulated() -> EngineChoice {
        EngineChoice {
            engine: Engine::Sim,
            reason: EngineReason::Disabled,
            detail: "simulated".into(),
        }
    }
}

/// `io.engine=uring` was asked for where io_uring is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "io.engine=uring, but io_uring cannot be used ({reason}): {detail}; or set io.engine=auto to run on `posix`"
)]
pub struct EngineRefused {
    pub reason: EngineReason,
    pub detail: String,
}

/// Climbs the ladder for `shards` executors. Raises the soft memlock limit to the hard one on the way.
pub fn choose(wanted: IoEngine, shards: u16) -> Result<EngineChoice, EngineRefused> {
    if super::sim::active() {
        return Ok(EngineChoice::simulated());
    }
    if wanted == IoEngine::Posix {
        let detail = "io.engine=posix: io_uring was not tried".to_owned();
        return Ok(EngineChoice {
            engine: Engine::Posix,
            reason: EngineReason::Disabled,
            detail,
        });
    }
    decide(wanted, &kernel::facts(), shards)
}

/// What the ladder looks at.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    /// Release as `uname -r` prints it.
    release: String,
    /// `kernel.io_uring_disabled`, if the kernel has it (6.6 and later).
    sysctl: Option<u32>,
    /// Whether a seccomp filter is on this process.
    seccomp: bool,
    setup: Setup,
    /// Soft limit in bytes after raising; `u64::MAX` is unlimited.
    memlock: u64,
}

/// What became of our own `io_uring_setup`.
#[derive(Clone, Debug)]
pub(super) enum Setup {
    /// A ring; names of needed operations it lacks.
    Works { missing: Vec<&'static str> },
    /// The errno.
    Refused(i32),
}

fn decide(wanted: IoEngine, facts: &Facts, shards: u16) -> Result<EngineChoice, EngineRefused> {
    match (refusal(facts, shards), wanted) {
        (None, _) => {
            let detail = format!("io_uring works (kernel {}, {shards} shards)", facts.release);
            Ok(EngineChoice {
                engine: Engine::Uring,
                reason: EngineReason::Enabled,
                detail,
            })
        }
        (Some((reason, detail)), IoEngine::Uring) => Err(EngineRefused { reason, detail }),
        (Some((reason, detail)), _) => Ok(EngineChoice {
            engine: Engine::Posix,
            reason,
            detail,
        }),
    }
}

/// The first rung that does not hold, with what was found and its remedy.
fn refusal(facts: &Facts, shards: u16) -> Option<(EngineReason, String)> {
    let release = &facts.release;
    let version = parse_release(release);
    if version.is_some_and(|version| version < MIN_KERNEL) {
        let words = format!("kernel {release} is older than 5.8; io_uring needs a newer kernel");
        return Some((EngineReason::KernelTooOld, words));
    }
    if facts.sysctl == Some(2) {
        let words = "sysctl kernel.io_uring_disabled is 2 on this node; set it to 0 (sysctl -w kernel.io_uring_disabled=0)";
        return Some((EngineReason::KernelDisabled, words.to_owned()));
    }
    match &facts.setup {
        Setup::Refused(errno) => return Some(refused_setup(facts, *errno)),
        Setup::Works { missing } if !missing.is_empty() => {
            let words = format!(
                "kernel {release} lacks {}; io_uring needs a newer kernel",
                missing.join(", ")
            );
            return Some((EngineReason::KernelTooOld, words));
        }
        Setup::Works { .. } => {}
    }
    let executors = if version.is_some_and(|version| version < UNLOCKED_RINGS_KERNEL) {
        u64::from(shards)
    } else {
        1
    };
    let needed = MEMLOCK_PER_EXECUTOR * executors;
    (facts.memlock < needed).then(|| (EngineReason::MemlockTooLow, memlock_words(facts.memlock, needed)))
}

fn refused_setup(facts: &Facts, errno: i32) -> (EngineReason, String) {
    let sysctl_remedy =
        "set sysctl kernel.io_uring_disabled to 0, or add this process's group to kernel.io_uring_group";
    let seccomp_remedy = "run with a seccomp profile that allows io_uring_setup, io_uring_enter and io_uring_register \
                          (Kubernetes: the chart's Localhost profile; Docker: --security-opt seccomp=<profile>)";
    match errno {
        libc::EPERM | libc::EACCES if facts.sysctl == Some(1) => (
            EngineReason::KernelDisabled,
            format!("sysctl kernel.io_uring_disabled is 1 and this process is not privileged; {sysctl_remedy}"),
        ),
        libc::EPERM | libc::EACCES if facts.seccomp => (
            EngineReason::SeccompDenied,
            format!("a seccomp profile refuses io_uring_setup (EPERM); {seccomp_remedy}"),
        ),
        libc::ENOSYS if facts.seccomp => (
            EngineReason::SeccompDenied,
            format!("a seccomp profile hides io_uring_setup (ENOSYS); {seccomp_remedy}"),
        ),
        libc::ENOSYS => (
            EngineReason::KernelDisabled,
            "this kernel has no io_uring (ENOSYS: built without it, or a sandbox such as gVisor); run on another kernel"
                .to_owned(),
        ),
        libc::EPERM | libc::EACCES => (
            EngineReason::KernelDisabled,
            "the kernel refuses io_uring_setup (EPERM) without a seccomp filter; check the security module (SELinux, \
             AppArmor) of this node"
                .to_owned(),
        ),
        libc::ENOMEM => (EngineReason::MemlockTooLow, memlock_words(facts.memlock, MEMLOCK_PER_EXECUTOR)),
        other => {
            let error = std::io::Error::from_raw_os_error(other);
            (EngineReason::KernelDisabled, format!("io_uring_setup failed: {error}; check the node's kernel log"))
        }
    }
}

fn memlock_words(found: u64, needed: u64) -> String {
    format!(
        "RLIMIT_MEMLOCK is {} KiB and cannot be raised, {} KiB are needed; raise it for the container runtime \
         (containerd: LimitMEMLOCK in its systemd unit) or the shell (ulimit -l)",
        found >> 10,
        needed >> 10
    )
}

/// "6.1.0-13-amd64" is (6, 1). `None` for what does not look like a release: then the setup decides.
fn parse_release(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Facts {
        Facts {
            release: "6.6.1".into(),
            sysctl: Some(0),
            seccomp: false,
            setup: Setup::Works { missing: vec![] },
            memlock: 8 << 20,
        }
    }

    #[test]
    fn each_rung_gives_its_reason_and_remedy() {
        let table: &[(&str, Facts, u16, EngineReason, &str)] = &[
            ("all well", good(), 4, EngineReason::Enabled, "works"),
            (
                "no such sysctl",
                Facts {
                    sysctl: None,
                    ..good()
                },
                1,
                EngineReason::Enabled,
                "works",
            ),
            (
                "old kernel",
                Facts {
                    release: "5.4.0-42-generic".into(),
                    ..good()
                },
                1,
                EngineReason::KernelTooOld,
                "5.8",
            ),
            (
                "just new enough",
                Facts {
                    release: "5.8.0".into(),
                    ..good()
                },
                1,
                EngineReason::Enabled,
                "works",
            ),
            (
                "odd release",
                Facts {
                    release: "weird".into(),
                    ..good()
                },
                1,
                EngineReason::Enabled,
                "works",
            ),
            (
                "sysctl 2",
                Facts {
                    sysctl: Some(2),
                    ..good()
                },
                1,
                EngineReason::KernelDisabled,
                "io_uring_disabled=0",
            ),
            (
                "sysctl 1, privileged",
                Facts {
                    sysctl: Some(1),
                    ..good()
                },
                1,
                EngineReason::Enabled,
                "works",
            ),
            (
                "sysctl 1, not privileged",
                Facts {
                    sysctl: Some(1),
                    setup: Setup::Refused(libc::EPERM),
                    ..good()
                },
                1,
                EngineReason::KernelDisabled,
                "io_uring_group",
            ),
            (
                "containerd's profile",
                Facts {
                    seccomp: true,
                    setup: Setup::Refused(libc::EPERM),
                    ..good()
                },
                1,
                EngineReason::SeccompDenied,
                "io_uring_setup, io_uring_enter and io_uring_register",
            ),
            (
                "CRI-O's profile",
                Facts {
                    seccomp: true,
                    setup: Setup::Refused(libc::ENOSYS),
                    ..good()
                },
                1,
                EngineReason::SeccompDenied,
                "ENOSYS",
            ),
            (
                "kernel without io_uring",
                Facts {
                    setup: Setup::Refused(libc::ENOSYS),
                    ..good()
                },
                1,
                EngineReason::KernelDisabled,
                "gVisor",
            ),
            (
                "SELinux",
                Facts {
                    setup: Setup::Refused(libc::EPERM),
                    ..good()
                },
                1,
                EngineReason::KernelDisabled,
                "SELinux",
            ),
            (
                "missing operation",
                Facts {
                    setup: Setup::Works {
                        missing: vec!["STATX"],
                    },
                    ..good()
                },
                1,
                EngineReason::KernelTooOld,
                "STATX",
            ),
            (
                "memlock",
                Facts {
                    memlock: 64 << 10,
                    ..good()
                },
                1,
                EngineReason::MemlockTooLow,
                "LimitMEMLOCK",
            ),
            (
                "one limit for all on new kernels",
                Facts {
                    memlock: 512 << 10,
                    ..good()
                },
                8,
                EngineReason::Enabled,
                "",
            ),
            (
                "a share per executor on old ones",
                Facts {
                    release: "5.10.0".into(),
                    memlock: 3 << 20,
                    ..good()
                },
                8,
                EngineReason::MemlockTooLow,
                "4096 KiB",
            ),
            (
                "unlimited",
                Facts {
                    memlock: u64::MAX,
                    ..good()
                },
                64,
                EngineReason::Enabled,
                "",
            ),
        ];
        for (name, facts, shards, reason, words) in table {
            let choice = decide(IoEngine::Auto, facts, *shards).unwrap();
            assert_eq!(choice.reason, *reason, "{name}: {}", choice.detail);
            assert!(choice.detail.contains(words), "{name}: {}", choice.detail);
            let expected = if *reason == EngineReason::Enabled {
                Engine::Uring
            } else {
                Engine::Posix
            };
            assert_eq!(choice.engine, expected, "{name}");
            assert_eq!(
                decide(IoEngine::Uring, facts, *shards).is_ok(),
                expected == Engine::Uring,
                "{name}"
            );
        }
    }

    #[test]
    fn asking_for_posix_never_tries() {
        let choice = choose(IoEngine::Posix, 1).unwrap();
        assert_eq!(
            (choice.engine, choice.reason),
            (Engine::Posix, EngineReason::Disabled)
        );
    }

    #[test]
    fn the_refusal_names_the_way_out() {
        let facts = Facts {
            seccomp: true,
            setup: Setup::Refused(libc::EPERM),
            ..good()
        };
        let words = decide(IoEngine::Uring, &facts, 1).unwrap_err().to_string();
        assert!(
            words.contains("SeccompDenied") && words.contains("io.engine=auto"),
            "{words}"
        );
    }
}
