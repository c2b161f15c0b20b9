//! Structured logs, and traces by OTLP: one trace shows a publisher's message, the decision on it, and the alert.
//!
//! Spans follow OpenTelemetry's messaging conventions: `process <template>` (CONSUMER), `publish <template>` (PRODUCER). A
//! message's own context is the parent; the traces of the events inside a batch are links.

use homeostat_actors::core::{Effect, Output};
use homeostat_schemas::{Content, Delivery, Event, TraceContext};
use opentelemetry::trace::{
    Link, Span as _, SpanContext, SpanId, SpanKind, TraceContextExt as _, TraceFlags, TraceId, TraceState, Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tracing_subscriber::filter::{ParseError, Targets};

/// `messaging.system`: OpenTelemetry has not registered NATS yet.
const MESSAGING_SYSTEM: &str = "nats";
/// How many links a span may have.
const LINKS_MAX: usize = 8;

/// How Homeostat reports on itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetryConfig {
    /// What is logged: `info`, or filters as in `homeostat=debug,async_nats=warn`.
    pub log: String,
    /// How it is logged: `auto` (text on a terminal, JSON elsewhere), `text` or `json`.
    pub log_format: LogFormat,
    /// Where traces go, by OTLP over HTTP: `http://127.0.0.1:4318`. Absent: nowhere. The usual variable
    /// `OTEL_EXPORTER_OTLP_ENDPOINT` is honoured too.
    pub otlp_endpoint: Option<String>,
    /// Share of decisions without a recorded publisher's trace that are recorded all the same, 0–1.
    pub sample_ratio: f64,
    /// What `service.name` says.
    pub service_name: String,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        TelemetryConfig {
            log: "info,async_nats=warn".to_owned(),
            log_format: LogFormat::Auto,
            otlp_endpoint: None,
            sample_ratio: 1.0,
            service_name: "homeostat".to_owned(),
        }
    }
}

/// How logs are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// A line for people.
    Text,
    /// A JSON object a line.
    Json,
}

/// Why telemetry could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is none.
    #[error("telemetry.log: {0}")]
    Filter(#[from] ParseError),
    /// Traces cannot be sent there.
    #[error("telemetry.otlp_endpoint: {0}")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
}

/// Sets up logging on standard error. Called once, before anything is logged.
///
/// # Errors
/// A filter that is none.
pub fn logs(config: &TelemetryConfig) -> Result<(), TelemetryError> {
    use std::io::IsTerminal as _;
    use tracing_subscriber::filter::LevelFilter;
    use tracing_subscriber::{fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};
    let filter = filter(&config.log)?;
    let terminal = std::io::stderr().is_terminal();
    let builder = fmt().with_max_level(LevelFilter::TRACE).with_writer(std::io::stderr);
    let text = matches!(config.log_format, LogFormat::Text) || matches!(config.log_format, LogFormat::Auto) && terminal;
    // A second call (tests in one process) keeps the first set-up.
    let _ = if text {
        builder.with_ansi(terminal && std::env::var_os("NO_COLOR").is_none()).with_target(false).finish().with(filter).try_init()
    } else {
        builder.json().flatten_event(true).finish().with(filter).try_init()
    };
    Ok(())
}

/// What is logged: a level for everything, or one for each of some targets.
///
/// # Errors
/// It is neither.
pub fn filter(text: &str) -> Result<Targets, ParseError> {
    text.parse()
}

/// Chooses who does the arithmetic of TLS for every HTTP client of the process. Whoever chose before is left.
pub fn tls() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Makes the spans of the minds; makes none when nobody wants traces.
#[derive(Clone, Default)]
pub struct Spans {
    tracer: Option<SdkTracer>,
    root: String,
    provider: Option<SdkTracerProvider>,
}

/// The span of one decision.
pub struct Decision {
    span: Span,
}

