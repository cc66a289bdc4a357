//! `tdpbf16ps`: 16 tokens times 16 rows times 32 columns an instruction (own form).
//!
//! Four tiles hold the sums of 32 tokens and 32 rows; every 32 columns take two tiles of activations and two panels. The compiler knows no
//! tiles, so a product is one block of assembly, and the shape of the tiles is set before it and cleared after it.

use std::arch::asm;
use std::marker::PhantomData;
use std::ops::Range;

use parsimon_simd::Amx;

use super::{Panel, Rows, TOKEN_STEP};
use crate::activations::K_STEP;

/// Rows of a pair of panels.
const PAIR_ROWS: usize = 32;

/// Bytes of 32 columns of a token.
const STEP_BYTES: usize = 2 * K_STEP;

/// Palette 1 and eight tiles of 16 rows of 64 bytes.
#[repr(C, align(64))]
struct Shape([u8; 64]);

static SHAPE: Shape = {
    let mut bytes = [0; 64];
    bytes[0] = 1;
    let mut tile = 0;
    while tile < 8 {
        bytes[16 + 2 * tile] = STEP_BYTES as u8;
        bytes[48 + tile] = 16;
        tile += 1;
    }
    Shape(bytes)
};

/// The tiles of this thread in the shape above while it lives.
struct Tiles(PhantomData<*const ()>);

impl Tiles {
    fn new(_: Amx) -> Tiles {
        // SAFETY: the token proves the instruction and the kernel's permission; it reads the 64 bytes of `SHAPE`, which are a valid shape.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const SHAPE, options(readonly, nostack, preserves_flags)) };
        Tiles(PhantomData)
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        // SAFETY: there are tiles, or `new` would not have returned; nothing else of this thread uses them.
        unsafe { asm!("tilerelease", options(nomem, nostack, preserves_flags)) };
    }
}

/// `sums [n][rows] += x[.., columns] * panels`.
pub(super) fn multiply(
    token: Amx,
    x: &Rows<'_>,
    columns: Range<usize>,
    panels: &[Panel],
    rows: usize,
    sums: &mut [f32],
) {
    let steps = columns.len() / K_STEP;
    let n = x.n.next_multiple_of(TOKEN_STEP);
    let tiles = Tiles::new(token);
    for (pair, panels) in panels.chunks_exact(2 * steps).enumerate() {
        for t in (0..n).step_by(2 * TOKEN_STEP) {
            let activations = &x.bytes[t * x.stride + 2 * columns.start..];
            let sums = &mut sums[t * rows + pair * PAIR_ROWS..];
            let product = Product { activations, stride: x.stride, panels, sums, rows };
            if n - t > TOKEN_STEP { product.run::<2>(&tiles) } else { product.run::<1>(&tiles) }
        }
    }
}

/// One or two times 16 tokens, and 32 rows.
struct Product<'a> {
    activations: &'a [u8],
    /// Bytes from token to token.
    stride: usize,
    panels: &'a [Panel],
    sums: &'a mut [f32],
    /// Sums of a token.
    rows: usize,
}

impl Product<'_> {
    fn run<const BLOCKS: usize>(self, _: &Tiles) {
        let Product { activations, stride, panels, sums, rows } = self;
        let (steps, last_token) = (panels.len() / 2, BLOCKS * TOKEN_STEP - 1);
        assert!(steps > 0 && activations.len() >= last_token * stride + steps * STEP_BYTES, "rows of activations");
        assert!(sums.len() >= last_token * rows + PAIR_ROWS, "rows of sums");
        let a = activations.as_ptr();
        let (b, c) = (panels.as_ptr(), sums.as_mut_ptr());
        if BLOCKS == 2 {
            let (a2, c2) = (a.wrapping_add(TOKEN_STEP * stride), c.wrapping_add(TOKEN_STEP * rows));
            // SAFETY: `Tiles` proves that tiles have 16 rows of 64 bytes. Row i of a tile of activations is read at `a + i stride`, 64 bytes for
            // each of `steps`, and 32 rows of them lie within `activations`; two panels a step lie within `panels`; 32 rows of 32 floats,
            // `rows` apart, lie within `sums`, which is borrowed exclusively: all asserted above.
            unsafe {
                asm!(
                    "tileloadd tmm0, [{c} + {cs}]", "tileloadd tmm1, [{c} + {cs} + 64]",
                    "tileloadd tmm2, [{c2} + {cs}]", "tileloadd tmm3, [{c2} + {cs} + 64]",
                    "2:",
                    "tileloadd tmm6, [{b} + {bs}]", "tileloadd tmm4, [{a} + {stride}]", "tdpbf16ps tmm0, tmm4, tmm6",
                    "tileloadd tmm7, [{b} + {bs} + 1024]", "tdpbf16ps tmm1, tmm4, tmm7",
                    "tileloadd tmm5, [{a2} + {stride}]", "tdpbf16ps tmm2, tmm5, tmm6", "tdpbf16ps tmm3, tmm5, tmm7",
                    "add {a}, 64", "add {a2}, 64", "add {b}, 2048", "dec {steps}", "jnz 2b",
                    "tilestored [{c} + {cs}], tmm0", "tilestored [{c} + {cs} + 64], tmm1",
                    "tilestored [{c2} + {cs}], tmm2", "tilestored [{c2} + {cs} + 64], tmm3",
                    a = inout(reg) a => _, a2 = inout(reg) a2 => _, b = inout(reg) b => _, c = in(reg) c, c2 = in(reg) c2,
                    cs = in(reg) 4 * rows, bs = in(reg) 64usize, stride = in(reg) stride, steps = inout(reg) steps => _,
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _, out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack),
                );
            }
        } else {
            // SAFETY: as above, with 16 rows of activations and of sums.
            unsafe {
                asm!(
                    "tileloadd tmm0, [{c} + {cs}]", "tileloadd tmm1, [{c} + {cs} + 64]",
                    "2:",
                    "tileloadd tmm6, [{b} + {bs}]", "tileloadd tmm4, [{a} + {stride}]", "tdpbf16ps tmm0, tmm4, tmm6",
                    "tileloadd tmm7, [{b} + {bs} + 1024]", "tdpbf16ps tmm1, tmm4, tmm7",
                    "add {a}, 64", "add {b}, 2048", "dec {steps}", "jnz 2b",
                    "tilestored [{c} + {cs}], tmm0", "tilestored [{c} + {cs} + 64], tmm1",
                    a = inout(reg) a => _, b = inout(reg) b => _, c = in(reg) c,
                    cs = in(reg) 4 * rows, bs = in(reg) 64usize, stride = in(reg) stride, steps = inout(reg) steps => _,
                    out("tmm0") _, out("tmm1") _, out("tmm4") _, out("tmm6") _, out("tmm7") _,
                    options(nostack),
                );
            }
        }
    }
}
