//! Log time. A mind never reads a clock: time comes in with each message as milliseconds since the Unix epoch.

/// A point in time: milliseconds since 1970-01-01T00:00:00Z, without leap seconds.
pub type UnixMs = u64;

/// A span of time in milliseconds.
pub type Ms = u64;

/// One day.
pub const DAY: Ms = 24 * 60 * 60 * 1000;

/// The last instant [`rfc3339`] can write (9999-12-30T22:00:00Z); later ones are clamped to it.
const LAST: UnixMs = 253_402_207_200_000;

/// `2026-11-22T13:05:00.250Z`: RFC 3339 in UTC with milliseconds, the form of `ce-time` and of every table.
///
/// Times after the year 9999, which RFC 3339 cannot write, are clamped to its end.
#[must_use]
pub fn rfc3339(at: UnixMs) -> String {
    let at = i64::try_from(at.min(LAST)).unwrap_or_default();
    let timestamp = jiff::Timestamp::from_millisecond(at).unwrap_or_default();
    format!("{timestamp:.3}")
}

/// Reads RFC 3339 (`2026-11-22T13:05:00Z`, any offset), `YYYY-MM-DD hh:mm:ss` (taken as UTC), or plain Unix milliseconds.
///
/// # Errors
/// Says what was read and which forms are understood.
pub fn parse(text: &str) -> Result<UnixMs, TimeError> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return text.parse().map_err(|_| TimeError(text.to_owned()));
    }
    let timestamp = text.parse::<jiff::Timestamp>().ok().or_else(|| {
        let civil = text.parse::<jiff::civil::DateTime>().ok()?;
        civil.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
    });
    timestamp.and_then(|t| u64::try_from(t.as_millisecond()).ok()).ok_or_else(|| TimeError(text.to_owned()))
}

/// A text that is no time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no time: write RFC 3339 (2026-11-22T13:05:00Z), `YYYY-MM-DD hh:mm:ss` in UTC, or Unix milliseconds")]
pub struct TimeError(pub String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_spellings_of_an_instant_are_one() {
        for text in ["2026-11-22T13:05:00Z", "2026-11-22 13:05:00", "2026-11-22T14:05:00+01:00", "1795352700000"] {
            assert_eq!(parse(text), Ok(1_795_352_700_000), "{text}");
        }
        assert_eq!(rfc3339(1_795_352_700_250), "2026-11-22T13:05:00.250Z");
    }

    #[test]
    fn nonsense_is_an_error_and_never_a_panic() {
        for text in ["", "yesterday", "-5", "99999999999999999999999", "2026-13-01 00:00:00"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert_eq!(rfc3339(u64::MAX), rfc3339(LAST));
    }
}
