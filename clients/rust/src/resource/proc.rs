//! `/proc`: memory, CPU time and start of this process; memory of the machine. See proc(5).

use std::path::Path;

/// Clock ticks a second in `/proc` (`USER_HZ`): 100 on every architecture that Rust's Linux targets have.
const TICKS: u64 = 100;

fn read(root: &Path, file: &str) -> Option<String> {
    super::read(&root.join(file))
}

/// The value of a line `name:   value kB`, in bytes.
fn kib(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// Anonymous memory that is resident: what a limit counts and the kernel cannot simply drop.
pub(super) fn anonymous_bytes(root: &Path) -> Option<u64> {
    kib(&read(root, "proc/self/status")?, "RssAnon")
}

/// Memory of the machine.
pub(super) fn total_bytes(root: &Path) -> Option<u64> {
    kib(&read(root, "proc/meminfo")?, "MemTotal")
}

/// The pressure file of the whole machine: `memory`, `cpu` or `io`. A kernel without PSI has none.
pub(super) fn pressure(root: &Path, what: &str) -> Option<String> {
    read(root, &format!("proc/pressure/{what}"))
}

/// How many CPUs this process is allowed on: `Cpus_allowed_list: 0-2,5` are four.
pub(super) fn cpus(root: &Path) -> Option<f64> {
    let status = read(root, "proc/self/status")?;
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    let count = list.trim().split(',').map(|part| {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let (from, to) = (from.parse::<u32>().ok()?, to.parse::<u32>().ok()?);
        to.checked_sub(from)?.checked_add(1)
    });
    count.sum::<Option<u32>>().filter(|count| *count > 0).map(f64::from)
}

/// The fields of `/proc/self/stat` behind the name, which may hold anything; the first is number 3.
fn stat_field(root: &Path, number: usize) -> Option<u64> {
    let text = read(root, "proc/self/stat")?;
    let (_, behind) = text.rsplit_once(')')?;
    behind.split_whitespace().nth(number.checked_sub(3)?)?.parse().ok()
}

/// CPU time of all threads, user and system, seconds.
#[allow(clippy::cast_precision_loss)] // hundredths of a second: 2^53 of them are 2.8 million years
pub(super) fn cpu_s(root: &Path) -> Option<f64> {
    let ticks = stat_field(root, 14)? + stat_field(root, 15)?;
    Some(ticks as f64 / TICKS as f64)
}

/// When the process started: the boot time (in whole seconds) and the ticks from there.
pub(super) fn started_ms(root: &Path) -> Option<u64> {
    let ticks = stat_field(root, 22)?;
    let stat = read(root, "proc/stat")?;
    let boot_s: u64 = stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    boot_s.checked_mul(1_000)?.checked_add(ticks.checked_mul(1_000 / TICKS)?)
}