impl Spans {
    /// Sends spans to where the settings say.
    ///
    /// # Errors
    /// An endpoint that is none.
    pub fn new(config: &TelemetryConfig, root: &str) -> Result<Spans, TelemetryError> {
        let endpoint = config
            .otlp_endpoint
            .clone()
            .or_else(|| std::env::var("OTEL_EXPORTER_OTLP_ENDPOINT").ok())
            .filter(|endpoint| !endpoint.is_empty());
        let Some(endpoint) = endpoint else { return Ok(Spans { root: root.to_owned(), ..Spans::default() }) };
        tls();
        let endpoint = format!("{}/v1/traces", endpoint.trim_end_matches('/').trim_end_matches("/v1/traces"));
        let exporter =
            opentelemetry_otlp::SpanExporter::builder().with_http().with_endpoint(endpoint).with_timeout(Duration::from_secs(5)).build()?;
        let resource = Resource::builder().with_service_name(config.service_name.clone()).build();
        let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(config.sample_ratio)));
        let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_sampler(sampler).with_resource(resource).build();
        Ok(Spans { tracer: Some(provider.tracer("homeostat")), root: root.to_owned(), provider: Some(provider) })
    }

    /// Sends what has not been sent. Blocks for at most the given time.
    pub fn flush(&self, deadline: Duration) {
        if let Some(provider) = &self.provider
            && let Err(error) = provider.shutdown_with_timeout(deadline)
        {
            tracing::warn!(%error, "the last spans could not be sent");
        }
    }

    /// The span of a mind at work on a message whose publisher records its trace.
    #[must_use]
    pub fn process(&self, actor: &'static str, delivery: &Delivery) -> Option<Decision> {
        let tracer = self.tracer.as_ref()?;
        let parent = delivery.context.sampled().then(|| remote(&delivery.context)).flatten()?;
        Some(self.decision(tracer, actor, delivery, &Context::new().with_remote_span_context(parent), Vec::new()))
    }

    /// The span of a decision on a message that nobody traces: it begins a trace, linked to those that the decision is about.
    #[must_use]
    pub fn decide(&self, actor: &'static str, delivery: &Delivery, outputs: &[Output]) -> Option<Decision> {
        let tracer = self.tracer.as_ref()?;
        let worth = outputs.iter().any(|output| matches!(output.effect, Effect::Alert(_) | Effect::Command(_)));
        worth.then(|| self.decision(tracer, actor, delivery, &Context::new(), outputs.iter().filter_map(trace_of).collect()))
    }

    fn decision(&self, tracer: &SdkTracer, actor: &'static str, delivery: &Delivery, parent: &Context, mut links: Vec<Link>) -> Decision {
        let template = self.template(&delivery.subject);
        let count = if let Content::Events(events) = &delivery.content { events.len() } else { 1 };
        if let Content::Events(events) = &delivery.content {
            links.extend(events.iter().flatten().filter_map(event_link));
        }
        links.dedup_by(|a, b| a.span_context == b.span_context);
        links.truncate(LINKS_MAX);
        let attributes = [
            KeyValue::new("messaging.system", MESSAGING_SYSTEM),
            KeyValue::new("messaging.operation.type", "process"),
            KeyValue::new("messaging.operation.name", "process"),
            KeyValue::new("messaging.destination.name", delivery.subject.clone()),
            KeyValue::new("messaging.destination.template", template.clone()),
            KeyValue::new("messaging.batch.message_count", i64::try_from(count).unwrap_or(i64::MAX)),
            KeyValue::new("homeostat.actor", actor),
            KeyValue::new("homeostat.position", i64::try_from(delivery.position).unwrap_or(i64::MAX)),
        ];
        let builder =
            tracer.span_builder(format!("process {template}")).with_kind(SpanKind::Consumer).with_attributes(attributes).with_links(links);
        Decision { span: tracer.build_with_context(builder, parent) }
    }

    /// The span of an output; the context that its reader continues, as `traceparent`.
    #[must_use]
    pub fn publish(&self, decision: Option<&Decision>, output: &Output) -> Option<String> {
        let tracer = self.tracer.as_ref()?;
        let decision = decision?.span.span_context().clone();
        // Part of a story that began earlier: it goes on in that trace, and points to where it was decided.
        let story = match &output.traceparent {
            Some(text) => Some(remote(&TraceContext::new(Some(text), None)).filter(|story| story.trace_flags().is_sampled())?),
            None => None,
        };
        let mut links: Vec<Link> = trace_of(output).into_iter().collect();
        if story.as_ref().is_some_and(|story| story.trace_id() != decision.trace_id()) {
            links.push(Link::with_context(decision.clone()));
        }
        let parent = Context::new().with_remote_span_context(story.unwrap_or(decision));
        let (template, what) = match &output.effect {
            Effect::Alert(alert) => ("alert", Some(("homeostat.rule", alert.rule.clone(), alert.id.clone()))),
            Effect::Command(command) => ("command", Some(("homeostat.action", command.action.clone(), command.id.clone()))),
            Effect::Ask(_) => ("ask", None),
            Effect::Announce(_) => return None,
        };
        let destination = crate::outputs::wire(&output.effect).map(|wire| format!("{}.{}", self.root, wire.subject)).unwrap_or_default();
        let template = format!("{}.{template}", self.root);
        let mut attributes = vec![
            KeyValue::new("messaging.system", MESSAGING_SYSTEM),
            KeyValue::new("messaging.operation.type", "send"),
            KeyValue::new("messaging.operation.name", "publish"),
            KeyValue::new("messaging.destination.name", destination),
            KeyValue::new("messaging.destination.template", template.clone()),
        ];
        if let Some((key, name, id)) = what {
            attributes.push(KeyValue::new(key, name));
            attributes.push(KeyValue::new("messaging.message.id", id));
        }
        let builder =
            tracer.span_builder(format!("publish {template}")).with_kind(SpanKind::Producer).with_attributes(attributes).with_links(links);
        let mut span = tracer.build_with_context(builder, &parent);
        let context = span.span_context().clone();
        span.end();
        Some(format!("00-{}-{}-{:02x}", context.trace_id(), context.span_id(), context.trace_flags().to_u8()))
    }

    /// The subject without its open-ended tokens.
    fn template(&self, subject: &str) -> String {
        let rest = subject.strip_prefix(&self.root).unwrap_or(subject).trim_start_matches('.');
        let tokens = if rest.starts_with("event.") { 2 } else { 1 };
        let mut template = self.root.clone();
        for token in rest.split('.').take(tokens) {
            template.push('.');
            template.push_str(token);
        }
        template
    }
}

