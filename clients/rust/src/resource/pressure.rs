//! Pressure stall information and throttling, as the kernel writes them.
//!
//! Sources: the kernel's `accounting/psi.rst` (`some avg10=0.00 avg60=0.00 avg300=0.00 total=0`) and, for `cpu.stat`, `cgroup-v2.rst` and
//! `scheduler/sched-bwc.rst` (`nr_periods`, `nr_throttled`).

/// The share of the last ten seconds in which some task waited, 0 to 1: `avg10` of the line `some`, which is in percent.
pub(super) fn waited(text: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix("some "))?;
    let percent: f64 = line.split_whitespace().find_map(|part| part.strip_prefix("avg10="))?.parse().ok()?;
    // An average of ten seconds may be rounded to a little more than all of them.
    (percent.is_finite() && (0.0..=101.0).contains(&percent)).then_some((percent / 100.0).min(1.0))
}

/// The scheduler's periods of one group since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Periods {
    all: u64,
    throttled: u64,
}

impl Periods {
    /// From a `cpu.stat`; nothing where the group has no quota, and so no periods.
    pub(super) fn parse(text: &str) -> Option<Periods> {
        let number = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok());
        Some(Periods { all: number("nr_periods")?, throttled: number("nr_throttled")? })
    }

    /// The share of throttled periods since then; nothing when none has passed, or the counters began anew.
    #[allow(clippy::cast_precision_loss)] // periods of 100 ms: 2^53 of them are 28 million years
    fn since(self, before: Periods) -> Option<f64> {
        let (all, throttled) = (self.all.checked_sub(before.all)?, self.throttled.checked_sub(before.throttled)?);
        (all > 0).then(|| (throttled as f64 / all as f64).min(1.0))
    }
}

/// What was throttled between two looks.
#[derive(Default)]
pub(super) struct Throttling(Vec<Option<Periods>>);

impl Throttling {
    /// The largest share of throttled periods since the last look: any quota on the way up holds the process back.
    pub(super) fn share(&mut self, now: Vec<Option<Periods>>) -> Option<f64> {
        let before = std::mem::replace(&mut self.0, now);
        self.0.iter().zip(before).filter_map(|(now, before)| (*now)?.since(before?)).reduce(f64::max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pressure_is_the_share_of_ten_seconds() {
        // As written by a Linux 6 kernel under load.
        let cpu = "some avg10=54.89 avg60=65.68 avg300=81.92 total=17563836255\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n";
        assert_eq!(waited(cpu), Some(0.5489));
        assert_eq!(
            waited("some avg10=0.00 avg60=0.00 avg300=0.00 total=125863209\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=22928095\n"),
            Some(0.0)
        );
        // Before Linux 5.13 CPU had no line `full`.
        assert_eq!(waited("some avg10=100.00 avg60=1.00 avg300=1.00 total=1\n"), Some(1.0));
    }

    #[test]
    fn what_is_no_pressure_says_nothing() {
        let odd = [
            "",
            "full avg10=1.00 avg60=0.00 avg300=0.00 total=0\n",
            "some avg60=1.00\n",
            "some avg10=\n",
            "some avg10=NaN\n",
            "some avg10=-1.00\n",
            "some avg10=1e9\n",
            "some avg10=12,5 avg60=0\n",
            "something else avg10=1.00\n",
            "\u{fffd}\u{fffd}",
        ];
        assert!(odd.iter().all(|text| waited(text).is_none()));
    }

    #[test]
    fn throttling_is_counted_between_two_looks() {
        let stat = |all: u64, throttled: u64| {
            Periods::parse(&format!(
                "usage_usec 1\nuser_usec 1\nsystem_usec 0\nnr_periods {all}\nnr_throttled {throttled}\nthrottled_usec 9\nnr_bursts 0\n"
            ))
        };
        let mut throttling = Throttling::default();
        assert_eq!(throttling.share(vec![stat(100, 50)]), None);
        assert_eq!(throttling.share(vec![stat(110, 52)]), Some(0.2));
        assert_eq!(throttling.share(vec![stat(110, 52)]), None, "no period has passed");
        assert_eq!(throttling.share(vec![stat(5, 1)]), None, "the group was made anew");
        assert_eq!(throttling.share(vec![stat(10, 1), stat(3, 3)]), Some(0.0));
        assert_eq!(throttling.share(vec![None, stat(4, 4)]), Some(1.0));
    }

    #[test]
    fn a_group_without_a_quota_has_no_periods() {
        for text in [
            "",
            "usage_usec 5\nuser_usec 5\nsystem_usec 0\n",
            "nr_periods x\nnr_throttled 1\n",
            "nr_periods -1\nnr_throttled 1\n",
            "nr_periods 7\n",
            "nr_periods7\nnr_throttled 1\n",
        ] {
            assert_eq!(Periods::parse(text), None, "{text}");
        }
        // Version 1.
        assert_eq!(Periods::parse("nr_periods 7\nnr_throttled 2\nthrottled_time 5\n"), Some(Periods { all: 7, throttled: 2 }));
    }
}
