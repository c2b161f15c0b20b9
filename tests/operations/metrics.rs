//! What a running system says at `/metrics`, beside the page about it; and exemplars, in the real Prometheus.

use super::common::{Server, Worker, http, http_get, story::now_ms};
use super::repository;
use homeostat::export::alert_rules;
use homeostat::metrics::{self, CureLabel, IntakeLabels, Metrics, Objects};
use homeostat::roster;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

#[test]
fn the_page_in_the_repository_is_that_of_the_program() {
    let path = repository().join(homeostat::export::PAGES_DIR).join(metrics::PAGE);
    let written = &homeostat::export::metrics()[metrics::PAGE];
    assert!(std::fs::read_to_string(path).unwrap_or_default() == *written, "write it anew with `homeostat export metrics --out docs`");
}

/// Every counter of ours whose `increase` a rule asks for.
fn counted_by_rules() -> BTreeSet<String> {
    let document = alert_rules::document(alert_rules::RUNBOOKS);
    let groups = document["groups"].as_array().unwrap().iter();
    let rules = groups.flat_map(|group| group["rules"].as_array().unwrap());
    let asked = rules.flat_map(|rule| rule["expr"].as_str().unwrap().split("increase(").skip(1));
    let names = asked.map(|rest| rest.split(['{', '[']).next().unwrap().trim().to_owned());
    // What is written from what a mind says of itself is there, with a zero, as soon as that mind is.
    let objects = Objects::new(1);
    let of_objects: BTreeSet<&str> = objects.described().iter().map(|metric| metric.name.as_str()).collect();
    names.filter(|name| name.starts_with("homeostat_") && !of_objects.contains(name.as_str())).collect()
}

/// Every series of a counter, as it stands in a text of OpenMetrics before anything was counted.
fn all_at_zero(counter: &str) -> Vec<String> {
    let metrics = Metrics::default().described();
    let described = metrics.iter().find(|metric| metric.name == counter).unwrap_or_else(|| panic!("there is no {counter}"));
    let mut series = vec![String::new()];
    for label in described.labels {
        let values: &[&str] = match *label {
            "actor" => &roster::NAMES,
            "outcome" => &CureLabel::OUTCOMES,
            "intake" => &IntakeLabels::INTAKES,
            "result" if counter == "homeostat_intake_total" => &IntakeLabels::RESULTS,
            other => {
                panic!("a rule asks for the increase of {counter}: say here which values `{other}` has, and make its series at the start")
            }
        };
        let with = |before: &String, value: &&str| format!("{before}{}{label}=\"{value}\"", if before.is_empty() { "" } else { "," });
        series = series.iter().flat_map(|before| values.iter().map(move |value| with(before, value))).collect();
    }
    series.iter().map(|labels| if labels.is_empty() { format!("{counter} 0") } else { format!("{counter}{{{labels}}} 0") }).collect()
}

#[test]
fn what_rules_count_is_there_before_it_happens_for_the_first_time() {
    let text = Metrics::default().encode();
    let counters = counted_by_rules();
    assert!(counters.len() >= 8, "{counters:?}");
    let missing = counters.iter().flat_map(|counter| all_at_zero(counter)).filter(|line| !text.lines().any(|there| there == line));
    assert_eq!(missing.collect::<Vec<_>>(), Vec::<String>::new(), "`Metrics::begin` makes them");
}

