//! The control group of this process, version 1 or 2: its limits and those of every group above it.
//!
//! Sources: the kernel's `cgroup-v2.rst` (`memory.max`, `memory.events`, `cpu.max`, `cpu.stat`, `*.pressure`), `cgroup-v1/memory.rst`
//! (`memory.limit_in_bytes`, `memory.oom_control`) and `sched-bwc.rst` (`cpu.stat`); cgroups(7) for `/proc/self/cgroup` and the roots
//! of mounts.

use super::pressure::Periods;
use std::path::{Path, PathBuf};

/// From here on a limit of version 1 means none: it is the largest number of pages.
const UNLIMITED: u64 = 1 << 60;
/// Groups above each other that are looked at.
const DEPTH_MAX: usize = 32;

/// The folders of one controller, from the process's own group up to the mount.
#[derive(Default)]
struct Folders {
    all: Vec<PathBuf>,
    second: bool,
}

/// Where the figures are.
#[derive(Default)]
pub(super) struct Cgroup {
    memory: Folders,
    cpu: Folders,
    /// The process's own group in the hierarchy of version 2, which alone counts pressure.
    own: Option<PathBuf>,
}

/// What a group says of memory.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Memory {
    /// The smallest limit that applies.
    pub(super) limit_bytes: Option<u64>,
    /// Kills since the group was made.
    pub(super) oom_kills: Option<u64>,
}

impl Cgroup {
    /// The group of this process, with all files below `root`.
    pub(super) fn of(root: &Path) -> Cgroup {
        let read = |file: &str| super::read(&root.join(file)).unwrap_or_default();
        let (groups, mounts) = (read("proc/self/cgroup"), read("proc/self/mountinfo"));
        let folders = |controller: &str| {
            // A controller lives in one hierarchy: in version 1 if that has it, else in version 2.
            folders_of(root, &groups, &mounts, Some(controller)).or_else(|| folders_of(root, &groups, &mounts, None)).unwrap_or_default()
        };
        let own = folders_of(root, &groups, &mounts, None).and_then(|folders| folders.all.into_iter().next());
        Cgroup { memory: folders("memory"), cpu: folders("cpu"), own }
    }

    /// The pressure file of the process's own group: `memory`, `cpu` or `io`. The root of the hierarchy has none.
    pub(super) fn pressure(&self, what: &str) -> Option<String> {
        read(self.own.as_ref()?, &format!("{what}.pressure"))
    }

    /// The scheduler's periods and how many of them were throttled, of every group with a quota, the process's own first.
    pub(super) fn periods(&self) -> Vec<Option<Periods>> {
        self.cpu.all.iter().map(|folder| Periods::parse(&read(folder, "cpu.stat")?)).collect()
    }

    pub(super) fn memory(&self) -> Memory {
        let Folders { all, second } = &self.memory;
        let limit = |folder: &PathBuf| {
            let text = read(folder, if *second { "memory.max" } else { "memory.limit_in_bytes" })?;
            text.trim().parse::<u64>().ok().filter(|limit| *limit < UNLIMITED)
        };
        let kills = |folder: &PathBuf| {
            let text = read(folder, if *second { "memory.events" } else { "memory.oom_control" })?;
            text.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
        };
        Memory { limit_bytes: all.iter().filter_map(limit).min(), oom_kills: all.first().and_then(kills) }
    }

    /// The smallest CPU quota that applies, in CPUs.
    pub(super) fn cpus(&self) -> Option<f64> {
        let Folders { all, second } = &self.cpu;
        let quota = |folder: &PathBuf| {
            let (quota, period) = if *second {
                let text = read(folder, "cpu.max")?;
                let (quota, period) = text.trim().split_once(' ')?;
                (quota.parse::<f64>().ok()?, period.parse::<f64>().ok()?)
            } else {
                let number = |file| read(folder, file)?.trim().parse::<f64>().ok();
                (number("cpu.cfs_quota_us")?, number("cpu.cfs_period_us")?)
            };
            (quota > 0.0 && period > 0.0).then_some(quota / period)
        };
        all.iter().filter_map(quota).reduce(f64::min)
    }
}

fn read(folder: &Path, file: &str) -> Option<String> {
    super::read(&folder.join(file))
}

/// The folders of a controller of version 1, or of the one hierarchy of version 2.
fn folders_of(root: &Path, groups: &str, mounts: &str, controller: Option<&str>) -> Option<Folders> {
    let has = |list: &str| controller.is_some_and(|controller| list.split(',').any(|one| one == controller));
    let group = groups.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (number, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let ours = if controller.is_some() { has(controllers) } else { number == "0" && controllers.is_empty() };
        ours.then_some(path)
    })?;
    let (mount_root, mount_point) = mounts.lines().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let mut left = left.split(' ').skip(3);
        let (mount_root, mount_point) = (left.next()?, left.next()?);
        let mut right = right.split(' ');
        let (kind, options) = (right.next()?, right.nth(1)?);
        let ours = if controller.is_some() { kind == "cgroup" && has(options) } else { kind == "cgroup2" };
        ours.then_some((mount_root, mount_point))
    })?;
    let below = |path: &str| path.trim_start_matches('/').to_owned();
    let top = root.join(below(mount_point));
    // In a container the mount begins at the container's own group; seen from a name space of its own, the path is relative.
    let inside = group.strip_prefix(mount_root.trim_end_matches('/')).unwrap_or_default();
    let inside = if inside.split('/').any(|part| part == "..") { "" } else { inside };
    let own = top.join(below(inside));
    let all = own.ancestors().take(DEPTH_MAX).take_while(|folder| folder.starts_with(&top)).map(Path::to_owned).collect();
    Some(Folders { all, second: controller.is_none() })
}