fn remote(context: &TraceContext) -> Option<SpanContext> {
    let text = context.traceparent.as_deref()?;
    let trace = TraceId::from_hex(text.get(3..35)?).ok()?;
    let span = SpanId::from_hex(text.get(36..52)?).ok()?;
    let flags = u8::from_str_radix(text.get(53..55)?, 16).ok()?;
    Some(SpanContext::new(trace, span, TraceFlags::new(flags), true, TraceState::default()))
}

fn link(trace: &str, span: Option<&str>) -> Option<Link> {
    let trace = (trace.len() == 32).then(|| TraceId::from_hex(trace).ok()).flatten()?;
    let span = span.filter(|span| span.len() == 16).and_then(|span| SpanId::from_hex(span).ok()).unwrap_or(SpanId::INVALID);
    Some(Link::with_context(SpanContext::new(trace, span, TraceFlags::SAMPLED, true, TraceState::default())))
}

fn event_link(event: &Event) -> Option<Link> {
    match event {
        Event::Query(query) => link(query.trace.as_deref()?, query.span.as_deref()),
        Event::Request(request) => link(request.trace.as_deref()?, request.span.as_deref()),
        Event::Call(call) => link(call.trace.as_deref()?, call.span.as_deref()),
        _ => None,
    }
}

/// The trace that an output is about.
fn trace_of(output: &Output) -> Option<Link> {
    match &output.effect {
        Effect::Alert(alert) => link(alert.trace.as_deref()?, None),
        _ => None,
    }
}
