//! Every mind, told the most extreme things that the types allow, also such as no check of an event would let pass: nothing
//! panics (arithmetic is checked in tests), every promise holds after every message, and a mind that was saved and loaded is the
//! same.
#![allow(clippy::unwrap_used)]

use crate::breaker::BreakerCore;
use crate::core::{Core, Settings};
use crate::drift::DriftCore;
use crate::driver::Driver;
use crate::forecast::ForecastCore;
use crate::health::HealthCore;
use crate::key_rotation::KeyRotationCore;
use crate::leak::LeakCore;
use crate::query::QueryCore;
use crate::recovery::RecoveryCore;
use crate::rig::START;
use crate::status::StatusCore;
use homeostat_schemas::event::{
    Breaker, BreakerState, Cache, Call, Calls, Check, CheckStatus, Flag, Heartbeat, Metric, Order, Pool, Query, Request, Resource, Sample,
    SampleValue, Span,
};
use homeostat_schemas::key::{KeyChange, KeyFact, KeyRecord, KeyState, KeyUsage, KeyVersion, RecipientChange};
use homeostat_schemas::{Alert, Answer, Command, Content, Delivery, Event, EventKind, Mode, Outcome, State, TraceContext, UnixMs};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use serde_json::{Value, json};

/// Where the numbers and texts of one message come from.
struct Draw<'a> {
    choices: &'a [u8],
    next: usize,
}

