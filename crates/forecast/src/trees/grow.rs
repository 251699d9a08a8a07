//! Growth of one tree, always at the leaf that gains most, on histograms of gradients.
//!
//! A row carries [`LANES`] whole numbers: gradients of up to three groups of quantiles and its weight. The histogram of a
//! node's larger child is its own less that of the smaller one, which is exact in whole numbers.

use std::ops::Range;

use super::Params;
use super::binned::{Binned, MISSING};
use crate::models::{FitError, Pace};

/// Sums kept for a set of rows: three gradients, and the weight last.
pub(super) const LANES: usize = 4;
/// Place of the weight.
pub(super) const WEIGHT: usize = LANES - 1;

/// Most leaves of a tree.
const LEAVES_MAX: usize = 1 << 13;

/// Sums over a set of rows.
pub(super) type Sums = [i32; LANES];

/// A node of a tree over bins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Node {
    /// Rows whose bin is at most `bin` go to the left child, the others to the one after it; missing ones where
    /// `missing_left` says.
    Split { feature: u32, bin: u8, missing_left: bool, left: u32 },
    /// The number of the leaf.
    Leaf(u32),
}

/// A grown tree.
#[derive(Debug, Default)]
pub(super) struct Tree {
    pub(super) nodes: Vec<Node>,
    pub(super) leaves: Vec<Leaf>,
}

/// The rows of a leaf, as ranges of [`Grower::rows`] and [`Grower::others`].
#[derive(Clone, Debug)]
pub(super) struct Leaf {
    pub(super) rows: Range<usize>,
    pub(super) others: Range<usize>,
}

impl Tree {
    /// The leaf of a row.
    pub(super) fn leaf(&self, binned: &Binned, row: usize) -> usize {
        let mut at = 0;
        loop {
            match self.nodes[at] {
                Node::Leaf(leaf) => return leaf as usize,
                Node::Split { feature, bin, missing_left, left } => {
                    let of_row = binned.columns[feature as usize].bins[row];
                    let goes_left = if of_row == MISSING { missing_left } else { of_row <= bin };
                    at = left as usize + usize::from(!goes_left);
                }
            }
        }
    }
}

/// How good it is that a set of rows has a leaf of its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gain {
    /// What each gradient counts for.
    pub(super) factors: [f32; WEIGHT],
    /// Weight of no opinion added to every set, in the unit of the rows' weights.
    pub(super) lambda: f32,
    /// Least weight of a leaf.
    pub(super) weight_min: i32,
}

impl Gain {
    #[inline]
    fn of(&self, sums: Sums) -> f32 {
        let mut squares = 0.0;
        for (&sum, &factor) in sums.iter().zip(&self.factors) {
            let sum = sum as f32;
            squares += factor * sum * sum;
        }
        squares / (sums[WEIGHT] as f32 + self.lambda)
    }
}

/// The best way found to split a node.
#[derive(Clone, Copy, Debug)]
struct Split {
    gain: f32,
    feature: u32,
    bin: u8,
    missing_left: bool,
    left: Sums,
}

/// A leaf that may yet be split.
#[derive(Debug)]
struct Open {
    node: usize,
    leaf: Leaf,
    sums: Sums,
    histogram: Option<usize>,
    split: Option<Split>,
}

/// Memory that is used again from tree to tree.
#[derive(Debug)]
pub(super) struct Grower<'a> {
    binned: &'a Binned,
    leaves: usize,
    /// The rows of the tree, those of a leaf side by side once it is grown.
    pub(super) rows: Vec<u32>,
    /// Rows that have no say in the structure, brought to their leaves in the same way.
    pub(super) others: Vec<u32>,
    spare: Vec<u32>,
    gathered: Vec<Sums>,
    /// Histograms of one node each: the bins of all features side by side.
    histograms: Vec<Vec<Sums>>,
    free: Vec<usize>,
    /// Where a feature begins in a histogram.
    begins: Vec<usize>,
}

