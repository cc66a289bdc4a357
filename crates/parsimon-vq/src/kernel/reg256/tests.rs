use parsimon_core::SplitMix64;

use super::*;

fn random_bytes(n: usize, below: u64, rng: &mut SplitMix64) -> Vec<u8> {
    (0..n).map(|_| rng.below(below) as u8).collect()
}

/// Integers small enough that `f32` holds every sum: both bodies must agree with `i64` exactly.
#[track_caller]
fn check(v: usize, groups: usize, group_size: usize, has_residual: bool, n: usize) {
    let mut rng = SplitMix64::new((v * 1000 + groups * 100 + group_size + n) as u64);
    let segments = Segments::new(groups, group_size);
    let planes = 1 + usize::from(has_residual);
    let blocks = 3;
    let codes = Codes { bytes: random_bytes(blocks * segments.padded() * planes, 256, &mut rng), has_residual };
    let mut table = || -> [u8; ENTRIES] { random_bytes(ENTRIES, 128, &mut rng).try_into().expect("as many") };
    let mut some = |n: usize| -> Vec<[u8; ENTRIES]> { (0..n).map(|_| table()).collect() };
    let tables: Vec<Tables> = (0..groups)
        .map(|_| Tables {
            main: some(v),
            residual: some(if has_residual { v } else { 0 }),
            delta: vec![1.0; v],
            lo: vec![-3.0; v],
        })
        .collect();
    // The largest of every piece is 127, so that scales are 1.
    let mut xs = vec![vec![0.0f32; groups * group_size]; n];
    for xs in &mut xs {
        for (i, x) in xs.iter_mut().enumerate() {
            *x = if (i % group_size).is_multiple_of(COLUMNS) { 127.0 } else { rng.below(255) as f32 - 127.0 };
        }
    }
    let tokens: Vec<Quantized> = xs.iter().map(|xs| Quantized::new(xs, group_size, &segments)).collect();
    let matrix = Matrix { v, tables: &tables, segments: &segments, codes: &codes };
    for level in Level::available() {
        let mut out = vec![0.0; blocks * v * n];
        add(level, &matrix, &tokens, 0..blocks, &mut out);
        for (at, &y) in out.iter().enumerate() {
            let (r, t, i) = (at / n / v, at / n % v, at % n);
            let mut expected = 0i64;
            for (c, &x) in xs[i].iter().enumerate() {
                let (g, column) = (c / group_size, c % group_size);
                let padded = g * segments.group_padded + column;
                let line = r * segments.padded() * planes + padded / COLUMNS * COLUMNS * planes + padded % COLUMNS;
                let mut byte = i64::from(tables[g].main[t][usize::from(codes.bytes[line])]);
                if has_residual {
                    byte += i64::from(tables[g].residual[t][usize::from(codes.bytes[line + COLUMNS])]);
                }
                expected += (byte - 3) * x as i64;
            }
            assert_eq!(f64::from(y), expected as f64, "{level} v {v}, {groups} x {group_size}, row {r} {t}, token {i}");
        }
    }
}

#[test]
fn integers_are_exact() {
    for v in [1, 2, 3, 4, 5, 6, 7, 8, 12, 13] {
        for has_residual in [false, true] {
            for (groups, group_size, n) in [(1, 64, 1), (1, 1, 1), (1, 300, 2), (2, 65, 3), (3, 70, 1), (1, 190, 17)] {
                check(v, groups, group_size, has_residual, n);
            }
        }
    }
}

#[test]
fn pieces_cover_all_columns_and_no_group_shares_one() {
    let segments = Segments::new(2, 700);
    assert_eq!(segments.padded(), 2 * 704);
    let mut at = 0;
    for (i, (piece, g)) in segments.pieces.iter().enumerate() {
        assert_eq!(piece.start, at);
        assert_eq!((piece.start * COLUMNS / 704, (piece.end * COLUMNS - 1) / 704), (*g, *g));
        assert!(piece.len() <= if i < 4 { 1 } else { 4 });
        at = piece.end;
    }
    assert_eq!(at * COLUMNS, segments.padded());
}

#[test]
fn centroids_on_the_grid_are_exact_and_others_are_accounted_for() {
    let grid: Vec<f32> = (0..256).map(|i| -1.0 + i as f32 / 128.0).collect();
    let ones = vec![1u64; 256];
    let (_, error, energy) = Tables::new(&grid, &[], 1, (&ones, &[]));
    assert!(error < 1e-12 * energy);
    let off: Vec<f32> = grid.iter().map(|x| x * x * x).collect();
    let (tables, error, energy) = Tables::new(&off, &[], 1, (&ones, &[]));
    let exact: f64 = (0..256)
        .map(|i| {
            (f64::from(tables.lo[0]) + f64::from(tables.delta[0]) * f64::from(tables.main[0][i]) - f64::from(off[i]))
                .powi(2)
        })
        .sum();
    assert!((error - exact).abs() < 1e-6 * error, "{error} for {exact}");
    assert!(error > 1e-6 * energy);
}
