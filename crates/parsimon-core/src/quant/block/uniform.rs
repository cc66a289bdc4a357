//! Blocks whose codes lie on a uniform grid: one unpacking function a type, used both to decode and to convert.
//!
//! A type's function splits a block into codes, a scale per group and, where the type has one, an offset per group. What the
//! numbers mean is the type's [`Form`].

use super::{BlockError, BlockMatrix, BlockType, k, legacy, ternary};
use crate::quant::{GroupQuantized, Zeros};

/// How codes become weights. The order of operations is the reference decoders'.
#[derive(Clone, Copy)]
enum Form {
    /// `s (q - zero_point)`.
    Point(u16),
    /// `s q + offset`.
    Offset,
    /// `q ? s / 2 : -s / 2`: equal to the offset form but for the sign of a zero.
    Sign,
}

/// What to do with a uniform type: its bits, its form and its unpacking function for blocks of `B` bytes, `L` weights and `G`
/// groups.
trait Visit {
    type Out;

    fn visit<const B: usize, const L: usize, const G: usize>(
        self,
        bits: u8,
        form: Form,
        unpack: impl Fn(&[u8; B], &mut [u8; L], &mut [f32; G], &mut [f32; G]),
    ) -> Self::Out;
}

/// Calls `visit` with what belongs to `block_type`; `None` when the type is not uniform.
fn with_layout<V: Visit>(block_type: BlockType, v: V) -> Option<V::Out> {
    use Form::{Offset, Point, Sign};
    Some(match block_type {
        BlockType::Q4_0 => v.visit(4, Point(8), legacy::q4_0),
        BlockType::Q4_1 => v.visit(4, Offset, legacy::q4_1),
        BlockType::Q5_0 => v.visit(5, Point(16), legacy::q5_0),
        BlockType::Q5_1 => v.visit(5, Offset, legacy::q5_1),
        BlockType::Q8_0 => v.visit(8, Point(128), legacy::q8_0),
        BlockType::Q2_K => v.visit(2, Offset, k::q2_k),
        BlockType::Q3_K => v.visit(3, Point(4), k::q3_k),
        BlockType::Q4_K => v.visit(4, Offset, k::q4_k),
        BlockType::Q5_K => v.visit(5, Offset, k::q5_k),
        BlockType::Q6_K => v.visit(6, Point(32), k::q6_k),
        BlockType::TQ1_0 => v.visit(2, Point(1), ternary::tq1_0),
        BlockType::TQ2_0 => v.visit(2, Point(1), ternary::tq2_0),
        BlockType::Q1_0 => v.visit(1, Sign, ternary::q1_0),
        BlockType::Q2_0 => v.visit(2, Point(1), ternary::q2_0),
        _ => return None,
    })
}

/// Decodes whole blocks of a uniform type.
pub(super) fn decode(block_type: BlockType, bytes: &[u8], out: &mut [f32]) {
    with_layout(block_type, Decode { bytes, out }).expect("`decode` of block.rs sends only uniform types here");
}

struct Decode<'a> {
    bytes: &'a [u8],
    out: &'a mut [f32],
}

impl Visit for Decode<'_> {
    type Out = ();

    fn visit<const B: usize, const L: usize, const G: usize>(
        self,
        _bits: u8,
        form: Form,
        unpack: impl Fn(&[u8; B], &mut [u8; L], &mut [f32; G], &mut [f32; G]),
    ) {
        let (mut codes, mut scales, mut offsets) = ([0; L], [0.0; G], [0.0; G]);
        for (block, out) in self.bytes.as_chunks::<B>().0.iter().zip(self.out.as_chunks_mut::<L>().0) {
            unpack(block, &mut codes, &mut scales, &mut offsets);
            for (g, (codes, out)) in codes.chunks_exact(L / G).zip(out.chunks_exact_mut(L / G)).enumerate() {
                let (s, offset) = (scales[g], offsets[g]);
                let pairs = codes.iter().zip(out);
                match form {
                    Form::Point(zero_point) => {
                        let zero_point = i32::from(zero_point);
                        pairs.for_each(|(&q, w)| *w = s * (i32::from(q) - zero_point) as f32);
                    }
                    Form::Offset => pairs.for_each(|(&q, w)| *w = s * f32::from(q) + offset),
                    Form::Sign => pairs.for_each(|(&q, w)| *w = if q == 0 { -0.5 * s } else { 0.5 * s }),
                }
            }
        }
    }
}

/// See [`BlockMatrix::to_group_quantized`]. Allocates the result and nothing else.
pub(super) fn to_group_quantized(matrix: &BlockMatrix<'_>) -> Result<GroupQuantized, BlockError> {
    let converted = with_layout(matrix.block_type, Convert(matrix));
    let converted = converted.ok_or(BlockError::NotUniform { block_type: matrix.block_type })?;
    let groups_of_block = matrix.block_type.block_len() / converted.group;
    let blocks_of_row = matrix.k / matrix.block_type.block_len();
    let reals: &[f32] = match &converted.zeros {
        Zeros::Points(_) => &[],
        Zeros::Real(reals) => reals,
    };
    let odd = |values: &[f32]| values.iter().position(|v| !v.is_finite());
    match odd(&converted.scales).or_else(|| odd(reals)) {
        None => Ok(converted),
        Some(group) => {
            let block = group / groups_of_block;
            Err(BlockError::NonFiniteScale { row: block / blocks_of_row, block: block % blocks_of_row })
        }
    }
}

struct Convert<'a>(&'a BlockMatrix<'a>);

impl Visit for Convert<'_> {
    type Out = GroupQuantized;

    fn visit<const B: usize, const L: usize, const G: usize>(
        self,
        bits: u8,
        form: Form,
        unpack: impl Fn(&[u8; B], &mut [u8; L], &mut [f32; G], &mut [f32; G]),
    ) -> GroupQuantized {
        let &BlockMatrix { m, k, bytes, .. } = self.0;
        let blocks = bytes.as_chunks::<B>().0;
        let mut codes = vec![0; m * k];
        let mut scales = vec![0.0; blocks.len() * G];
        let outputs = blocks.iter().zip(codes.as_chunks_mut::<L>().0).zip(scales.as_chunks_mut::<G>().0);
        let zeros = match form {
            Form::Point(zero_point) => {
                let mut unused = [0.0; G];
                outputs.for_each(|((block, codes), scales)| unpack(block, codes, scales, &mut unused));
                Zeros::Points(vec![zero_point; blocks.len() * G])
            }
            Form::Offset | Form::Sign => {
                let middle = f32::from(1u8 << (bits - 1));
                let mut zeros = vec![0.0; blocks.len() * G];
                for (((block, codes), scales), zeros) in outputs.zip(zeros.as_chunks_mut::<G>().0) {
                    unpack(block, codes, scales, zeros);
                    // w = s q + offset = (q - middle) s - z
                    zeros.iter_mut().zip(scales).for_each(|(z, s)| *z = -*z - middle * *s);
                }
                Zeros::Real(zeros)
            }
        };
        GroupQuantized { bits, m, k, group: L / G, codes, scales, zeros, g_idx: None }
    }
}
