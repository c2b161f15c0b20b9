//! What the forecast models are worth, measured on data and on faults whose truth is known.
//!
//! ```sh
//! cargo run --release -p homeostat-actors --example forecast -- DATA [hourly] [daily] [nab] [faults SEED] [steps SEED] [exhaustion SEED] [cost]
//! ```
//!
//! DATA is a folder with `m4_hourly/` and `nab/` as `docs/measured.md` describes it; without names of studies all are run. What
//! was tuned was tuned on every other series and on seeds 1 and 5; the rest is reported beside it.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

mod chance;
mod exhaust;
mod faults;
mod m4;
mod nab;
mod oracle;
mod steps;

use std::path::Path;

fn main() {
    let mut arguments = std::env::args().skip(1).peekable();
    let data = arguments.next().expect("the folder with the data");
    let data = Path::new(&data);
    let mut rest: Vec<String> = arguments.collect();
    if rest.is_empty() {
        rest = ["hourly", "daily", "nab", "faults", "2", "steps", "2", "exhaustion", "2", "cost"].map(str::to_owned).to_vec();
    }
    let mut rest = rest.into_iter().peekable();
    while let Some(study) = rest.next() {
        let mut seed = || rest.next_if(|word| word.parse::<u64>().is_ok()).map_or(2, |word| word.parse().unwrap());
        match study.as_str() {
            "hourly" => m4::hourly(data),
            "daily" => m4::daily(data),
            "nab" => nab::run(data),
            "faults" => faults::run(seed()),
            "steps" => steps::run(seed()),
            "exhaustion" => exhaust::run(seed()),
            "cost" => m4::cost(data),
            other => println!("no study is called {other}"),
        }
    }
}

/// Processor time of this thread, seconds.
fn cpu() -> f64 {
    let text = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or_default() * 1e-9
}
