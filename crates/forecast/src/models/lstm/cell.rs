//! The recurrent layer: long short-term memory (Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al.
//! 2000), its four gates fused into one matrix, over a batch of windows; and its back-propagation through all of time.

use super::matrix::{Right, Strides, add_product};
use super::real::Real;

/// Sizes of the layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    /// Numbers in at each step.
    pub(super) inputs: usize,
    /// Units.
    pub(super) hidden: usize,
}

impl Size {
    /// Width of a row of the left factor: inputs, the state before, and one for the bias.
    pub(super) fn inner(self) -> usize {
        self.inputs + self.hidden + 1
    }

    /// Width of a row of gates: in, forget, out, candidate.
    pub(super) fn gates(self) -> usize {
        4 * self.hidden
    }

    /// Number of weights: `inner x gates`, row after row.
    pub(super) fn weights(self) -> usize {
        self.inner() * self.gates()
    }
}

/// What a pass over a batch leaves for the way back. Reused between batches.
#[derive(Clone, Debug, Default)]
pub(super) struct Trail<R> {
    /// `[time][row]`: inputs, state before, one.
    rows: Vec<R>,
    /// `[time][row]`: gates after their functions.
    gates: Vec<R>,
    /// `[time + 1][row]`: memory.
    memory: Vec<R>,
    /// `[time][row]`: tanh of the memory.
    bent: Vec<R>,
    /// State after the last step.
    state: Vec<R>,
    weights: Right<R>,
    right: Right<R>,
    tile: Vec<[R; 4]>,
    d_gates: Vec<R>,
    d_memory: Vec<R>,
    d_state: Vec<R>,
}

impl<R: Real> Trail<R> {
    /// Runs `batch` windows of `xs.len() / (batch * inputs)` steps, laid out `[time][row][input]`; gives the states after
    /// the last step, `[row][unit]`.
    pub(super) fn forward(&mut self, size: Size, weights: &[R], xs: &[R], batch: usize) -> &[R] {
        let (hidden, inner, gates) = (size.hidden, size.inner(), size.gates());
        let times = xs.len() / (batch * size.inputs).max(1);
        self.weights.pack(weights, Strides::rows(gates), inner, gates);
        resize(&mut self.rows, times * batch * inner);
        resize(&mut self.gates, times * batch * gates);
        resize(&mut self.memory, (times + 1) * batch * hidden);
        resize(&mut self.bent, times * batch * hidden);
        resize(&mut self.state, batch * hidden);
        for time in 0..times {
            let rows = &mut self.rows[time * batch * inner..(time + 1) * batch * inner];
            let x = &xs[time * batch * size.inputs..(time + 1) * batch * size.inputs];
            for (b, row) in rows.chunks_exact_mut(inner).enumerate() {
                row[..size.inputs].copy_from_slice(&x[b * size.inputs..(b + 1) * size.inputs]);
                row[size.inputs..inner - 1].copy_from_slice(&self.state[b * hidden..(b + 1) * hidden]);
                row[inner - 1] = R::ONE;
            }
            let open = &mut self.gates[time * batch * gates..(time + 1) * batch * gates];
            let strides = Strides::rows(inner);
            add_product(open, gates, rows, strides, batch, &self.weights, &mut self.tile);
            let (before, after) = self.memory.split_at_mut((time + 1) * batch * hidden);
            let (before, after) = (&before[time * batch * hidden..], &mut after[..batch * hidden]);
            let bent = &mut self.bent[time * batch * hidden..(time + 1) * batch * hidden];
            for b in 0..batch {
                let unit = b * hidden..(b + 1) * hidden;
                step(
                    &mut open[b * gates..(b + 1) * gates],
                    &before[unit.clone()],
                    &mut after[unit.clone()],
                    &mut bent[unit.clone()],
                    &mut self.state[unit],
                );
            }
        }
        &self.state
    }

