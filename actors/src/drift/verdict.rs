//! From evidence to a word: the compatible rule, and the guarded one.

use super::config::{DriftConfig, RuleSet};
use super::evidence::{Evidence, Kind};
use crate::stats::multiple::benjamini_hochberg;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How far a feature has drifted. "Too little data to say" is an answer of its own, and never "none".
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Too little data to tell drift from chance.
    #[default]
    Insufficient,
    /// No drift that matters.
    None,
    /// Beyond chance, but small: PSI (adjusted) below 0.1.
    Noticeable,
    /// PSI from 0.1 to 0.25.
    Moderate,
    /// PSI above 0.25.
    Significant,
    /// Significant in most windows, or a prediction that drifted, or values that are suddenly missing or unknown.
    Critical,
}

impl Verdict {
    /// The word, as on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Verdict::Insufficient => "insufficient",
            Verdict::None => "none",
            Verdict::Noticeable => "noticeable",
            Verdict::Moderate => "moderate",
            Verdict::Significant => "significant",
            Verdict::Critical => "critical",
        }
    }

    /// Was drift found?
    #[must_use]
    pub fn is_drift(self) -> bool {
        self >= Verdict::Noticeable
    }
}

/// The verdicts on all features of one look, in the order given; `q` is the share of false findings that this look may have
/// (guarded rule only). `day_p` is for a caller that knows how much days differ from each other without drift, see
/// [`Evidence::p_among`].
#[must_use]
pub fn judge(config: &DriftConfig, evidence: &[Evidence], day_p: Option<&[f64]>, q: f64) -> Vec<Verdict> {
    match config.rule {
        RuleSet::Compatible => evidence.iter().map(|e| compatible(config, e)).collect(),
        RuleSet::Guarded => {
            let day_p = |i: usize| day_p.and_then(|p| p.get(i)).copied().unwrap_or_default();
            let p: Vec<f64> = evidence.iter().enumerate().map(|(i, e)| e.p_among(day_p(i))).collect();
            let found = benjamini_hochberg(&p, q);
            evidence.iter().zip(found).map(|(e, found)| guarded(config, e, found, q)).collect()
        }
    }
}

/// The rule that everyone copies: PSI below 0.1 none, to 0.25 moderate, above significant; else a p-value below 0.05 is noticed.
fn compatible(config: &DriftConfig, evidence: &Evidence) -> Verdict {
    let (n, m) = evidence.used;
    let Some(psi) = evidence.psi.filter(|_| n.min(m) >= config.min_samples) else { return Verdict::Insufficient };
    let p = match evidence.kind {
        Kind::Number => evidence.ks.map_or(1.0, |ks| ks.p),
        Kind::Category => evidence.chi2.map_or(1.0, |chi2| chi2.p),
    };
    if psi.value > config.significant {
        Verdict::Significant
    } else if psi.value >= config.moderate {
        Verdict::Moderate
    } else if p < config.compatible_p {
        Verdict::Noticeable
    } else {
        Verdict::None
    }
}

/// Found beyond chance, and large enough to matter.
fn guarded(config: &DriftConfig, evidence: &Evidence, found: bool, q: f64) -> Verdict {
    let (n, m) = evidence.used;
    let enough = n.min(m) >= config.min_samples && evidence.noise() <= config.moderate;
    let odd = found && evidence.odd.p / 0.1 <= q;
    if odd && evidence.odd.grew >= config.odd_jump {
        return Verdict::Critical;
    }
    // Nothing is lost where values are missing no more; but the model was made for what is no longer so.
    if odd && evidence.odd.fell >= config.odd_jump {
        return Verdict::Significant;
    }
    match found {
        true if evidence.psi.is_some() => size(config, evidence.effect()),
        _ if enough => Verdict::None,
        _ => Verdict::Insufficient,
    }
}

/// How large a drift is that was found.
#[must_use]
pub(super) fn size(config: &DriftConfig, adjusted: f64) -> Verdict {
    if adjusted >= config.significant {
        Verdict::Significant
    } else if adjusted >= config.moderate {
        Verdict::Moderate
    } else if adjusted >= config.floor {
        Verdict::Noticeable
    } else {
        Verdict::None
    }
}
