//! What can be seen of drift: every model with its features, their baselines, and what was last said of them.

use super::DriftCore;
use super::baseline::{Origin, Spread};
use super::config::{DriftConfig, RuleSet};
use super::evidence::{Kind, Odd};
use super::model::{self, Feature, Model};
use super::verdict::Verdict;
use super::watch::{Said, Watch};
use homeostat_schemas::UnixMs;
use schemars::JsonSchema;
use serde::Serialize;

/// `/api/v1/drift`
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct DriftView {
    /// Log time.
    pub at_ms: UnixMs,
    /// The rule in force.
    pub rule: RuleSet,
    /// Every model, by service and name.
    pub models: Vec<ModelView>,
    /// Features of all models.
    pub features: usize,
    /// Values of features that found no room.
    pub no_room: u64,
    /// Orders that could not be followed, and the last reason.
    pub refused_orders: u64,
    /// The last reason.
    pub refusal: Option<String>,
    /// Memory of all features, bytes.
    pub bytes: usize,
}

/// One model.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ModelView {
    /// The service it belongs to.
    pub service: String,
    /// Its name.
    pub model: String,
    /// The worst of its features.
    pub verdict: Verdict,
    /// Since when the effect of a retraining is awaited.
    pub renewing_since_ms: Option<UnixMs>,
    /// Its features.
    pub features: Vec<FeatureView>,
}

/// How far a baseline is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The range of its values is not known yet.
    Gathering,
    /// Values are counted into a baseline.
    Counting,
    /// The baseline is frozen, and what comes is compared with it.
    Watching,
}

/// One feature.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct FeatureView {
    /// Its name.
    pub feature: String,
    /// How far its baseline is.
    pub stage: Stage,
    /// What is said of it now.
    pub verdict: Verdict,
    /// Values seen since the last look.
    pub pending: u64,
    /// What it is compared with.
    pub baseline: Option<BaselineView>,
    /// The last look at a window.
    pub last: Option<LookView>,
    /// Evidence piled up within the horizon: without drift it reaches x with a chance of 1/x at most.
    pub e_value: Option<f64>,
    /// Verdicts of the last windows, newest last.
    pub windows: Vec<Verdict>,
}

/// A frozen baseline.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct BaselineView {
    /// 1 for the first one of the feature.
    pub version: u32,
    /// Where it came from.
    pub origin: Origin,
    /// What its values are.
    pub kind: Kind,
    /// Since when its values were counted.
    pub from_ms: UnixMs,
    /// Since when it is in force.
    pub frozen_ms: UnixMs,
    /// The bins of PSI.
    pub bins: Vec<BinView>,
    /// Values in no bin.
    pub odd: Odd,
    /// Cells for Kolmogorov–Smirnov.
    pub cells: usize,
    /// How much its windows differ, when there are enough of them.
    pub spread: Option<Spread>,
    /// Parts of the week that are told apart.
    pub seasons: usize,
}

/// One bin of PSI.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct BinView {
    /// Its upper edge, or its level.
    pub label: String,
    /// Values of the baseline.
    pub baseline: u64,
    /// Values since the last look.
    pub pending: u64,
}

/// One look at a window.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
pub struct LookView {
    /// When, log time.
    pub at_ms: UnixMs,
    /// What it said.
    pub verdict: Verdict,
    /// Values in the window.
    pub n_current: u64,
    /// Half-count PSI.
    pub psi: f64,
    /// PSI less what it is on average without drift.
    pub psi_adjusted: f64,
    /// Its p-value.
    pub psi_p: f64,
    /// The Kolmogorov–Smirnov statistic over the cells.
    pub ks_d: f64,
    /// Its p-value.
    pub ks_p: f64,
    /// The chi-square statistic over the bins.
    pub chi2: f64,
    /// The p-value of all together.
    pub p: f64,
    /// The share of odd values in the baseline.
    pub odd_baseline: f64,
    /// The share of odd values in the window.
    pub odd_current: f64,
}

impl DriftCore {
    pub(super) fn full_view(&self, now: UnixMs, config: &DriftConfig) -> DriftView {
        let models = self.services.iter().flat_map(|(service, models)| models.iter().map(move |(name, model)| of(service, name, model)));
        let features = || self.services.values().flat_map(|models| models.values()).flat_map(|model| model.features.values());
        DriftView {
            at_ms: now,
            rule: config.rule,
            models: models.collect(),
            features: self.features,
            no_room: self.no_room,
            refused_orders: self.refused_orders,
            refusal: (!self.refusal.is_empty()).then(|| self.refusal.clone()),
            bytes: features().map(Feature::bytes).sum(),
        }
    }
}

fn of(service: &str, name: &str, model: &Model) -> ModelView {
    ModelView {
        service: service.to_owned(),
        model: name.to_owned(),
        verdict: model.features.values().map(|feature| feature.standing).max().unwrap_or_default(),
        renewing_since_ms: model.renewal.map(|renewal| renewal.since_ms),
        features: model.features.iter().map(|(name, feature)| feature_view(name, feature)).collect(),
    }
}

fn feature_view(name: &str, feature: &Feature) -> FeatureView {
    let view = |stage, pending| FeatureView {
        feature: name.to_owned(),
        stage,
        verdict: feature.standing,
        pending,
        baseline: None,
        last: None,
        e_value: None,
        windows: Vec::new(),
    };
    match &feature.stage {
        model::Stage::Gathering(gathering) => view(Stage::Gathering, gathering.seen),
        model::Stage::Counting(counting) => view(Stage::Counting, counting.counts.iter().sum()),
        model::Stage::Watching(watch) => FeatureView {
            baseline: Some(baseline_view(watch, feature.version)),
            last: watch.said.map(look_view),
            e_value: Some(watch.ln_e.exp()),
            windows: watch.verdicts.iter().copied().collect(),
            ..view(Stage::Watching, watch.pending())
        },
    }
}

fn baseline_view(watch: &Watch, version: u32) -> BaselineView {
    let baseline = &watch.baseline;
    let bins = baseline.grid.labels().into_iter().zip(baseline.bins.iter().zip(baseline.grid.binned(&watch.open)));
    BaselineView {
        version,
        origin: baseline.origin,
        kind: baseline.grid.kind(),
        from_ms: baseline.from_ms,
        frozen_ms: baseline.frozen_ms,
        bins: bins.map(|(label, (baseline, pending))| BinView { label, baseline: *baseline, pending }).collect(),
        odd: baseline.grid.odd(&baseline.counts),
        cells: baseline.grid.cells(),
        spread: baseline.spread,
        seasons: baseline.seasons.len(),
    }
}

fn look_view(said: Said) -> LookView {
    LookView {
        at_ms: said.at_ms,
        verdict: said.verdict,
        n_current: said.n_current,
        psi: said.psi,
        psi_adjusted: said.adjusted,
        psi_p: said.psi_p,
        ks_d: said.d,
        ks_p: said.ks_p,
        chi2: said.chi2,
        p: said.p,
        odd_baseline: said.odd_baseline,
        odd_current: said.odd_current,
    }
}
