//! A model: its features, and the look at all of them together.

use super::baseline::{Baseline, Counted, Counting, GATHERED_MAX, Gathering, Origin};
use super::config::{DriftConfig, MAX_WINDOWS, RuleSet};
use super::evidence::Evidence;
use super::retrain::Renewal;
use super::verdict::{Verdict, judge};
use super::watch::{Said, VERDICTS_MAX, Watch};
use crate::core::Cx;
use crate::incidents::{Finding, Incidents};
use crate::stats::multiple::e_benjamini_hochberg;
use homeostat_schemas::event::SampleValue;
use homeostat_schemas::{Severity, UnixMs, rule};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A model of a service.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Model {
    pub(super) features: BTreeMap<String, Feature>,
    /// The window that is open, counted from the epoch.
    window: u64,
    /// What is expected of a retraining that was done.
    pub(super) renewal: Option<Renewal>,
    /// It is not called critical before this.
    pub(super) quiet_until_ms: UnixMs,
}

/// How far a feature's baseline is.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Stage {
    Gathering(Gathering),
    Counting(Box<Counting>),
    Watching(Box<Watch>),
}

/// A feature of a model.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Feature {
    pub(super) stage: Stage,
    /// How many baselines it has had.
    pub(super) version: u32,
    /// Why its baseline is (or was) learnt.
    origin: Origin,
    /// What is said of it now.
    pub(super) standing: Verdict,
}

impl Feature {
    pub(super) fn new(now: UnixMs) -> Feature {
        Feature { stage: Stage::Gathering(Gathering::new(now)), version: 0, origin: Origin::Learnt, standing: Verdict::Insufficient }
    }

    pub(super) fn take(&mut self, value: &SampleValue, config: &DriftConfig) {
        match &mut self.stage {
            Stage::Gathering(gathering) => gathering.take(value, config.limits.levels),
            Stage::Counting(counting) => {
                let cell = super::baseline::place(&counting.grid, value);
                counting.counts.count(cell);
            }
            Stage::Watching(watch) => watch.take(value),
        }
    }

    /// Learns its baseline from what comes.
    pub(super) fn learn(&mut self, origin: Origin, now: UnixMs) {
        self.origin = origin;
        self.stage = Stage::Gathering(Gathering::new(now));
    }

    /// Is compared with this baseline from now on.
    pub(super) fn watch(&mut self, baseline: Baseline) {
        self.version = self.version.saturating_add(1);
        self.stage = Stage::Watching(Box::new(Watch::new(baseline)));
    }

    pub(super) fn watching(&self) -> Option<&Watch> {
        if let Stage::Watching(watch) = &self.stage { Some(watch) } else { None }
    }

    fn watching_mut(&mut self) -> Option<&mut Watch> {
        if let Stage::Watching(watch) = &mut self.stage { Some(watch) } else { None }
    }

    /// A window ended while the baseline was being learnt.
    fn grow(&mut self, window: u64, now: UnixMs, config: &DriftConfig) {
        let wanted = if self.origin == Origin::Renewed { config.renew_windows } else { config.baseline_windows };
        match &mut self.stage {
            Stage::Gathering(gathering) => {
                if let Some(counting) = gathering.ready(now, config) {
                    self.stage = Stage::Counting(Box::new(counting));
                }
            }
            Stage::Counting(counting) => match counting.close(window, now, wanted, self.origin, config) {
                Counted::Goes => {}
                Counted::Again(gathering) => self.stage = Stage::Gathering(gathering),
                Counted::Done(baseline) => self.watch(*baseline),
            },
            Stage::Watching(_) => {}
        }
    }

    pub(super) fn broken_promise(&self) -> Option<&'static str> {
        let (cells, few) = match &self.stage {
            Stage::Gathering(gathering) => (true, gathering.numbers.len() <= GATHERED_MAX && gathering.levels.len() <= 4_000),
            Stage::Counting(counting) => (
                counting.counts.len() == counting.grid.len()
                    && counting.windows.iter().all(|(_, counts)| counts.len() == counting.grid.len()),
                counting.windows.len() <= MAX_WINDOWS as usize,
            ),
            Stage::Watching(watch) => {
                let grid = &watch.baseline.grid;
                let cells =
                    watch.open.len() == grid.len() && watch.baseline.counts.len() == grid.len() && watch.baseline.bins.len() == grid.bins();
                (cells, watch.verdicts.len() <= VERDICTS_MAX)
            }
        };
        match (cells, few) {
            (false, _) => Some("D-2"),
            (_, false) => Some("D-3"),
            (true, true) => None,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        match &self.stage {
            Stage::Gathering(gathering) => gathering.bytes(),
            Stage::Counting(counting) => counting.bytes(),
            Stage::Watching(watch) => watch.bytes(),
        }
    }
}

