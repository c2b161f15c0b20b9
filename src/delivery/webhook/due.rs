//! What is told otherwise than when the log says it: what was withheld and may be told now, and reminders of what stays open.
//!
//! It is found by a look at everything, and told one by one, each as it is at that moment: between two of them, what the log says comes
//! first, and who was told a while ago that something is silenced, looked after or over is not told of it.

use super::{Attempt, Failure, Hook, REFUSALS_MAX, Told, is_silenced};
use crate::delivery::{PAUSE, PAUSE_MAX};
use homeostat_actors::status::{Mark, StatusView};
use homeostat_schemas::{Alert, UnixMs};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

/// After so many looks at which nothing more came from the log, an incident that is not open is one whose end was told before.
const LOOKS_MAX: u32 = 20;

/// A withheld alert that could not be told yet.
struct Tried {
    since: Instant,
    refusals: u32,
}

/// What may be to be told, and what was seen when it was looked last.
pub(super) struct Due {
    /// Incidents.
    queue: VecDeque<String>,
    /// How many reminders of each open incident have had their time.
    turns: BTreeMap<String, u64>,
    /// How often each withheld incident was not open any more.
    missing: BTreeMap<String, u32>,
    tried: BTreeMap<String, Tried>,
    /// How long nothing is told after the next failure.
    pause: Duration,
}

impl Default for Due {
    fn default() -> Self {
        let (queue, turns, missing, tried) = (VecDeque::new(), BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Due { queue, turns, missing, tried, pause: PAUSE }
    }
}

impl Due {
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

impl Hook {
    /// Looks for what may be to be told.
    pub(super) async fn look(&self, view: &StatusView, due: &mut Due, told: &mut Told) -> Result<(), Failure> {
        let open: BTreeMap<&str, &Alert> = view.open.iter().map(|alert| (alert.incident.as_str(), alert)).collect();
        let silent = Mark::default();
        let mark = |incident: &str| view.marks.get(incident).unwrap_or(&silent);
        let withheld: BTreeSet<String> = told.withheld.incidents().into_iter().collect();
        due.missing.retain(|incident, _| withheld.contains(incident));
        due.tried.retain(|incident, _| withheld.contains(incident));
        for incident in &withheld {
            let Some(alert) = open.get(incident.as_str()) else {
                // Its end is on its way here by the log; if it does not come, a process before this one had it.
                let looks = due.missing.entry(incident.clone()).or_default();
                *looks += 1;
                if *looks > LOOKS_MAX {
                    told.withheld.forget(incident).await?;
                }
                continue;
            };
            due.missing.remove(incident);
            if self.is_to_be_told(alert, mark(incident), view.at_ms) {
                due.queue.push_back(incident.clone());
            }
        }
        let mut turns = BTreeMap::new();
        for alert in view.open.iter().filter(|alert| !withheld.contains(&alert.incident)) {
            let Some(turn) = self.turn(alert, mark(&alert.incident), view.at_ms, told) else { continue };
            // One that was not seen before may have been reminded of by a process before this one: its next turn will come.
            let before = due.turns.get(&alert.incident).copied().unwrap_or(turn);
            if turn > before {
                due.queue.push_back(alert.incident.clone());
            }
            turns.insert(alert.incident.clone(), before);
        }
        due.turns = turns;
        Ok(())
    }

    /// Tells the next, if it is still to be told. How long nothing more is to be tried, when that failed.
    pub(super) async fn tell_due(&self, due: &mut Due, told: &mut Told) -> Result<Option<Duration>, Failure> {
        let Some(incident) = due.queue.pop_front() else { return Ok(None) };
        let Some((alert, mark, now)) = self.as_it_is(&incident, told.position).await else { return Ok(None) };
        let withheld = told.withheld.told(&incident).is_some();
        let (id, turn) = if withheld {
            if !self.is_to_be_told(&alert, &mark, now) {
                return Ok(None);
            }
            (alert.id.clone(), None)
        } else {
            let turn = self.turn(&alert, &mark, now, told).filter(|turn| due.turns.get(&incident).is_some_and(|before| turn > before));
            let Some(turn) = turn else { return Ok(None) };
            (format!("{}.reminder.{turn}", alert.id), Some(turn))
        };
        let (why, refused) = match self.attempt(&id, &serde_json::to_vec(&alert)?).await {
            Attempt::Taken => {
                due.pause = PAUSE;
                match turn {
                    Some(turn) => drop(due.turns.insert(incident, turn)),
                    None => told.withheld.forget(&incident).await?,
                }
                return Ok(None);
            }
            Attempt::Refused(why) => (why, true),
            Attempt::Failed { why, .. } => (why, false),
        };
        match turn {
            Some(turn) if refused => {
                tracing::warn!(webhook = self.hook.name, alert = alert.id, turn, why, "a reminder was refused");
                due.turns.insert(incident, turn);
                return Ok(None);
            }
            Some(_) => {}
            None => {
                let tried = due.tried.entry(incident.clone()).or_insert_with(|| Tried { since: Instant::now(), refusals: 0 });
                tried.refusals += u32::from(refused);
                if tried.refusals >= REFUSALS_MAX || tried.since.elapsed() > self.give_up() {
                    tracing::error!(webhook = self.hook.name, alert = alert.id, why, "an alert was not delivered and is given up");
                    told.withheld.forget(&incident).await?;
                    return Ok(None);
                }
            }
        }
        let pause = due.pause;
        tracing::warn!(webhook = self.hook.name, alert = id, why, pause_ms = pause.as_millis(), "the webhook is told later");
        due.queue.clear();
        due.pause = (pause * 2).min(PAUSE_MAX);
        Ok(Some(pause))
    }

    /// Is what was withheld to be told now? It is open; `now` is log time.
    fn is_to_be_told(&self, alert: &Alert, mark: &Mark, now: UnixMs) -> bool {
        let after_ms = self.hook.config.after_s.saturating_mul(1_000);
        let looked_after = after_ms > 0 && mark.acknowledged.is_some();
        !is_silenced(mark) && !looked_after && now >= alert.since_ms.saturating_add(after_ms)
    }

    /// How many reminders of what is open and was told have had their time; nothing when there are to be none.
    fn turn(&self, alert: &Alert, mark: &Mark, now: UnixMs, told: &Told) -> Option<u64> {
        let every_ms = self.hook.config.remind_s.saturating_mul(1_000);
        let quiet = is_silenced(mark) || mark.acknowledged.is_some();
        // What was decided later than what was heard last is still on its way here.
        let wanted = every_ms > 0 && !quiet && alert.severity >= self.hook.config.severity && alert.at_ms <= told.at_ms;
        wanted.then(|| now.saturating_sub(alert.at_ms) / every_ms)
    }
}
