//! What the perceptrons see of a step.

use super::domain::{Op, Step};

/// Numbers a step is described by.
pub const FEATURES: usize = 79;

/// Magnitude, logarithm and the ten lowest bits of a number.
fn number(x: u32, out: &mut [f32]) {
    out[0] = (x as f32 / 100.0).min(4.0);
    out[1] = (1.0 + x as f32).ln() / 7.0;
    for (bit, slot) in out[2..12].iter_mut().enumerate() {
        *slot = (x >> bit & 1) as f32;
    }
}

/// A step: up to three numbers that are left, the target, the two operands, the operation, and how many are left.
pub fn features(step: &Step) -> [f32; FEATURES] {
    let mut out = [0.0; FEATURES];
    let left = step.next.numbers();
    for (slot, x) in left.iter().enumerate() {
        number(*x, &mut out[slot * 12..slot * 12 + 12]);
    }
    number(step.next.target, &mut out[36..48]);
    number(step.a, &mut out[48..60]);
    number(step.b, &mut out[60..72]);
    let op = Op::ALL.iter().position(|op| *op == step.op).expect("one of the four");
    out[72 + op] = 1.0;
    out[76 + left.len() - 1] = 1.0;
    out
}
