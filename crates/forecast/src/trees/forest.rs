//! Boosting: trees one after another, each on what those before left over; and the answers of the sum of them.

use serde::{Deserialize, Serialize};

use super::Params;
use super::binned::Binned;
use super::grow::{Gain, Grower, LANES, Node, Sums, Tree, WEIGHT};
use super::matrix::Matrix;
use super::quantile::{Weighted, weighted_quantile};
use crate::models::{FitError, Pace};
use crate::score::pinball;

/// Boosted trees that answer several quantiles of a target from a row of features.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Forest {
    taus: Vec<f64>,
    /// Answer before the first tree, for each quantile.
    base: Vec<f32>,
    /// Shallow ones first.
    trees: Vec<Root>,
    nodes: Vec<Flat>,
    /// One value for each quantile and leaf.
    values: Vec<f32>,
    /// Codes of the columns that hold categories, rising, each with the place it has among numbers.
    categories: Vec<(u32, Vec<(f32, f32)>)>,
}

/// Where a tree begins.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Root {
    node: u32,
    leaf: u32,
    depth: u32,
}

/// A node of a tree over values. A leaf is its own left child and sends everything there, so that trees of different
/// depth can be walked in step. Small, so that a forest fits into the nearest cache.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Flat {
    /// Values up to this one go to the left child.
    upper: f32,
    /// The feature, with the highest bit set when missing values go left; at a leaf its number in the tree.
    feature: u16,
    /// The left child's number in the tree; the right one is the next.
    left: u16,
}

const MISSING_LEFT: u16 = 1 << 15;

impl Forest {
    /// Fits a forest for the quantiles `taus`, which must rise and lie inside (0, 1). Rows whose target is not finite, or
    /// whose weight is not above zero, are left out. Deterministic.
    ///
    /// # Errors
    /// [`FitError`]: too few rows for two leaves, lengths or quantiles that do not fit, or called off.
    pub fn fit(
        matrix: &Matrix,
        targets: &[f32],
        weights: Option<&[f32]>,
        taus: &[f64],
        params: &Params,
        pace: &mut Pace,
    ) -> Result<Forest, FitError> {
        check(matrix, targets, weights, taus)?;
        let weight = |row: usize| weights.map_or(1.0, |weights| weights[row]);
        let used: Vec<u32> = (0..targets.len())
            .filter(|&row| targets[row].is_finite() && weight(row) > 0.0 && weight(row).is_finite())
            .map(|row| row as u32)
            .collect();
        let judged = (used.len() as f64 * f64::from(params.held_out.clamp(0.0, 0.5))) as usize;
        let (fitted, judged) = used.split_at(used.len() - judged);
        let needed = 2 * params.min_leaf.max(1);
        if fitted.len() < needed {
            return Err(FitError::TooLittleHistory { present: fitted.len(), needed });
        }
        let categories = encode(matrix, targets, fitted);
        let forest = Forest {
            taus: taus.to_vec(),
            base: Vec::new(),
            trees: vec![],
            nodes: vec![],
            values: vec![],
            categories,
        };
        let binned = Binned::new(matrix, params.bins, |column, value| forest.encoded(column, value));
        pace.checkpoint()?;
        let mut boosting = Boosting::new(forest, &binned, targets, weight, fitted, judged, params);
        boosting.run(params, pace)?;
        Ok(boosting.forest)
    }

    /// Answers for one row of features into `out`, one number for each quantile, rising. Features that are absent are
    /// missing; further ones and further places of `out` are ignored.
    pub fn predict(&self, row: &[f32], out: &mut [f32]) {
        if self.categories.is_empty() {
            self.sum_up(row, out);
        } else {
            let mut encoded = row.to_vec();
            for (column, value) in encoded.iter_mut().enumerate() {
                *value = self.encoded(column, *value);
            }
            self.sum_up(&encoded, out);
        }
    }

    /// The quantiles it answers, in order.
    pub fn taus(&self) -> &[f64] {
        &self.taus
    }

