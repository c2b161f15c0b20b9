//! When a maintenance window is open. Time zones are those that the program was built with, so that a replay on another machine
//! says the same.

use homeostat_schemas::UnixMs;
use homeostat_schemas::silence::{Day, Window};
use jiff::civil::{Date, Time};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{Timestamp, ToSpan as _};

/// So many days ahead a window opens once at least, whatever its days are, even if a change of the clocks took one of them away.
const DAYS_AHEAD: i64 = 15;

/// A window whose words were understood.
struct Clock {
    zone: TimeZone,
    from: Time,
    to: Time,
}

fn zone(name: &str) -> Result<TimeZone, String> {
    TimeZoneDatabase::bundled().get(name).map_err(|_| format!("{name:?} is no time zone of the IANA database"))
}

/// `HH:MM`; `24:00` is midnight too.
fn time_of_day(text: &str) -> Result<Time, String> {
    let bad = || format!("{text:?} is no time of day: write HH:MM");
    let (hour, minute) = text.split_once(':').ok_or_else(bad)?;
    let two = |text: &str| -> Option<i8> { (text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())? };
    match (two(hour), two(minute)) {
        (Some(24), Some(0)) => Ok(Time::midnight()),
        (Some(hour), Some(minute)) => Time::new(hour, minute, 0, 0).map_err(|_| bad()),
        _ => Err(bad()),
    }
}

impl Clock {
    fn of(window: &Window) -> Result<Clock, String> {
        Ok(Clock { zone: zone(&window.zone)?, from: time_of_day(&window.from)?, to: time_of_day(&window.to)? })
    }

    /// From when to when it is open if it opens on this day. None where a change of the clocks leaves nothing of it.
    fn on(&self, date: Date) -> Option<(UnixMs, UnixMs)> {
        let until = if self.to <= self.from { date.checked_add(1.day()).ok()? } else { date };
        let at = |date: Date, time: Time| {
            let zoned = date.to_datetime(time).to_zoned(self.zone.clone()).ok()?;
            UnixMs::try_from(zoned.timestamp().as_millisecond()).ok()
        };
        let (from, to) = (at(date, self.from)?, at(until, self.to)?);
        (from < to).then_some((from, to))
    }
}

/// Can it be understood?
///
/// # Errors
/// What is wrong with it.
pub(super) fn check(window: &Window) -> Result<(), String> {
    Clock::of(window).map(drop)
}

/// The first time from `now` on that the window is open within `[starts, ends)`: from when to when, cut to that.
pub(super) fn span(window: &Window, now: UnixMs, starts: UnixMs, ends: Option<UnixMs>) -> Option<(UnixMs, UnixMs)> {
    let clock = Clock::of(window).ok()?;
    let now = now.max(starts);
    let today = Timestamp::from_millisecond(i64::try_from(now).ok()?).ok()?.to_zoned(clock.zone.clone()).date();
    for ahead in -1..=DAYS_AHEAD {
        let Ok(date) = today.checked_add(ahead.days()) else { continue };
        let day = Day::ALL[usize::try_from(date.weekday().to_monday_zero_offset()).unwrap_or(0) % 7];
        if !window.days.is_empty() && !window.days.contains(&day) {
            continue;
        }
        let Some((from, to)) = clock.on(date) else { continue };
        let (from, to) = (from.max(starts), ends.map_or(to, |ends| to.min(ends)));
        if ends.is_some_and(|ends| from >= ends) {
            return None;
        }
        if now < to {
            return Some((from, to));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> UnixMs {
        u64::try_from(text.parse::<Timestamp>().unwrap().as_millisecond()).unwrap()
    }

    fn said(window: &Window, now: &str, ends: Option<&str>) -> Option<(String, String)> {
        let said = |at: UnixMs| Timestamp::from_millisecond(i64::try_from(at).unwrap()).unwrap().to_string();
        span(window, at(now), 0, ends.map(at)).map(|(from, to)| (said(from), said(to)))
    }

    fn window(days: &[Day], from: &str, to: &str, zone: &str) -> Window {
        Window { days: days.to_vec(), from: from.to_owned(), to: to.to_owned(), zone: zone.to_owned() }
    }

    fn is(found: Option<(String, String)>, from: &str, to: &str) {
        assert_eq!(found, Some((from.to_owned(), to.to_owned())));
    }

    #[test]
    fn a_daily_window_opens_by_the_clock_of_its_place() {
        let night = window(&[], "02:00", "04:00", "Europe/Berlin");
        is(said(&night, "2026-01-10T12:00:00Z", None), "2026-01-11T01:00:00Z", "2026-01-11T03:00:00Z");
        is(said(&night, "2026-07-10T01:00:00Z", None), "2026-07-10T00:00:00Z", "2026-07-10T02:00:00Z");
        is(said(&night, "2026-07-10T02:00:00Z", None), "2026-07-11T00:00:00Z", "2026-07-11T02:00:00Z");
    }

    #[test]
    fn a_change_of_the_clocks_makes_it_longer_or_takes_it_away() {
        // On 2026-10-25 the hour from 2 to 3 comes twice, on 2026-03-29 not at all.
        let night = window(&[], "02:00", "03:00", "Europe/Berlin");
        is(said(&night, "2026-10-24T12:00:00Z", None), "2026-10-25T00:00:00Z", "2026-10-25T02:00:00Z");
        is(said(&night, "2026-03-28T12:00:00Z", None), "2026-03-30T00:00:00Z", "2026-03-30T01:00:00Z");
    }

    #[test]
    fn a_weekly_window_may_go_past_midnight() {
        let weekend = window(&[Day::Sat], "22:00", "06:00", "UTC");
        // 2026-11-21 is a Saturday.
        is(said(&weekend, "2026-11-22T05:59:59.999Z", None), "2026-11-21T22:00:00Z", "2026-11-22T06:00:00Z");
        is(said(&weekend, "2026-11-22T06:00:00Z", None), "2026-11-28T22:00:00Z", "2026-11-29T06:00:00Z");
        is(said(&window(&[], "00:00", "24:00", "UTC"), "2026-11-22T06:00:00Z", None), "2026-11-22T00:00:00Z", "2026-11-23T00:00:00Z");
    }

    #[test]
    fn it_is_cut_to_what_the_silence_says() {
        let night = window(&[], "02:00", "04:00", "UTC");
        is(said(&night, "2026-11-22T02:30:00Z", Some("2026-11-22T03:00:00Z")), "2026-11-22T02:00:00Z", "2026-11-22T03:00:00Z");
        assert_eq!(said(&night, "2026-11-22T03:00:00Z", Some("2026-11-22T03:00:00Z")), None);
        assert_eq!(said(&night, "2026-11-22T05:00:00Z", Some("2026-11-23T02:00:00Z")), None);
    }

    #[test]
    fn what_is_no_time_or_place_is_said() {
        for (from, to, zone) in
            [("2:00", "04:00", "UTC"), ("02:00", "24:01", "UTC"), ("02:00", "04:60", "UTC"), ("02:00", "04:00", "Europe/Bonn")]
        {
            assert!(check(&window(&[], from, to, zone)).is_err(), "{from} {to} {zone}");
        }
        assert_eq!(check(&window(&[], "00:00", "24:00", "Asia/Kathmandu")), Ok(()));
    }
}
