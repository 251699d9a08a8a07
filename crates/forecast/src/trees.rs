//! Gradient-boosted regression trees for quantiles (Friedman 2001), on histograms (as LightGBM, Ke et al. 2017).
//!
//! One [`Forest`] answers several quantiles. Every tree has one structure, chosen on the pinball gradients of all the
//! quantiles together, and in each leaf one value for each quantile: that quantile of what the trees before left over. It
//! costs one tree a round, in training and in prediction, where a forest for each quantile would cost one for each of them.
//!
//! Why not a crate: the C++ ones bring a compiler and threads of their own, the Rust ones are months old; neither can be
//! paused between two splits. Sums in the histograms are whole numbers, so that the same rows give the same trees, byte
//! for byte, in whatever order they are added.
//!
//! Promises: no panic and no NaN for any input; answers never fall where the quantile rises; missing features (NaN) go
//! the way that was better in training. Does not calibrate: whoever uses the quantiles as intervals corrects them on rows
//! that were not fitted.

mod binned;
mod forest;
mod grow;
mod matrix;
mod quantile;
#[cfg(test)]
mod tests;

pub use forest::Forest;
pub use matrix::Matrix;

use serde::{Deserialize, Serialize};

/// How a [`Forest`] is grown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Params {
    /// Most rounds of boosting, one tree each. More fit finer and cost time in training and prediction. Default 150.
    pub rounds: usize,
    /// Most leaves of a tree, which sets how many features can act together. Default 15.
    pub leaves: usize,
    /// Least weight of the rows of a leaf, in rows of mean weight. Raise it against noise, above all for quantiles near
    /// 0 or 1. Default 40.
    pub min_leaf: usize,
    /// Rows of no opinion in every leaf: shrinks splits and values of small leaves. Default 1.
    pub lambda: f32,
    /// Share of a tree's values that is added. Halve it and double `rounds` for a little accuracy. Default 0.05.
    pub learning_rate: f32,
    /// Share of rows, drawn for each tree, that choose its structure; the others give its leaves their values ("honest"
    /// trees, Athey and Imbens 2016), which keeps the outer quantiles from being too narrow. 1 takes all rows for both.
    /// Default 0.5.
    pub rows: f32,
    /// Rows are drawn in runs of this many. Where neighbours tell nearly the same, as in a series, a run should be longer
    /// than their likeness lasts. Default 1.
    pub run: usize,
    /// Share of columns, drawn for each tree, that it may split on. Default 0.8.
    pub columns: f32,
    /// Most bins of a column, 2 to 255. More split finer and cost time. Default 64.
    pub bins: usize,
    /// Share of rows, the last ones, on which growth is judged; 0 judges nothing and grows all rounds. Default 0.
    pub held_out: f32,
    /// Rounds without gain on the held-out rows after which growth ends, back at the best round. Default 20.
    pub patience: usize,
    /// Seed of all drawing.
    pub seed: u64,
}

impl Default for Params {
    fn default() -> Params {
        Params {
            rounds: 150,
            leaves: 15,
            min_leaf: 40,
            lambda: 1.0,
            learning_rate: 0.05,
            rows: 0.5,
            run: 1,
            columns: 0.8,
            bins: 64,
            held_out: 0.0,
            patience: 20,
            seed: 1,
        }
    }
}