    /// Number of trees.
    pub fn len(&self) -> usize {
        self.trees.len()
    }

    /// Whether it has no trees and always gives the same answer.
    pub fn is_empty(&self) -> bool {
        self.trees.is_empty()
    }

    /// Bytes of memory held.
    pub fn bytes(&self) -> usize {
        size_of_val(&self.nodes[..])
            + size_of_val(&self.values[..])
            + size_of_val(&self.trees[..])
            + self.categories.iter().map(|(_, codes)| size_of_val(&codes[..])).sum::<usize>()
            + size_of::<Forest>()
    }

    fn sum_up(&self, row: &[f32], out: &mut [f32]) {
        let width = self.base.len().min(out.len());
        let out = &mut out[..width];
        out.copy_from_slice(&self.base[..width]);
        for group in self.trees.chunks(STRIDE) {
            // Independent walks side by side hide the time each waits for memory.
            let mut begins = [0; STRIDE];
            let mut deepest = 0;
            for (begin, root) in begins.iter_mut().zip(group) {
                *begin = root.node;
                deepest = deepest.max(root.depth);
            }
            let mut at = begins;
            for _ in 0..deepest {
                for (at, begin) in at.iter_mut().zip(begins) {
                    let node = self.nodes[*at as usize];
                    let value = row.get((node.feature & !MISSING_LEFT) as usize).copied().unwrap_or(f32::NAN);
                    let left = (value <= node.upper) | (value.is_nan() & (node.feature >= MISSING_LEFT));
                    *at = begin + u32::from(node.left) + u32::from(!left);
                }
            }
            for (at, root) in at.into_iter().zip(group) {
                let leaf = root.leaf + u32::from(self.nodes[at as usize].feature & !MISSING_LEFT);
                for (out, value) in out.iter_mut().zip(&self.values[leaf as usize * self.base.len()..]) {
                    *out += value;
                }
            }
        }
        // Rearranged (Chernozhukov, Fernandez-Val and Galichon 2010): crossing quantiles trade places.
        out.sort_unstable_by(f32::total_cmp);
    }

    /// A category's place among numbers; a number is its own.
    fn encoded(&self, column: usize, value: f32) -> f32 {
        match self.categories.iter().find(|(other, _)| *other as usize == column) {
            Some((_, codes)) => codes
                .binary_search_by(|(code, _)| code.total_cmp(&value))
                .map_or(f32::NAN, |place| codes[place].1),
            None => value,
        }
    }

    /// Appends a tree whose leaves have these values.
    fn push(&mut self, tree: &Tree, values: &[f32], binned: &Binned) {
        let (node, leaf) = (self.nodes.len() as u32, (self.values.len() / self.base.len()) as u32);
        let mut depths = vec![0u32; tree.nodes.len()];
        for (place, of_tree) in tree.nodes.iter().enumerate() {
            self.nodes.push(match *of_tree {
                Node::Leaf(leaf) => {
                    Flat { upper: f32::INFINITY, feature: leaf as u16 | MISSING_LEFT, left: place as u16 }
                }
                Node::Split { feature, bin, missing_left, left } => {
                    let depth = depths[place] + 1;
                    depths[left as usize..left as usize + 2].fill(depth);
                    let upper = binned.columns[feature as usize].uppers[bin as usize - 1];
                    let mark = if missing_left { MISSING_LEFT } else { 0 };
                    Flat { upper, feature: feature as u16 | mark, left: left as u16 }
                }
            });
        }
        self.trees.push(Root { node, leaf, depth: depths.into_iter().max().unwrap_or(0) });
        self.values.extend(values);
    }

    /// Forgets all trees after the first `keep`.
    fn truncate(&mut self, keep: usize) {
        let Some(root) = self.trees.get(keep) else { return };
        self.nodes.truncate(root.node as usize);
        self.values.truncate(root.leaf as usize * self.base.len());
        self.trees.truncate(keep);
    }
}

