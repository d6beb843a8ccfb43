//! How many shards, and on which cpus. Owns reading the affinity mask and the cgroup's cpu quota (v1 and v2); the parsing
//! is pure. Leaves binding threads to `shards`.
//!
//! Shards = min(cpus in the mask, cgroup quota rounded down), at least 1. Shards are bound only when they fill the mask
//! and no quota is below it: under half a cpu a bound executor was stalled up to 54 ms, and two brokers that each take
//! a few cpus of a shared mask would bind themselves to the same first ones.
#![allow(unsafe_code)]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// One entry per shard: the cpu to bind to, or `None` to let the scheduler place it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CorePlan {
    pub shards: u16,
    pub cpus: Vec<Option<usize>>,
}

impl CorePlan {
    /// `shards` shards, none bound.
    pub fn unpinned(shards: u16) -> CorePlan {
        CorePlan {
            shards,
            cpus: vec![None; usize::from(shards)],
        }
    }
}

/// Plans the shards of this process: `wanted` (property `shards`), or what the machine gives.
pub fn plan(wanted: Option<u16>) -> CorePlan {
    if super::sim::active() {
        return CorePlan::unpinned(wanted.unwrap_or(1));
    }
    let cpus = affinity().unwrap_or_default();
    let quota = quota(Path::new("/proc/self/cgroup"), Path::new("/proc/self/mountinfo"));
    decide(wanted, &cpus, quota)
}

/// The pure part of [`plan`]: `cpus` in the mask, `quota` in cpus.
pub fn decide(wanted: Option<u16>, cpus: &[usize], quota: Option<f64>) -> CorePlan {
    let by_mask = cpus.len().max(1);
    let by_quota = quota.map_or(usize::MAX, |quota| quota as usize);
    let shards = match wanted {
        Some(wanted) => usize::from(wanted).max(1),
        None => by_mask.min(by_quota).max(1),
    };
    let shards = u16::try_from(shards).unwrap_or(u16::MAX);
    let unlimited = quota.is_none_or(|quota| quota >= by_mask as f64);
    if !unlimited || usize::from(shards) != cpus.len() {
        return CorePlan::unpinned(shards);
    }
    CorePlan {
        shards,
        cpus: cpus.iter().map(|cpu| Some(*cpu)).collect(),
    }
}

/// Cpus this process may run on.
fn affinity() -> io::Result<Vec<usize>> {
    // SAFETY: the kernel fills the zeroed set, whose size is passed; CPU_ISSET is asked below the set's size only.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        if libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok((0..libc::CPU_SETSIZE as usize)
            .filter(|cpu| libc::CPU_ISSET(*cpu, &set))
            .collect())
    }
}

/// The tightest cpu quota on the way from this process's cgroup up to the root, in cpus.
fn quota(cgroup: &Path, mountinfo: &Path) -> Option<f64> {
    let cgroup = fs::read_to_string(cgroup).ok()?;
    let mountinfo = fs::read_to_string(mountinfo).ok()?;
    let mut tightest: Option<f64> = None;
    for directory in quota_directories(&cgroup, &mountinfo) {
        let read = |name: &str| fs::read_to_string(directory.join(name)).ok();
        let found = match read("cpu.max") {
            Some(text) => parse_cpu_max(&text),
            None => parse_cfs(
                read("cpu.cfs_quota_us").as_deref().unwrap_or_default(),
                read("cpu.cfs_period_us").as_deref().unwrap_or_default(),
            ),
        };
        if let Some(found) = found {
            tightest = Some(tightest.map_or(found, |known| known.min(found)));
        }
    }
    tightest
}

/// Directories whose quotas bind this process, from the innermost up to the mount, for v2 and for v1's cpu controller.
/// `cgroup` and `mountinfo` are the texts of `/proc/self/cgroup` and `/proc/self/mountinfo`.
fn quota_directories(cgroup: &str, mountinfo: &str) -> Vec<PathBuf> {
    let mut directories = Vec::new();
    for line in cgroup.lines() {
        // "0::/path" is v2; "4:cpu,cpuacct:/path" is v1.
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        let v2 = controllers.is_empty();
        if !v2 && !controllers.split(',').any(|controller| controller == "cpu") {
            continue;
        }
        let Some((root, mount)) = find_mount(mountinfo, v2) else {
            continue;
        };
        // The mount shows the tree below `root`; in a container that is often the process's own cgroup.
        let below = Path::new(path).strip_prefix(&root).unwrap_or(Path::new(""));
        for ancestor in mount.join(below).ancestors() {
            if !ancestor.starts_with(&mount) {
                break;
            }
            directories.push(ancestor.to_path_buf());
        }
    }
    directories
}

/// Root and mount point of the cgroup v2 tree, or of the v1 hierarchy that has the cpu controller.
fn find_mount(mountinfo: &str, v2: bool) -> Option<(PathBuf, PathBuf)> {
    mountinfo.lines().find_map(|line| {
        // "36 35 98:0 ROOT MOUNT options ... - FSTYPE source SUPEROPTIONS"
        let (left, right) = line.split_once(" - ")?;
        let mut left = left.split(' ').skip(3);
        let (root, mount) = (left.next()?, left.next()?);
        let mut right = right.split(' ');
        let kind = right.next()?;
        let options = right.nth(1).unwrap_or_default();
        let fits = if v2 {
            kind == "cgroup2"
        } else {
            kind == "cgroup" && options.split(',').any(|option| option == "cpu")
        };
        fits.then(|| (PathBuf::from(root), PathBuf::from(mount)))
    })
}

