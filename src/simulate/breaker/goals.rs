//! What the fleet's breaker is held to, measured.

use super::figures::Figures;
use super::parameters::{BusParameters, Fault, Parameters, Policy};
use super::world::run;
use serde::Serialize;

/// One goal and what was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Goal {
    /// Its name.
    pub name: &'static str,
    /// What is measured, and how far it may go.
    pub meaning: &'static str,
    /// The limit.
    pub limit: f64,
    /// Must it stay below the limit (else: above)?
    pub at_most: bool,
    /// How many worlds were run.
    pub runs: usize,
    /// The median.
    pub median: Option<f64>,
    /// The 95th percentile in the bad direction: what is held against the limit.
    pub p95: Option<f64>,
    /// The worst.
    pub worst: Option<f64>,
    /// Was it reached?
    pub reached: bool,
}

/// How much is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Effort {
    /// The first seed.
    pub seed: u64,
    /// Worlds for each goal.
    pub runs: u64,
    /// Calls of the healthy world.
    pub healthy_calls: u64,
}

struct Aim {
    name: &'static str,
    meaning: &'static str,
    limit: f64,
    at_most: bool,
}

/// Measures every goal; each is told as soon as it is known.
pub fn measure(effort: Effort, mut tell: impl FnMut(&Goal)) -> Vec<Goal> {
    let mut goals = Vec::new();
    let mut judge = |aim: Aim, values: Vec<Option<f64>>| {
        let goal = judged(&aim, values);
        tell(&goal);
        goals.push(goal);
    };
    let seeds = || (0..effort.runs.max(1)).map(|n| effort.seed.wrapping_add(n));
    let usual = Parameters::default();
    let one = |parameters: &Parameters, policy| run(parameters, policy, |_| {});
    let each = |base: &Parameters, policy: Policy, figure: &dyn Fn(Figures) -> Option<f64>| -> Vec<Option<f64>> {
        seeds().map(|seed| figure(one(&base.varied(seed), policy))).collect()
    };

    let slow = Parameters { rps: 10.0, ..usual.clone() };
    let aim = |name, meaning, limit, at_most| Aim { name, meaning, limit, at_most };
    judge(
        aim("detect_10rps", "an outage at 10 calls a second is noticed within so many seconds", 2.0, true),
        each(&slow, Policy::Homeostat, &|f| f.detect_s),
    );
    judge(
        aim("detect_250rps", "an outage at 250 calls a second is noticed within so many seconds", 1.0, true),
        each(&usual, Policy::Homeostat, &|f| f.detect_s),
    );
    judge(
        aim("recover_250rps", "95 % of calls pass so many seconds after an outage is over", 4.0, true),
        each(&usual, Policy::Homeostat, &|f| f.recover_s),
    );
    judge(
        aim("probes", "calls a second of the whole fleet while a peer is down", 7.0, true),
        each(&usual, Policy::Homeostat, &|f| f.probes_per_s),
    );
    let hang = Parameters { fault: Fault::Hang, ..usual.clone() };
    judge(
        aim("detect_hang", "a peer that hangs is noticed so many seconds after the first timeouts (1 s)", 2.0, true),
        each(&hang, Policy::Homeostat, &|f| f.detect_s),
    );
    let alone = Parameters { fault: Fault::OneReplica, ..usual.clone() };
    judge(
        aim("one_bad_replica", "share of good calls refused when one replica fails", 0.002, true),
        each(&alone, Policy::Homeostat, &|f| Some(f.wrong)),
    );
    let overload = Parameters { fault: Fault::Overload { factor: 2.0 }, ..usual.clone() };
    let against = |base: &Parameters, policy: Policy, other: Policy, figure: &dyn Fn(Figures) -> f64| -> Vec<Option<f64>> {
        let ratio = |seed| {
            let world = base.varied(seed);
            let (ours, theirs) = (figure(one(&world, policy)), figure(one(&world, other)));
            (theirs > 0.0).then(|| ours / theirs)
        };
        seeds().map(ratio).collect()
    };
    judge(
        aim("overload", "requests answered under twice the load, against opossum's", 1.05, false),
        against(&overload, Policy::Homeostat, Policy::Opossum, &|f| f.goodput_per_s),
    );
    let brown = Parameters { fault: Fault::BrownOut { share: 0.6 }, ..usual.clone() };
    for (name, meaning, policy) in [
        (
            "brown_out_retries",
            "requests answered when 60 % fail whatever the load, against no breaker (sheds retries)",
            Policy::HomeostatRetries,
        ),
        ("brown_out_fraction", "the same, shedding as much as helps", Policy::HomeostatFraction),
    ] {
        judge(aim(name, meaning, 1.0, false), against(&brown, policy, Policy::None, &|f| f.goodput_per_s));
    }
    judge(
        aim("bus_cut", "calls sent or refused in vain when the bus is cut at any instant, against opossum alone", 1.1, true),
        seeds().map(|seed| cut(&usual, seed)).collect(),
    );
    let rough = Parameters {
        bus: BusParameters {
            delay_ms: 20.0,
            loss: 0.05,
            duplicate: 0.05,
            kill_actor: Some((5.0, 1.0)),
            kill_replicas: 10,
            skew_ms: 5_000.0,
            drift: 0.01,
            ..BusParameters::default()
        },
        ..usual.clone()
    };
    judge(
        aim("rough_detect", "detection on a bus that delays, loses and doubles, with skewed clocks", 1.2, true),
        each(&rough, Policy::Homeostat, &|f| f.detect_s),
    );
    judge(
        aim("rough_recover", "recovery there, after the actor and ten replicas were killed", 5.0, true),
        each(&rough, Policy::Homeostat, &|f| f.recover_s),
    );
    judge(aim("healthy", "good calls refused in a healthy fleet with 5 % of errors", 0.0, true), vec![Some(healthy(effort))]);
    goals
}