/// Fewest rows that give a leaf its values without those that chose it.
const HONEST_ROWS_MIN: usize = 10;
/// Trees walked side by side in prediction.
const STRIDE: usize = 8;
/// Largest target: beyond it sums would leave the range of the type.
const TARGET_MAX: f32 = 1e30;

fn check(matrix: &Matrix, targets: &[f32], weights: Option<&[f32]>, taus: &[f64]) -> Result<(), FitError> {
    let unsuitable = |what: String| Err(FitError::Unsuitable(what));
    if matrix.rows() != targets.len() && matrix.width() > 0 {
        return unsuitable(format!("{} rows of features for {} targets", matrix.rows(), targets.len()));
    }
    if let Some(weights) = weights.filter(|weights| weights.len() != targets.len()) {
        return unsuitable(format!("{} weights for {} targets", weights.len(), targets.len()));
    }
    if matrix.width() >= usize::from(MISSING_LEFT) {
        return unsuitable(format!("{} features are too many", matrix.width()));
    }
    if targets.len() >= 1 << 28 {
        return unsuitable(format!("{} rows are too many", targets.len()));
    }
    let rising = taus.windows(2).all(|pair| pair[0] < pair[1]);
    if taus.is_empty() || !rising || !taus.iter().all(|&tau| tau > 0.0 && tau < 1.0) {
        return unsuitable("quantiles must rise and lie inside (0, 1)".to_owned());
    }
    Ok(())
}

/// Places of the categories among numbers: the mean target of each, drawn towards that of all as if it had a few more
/// rows of that mean.
fn encode(matrix: &Matrix, targets: &[f32], rows: &[u32]) -> Vec<(u32, Vec<(f32, f32)>)> {
    let target = |row: u32| f64::from(targets[row as usize].clamp(-TARGET_MAX, TARGET_MAX));
    let mean = rows.iter().map(|&row| target(row)).sum::<f64>() / rows.len().max(1) as f64;
    let code = |column: usize| {
        let mut members: Vec<(f32, u32)> =
            rows.iter().map(|&row| (matrix.column(column)[row as usize], row)).collect();
        members.retain(|(code, _)| !code.is_nan());
        members.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let same = |a: &(f32, u32), b: &(f32, u32)| a.0.total_cmp(&b.0).is_eq();
        let place = |members: &[(f32, u32)]| {
            let sum: f64 = members.iter().map(|&(_, row)| target(row)).sum();
            ((sum + PRIOR_ROWS * mean) / (members.len() as f64 + PRIOR_ROWS)) as f32
        };
        members.chunk_by(same).map(|members| (members[0].0, place(members))).collect()
    };
    (0..matrix.width())
        .filter(|&column| matrix.is_categorical(column))
        .map(|column| (column as u32, code(column)))
        .collect()
}

/// Rows of the common mean that every category is thought to have.
const PRIOR_ROWS: f64 = 5.0;

/// A forest in the making.
struct Boosting<'a> {
    forest: Forest,
    binned: &'a Binned,
    fitted: &'a [u32],
    judged: &'a [u32],
    /// Targets and weights of all rows, weights with mean 1 over the fitted ones.
    targets: Vec<f32>,
    weights: Vec<f32>,
    /// What the forest answers so far, all quantiles of a row side by side.
    answers: Vec<f32>,
    gradients: Vec<Sums>,
    lanes: Lanes,
    leaf_values: Vec<f32>,
    scratch: Vec<Weighted>,
}