/// "max 100000" or "50000 100000".
fn parse_cpu_max(text: &str) -> Option<f64> {
    let mut words = text.split_whitespace();
    let quota: f64 = words.next()?.parse().ok()?;
    let period: f64 = words
        .next()
        .map_or(Some(100_000.0), |period| period.parse().ok())?;
    (quota > 0.0 && period > 0.0).then_some(quota / period)
}

/// v1: -1 is no quota.
fn parse_cfs(quota: &str, period: &str) -> Option<f64> {
    let quota: f64 = quota.trim().parse().ok()?;
    let period: f64 = period.trim().parse().ok()?;
    (quota > 0.0 && period > 0.0).then_some(quota / period)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_follow_mask_and_quota() {
        let pinned = |cpus: &[usize]| CorePlan {
            shards: cpus.len() as u16,
            cpus: cpus.iter().map(|cpu| Some(*cpu)).collect(),
        };
        type Row<'a> = (&'a str, Option<u16>, &'a [usize], Option<f64>, CorePlan);
        let table: &[Row<'_>] = &[
            (
                "all cpus of the mask",
                None,
                &[0, 1, 2, 3],
                None,
                pinned(&[0, 1, 2, 3]),
            ),
            (
                "a sparse mask keeps its numbers",
                None,
                &[4, 6],
                None,
                pinned(&[4, 6]),
            ),
            (
                "a quota below the mask, unpinned",
                None,
                &[0, 1, 2, 3],
                Some(2.0),
                CorePlan::unpinned(2),
            ),
            (
                "a fractional quota rounds down, unpinned",
                None,
                &[0, 1, 2, 3],
                Some(2.5),
                CorePlan::unpinned(2),
            ),
            (
                "half a cpu is one shard, unpinned",
                None,
                &[0, 1],
                Some(0.5),
                CorePlan::unpinned(1),
            ),
            (
                "a quota above the mask binds nothing",
                None,
                &[0, 1],
                Some(7.3),
                pinned(&[0, 1]),
            ),
            ("no mask to be had", None, &[], None, CorePlan::unpinned(1)),
            (
                "wanted fewer than cpus",
                Some(1),
                &[0, 1, 2],
                None,
                CorePlan::unpinned(1),
            ),
            (
                "wanted more than cpus",
                Some(4),
                &[0, 1],
                None,
                CorePlan::unpinned(4),
            ),
            (
                "wanted none is one",
                Some(0),
                &[0, 1],
                None,
                CorePlan::unpinned(1),
            ),
            ("wanted all", Some(2), &[0, 1], None, pinned(&[0, 1])),
        ];
        for (name, wanted, cpus, quota, expected) in table {
            assert_eq!(&decide(*wanted, cpus, *quota), expected, "{name}");
        }
    }

    #[test]
    fn quota_texts() {
        let v2: &[(&str, Option<f64>)] = &[
            ("max 100000\n", None),
            ("50000 100000\n", Some(0.5)),
            ("400000 100000", Some(4.0)),
            ("20000", Some(0.2)),
            ("", None),
            ("rubbish 1", None),
            ("0 100000", None),
        ];
        for (text, expected) in v2 {
            assert_eq!(parse_cpu_max(text), *expected, "{text:?}");
        }
        let v1: &[(&str, &str, Option<f64>)] = &[
            ("-1\n", "100000\n", None),
            ("150000\n", "100000\n", Some(1.5)),
            ("", "", None),
            ("1", "0", None),
        ];
        for (quota, period, expected) in v1 {
            assert_eq!(parse_cfs(quota, period), *expected, "{quota:?} {period:?}");
        }
    }

    #[test]
    fn directories_from_the_own_cgroup_up_to_the_mount() {
        let paths = |list: &[&str]| list.iter().map(PathBuf::from).collect::<Vec<_>>();
        let v2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(
            quota_directories("0::/kubepods/pod1/c1\n", v2),
            paths(&[
                "/sys/fs/cgroup/kubepods/pod1/c1",
                "/sys/fs/cgroup/kubepods/pod1",
                "/sys/fs/cgroup/kubepods",
                "/sys/fs/cgroup"
            ])
        );
        assert_eq!(
            quota_directories("0::/\n", v2),
            paths(&["/sys/fs/cgroup"]),
            "own cgroup namespace"
        );
        let v1 = "31 23 0:27 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n\
                  33 23 0:28 /docker/abc /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n";
        assert_eq!(
            quota_directories("9:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n0::/\n", v1),
            paths(&["/sys/fs/cgroup/cpu,cpuacct"]),
            "a container sees its own cgroup as the mount's root; cpuset alone does not count"
        );
        assert_eq!(quota_directories("4:cpuset:/a\n", v1), paths(&[]));
        assert_eq!(quota_directories("", ""), paths(&[]));
    }

    #[test]
    fn the_tightest_ancestor_wins() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("fs/pod/container")).unwrap();
        fs::write(at("fs/pod/cpu.max"), "150000 100000\n").unwrap();
        fs::write(at("fs/pod/container/cpu.max"), "max 100000\n").unwrap();
        fs::write(at("cgroup"), "0::/pod/container\n").unwrap();
        let mount = at("fs");
        fs::write(
            at("mountinfo"),
            format!("30 23 0:26 / {} rw - cgroup2 cgroup2 rw\n", mount.display()),
        )
        .unwrap();
        assert_eq!(quota(&at("cgroup"), &at("mountinfo")), Some(1.5));
    }
}
