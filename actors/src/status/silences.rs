//! Silences: what people do not want to hear of for a while. Log time decides when one is in force.

mod window;

use super::StatusConfig;
use homeostat_schemas::event::{INSTANT_MAX_MS, Order};
use homeostat_schemas::silence::{self, MATCHERS_MAX, Matcher, Operator, SilenceArgs, Window};
use homeostat_schemas::{Alert, Ms, UnixMs};
use regex_lite::{Regex, RegexBuilder};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// How long a silence that is over is still shown, as Alertmanager does it.
const KEPT_MS: Ms = 5 * homeostat_schemas::time::DAY;
/// How often what is over is looked for.
const SWEEP_MS: Ms = 60_000;
/// Orders that were refused, of which the reason is kept.
const REFUSED_MAX: usize = 20;
/// Longest text of a person that is kept, characters.
const SAID_MAX: usize = 200;
/// What a compiled expression may take, bytes, and how deep it may be nested.
const EXPRESSION_BYTES: usize = 256 * 1024;
const EXPRESSION_DEPTH: u32 = 32;

/// How a silence is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SilenceState {
    /// It will be in force.
    Pending,
    /// It is in force.
    Active,
    /// It is over.
    Ended,
}

/// A silence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Silence {
    matchers: Vec<Matcher>,
    starts_ms: UnixMs,
    ends_ms: Option<UnixMs>,
    window: Option<Window>,
    by: String,
    reason: String,
    created_ms: UnixMs,
    expired_by: Option<String>,
}

/// A silence, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SilenceView {
    /// Its id.
    pub id: String,
    /// How it is.
    pub state: SilenceState,
    /// What it covers: alerts for which all of these hold.
    pub matchers: Vec<Matcher>,
    /// When it begins, log time.
    pub starts_ms: UnixMs,
    /// When it ends, log time; a window without an end comes again until somebody expires it.
    pub ends_ms: Option<UnixMs>,
    /// When it is open, if it is a window that comes again.
    pub window: Option<Window>,
    /// When it is in force now, or will be next: from.
    pub from_ms: Option<UnixMs>,
    /// When it is in force now, or will be next: to.
    pub to_ms: Option<UnixMs>,
    /// Who made it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When it was made, log time.
    pub created_ms: UnixMs,
    /// Who ended it before its time.
    pub expired_by: Option<String>,
    /// How many open incidents it covers.
    pub covers: usize,
}

/// An order that was not followed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Refusal {
    /// When, log time.
    pub at_ms: UnixMs,
    /// What was ordered.
    pub action: String,
    /// Of what.
    pub target: String,
    /// By whom.
    pub by: String,
    /// Why it was not followed.
    pub why: String,
}

/// Characters of a text from outside that are kept.
pub(super) fn said(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(SAID_MAX).collect()
}

impl Silence {
    /// The silence that an order makes at `now`.
    ///
    /// # Errors
    /// What is wrong with the order.
    fn of(order: &Order, now: UnixMs) -> Result<Silence, String> {
        if !silence::is_id(&order.target) {
            return Err("its id (the order's target) has 1 to 64 letters, digits, `_`, `-` or `.`".to_owned());
        }
        if order.by.trim().is_empty() {
            return Err("whoever makes it has a name (`by`)".to_owned());
        }
        let args: SilenceArgs = serde_json::from_value(order.args.clone()).map_err(|why| format!("args: {why}"))?;
        let SilenceArgs { matchers, starts_ms, ends_ms, duration_ms, window } = args;
        if !(1..=MATCHERS_MAX).contains(&matchers.len()) {
            return Err(format!("it has 1 to {MATCHERS_MAX} matchers"));
        }
        let tests = matchers.iter().map(Test::of).collect::<Result<Vec<_>, _>>()?;
        if matchers.iter().zip(&tests).all(|(matcher, test)| test.holds(matcher, "")) {
            return Err("it would cover everything: one matcher at least must not hold for an empty text".to_owned());
        }
        if let Some(window) = &window {
            window::check(window)?;
        }
        let starts_ms = starts_ms.unwrap_or(now);
        let ends_ms = match (ends_ms, duration_ms) {
            (Some(_), Some(_)) => return Err("it has an end (`ends_ms`) or a duration (`duration_ms`), not both".to_owned()),
            (Some(ends), None) => Some(ends),
            (None, Some(duration)) => Some(starts_ms.saturating_add(duration)),
            (None, None) if window.is_some() => None,
            (None, None) => return Err("it has to end: `ends_ms`, `duration_ms`, or a window".to_owned()),
        };
        if [Some(starts_ms), ends_ms].into_iter().flatten().any(|at| at > INSTANT_MAX_MS) {
            return Err("times are Unix milliseconds before the year 10000".to_owned());
        }
        if ends_ms.is_some_and(|ends| ends <= starts_ms || ends <= now) {
            return Err("it ends before it begins, or is over already".to_owned());
        }
        let (by, reason) = (said(&order.by), said(order.reason.as_deref().unwrap_or_default()));
        let silence = Silence { matchers, starts_ms, ends_ms, window, by, reason, created_ms: now, expired_by: None };
        if silence.span(now).is_none() {
            return Err("its window does not open before it ends".to_owned());
        }
        Ok(silence)
    }