/// Telemetry that makes one alert.
async fn something_slow(gateway: &str, headers: &[(&str, &str)]) {
    let events = json!([{ "kind": "query", "service": "shop", "at_ms": now_ms(), "took_us": 900_000, "statement": "select a from t" }]);
    let all = [&[("content-type", "application/json")], headers].concat();
    let (status, body) = http(gateway, "POST", "/v1/events", &all, events.to_string().as_bytes()).await.unwrap();
    assert_eq!(status, 200, "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_system_says_what_the_page_says() {
    let server = Server::start().await;
    let mut worker = Worker::spawn(&server.path("worker"), Some(&server.url()), &["shell.checkpoint_every_ms=100"], &[]);
    let gateway = worker.ready().await;
    let (_, fresh) = http_get(&gateway, "/metrics").await.unwrap();
    let zero = counted_by_rules().into_iter().flat_map(|counter| all_at_zero(&counter));
    let missing: Vec<_> = zero.filter(|line| !fresh.lines().any(|there| there == line)).collect();
    assert!(missing.is_empty(), "before anything happened: {missing:?}");
    something_slow(&gateway, &[]).await;
    let began = std::time::Instant::now();
    let families = loop {
        let (_, text) = http_get(&gateway, "/metrics").await.unwrap();
        let families = metrics::read(&text);
        let there = |name: &str| families.contains_key(name);
        let room = ["log", "archive", "state", "checkpoints", "ledger"].iter().all(|stream| {
            let of =
                |metric: &str| text.lines().find_map(|line| line.strip_prefix(&format!("{metric}{{stream=\"{stream}\"}} "))?.parse().ok());
            let (size, limit): (Option<u64>, Option<u64>) = (of("homeostat_stream_size_bytes"), of("homeostat_stream_limit_bytes"));
            size.is_some_and(|size| limit.is_some_and(|limit| size < limit))
        });
        let families_there =
            ["homeostat_alerts", "homeostat_findings_open", "homeostat_actor_checkpoint_size_bytes", "homeostat_disk_available_bytes"];
        if room && families_there.into_iter().all(there) {
            break families;
        }
        assert!(began.elapsed() < PATIENCE, "{text}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let described = Metrics::default().described();
    for (name, written) in &families {
        let said = described.iter().find(|metric| metric.family() == name).unwrap_or_else(|| panic!("{name} is not on the page"));
        assert_eq!((&written.kind, &written.unit, written.meaning.as_str()), (&said.kind, &said.unit, said.meaning), "{name}");
        let labels: BTreeSet<String> = said.labels.iter().map(|label| (*label).to_owned()).collect();
        assert_eq!(written.labels, labels, "{name}");
    }
    assert!(families.len() > 15, "{:?}", families.keys());
    worker.stop().await;
    server.stop().await;
}

/// What a process shows that only the one at work knows.
fn of_the_work(text: &str) -> Vec<&str> {
    let gauges = [
        "homeostat_findings_",
        "homeostat_silences_",
        "homeostat_actor_position",
        "homeostat_actor_lag",
        "homeostat_actor_checkpoint",
        "homeostat_actor_open",
    ];
    let samples = text.lines().filter(|line| gauges.iter().any(|gauge| line.starts_with(gauge)));
    samples.filter(|line| !line.ends_with(" 0")).collect()
}

/// The metrics of a process, once they are what is wanted.
async fn metrics_once(worker: &Worker, gateway: &str, wanted: impl Fn(&str) -> bool) -> String {
    let began = std::time::Instant::now();
    loop {
        let text = http_get(gateway, "/metrics").await.map(|(_, text)| text).unwrap_or_default();
        if wanted(&text) {
            return text;
        }
        assert!(began.elapsed() < PATIENCE, "{text}\n{}", worker.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_lost_the_work_shows_nothing_of_it_any_more() {
    let server = Server::start().await;
    let settings = ["shell.lease_renew_ms=100", "shell.lease_patience_ms=600", "shell.checkpoint_every_ms=100"];
    let mut first = Worker::spawn(&server.path("first"), Some(&server.url()), &settings, &[]);
    let old = first.ready().await;
    something_slow(&old, &[]).await;
    let open = "homeostat_findings_open{rule=\"query.slow\",severity=\"warning\"} 1";
    metrics_once(&first, &old, |text| {
        text.contains(open)
            && text.contains("homeostat_actor_open_findings{actor=\"query\"} 1")
            && text.contains("homeostat_actor_checkpoint_size_bytes{")
    })
    .await;
    let mut second = Worker::spawn(&server.path("second"), Some(&server.url()), &settings, &[]);
    let new = second.ready().await;
    first.signal("STOP");
    metrics_once(&second, &new, |text| text.contains("homeostat_active 1\n")).await;
    first.signal("CONT");
    // It finds out by itself that another one works.
    metrics_once(&first, &old, |text| text.contains("homeostat_active 0\n") && of_the_work(text).is_empty()).await;
    metrics_once(&second, &new, |text| text.contains(open) && of_the_work(text).len() > 10).await;
    let (_, status) = http_get(&old, "/api/v1/status").await.unwrap();
    let status: Value = serde_json::from_str(&status).unwrap();
    let carried: Vec<_> =
        status["actors"].as_object().unwrap().values().filter(|actor| actor["open"] != 0 || actor["position"] != 0).collect();
    assert!(carried.is_empty(), "{carried:?}");
    // What was counted stays counted.
    let (_, text) = http_get(&old, "/metrics").await.unwrap();
    assert!(text.contains("homeostat_alerts_total{rule=\"query.slow\",severity=\"warning\",state=\"firing\"} 1"), "{text}");
    first.stop().await;
    second.stop().await;
    server.stop().await;
}

pub(crate) struct Prometheus {
    child: Child,
    url: String,
}

impl Prometheus {
    /// Scrapes one target, and keeps exemplars.
    pub(crate) fn start(dir: &std::path::Path, target: &str) -> Prometheus {
        std::fs::create_dir_all(dir).unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = json!({
            "global": { "scrape_interval": "500ms", "scrape_timeout": "500ms" },
            "scrape_configs": [{ "job_name": "homeostat", "static_configs": [{ "targets": [target.trim_start_matches("http://")] }] }],
        });
        std::fs::write(dir.join("config.yaml"), config.to_string()).unwrap();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", dir.join("config.yaml").display()))
            .arg(format!("--storage.tsdb.path={}", dir.join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--enable-feature=exemplar-storage")
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(dir.join("log")).unwrap())
            .spawn()
            .expect("prometheus is there; `scripts/install-test-tools` installs it");
        Prometheus { child, url: format!("http://127.0.0.1:{port}") }
    }

    /// Has this question an answer?
    pub(crate) async fn answers(&self, expr: &str) -> bool {
        let encoded: String = expr.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let Some((_, body)) = http_get(&self.url, &format!("/api/v1/query?query={encoded}")).await else { return false };
        let answer: Value = serde_json::from_str(&body).unwrap_or_default();
        assert_ne!(answer["status"], "error", "{expr}: {body}");
        answer["data"]["result"].as_array().is_some_and(|result| !result.is_empty())
    }

    /// The traces of the exemplars of a metric.
    async fn traces(&self, metric: &str) -> BTreeSet<String> {
        let now = now_ms() / 1000;
        let path = format!("/api/v1/query_exemplars?query={metric}&start={}&end={}", now - 600, now + 60);
        let Some((_, body)) = http_get(&self.url, &path).await else { return BTreeSet::new() };
        let answer: Value = serde_json::from_str(&body).unwrap_or_default();
        let series = answer["data"].as_array().cloned().unwrap_or_default();
        let exemplars = series.iter().flat_map(|one| one["exemplars"].as_array().cloned().unwrap_or_default());
        exemplars.filter_map(|exemplar| exemplar["labels"]["trace_id"].as_str().map(str::to_owned)).collect()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn from_a_latency_one_gets_to_its_trace() {
    let server = Server::start().await;
    let mut worker = Worker::spawn(&server.path("worker"), Some(&server.url()), &[], &[]);
    let gateway = worker.ready().await;
    let prometheus = Prometheus::start(&server.path("prometheus"), &gateway);
    let recorded = format!("00-{TRACE}-00f067aa0ba902b7-01");
    something_slow(&gateway, &[("traceparent", &recorded)]).await;
    let unrecorded = format!("00-{}-00f067aa0ba902b7-00", "a".repeat(32));
    http(&gateway, "GET", "/livez", &[("traceparent", &unrecorded)], b"").await.unwrap();
    for metric in ["http_server_request_duration_seconds_bucket", "homeostat_actor_cycle_seconds_bucket"] {
        let began = std::time::Instant::now();
        loop {
            let traces = prometheus.traces(metric).await;
            if traces.contains(TRACE) {
                assert_eq!(traces.len(), 1, "only what is recorded: {traces:?}");
                break;
            }
            assert!(began.elapsed() < PATIENCE, "no exemplar of {metric}: {traces:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    worker.stop().await;
    server.stop().await;
}
