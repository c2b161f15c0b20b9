//! `/metrics/per-object` and the dashboards made of it, in the real Prometheus. Some of what the minds know takes them days, so here
//! their views are written by hand; `scripts/observe.py` asks the same questions of a running system.

use super::repository;
use crate::metrics::Prometheus;
use homeostat::metrics::{self, Objects};
use homeostat_actors::breaker::{BreakerView, ShedMode};
use homeostat_actors::core::Settings;
use homeostat_actors::drift::{DriftView, FeatureView, LookView, ModelView, Stage as DriftStage, Verdict};
use homeostat_actors::driver::Driver;
use homeostat_actors::forecast::{ExhaustionView, ForecastView, PointView, SeriesView};
use homeostat_actors::health::{CacheView, HealthView, Requests, ServiceView, Totals, Verdict as HealthVerdict};
use homeostat_actors::key_rotation::{Act, KeyRotationView, KeyRow, KeyTotals};
use homeostat_actors::leak::{LeakRow, LeakRule, LeakTotals, LeakView, Measured, Tier, ToLimit};
use homeostat_actors::query::{Advice, AdviceKind, QueryConfig, QueryCore, QueryRow, QueryView};
use homeostat_actors::recovery::{Budget, RecoveryView, Stage, What};
use homeostat_actors::status::StatusView;
use homeostat_schemas::event::BreakerState;
use homeostat_schemas::key::KeyState;
use homeostat_schemas::{AdmissionState, Alert, Content, Delivery, Event, Mode, TraceContext};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const PATIENCE: Duration = Duration::from_secs(60);
const HOUR: u64 = 3_600_000;

fn statement(text: &str) -> QueryRow {
    QueryRow {
        service: "shop".into(),
        fingerprint: "0123456789abcdef".into(),
        statement: text.into(),
        calls: 7,
        errors: 1,
        slow_calls: 2,
        p50_ms: 5.0,
        p95_ms: 20.0,
        p99_ms: 30.0,
        total_ms: 70.0,
        findings: vec!["query.n_plus_one".into()],
        advice: vec![Advice {
            kind: AdviceKind::Index,
            reason: "it reads everything".into(),
            table: None,
            columns: Vec::new(),
            using: None,
            ddl: Some("create index on \"t\" (a)".into()),
            verified: None,
            cost_ratio: None,
        }],
        ..QueryRow::default()
    }
}

fn service() -> ServiceView {
    let cache = CacheView { hits: 3, misses: 1, hit_ratio: Some(0.75), hit_ratio_total: Some(0.75), at_ms: 1 };
    ServiceView {
        verdict: HealthVerdict::default(),
        components: Vec::new(),
        alive: 2,
        silent: 1,
        last_heard_ms: 1,
        requests: Requests { total: 100, errors: 5 },
        caches: BTreeMap::from([("products".to_owned(), cache)]),
    }
}

fn health() -> HealthView {
    HealthView { at_ms: 1, own: service(), services: BTreeMap::from([("shop".to_owned(), service())]), totals: Totals::default() }
}

fn breaker() -> BreakerView {
    BreakerView {
        service: "shop".into(),
        peer: "payments".into(),
        operation: None,
        zone: None,
        state: AdmissionState::Ramping,
        fraction: 0.25,
        retry_fraction: 0.0,
        shedding: ShedMode::Open,
        demand_per_s: 40.0,
        replicas: 4,
        replicas_failing: 1,
        excess: 0.0,
        run_since_ms: None,
        epoch: 3,
        heard_ms: 1,
        local_states: BTreeMap::from([(BreakerState::HalfOpen, 1)]),
        local: Vec::new(),
    }
}

fn drift() -> DriftView {
    let look = LookView {
        at_ms: 1,
        verdict: Verdict::Moderate,
        n_current: 500,
        psi: 0.2,
        psi_adjusted: 0.18,
        psi_p: 0.001,
        ks_d: 0.1,
        ks_p: 0.01,
        chi2: 30.0,
        p: 0.002,
        odd_baseline: 0.0,
        odd_current: 0.0,
    };
    let feature = FeatureView {
        feature: "age".into(),
        stage: DriftStage::Watching,
        verdict: Verdict::Moderate,
        pending: 12,
        baseline: None,
        last: Some(look),
        e_value: Some(40.0),
        windows: vec![Verdict::Moderate],
    };
    let model = ModelView {
        service: "scoring".into(),
        model: "risk".into(),
        verdict: Verdict::Moderate,
        renewing_since_ms: None,
        features: vec![feature],
    };
    DriftView {
        at_ms: 1,
        rule: homeostat_actors::drift::RuleSet::default(),
        models: vec![model],
        features: 1,
        no_room: 0,
        refused_orders: 0,
        refusal: None,
        bytes: 0,
    }
}

