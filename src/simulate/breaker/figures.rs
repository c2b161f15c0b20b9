//! What a run is judged by.

use super::parameters::Parameters;
use serde::Serialize;

/// A tenth of a second.
const BIN_US: u64 = 100_000;

/// What happened in a tenth of a second.
#[derive(Debug, Clone, Copy, Default)]
struct Bin {
    attempts: u64,
    sent: u64,
    /// Calls that would have succeeded, and those of them that were refused.
    good: u64,
    good_refused: u64,
    failed: u64,
    served: u64,
}

/// Counts of a run, in tenths of seconds.
#[derive(Debug, Default)]
pub struct Record {
    bins: Vec<Bin>,
}

impl Record {
    fn bin(&mut self, at_us: u64) -> &mut Bin {
        let index = usize::try_from(at_us / BIN_US).unwrap_or(0);
        if index >= self.bins.len() {
            self.bins.resize(index + 1, Bin::default());
        }
        &mut self.bins[index]
    }

    /// A call was asked for.
    pub fn attempt(&mut self, at_us: u64, sent: bool, good: bool) {
        let bin = self.bin(at_us);
        bin.attempts += 1;
        bin.sent += u64::from(sent);
        bin.good += u64::from(good);
        bin.good_refused += u64::from(good && !sent);
    }

    /// A call failed.
    pub fn failed(&mut self, at_us: u64) {
        self.bin(at_us).failed += 1;
    }

    /// A request was answered, by whichever of its attempts.
    pub fn served(&mut self, asked_us: u64) {
        self.bin(asked_us).served += 1;
    }

    fn sum(&self, from_us: u64, to_us: u64) -> Bin {
        let index = |us: u64| usize::try_from(us / BIN_US).unwrap_or(0).min(self.bins.len());
        self.bins[index(from_us)..index(to_us).max(index(from_us))].iter().fold(Bin::default(), |mut sum, bin| {
            sum.attempts += bin.attempts;
            sum.sent += bin.sent;
            sum.good += bin.good;
            sum.good_refused += bin.good_refused;
            sum.failed += bin.failed;
            sum.served += bin.served;
            sum
        })
    }

    /// The first instant after `from` from which on, over half a second (longer where that holds fewer than `least` calls), a share
    /// is sent that satisfies `fine`; with `refusal`, only where a call is refused at once. Accurate to a tenth of a second.
    #[allow(clippy::cast_precision_loss)]
    fn first(&self, from_us: u64, to_us: u64, least: u64, refusal: bool, fine: impl Fn(f64) -> bool) -> Option<u64> {
        let mut at = from_us;
        while at < to_us {
            let here = self.sum(at, at + BIN_US);
            let mut until = at + 5 * BIN_US;
            let mut sum = self.sum(at, until);
            while sum.attempts < least && until < to_us {
                until += BIN_US;
                sum = self.sum(at, until);
            }
            let begins = !refusal || here.sent < here.attempts;
            if begins && sum.attempts >= least && fine(sum.sent as f64 / sum.attempts as f64) {
                return Some(at + BIN_US - from_us);
            }
            at += BIN_US;
        }
        None
    }
}

/// The figures of one run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Figures {
    /// From the beginning of the fault until the instant from which on half of the calls are refused, seconds.
    pub detect_s: Option<f64>,
    /// From the end of the fault until the instant from which on 95 % of the calls are sent, seconds; absent when there was none.
    pub recover_s: Option<f64>,
    /// Calls a second sent from two seconds after the detection to the end of the fault.
    pub probes_per_s: Option<f64>,
    /// Of the calls that would have succeeded, the share that was refused, over the whole run.
    pub wrong: f64,
    /// Requests answered a second during the fault.
    pub goodput_per_s: f64,
    /// Calls sent in vain and calls refused in vain, from the beginning of the fault on.
    pub harm: u64,
    /// Attempts of the whole run.
    pub attempts: u64,
    /// Of the calls that would have succeeded, how many were refused before the fault.
    pub false_refusals: u64,
}

impl Figures {
    /// Of a record.
    #[must_use]
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub fn of(record: &Record, parameters: &Parameters) -> Figures {
        let us = |seconds: f64| (seconds * 1e6) as u64 / BIN_US * BIN_US;
        let (from, to) = (us(parameters.warm_s), us(parameters.warm_s + parameters.fault_s));
        let end = us(parameters.warm_s + parameters.fault_s + parameters.after_s);
        let seconds = |us: u64| us as f64 / 1e6;
        let detect = record.first(from, to, 10, true, |sent| sent <= 0.5);
        // After a fault that nobody noticed there is nothing to recover from: then the first look says so.
        let recover = record.first(to, end, 20, false, |sent| sent >= 0.95);
        let probes = detect.map(|detect| from + detect + 2_000_000).filter(|since| since + 1_000_000 < to).map(|since| {
            let sum = record.sum(since, to);
            sum.sent as f64 / seconds(to - since)
        });
        let (whole, fault, since) = (record.sum(0, end), record.sum(from, to), record.sum(from, end));
        Figures {
            detect_s: detect.map(seconds),
            recover_s: recover.map(seconds),
            probes_per_s: probes,
            wrong: if whole.good == 0 { 0.0 } else { whole.good_refused as f64 / whole.good as f64 },
            goodput_per_s: fault.served as f64 / seconds((to - from).max(BIN_US)),
            harm: since.failed + since.good_refused,
            attempts: whole.attempts,
            false_refusals: record.sum(0, from).good_refused,
        }
    }
}
