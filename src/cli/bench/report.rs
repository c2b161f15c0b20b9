//! What a bench found.

use crate::cli::{CliError, Out};
use hdrhistogram::Histogram;
use serde::Serialize;
use std::time::Duration;

/// Times of one kind, from a microsecond to an hour, to three digits.
#[derive(Debug, Clone)]
pub(super) struct Times(Histogram<u64>);

impl Default for Times {
    fn default() -> Self {
        // The bounds are constants that it accepts; an unbounded one stands in for a refusal.
        Times(Histogram::new_with_bounds(1, 3_600_000_000, 3).unwrap_or_else(|_| unbounded()))
    }
}

#[expect(clippy::expect_used, reason = "three digits are always accepted")]
fn unbounded() -> Histogram<u64> {
    Histogram::new(3).expect("a histogram of three digits")
}

impl Times {
    pub(super) fn record(&mut self, took: Duration) {
        self.0.saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1));
    }

    pub(super) fn percentiles(&self) -> Option<Percentiles> {
        #[expect(clippy::cast_precision_loss, reason = "an hour of microseconds is far below 2^53")]
        let ms = |us: u64| us as f64 / 1_000.0;
        let at = |quantile| ms(self.0.value_at_quantile(quantile));
        (!self.0.is_empty()).then(|| Percentiles {
            count: self.0.len(),
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: ms(self.0.max()),
        })
    }
}

/// Percentiles of times, milliseconds.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Percentiles {
    pub count: u64,
    pub p50_ms: f64,
    pub p90_ms: f64,
    pub p99_ms: f64,
    pub p999_ms: f64,
    pub max_ms: f64,
}

/// Slow queries, and when their alerts were on the bus.
#[derive(Debug, Serialize)]
pub(super) struct Alerts {
    /// Slow queries published.
    pub expected: u64,
    /// Alerts that came.
    pub seen: u64,
    /// From the time the query was due to the alert at a subscriber.
    pub latency: Option<Percentiles>,
}

/// How far actors were behind the log.
#[derive(Debug, Serialize)]
pub(super) struct Lag {
    /// The most messages that the slowest actor had yet to take, looked at once a second.
    pub max_messages: u64,
    /// From the last acknowledgement until every actor had taken everything, seconds; nothing when that did not happen in time.
    pub caught_up_s: Option<f64>,
}

/// Everything.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub events: u64,
    pub messages: u64,
    pub failed_messages: u64,
    pub bytes: u64,
    pub duration_s: f64,
    /// What was wanted, events a second; nothing: as fast as acknowledged.
    pub wanted_events_per_s: Option<u64>,
    /// Acknowledged, events a second.
    pub events_per_s: f64,
    pub messages_per_s: f64,
    /// From sending to the acknowledgement.
    pub publish: Option<Percentiles>,
    /// From the time a message was due to its acknowledgement: what waits because the system is slow counts too. Only with a rate.
    pub publish_from_due: Option<Percentiles>,
    pub alerts: Option<Alerts>,
    /// Nothing, when the gateway could not be asked.
    pub lag: Option<Lag>,
    /// The first failure, in words.
    pub failure: Option<String>,
}

impl Report {
    pub(super) fn tell(&self, out: &mut Out) -> Result<(), CliError> {
        let wanted = self.wanted_events_per_s.map_or("as fast as acknowledged".to_owned(), |rate| format!("{rate} wanted"));
        out.line(format!(
            "{} events in {} messages over {:.1} s: {:.0} events/s acknowledged ({wanted}), {:.0} messages/s, {:.1} MB",
            self.events,
            self.messages,
            self.duration_s,
            self.events_per_s,
            self.messages_per_s,
            f64::from(u32::try_from(self.bytes / 1_000).unwrap_or(u32::MAX)) / 1_000.0
        ))?;
        if self.failed_messages > 0 {
            let why = self.failure.as_deref().unwrap_or("no reason was given");
            out.line(format!("{} messages were not acknowledged: {why}", self.failed_messages))?;
        }
        row(out, "publish, from sending", self.publish.as_ref())?;
        if self.wanted_events_per_s.is_some() {
            row(out, "publish, from when it was due", self.publish_from_due.as_ref())?;
        } else {
            out.line("as fast as acknowledged, the load waits for the system: these times say nothing of a load that does not (--rate)")?;
        }
        if let Some(alerts) = &self.alerts {
            row(out, "slow query to alert", alerts.latency.as_ref())?;
            out.line(format!("{} of {} alerts seen", alerts.seen, alerts.expected))?;
        }
        match &self.lag {
            Some(Lag { max_messages, caught_up_s: Some(seconds) }) => out.line(format!(
                "actors were at most {max_messages} messages behind, and had taken everything {seconds:.1} s after the last"
            )),
            Some(Lag { max_messages, caught_up_s: None }) => {
                out.line(format!("actors were at most {max_messages} messages behind, and did NOT catch up in time"))
            }
            None => out.line("how far actors were behind is not known: the gateway could not be asked (run it with the same --data-dir)"),
        }
    }
}

fn row(out: &mut Out, what: &str, times: Option<&Percentiles>) -> Result<(), CliError> {
    let Some(Percentiles { count, p50_ms, p90_ms, p99_ms, p999_ms, max_ms }) = times else {
        return out.line(format!("{what:<30} nothing was measured"));
    };
    out.line(format!(
        "{what:<30} p50 {p50_ms:.2}  p90 {p90_ms:.2}  p99 {p99_ms:.2}  p99.9 {p999_ms:.2}  max {max_ms:.2} ms  ({count} measured)"
    ))
}