    /// When it is in force, now or next.
    fn span(&self, now: UnixMs) -> Option<(UnixMs, UnixMs)> {
        let ends = self.ends_ms.unwrap_or(INSTANT_MAX_MS);
        match &self.window {
            _ if now >= ends => None,
            Some(window) => window::span(window, now, self.starts_ms, self.ends_ms),
            None => Some((self.starts_ms, ends)),
        }
    }

    fn state(&self, now: UnixMs) -> SilenceState {
        match self.span(now) {
            Some((from, _)) if from <= now => SilenceState::Active,
            Some(_) => SilenceState::Pending,
            None => SilenceState::Ended,
        }
    }
}

/// Can the order be followed, as far as it alone can tell? What a mind would refuse is better said at once.
///
/// # Errors
/// What is wrong with it.
pub fn check(order: &Order, now: UnixMs) -> Result<(), String> {
    match order.action.as_str() {
        silence::CREATE => Silence::of(order, now).map(drop),
        _ if order.by.trim().is_empty() => Err("whoever says so has a name (`by`)".to_owned()),
        _ => Ok(()),
    }
}

/// A matcher, ready to be asked.
#[derive(Debug)]
enum Test {
    Exact,
    Expression(Regex),
}

impl Test {
    fn of(matcher: &Matcher) -> Result<Test, String> {
        match matcher.operator {
            Operator::Equal | Operator::NotEqual => Ok(Test::Exact),
            Operator::Matches | Operator::MatchesNot => {
                // Anchored, as Alertmanager's are.
                let mut builder = RegexBuilder::new(&format!("^(?s:{})$", matcher.value));
                let built = builder.size_limit(EXPRESSION_BYTES).nest_limit(EXPRESSION_DEPTH).build();
                built.map(Test::Expression).map_err(|why| format!("{matcher}: {why}"))
            }
        }
    }

    fn holds(&self, matcher: &Matcher, text: &str) -> bool {
        let same = match self {
            Test::Exact => matcher.value == text,
            Test::Expression(expression) => expression.is_match(text),
        };
        same == matches!(matcher.operator, Operator::Equal | Operator::Matches)
    }
}

/// Every silence that is known.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Silences {
    silences: BTreeMap<String, Silence>,
    refused: VecDeque<Refusal>,
    swept_ms: UnixMs,
    /// Compiled matchers: a memo.
    #[serde(skip)]
    tests: BTreeMap<String, Vec<Test>>,
}

impl Silences {
    /// Makes a silence, or makes it anew.
    ///
    /// # Errors
    /// What is wrong with the order.
    pub(super) fn create(&mut self, order: &Order, now: UnixMs, config: &StatusConfig) -> Result<(), String> {
        let silence = Silence::of(order, now)?;
        if !self.silences.contains_key(&order.target) {
            self.make_room(config.silences_max.saturating_sub(1), now);
            if self.silences.len() >= config.silences_max {
                return Err(format!("there are {} silences already, and none of them is over", self.silences.len()));
            }
        }
        self.tests.remove(&order.target);
        self.silences.insert(order.target.clone(), silence);
        Ok(())
    }

    /// Ends a silence now.
    ///
    /// # Errors
    /// There is none, or it is over.
    pub(super) fn expire(&mut self, order: &Order, now: UnixMs) -> Result<(), String> {
        let silence = self.silences.get_mut(&order.target).ok_or("there is no such silence")?;
        if silence.state(now) == SilenceState::Ended {
            return Err("it is over already".to_owned());
        }
        silence.ends_ms = Some(now);
        silence.expired_by = Some(said(&order.by));
        Ok(())
    }

    pub(super) fn refuse(&mut self, order: &Order, why: String, now: UnixMs) {
        while self.refused.len() >= REFUSED_MAX {
            self.refused.pop_front();
        }
        let refusal =
            Refusal { at_ms: now, action: said(&order.action), target: said(&order.target), by: said(&order.by), why: said(&why) };
        self.refused.push_back(refusal);
    }

