//! What the system carries, beside the bare pipeline: `cargo bench --bench end_to_end [-- --quick | --json | --only PART]`.
//!
//! Everything runs for real and on this machine: a fresh nats-server a run, the release binary as `homeostat up`, a publisher
//! that is a process of its own. `benches/README.md` says what each figure means.
//!
//! | module | what |
//! |---|---|
//! | [`load`] | the telemetry of a shop, encoded beforehand |
//! | [`publisher`] | the process that publishes it, a window of messages under way |
//! | [`bare`] | the process that consumes and decodes it: the floor |
//! | [`stand`] | nats-server, worker, and what they use of the machine |
//! | [`http`] | a keep-alive connection to the gateway |
//! | [`throughput`], [`latency`], [`start`], [`spans`] | the measurements |
//! | [`report`] | medians, the table, the JSON |

#![allow(missing_docs)]

mod bare;
mod http;
mod latency;
mod load;
mod publisher;
mod report;
mod spans;
mod stand;
mod start;
mod throughput;

use report::Report;
use std::io::Write as _;
use std::process::ExitCode;

/// That of `homeostat`: the floor must not be lower because its consumer has a slower allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Any failure ends the run: a figure of half a measurement is none.
pub(crate) type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// What to measure and how thoroughly.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Short runs, one round: to see that it works, not to quote.
    pub quick: bool,
    /// How often each variant is measured.
    pub rounds: usize,
    json: bool,
    only: Option<String>,
}

const PARTS: [&str; 4] = ["throughput", "latency", "start", "otlp"];
const USAGE: &str = "[--quick] [--rounds N] [--only throughput|latency|start|otlp] [--json]";

impl Plan {
    fn of(arguments: &[String]) -> Outcome<Plan> {
        let mut plan = Plan { quick: false, rounds: 3, json: false, only: None };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--bench" => {}
                "--quick" => (plan.quick, plan.rounds) = (true, 1),
                "--json" => plan.json = true,
                "--rounds" => plan.rounds = arguments.next().ok_or(USAGE)?.parse::<usize>()?.clamp(1, 99),
                "--only" => {
                    let part = arguments.next().filter(|part| PARTS.contains(&part.as_str())).ok_or(USAGE)?;
                    plan.only = Some(part.clone());
                }
                other => return Err(format!("unknown argument `{other}`; usage: {USAGE}").into()),
            }
        }
        Ok(plan)
    }

    fn has(&self, part: &str) -> bool {
        self.only.as_deref().is_none_or(|only| only == part)
    }
}

/// A line of progress, on standard error so that the result can be piped.
pub(crate) fn progress(line: &str) {
    let _ = writeln!(std::io::stderr(), "  {line}");
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let roles: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match roles.as_slice() {
        [publisher::ROLE, rest @ ..] => on_one_thread(publisher::serve(rest)),
        [bare::ROLE, rest @ ..] => on_threads(bare::serve(rest)),
        // `cargo test --benches` and `--all-targets` run benches without this flag: there is nothing to test.
        all if !all.contains(&"--bench") => Ok(()),
        _ => Plan::of(&arguments).and_then(|plan| on_threads(measure(plan))),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            progress(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn on_one_thread(work: impl Future<Output = Outcome<()>>) -> Outcome<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

fn on_threads(work: impl Future<Output = Outcome<()>>) -> Outcome<()> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(work)
}

async fn measure(plan: Plan) -> Outcome<()> {
    let mut report = Report::new(&plan);
    if plan.has("start") {
        report.start = Some(start::measure(&plan).await?);
    }
    if plan.has("throughput") {
        report.throughput = throughput::measure(&plan).await?;
    }
    if plan.has("latency") {
        report.latency = Some(latency::measure(&plan).await?);
    }
    if plan.has("otlp") {
        report.otlp = Some(spans::measure(&plan).await?);
    }
    let text = if plan.json { serde_json::to_string_pretty(&report)? } else { report.table() };
    writeln!(std::io::stdout().lock(), "{text}")?;
    Ok(())
}