impl<'a> Boosting<'a> {
    fn new(
        mut forest: Forest,
        binned: &'a Binned,
        targets: &[f32],
        weight: impl Fn(usize) -> f32,
        fitted: &'a [u32],
        judged: &'a [u32],
        params: &Params,
    ) -> Boosting<'a> {
        let targets: Vec<f32> = targets.iter().map(|y| y.clamp(-TARGET_MAX, TARGET_MAX)).collect();
        let sum: f64 = fitted.iter().map(|&row| f64::from(weight(row as usize))).sum();
        let norm = fitted.len() as f64 / sum;
        let weights: Vec<f32> =
            (0..targets.len()).map(|row| (f64::from(weight(row)) * norm) as f32).collect();
        let mut scratch = Vec::with_capacity(fitted.len());
        for &tau in &forest.taus {
            scratch.clear();
            scratch.extend(
                fitted.iter().map(|&row| Weighted::new(targets[row as usize], weights[row as usize])),
            );
            forest.base.push(weighted_quantile(&mut scratch, tau as f32));
        }
        let answers = targets.iter().flat_map(|_| forest.base.iter().copied()).collect();
        let lanes = Lanes::new(&forest.taus, fitted.len(), params);
        let gradients = vec![[0; LANES]; targets.len()];
        Boosting {
            forest,
            binned,
            fitted,
            judged,
            targets,
            weights,
            answers,
            gradients,
            lanes,
            leaf_values: Vec::new(),
            scratch,
        }
    }

    fn run(&mut self, params: &Params, pace: &mut Pace) -> Result<(), FitError> {
        let mut rng = fastrand::Rng::with_seed(params.seed);
        let mut grower = Grower::new(self.binned, params);
        let gain = self.lanes.gain;
        let (mut best_loss, mut best_len) = (self.loss(), 0);
        for _ in 0..params.rounds {
            let features = draw(self.binned.columns.len(), params.columns, &mut rng);
            grower.rows.clear();
            grower.others.clear();
            for run in self.fitted.chunks(params.run.max(1)) {
                let drawn = params.rows >= 1.0 || rng.f32() < params.rows;
                if drawn { &mut grower.rows } else { &mut grower.others }.extend_from_slice(run);
            }
            self.set_gradients(&grower.rows);
            let tree = grower.grow(&self.gradients, &features, &gain, pace)?;
            if tree.leaves.len() < 2 && params.rows >= 1.0 && params.columns >= 1.0 {
                break;
            }
            self.set_leaf_values(&tree, &grower, params);
            self.add(&tree, &grower);
            self.forest.push(&tree, &self.leaf_values, self.binned);
            if !self.judged.is_empty() {
                let loss = self.loss();
                if loss < best_loss {
                    (best_loss, best_len) = (loss, self.forest.len());
                } else if self.forest.len() >= best_len + params.patience.max(1) {
                    break;
                }
            }
        }
        if !self.judged.is_empty() {
            self.forest.truncate(best_len);
        }
        // Trees that are walked side by side should be of one depth.
        self.forest.trees.sort_by_key(|root| root.depth);
        Ok(())
    }

    fn set_gradients(&mut self, rows: &[u32]) {
        let width = self.forest.taus.len();
        for &row in rows {
            let row = row as usize;
            let answers = &self.answers[row * width..(row + 1) * width];
            self.gradients[row] = self.lanes.gradients(self.targets[row], answers, self.weights[row]);
        }
    }

    /// Each leaf's values: the quantiles of what is left over in it, shrunk where it has few rows.
    fn set_leaf_values(&mut self, tree: &Tree, grower: &Grower, params: &Params) {
        let width = self.forest.taus.len();
        self.leaf_values.clear();
        for leaf in &tree.leaves {
            let (chosen, others) = (&grower.rows[leaf.rows.clone()], &grower.others[leaf.others.clone()]);
            let chosen = if others.len() < HONEST_ROWS_MIN { chosen } else { &[] };
            let rows = (chosen.len() + others.len()) as f32;
            let shrunk = params.learning_rate * rows / (rows + params.lambda.max(0.0));
            for (place, &tau) in self.forest.taus.iter().enumerate() {
                self.scratch.clear();
                self.scratch.extend(chosen.iter().chain(others).map(|&row| {
                    let row = row as usize;
                    Weighted::new(self.targets[row] - self.answers[row * width + place], self.weights[row])
                }));
                let value = shrunk * weighted_quantile(&mut self.scratch, tau as f32);
                self.leaf_values.push(if value.is_finite() { value } else { 0.0 });
            }
        }
    }

    /// Adds the values of a tree's leaves to the answers.
    fn add(&mut self, tree: &Tree, grower: &Grower) {
        let width = self.forest.taus.len();
        let mut add = |row: u32, values: &[f32]| {
            let row = row as usize * width;
            for (answer, value) in self.answers[row..row + width].iter_mut().zip(values) {
                *answer += value;
            }
        };
        for (leaf, values) in tree.leaves.iter().zip(self.leaf_values.chunks(width)) {
            grower.rows[leaf.rows.clone()].iter().for_each(|&row| add(row, values));
            grower.others[leaf.others.clone()].iter().for_each(|&row| add(row, values));
        }
        for &row in self.judged {
            let leaf = tree.leaf(self.binned, row as usize);
            add(row, &self.leaf_values[leaf * width..(leaf + 1) * width]);
        }
    }

    /// Pinball loss on the rows that judge.
    fn loss(&self) -> f64 {
        let width = self.forest.taus.len();
        let of_row = |&row: &u32| {
            let row = row as usize;
            let answers = &self.answers[row * width..(row + 1) * width];
            let losses = self.forest.taus.iter().zip(answers);
            let target = f64::from(self.targets[row]);
            f64::from(self.weights[row])
                * losses.map(|(&tau, &answer)| pinball(tau, target, f64::from(answer))).sum::<f64>()
        };
        self.judged.iter().map(of_row).sum()
    }
}