    /// Adds the gradient of the weights, given that of the final states. Must follow [`forward`](Self::forward) with
    /// the same weights.
    pub(super) fn backward(&mut self, size: Size, weights: &[R], d_final: &[R], gradient: &mut [R]) {
        let (hidden, inner, gates) = (size.hidden, size.inner(), size.gates());
        let batch = d_final.len() / hidden.max(1);
        let times = self.rows.len() / (batch * inner).max(1);
        // Only the state's rows of the weights lead further back; the inputs are given.
        let recurrent = &weights[size.inputs * gates..(inner - 1) * gates];
        self.weights.pack(recurrent, Strides::transposed(gates), gates, hidden);
        self.d_state.clear();
        self.d_state.extend_from_slice(d_final);
        resize(&mut self.d_memory, batch * hidden);
        resize(&mut self.d_gates, batch * gates);
        for time in (0..times).rev() {
            let memory = &self.memory[time * batch * hidden..(time + 1) * batch * hidden];
            for b in 0..batch {
                let unit = b * hidden..(b + 1) * hidden;
                let row = (time * batch + b) * gates;
                step_back(
                    &self.gates[row..row + gates],
                    &memory[unit.clone()],
                    &self.bent[(time * batch + b) * hidden..(time * batch + b + 1) * hidden],
                    &self.d_state[unit.clone()],
                    &mut self.d_memory[unit],
                    &mut self.d_gates[b * gates..(b + 1) * gates],
                );
            }
            let rows = &self.rows[time * batch * inner..(time + 1) * batch * inner];
            self.right.pack(&self.d_gates, Strides::rows(gates), batch, gates);
            let strides = Strides::transposed(inner);
            add_product(gradient, gates, rows, strides, inner, &self.right, &mut self.tile);
            if time > 0 {
                resize(&mut self.d_state, batch * hidden);
                let strides = Strides::rows(gates);
                let (to, from) = (&mut self.d_state, &self.d_gates);
                add_product(to, hidden, from, strides, batch, &self.weights, &mut self.tile);
            }
        }
    }
}

/// One row's step: bends the gates, moves the memory, gives the state.
#[inline(always)]
fn step<R: Real>(gates: &mut [R], before: &[R], after: &mut [R], bent: &mut [R], state: &mut [R]) {
    let hidden = before.len();
    let (sigmoids, candidates) = gates.split_at_mut(3 * hidden);
    sigmoids.iter_mut().for_each(|gate| *gate = gate.sigmoid());
    candidates.iter_mut().for_each(|candidate| *candidate = candidate.tanh());
    let (input, rest) = sigmoids.split_at(hidden);
    let (forget, output) = rest.split_at(hidden);
    let (after, bent, state) = (&mut after[..hidden], &mut bent[..hidden], &mut state[..hidden]);
    let (output, candidates) = (&output[..hidden], &candidates[..hidden]);
    for j in 0..hidden {
        after[j] = forget[j] * before[j] + input[j] * candidates[j];
    }
    for j in 0..hidden {
        bent[j] = after[j].tanh();
        state[j] = output[j] * bent[j];
    }
}

/// The way back through [`step`]: `d_memory` is that of the memory after the step and becomes that before it.
#[inline(always)]
fn step_back<R: Real>(
    gates: &[R],
    before: &[R],
    bent: &[R],
    d_state: &[R],
    d_memory: &mut [R],
    d_gates: &mut [R],
) {
    let hidden = before.len();
    let (input, rest) = gates.split_at(hidden);
    let (forget, rest) = rest.split_at(hidden);
    let (output, candidate) = rest.split_at(hidden);
    let (d_input, rest) = d_gates.split_at_mut(hidden);
    let (d_forget, rest) = rest.split_at_mut(hidden);
    let (d_output, d_candidate) = rest.split_at_mut(hidden);
    let (candidate, d_candidate) = (&candidate[..hidden], &mut d_candidate[..hidden]);
    let (bent, d_state, d_memory) = (&bent[..hidden], &d_state[..hidden], &mut d_memory[..hidden]);
    for j in 0..hidden {
        let d = d_memory[j] + d_state[j] * output[j] * (R::ONE - bent[j] * bent[j]);
        d_output[j] = d_state[j] * bent[j] * output[j] * (R::ONE - output[j]);
        d_input[j] = d * candidate[j] * input[j] * (R::ONE - input[j]);
        d_forget[j] = d * before[j] * forget[j] * (R::ONE - forget[j]);
        d_candidate[j] = d * input[j] * (R::ONE - candidate[j] * candidate[j]);
        d_memory[j] = d * forget[j];
    }
}

/// All zero, of this length, in the same memory.
pub(super) fn resize<R: Real>(values: &mut Vec<R>, len: usize) {
    values.clear();
    values.resize(len, R::default());
}
