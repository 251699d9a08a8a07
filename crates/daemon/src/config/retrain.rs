//! `retrain`: when models are trained anew, and what counts as trouble before.

use std::time::Duration;

/// `retrain = { schedule, growth, gap, patience, deploy_settles, coverage_min, mae_max, rmse_max, pinball_max }`. What is not
/// given is what suits the step: where steps are long, times are, too. Trouble (drift, or a score beyond its bound) is first
/// answered by what is cheap: learning faster, weighing the models alike, wider intervals; then by a training.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RetrainSettings {
    /// `schedule`: `"hourly"`, `"daily"`, `"never"`, or a time such as `"6h"` between trainings whatever happens. Default
    /// `"daily"`, at least 288 steps. Shorter follows slow changes sooner and costs more processor time in the background.
    pub schedule: Option<RetrainSchedule>,
    /// `growth`: also train when the history has grown by this share of itself. Default `0.05`; `0` never. Smaller
    /// learns a young series sooner.
    pub growth: Option<f64>,
    /// `gap`: least time between two trainings, but for growth. Default `1h`, at least 144 steps. Shorter costs processor
    /// time; longer leaves a bad model in place.
    pub gap: Option<Duration>,
    /// `patience`: how long an answer to trouble is given to help before a dearer one. Default `30m`, at least 12 steps.
    pub patience: Option<Duration>,
    /// `deploy_settles`: how long after a deploy, or a shift of the series, there is enough of the new behaviour to train on.
    /// Default `2h`, at least 24 steps. A deploy is an event of the kind `deploy` in the calendar, or a `command` or `env`
    /// that is not what it was when the daemon ran last.
    pub deploy_settles: Option<Duration>,
    /// `coverage_min`: share of demand inside its 90 % interval below which there is trouble. Default `0.85`; `0` is none.
    pub coverage_min: Option<f64>,
    /// `mae_max`: mean absolute error, in `unit`, above which there is trouble. Default none.
    pub mae_max: Option<f64>,
    /// `rmse_max`: the same for the root mean squared error. Default none.
    pub rmse_max: Option<f64>,
    /// `pinball_max`: the same for the mean pinball loss of the quantiles from 0.05 to 0.95. Default none.
    pub pinball_max: Option<f64>,
}

/// `retrain.schedule`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetrainSchedule {
    /// `"never"`: not by the clock.
    Never,
    /// `"hourly"`, `"daily"` or a time.
    Every(Duration),
}