/// How the gradients of the quantiles share the lanes of a row.
#[derive(Debug)]
struct Lanes {
    /// For each quantile: itself, its lane and its part of that lane.
    parts: Vec<(f32, usize, f32)>,
    /// Whole numbers for a weight of 1.
    unit: f32,
    gain: Gain,
}

impl Lanes {
    /// Quantiles that do not have a lane of their own share one with their neighbours.
    fn new(taus: &[f64], rows: usize, params: &Params) -> Lanes {
        // The sum of all weights, and so of all gradients, stays inside the type.
        let unit = (f64::from(1 << 29) / rows.max(1) as f64) as f32;
        let used = taus.len().min(WEIGHT);
        let mut factors = [0.0; WEIGHT];
        let mut parts = Vec::with_capacity(taus.len());
        for (lane, factor) in factors.iter_mut().enumerate().take(used) {
            let members = &taus[lane * taus.len() / used..(lane + 1) * taus.len() / used];
            let share = 1.0 / members.len() as f32;
            parts.extend(members.iter().map(|&tau| (tau as f32, lane, share * unit)));
            // A gradient varies by tau (1 - tau) where nothing is to be gained: in this unit all count alike.
            let middle = members.iter().sum::<f64>() / members.len() as f64;
            *factor = (1.0 / (middle * (1.0 - middle))) as f32;
        }
        let weight_min = ((params.min_leaf.max(1) as f32 * unit * 0.999) as i32).min(1 << 29);
        Lanes { parts, unit, gain: Gain { factors, lambda: params.lambda.max(0.0) * unit, weight_min } }
    }

    #[inline]
    fn gradients(&self, target: f32, answers: &[f32], weight: f32) -> Sums {
        let mut lanes = [0.0; LANES];
        for (&(tau, lane, part), &answer) in self.parts.iter().zip(answers) {
            let above = if target < answer { 1.0 } else { 0.0 };
            lanes[lane] += part * (tau - above);
        }
        lanes[WEIGHT] = self.unit;
        lanes.map(|lane| (lane * weight) as i32)
    }
}

/// Some of the columns, at least one, in order.
fn draw(columns: usize, share: f32, rng: &mut fastrand::Rng) -> Vec<u32> {
    let mut all: Vec<u32> = (0..columns as u32).collect();
    let wanted = (columns as f64 * f64::from(share.clamp(0.0, 1.0))).round().max(1.0) as usize;
    if wanted < columns {
        for place in 0..wanted {
            all.swap(place, rng.usize(place..columns));
        }
        all.truncate(wanted);
        all.sort_unstable();
    }
    all
}