impl Model {
    pub(super) fn new(window: u64) -> Model {
        Model { window, ..Model::default() }
    }

    /// Looks at all features together.
    pub(super) fn look(&mut self, service: &str, name: &str, ending: bool, incidents: &mut Incidents, cx: &mut Cx<'_, DriftConfig>) {
        let ended = self.window;
        if ending || cx.now / cx.config.window() > ended {
            self.window = cx.now / cx.config.window();
            self.close(service, name, ended, ending, incidents, cx);
        } else {
            self.watch(service, name, incidents, cx);
        }
        self.critical(service, name, ending, incidents, cx);
    }

    /// A window ended: every feature that has enough values is judged, all in one look.
    fn close(&mut self, service: &str, name: &str, ended: u64, ending: bool, incidents: &mut Incidents, cx: &mut Cx<'_, DriftConfig>) {
        let config = cx.config;
        let mut judged: Vec<(&String, &mut Feature, Evidence, f64)> = Vec::new();
        for (feature, known) in &mut self.features {
            known.grow(ended, cx.now, config);
            let standing = known.standing;
            let Some(watch) = known.watching_mut() else { continue };
            if watch.pending() == 0 {
                continue;
            }
            let (evidence, day_p) = watch.evidence(ended, config);
            if watch.due(&evidence, config) || (ending && !standing.is_drift()) {
                judged.push((feature, known, evidence, day_p));
            } else {
                watch.wait();
                if !standing.is_drift() {
                    known.standing = Verdict::Insufficient;
                }
            }
        }
        let evidence: Vec<Evidence> = judged.iter().map(|(_, _, evidence, _)| evidence.clone()).collect();
        let day_p: Vec<f64> = judged.iter().map(|(_, _, _, p)| *p).collect();
        let verdicts = judge(config, &evidence, Some(&day_p), config.look_q());
        for ((feature, known, evidence, day_p), verdict) in judged.into_iter().zip(verdicts) {
            let Some(watch) = known.watching_mut() else { continue };
            let said = Said::new(&evidence, evidence.p_among(day_p), verdict, cx.now);
            watch.close(said, config);
            let verdict = if watch.repeated(config) { Verdict::Critical } else { of_prediction(verdict, feature, config) };
            let calm = !known.standing.is_drift() || known.watching().is_none_or(|watch| watch.calm(config));
            let version = known.version;
            let finding = finding(service, name, feature, &evidence_of(&said, version), verdict, config);
            match verdict {
                _ if verdict.is_drift() => {
                    known.standing = verdict;
                    incidents.fire(finding, cx);
                }
                Verdict::None if known.standing.is_drift() && (ending || !calm) => {}
                Verdict::None => {
                    if known.standing.is_drift()
                        && let Some(watch) = known.watching_mut()
                    {
                        watch.forget();
                    }
                    known.standing = Verdict::None;
                    incidents.resolve(
                        Finding { summary: format!("{feature} looks like its baseline again (PSI {:.3})", said.psi), ..finding },
                        cx,
                    );
                }
                _ if known.standing.is_drift() => {}
                _ => known.standing = Verdict::Insufficient,
            }
        }
    }

    /// Between windows: has enough evidence piled up?
    fn watch(&mut self, service: &str, name: &str, incidents: &mut Incidents, cx: &mut Cx<'_, DriftConfig>) {
        let config = cx.config;
        if config.rule != RuleSet::Guarded {
            return;
        }
        let mut watched: Vec<(&String, &mut Feature, f64)> = Vec::new();
        for (feature, known) in &mut self.features {
            if let Some(watch) = known.watching_mut() {
                let e = watch.look(config).exp();
                watched.push((feature, known, e));
            }
        }
        let e: Vec<f64> = watched.iter().map(|(_, _, e)| *e).collect();
        for ((feature, known, e), found) in watched.into_iter().zip(e_benjamini_hochberg(&e, config.alpha / 2.0)) {
            if !found {
                continue;
            }
            let version = known.version;
            let Some(watch) = known.watching_mut() else { continue };
            let (adjusted, verdict) = watch.piled_size(config);
            let verdict = of_prediction(verdict, feature, config);
            if verdict.is_drift() && verdict > known.standing {
                let numbers: [(&str, serde_json::Value); 3] =
                    [("psi_adjusted", adjusted.into()), ("e_value", e.into()), ("baseline_version", version.into())];
                let finding = finding(service, name, feature, &numbers, verdict, config);
                known.standing = verdict;
                incidents.fire(finding, cx);
            }
        }
    }

