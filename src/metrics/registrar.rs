//! Metrics are registered with everything that is said about them, and the page about them is made of that.

use prometheus_client::registry::{Metric, Registry, Unit};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// The file of the page.
pub const PAGE: &str = "metrics.md";

/// What is known of a metric.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Described {
    /// Its name as Prometheus knows it; a histogram has `_bucket`, `_sum` and `_count` behind it.
    pub name: String,
    /// `counter`, `gauge` or `histogram`.
    pub kind: String,
    /// Its unit; empty when it counts.
    pub unit: String,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it means.
    pub meaning: &'static str,
}

impl Described {
    /// Its name without what OpenMetrics puts behind that of a counter.
    #[must_use]
    pub fn family(&self) -> &str {
        if self.kind == "counter" { self.name.trim_end_matches("_total") } else { &self.name }
    }
}

/// A registry that remembers what was said.
#[derive(Debug, Default)]
pub(super) struct Registrar {
    registry: Registry,
    described: Vec<Described>,
}

impl Registrar {
    /// Registers a metric. Its name ends in its unit.
    pub(super) fn add(
        &mut self,
        name: &str,
        unit: Option<Unit>,
        labels: &'static [&'static str],
        meaning: &'static str,
        metric: impl Metric,
    ) {
        let kind = metric.metric_type().as_str().to_owned();
        let suffix = unit.as_ref().map(|unit| unit.as_str().to_owned()).unwrap_or_default();
        let full = [name, &suffix].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("_");
        let name_written = if kind == "counter" { format!("{full}_total") } else { full };
        // The library ends the sentence itself.
        self.described.push(Described { name: name_written, kind, unit: suffix, labels, meaning });
        match unit {
            Some(unit) => self.registry.register_with_unit(name, meaning, unit, metric),
            None => self.registry.register(name, meaning, metric),
        }
    }

    pub(super) fn registry(&self) -> &Registry {
        &self.registry
    }

    pub(super) fn described(&self) -> &[Described] {
        &self.described
    }
}

fn table(described: &[Described]) -> String {
    let mut table = "| metric | type | unit | labels | meaning |\n|---|---|---|---|---|\n".to_owned();
    for Described { name, kind, unit, labels, meaning } in described {
        let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
        let _ = writeln!(table, "| `{name}` | {kind} | {unit} | {} | {meaning} |", labels.join(", "));
    }
    table
}

/// The page about all metrics: those of `/metrics`, and those of `/metrics/per-object`.
#[must_use]
pub fn page(described: &[Described], objects: &[Described]) -> String {
    let mut page = "# Metrics

`GET /metrics` of the gateway, in OpenMetrics 1.0. `homeostat export metrics --out docs` writes this page, and a test holds it against what a
running system says. Names follow the conventions of Prometheus and OpenTelemetry: a name ends in its unit, a counter in `_total`; a histogram
has `_bucket`, `_sum` and `_count`. Labels are bounded: an actor, a rule of the [catalogue](alerts.md), a kind of event, a route's template,
never a service, a statement, a key or an id. A counter whose increase a rule asks for is there with 0 from the start, for all of its labels; any
other metric with labels of which nothing was ever measured is not there yet.

"
    .to_owned();
    page.push_str(&table(described));
    page.push_str(
        "
## What the minds know, object by object

`GET /metrics/per-object` says it of each statement, breaker, feature, series, process and key, so its labels do name services and
statements (in normal form, never a literal). It is bounded: of each mind the first `gateway.metrics_objects_max` objects (200; those that matter
most come first where the mind knows an order), and `homeostat_objects_left_out` counts the rest. It is made when it is asked, by the
process whose actors run; a standby says nothing. Whoever asks needs the scope `status:read`.

",
    );
    page.push_str(&table(objects));
    page.push_str(
        "
## From a latency to its trace

The buckets of histograms carry **exemplars**: the id of the last recorded trace whose measurement fell into each, if its `traceparent` was
marked as sampled. Prometheus keeps them with `--enable-feature=exemplar-storage`, and Grafana shows them as points from which one goes
to the trace (`exemplarTraceIdDestinations` in `docker/grafana/provisioning/datasources/`).

## What is worth an alert

`homeostat export alert-rules` makes the rules; [runbook.md](runbook.md) has a section for each.
",
    );
    page
}

/// A family as it stands in a text of OpenMetrics.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Written {
    /// Its type.
    pub kind: String,
    /// Its unit.
    pub unit: String,
    /// What is said of it.
    pub meaning: String,
    /// The labels of its samples, but for those that its type makes.
    pub labels: BTreeSet<String>,
}

/// The families of a text of OpenMetrics, by name.
#[must_use]
pub fn read(text: &str) -> BTreeMap<String, Written> {
    let mut families: BTreeMap<String, Written> = BTreeMap::new();
    let mut last = String::new();
    for line in text.lines() {
        if let Some(said) = line.strip_prefix("# ") {
            let mut words = said.splitn(3, ' ');
            let (Some(what), Some(name), Some(rest)) = (words.next(), words.next(), words.next()) else { continue };
            name.clone_into(&mut last);
            let family = families.entry(last.clone()).or_default();
            match what {
                "TYPE" => rest.clone_into(&mut family.kind),
                "UNIT" => rest.clone_into(&mut family.unit),
                "HELP" => rest.trim_end_matches('.').clone_into(&mut family.meaning),
                _ => {}
            }
        } else if let (Some(family), Some((_, rest))) = (families.get_mut(&last), line.split_once('{'))
            && !line.starts_with('#')
        {
            // No value of a label at `/metrics` holds a quotation mark or a brace; of objects only names and meanings are compared.
            let inner = rest.split('}').next().unwrap_or_default();
            let names = inner.split("\",").filter_map(|pair| pair.split_once('=')).map(|(name, _)| name.trim().to_owned());
            // The braces of an exemplar come after the value.
            if line.find('{') < line.find(' ') {
                family.labels.extend(names.filter(|name| name != "le"));
            }
        }
    }
    families
}
