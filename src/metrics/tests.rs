//! What is said of metrics is what is written.

use super::*;

/// One measurement of everything.
fn touched() -> Metrics {
    let metrics = Metrics::default();
    let actor = ActorLabel { actor: "query" };
    metrics.dead.inc();
    metrics.events.get_or_create(&KindLabel { kind: "query" }).inc();
    let alert = AlertLabels { rule: "query.slow".into(), severity: "warning".into(), state: "firing".into() };
    metrics.alerts.get_or_create(&alert).inc();
    metrics.cures.get_or_create(&CureLabel { outcome: "verified" }).inc();
    metrics.findings.get_or_create(&FindingLabels { rule: "query.slow", severity: "warning" }).set(1);
    metrics.breaker_changes.get_or_create(&BreakerLabel { to: "open" }).inc();
    metrics.delivered("webhook", 1);
    metrics.keys.get_or_create(&KeyLabel { result: "hot" }).inc();
    metrics.asked("admitted");
    metrics.closed(1);
    metrics.room.disk(1, 2);
    metrics.room.stream("ledger", 1, Some(2));
    for gauge in [&metrics.position, &metrics.lag, &metrics.checkpoint, &metrics.checkpoint_at, &metrics.checkpoint_bytes, &metrics.open] {
        gauge.get_or_create(&actor).set(1);
    }
    for counter in [&metrics.restarts, &metrics.broken_promises, &metrics.fenced, &metrics.poison] {
        counter.get_or_create(&actor).inc();
    }
    let trace = || TraceLabel::of(Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
    metrics.cycle_seconds.get_or_create(&actor).observe(0.1, trace(), None);
    let http = HttpLabels { http_request_method: "GET", http_route: "/livez", http_response_status_code: 200 };
    metrics.http_seconds.get_or_create(&http).observe(0.1, trace(), None);
    metrics.intake.get_or_create(&IntakeLabels { intake: "otlp", result: "accepted" }).inc();
    metrics
}

#[test]
fn the_text_ends_as_openmetrics_ends() {
    let text = touched().encode();
    assert!(text.contains("homeostat_dead_total 1"));
    assert!(text.contains("# {trace_id=\"4bf92f3577b34da6a3ce929d0e0e4736\"} 0.1"), "{text}");
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn every_metric_is_described_as_it_is_written() {
    let metrics = touched();
    let written = registrar::read(&metrics.encode());
    let described: Vec<_> = metrics.described();
    assert_eq!(written.len(), described.len(), "each has a measurement in this test");
    for metric in described {
        let found = &written[metric.family()];
        assert_eq!(
            (found.kind.as_str(), found.unit.as_str(), found.meaning.as_str()),
            (metric.kind.as_str(), metric.unit.as_str(), metric.meaning)
        );
        assert_eq!(found.labels, metric.labels.iter().map(|label| (*label).to_owned()).collect(), "{}", metric.name);
    }
}

#[test]
fn only_recorded_traces_are_exemplars() {
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let of = |flags: &str| TraceLabel::of(Some(&format!("00-{trace}-00f067aa0ba902b7-{flags}"))).map(|label| label.trace_id);
    assert_eq!((of("01").as_deref(), of("00"), TraceLabel::of(Some("nonsense")), TraceLabel::of(None)), (Some(trace), None, None, None));
}