impl Draw<'_> {
    fn of<T: Copy>(&mut self, from: &[T]) -> T {
        let choice = usize::from(self.choices[self.next % self.choices.len()]);
        self.next += 1;
        from[choice % from.len()]
    }

    fn count(&mut self) -> u64 {
        self.of(&[0, 1, 7, 1_000, 1 << 32, 1 << 53, 1 << 63, u64::MAX - 1, u64::MAX])
    }

    fn time(&mut self) -> UnixMs {
        self.of(&[0, 1, START, START + 1, START + 90_000, u64::MAX - 1, u64::MAX])
    }

    fn real(&mut self) -> f64 {
        let all = [0.0, -0.0, -1.0, 1.0, 0.05, 1e-300, 1e18, f64::MAX, f64::MIN, f64::INFINITY, f64::NEG_INFINITY, f64::NAN];
        self.of(&all)
    }

    fn text(&mut self) -> String {
        let long = "é".repeat(400);
        self.of(&["", "a", "b", "shop", "0000", "\u{1f}", "a\u{1f}b", "\u{0}", "__other__", "breaker:x", long.as_str()]).to_owned()
    }

    fn some<T>(&mut self, draw: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.of(&[true, true, false]) { Some(draw(self)) } else { None }
    }

    fn flag(&mut self) -> bool {
        self.of(&[true, false])
    }

    fn event(&mut self, kind: EventKind) -> Event {
        let (service, at_ms, instance) = (self.of(&["a", "b", "\u{1f}", ""]).to_owned(), self.time(), self.some(Self::text));
        macro_rules! event {
            ($kind:ident { $($field:ident : $value:expr),* $(,)? }) => {
                $kind { service, at_ms, instance, $($field: $value),*, ..Default::default() }.into()
            };
        }
        match kind {
            EventKind::Query => event!(Query {
                statement: self
                    .of(&["SELECT * FROM t WHERE id = 1", "INSERT INTO t VALUES (1)", "SELECT a FROM b", "", "((((", "get k"])
                    .to_owned(),
                took_us: self.count(),
                system: self.some(|draw| draw.of(&["postgresql", "redis", ""]).to_owned()),
                rows: self.some(Self::count),
                error: self.some(|draw| Flag::Bool(draw.flag())),
                trace: self.some(Self::text),
                span: self.some(Self::text),
                parent: self.some(Self::text),
                source: self.some(Self::text),
                params: self.some(Self::text),
                cached: self.some(Self::flag),
            }),
            EventKind::Request => event!(Request {
                route: self.text(),
                status: self.of(&[0, 200, 499, 500, 599, u16::MAX]),
                took_us: self.count(),
                trace: self.some(Self::text),
                span: self.some(Self::text),
                parent: self.some(Self::text),
            }),
            EventKind::Call => event!(Call { peer: self.text(), took_us: self.count() }),
            EventKind::Calls => {
                event!(Calls {
                    peer: self.text(),
                    ok: self.count(),
                    failed: self.count(),
                    shed: self.count(),
                    over_ms: self.count(),
                    slow: self.some(Self::count)
                })
            }
            EventKind::Breaker => event!(Breaker {
                peer: self.text(),
                state: self.of(&[BreakerState::Closed, BreakerState::Open, BreakerState::HalfOpen, BreakerState::Disabled]),
                epoch: self.count(),
                operation: self.some(Self::text),
                why: self.some(Self::text),
                since_ms: self.some(Self::time),
            }),
            EventKind::Span => event!(Span {
                name: self.text(),
                op: self.text(),
                took_us: self.count(),
                trace: self.text(),
                span: self.text(),
                parent: self.some(Self::text),
            }),
            EventKind::Heartbeat => {
                let checks = (0..self.of(&[0, 1, 40])).map(|n| Check {
                    name: format!("{n}{}", self.text()),
                    status: self.of(&[CheckStatus::Up, CheckStatus::Down, CheckStatus::Unknown]),
                    took_us: self.some(Self::count),
                    required: self.some(Self::flag),
                    detail: self.some(Self::text),
                });
                let checks = checks.collect();
                event!(Heartbeat { up_s: self.real(), interval_s: self.real(), checks: checks })
            }
            EventKind::Resource => event!(Resource {
                memory_bytes: self.count(),
                memory_limit_bytes: self.some(Self::count),
                heap_bytes: self.some(Self::count),
                cpu_ratio: self.some(Self::real),
                load_rps: self.some(Self::real),
                oom_kills: self.some(Self::count),
                memory_pressure: self.some(Self::real),
                cpu_pressure: self.some(Self::real),
                io_pressure: self.some(Self::real),
                cpu_throttled: self.some(Self::real),
                started_ms: self.some(Self::time),
            }),
            EventKind::Pool => event!(Pool {
                name: self.text(),
                used: self.count(),
                max: self.count(),
                waiting: self.some(Self::count),
                wait_us: self.some(Self::count),
            }),
            EventKind::Cache => event!(Cache { name: self.text(), hits: self.count(), misses: self.count(), over_ms: self.count() }),
            EventKind::Sample => {
                event!(Sample { model: self.text(), feature: self.text(), value: self.some(|draw| SampleValue::Number(draw.real())) })
            }
            EventKind::Metric => event!(Metric { name: self.text(), value: self.real() }),
            EventKind::Order => {
                event!(Order {
                    action: self
                        .of(&[
                            "health.retire",
                            "recovery.approve",
                            "recovery.pause",
                            "recovery.resume",
                            "cache.warm",
                            "drift.relearn",
                            "drift.baseline",
                            "key_rotation.accept_clock",
                            ""
                        ])
                        .to_owned(),
                    target: self.of(&["a", "b/", "/", "", "all", "service:a"]).to_owned(),
                    args: self.of(&[0, 1]).into(),
                    by: self.text()
                })
            }
        }
    }

    fn key(&mut self) -> KeyFact {
        let states = [KeyState::Pending, KeyState::Active, KeyState::Grace, KeyState::Expired, KeyState::Revoked, KeyState::Purged];
        let versions = (0..self.of(&[0, 1, 2, 12])).map(|_| KeyVersion {
            version: self.of(&[0, 1, 2, u32::MAX]),
            state: self.of(&states),
            created_ms: self.time(),
            starts_ms: self.some(Self::time),
            expires_ms: self.some(Self::time),
            revoked_ms: self.some(Self::time),
            compromised: self.flag(),
            ..KeyVersion::default()
        });
        let versions = versions.collect();
        let usage = KeyUsage { version: 1, count: self.count(), last_used_ms: self.time(), source: self.some(Self::text) };
        let record = KeyRecord {
            id: self.of(&["aaaaaaaaaaaa", "bbbbbbbbbbbb", ""]).to_owned(),
            owner: self.text(),
            expires_ms: self.some(Self::time),
            rotate_every_ms: self.some(Self::count),
            grace_ms: self.count(),
            recipient: self.some(Self::text),
            recipient_change: self.some(|draw| RecipientChange { recipient: None, from_ms: draw.time(), by: draw.text() }),
            generation: self.count(),
            versions,
            ..KeyRecord::default()
        };
        let change = self.of(&[KeyChange::Created, KeyChange::Rotated, KeyChange::Revoked, KeyChange::Expired, KeyChange::Recipient]);
        KeyFact { record, change, by: self.text(), at_ms: self.time(), version: None, usage: vec![usage] }
    }

    fn content(&mut self) -> Content {
        match self.of(&[0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6]) {
            0 => {
                let kind = self.of(EventKind::ALL);
                let many = self.of(&[1, 1, 3, 12]);
                Content::Events((0..many).map(|_| Ok(self.event(kind))).collect())
            }
            1 => Content::Alert(Box::new(Alert {
                id: self.text(),
                incident: self.text(),
                rule: self.of(&["query.slow", "recovery.verified", "leak.confirmed", "query.cache_cold", "leak.limit_near", ""]).to_owned(),
                service: self.of(&["a", "b", ""]).to_owned(),
                labels: std::iter::once(("instance".to_owned(), self.text())).chain([("cache".to_owned(), self.text())]).collect(),
                state: self.of(&[State::Firing, State::Resolved]),
                at_ms: self.time(),
                since_ms: self.time(),
                cause: vec![self.text()],
                ..Alert::default()
            })),
            2 => Content::Command(Box::new(Command {
                id: self.text(),
                mode: self.of(&[Mode::Act, Mode::Observe]),
                attempt: u32::MAX,
                fence: self.count(),
                issued_ms: self.time(),
                expires_ms: self.time(),
                ..Command::default()
            })),
            3 => Content::Outcome(Outcome {
                command: self.of(&["extremes-recovery-0-5-0", "extremes-recovery-0-8-0", "a"]).to_owned(),
                instance: self.some(Self::text),
                service: self.text(),
                ..Outcome::default()
            }),
            4 => Content::Answer(Answer {
                ask: format!("extremes:health:0:{}:0", self.of(&[1, 2, 3, 4, 5])),
                actor: self.of(&["health", "query", "forecast", "key_rotation"]).to_owned(),
                ok: self.flag(),
                took_us: self.count(),
                ..Answer::default()
            }),
            5 => Content::Key(Box::new(self.key())),
            _ => Content::Settings(json!({
                "query": every_number_is::<QueryCore>(self.of(&[0, 1, 3, u32::MAX])),
                "health": every_number_is::<HealthCore>(self.of(&[0, 1, 3, u32::MAX])),
                "breaker": every_number_is::<BreakerCore>(self.of(&[0, 1, 3, u32::MAX])),
                "drift": every_number_is::<DriftCore>(self.of(&[0, 1, 3, u32::MAX])),
                "leak": every_number_is::<LeakCore>(self.of(&[0, 1, 3, u32::MAX])),
                "recovery": every_number_is::<RecoveryCore>(self.of(&[0, 1, 3, u32::MAX])),
                "forecast": every_number_is::<ForecastCore>(self.of(&[0, 1, 3, u32::MAX])),
                "key_rotation": every_number_is::<KeyRotationCore>(self.of(&[0, 1, 3, u32::MAX])),
                "status": every_number_is::<StatusCore>(self.of(&[0, 1, 3, u32::MAX])),
            })),
        }
    }
}

