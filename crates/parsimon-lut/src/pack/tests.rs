use parsimon_core::io::Checkpoint;

use super::*;

fn layout(kernel: Kernel, bits: usize, k: usize, group: usize) -> Layout {
    Layout { kernel, bits, k, group }
}

fn pack(layout: Layout, codes: &[u8]) -> Vec<u8> {
    let (tile_m, m) = (layout.kernel.tile_m(), codes.len() / layout.k);
    let mut stream = vec![0; m.div_ceil(tile_m) * layout.tile_bytes()];
    for (tile, stream) in stream.chunks_exact_mut(layout.tile_bytes()).enumerate() {
        layout.pack_tile(Codes { codes, order: None }, tile * tile_m, &mut Vec::new(), stream);
    }
    stream
}

/// Every nibble of both layouts, straight from the definition in [`crate::kernel`].
#[test]
fn layouts_hold_every_nibble_where_the_definition_says() {
    let (m, k) = (70, 44);
    for bits in 1..=4usize {
        let codes: Vec<u8> = (0..m * k).map(|i| (i * 7 + i / 5) as u8 & ((1 << bits) - 1)).collect();
        let code = |row: usize, col: usize| if row < m && col < k { codes[row * k + col] } else { 0 };
        let nib = |row, col, p| (0..4).fold(0u8, |nib, t| nib | (code(row, col + t) >> p & 1) << t);
        let quad = pack(layout(Kernel::new(Method::Lut, Level::Avx512Vbmi), bits, k, k), &codes);
        let mut bytes = quad.iter();
        for tile in 0..2 {
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
        let paired = pack(layout(Kernel::new(Method::Lut, Level::Scalar), bits, k, k), &codes);
        for (i, &byte) in paired.iter().enumerate() {
            let (line, r) = (i / 32, i % 32);
            let lines = 64 / 8 * bits;
            let (m0, k0, p) = (line / lines * 32, line % lines / bits * 8, line % bits);
            assert_eq!(byte, nib(m0 + r, k0, p) | nib(m0 + r, k0 + 4, p) << 4);
        }
    }
}

/// Reading a code back is the inverse of packing, for every layout.
#[test]
fn every_code_is_found_again() {
    let (m, k) = (300, 70);
    for kernel in Kernel::ALL {
        for bits in 1..=8 {
            for group in [16, 32, 64, k] {
                let Some(stored_bits) = kernel.stored_bits(bits, group) else { continue };
                let levels = if kernel.method() == Method::Elut { 3 } else { 1 << bits };
                let codes: Vec<u8> = (0..m * k).map(|i| ((i * 31 + i / 7) % levels) as u8).collect();
                let layout = layout(kernel, usize::from(stored_bits), k, group);
                let stream = pack(layout, &codes);
                for (i, &code) in codes.iter().enumerate() {
                    let (row, c) = (i / k, i % k);
                    let tile = &stream[row / kernel.tile_m() * layout.tile_bytes()..][..layout.tile_bytes()];
                    assert_eq!(layout.code(tile, row % kernel.tile_m(), c), code, "{} {bits} bits", kernel.name());
                }
            }
        }
    }
}

#[test]
fn an_order_moves_columns() {
    let layout = layout(Kernel::new(Method::Dot, Level::Scalar), 8, 4, 4);
    let mut stream = vec![0; layout.tile_bytes()];
    layout.pack_tile(Codes { codes: &[1, 2, 3, 4], order: Some(&[2, 0, 3, 1]) }, 0, &mut Vec::new(), &mut stream);
    assert_eq!(stream[..4], [3, 1, 4, 2]);
}

/// The layouts equal bytes made by an independent program.
#[test]
fn golden_streams() {
    parsimon_testkit::committed("parsimon-lut", env!("CARGO_MANIFEST_DIR"), |dir| {
        let golden = Checkpoint::open(&dir.join("integer_exact.safetensors")).unwrap();
        let mut cases = 0;
        let mut check = |method, bits: usize, codes: &str, expected: &str| {
            let codes = golden.tensor(codes).unwrap();
            let &[_, k] = codes.shape() else { panic!("codes are a matrix") };
            // Ternary goldens hold the trits themselves.
            let is_trits = method == Method::Elut;
            let codes: Vec<u8> =
                codes.bytes().iter().map(|&code| if is_trits { code.wrapping_add(1) } else { code }).collect();
            let layout = layout(Kernel::new(method, Level::Avx512Vbmi), bits, k, k);
            let stream = pack(layout, &codes);
            let expected_tiles = golden.tensor(expected).unwrap();
            // The golden file pads columns to a register, we to 32: then zeros follow.
            let tile_len = expected_tiles.bytes().len() / (stream.len() / layout.tile_bytes());
            for (stream, tile) in stream.chunks(layout.tile_bytes()).zip(expected_tiles.bytes().chunks(tile_len)) {
                assert!(stream[..tile_len] == *tile, "{expected}");
                assert!(stream[tile_len..].iter().all(|&byte| byte == 0), "{expected}: padding");
            }
            cases += 1;
        };
        for bits in 1..=4 {
            check(Method::Lut, bits, &format!("int.b{bits}.codes"), &format!("int.b{bits}.lut_a"));
        }
        for bits in [2, 4] {
            check(Method::Dot, bits, &format!("int.b{bits}.codes"), &format!("int.b{bits}.vnni"));
        }
        check(Method::Elut, 2, "tern.t", "tern.elut5");
        cases
    });
}
