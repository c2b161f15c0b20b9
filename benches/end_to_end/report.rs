//! What was measured, on what machine, beside what was hoped for.

use crate::Plan;
use crate::latency::Latency;
use crate::spans::Spans;
use crate::start::Start;
use crate::throughput::Row;
use serde::Serialize;
use std::fmt::Write as _;

const MIB: f64 = 1024.0 * 1024.0;

/// Several runs of the same.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Distribution {
    /// The figure to quote.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// How many.
    pub runs: usize,
}

impl Distribution {
    /// Of these runs.
    pub(crate) fn of(runs: &[f64]) -> Distribution {
        let fold = |with: fn(f64, f64) -> f64| runs.iter().copied().fold(f64::NAN, with);
        Distribution { median: median(runs), min: fold(f64::min), max: fold(f64::max), runs: runs.len() }
    }
}

/// The middle one, or the mean of the two in the middle.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match (sorted.len() % 2, sorted.get(middle)) {
        (_, None) => f64::NAN,
        (0, Some(upper)) => sorted.get(middle.wrapping_sub(1)).map_or(*upper, |lower| (lower + upper) / 2.0),
        (_, Some(one)) => *one,
    }
}

/// The smallest value that so large a share does not exceed (nearest rank), of values in order.
pub(crate) fn percentile(sorted: &[f64], share: f64) -> f64 {
    let rank = (sorted.len() as f64 * share).ceil().max(1.0);
    sorted.get(rank as usize - 1).copied().unwrap_or(f64::NAN)
}

/// Where it was measured.
#[derive(Debug, Clone, Serialize)]
struct Machine {
    cpu: String,
    cores: usize,
    kernel: String,
    /// Before the first run: other work makes everything slower, and not everything equally.
    load_average: String,
    unix_s: u64,
}

impl Machine {
    fn here() -> Machine {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let cpu = read("/proc/cpuinfo");
        let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
        Machine {
            cpu: model.trim_start_matches(['\t', ' ', ':']).to_owned(),
            cores: std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            load_average: read("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" "),
            unix_s: crate::load::now_us() / 1_000_000,
        }
    }
}

/// Everything.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    machine: Machine,
    quick: bool,
    rounds: usize,
    /// Durable events a second.
    pub throughput: Vec<Row>,
    /// Publication to alert.
    pub latency: Option<Latency>,
    /// Start, memory, size.
    pub start: Option<Start>,
    /// Spans through the gateway.
    pub otlp: Option<Spans>,
}

impl Report {
    /// Before the first measurement.
    pub(crate) fn new(plan: &Plan) -> Report {
        let machine = Machine::here();
        Report { machine, quick: plan.quick, rounds: plan.rounds, throughput: Vec::new(), latency: None, start: None, otlp: None }
    }

    /// For people.
    pub(crate) fn table(&self) -> String {
        let mut text = String::new();
        // Writing into a String cannot fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, text: &mut String) -> std::fmt::Result {
        let Machine { cpu, cores, kernel, load_average, unix_s: _ } = &self.machine;
        writeln!(text, "\n{cores} × {cpu}, Linux {kernel}, load {load_average}, {} round(s){}", self.rounds, hurried(self.quick))?;
        if !self.throughput.is_empty() {
            writeln!(text, "\ndurable events/s (median; µs = processor time an event)         goal: system ≥ 70 % of bare")?;
            writeln!(
                text,
                "events/msg        bare      system  ratio  by µs   consumer µs    worker µs  server µs bare/sys  publisher µs"
            )?;
            for row in &self.throughput {
                let (bare, system) = (&row.bare, &row.system);
                writeln!(
                    text,
                    "{:>10}  {:>10.0}  {:>10.0}  {:>4.0} %  {:>3.0} %  {:>12.2}  {:>11.2}  {:>8.2} / {:<8.2}  {:>10.2}  {}",
                    row.per_message,
                    bare.events_per_s.median,
                    system.events_per_s.median,
                    row.ratio * 100.0,
                    row.cpu_ratio * 100.0,
                    bare.consumer_us,
                    system.consumer_us,
                    bare.server_us,
                    system.server_us,
                    system.publisher_us,
                    verdict(row.ratio >= 0.7),
                )?;
            }
        }
        if let Some(latency) = &self.latency {
            let Latency { sent_per_s, expected, alerts, p50_ms, p90_ms, p99_ms, max_ms, .. } = latency;
            writeln!(text, "\npublish → alert at {sent_per_s:.0} messages/s, {alerts} of {expected} alerts")?;
            let met = verdict(*p99_ms <= 50.0 && alerts == expected);
            writeln!(
                text,
                "  p50 {p50_ms:.2} ms   p90 {p90_ms:.2} ms   p99 {p99_ms:.2} ms   max {max_ms:.2} ms   goal: p99 ≤ 50 ms  {met}"
            )?;
        }
        if let Some(start) = &self.start {
            let (ready, after) = (&start.ready_ms, &start.after_kill_ms);
            let (memory, size) = (start.idle_bytes as f64 / MIB, start.binary_bytes as f64 / MIB);
            writeln!(text, "\nstart to ready           {:>8.0} ms   goal ≤ 2000 ms  {}", ready.median, verdict(ready.median <= 2e3))?;
            writeln!(text, "start after kill -9      {:>8.0} ms", after.median)?;
            writeln!(
                text,
                "idle memory after {:>2} s   {memory:>8.1} MiB  goal ≤ 60 MB    {}",
                start.idle_after_s,
                verdict(start.idle_bytes <= 60_000_000)
            )?;
            writeln!(text, "stripped binary          {size:>8.1} MiB  goal ≤ 25 MB    {}", verdict(start.binary_bytes <= 25_000_000))?;
        }
        if let Some(spans) = &self.otlp {
            let (all, core) = (spans.spans_per_s.median, spans.spans_per_core_s.median);
            writeln!(text, "\nOTLP spans/s, durable    {all:>8.0}      {:.0} spans a request", spans.spans_per_request)?;
            writeln!(text, "  a core of the worker   {core:>8.0}      goal ≥ 100,000  {}", verdict(core >= 1e5))?;
        }
        writeln!(text, "\nthe cost of one step: cargo bench -p homeostat-actors")
    }
}

fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "MISSED" }
}

fn hurried(quick: bool) -> &'static str {
    if quick { ", quick: not to be quoted" } else { "" }
}
