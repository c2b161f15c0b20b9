//! The gate before every command: whether an executor may carry it out, and what it answers.
//!
//! Commands come over a bus that repeats, reorders and delays, from a system that may have been restarted in between. An executor
//! therefore remembers, for each target, the highest fence it has seen and what became of the last commands, and asks this machine
//! before it does anything:
//!
//! | a command that | is |
//! |---|---|
//! | only shows what would be done (`mode: observe`) | passed over |
//! | names another replica in `args.instance` | passed over |
//! | came before | answered as it was answered then, and not executed again |
//! | has no id, no target or a wildcard for one | refused |
//! | is too late (`expires_ms`) | answered `expired` |
//! | bears a lower fence than another one did, or the same | refused |
//! | was issued before this process began, which remembers nothing of it | refused; passed over when any replica may take it |
//! | meets another one at work on its target | refused |
//! | nobody here knows how to do | refused; passed over when any replica may take it |
//! | is left | executed |
//!
//! The machine is pure: time is an argument, and what it knows can be saved ([`Executor`] is `Serialize`) before a command is
//! executed and after. One that is loaded after a crash reports what was at work as failed ([`Executor::recovered`]) and never does
//! it again; one that starts from nothing refuses whatever is older than itself. Either way nothing is executed twice.
//!
//! Promises
//! - X-1 A command is executed at most once, however often and in whatever order it comes.
//! - X-2 On one target, fences of executed commands only grow, and one command is at work at a time.
//! - X-3 What is remembered is bounded; for want of room a command is refused, never executed without being remembered.
//! - X-4 A command at work ends: when its time is over it counts as failed, and a later word of its handler changes nothing.

use homeostat_schemas::{Command, Mode, Ms, Outcome, OutcomeStatus, UnixMs};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How much an executor remembers and how long a command may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecutorLimits {
    /// Targets that are remembered.
    pub targets_max: usize,
    /// Commands that are remembered of each target.
    pub commands_max: usize,
    /// A command that is at work for longer has failed, ms; unless the command itself says how long it may be.
    pub run_max_ms: Ms,
}

impl Default for ExecutorLimits {
    fn default() -> Self {
        ExecutorLimits { targets_max: 1_024, commands_max: 16, run_max_ms: 300_000 }
    }
}

/// What is to be done with a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Execute it now: publish `accepted`, run the handler, and tell [`Executor::finished`] how it went. Give up at `until_ms`.
    Execute {
        /// The answer that says so.
        accepted: Outcome,
        /// When it has failed for taking too long, by the clock that `now` is read from.
        until_ms: UnixMs,
    },
    /// Do not execute it; publish this answer.
    Answer(Outcome),
    /// Do not execute it and say nothing: it is not meant for this executor.
    Pass(Passed),
}

/// Why a command is none of this executor's business.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passed {
    /// It is to a service of another name.
    OtherService,
    /// It is to another replica.
    OtherInstance,
    /// It shows what would be done, and is not to be executed.
    Observed,
    /// Any replica may take it, and this one began after it was issued.
    BeforeOurTime,
    /// Any replica may take it, and this one does not know how.
    Unknown,
    /// It is at work already; its answer will come.
    AtWork,
}

/// The gate of one process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Executor {
    service: String,
    instance: String,
    began_ms: UnixMs,
    limits: ExecutorLimits,
    targets: BTreeMap<String, Target>,
}

/// What is remembered of a target.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Target {
    fence: u64,
    /// In the order in which they were first seen.
    commands: Vec<Seen>,
}

/// What became of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    id: String,
    expires_ms: UnixMs,
    /// Until when it may be at work; nothing once it has ended.
    until_ms: Option<UnixMs>,
    status: OutcomeStatus,
    detail: Option<String>,
    at_ms: UnixMs,
}

/// Where a command says which replica is to execute it; without it, any one of the service may.
pub const INSTANCE_ARG: &str = "instance";

/// Where a command says how long it may be at work, seconds; without it, [`ExecutorLimits::run_max_ms`] holds. After that time
/// whoever sent it takes it for over, so it must be.
pub const TIMEOUT_ARG: &str = "timeout_s";

/// Longest word of explanation that is kept, in characters.
const DETAIL_MAX: usize = 300;