    /// Is the model as a whole no longer what it was made for?
    fn critical(&mut self, service: &str, name: &str, ending: bool, incidents: &mut Incidents, cx: &mut Cx<'_, DriftConfig>) {
        let renewal = self.renewal;
        if let Some(renewal) = renewal {
            // Until there is a baseline to judge by, nothing is known of what the retraining has brought.
            let judged = |feature: &Feature| feature.watching().is_some_and(|watch| watch.said.is_some());
            let patience = u64::from(cx.config.renew_windows).saturating_add(8).saturating_mul(cx.config.window());
            let late = cx.now > renewal.since_ms.saturating_add(patience);
            if ending || !late && !self.features.values().all(judged) {
                return;
            }
            self.renewal = None;
            // What drifts from what the model was just trained on needs no second window.
            let significant = |watch: &Watch| watch.said.is_some_and(|said| said.verdict >= Verdict::Significant);
            for feature in self.features.values_mut() {
                if feature.watching().is_some_and(significant) {
                    feature.standing = Verdict::Critical;
                }
            }
        }
        let critical: Vec<String> =
            self.features.iter().filter(|(_, feature)| feature.standing == Verdict::Critical).map(|(name, _)| name.clone()).collect();
        let worst = self.worst();
        let finding = |summary: String| {
            Finding::new(&rule::DRIFT_CRITICAL, service, summary)
                .label("model", name)
                .evidence("features", critical.iter().take(20).cloned().collect::<Vec<_>>())
                .evidence("psi_adjusted", worst)
        };
        if let Some(renewal) = renewal
            && critical.is_empty()
        {
            let word = format!("PSI fell from {:.2} to {worst:.2} after {name} was retrained", renewal.psi_before);
            incidents.resolve(finding(word).evidence("psi_before", renewal.psi_before).evidence("psi_after", worst), cx);
            return;
        }
        if critical.is_empty() {
            if !ending {
                incidents.resolve(finding(format!("no feature of {name} is critical any more")), cx);
            }
        } else if cx.now >= self.quiet_until_ms {
            let names = &critical[..critical.len().min(3)];
            let more = if critical.len() > 3 { format!(" and {} more", critical.len() - 3) } else { String::new() };
            incidents.fire(finding(format!("{name} no longer sees what it was made for: {}{more}", names.join(", "))), cx);
        }
    }

    /// The largest adjusted PSI that was last seen.
    pub(super) fn worst(&self) -> f64 {
        self.features.values().filter_map(|feature| Some(feature.watching()?.said?.adjusted)).fold(0.0, f64::max)
    }
}

/// What a model says matters more than what it sees.
fn of_prediction(verdict: Verdict, feature: &str, config: &DriftConfig) -> Verdict {
    let said = verdict >= Verdict::Significant && config.predictions.iter().any(|name| name == feature);
    if said { Verdict::Critical } else { verdict }
}

fn evidence_of(said: &Said, version: u32) -> [(&'static str, serde_json::Value); 10] {
    [
        ("psi", said.psi.into()),
        ("psi_adjusted", said.adjusted.into()),
        ("psi_p", said.psi_p.into()),
        ("ks_d", said.d.into()),
        ("ks_p", said.ks_p.into()),
        ("p", said.p.into()),
        ("n_current", said.n_current.into()),
        ("odd_baseline", said.odd_baseline.into()),
        ("odd_current", said.odd_current.into()),
        ("baseline_version", version.into()),
    ]
}

fn finding(
    service: &str,
    model: &str,
    feature: &str,
    numbers: &[(&str, serde_json::Value)],
    verdict: Verdict,
    config: &DriftConfig,
) -> Finding {
    let of = |name: &str| numbers.iter().find(|(known, _)| *known == name).and_then(|(_, value)| value.as_f64());
    let size = of("psi").or(of("psi_adjusted")).unwrap_or_default();
    let odd = of("odd_current").unwrap_or_default() - of("odd_baseline").unwrap_or_default();
    let what = if odd.abs() >= config.odd_jump {
        format!(
            "{:.0} % of {feature} is missing or unknown, {:.0} % before",
            100.0 * of("odd_current").unwrap_or_default(),
            100.0 * of("odd_baseline").unwrap_or_default()
        )
    } else {
        format!("{feature} drifts: {} (PSI {size:.3})", verdict.name())
    };
    let mut finding = Finding::new(&rule::DRIFT_SHIFTED, service, what).label("model", model).label("feature", feature);
    finding.severity = Some(match verdict {
        Verdict::Critical => Severity::Critical,
        Verdict::Significant | Verdict::Moderate => Severity::Warning,
        Verdict::Noticeable | Verdict::None | Verdict::Insufficient => Severity::Info,
    });
    for (name, value) in numbers {
        finding = finding.evidence(name, value.clone());
    }
    finding.evidence("verdict", verdict.name())
}
