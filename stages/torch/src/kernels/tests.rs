//! Tests of the kernels against the equations in 64 bits, against small differences, and against LibTorch.

use tch::{Kind, Tensor};

use crate::kernels::{Cell, Given, Gradients, Instructions, Layer, Made, Sizes, Start, Weights};
use crate::models::weights::to_host;
use crate::random::{Purpose, stream, uniform};

/// No side a multiple of a vector, and more than one stretch of steps.
const ODD: Sizes = Sizes { steps: 45, rows: 3, inputs: 2, hidden: 5 };
const USUAL: Sizes = Sizes { steps: 5, rows: 8, inputs: 3, hidden: 64 };
const WIDE: Sizes = Sizes { steps: 5, rows: 7, inputs: 64, hidden: 48 };

/// The arrays of a layer: four weights, inputs, hidden state and memory at the start, and what weighs the outputs.
type Arrays = [Vec<f32>; 8];

fn arrays(cell: Cell, sizes: Sizes) -> Arrays {
    let Sizes { steps, rows, inputs, hidden } = sizes;
    let long = cell.gates() * hidden;
    let lengths = [
        long * inputs,
        long * hidden,
        long,
        long,
        steps * rows * inputs,
        rows * hidden,
        if cell == Cell::Lstm { rows * hidden } else { 0 },
        steps * rows * hidden,
    ];
    let bound = 2.0 / (hidden as f32).sqrt();
    let bounds = [bound, bound, bound, bound, 1.5, 0.8, 1.5, 1.0];
    let mut generator = stream(4, Purpose::Weights, 2);
    let mut all: Arrays = Default::default();
    for ((array, length), bound) in all.iter_mut().zip(lengths).zip(bounds) {
        *array = (0..length).map(|_| uniform(bound, &mut generator)).collect();
    }
    all
}

fn given(cell: Cell, arrays: &Arrays) -> Given<'_> {
    let [input, hidden, input_bias, hidden_bias, inputs, start, memory, _] = arrays;
    Given {
        weights: Weights { input, hidden, input_bias, hidden_bias },
        inputs,
        start: Start { hidden: start, memory: (cell == Cell::Lstm).then_some(memory) },
    }
}

/// The outputs, and the derivatives by the first seven arrays of the outputs' sum weighed by the last one.
fn computed(cell: Cell, sizes: Sizes, instructions: Instructions, arrays: &Arrays) -> (Vec<f32>, Vec<Vec<f32>>) {
    let layer = Layer::new(cell, sizes, instructions);
    let given = given(cell, arrays);
    let (mut outputs, mut record) = (vec![f32::NAN; arrays[7].len()], vec![f32::NAN; layer.record()]);
    layer.forward(&given, &mut outputs, Some(&mut record));
    let mut alone = vec![f32::NAN; outputs.len()];
    layer.forward(&given, &mut alone, None);
    assert!(is_same(&alone, &outputs), "to keep a record changes nothing");
    let mut gradients: Vec<Vec<f32>> = arrays[..7].iter().map(|array| vec![f32::NAN; array.len()]).collect();
    let [input, hidden, input_bias, hidden_bias, inputs, start, memory] = &mut gradients[..] else { unreachable!() };
    let to = Gradients {
        weights: Weights { input, hidden, input_bias, hidden_bias },
        inputs: Some(inputs),
        start: Start { hidden: start, memory: (cell == Cell::Lstm).then_some(memory) },
    };
    layer.back(&given, Made { outputs: &outputs, record: &record }, &arrays[7], to);
    (outputs, gradients)
}

/// Whether two arrays have the same bits.
fn is_same(one: &[f32], other: &[f32]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| one.to_bits() == other.to_bits())
}