/// The replica that a command is meant for.
#[must_use]
pub fn assigned(command: &Command) -> Option<&str> {
    command.args.get(INSTANCE_ARG).and_then(serde_json::Value::as_str).filter(|instance| !instance.is_empty())
}

/// Can this be the target of a command? An empty one, and one with a wildcard of the bus, of a shell or of SQL, could mean anything.
#[must_use]
pub fn is_definite(target: &str) -> bool {
    let wild = |c: char| matches!(c, '*' | '>' | '?' | '%') || c.is_control();
    let everything = ["all", "any"].iter().any(|word| target.trim().eq_ignore_ascii_case(word));
    !target.trim().is_empty() && target.len() <= 256 && !everything && !target.contains(wild)
}

impl Executor {
    /// A gate that remembers nothing. `began_ms` is when the process began to listen: what was issued before is not for it.
    #[must_use]
    pub fn new(service: &str, instance: &str, began_ms: UnixMs, limits: ExecutorLimits) -> Executor {
        Executor { service: service.to_owned(), instance: instance.to_owned(), began_ms, limits, targets: BTreeMap::new() }
    }

    /// What a command comes to at `now` (Unix ms, the executor's clock). `known` says whether a handler of its action is there.
    pub fn offer(&mut self, command: &Command, known: bool, now: UnixMs) -> Decision {
        if command.service != self.service {
            return Decision::Pass(Passed::OtherService);
        }
        let assigned = assigned(command);
        if assigned.is_some_and(|instance| instance != self.instance) {
            return Decision::Pass(Passed::OtherInstance);
        }
        if command.mode != Mode::Act {
            return Decision::Pass(Passed::Observed);
        }
        if command.id.is_empty() || !is_definite(&command.target) {
            return Decision::Answer(self.outcome(command, OutcomeStatus::Refused, "a command needs an id and one definite target", now));
        }
        if let Some(seen) = self.targets.get(&command.target).and_then(|target| target.commands.iter().find(|seen| seen.id == command.id)) {
            return if seen.until_ms.is_some() { Decision::Pass(Passed::AtWork) } else { Decision::Answer(self.told(seen)) };
        }
        if now >= command.expires_ms {
            return self.end(command, OutcomeStatus::Expired, "it came too late", now);
        }
        if command.issued_ms < self.began_ms {
            return match assigned {
                None => Decision::Pass(Passed::BeforeOurTime),
                Some(_) => self.end(command, OutcomeStatus::Refused, "it was issued before this process began", now),
            };
        }
        if !known {
            return match assigned {
                None => Decision::Pass(Passed::Unknown),
                Some(_) => self.end(command, OutcomeStatus::Refused, "nobody here knows how to do that", now),
            };
        }
        let (fence, busy) = self
            .targets
            .get(&command.target)
            .map_or((None, false), |target| (Some(target.fence), target.commands.iter().any(|seen| seen.until_ms.is_some())));
        if fence.is_some_and(|fence| command.fence <= fence) {
            return self.end(command, OutcomeStatus::Refused, "a later command to the target was seen already", now);
        }
        if busy {
            return self.end(command, OutcomeStatus::Refused, "another command is at work on the target", now);
        }
        let named = command.args.get(TIMEOUT_ARG).and_then(serde_json::Value::as_u64).filter(|&seconds| seconds > 0);
        let until_ms = now.saturating_add(named.map_or(self.limits.run_max_ms, |seconds| seconds.saturating_mul(1_000)));
        if !self.remember(command, OutcomeStatus::Accepted, "", Some(until_ms), now) {
            return Decision::Answer(self.outcome(command, OutcomeStatus::Refused, "too many targets at once", now));
        }
        Decision::Execute { accepted: self.outcome(command, OutcomeStatus::Accepted, "", now), until_ms }
    }

    /// The handler of a command has ended; the answer to publish. Nothing when the command is not at work, or no longer.
    pub fn finished(&mut self, command: &str, result: Result<Option<String>, String>, now: UnixMs) -> Option<Outcome> {
        let (status, detail) = match result {
            Ok(detail) => (OutcomeStatus::Done, detail),
            Err(why) => (OutcomeStatus::Failed, Some(why)),
        };
        self.settle(|seen| seen.id == command, status, detail.as_deref(), now).pop()
    }

