//! Whatever comes, an answer does.

use crate::leak::{LeakConfig, LeakRule, Sample, Tier, assess};
use proptest::prelude::*;

fn memory() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => 1e6..1e9_f64,
        1 => prop::sample::select(vec![f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -1.0, 1e-300, f64::MAX, 1.0, 1e12]),
    ]
}

fn sample() -> impl Strategy<Value = Sample> {
    let time = prop_oneof![8 => 0..200_000_000_u64, 1 => prop::sample::select(vec![u64::MAX, u64::MAX / 2, 1])];
    (time, memory(), prop::option::of(memory()), prop::option::of(memory()), prop::option::of(0..100_000_000_u64))
        .prop_map(|(at_ms, memory, limit, load, started_ms)| Sample { at_ms, memory, limit, heap: limit, load, started_ms })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_panics_and_every_number_is_one(samples in prop::collection::vec(sample(), 0..120), compatible in any::<bool>()) {
        let rule = if compatible { LeakRule::Compatible } else { LeakRule::Robust };
        let answer = assess(samples, &LeakConfig { rule, ..LeakConfig::default() });
        prop_assert!(answer.eta_h.is_none_or(|eta| eta.is_finite() && eta >= 0.0));
    }

    #[test]
    fn a_constant_never_leaks(level in 1e-3..1e12_f64, hours in 0..40_u64, every_s in 10..1_000_u64) {
        let samples = (0..hours * 3_600 / every_s).map(|n| Sample { at_ms: n * every_s * 1_000, memory: level, ..Sample::default() });
        let answer = assess(samples.collect(), &LeakConfig::default());
        prop_assert_eq!((answer.verdict, answer.first_suspected_at), (Tier::None, None));
        if let Some(slope) = answer.slope_pct_per_h {
            prop_assert_eq!(slope, 0.0);
        }
    }

    #[test]
    fn an_offset_of_a_terabyte_hides_no_leak_that_is_one(rate in 0.02..0.2_f64, every_s in prop::sample::select(vec![15_u64, 60, 300, 900])) {
        let base = 1e12;
        let samples = (0..14 * 3_600 / every_s).map(|n| {
            let at_ms = n * every_s * 1_000;
            Sample { at_ms, memory: base * (1.0 + rate * at_ms as f64 / 3.6e6), ..Sample::default() }
        });
        prop_assert_eq!(assess(samples.collect(), &LeakConfig::default()).verdict, Tier::Confirmed);
    }
}

#[test]
fn few_samples_are_insufficient_and_no_verdict() {
    for n in 0..=10_u64 {
        let samples = (0..n).map(|n| Sample { at_ms: n * 60_000, memory: 1e6 * (1.0 + n as f64), ..Sample::default() });
        let answer = assess(samples.collect(), &LeakConfig::default());
        assert!(answer.insufficient, "{n}");
        assert_eq!((answer.verdict, answer.first_suspected_at, answer.eta_h), (Tier::None, None, None));
    }
}