/// The equations of `nn.LSTM` and `nn.GRU`, unit by unit: the outputs in 64 bits.
fn expected(cell: Cell, sizes: Sizes, arrays: &[Vec<f64>]) -> Vec<f64> {
    let Sizes { steps, rows, inputs, hidden } = sizes;
    let [by_input, by_hidden, input_bias, hidden_bias, x, start, memory, _] = arrays else { unreachable!() };
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let (mut h, mut c, mut outputs) = (start.clone(), memory.clone(), Vec::new());
    for step in 0..steps {
        let before = h.clone();
        for row in 0..rows {
            let x = &x[(step * rows + row) * inputs..][..inputs];
            let past = &before[row * hidden..][..hidden];
            for unit in 0..hidden {
                let from_input = |gate: usize| {
                    let at = gate * hidden + unit;
                    dot(&by_input[at * inputs..][..inputs], x) + input_bias[at]
                };
                let from_hidden = |gate: usize| {
                    let at = gate * hidden + unit;
                    dot(&by_hidden[at * hidden..][..hidden], past) + hidden_bias[at]
                };
                let gate = |gate: usize| from_input(gate) + from_hidden(gate);
                let at = row * hidden + unit;
                h[at] = match cell {
                    Cell::Lstm => {
                        c[at] = sigmoid(gate(1)) * c[at] + sigmoid(gate(0)) * gate(2).tanh();
                        sigmoid(gate(3)) * c[at].tanh()
                    }
                    Cell::Gru => {
                        let candidate = (from_input(2) + sigmoid(gate(0)) * from_hidden(2)).tanh();
                        let z = sigmoid(gate(1));
                        (1.0 - z) * candidate + z * past[unit]
                    }
                };
            }
        }
        outputs.extend_from_slice(&h);
    }
    outputs
}

fn exact(arrays: &Arrays) -> Vec<Vec<f64>> {
    arrays.iter().map(|array| array.iter().copied().map(f64::from).collect()).collect()
}

fn there() -> Vec<Instructions> {
    let all = [
        Instructions::Plain,
        #[cfg(target_arch = "x86_64")]
        Instructions::Avx2,
        #[cfg(target_arch = "x86_64")]
        Instructions::Avx512,
    ];
    all.into_iter().filter(|instructions| instructions.are_there()).collect()
}

fn cases() -> Vec<(Cell, Sizes, Instructions)> {
    let cells = [Cell::Lstm, Cell::Gru].into_iter();
    let sized = cells.flat_map(|cell| [ODD, USUAL, WIDE].map(|sizes| (cell, sizes)));
    sized.flat_map(|(cell, sizes)| there().into_iter().map(move |set| (cell, sizes, set))).collect()
}

#[test]
fn outputs_are_those_of_the_equations_in_64_bits() {
    for (cell, sizes, instructions) in cases() {
        let arrays = arrays(cell, sizes);
        let expected = expected(cell, sizes, &exact(&arrays));
        let (found, _) = computed(cell, sizes, instructions, &arrays);
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(&expected) {
            let off = (f64::from(*found) - expected).abs();
            assert!(off < 2e-6, "{cell:?} {sizes:?} {instructions:?}: {found} instead of {expected}");
        }
    }
}

#[test]
fn gradients_are_those_of_small_differences_of_the_equations() {
    for (cell, sizes, instructions) in cases() {
        let arrays = arrays(cell, sizes);
        let (_, gradients) = computed(cell, sizes, instructions, &arrays);
        let mut exact = exact(&arrays);
        for (array, gradient) in gradients.iter().enumerate() {
            let largest = gradient.iter().fold(0f32, |most, value| most.max(value.abs()));
            assert!(gradient.is_empty() || largest > 0.01, "a gradient of nothing proves nothing");
            // All of a small layer, some of a large one: the first, the last, and others of both ends of blocks.
            let some = if sizes == ODD { 1 } else { (gradient.len() / 5).max(1) };
            for at in (0..gradient.len()).step_by(some).chain(gradient.len().checked_sub(1)) {
                let mut sum = |by: f64| {
                    exact[array][at] += by;
                    let outputs = expected(cell, sizes, &exact);
                    exact[array][at] -= by;
                    outputs.iter().zip(&exact[7]).map(|(output, weigh)| output * weigh).sum::<f64>()
                };
                let expected = (sum(1e-5) - sum(-1e-5)) / 2e-5;
                let off = (f64::from(gradient[at]) - expected).abs();
                let found = gradient[at];
                let place = format!("{cell:?} {sizes:?} {instructions:?} array {array} place {at}");
                assert!(off < 2e-6 * f64::from(largest).max(1.0) + 2e-6, "{place}: {found} instead of {expected}");
            }
        }
    }
}

