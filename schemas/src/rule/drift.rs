//! Rules of the drift actor: models whose world has changed.

use super::{Nature, Rule};
use crate::alert::Severity;

/// A feature of a model no longer looks like its baseline.
pub const DRIFT_SHIFTED: Rule = Rule {
    name: "drift.shifted",
    severity: Severity::Warning,
    nature: Nature::State,
    meaning: "A feature of a model, or what the model says, no longer looks like its baseline.",
    labels: &["model", "feature"],
    evidence: &[
        ("verdict", "noticeable, moderate, significant or critical"),
        ("psi", "population stability index of the window over the deciles of the baseline"),
        ("psi_adjusted", "the same less what it is on average without drift"),
        ("psi_p", "its p-value"),
        ("ks_d", "Kolmogorov–Smirnov statistic of the window"),
        ("ks_p", "its p-value"),
        ("p", "p-value of all together"),
        ("e_value", "evidence piled up between windows, when that raised it: without drift it reaches x with a chance of 1/x at most"),
        ("n_current", "values in the window"),
        ("odd_baseline", "share of missing, infinite or unknown values in the baseline"),
        ("odd_current", "the same in the window"),
        ("baseline_version", "which baseline it was compared with"),
    ],
    look: "`psi_adjusted`: how far it moved; `odd_current` beside `odd_baseline`: values that are missing now; `GET /api/v1/drift?model=…`: the other features; `homeostat drift compare`: two files of samples.",
    advice: "Look at where the feature comes from: a changed source, unit or code. If the world has changed, retrain the model.",
};

/// A model as a whole no longer sees what it was made for.
pub const DRIFT_CRITICAL: Rule = Rule {
    name: "drift.critical",
    severity: Severity::Critical,
    nature: Nature::State,
    meaning: "A feature was significant in most of the last windows, a prediction drifted, or values are suddenly missing or unknown.",
    labels: &["model"],
    evidence: &[
        ("features", "the critical features"),
        ("psi_adjusted", "the largest adjusted index among the features"),
        ("psi_before", "the largest adjusted index before a retraining, when one was done"),
        ("psi_after", "the largest adjusted index after it"),
    ],
    look: "`features`; `GET /api/v1/drift?model=…`: each with its windows; `drift.shifted` of the same model: when it began; `psi_after` beside `psi_before`: whether a retraining helped.",
    advice: "Retrain the model on recent data; when that is done its baselines are renewed and the fall of the index is verified.",
};
