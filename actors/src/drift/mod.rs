//! Drift: does what a model (or a business rule) sees and says still look like what it was made for?
//!
//! | part | file | what |
//! |---|---|---|
//! | cells | `grid`, `counts` | frozen edges; every value is one step of a counter |
//! | baselines | `baseline` | learnt, given by an order, renewed after a retraining |
//! | evidence | `evidence` | Kolmogorov–Smirnov, PSI, chi-square, odd values |
//! | verdicts | `verdict` | the guarded and the compatible rule |
//! | watching | `watch`, `model` | windows, looks, evidence that piles up between looks |
//! | retraining | `retrain` | what becomes of a model after `model.retrain` was done |
//!
//! A feature of a model of a service is told by these three names. Its baseline is *gathered*, *counted* and frozen; then windows
//! (days) are compared with it, and between them an e-process watches. `drift.shifted` is about a feature, `drift.critical` about a
//! model. Formulas are in [`crate::stats`].
//!
//! What is promised of false alarms (guarded rule, independent samples): the chance that a model raises any within `horizon_ms`
//! although nothing has changed is at most `alpha`. Half of it is spent on the looks at windows, each with Benjamini–Hochberg over
//! the features that are due; half on the e-processes, each valid at every look (Ville), with e-BH over the features. Where windows
//! of the baseline differ more than independent samples ever would, a window has to be far from the baseline by the measure of
//! those windows too, and nothing is piled up.
//!
//! Promises
//! - D-1 No more features, models or awaited commands are kept than the settings allow.
//! - D-2 Every row of counts has as many cells as the grid it belongs to.
//! - D-3 A feature keeps at most 1,024 gathered values and 31 windows.

mod baseline;
mod config;
mod counts;
mod evidence;
mod grid;
mod model;
mod retrain;
mod verdict;
mod view;
mod watch;

pub use baseline::{Given, Origin, Spread};
pub use config::{DriftConfig, Limits, RuleSet};
pub use evidence::{ChiSquare, Effort, Evidence, Kind, Ks, Odd, OddShare, Psi, Sample, compare};
pub use verdict::{Verdict, judge};
pub use view::{BaselineView, BinView, DriftView, FeatureView, LookView, ModelView, Stage};

use crate::core::{Core, Cx, Input, Interest, clip};
use crate::incidents::{Finding, Incidents};
use homeostat_schemas::event::{Order, Sample as SampleEvent};
use homeostat_schemas::{Event, EventKind, UnixMs, rule};
use model::{Feature, Model};
use retrain::Commands;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The order that gives a model's feature a baseline; its arguments are a [`Given`].
pub const GIVE_BASELINE: &str = "drift.baseline";
/// The order that has a model (or the feature in its arguments) learn its baseline again.
pub const RELEARN: &str = "drift.relearn";
/// The command after which a baseline is renewed.
pub const RETRAIN: &str = "model.retrain";

/// The mind.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct DriftCore {
    /// By service, then by model.
    services: BTreeMap<String, BTreeMap<String, Model>>,
    incidents: Incidents,
    commands: Commands,
    /// Features of all models.
    features: usize,
    /// When the e-processes are looked at next.
    due_ms: UnixMs,
    limits: Limits,
    /// Values of features that found no room.
    no_room: u64,
    refused_orders: u64,
    refusal: String,
}

impl Core for DriftCore {
    const NAME: &'static str = "drift";
    const STATE_VERSION: u16 = 2;
    const INTEREST: Interest =
        Interest { events: &[EventKind::Sample, EventKind::Order], commands: true, outcomes: true, ..Interest::NONE };
    type Config = DriftConfig;
    type View = DriftView;

    fn step(&mut self, input: Input<'_>, cx: &mut Cx<'_, DriftConfig>) {
        if self.limits != cx.config.limits {
            self.limits = cx.config.limits;
            self.trim(cx);
        }
        match input {
            Input::Event(Event::Sample(event)) => self.sample(event, cx),
            Input::Event(Event::Order(event)) => self.order(event, cx),
            Input::Command(command) => self.commands.note(command, &self.services, cx.config.limits.commands),
            Input::Outcome(outcome) => self.outcome(outcome, cx),
            Input::Tick => self.tick(cx),
            Input::End => self.look(true, cx),
            Input::Event(
                Event::Query(_)
                | Event::Request(_)
                | Event::Call(_)
                | Event::Calls(_)
                | Event::Breaker(_)
                | Event::Span(_)
                | Event::Heartbeat(_)
                | Event::Resource(_)
                | Event::Pool(_)
                | Event::Cache(_)
                | Event::Metric(_),
            )
            | Input::Alert(_)
            | Input::Key(_)
            | Input::Answer(_) => {}
        }
    }

    fn broken_promise(&self, _config: &DriftConfig) -> Option<&'static str> {
        let models = || self.services.values().flat_map(BTreeMap::values);
        let counted: usize = models().map(|model| model.features.len()).sum();
        // Those that were in force at the last step: others are kept from the next one on.
        let limits = &self.limits;
        if counted != self.features
            || self.features > limits.features
            || models().any(|model| model.features.len() > limits.features_per_model)
            || self.services.values().any(BTreeMap::is_empty)
            || models().any(|model| model.features.is_empty())
            || self.commands.len() > limits.commands
        {
            return Some("D-1");
        }
        models().flat_map(|model| model.features.values()).find_map(Feature::broken_promise)
    }

    fn view(&self, now: UnixMs, config: &DriftConfig) -> DriftView {
        self.full_view(now, config)
    }

    fn incidents(&self) -> &Incidents {
        &self.incidents
    }
}