    /// What has been at work for too long: it counts as failed from now on. The answers to publish.
    pub fn overdue(&mut self, now: UnixMs) -> Vec<Outcome> {
        self.settle(|seen| seen.until_ms.is_some_and(|until| until <= now), OutcomeStatus::Failed, Some("it took too long"), now)
    }

    /// After a crash: what was at work when the state was saved is over, and nobody knows how far it came. The answers to publish.
    pub fn recovered(&mut self, now: UnixMs) -> Vec<Outcome> {
        self.settle(|_| true, OutcomeStatus::Failed, Some("the process ended while it was at work"), now)
    }

    /// The ids of the commands that are at work.
    pub fn at_work(&self) -> impl Iterator<Item = &str> {
        self.targets.values().flat_map(|target| &target.commands).filter(|seen| seen.until_ms.is_some()).map(|seen| seen.id.as_str())
    }

    /// The first promise that does not hold, for tests.
    #[must_use]
    pub fn broken_promise(&self) -> Option<&'static str> {
        let at_work = |target: &Target| target.commands.iter().filter(|seen| seen.until_ms.is_some()).count();
        if self.targets.values().any(|target| at_work(target) > 1) {
            return Some("X-2");
        }
        let bounded = self.targets.len() <= self.limits.targets_max
            && self.targets.values().all(|target| target.commands.len() <= self.limits.commands_max.max(1));
        (!bounded).then_some("X-3")
    }

    fn settle(&mut self, over: impl Fn(&Seen) -> bool, status: OutcomeStatus, detail: Option<&str>, now: UnixMs) -> Vec<Outcome> {
        let mut ended = Vec::new();
        let running = self.targets.values_mut().flat_map(|target| &mut target.commands).filter(|seen| seen.until_ms.is_some());
        for seen in running.filter(|seen| over(seen)) {
            seen.until_ms = None;
            seen.status = status;
            seen.detail = detail.map(|detail| detail.chars().take(DETAIL_MAX).collect());
            seen.at_ms = now;
            ended.push(seen.clone());
        }
        ended.iter().map(|seen| self.told(seen)).collect()
    }

    /// Answers a command that is not executed, and remembers the answer. Without room for it the answer stands all the same.
    fn end(&mut self, command: &Command, status: OutcomeStatus, why: &str, now: UnixMs) -> Decision {
        self.remember(command, status, why, None, now);
        Decision::Answer(self.outcome(command, status, why, now))
    }

    fn remember(&mut self, command: &Command, status: OutcomeStatus, why: &str, until_ms: Option<UnixMs>, now: UnixMs) -> bool {
        if !self.targets.contains_key(&command.target) && !self.room(now) {
            return false;
        }
        let room = self.limits.commands_max.max(1);
        let target = self.targets.entry(command.target.clone()).or_default();
        // What is forgotten bears a lower fence than what is kept, so it is refused when it comes again.
        while target.commands.len() >= room {
            let Some(oldest) = target.commands.iter().position(|seen| seen.until_ms.is_none()) else { return false };
            target.commands.remove(oldest);
        }
        target.fence = target.fence.max(command.fence);
        target.commands.push(Seen {
            id: command.id.clone(),
            expires_ms: command.expires_ms,
            until_ms,
            status,
            detail: (!why.is_empty()).then(|| why.to_owned()),
            at_ms: now,
        });
        true
    }

    /// Makes room for one more target: one whose commands are all over and expired can be forgotten, as they would be refused for
    /// being late.
    fn room(&mut self, now: UnixMs) -> bool {
        if self.targets.len() < self.limits.targets_max {
            return true;
        }
        let over = |target: &Target| target.commands.iter().all(|seen| seen.until_ms.is_none() && seen.expires_ms <= now);
        let Some(name) = self.targets.iter().find(|(_, target)| over(target)).map(|(name, _)| name.clone()) else { return false };
        self.targets.remove(&name);
        self.targets.len() < self.limits.targets_max
    }

    fn told(&self, seen: &Seen) -> Outcome {
        Outcome {
            command: seen.id.clone(),
            status: seen.status,
            detail: seen.detail.clone(),
            at_ms: seen.at_ms,
            instance: self.own_name(),
            service: self.service.clone(),
        }
    }

    fn outcome(&self, command: &Command, status: OutcomeStatus, why: &str, now: UnixMs) -> Outcome {
        let detail = (!why.is_empty()).then(|| why.to_owned());
        Outcome { command: command.id.clone(), status, detail, at_ms: now, instance: self.own_name(), service: self.service.clone() }
    }

    fn own_name(&self) -> Option<String> {
        (!self.instance.is_empty()).then(|| self.instance.clone())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;
    use std::collections::BTreeMap;

    fn command(id: &str, target: &str, fence: u64) -> Command {
        Command {
            id: id.to_owned(),
            action: "cache.warm".to_owned(),
            service: "shop".to_owned(),
            target: target.to_owned(),
            args: json!({}),
            fence,
            issued_ms: 1_000,
            expires_ms: 60_000,
            mode: Mode::Act,
            ..Command::default()
        }
    }

    fn gate() -> Executor {
        Executor::new("shop", "shop-1", 500, ExecutorLimits::default())
    }

    fn word(decision: &Decision) -> String {
        match decision {
            Decision::Execute { .. } => "execute".to_owned(),
            Decision::Answer(outcome) => format!("{:?}: {}", outcome.status, outcome.detail.as_deref().unwrap_or_default()),
            Decision::Pass(passed) => format!("{passed:?}"),
        }
    }

    #[test]
    fn a_command_is_executed_once_and_answered_the_same_ever_after() {
        let mut gate = gate();
        let warm = command("a", "products", 7);
        assert!(matches!(gate.offer(&warm, true, 2_000), Decision::Execute { until_ms: 302_000, .. }));
        assert_eq!(gate.offer(&warm, true, 2_001), Decision::Pass(Passed::AtWork));
        let done = gate.finished("a", Ok(Some("100 keys".to_owned())), 3_000).unwrap();
        assert_eq!((done.status, done.instance.as_deref()), (OutcomeStatus::Done, Some("shop-1")));
        assert_eq!(gate.offer(&warm, true, 4_000), Decision::Answer(done.clone()));
        assert_eq!(gate.offer(&warm, true, 400_000), Decision::Answer(done), "even after it expired");
        assert_eq!(gate.finished("a", Err("again".to_owned()), 5_000), None);
    }

    #[test]
    fn what_must_not_be_executed_is_not() {
        let mut gate = gate();
        let told = |gate: &mut Executor, command: Command| word(&gate.offer(&command, true, 2_000));
        let a = command("a", "products", 7);
        assert_eq!(told(&mut gate, Command { service: "till".into(), ..a.clone() }), "OtherService");
        assert_eq!(told(&mut gate, Command { mode: Mode::Observe, ..a.clone() }), "Observed");
        assert_eq!(told(&mut gate, Command { args: json!({"instance": "shop-2"}), ..a.clone() }), "OtherInstance");
        assert_eq!(told(&mut gate, Command { issued_ms: 499, ..a.clone() }), "BeforeOurTime");
        for target in ["", " ", "*", "shop.*", ">", "a%", "all", "ANY", "a\nb"] {
            let wild = Command { target: target.into(), ..a.clone() };
            assert_eq!(told(&mut gate, wild), "Refused: a command needs an id and one definite target", "{target:?}");
        }
        assert_eq!(told(&mut gate, a.clone()), "execute", "none of that was held against it");
        assert_eq!(told(&mut gate, command("b", "products", 8)), "Refused: another command is at work on the target");
        gate.finished("a", Ok(None), 2_000);
        for fence in [0, 7, 8] {
            let late = command(&format!("c{fence}"), "products", fence);
            assert_eq!(told(&mut gate, late), "Refused: a later command to the target was seen already");
        }
        assert_eq!(told(&mut gate, Command { expires_ms: 2_000, ..command("d", "products", 9) }), "Expired: it came too late");
        assert_eq!(told(&mut gate, command("e", "products", 9)), "Refused: a later command to the target was seen already");
        assert_eq!(told(&mut gate, command("f", "products", 10)), "execute");
        let mine = Command { args: json!({"instance": "shop-1"}), issued_ms: 499, ..command("g", "x", 1) };
        assert_eq!(told(&mut gate, mine), "Refused: it was issued before this process began");
        assert_eq!(word(&gate.offer(&command("h", "y", 1), false, 2_000)), "Unknown");
        let mine = Command { args: json!({"instance": "shop-1"}), ..command("i", "y", 1) };
        assert_eq!(word(&gate.offer(&mine, false, 2_000)), "Refused: nobody here knows how to do that");
    }

    #[test]
    fn a_command_that_hangs_fails_and_its_late_word_counts_for_nothing() {
        let mut gate = gate();
        gate.offer(&command("a", "products", 1), true, 2_000);
        assert_eq!(gate.overdue(301_999), []);
        let mut short = Executor::new("shop", "", 0, ExecutorLimits::default());
        short.offer(&Command { args: json!({"timeout_s": 5}), ..command("a", "products", 1) }, true, 2_000);
        assert_eq!((short.overdue(6_999).len(), short.overdue(7_000).len()), (0, 1));
        let over = gate.overdue(302_000);
        assert_eq!((over[0].command.as_str(), over[0].status), ("a", OutcomeStatus::Failed));
        assert_eq!(gate.finished("a", Ok(None), 303_000), None);
        assert!(matches!(
            gate.offer(&Command { expires_ms: 400_000, ..command("b", "products", 2) }, true, 303_000),
            Decision::Execute { .. }
        ));
    }

    #[test]
    fn after_a_crash_nothing_is_done_again() {
        let mut gate = gate();
        gate.offer(&command("a", "products", 1), true, 2_000);
        let mut again: Executor = serde_json::from_str(&serde_json::to_string(&gate).unwrap()).unwrap();
        assert_eq!(again.recovered(3_000)[0].status, OutcomeStatus::Failed);
        assert!(matches!(again.offer(&command("a", "products", 1), true, 3_001), Decision::Answer(_)));
        let mut forgetful = Executor::new("shop", "shop-1", 3_000, ExecutorLimits::default());
        assert_eq!(forgetful.offer(&command("a", "products", 1), true, 3_001), Decision::Pass(Passed::BeforeOurTime));
    }

    #[test]
    fn without_room_a_command_is_refused_and_room_comes_back() {
        let limits = ExecutorLimits { targets_max: 2, ..ExecutorLimits::default() };
        let mut gate = Executor::new("shop", "", 0, limits);
        for name in ["a", "b"] {
            gate.offer(&command(name, name, 1), true, 2_000);
            gate.finished(name, Ok(None), 2_000);
        }
        assert_eq!(word(&gate.offer(&command("c", "c", 1), true, 2_000)), "Refused: too many targets at once");
        assert_eq!(word(&gate.offer(&Command { expires_ms: 99_000, ..command("d", "d", 1) }, true, 60_000)), "execute");
        assert_eq!(gate.broken_promise(), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

        /// whatever comes, with a crash at any place.
        #[test]
        fn nothing_is_executed_twice(steps in prop::collection::vec((0..6_u8, 0..12_u8, 0..3_000_u64), 1..120)) {
            let limits = ExecutorLimits { targets_max: 2, commands_max: 3, run_max_ms: 5_000 };
            let mut gate = Executor::new("shop", "i", 0, limits);
            let mut now = 1_000;
            let mut executed: BTreeMap<String, u64> = BTreeMap::new();
            let mut fences: BTreeMap<String, u64> = BTreeMap::new();
            for (what, which, passed) in steps {
                now += passed;
                let fence = u64::from(which / 3) + 1;
                let command = Command { expires_ms: 20_000, ..command(&format!("c{which}"), &format!("t{}", which % 3), fence) };
                match what {
                    0..=2 => if let Decision::Execute { .. } = gate.offer(&command, true, now) {
                        prop_assert!(now < command.expires_ms);
                        *executed.entry(command.id.clone()).or_default() += 1;
                        prop_assert_eq!(executed[&command.id], 1);
                        let before = fences.insert(command.target.clone(), fence);
                        prop_assert!(before.is_none_or(|before| before < fence), "fences grow");
                    },
                    3 => { gate.finished(&command.id, Ok(None), now); }
                    4 => { gate.overdue(now); }
                    _ => {
                        gate = serde_json::from_str(&serde_json::to_string(&gate).unwrap()).unwrap();
                        gate.recovered(now);
                        prop_assert_eq!(gate.at_work().count(), 0);
                    }
                }
                prop_assert_eq!(gate.broken_promise(), None);
            }
        }
    }
}