/// The harm with a cut at an instant drawn by the seed (from five seconds before the fault to five after it, for five to sixty
/// seconds, of all replicas or some), against that of a breaker that never had a bus.
fn cut(usual: &Parameters, seed: u64) -> Option<f64> {
    let mut rng = fastrand::Rng::with_seed(seed ^ 0xc07);
    let mut world = usual.varied(seed);
    world.bus.cut = Some((-5.0 + rng.f64() * (world.fault_s + 10.0), 5.0 + rng.f64() * 55.0));
    world.bus.cut_share = if rng.bool() { 1.0 } else { rng.f64() };
    let harm = |policy| run(&world, policy, |_| {}).harm;
    #[allow(clippy::cast_precision_loss)]
    let ratio = |ours: u64, theirs: u64| (theirs > 0).then(|| ours as f64 / theirs as f64);
    ratio(harm(Policy::Homeostat), harm(Policy::Opossum))
}

/// Refusals in a world in which nothing is wrong but 5 % of the calls.
#[allow(clippy::cast_precision_loss)]
fn healthy(effort: Effort) -> f64 {
    let world = Parameters {
        seed: effort.seed,
        rps: 2_000.0,
        warm_s: effort.healthy_calls as f64 / 2_000.0,
        fault_s: 1.0,
        after_s: 1.0,
        fault: Fault::None,
        error_rate: 0.05,
        ..Parameters::default()
    };
    run(&world, Policy::Homeostat, |_| {}).false_refusals as f64
}

fn judged(aim: &Aim, values: Vec<Option<f64>>) -> Goal {
    let runs = values.len();
    // What was never reached (no detection) is the worst there is.
    let worst = if aim.at_most { f64::INFINITY } else { 0.0 };
    let mut values: Vec<f64> = values.into_iter().map(|value| value.unwrap_or(worst)).collect();
    values.sort_by(f64::total_cmp);
    if !aim.at_most {
        values.reverse();
    }
    let at = |share: f64| -> Option<f64> {
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let index = ((values.len() as f64 * share).ceil() as usize).saturating_sub(1);
        values.get(index).copied()
    };
    let p95 = at(0.95);
    let reached = p95.is_some_and(|value| if aim.at_most { value <= aim.limit } else { value >= aim.limit });
    Goal {
        name: aim.name,
        meaning: aim.meaning,
        limit: aim.limit,
        at_most: aim.at_most,
        runs,
        median: at(0.5),
        p95,
        worst: at(1.0),
        reached,
    }
}
