//! What this process uses, from `/proc` and its control group. Where a file is missing, so is the figure: nothing is guessed.

mod cgroup;
mod pressure;
mod proc;

use cgroup::Cgroup;
use homeostat_schemas::UnixMs;
use homeostat_schemas::event::Resource;
use pressure::{Throttling, waited};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// No file of these is longer; what is beyond is not read.
const FILE_MAX: u64 = 256 << 10;

/// The beginning of a file; nothing when it is not there or may not be read.
fn read(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    std::fs::File::open(path).ok()?.take(FILE_MAX).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// When this process started, Unix milliseconds; the same at every call.
pub(crate) fn started_ms() -> Option<UnixMs> {
    proc::started_ms(Path::new("/"))
}

/// Looks at this process now and then.
pub(crate) struct Probe {
    root: PathBuf,
    cgroup: Cgroup,
    /// Time and CPU seconds of the last look.
    last: Option<(Instant, f64)>,
    throttling: Throttling,
    served: bool,
}

impl Probe {
    pub(crate) fn new() -> Probe {
        Probe::of(PathBuf::from("/"))
    }

    fn of(root: PathBuf) -> Probe {
        let cgroup = Cgroup::of(&root);
        Probe { root, cgroup, last: None, throttling: Throttling::default(), served: false }
    }

    /// What the process uses now. CPU, throttling and load are over the time since the last look, and `served` the requests served in it.
    /// `None` where the system does not say how much memory a process uses.
    pub(crate) fn resource(&mut self, served: u64) -> Option<Resource> {
        let now = Instant::now();
        let cpu_s = proc::cpu_s(&self.root);
        let elapsed_s = self.last.map(|(at, _)| now.duration_since(at).as_secs_f64()).filter(|elapsed| *elapsed > 0.0);
        let used_s = self.last.zip(cpu_s).map(|((_, before), now)| (now - before).max(0.0));
        self.last = cpu_s.map(|cpu_s| (now, cpu_s));
        self.served |= served > 0;
        let memory = self.cgroup.memory();
        Some(Resource {
            memory_bytes: proc::anonymous_bytes(&self.root)?,
            memory_limit_bytes: memory.limit_bytes.into_iter().chain(proc::total_bytes(&self.root)).min(),
            cpu_ratio: used_s.zip(elapsed_s).map(|(used, elapsed)| used / elapsed / self.cpus()),
            // Who counts no requests says nothing about the load.
            #[allow(clippy::cast_precision_loss)] // a count of requests between two looks is far below 2^53
            load_rps: elapsed_s.filter(|_| self.served).map(|elapsed| served as f64 / elapsed),
            oom_kills: memory.oom_kills,
            memory_pressure: self.pressure("memory"),
            cpu_pressure: self.pressure("cpu"),
            io_pressure: self.pressure("io"),
            cpu_throttled: self.throttling.share(self.cgroup.periods()),
            ..Resource::default()
        })
    }

    /// Of the process's own group, or of the machine where nobody counts it by group.
    fn pressure(&self, what: &str) -> Option<f64> {
        let text = self.cgroup.pressure(what).or_else(|| proc::pressure(&self.root, what))?;
        waited(&text)
    }

    /// How many CPUs it may use at once: those it is allowed on, or its quota if that is less.
    fn cpus(&self) -> f64 {
        let allowed = proc::cpus(&self.root).unwrap_or(1.0);
        self.cgroup.cpus().map_or(allowed, |quota| quota.min(allowed)).max(0.001)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use homeostat_schemas::event::Kind as _;

    /// A file system with these files.
    fn files(files: &[(&str, &str)]) -> (tempfile::TempDir, Probe) {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let probe = Probe::of(dir.path().to_owned());
        (dir, probe)
    }

    const STATUS: &str = "Name:\tshop\nVmRSS:\t  20480 kB\nRssAnon:\t  10240 kB\nRssFile:\t 10240 kB\nCpus_allowed_list:\t0-2,5\n";
    const STAT: &str = "7 (a ) b) S 1 7 7 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 4 0 1000 1000000 500 18446744073709551615";

    #[test]
    fn version_2_with_a_limit_above_and_a_quota() {
        let (dir, mut probe) = files(&[
            ("proc/self/status", STATUS),
            ("proc/self/stat", STAT),
            ("proc/meminfo", "MemTotal:       16384 kB\nMemFree: 1 kB\n"),
            ("proc/self/cgroup", "0::/kube/pod1/shop\n"),
            ("proc/self/mountinfo", "30 20 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n"),
            ("sys/fs/cgroup/kube/pod1/shop/memory.max", "max\n"),
            ("sys/fs/cgroup/kube/pod1/memory.max", "12582912\n"),
            ("sys/fs/cgroup/kube/memory.max", "99999999999\n"),
            ("sys/fs/cgroup/kube/pod1/shop/memory.events", "low 0\nhigh 0\nmax 3\noom 1\noom_kill 2\noom_group_kill 0\n"),
            ("sys/fs/cgroup/kube/pod1/shop/cpu.max", "150000 100000\n"),
            ("sys/fs/cgroup/kube/pod1/shop/cpu.stat", "usage_usec 900\nnr_periods 100\nnr_throttled 40\nthrottled_usec 77\n"),
            ("sys/fs/cgroup/kube/pod1/cpu.stat", "usage_usec 900\nnr_periods 50\nnr_throttled 0\nthrottled_usec 0\n"),
            (
                "sys/fs/cgroup/kube/pod1/shop/memory.pressure",
                "some avg10=12.50 avg60=1.00 avg300=0.10 total=5\nfull avg10=3.00 avg60=0.00 avg300=0.00 total=1\n",
            ),
            ("proc/pressure/memory", "some avg10=99.00 avg60=99.00 avg300=99.00 total=5\n"),
            ("proc/pressure/io", "some avg10=0.06 avg60=0.57 avg300=1.22 total=395087508\n"),
        ]);
        let seen = probe.resource(0).unwrap();
        assert_eq!((seen.memory_pressure, seen.cpu_pressure, seen.io_pressure), (Some(0.125), None, Some(0.0006)));
        assert_eq!(seen.cpu_throttled, None, "there is no time yet over which");
        let stat =
            |group: &str, text: &str| std::fs::write(dir.path().join("sys/fs/cgroup/kube").join(group).join("cpu.stat"), text).unwrap();
        stat("pod1/shop", "nr_periods 120\nnr_throttled 45\n");
        stat("pod1", "nr_periods 70\nnr_throttled 10\n");
        assert_eq!(probe.resource(0).unwrap().cpu_throttled, Some(0.5), "a quota above is one, too");
        assert_eq!(probe.resource(0).unwrap().cpu_throttled, None, "no period has passed");
        assert_eq!(Resource { service: "shop".to_owned(), ..seen.clone() }.check(), Ok(()));
        assert_eq!(seen.memory_bytes, 10 << 20);
        assert_eq!(seen.memory_limit_bytes, Some(12_582_912));
        assert_eq!(seen.oom_kills, Some(2));
        assert_eq!((seen.cpu_ratio, seen.load_rps), (None, None), "there is no time yet over which");
        assert!((probe.cpus() - 1.5).abs() < 1e-9);
        assert_eq!(probe.resource(0).unwrap().cpu_ratio, Some(0.0));
        assert_eq!(proc::cpu_s(&probe.root), Some(2.0));
    }

    #[test]
    fn version_1_inside_a_container_and_the_machine_as_the_smaller_limit() {
        let (_dir, mut probe) = files(&[
            ("proc/self/status", STATUS),
            ("proc/self/stat", STAT),
            ("proc/meminfo", "MemTotal:       4096 kB\n"),
            ("proc/self/cgroup", "9:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n1:name=systemd:/docker/abc\n"),
            (
                "proc/self/mountinfo",
                "41 30 0:35 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n\
                 42 30 0:36 /docker/abc /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n",
            ),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("sys/fs/cgroup/memory/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 5\n"),
            ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n"),
            ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n"),
        ]);
        let seen = probe.resource(0).unwrap();
        assert_eq!(seen.memory_limit_bytes, Some(4 << 20));
        assert_eq!(seen.oom_kills, Some(5));
        assert!((probe.cpus() - 4.0).abs() < 1e-9);
    }

    #[test]
    fn without_proc_nothing_is_said() {
        let (_dir, mut probe) = files(&[]);
        assert!(probe.resource(3).is_none());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_is_seen() {
        let mut probe = Probe::new();
        let seen = probe.resource(0).unwrap();
        assert!(seen.memory_bytes > 64 << 10 && seen.memory_bytes < 1 << 40, "{seen:?}");
        assert!(seen.memory_limit_bytes.is_some_and(|limit| limit > seen.memory_bytes));
        assert!(started_ms().is_some_and(|started| started <= crate::client::now_ms() + 2_000), "the clocks have a second's grain");
        assert_eq!(started_ms(), started_ms());
        assert_eq!(seen.memory_pressure.is_some(), read(Path::new("/proc/pressure/memory")).is_some_and(|text| !text.is_empty()));
        assert_eq!(Resource { service: "shop".to_owned(), ..seen.clone() }.check(), Ok(()), "{seen:?}");
        let block = std::hint::black_box(vec![1u8; 64 << 20]);
        assert!(probe.resource(0).unwrap().memory_bytes > seen.memory_bytes + (32 << 20));
        drop(block);
    }
}