    /// Which silences, in force or not, cover an alert.
    pub(super) fn covering(&mut self, alert: &Alert) -> Vec<String> {
        let ids: Vec<String> = self.silences.keys().cloned().collect();
        ids.into_iter().filter(|id| self.covers(id, alert)).collect()
    }

    /// Does this silence cover an alert?
    pub(super) fn covers(&mut self, id: &str, alert: &Alert) -> bool {
        let Some(silence) = self.silences.get(id) else { return false };
        if !self.tests.contains_key(id) {
            // They could be compiled once, so they can be again.
            let tests = silence.matchers.iter().filter_map(|matcher| Test::of(matcher).ok()).collect();
            self.tests.insert(id.to_owned(), tests);
        }
        let tests = self.tests.get(id).map_or(&[][..], Vec::as_slice);
        tests.len() == silence.matchers.len()
            && silence.matchers.iter().zip(tests).all(|(matcher, test)| test.holds(matcher, &matcher.subject(alert)))
    }

    pub(super) fn contains(&self, id: &str) -> bool {
        self.silences.contains_key(id)
    }

    /// Forgets what has been over for long, and what no longer has room: what is over first, then what ends first. Whether any went.
    pub(super) fn sweep(&mut self, now: UnixMs, config: &StatusConfig) -> bool {
        let before = self.silences.len();
        if now >= self.swept_ms.saturating_add(SWEEP_MS) {
            self.swept_ms = now;
            let long_over = |silence: &Silence| {
                let over = silence.ends_ms.is_some_and(|ends| now >= ends.saturating_add(KEPT_MS));
                over || (silence.ends_ms.is_none() && silence.span(now).is_none())
            };
            self.silences.retain(|_, silence| !long_over(silence));
        }
        self.make_room(config.silences_max, now);
        while self.silences.len() > config.silences_max
            && let Some(first) = self.first_to_end(|_| true)
        {
            self.silences.remove(&first);
        }
        let went = self.silences.len() < before;
        if went {
            self.tests.retain(|id, _| self.silences.contains_key(id));
        }
        went
    }

    /// Drops what is over until no more than `room` are there.
    fn make_room(&mut self, room: usize, now: UnixMs) {
        while self.silences.len() > room
            && let Some(over) = self.first_to_end(|silence| silence.state(now) == SilenceState::Ended)
        {
            self.silences.remove(&over);
            self.tests.remove(&over);
        }
    }

    fn first_to_end(&self, among: impl Fn(&Silence) -> bool) -> Option<String> {
        let among = self.silences.iter().filter(|(_, silence)| among(silence));
        among.min_by_key(|(id, silence)| (silence.ends_ms.unwrap_or(UnixMs::MAX), *id)).map(|(id, _)| id.clone())
    }

    /// All of them, those in force first, then those to come, with how many open incidents each covers.
    pub(super) fn view(&self, now: UnixMs, covers: &BTreeMap<String, usize>) -> Vec<SilenceView> {
        let covers = |id| covers.get(id).copied().unwrap_or_default();
        let mut all: Vec<SilenceView> = self.silences.iter().map(|(id, silence)| silence.view(id, now, covers(id))).collect();
        all.sort_by_key(|view| (view.state != SilenceState::Active, view.from_ms.is_none(), view.from_ms, view.id.clone()));
        all
    }

    /// Those in force.
    pub(super) fn active(&self, now: UnixMs) -> BTreeSet<&str> {
        let active = self.silences.iter().filter(|(_, silence)| silence.state(now) == SilenceState::Active);
        active.map(|(id, _)| id.as_str()).collect()
    }

    pub(super) fn refused(&self) -> Vec<Refusal> {
        self.refused.iter().rev().cloned().collect()
    }

    /// S-1.
    pub(super) fn within(&self, limits: &StatusConfig) -> bool {
        self.silences.len() <= limits.silences_max && self.refused.len() <= REFUSED_MAX && self.tests.len() <= self.silences.len()
    }
}

impl Silence {
    fn view(&self, id: &str, now: UnixMs, covers: usize) -> SilenceView {
        let span = self.span(now);
        SilenceView {
            id: id.to_owned(),
            state: self.state(now),
            matchers: self.matchers.clone(),
            starts_ms: self.starts_ms,
            ends_ms: self.ends_ms,
            window: self.window.clone(),
            from_ms: span.map(|(from, _)| from),
            to_ms: span.map(|(_, to)| to),
            by: self.by.clone(),
            reason: self.reason.clone(),
            created_ms: self.created_ms,
            expired_by: self.expired_by.clone(),
            covers,
        }
    }
}
