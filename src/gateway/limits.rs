//! How much anybody may ask of the gateway.
//!
//! The generic cell rate algorithm (ITU-T I.371; as the crate `governor` has it): of everybody only one instant is kept, the
//! *theoretical arrival time* of their next request. A request costs time; whoever is further ahead of now than the burst allows has to wait.
//!
//! The table has a fixed size, so that a flood of addresses costs nothing but other strangers' history: eight places a bucket, and the
//! one who owes least makes room. That is why it is our own: keyed limiters to be had grow with their keys until somebody sweeps them.
//!
//! Promises
//! - L-1 A table never grows.
//! - L-2 Whoever stays within `amount` per `period` is never refused, unless more than seven others with a larger debt share the bucket.

use std::hash::{BuildHasher as _, Hash, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Places of a bucket.
const WAYS: usize = 8;
/// Buckets of a table.
const BUCKETS: usize = 8_192;

/// So much within a period, and all of it at once if need be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rate {
    /// How much: requests, or bytes.
    pub(super) amount: u64,
    /// Within which time it comes back as a whole.
    pub(super) period: Duration,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Whether it is within the limit.
    pub(super) within: bool,
    /// What is left now.
    pub(super) remaining: u64,
    /// When something more comes back, or (beyond the limit) when to try again; whole seconds, rounded up.
    pub(super) after_s: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Place {
    /// Whose it is, as a keyed hash; 0 is nobody's.
    who: u64,
    /// Theoretical arrival time, nanoseconds since the table was made.
    tat: u64,
}

/// What everybody has used.
#[derive(Debug)]
pub(super) struct Table {
    buckets: Box<[Mutex<[Place; WAYS]>]>,
    keys: RandomState,
    begun: Instant,
}

impl Default for Table {
    fn default() -> Self {
        let buckets = std::iter::repeat_with(Mutex::default).take(BUCKETS).collect();
        Table { buckets, keys: RandomState::new(), begun: Instant::now() }
    }
}

impl Table {
    /// Takes `cost` from what somebody has, if there is that much.
    pub(super) fn take(&self, who: impl Hash, cost: u64, rate: Rate) -> Verdict {
        self.step(&who, cost, rate, self.begun.elapsed(), false)
    }

    /// Takes `cost` though there may not be that much: it was used already. The next one waits the longer.
    pub(super) fn charge(&self, who: impl Hash, cost: u64, rate: Rate) {
        self.step(&who, cost, rate, self.begun.elapsed(), true);
    }

    fn step(&self, who: &impl Hash, cost: u64, rate: Rate, now: Duration, owed: bool) -> Verdict {
        let who = self.keys.hash_one(who).max(1);
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX / 4);
        let period = u64::try_from(rate.period.as_nanos()).unwrap_or(u64::MAX / 4);
        let amount = rate.amount.max(1);
        let time = |cost: u64| u64::try_from(u128::from(cost) * u128::from(period) / u128::from(amount)).unwrap_or(u64::MAX / 4);
        let index = usize::try_from(who % self.buckets.len().max(1) as u64).unwrap_or_default();
        let Some(bucket) = self.buckets.get(index) else {
            return Verdict { within: true, remaining: amount, after_s: 0 };
        };
        let mut bucket = bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let place = match bucket.iter().position(|place| place.who == who) {
            Some(index) => &mut bucket[index],
            None => {
                let least = bucket.iter().enumerate().min_by_key(|(_, place)| place.tat).map_or(0, |(index, _)| index);
                bucket[least] = Place { who, tat: 0 };
                &mut bucket[least]
            }
        };
        let tat = place.tat.max(now);
        let next = tat.saturating_add(time(cost));
        let within = next <= now.saturating_add(period);
        if within || owed {
            place.tat = next;
        }
        let ahead = place.tat.max(now) - now;
        let remaining = period.saturating_sub(ahead) as u128 * u128::from(amount) / u128::from(period.max(1));
        let wait = if within { ahead.min(time(1)) } else { next.saturating_sub(now.saturating_add(period)) };
        Verdict { within, remaining: u64::try_from(remaining).unwrap_or(amount), after_s: wait.div_ceil(1_000_000_000).max(1) }
    }
}

/// Whom a limit is about: an address, or the network that one subscriber has (a /64 of IPv6: anybody has 2⁶⁴ addresses).
pub(super) fn subscriber(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    const RATE: Rate = Rate { amount: 100, period: Duration::from_secs(60) };

    fn at(table: &Table, who: &str, ms: u64) -> Verdict {
        table.step(&who, 1, RATE, Duration::from_millis(ms), false)
    }

    #[test]
    fn a_hundred_at_once_and_then_one_every_600_ms() {
        let table = Table::default();
        let first = at(&table, "a", 1_000);
        assert_eq!(first, Verdict { within: true, remaining: 99, after_s: 1 });
        assert!((1..100).all(|_| at(&table, "a", 1_000).within));
        assert_eq!(at(&table, "a", 1_000), Verdict { within: false, remaining: 0, after_s: 1 });
        assert!(at(&table, "b", 1_000).within, "another one is not touched");
        assert!(!at(&table, "a", 1_599).within);
        assert!(at(&table, "a", 1_600).within);
        assert!(!at(&table, "a", 1_601).within);
        assert_eq!(at(&table, "a", 61_600).remaining, 99);
    }

    #[test]
    fn what_was_used_already_is_waited_for() {
        let table = Table::default();
        let rate = Rate { amount: 1_000, period: Duration::from_secs(10) };
        let step = |cost, s, owed| table.step(&"a", cost, rate, Duration::from_secs(s), owed);
        step(5_000, 0, true);
        assert_eq!(step(0, 0, false), Verdict { within: false, remaining: 0, after_s: 40 });
        assert!(!step(0, 39, false).within);
        assert!(step(0, 40, false).within);
    }

    #[test]
    fn the_table_stays_as_large_as_it_is_and_debtors_stay_in_it() {
        let table = Table { buckets: std::iter::repeat_with(Mutex::default).take(1).collect(), ..Table::default() };
        (0..100).for_each(|_| assert!(at(&table, "debtor", 0).within));
        (0..1_000).for_each(|stranger| assert!(at(&table, &stranger.to_string(), 1).within));
        assert!(!at(&table, "debtor", 1).within);
    }

    #[test]
    fn a_subscriber_has_one_address_or_one_network() {
        let same = |a: &str, b: &str| subscriber(a.parse().unwrap()) == subscriber(b.parse().unwrap());
        assert!(same("2001:db8:1:2::1", "2001:db8:1:2:ffff::") && !same("2001:db8:1:2::1", "2001:db8:1:3::1"));
        assert!(same("::ffff:10.0.0.1", "10.0.0.1") && !same("10.0.0.1", "10.0.0.2"));
    }

    proptest! {
        #[test]
        fn never_more_than_the_burst_and_what_came_back(gaps in proptest::collection::vec(0u64..2_000, 1..400)) {
            let table = Table::default();
            let (mut now, mut passed) = (0, 0u64);
            for gap in gaps {
                now += gap;
                passed += u64::from(at(&table, "a", now).within);
                prop_assert!(passed <= 100 + now * 100 / 60_000 + 1);
            }
        }
    }
}