/// The settings of a mind, with this number wherever there is one.
fn every_number_is<C: Core>(number: u32) -> Value {
    fn set(value: &mut Value, number: u32) {
        match value {
            Value::Number(known) if known.is_f64() => *value = f64::from(number).into(),
            Value::Number(_) => *value = number.into(),
            Value::Object(map) => map.values_mut().for_each(|value| set(value, number)),
            _ => {}
        }
    }
    let mut table = Settings::<C::Config>::default().write();
    set(&mut table, number);
    table
}

/// One mind through the story, with ticks in between.
fn endures<C: Core>(story: &[(UnixMs, Vec<u8>)]) -> Result<(), TestCaseError> {
    let mut driver = Driver::<C>::new("extremes", Settings::default());
    let mut at = START;
    for (passed, choices) in story {
        at = at.saturating_add(*passed);
        let mut draw = Draw { choices, next: 0 };
        for content in [Content::Tick, draw.content(), Content::Tick] {
            let position = driver.position() + 1;
            driver.step(&Delivery { position, at, subject: String::new(), content, context: TraceContext::default() });
            prop_assert_eq!(driver.broken_promise(), None, "{} at message {}", C::NAME, position);
        }
        serde_json::to_value(driver.view()).unwrap();
        let saved = driver.save().unwrap();
        driver = Driver::load("extremes", &saved).unwrap();
        prop_assert_eq!(driver.save().unwrap(), saved, "{} is another after a restart", C::NAME);
    }
    driver.end();
    prop_assert_eq!(driver.broken_promise(), None);
    Ok(())
}

