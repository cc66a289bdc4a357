use parsimon_core::quant::rtn::{Levels, quantize};

use super::*;

/// What llama.cpp's converter does to the rows of one head: `reshape(2, d / 2).swap(0, 1)`.
fn permuted(rows: &[usize], head_dim: usize) -> Vec<usize> {
    let head = |rows: &[usize]| (0..head_dim).map(|at| rows[at % 2 * (head_dim / 2) + at / 2]).collect::<Vec<_>>();
    rows.chunks_exact(head_dim).flat_map(head).collect()
}

#[test]
fn the_order_of_rotated_heads_is_undone() {
    for (heads, d) in [(1, 2), (3, 8), (2, 64)] {
        let rows: Vec<usize> = (0..heads * d).collect();
        assert_eq!(Rows::unpermuted(heads * d, d).of(permuted(&rows, d), 1), rows);
    }
}

#[test]
fn rows_of_a_quantized_matrix_keep_their_weights() {
    let (m, k) = (8, 64);
    let w: Vec<f32> = (0..m * k).map(|i| (i as f32 * 0.7).sin()).collect();
    let matrix = quantize(&w, m, k, Levels::Bits(3), 32).unwrap();
    let whole = matrix.dequantize();
    assert_eq!(Rows::all(m).of_quantized(matrix.clone()), matrix);
    let part = Rows::part(2..5, m).of_quantized(matrix.clone());
    assert_eq!((part.m, part.validate()), (3, Ok(())));
    assert_eq!(part.dequantize(), whole[2 * k..5 * k]);
    let turned = Rows::unpermuted(m, 4).of_quantized(matrix);
    assert_eq!(turned.dequantize()[k..2 * k], whole[2 * k..3 * k]);
}
