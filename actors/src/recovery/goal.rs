//! What has to come true for a command to have helped: `resource.memory falls 20 % within 5m`.
//!
//! ```text
//! goal      = quantity ("falls" | "rises") (number "%" | ("below" | "above" | "to") level) "within" duration
//!           | rule "resolves" "within" duration
//! quantity  = "resource.memory" | "resource.heap" | "resource.cpu" | "cache.hit_rate" | "pool.usage"
//! level     = number ["%"]
//! duration  = number ("ms" | "s" | "m" | "h" | "d")
//! ```
//!
//! A change in percent is one against the last measurement before the command; a level is compared with as it is.

use super::config::is_two_tokens;
use homeostat_schemas::Ms;
use serde::{Deserialize, Serialize};

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Quantity {
    /// Memory of an instance, bytes.
    Memory,
    /// Heap of an instance, bytes.
    Heap,
    /// CPU of an instance, used over allowed.
    Cpu,
    /// Hits over look-ups of a cache.
    HitRate,
    /// Used over allowed of a pool.
    PoolUsage,
}

impl Quantity {
    const ALL: [Quantity; 5] = [Quantity::Memory, Quantity::Heap, Quantity::Cpu, Quantity::HitRate, Quantity::PoolUsage];

    fn of(word: &str) -> Option<Quantity> {
        Quantity::ALL.into_iter().find(|quantity| quantity.word() == word)
    }

    /// What people call it.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Quantity::Memory => "resource.memory",
            Quantity::Heap => "resource.heap",
            Quantity::Cpu => "resource.cpu",
            Quantity::HitRate => "cache.hit_rate",
            Quantity::PoolUsage => "pool.usage",
        }
    }
}

/// Where a quantity has to go.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) enum Aim {
    /// By at least this share of what it was.
    FallsBy(f64),
    /// By at least this share of what it was.
    RisesBy(f64),
    /// To less than this.
    Below(f64),
    /// To this or more.
    Above(f64),
}

impl Aim {
    /// Is it reached? A change cannot be judged without a value to compare with.
    pub(super) fn reached(self, before: Option<f64>, value: f64) -> bool {
        match self {
            Aim::FallsBy(share) => before.is_some_and(|before| value <= before * (1.0 - share)),
            Aim::RisesBy(share) => before.is_some_and(|before| value >= before * (1.0 + share)),
            Aim::Below(level) => value < level,
            Aim::Above(level) => value >= level,
        }
    }
}

/// What has to come true, and within which time after the command was done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Goal {
    /// A measured quantity goes somewhere.
    Measure { quantity: Quantity, aim: Aim, within_ms: Ms },
    /// An alert ends.
    Resolves { rule: String, within_ms: Ms },
}

impl Goal {
    pub(super) fn within_ms(&self) -> Ms {
        match self {
            Goal::Measure { within_ms, .. } | Goal::Resolves { within_ms, .. } => *within_ms,
        }
    }

    /// Reads a goal; the error says what was expected.
    pub(super) fn parse(text: &str) -> Result<Goal, String> {
        let wrong = |why: &str| {
            format!(
                "`{text}` cannot be verified: {why}; write for example `resource.memory falls 20 % within 5m` or `leak.confirmed resolves within 10m`"
            )
        };
        let spaced = text.replace('%', " % ");
        let words: Vec<&str> = spaced.split_whitespace().collect();
        let Some(at) = words.iter().position(|word| *word == "within") else { return Err(wrong("it names no time (`within 5m`)")) };
        let within_ms = duration(&words[at + 1..].concat()).ok_or_else(|| wrong("its time is none (90s, 5m, 2h)"))?;
        let number = |word: &str| word.parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0);
        let aim = match &words[..at] {
            [rule, "resolves"] if is_two_tokens(rule) => return Ok(Goal::Resolves { rule: (*rule).to_owned(), within_ms }),
            [_, "falls", share, "%"] => number(share).map(|share| Aim::FallsBy(share / 100.0)),
            [_, "rises", share, "%"] => number(share).map(|share| Aim::RisesBy(share / 100.0)),
            [_, "falls", "below" | "to", level] => number(level).map(Aim::Below),
            [_, "falls", "below" | "to", level, "%"] => number(level).map(|level| Aim::Below(level / 100.0)),
            [_, "rises", "above" | "to", level] => number(level).map(Aim::Above),
            [_, "rises", "above" | "to", level, "%"] => number(level).map(|level| Aim::Above(level / 100.0)),
            _ => return Err(wrong("it is not of a known form")),
        };
        let quantity = words.first().and_then(|word| Quantity::of(word)).ok_or_else(|| {
            wrong("it measures nothing that is known (resource.memory, resource.heap, resource.cpu, cache.hit_rate, pool.usage)")
        })?;
        Ok(Goal::Measure { quantity, aim: aim.ok_or_else(|| wrong("its number is none"))?, within_ms })
    }
}

fn duration(text: &str) -> Option<Ms> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (count, unit) = text.split_at(digits);
    let unit = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    count.parse::<u64>().ok()?.checked_mul(unit).filter(|&ms| ms > 0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn goals_are_read_as_people_write_them() {
        let measure = |quantity, aim, within_ms| Ok(Goal::Measure { quantity, aim, within_ms });
        assert_eq!(Goal::parse("resource.memory falls 20 % within 5m"), measure(Quantity::Memory, Aim::FallsBy(0.2), 300_000));
        assert_eq!(Goal::parse("resource.memory falls 20% within 5 m"), measure(Quantity::Memory, Aim::FallsBy(0.2), 300_000));
        assert_eq!(Goal::parse("cache.hit_rate rises above 0.6 within 90s"), measure(Quantity::HitRate, Aim::Above(0.6), 90_000));
        assert_eq!(Goal::parse("cache.hit_rate rises to 95 % within 2h"), measure(Quantity::HitRate, Aim::Above(0.95), 7_200_000));
        assert_eq!(Goal::parse("pool.usage falls below 80% within 500ms"), measure(Quantity::PoolUsage, Aim::Below(0.8), 500));
        assert_eq!(
            Goal::parse("leak.confirmed resolves within 1d"),
            Ok(Goal::Resolves { rule: "leak.confirmed".into(), within_ms: 86_400_000 })
        );
        for wrong in [
            "",
            "resource.memory falls 20 %",
            "resource.memory falls within 5m",
            "resource.memory falls -5 % within 5m",
            "resource.memory falls NaN % within 5m",
            "resource.disk falls 20 % within 5m",
            "resource.memory falls 20 % within soon",
            "resource.memory falls 20 % within 0s",
            "resource.memory falls 20 % within 99999999999999999999d",
            "nothing resolves within 5m",
            "a.b.c resolves within 5m",
        ] {
            assert!(Goal::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_change_needs_something_to_compare_with() {
        assert!(Aim::FallsBy(0.2).reached(Some(100.0), 80.0));
        assert!(!Aim::FallsBy(0.2).reached(Some(100.0), 80.1));
        assert!(!Aim::FallsBy(0.2).reached(None, 0.0));
        assert!(Aim::RisesBy(0.5).reached(Some(2.0), 3.0));
        assert!(!Aim::Below(0.8).reached(None, 0.8));
        assert!(Aim::Above(0.6).reached(None, 0.6));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "(resource.memory|a.b| |falls|rises|within|%|[0-9]{1,4}|[a-z\u{e9}]{1,3}|5m){0,9}") {
            let _ = Goal::parse(&text);
        }
    }
}