fn forecast() -> ForecastView {
    // Half past the hour in which the forecast begins.
    let now = 1_000 * HOUR + HOUR / 2;
    let points = (0..48u32).map(|k| PointView {
        at: (1_000 + u64::from(k)) * HOUR,
        mean: f64::from(k),
        lower: f64::from(k) - 1.0,
        upper: f64::from(k) + 1.0,
    });
    let series = SeriesView {
        service: "shop".into(),
        metric: "queue.depth".into(),
        instance: None,
        value: Some(3.0),
        expected: Some(2.5),
        p: Some(0.4),
        anomaly: false,
        steps: 1_000,
        season: vec![288],
        model: Some("portfolio".into()),
        insufficient: None,
        points: points.collect(),
        exhaustion: Some(ExhaustionView { limit: 100.0, probability: 0.3, p10_ms: Some(1), p50_ms: Some(2), p90_ms: None }),
    };
    ForecastView { at_ms: now, series: vec![series], ..ForecastView::default() }
}

fn leak() -> LeakView {
    let measured = Measured {
        at_ms: 1,
        base_bytes: 1e9,
        slope_pct_per_h: 2.0,
        slope_low: 1.5,
        slope_high: 2.5,
        z: 9.0,
        since_ms: 1,
        shape: None,
        bounded: None,
        margin: None,
    };
    let row = LeakRow {
        service: "shop".into(),
        instance: Some("shop-1".into()),
        verdict: Tier::Suspected,
        why: None,
        suspected_ms: Some(1),
        confirmed_ms: None,
        started_ms: 1,
        last_ms: 1,
        memory_bytes: 1.2e9,
        memory_limit_bytes: Some(2e9),
        measured: Some(measured),
        to_limit: Some(ToLimit { hours: 40.0, earliest: 30.0, latest: None }),
        snapshot_possible: None,
        lives: 1,
        ignored: 0,
    };
    LeakView { at_ms: 1, rule: LeakRule::default(), processes: vec![row], totals: LeakTotals::default() }
}

fn keys() -> KeyRotationView {
    let row = KeyRow {
        key: "k1".into(),
        owner: "shop".into(),
        version: 2,
        state: KeyState::Grace,
        expires_ms: Some(2_000_000_000_000),
        grace_until_ms: None,
        next: Some(Act::Rotate),
        next_ms: Some(1_900_000_000_000),
        doing: None,
        failures: 0,
        last_used_ms: Some(1_700_000_000_000),
    };
    KeyRotationView { at_ms: 1, mode: Mode::Act, frozen: None, keys: vec![row], totals: KeyTotals::default() }
}

fn recovery() -> RecoveryView {
    RecoveryView {
        at_ms: 1,
        mode: Mode::Act,
        paused: Vec::new(),
        brakes: Vec::new(),
        budget: Budget { used: 1, of: 5, window_s: 3_600 },
        open: Vec::new(),
        stages: BTreeMap::from([(Stage::Issued, 1)]),
        record: Vec::new(),
        counts: BTreeMap::from([(What::Issued, 3)]),
        members: BTreeMap::new(),
        dropped: 0,
    }
}

fn status() -> StatusView {
    let open = Alert {
        id: "a1".into(),
        incident: "i1".into(),
        rule: "query.slow".into(),
        service: "shop".into(),
        summary: "a \"slow\" one\nof two lines".into(),
        since_ms: 1_700_000_000_000,
        ..Alert::default()
    };
    // One open finding of each actor that finds anything, so that each dashboard shows some.
    let open = ["health", "query", "breaker", "drift", "forecast", "leak", "key_rotation", "recovery"].map(|actor| Alert {
        rule: format!("{actor}.example"),
        incident: actor.into(),
        ..open.clone()
    });
    StatusView { open: open.to_vec(), open_by_service: BTreeMap::from([("shop".to_owned(), 8)]), ..StatusView::default() }
}

fn shown(max: usize) -> Objects {
    let objects = Objects::new(max);
    objects.status(&status());
    objects.health(&health());
    objects.query(&QueryView { queries: vec![statement("select \"a\" from t"), statement("select b from t")], ..QueryView::default() });
    objects.breaker(&[breaker()]);
    objects.drift(&drift());
    objects.forecast(&forecast());
    objects.leak(&leak());
    objects.key_rotation(&keys());
    objects.recovery(&recovery());
    objects
}

#[test]
fn every_metric_of_objects_is_written_as_the_page_says() {
    let objects = shown(200);
    let families = metrics::read(&objects.encode());
    let described = objects.described();
    assert_eq!(families.len(), described.len(), "each has a value in this test");
    for metric in described {
        let written = &families[metric.family()];
        assert_eq!(
            (&written.kind, &written.unit, written.meaning.as_str()),
            (&metric.kind, &metric.unit, metric.meaning),
            "{}",
            metric.name
        );
    }
}