#[test]
fn outputs_and_gradients_are_those_of_libtorch() {
    for (cell, sizes) in [(Cell::Lstm, USUAL), (Cell::Gru, USUAL), (Cell::Lstm, WIDE), (Cell::Gru, WIDE)] {
        let arrays = arrays(cell, sizes);
        let Sizes { steps, rows, inputs, hidden } = sizes;
        let long = cell.gates() * hidden;
        let shapes: [&[usize]; 8] = [
            &[long, inputs],
            &[long, hidden],
            &[long],
            &[long],
            &[steps, rows, inputs],
            &[1, rows, hidden],
            if cell == Cell::Lstm { &[1, rows, hidden] } else { &[0] },
            &[steps, rows, hidden],
        ];
        let leaves = arrays.iter().zip(shapes).map(|(array, shape)| {
            let shape: Vec<i64> = shape.iter().map(|side| *side as i64).collect();
            Tensor::from_slice(array).view(&shape[..]).set_requires_grad(true)
        });
        let leaves: Vec<Tensor> = leaves.collect();
        let outputs = match cell {
            Cell::Lstm => leaves[4].lstm(&leaves[5..7], &leaves[..4], true, 1, 0.0, true, false, false).0,
            Cell::Gru => leaves[4].gru(&leaves[5], &leaves[..4], true, 1, 0.0, true, false, false).0,
        };
        let sum = (&outputs * &leaves[7]).sum(Kind::Float);
        let count = if cell == Cell::Lstm { 7 } else { 6 };
        let gradients = Tensor::run_backward(&[sum], &leaves[..count], false, false);
        let (found, by) = computed(cell, sizes, Instructions::chosen(), &arrays);
        close(&found, &to_host(&outputs).unwrap(), &format!("{cell:?} outputs"));
        for (array, gradient) in gradients.iter().enumerate() {
            close(&by[array], &to_host(gradient).unwrap(), &format!("{cell:?} gradient {array}"));
        }
    }
}

/// Alike to a hundred-thousandth of the largest.
fn close(found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(1f32, |most, value| most.max(value.abs()));
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-5 * largest, "{what}: {found} instead of {expected}");
    }
}

#[test]
fn every_instruction_set_says_nearly_the_same_and_each_the_same_bits_again() {
    for (cell, sizes) in [(Cell::Lstm, ODD), (Cell::Gru, ODD), (Cell::Lstm, USUAL), (Cell::Gru, USUAL)] {
        let arrays = arrays(cell, sizes);
        let plain = computed(cell, sizes, Instructions::Plain, &arrays);
        for instructions in there() {
            let found = computed(cell, sizes, instructions, &arrays);
            assert_eq!(found, computed(cell, sizes, instructions, &arrays));
            close(&found.0, &plain.0, "outputs");
            for (found, plain) in found.1.iter().zip(&plain.1) {
                close(found, plain, "gradient");
            }
        }
    }
}

#[test]
fn what_other_sequences_hold_changes_no_bit_of_a_sequence() {
    for (cell, sizes, instructions) in cases() {
        let mut arrays = arrays(cell, sizes);
        let before = computed(cell, sizes, instructions, &arrays).0;
        let Sizes { rows, inputs, hidden, .. } = sizes;
        for (at, value) in arrays[4].iter_mut().enumerate() {
            if (at / inputs) % rows == rows - 1 {
                *value = 9.0;
            }
        }
        let after = computed(cell, sizes, instructions, &arrays).0;
        assert_ne!(before, after);
        for (at, (before, after)) in before.iter().zip(&after).enumerate() {
            assert!((at / hidden) % rows == rows - 1 || before == after, "{cell:?} {sizes:?} {instructions:?}");
        }
    }
}

#[test]
fn gates_far_from_zero_are_full_and_a_number_that_is_none_stays_none() {
    let sizes = Sizes { steps: 1, rows: 1, inputs: 1, hidden: 1 };
    for instructions in there() {
        let mut arrays = arrays(Cell::Lstm, sizes);
        arrays[2].copy_from_slice(&[1e4, -1e4, 300.0, 2e38]);
        let (outputs, gradients) = computed(Cell::Lstm, sizes, instructions, &arrays);
        assert!((outputs[0] - 1f32.tanh()).abs() < 1e-6, "{instructions:?}: {}", outputs[0]);
        assert!(gradients.iter().flatten().all(|value| value.is_finite()));
        for cell in [Cell::Lstm, Cell::Gru] {
            let mut arrays = self::arrays(cell, sizes);
            arrays[4][0] = f32::NAN;
            assert!(computed(cell, sizes, instructions, &arrays).0[0].is_nan(), "{cell:?} {instructions:?}");
        }
    }
}