impl<'a> Grower<'a> {
    pub(super) fn new(binned: &'a Binned, params: &Params) -> Grower<'a> {
        let mut begins = vec![0];
        for column in &binned.columns {
            begins.push(begins[begins.len() - 1] + column.len());
        }
        Grower {
            binned,
            leaves: params.leaves.clamp(2, LEAVES_MAX),
            rows: Vec::new(),
            others: Vec::new(),
            spare: Vec::new(),
            gathered: Vec::new(),
            histograms: Vec::new(),
            free: Vec::new(),
            begins,
        }
    }

    /// Grows a tree over [`Self::rows`], splitting on `features` only. `gradients` has an entry for every row.
    ///
    /// # Errors
    /// [`FitError::CalledOff`].
    pub(super) fn grow(
        &mut self,
        gradients: &[Sums],
        features: &[u32],
        gain: &Gain,
        pace: &mut Pace,
    ) -> Result<Tree, FitError> {
        self.free = (0..self.histograms.len()).collect();
        let mut tree = Tree { nodes: vec![Node::Leaf(0)], leaves: Vec::new() };
        let all = Leaf { rows: 0..self.rows.len(), others: 0..self.others.len() };
        let sums = self.rows.iter().fold([0; LANES], |sums, &row| plus(sums, gradients[row as usize]));
        let mut root = Open { node: 0, leaf: all, sums, histogram: None, split: None };
        if sums[WEIGHT] >= 2 * gain.weight_min {
            let histogram = self.histogram(0..self.rows.len(), gradients, features);
            root.histogram = Some(histogram);
            root.split = self.best_split(histogram, sums, features, gain);
        }
        let mut open = vec![root];
        while open.len() < self.leaves {
            pace.checkpoint()?;
            let Some((place, split)) = best(&open) else { break };
            let parent = open.swap_remove(place);
            let [left, right] = self.divide(&parent, split, gradients, features, gain);
            let first = tree.nodes.len() as u32;
            let Split { feature, bin, missing_left, .. } = split;
            tree.nodes[parent.node] = Node::Split { feature, bin, missing_left, left: first };
            tree.nodes.extend([Node::Leaf(0), Node::Leaf(0)]);
            open.push(Open { node: first as usize, ..left });
            open.push(Open { node: first as usize + 1, ..right });
        }
        for open in open {
            tree.nodes[open.node] = Node::Leaf(tree.leaves.len() as u32);
            tree.leaves.push(open.leaf);
        }
        Ok(tree)
    }

    /// Splits a leaf in two, each with its best further split. The children's `node` is left for the caller to set.
    fn divide(
        &mut self,
        parent: &Open,
        split: Split,
        gradients: &[Sums],
        features: &[u32],
        gain: &Gain,
    ) -> [Open; 2] {
        let bins = &self.binned.columns[split.feature as usize].bins;
        let Leaf { rows, others } = &parent.leaf;
        let middle = rows.start + partition(&mut self.rows[rows.clone()], bins, &split, &mut self.spare);
        let bound = others.start + partition(&mut self.others[others.clone()], bins, &split, &mut self.spare);
        let open = |rows, others, sums| Open {
            node: 0,
            leaf: Leaf { rows, others },
            sums,
            histogram: None,
            split: None,
        };
        let mut children = [
            open(rows.start..middle, others.start..bound, split.left),
            open(middle..rows.end, bound..others.end, minus(parent.sums, split.left)),
        ];
        let splittable = |child: &Open| child.sums[WEIGHT] >= 2 * gain.weight_min;
        let Some(histogram) = parent.histogram else { return children };
        if children.iter().any(splittable) {
            let small = usize::from(rows.end - middle < middle - rows.start);
            let large = 1 - small;
            let fresh = self.histogram(children[small].leaf.rows.clone(), gradients, features);
            children[small].histogram = Some(fresh);
            if splittable(&children[large]) {
                self.subtract(histogram, fresh, features);
                children[large].histogram = Some(histogram);
            } else {
                self.free.push(histogram);
            }
            for child in &mut children {
                child.split = match child.histogram {
                    Some(histogram) if splittable(child) => {
                        self.best_split(histogram, child.sums, features, gain)
                    }
                    Some(_) | None => None,
                };
                if child.split.is_none() {
                    self.free.extend(child.histogram.take());
                }
            }
        } else {
            self.free.push(histogram);
        }
        children
    }

    /// Sums the gradients of a node's rows by feature and bin.
    fn histogram(&mut self, rows: Range<usize>, gradients: &[Sums], features: &[u32]) -> usize {
        let place = self.free.pop().unwrap_or_else(|| {
            self.histograms.push(vec![[0; LANES]; self.begins[self.begins.len() - 1]]);
            self.histograms.len() - 1
        });
        let rows = &self.rows[rows];
        self.gathered.clear();
        self.gathered.extend(rows.iter().map(|&row| gradients[row as usize]));
        for &feature in features {
            let column = &self.binned.columns[feature as usize];
            let from = self.begins[feature as usize];
            let sums = &mut self.histograms[place][from..from + column.len()];
            sums.fill([0; LANES]);
            for (&row, &gradient) in rows.iter().zip(&self.gathered) {
                let sum = &mut sums[column.bins[row as usize] as usize];
                *sum = plus(*sum, gradient);
            }
        }
        place
    }

    /// Turns the histogram of a parent into that of one child by taking away that of the other.
    fn subtract(&mut self, parent: usize, child: usize, features: &[u32]) {
        let mut whole = std::mem::take(&mut self.histograms[parent]);
        let part = &self.histograms[child];
        for &feature in features {
            let (from, to) = (self.begins[feature as usize], self.begins[feature as usize + 1]);
            for (whole, part) in whole[from..to].iter_mut().zip(&part[from..to]) {
                *whole = minus(*whole, *part);
            }
        }
        self.histograms[parent] = whole;
    }

    /// The split of a node that gains most, if any gains.
    fn best_split(&self, histogram: usize, sums: Sums, features: &[u32], gain: &Gain) -> Option<Split> {
        let alone = gain.of(sums);
        let mut best: Option<Split> = None;
        for &feature in features {
            let (from, to) = (self.begins[feature as usize], self.begins[feature as usize + 1]);
            let (missing, bins) = self.histograms[histogram][from..to].split_first()?;
            let directions = if missing[WEIGHT] == 0 { 1 } else { 2 };
            for missing_left in [true, false].into_iter().take(directions) {
                let mut left = if missing_left { *missing } else { [0; LANES] };
                for (bin, here) in (1..).zip(bins) {
                    if here[WEIGHT] == 0 {
                        continue;
                    }
                    left = plus(left, *here);
                    let right = minus(sums, left);
                    if left[WEIGHT] < gain.weight_min {
                        continue;
                    }
                    if right[WEIGHT] < gain.weight_min {
                        break;
                    }
                    let gained = gain.of(left) + gain.of(right) - alone;
                    if gained > best.map_or(0.0, |best| best.gain) {
                        // Missing values that training has not seen here go with the heavier side.
                        let missing_left =
                            if directions == 1 { left[WEIGHT] >= right[WEIGHT] } else { missing_left };
                        best = Some(Split { gain: gained, feature, bin, missing_left, left });
                    }
                }
            }
        }
        best
    }
}

/// Brings the rows that go left before those that go right, each in their order; says how many go left.
fn partition(rows: &mut [u32], bins: &[u8], split: &Split, spare: &mut Vec<u32>) -> usize {
    if spare.len() < rows.len() {
        spare.resize(rows.len(), 0);
    }
    let (mut lefts, mut rights) = (0, 0);
    // Without branches, which would be guessed wrong half of the time.
    for from in 0..rows.len() {
        let row = rows[from];
        let bin = bins[row as usize];
        let left = (bin <= split.bin) & (bin != MISSING) | (bin == MISSING) & split.missing_left;
        rows[lefts] = row;
        spare[rights] = row;
        lefts += usize::from(left);
        rights += usize::from(!left);
    }
    rows[lefts..].copy_from_slice(&spare[..rights]);
    lefts
}

fn best(open: &[Open]) -> Option<(usize, Split)> {
    let splits = open.iter().enumerate().filter_map(|(place, leaf)| Some((place, leaf.split?)));
    splits.max_by(|a, b| a.1.gain.total_cmp(&b.1.gain))
}

#[inline]
fn plus(a: Sums, b: Sums) -> Sums {
    std::array::from_fn(|lane| a[lane] + b[lane])
}

#[inline]
fn minus(a: Sums, b: Sums) -> Sums {
    std::array::from_fn(|lane| a[lane] - b[lane])
}
