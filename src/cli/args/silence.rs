//! `homeostat silence …` and `homeostat acknowledge`: what nobody is to be told of, and who looks after what.

use super::Named;
use super::bus::when;
use clap::{Args, Subcommand};
use homeostat_schemas::silence::{Day, Matcher};
use homeostat_schemas::{Ms, UnixMs};

/// `silence`
#[derive(Debug, Clone, Args)]
pub struct SilenceArgs {
    /// What to do
    #[command(subcommand)]
    pub command: SilenceCommand,
}

/// `silence …`
#[derive(Debug, Clone, Subcommand)]
pub enum SilenceCommand {
    /// Tell nobody of alerts for which all matchers hold: for a while, or in a maintenance window that comes again
    Create(CreateSilence),
    /// Silences in force and to come
    List {
        /// Also those that are over
        #[arg(long)]
        all: bool,
    },
    /// End silences now; what is still open is told
    Expire {
        /// Their ids, as `list` shows them
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
        /// Who and why.
        #[command(flatten)]
        who: Named,
    },
}

/// `silence create`
#[derive(Debug, Clone, Args)]
#[command(group = clap::ArgGroup::new("end").args(["duration", "until", "from"]).required(true).multiple(true))]
pub struct CreateSilence {
    /// Conditions such as service=shop, 'rule=~query\..+', zone!=b, 'route!~GET /internal.*'. Names are rule, service, severity, or a
    /// label of the alert
    #[arg(required = true, value_name = "MATCHER")]
    pub matchers: Vec<Matcher>,
    /// How long, such as 90m, 2h or 7d
    #[arg(long = "for", value_name = "DURATION", value_parser = duration, conflicts_with = "until")]
    pub duration: Option<Ms>,
    /// Until when, such as 2026-11-22T13:05:00+01:00
    #[arg(long, value_name = "TIME", value_parser = when)]
    pub until: Option<UnixMs>,
    /// From when on [default: now]
    #[arg(long, value_name = "TIME", value_parser = when)]
    pub start: Option<UnixMs>,
    /// A window that comes again: when it opens, HH:MM
    #[arg(long, value_name = "HH:MM", requires = "to")]
    pub from: Option<String>,
    /// When the window closes, HH:MM; on the next day when that is not later than --from
    #[arg(long, value_name = "HH:MM", requires = "from")]
    pub to: Option<String>,
    /// The days on which the window opens, such as sat,sun [default: every day]
    #[arg(long, value_name = "DAYS", value_delimiter = ',', value_parser = day, requires = "from")]
    pub days: Vec<Day>,
    /// The time zone of the window, such as Europe/Berlin [default: that of this machine]
    #[arg(long, value_name = "ZONE", requires = "from")]
    pub zone: Option<String>,
    /// Its id; one that is there is replaced [default: a random one]
    #[arg(long)]
    pub id: Option<String>,
    /// Who and why.
    #[command(flatten)]
    pub who: Named,
}

/// `acknowledge`
#[derive(Debug, Clone, Args)]
pub struct AcknowledgeArgs {
    /// The incident, or one of its alerts
    pub incident: String,
    /// Take it back: nobody looks after it any more
    #[arg(long)]
    pub withdraw: bool,
    /// Who and why.
    #[command(flatten)]
    pub who: Named,
}

fn day(text: &str) -> Result<Day, String> {
    let begin: String = text.trim().to_lowercase().chars().take(3).collect();
    serde_json::from_value(begin.into()).map_err(|_| "mon, tue, wed, thu, fri, sat or sun".to_owned())
}

/// `90s`, `15m`, `2h`, `7d`, or several after each other: `1h30m`.
pub(super) fn duration(text: &str) -> Result<Ms, String> {
    let bad = || "how long, such as 90s, 15m, 2h, 7d or 1h30m".to_owned();
    let (mut total, mut digits): (Ms, String) = (0, String::new());
    for character in text.trim().chars() {
        let unit = match character {
            '0'..='9' => {
                digits.push(character);
                continue;
            }
            's' => 1_000,
            'm' => 60_000,
            'h' => 3_600_000,
            'd' => homeostat_schemas::time::DAY,
            _ => return Err(bad()),
        };
        let count: u64 = digits.parse().map_err(|_| bad())?;
        digits.clear();
        total = count.checked_mul(unit).and_then(|more| total.checked_add(more)).ok_or_else(bad)?;
    }
    if total == 0 || !digits.is_empty() { Err(bad()) } else { Ok(total) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, ms) in [("90s", 90_000), ("15m", 900_000), ("1h30m", 5_400_000), ("7d", 604_800_000)] {
            assert_eq!(duration(text), Ok(ms), "{text}");
        }
        for bad in ["", "5", "h", "-1h", "0s", "2w", "99999999999999999999d", "1h5"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