impl DriftCore {
    fn sample(&mut self, event: &SampleEvent, cx: &Cx<'_, DriftConfig>) {
        let (model, feature) = (clip(&event.model), clip(&event.feature));
        let Some(known) = self.feature(&event.service, model, feature, cx) else {
            self.no_room = self.no_room.saturating_add(event.all().len() as u64);
            return;
        };
        for value in event.all() {
            known.take(value, cx.config);
        }
    }

    /// The feature of these names, known from now on; `None` when there is no room for it.
    fn feature(&mut self, service: &str, model: &str, feature: &str, cx: &Cx<'_, DriftConfig>) -> Option<&mut Feature> {
        // Looked up twice: what is known (nearly all) costs no copy of a name.
        let known =
            self.services.get(service).and_then(|models| models.get(model)).is_some_and(|model| model.features.contains_key(feature));
        if !known {
            let siblings = self.services.get(service).and_then(|models| models.get(model)).map_or(0, |model| model.features.len());
            if self.features >= cx.config.limits.features || siblings >= cx.config.limits.features_per_model {
                return None;
            }
            self.features += 1;
            let models = self.services.entry(service.to_owned()).or_default();
            let model = models.entry(model.to_owned()).or_insert_with(|| Model::new(cx.now / cx.config.window()));
            model.features.insert(feature.to_owned(), Feature::new(cx.now));
        }
        self.services.get_mut(service)?.get_mut(model)?.features.get_mut(feature)
    }

    fn tick(&mut self, cx: &mut Cx<'_, DriftConfig>) {
        if cx.now < self.due_ms {
            return;
        }
        let every = cx.config.watch_ms.max(60_000).min(cx.config.window());
        self.due_ms = (cx.now / every).saturating_add(1).saturating_mul(every);
        self.look(false, cx);
        self.incidents.sweep(cx);
    }

    /// Looks at every model: at windows that ended, else at what has piled up. At the end of a file the open window is judged as it
    /// stands, and nothing resolves.
    fn look(&mut self, ending: bool, cx: &mut Cx<'_, DriftConfig>) {
        for (service, models) in &mut self.services {
            for (name, model) in models {
                model.look(service, name, ending, &mut self.incidents, cx);
            }
        }
    }

    fn order(&mut self, order: &Order, cx: &mut Cx<'_, DriftConfig>) {
        let result = match order.action.as_str() {
            GIVE_BASELINE => self.give(order, cx),
            RELEARN => self.relearn(order, cx),
            _ => return,
        };
        if let Err(why) = result {
            self.refused_orders = self.refused_orders.saturating_add(1);
            self.refusal = format!("{} for {}: {why}", order.action, clip(&order.target));
        }
    }

    fn give(&mut self, order: &Order, cx: &mut Cx<'_, DriftConfig>) -> Result<(), String> {
        let given: Given = serde_json::from_value(order.args.clone()).map_err(|why| why.to_string())?;
        let feature = clip(&given.feature).to_owned();
        let baseline = given.baseline(cx.now, cx.config)?;
        let known = self.feature(&order.service, clip(&order.target), &feature, cx).ok_or("there is no room for another feature")?;
        known.watch(baseline);
        Ok(())
    }

    fn relearn(&mut self, order: &Order, cx: &mut Cx<'_, DriftConfig>) -> Result<(), String> {
        let model = self.services.get_mut(&order.service).and_then(|models| models.get_mut(clip(&order.target)));
        let model = model.ok_or("no such model")?;
        match order.args.get("feature").and_then(serde_json::Value::as_str) {
            Some(feature) => model.features.get_mut(clip(feature)).ok_or("no such feature")?.learn(Origin::Learnt, cx.now),
            None => model.features.values_mut().for_each(|feature| feature.learn(Origin::Learnt, cx.now)),
        }
        Ok(())
    }

    /// The settings allow less than before: the last names go first.
    fn trim(&mut self, cx: &mut Cx<'_, DriftConfig>) {
        let mut gone = Vec::new();
        for (service, models) in &mut self.services {
            for (name, model) in models.iter_mut() {
                while model.features.len() > cx.config.limits.features_per_model
                    && let Some((feature, _)) = model.features.pop_last()
                {
                    self.features -= 1;
                    gone.push((service.clone(), name.clone(), feature));
                }
            }
        }
        while self.features > cx.config.limits.features
            && let Some((service, models)) = self.services.iter_mut().next_back()
            && let Some((name, model)) = models.iter_mut().next_back()
        {
            match model.features.pop_last() {
                Some((feature, _)) => {
                    self.features -= 1;
                    gone.push((service.clone(), name.clone(), feature));
                }
                None => drop(models.pop_last()),
            }
            self.services.retain(|_, models| !models.is_empty());
        }
        self.services.values_mut().for_each(|models| models.retain(|_, model| !model.features.is_empty()));
        self.services.retain(|_, models| !models.is_empty());
        self.commands.trim(cx.config.limits.commands);
        for (service, model, feature) in gone {
            let finding = Finding::new(&rule::DRIFT_SHIFTED, &service, "there is no longer room for it");
            self.incidents.resolve(finding.label("model", &model).label("feature", feature), cx);
            if !self.services.get(&service).is_some_and(|models| models.contains_key(&model)) {
                let finding = Finding::new(&rule::DRIFT_CRITICAL, &service, "there is no longer room for it");
                self.incidents.resolve(finding.label("model", &model), cx);
            }
        }
    }
}

#[cfg(test)]
mod tests;
