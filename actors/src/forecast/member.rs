//! The members of the portfolio behind one door: fitted to a history, asked for a path from any later place of the same series.

use super::fourier::Fourier;
use super::mstl::Mstl;
use super::naive;
use super::sar::{Sar, Width};
use super::scale::Scale;
use super::theta::Theta;

/// Penalty of the autoregressions. Small: on standardised values it only keeps equal columns apart, and more of it draws a
/// forecast towards the mean.
const RIDGE: f64 = 1e-2;

/// A way to forecast.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Member {
    /// Seasonal autoregression in logarithms.
    SarLog,
    /// Seasonal autoregression.
    SarRaw,
    /// Seasonal autoregression with many lags.
    SarWide,
    /// Seasonal-trend decomposition by LOESS, and damped exponential smoothing of what it leaves.
    Mstl,
    /// Theta.
    Theta,
    /// Fourier terms and a piecewise trend.
    Fourier,
    /// As a season ago.
    SeasonalNaive,
}

impl Member {
    /// All of them, in the order of reports.
    pub const ALL: [Member; 7] =
        [Member::SarLog, Member::SarRaw, Member::SarWide, Member::Mstl, Member::Theta, Member::Fourier, Member::SeasonalNaive];

    /// Its name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Member::SarLog => "sar_log",
            Member::SarRaw => "sar",
            Member::SarWide => "sar_wide",
            Member::Mstl => "mstl_ets",
            Member::Theta => "theta",
            Member::Fourier => "fourier",
            Member::SeasonalNaive => "seasonal_naive",
        }
    }
}

/// A history to fit to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct History<'a> {
    /// Complete values, in the units of the series.
    pub(crate) values: &'a [f64],
    /// Which of them were measured.
    pub(crate) known: &'a [bool],
    /// Periods, ascending.
    pub(crate) periods: &'a [usize],
}

impl History<'_> {
    /// Its first `n` values.
    pub(crate) fn head(&self, n: usize) -> History<'_> {
        History { values: &self.values[..n], known: &self.known[..n], periods: self.periods }
    }
}

enum Model {
    Sar(Sar),
    Mstl(Mstl),
    Theta(Theta),
    Fourier(Fourier),
    Naive(usize),
}

/// A fitted member.
pub(crate) struct Fitted {
    scale: Scale,
    model: Model,
}

impl Fitted {
    /// Fits a member; `log` is the transform of those that do not have one of their own. `None` when it cannot be fitted to so
    /// little, or has nothing to say of it.
    pub(crate) fn new(member: Member, history: History<'_>, log: bool) -> Option<Fitted> {
        let log = match member {
            Member::SarLog => true,
            Member::SarRaw => false,
            Member::SarWide | Member::Mstl | Member::Theta | Member::Fourier | Member::SeasonalNaive => log,
        };
        let scale = Scale::of(history.values, log);
        if member == Member::SarLog && !scale.is_log() {
            return None;
        }
        let values = scale.all_inside(history.values);
        let History { known, periods, .. } = history;
        let model = match member {
            Member::SarLog | Member::SarRaw => Model::Sar(Sar::fit(&values, known, periods, Width::Narrow, RIDGE)?),
            Member::SarWide => Model::Sar(Sar::fit(&values, known, periods, Width::Wide, RIDGE)?),
            Member::Theta => Model::Theta(Theta::fit(&values, naive::dominant(&values, periods))?),
            Member::Fourier => Model::Fourier(Fourier::fit(&values, known, periods)?),
            Member::SeasonalNaive => Model::Naive(naive::dominant(&values, periods)),
            Member::Mstl => Model::Mstl(Mstl::fit(&values, periods)?),
        };
        Some(Fitted { scale, model })
    }

    /// Values in the units of models, for [`Fitted::path`].
    pub(crate) fn inside(&self, values: &[f64]) -> Vec<f64> {
        self.scale.all_inside(values)
    }

    /// The next `horizon` values after `history`, which begins where the fitted one began and is in the units of models; the
    /// answer is in those of the series.
    pub(crate) fn path(&self, history: &[f64], horizon: usize) -> Option<Vec<f64>> {
        let mut path = match &self.model {
            Model::Sar(sar) => sar.forecast(history, horizon)?,
            Model::Mstl(mstl) => mstl.forecast(history, horizon),
            Model::Theta(theta) => theta.forecast(history, horizon),
            Model::Fourier(fourier) => fourier.forecast(history, horizon),
            Model::Naive(period) => naive::forecast(history, *period, horizon)?,
        };
        path.iter_mut().for_each(|v| *v = self.scale.outside(*v));
        path.iter().all(|v| v.is_finite()).then_some(path)
    }
}

/// One member by itself, without backtest and interval: what the studies hold the portfolio against. `None` when it cannot be fitted
/// to so little, or has nothing to say of it.
#[must_use]
pub fn alone(member: Member, values: &[f64], periods: &[usize], horizon: usize) -> Option<Vec<f64>> {
    let known: Vec<bool> = values.iter().map(|v| v.is_finite()).collect();
    let full = super::fill::fill(values, periods)?;
    let fitted = Fitted::new(member, History { values: &full, known: &known, periods }, false)?;
    fitted.path(&fitted.inside(&full), horizon)
}
