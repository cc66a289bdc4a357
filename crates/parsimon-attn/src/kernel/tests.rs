use super::scatter::split_heads;
use super::*;

#[test]
fn spans_and_unions_hold_all_bits() {
    assert_eq!((span(0), span(1), span(u64::MAX), span(0b1010 << 40)), (0..0, 0..1, 0..64, 41..44));
    let mut bits = [0; TILE];
    (bits[8], bits[9]) = (4, 1 << 63);
    assert_eq!((union(Some(&bits), 8, 8), union(Some(&bits), 0, 8), union(None, 0, 8)), (4 | 1 << 63, 0, u64::MAX));
}

#[test]
fn tiles_of_a_matrix_are_written_apart() {
    let mut matrix = vec![0.0; 5 * 2 * 3];
    let mut tiles = split_heads(&mut matrix, (2, 3), &[0..2, 2..5]);
    for (i, tile) in tiles.iter_mut().enumerate() {
        let rows = if i < 2 { 2 } else { 3 };
        (0..rows).for_each(|r| tile.row_mut(r).fill((10 * i + r) as f32));
    }
    let firsts: Vec<f32> = matrix.chunks_exact(3).map(|row| row[0]).collect();
    assert_eq!(firsts, [0.0, 10.0, 1.0, 11.0, 20.0, 30.0, 21.0, 31.0, 22.0, 32.0]);
}

#[test]
#[should_panic(expected = "rows are ascending")]
fn tiles_that_overlap_are_refused() {
    split_heads(&mut [0.0; 12], (2, 1), &[0..3, 2..4]);
}

#[test]
fn buffers_begin_at_lines_wherever_they_go() {
    for len in [1, 15, 16, 1000] {
        let mut buffer = Aligned::<f32>::zeroed(len);
        assert_eq!((buffer.len(), buffer.as_ptr() as usize % 64), (len, 0));
        buffer.resize(len / 2 + 1);
        let copy = buffer.clone();
        assert_eq!((copy.len(), copy.as_ptr() as usize % 64), (len / 2 + 1, 0));
    }
    let mut empty = Aligned::<u32>::default();
    empty.resize(70);
    assert_eq!((empty.len(), empty.as_ptr() as usize % 64), (70, 0));
}
