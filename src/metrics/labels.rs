//! The labels of the metrics: bounded, each of them.

use homeostat_schemas::TraceContext;
use prometheus_client::encoding::EncodeLabelSet;

/// The label of an exemplar: the trace that one measurement belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct TraceLabel {
    /// 32 hex digits.
    pub trace_id: String,
}

impl TraceLabel {
    /// Of a `traceparent` whose trace is recorded.
    #[must_use]
    pub fn of(traceparent: Option<&str>) -> Option<TraceLabel> {
        let context = TraceContext::new(traceparent, None);
        let sampled = context.sampled();
        context.traceparent.filter(|_| sampled).and_then(|text| Some(TraceLabel { trace_id: text.get(3..35)?.to_owned() }))
    }
}

/// A label for an actor.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ActorLabel {
    /// The actor's name.
    pub actor: &'static str,
}

/// A label for a rule's alerts.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct AlertLabels {
    /// The rule.
    pub rule: String,
    /// How urgent.
    pub severity: String,
    /// Whether it began or ended.
    pub state: String,
}

/// Labels of what is open.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct FindingLabels {
    /// The rule's name, one of the catalogue.
    pub rule: &'static str,
    /// How urgent it is now: a finding may grow.
    pub severity: &'static str,
}

/// A label for what became of an API key that was shown.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct KeyLabel {
    /// One of [`Counts::each`](crate::keys::verify::Counts::each).
    pub result: &'static str,
}

/// A label for what became of a question about a log-in at the bus.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CalloutLabel {
    /// One of [`CalloutLabel::RESULTS`].
    pub result: &'static str,
}

impl CalloutLabel {
    /// What becomes of a question.
    pub const RESULTS: [&str; 4] = ["admitted", "refused", "busy", "forged"];
}

/// A label for what became of a cure.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CureLabel {
    /// One of [`CureLabel::OUTCOMES`].
    pub outcome: &'static str,
}

impl CureLabel {
    /// What [`verdict`](homeostat_schemas::Alert::verdict) says.
    pub const OUTCOMES: [&str; 3] = ["verified", "ineffective", "escalated"];
}

/// A label for a kind of event.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct KindLabel {
    /// The kind.
    pub kind: &'static str,
}

/// A label for where a local breaker went.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct BreakerLabel {
    /// The state it went to.
    pub to: &'static str,
}

/// Labels of an HTTP request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct HttpLabels {
    /// The method, one of the usual ones or `_OTHER`.
    pub http_request_method: &'static str,
    /// The route's template; `_OTHER` when none matched.
    pub http_route: &'static str,
    /// The status.
    pub http_response_status_code: u16,
}

/// A label for what an intake answered.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct IntakeLabels {
    /// One of [`IntakeLabels::INTAKES`].
    pub intake: &'static str,
    /// One of [`IntakeLabels::RESULTS`].
    pub result: &'static str,
}

impl IntakeLabels {
    /// The ways in over HTTP.
    pub const INTAKES: [&str; 2] = ["otlp", "events"];
    /// What becomes of what comes.
    pub const RESULTS: [&str; 3] = ["accepted", "rejected", "unavailable"];
}

/// Labels of what was sent to people.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct DeliveryLabels {
    /// `alertmanager` or `webhook`.
    pub receiver: &'static str,
    /// `delivered`, `failed` or `withheld`.
    pub result: &'static str,
}

impl DeliveryLabels {
    /// What becomes of an alert with whom: a silenced one is withheld from webhooks; Alertmanager is told all, with the silence.
    pub const ALL: [(&str, &str); 5] = [
        ("alertmanager", "delivered"),
        ("alertmanager", "failed"),
        ("webhook", "delivered"),
        ("webhook", "failed"),
        ("webhook", "withheld"),
    ];
}
