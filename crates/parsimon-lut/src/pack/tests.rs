use parsimon_core::io::Checkpoint;

use super::*;

/// Every nibble of both layouts, straight from the definition in [`crate::kernel`].
#[test]
fn layouts_hold_every_nibble_where_the_definition_says() {
    let (m, k) = (70, 44);
    for bits in 1..=4usize {
        let codes: Vec<u8> = (0..m * k).map(|i| (i * 7 + i / 5) as u8 & ((1 << bits) - 1)).collect();
        let packed = Codes { bits, k, codes: &codes };
        let code = |row: usize, col: usize| if row < m && col < k { codes[row * k + col] } else { 0 };
        let nib = |row, col, p| (0..4).fold(0u8, |nib, t| nib | (code(row, col + t) >> p & 1) << t);
        for (tile, m0) in [(0, 0), (1, 64)] {
            let mut quad = vec![0; packed.tile_bytes(Kernel::Avx512Vbmi)];
            packed.pack_tile(Kernel::Avx512Vbmi, m0, &mut quad);
            let mut bytes = quad.iter();
            for k0 in (0..64).step_by(32) {
                for p in 0..bits {
                    for rb in 0..4 {
                        for j in 0..64 {
                            let row = tile * 64 + 16 * rb + j / 4;
                            let expected = nib(row, k0 + 4 * (j % 4), p) | nib(row, k0 + 16 + 4 * (j % 4), p) << 4;
                            assert_eq!(*bytes.next().unwrap(), expected);
                        }
                    }
                }
            }
        }
        let mut paired = vec![0; packed.tile_bytes(Kernel::Avx2)];
        packed.pack_tile(Kernel::Avx2, 64, &mut paired);
        for (i, &byte) in paired.iter().enumerate() {
            let (line, r) = (i / 32, i % 32);
            let (k0, p) = (line / bits * 8, line % bits);
            assert_eq!(byte, nib(64 + r, k0, p) | nib(64 + r, k0 + 4, p) << 4);
        }
    }
}

/// The quad layout equals bytes made by an independent program.
#[test]
fn golden_streams() {
    parsimon_testkit::committed("parsimon-lut", env!("CARGO_MANIFEST_DIR"), |dir| {
        let golden = Checkpoint::open(&dir.join("integer_exact.safetensors")).unwrap();
        for bits in 1..=4 {
            let tensor = |part: &str| golden.tensor(&format!("int.b{bits}.{part}")).unwrap();
            let &[m, k] = tensor("codes").shape() else { panic!("codes are a matrix") };
            let codes = Codes { bits, k, codes: tensor("codes").bytes() };
            let tile_bytes = codes.tile_bytes(Kernel::Avx512Vbmi);
            let mut stream = vec![0; m.div_ceil(64) * tile_bytes];
            for (tile, stream) in stream.chunks_exact_mut(tile_bytes).enumerate() {
                codes.pack_tile(Kernel::Avx512Vbmi, 64 * tile, stream);
            }
            assert_eq!(stream, tensor("lut_a").bytes(), "{bits} bits");
        }
        4
    });
}