#[test]
fn what_finds_no_room_is_counted() {
    let text = shown(1).encode();
    assert_eq!(text.matches("homeostat_query_calls_total{").count(), 1, "{text}");
    assert!(text.contains("homeostat_objects_left_out{of=\"statements\"} 1"), "{text}");
    assert!(text.contains("homeostat_objects_left_out{of=\"breakers\"} 0"), "{text}");
    let none = shown(0).encode();
    assert!(!none.contains("homeostat_query_calls_total{") && none.ends_with("# EOF\n"), "{none}");
}

#[test]
fn what_an_actor_has_no_room_for_is_told_of_however_much_is_shown() {
    let config = QueryConfig { services_max: 1, ..QueryConfig::default() };
    let mut mind = Driver::<QueryCore>::new("test", Settings { config, ..Settings::default() });
    for (position, service) in (1..).zip(["shop", "till", "till", "mail"]) {
        let query = json!({ "kind": "query", "service": service, "at_ms": 1_000, "took_us": 1_000, "statement": "select a from t" });
        let content = Content::Events(vec![Ok(Event::from_json(query.to_string().as_bytes()).unwrap())]);
        mind.step(&Delivery { position, at: 1_000 * position, subject: String::new(), content, context: TraceContext::default() });
    }
    let objects = Objects::new(1);
    objects.query(&mind.view());
    let text = objects.encode();
    for (what, count) in [("executions", 3), ("traces", 0)] {
        let line = format!("homeostat_actor_no_room_total{{actor=\"query\",what=\"{what}\"}} {count}");
        assert!(text.lines().any(|there| there.trim_end_matches(".0") == line), "{line}: {text}");
    }
}

#[test]
fn forecasts_are_shown_for_the_hour_that_holds_the_moment() {
    let text = shown(200).encode();
    for (ahead, mean) in [("0h", 0.0), ("1h", 1.0), ("6h", 6.0), ("24h", 24.0)] {
        let line = format!("service_instance_id=\"\",ahead=\"{ahead}\",bound=\"mean\"}} {mean:.1}");
        assert!(text.contains(&line), "{line}: {text}");
    }
}

/// Answers every request with this text, until the test ends.
async fn serve(text: String) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let head =
                "HTTP/1.1 200 OK\r\ncontent-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\nconnection: close\r\n";
            let answer = format!("{head}content-length: {}\r\n\r\n{text}", text.len());
            tokio::spawn(async move {
                let _ = client.read(&mut [0; 4096]).await;
                let _ = client.write_all(answer.as_bytes()).await;
                let _ = client.shutdown().await;
            });
        }
    });
    address
}

/// Every question of the dashboards to Prometheus that is about objects: dashboard, panel, question.
fn questions(families: &BTreeSet<String>) -> Vec<(String, String, String)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(repository().join("docker/grafana/dashboards")).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        let board: Value = serde_json::from_str(&text).unwrap();
        for panel in board["panels"].as_array().unwrap() {
            for target in panel["targets"].as_array().unwrap() {
                let Some(expr) = target["expr"].as_str() else { continue };
                let asks = |family: &String| ['{', ')', '['].iter().any(|after| expr.contains(&format!("{family}{after}")));
                if families.iter().any(asks) {
                    // What Grafana would put in for the variables.
                    let expr = expr.replace("$__rate_interval", "1m").replace("$service", ".*").replace("$instance", ".*");
                    all.push((board["title"].as_str().unwrap().to_owned(), panel["title"].as_str().unwrap().to_owned(), expr));
                }
            }
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn every_panel_about_objects_has_data_in_prometheus() {
    let objects = shown(200);
    let families: BTreeSet<String> = objects.described().iter().map(|metric| metric.name.clone()).collect();
    let target = serve(objects.encode()).await;
    let dir = tempfile::tempdir().unwrap();
    let prometheus = Prometheus::start(dir.path(), &target);
    let mut open = questions(&families);
    assert!(open.len() > 60, "{}", open.len());
    let unasked: Vec<&String> = families.iter().filter(|family| !open.iter().any(|(.., expr)| expr.contains(family.as_str()))).collect();
    assert_eq!(unasked, ["homeostat_objects_left_out"], "each is in some panel, but for what says that some are missing");
    let began = Instant::now();
    while !open.is_empty() {
        let mut empty = Vec::new();
        for (board, panel, expr) in open {
            if !prometheus.answers(&expr).await {
                empty.push((board, panel, expr));
            }
        }
        open = empty;
        assert!(began.elapsed() < PATIENCE, "nothing: {open:#?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