fn story() -> impl Strategy<Value = Vec<(UnixMs, Vec<u8>)>> {
    let passed = prop::sample::select(vec![0, 1, 250, 61_000, 3_600_000, 100_000_000_000, u64::MAX / 2]);
    prop::collection::vec((passed, prop::collection::vec(any::<u8>(), 24..48)), 1..24)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_extreme_harms_the_query_mind(story in story()) {
        endures::<QueryCore>(&story)?;
    }

    #[test]
    fn nothing_extreme_harms_the_health_mind(story in story()) {
        endures::<HealthCore>(&story)?;
    }

    #[test]
    fn nothing_extreme_harms_the_breaker_mind(story in story()) {
        endures::<BreakerCore>(&story)?;
    }

    #[test]
    fn nothing_extreme_harms_the_drift_mind(story in story()) {
        endures::<DriftCore>(&story)?;
    }

    #[test]
    fn nothing_extreme_harms_the_leak_mind(story in story()) {
        endures::<LeakCore>(&story)?;
    }

    #[test]
    fn nothing_extreme_harms_the_recovery_mind(story in story()) {
        endures::<RecoveryCore>(&story)?;
    }

    #[test]
    fn nothing_extreme_harms_the_forecast_mind(story in story()) {
        endures::<ForecastCore>(&story)?;
    }

    #[test]
    fn nothing_extreme_harms_the_key_rotation_mind(story in story()) {
        endures::<KeyRotationCore>(&story)?;
    }

    #[test]
    fn nothing_extreme_harms_the_status_mind(story in story()) {
        endures::<StatusCore>(&story)?;
    }
}

#[test]
fn settings_of_every_number_are_read() {
    for number in [0, 1, 3, u32::MAX] {
        Settings::<<QueryCore as Core>::Config>::read(&every_number_is::<QueryCore>(number)).unwrap();
        Settings::<<HealthCore as Core>::Config>::read(&every_number_is::<HealthCore>(number)).unwrap();
        Settings::<<BreakerCore as Core>::Config>::read(&every_number_is::<BreakerCore>(number)).unwrap();
        Settings::<<DriftCore as Core>::Config>::read(&every_number_is::<DriftCore>(number)).unwrap();
        Settings::<<LeakCore as Core>::Config>::read(&every_number_is::<LeakCore>(number)).unwrap();
        Settings::<<RecoveryCore as Core>::Config>::read(&every_number_is::<RecoveryCore>(number)).unwrap();
        Settings::<<ForecastCore as Core>::Config>::read(&every_number_is::<ForecastCore>(number)).unwrap();
        Settings::<<KeyRotationCore as Core>::Config>::read(&every_number_is::<KeyRotationCore>(number)).unwrap();
        Settings::<<StatusCore as Core>::Config>::read(&every_number_is::<StatusCore>(number)).unwrap();
    }
}

#[test]
fn one_execution_of_the_longest_time_there_is_is_slow() {
    let mut driver = Driver::<QueryCore>::new("extremes", Settings::default());
    let event = Query { service: "shop".to_owned(), statement: "SELECT 1 FROM t".to_owned(), took_us: u64::MAX, ..Query::default() };
    let content = Content::Events(vec![Ok(event.into())]);
    let outputs = driver.step(&Delivery { position: 1, at: START, subject: String::new(), content, context: TraceContext::default() });
    assert_eq!(outputs.len(), 1);
}
