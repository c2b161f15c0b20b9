//! What every exporter says of its own process, under the names that client libraries of Prometheus share; and the traffic of the
//! connection to the bus. Both are read when somebody asks. Where there is no `/proc`, the process says nothing.

use super::registrar::Registrar;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Unit;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// The process, and its traffic with the bus.
#[derive(Debug, Default)]
pub struct Process {
    cpu: Counter<f64, AtomicU64>,
    resident: Gauge,
    virtual_memory: Gauge,
    files: Gauge,
    files_max: Gauge,
    started: Gauge<f64, AtomicU64>,
    received: Counter,
    received_bytes: Counter,
    sent: Counter,
    sent_bytes: Counter,
    connects: Counter,
}

impl Process {
    pub(super) fn register(r: &mut Registrar) -> Process {
        let process = Process::default();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |now| now.as_secs_f64());
        process.started.set(now);
        r.add("process_cpu", Some(Unit::Seconds), &[], "Processor time that this process has used", process.cpu.clone());
        r.add(
            "process_resident_memory",
            Some(Unit::Bytes),
            &[],
            "Memory of this process, without its nats-server",
            process.resident.clone(),
        );
        r.add("process_virtual_memory", Some(Unit::Bytes), &[], "Address space of this process", process.virtual_memory.clone());
        r.add("process_open_fds", None, &[], "Open file descriptors", process.files.clone());
        r.add("process_max_fds", None, &[], "File descriptors that may be open", process.files_max.clone());
        r.add("process_start_time", Some(Unit::Seconds), &[], "Unix time at which this process started", process.started.clone());
        r.add("homeostat_nats_received_messages", None, &[], "Messages that came in from the bus", process.received.clone());
        r.add(
            "homeostat_nats_received",
            Some(Unit::Bytes),
            &[],
            "Bytes that came in from the bus, without the protocol's own",
            process.received_bytes.clone(),
        );
        r.add("homeostat_nats_sent_messages", None, &[], "Messages that went out to the bus", process.sent.clone());
        r.add(
            "homeostat_nats_sent",
            Some(Unit::Bytes),
            &[],
            "Bytes that went out to the bus, without the protocol's own",
            process.sent_bytes.clone(),
        );
        r.add(
            "homeostat_nats_connects",
            None,
            &[],
            "Connections to the bus that were made: the first, and one more each time it was lost",
            process.connects.clone(),
        );
        process
    }

    /// Reads what the system says of this process.
    #[allow(clippy::cast_possible_wrap, clippy::cast_precision_loss)] // bytes and ticks stay far below 2^53
    pub fn show(&self) {
        if let Ok(stat) = std::fs::read_to_string("/proc/self/stat")
            && let Some(ticks) = ticks(&stat)
        {
            self.cpu.inner().store((ticks as f64 / rustix::param::clock_ticks_per_second() as f64).to_bits(), Ordering::Relaxed);
        }
        if let Ok(statm) = std::fs::read_to_string("/proc/self/statm") {
            let mut pages = statm.split_ascii_whitespace().map_while(|word| word.parse::<u64>().ok());
            let page = rustix::param::page_size() as u64;
            if let (Some(size), Some(resident)) = (pages.next(), pages.next()) {
                self.virtual_memory.set(size.saturating_mul(page) as i64);
                self.resident.set(resident.saturating_mul(page) as i64);
            }
        }
        if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
            // One of them reads the directory.
            self.files.set(open.count().saturating_sub(1) as i64);
        }
        if let Some(most) = rustix::process::getrlimit(rustix::process::Resource::Nofile).current {
            self.files_max.set(most.min(i64::MAX as u64) as i64);
        }
    }

    /// Shows what went over the connection to the bus since it was first made.
    pub fn show_bus(&self, traffic: &homeostat_nats::Traffic) {
        let all = [
            (&self.received, traffic.received),
            (&self.received_bytes, traffic.received_bytes),
            (&self.sent, traffic.sent),
            (&self.sent_bytes, traffic.sent_bytes),
            (&self.connects, traffic.connects),
        ];
        for (shown, value) in all {
            shown.inner().store(value, Ordering::Relaxed);
        }
    }
}

/// Processor time in `/proc/self/stat`, clock ticks: user and system. The name before it may hold blanks and brackets.
fn ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    // The state is the third field of the line, `utime` the 14th.
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_found_behind_a_name_with_brackets() {
        let line = "42 (a ) (b) S 1 42 42 0 -1 4194560 100 0 0 0 17 25 0 0 20 0 8 0 100 1 1";
        assert_eq!(ticks(line), Some(42));
        assert_eq!(ticks("42 (a) S"), None);
    }

    #[test]
    fn this_process_has_memory_time_and_files() {
        let process = Process::register(&mut Registrar::default());
        let mut sum = 0u64;
        while process.cpu.get() <= 0.0 {
            sum = std::hint::black_box(sum.wrapping_add((0..1_000_000u64).sum()));
            process.show();
        }
        assert!(process.resident.get() > 1_000_000 && process.virtual_memory.get() >= process.resident.get());
        assert!((3..=process.files_max.get()).contains(&process.files.get()));
    }
}
