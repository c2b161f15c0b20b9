//! `homeostat simulate breaker`: a fleet of clients and the breaker actor in a simulated world, beside other breakers.

use super::args::{BreakerFault, SimulateArgs, SimulateBreaker, SimulateCommand};
use super::out::Tone;
use super::{CliError, Context, Finish};
use crate::simulate::breaker::goals::{Effort, Goal, measure};
use crate::simulate::breaker::{BusParameters, Fault, Figures, Parameters, Policy, run as simulate};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

/// Runs the command.
///
/// # Errors
/// Nobody reads the answer any more.
pub fn run(context: &mut Context, args: &SimulateArgs) -> Result<Finish, CliError> {
    let SimulateCommand::Breaker(args) = &args.command;
    if args.goals { goals(context, args) } else { worlds(context, args) }
}

fn goals(context: &mut Context, args: &SimulateBreaker) -> Result<Finish, CliError> {
    let bar = ProgressBar::new_spinner().with_message("measuring");
    bar.enable_steady_tick(std::time::Duration::from_millis(200));
    let effort = Effort { seed: args.seed, runs: args.runs, healthy_calls: args.healthy_calls };
    let mut said = Vec::new();
    let goals = measure(effort, |goal| {
        bar.set_message(format!("{} measured", goal.name));
        said.push(goal.clone());
    });
    bar.finish_and_clear();
    for goal in &said {
        if context.json {
            context.out.json(goal)?;
        } else {
            let line = line(context, goal);
            context.out.line(line)?;
        }
    }
    Ok(if args.check && goals.iter().any(|goal| !goal.reached) { Finish::Found } else { Finish::Fine })
}

fn line(context: &Context, goal: &Goal) -> String {
    let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.3}"));
    let verdict = if goal.reached { context.out.paint(Tone::Good, "reached") } else { context.out.paint(Tone::Bad, "missed ") };
    let sign = if goal.at_most { "≤" } else { "≥" };
    format!(
        "{verdict}  {:<20} {sign} {:<6} median {:<8} p95 {:<8} worst {:<8} of {:<4} {}",
        goal.name,
        goal.limit,
        number(goal.median),
        number(goal.p95),
        number(goal.worst),
        goal.runs,
        goal.meaning
    )
}

fn worlds(context: &mut Context, args: &SimulateBreaker) -> Result<Finish, CliError> {
    let base = parameters(args);
    let policies: &[Policy] = if args.policy.is_empty() { &Policy::ALL } else { &args.policy };
    let bar = ProgressBar::new(args.runs * policies.len() as u64 * 1_000);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {percent} %  {msg}") {
        bar.set_style(style);
    }
    if !context.json {
        context.out.line(format!(
            "{:<20} {:>10} {:>10} {:>10} {:>9} {:>12} {:>9}   medians of {} worlds from seed {}",
            "policy", "detect s", "recover s", "probes/s", "wrong %", "answered/s", "harm", args.runs, args.seed
        ))?;
    }
    for (place, policy) in policies.iter().enumerate() {
        bar.set_message(policy.name());
        let mut all = Vec::new();
        for number in 0..args.runs {
            let world = if args.exact {
                Parameters { seed: args.seed + number, ..base.clone() }
            } else {
                base.varied(args.seed.wrapping_add(number))
            };
            let done = (place as u64 * args.runs + number) * 1_000;
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let figures = simulate(&world, *policy, |share| bar.set_position(done + (share * 1_000.0) as u64));
            if context.json {
                context.out.json(&json!({ "policy": policy, "parameters": world, "figures": figures }))?;
            }
            all.push(figures);
        }
        if !context.json {
            let row = row(*policy, &all);
            bar.suspend(|| context.out.line(row).and_then(|()| context.out.flush()))?;
        }
    }
    bar.finish_and_clear();
    Ok(Finish::Fine)
}

fn row(policy: Policy, all: &[Figures]) -> String {
    let median = |value: &dyn Fn(&Figures) -> Option<f64>| {
        let mut values: Vec<f64> = all.iter().filter_map(value).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"))
    };
    #[allow(clippy::cast_precision_loss)]
    let harm = median(&|f| Some(f.harm as f64));
    format!(
        "{:<20} {:>10} {:>10} {:>10} {:>9} {:>12} {:>9}",
        policy.name(),
        median(&|f| f.detect_s),
        median(&|f| f.recover_s),
        median(&|f| f.probes_per_s),
        median(&|f| Some(f.wrong * 100.0)),
        median(&|f| Some(f.goodput_per_s)),
        harm
    )
}

fn parameters(args: &SimulateBreaker) -> Parameters {
    let usual = Parameters::default();
    Parameters {
        seed: args.seed,
        replicas: args.replicas,
        rps: args.rps,
        warm_s: args.warm_s,
        fault_s: args.fault_s,
        after_s: args.after_s,
        fault: match args.fault {
            BreakerFault::None => Fault::None,
            BreakerFault::Outage => Fault::Outage,
            BreakerFault::Hang => Fault::Hang,
            BreakerFault::BrownOut => Fault::BrownOut { share: args.share },
            BreakerFault::Overload => Fault::Overload { factor: args.factor },
            BreakerFault::OneReplica => Fault::OneReplica,
            BreakerFault::Zone => Fault::Zone,
        },
        error_rate: args.error_rate,
        retries: args.retries,
        timeout_ms: usual.timeout_ms,
        bus: BusParameters {
            delay_ms: args.delay_ms,
            loss: args.loss,
            duplicate: args.duplicate,
            cut: args.cut,
            cut_share: args.cut_share,
            kill_actor: args.kill_actor,
            kill_replicas: args.kill_replicas,
            skew_ms: args.skew_ms,
            drift: args.drift,
        },
    }
}
