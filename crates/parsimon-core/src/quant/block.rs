//! The block types of GGUF files: their names, sizes and decoding.
//!
//! A row of `k` weights is `k / block_len` blocks of `block_bytes` bytes; a block holds codes, one or two f16 scales and, for the
//! larger ones, scales of scales. [`BlockMatrix`] borrows such rows. It decodes them to f32, bit for bit as the reference
//! decoders do, and hands the uniform types on as codes, group scales and zeros ([`BlockMatrix::to_group_quantized`]).
//!
//! Ids are upstream's. Other programs give some of these numbers other meanings; [`crate::io::Dialect`] says which.

mod codebook;
mod fp4;
mod k;
mod legacy;
mod ternary;
mod uniform;

pub(super) use fp4::{E2M1_DOUBLED, e8m0_half};
use half::{bf16, f16};

use super::GroupQuantized;
use crate::Diagnose;

/// The type of the blocks of a tensor, with ggml's names. The discriminants are not the ids of files, see [`BlockType::id`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs, reason = "the names are the documentation")]
#[allow(non_camel_case_types, reason = "the names that everybody uses for them")]
pub enum BlockType {
    F32,
    F16,
    BF16,
    F64,
    I8,
    I16,
    I32,
    I64,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2_K,
    Q3_K,
    Q4_K,
    Q5_K,
    Q6_K,
    TQ1_0,
    TQ2_0,
    Q1_0,
    Q2_0,
    MXFP4,
    NVFP4,
    IQ2_XXS,
    IQ2_XS,
    IQ2_S,
    IQ3_XXS,
    IQ3_S,
    IQ1_S,
    IQ1_M,
    IQ4_NL,
    IQ4_XS,
}

use BlockType::*;

/// Type, id, name, elements and bytes of a block; in the order of the enum.
const TABLE: [(BlockType, u32, &str, usize, usize); 33] = [
    (F32, 0, "F32", 1, 4),
    (F16, 1, "F16", 1, 2),
    (BF16, 30, "BF16", 1, 2),
    (F64, 28, "F64", 1, 8),
    (I8, 24, "I8", 1, 1),
    (I16, 25, "I16", 1, 2),
    (I32, 26, "I32", 1, 4),
    (I64, 27, "I64", 1, 8),
    (Q4_0, 2, "Q4_0", 32, 18),
    (Q4_1, 3, "Q4_1", 32, 20),
    (Q5_0, 6, "Q5_0", 32, 22),
    (Q5_1, 7, "Q5_1", 32, 24),
    (Q8_0, 8, "Q8_0", 32, 34),
    (Q2_K, 10, "Q2_K", 256, 84),
    (Q3_K, 11, "Q3_K", 256, 110),
    (Q4_K, 12, "Q4_K", 256, 144),
    (Q5_K, 13, "Q5_K", 256, 176),
    (Q6_K, 14, "Q6_K", 256, 210),
    (TQ1_0, 34, "TQ1_0", 256, 54),
    (TQ2_0, 35, "TQ2_0", 256, 66),
    (Q1_0, 41, "Q1_0", 128, 18),
    (Q2_0, 42, "Q2_0", 64, 18),
    (MXFP4, 39, "MXFP4", 32, 17),
    (NVFP4, 40, "NVFP4", 64, 36),
    (IQ2_XXS, 16, "IQ2_XXS", 256, 66),
    (IQ2_XS, 17, "IQ2_XS", 256, 74),
    (IQ2_S, 22, "IQ2_S", 256, 82),
    (IQ3_XXS, 18, "IQ3_XXS", 256, 98),
    (IQ3_S, 21, "IQ3_S", 256, 110),
    (IQ1_S, 19, "IQ1_S", 256, 50),
    (IQ1_M, 29, "IQ1_M", 256, 56),
    (IQ4_NL, 20, "IQ4_NL", 32, 18),
    (IQ4_XS, 23, "IQ4_XS", 256, 136),
];

/// Ids that upstream gave up.
const REMOVED: [(u32, &str); 8] = [
    (4, "Q4_2"),
    (5, "Q4_3"),
    (31, "Q4_0_4_4"),
    (32, "Q4_0_4_8"),
    (33, "Q4_0_8_8"),
    (36, "IQ4_NL_4_4"),
    (37, "IQ4_NL_4_8"),
    (38, "IQ4_NL_8_8"),
];

/// Ids of types that live in memory only; registries do not even agree on the size of the first.
const IN_MEMORY: [(u32, &str); 2] = [(9, "Q8_1"), (15, "Q8_K")];

impl BlockType {
    /// Every type, in the order of the enum.
    pub fn all() -> impl Iterator<Item = BlockType> {
        TABLE.iter().map(|row| row.0)
    }

    /// The type of an upstream id.
    ///
    /// # Errors
    ///
    /// [`BlockError::RemovedType`] and [`BlockError::InMemoryType`] with the name, [`BlockError::UnknownType`] for any other id.
    pub fn from_id(id: u32) -> Result<BlockType, BlockError> {
        if let Some(row) = TABLE.iter().find(|row| row.1 == id) {
            return Ok(row.0);
        }
        if let Some(&(_, name)) = REMOVED.iter().find(|row| row.0 == id) {
            return Err(BlockError::RemovedType { id, name });
        }
        match IN_MEMORY.iter().find(|row| row.0 == id) {
            Some(&(_, name)) => Err(BlockError::InMemoryType { id, name }),
            None => Err(BlockError::UnknownType { id }),
        }
    }

    /// The type of a name such as `"Q4_K"`.
    pub fn from_name(name: &str) -> Option<BlockType> {
        TABLE.iter().find(|row| row.2 == name).map(|row| row.0)
    }

    /// Upstream's id in files.
    pub fn id(self) -> u32 {
        TABLE[self as usize].1
    }

    /// ggml's name.
    pub fn name(self) -> &'static str {
        TABLE[self as usize].2
    }

    /// Weights of a block; 1 for dense types.
    pub fn block_len(self) -> usize {
        TABLE[self as usize].3
    }

    /// Bytes of a block.
    pub fn block_bytes(self) -> usize {
        TABLE[self as usize].4
    }

    /// Whether [`BlockMatrix::to_group_quantized`] works: codes on a uniform grid.
    pub fn is_uniform(self) -> bool {
        (Q4_0 as usize..=Q2_0 as usize).contains(&(self as usize))
    }

    /// Bytes of `n` weights; `None` when they are not whole blocks or the product overflows.
    pub fn bytes_of(self, n: u64) -> Option<u64> {
        let block_len = self.block_len() as u64;
        if n.is_multiple_of(block_len) { (n / block_len).checked_mul(self.block_bytes() as u64) } else { None }
    }
}

impl std::fmt::Display for BlockType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// A weight matrix `[m, k]` in blocks along `k`, borrowed from a file.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct BlockMatrix<'a> {
    block_type: BlockType,
    m: usize,
    k: usize,
    bytes: &'a [u8],
}

impl<'a> BlockMatrix<'a> {
    /// A matrix over `bytes`, row after row.
    ///
    /// # Errors
    ///
    /// [`BlockError::EmptyShape`], [`BlockError::NotWholeBlocks`] unless `block_len` divides `k`, [`BlockError::ByteLength`]
    /// unless `bytes` is exactly `m * k / block_len * block_bytes` long, and [`BlockError::NotDecodable`] for integer types.
    pub fn try_new(block_type: BlockType, m: usize, k: usize, bytes: &'a [u8]) -> Result<Self, BlockError> {
        if matches!(block_type, I8 | I16 | I32 | I64) {
            return Err(BlockError::NotDecodable { block_type });
        }
        if m == 0 || k == 0 {
            return Err(BlockError::EmptyShape { m, k });
        }
        let block_len = block_type.block_len();
        if !k.is_multiple_of(block_len) {
            return Err(BlockError::NotWholeBlocks { block_type, k, block_len });
        }
        let expected = (k / block_len).checked_mul(m).and_then(|blocks| blocks.checked_mul(block_type.block_bytes()));
        let expected = expected.filter(|_| m.checked_mul(k).is_some()).ok_or(BlockError::TooLarge { m, k })?;
        if bytes.len() != expected {
            return Err(BlockError::ByteLength { block_type, m, k, expected, actual: bytes.len() });
        }
        Ok(BlockMatrix { block_type, m, k, bytes })
    }

    /// The type of the blocks.
    pub fn block_type(&self) -> BlockType {
        self.block_type
    }

    /// Output features (rows).
    pub fn m(&self) -> usize {
        self.m
    }

    /// Input features (columns).
    pub fn k(&self) -> usize {
        self.k
    }

    /// The blocks of all rows.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The blocks of row `r`.
    ///
    /// # Panics
    ///
    /// When `r >= m`.
    pub fn row_bytes(&self, r: usize) -> &'a [u8] {
        assert!(r < self.m, "row {r} of {}", self.m);
        let len = self.bytes.len() / self.m;
        &self.bytes[r * len..][..len]
    }

    /// Decodes all rows to f32, `[m, k]`: bit for bit what the reference decoders give, NaN and infinite scales included.
    ///
    /// # Panics
    ///
    /// When `out.len() != m * k`.
    pub fn dequantize_into(&self, out: &mut [f32]) {
        assert_eq!(out.len(), self.m * self.k, "out must hold [m, k]");
        decode(self.block_type, self.bytes, out);
    }

    /// Decodes row `r`.
    ///
    /// # Panics
    ///
    /// When `r >= m` or `out.len() != k`.
    pub fn dequantize_row_into(&self, r: usize, out: &mut [f32]) {
        assert_eq!(out.len(), self.k, "out must hold a row");
        decode(self.block_type, self.row_bytes(r), out);
    }

    /// [`Self::dequantize_into`] a new vector.
    pub fn dequantize(&self) -> Vec<f32> {
        let mut out = vec![0.0; self.m * self.k];
        self.dequantize_into(&mut out);
        out
    }

    /// The same weights as one code a byte with scales and zeros per group.
    ///
    /// | types | bits | group | zeros |
    /// |---|---|---|---|
    /// | Q4_0, Q5_0, Q8_0 | 4, 5, 8 | 32 | zero points 8, 16, 128 (Q8_0: code = q + 128) |
    /// | Q4_1, Q5_1 | 4, 5 | 32 | real: `w = s q + m`, so `z = -m - 2^(b-1) s` |
    /// | Q2_K | 2 | 16 | real: `w = s q - mn`, so `z = mn - 2^(b-1) s` |
    /// | Q4_K, Q5_K | 4, 5 | 32 | real, likewise |
    /// | Q3_K, Q6_K | 3, 6 | 16 | zero points 4, 32 |
    /// | TQ1_0, TQ2_0 | 2 | 256 | zero point 1 |
    /// | Q1_0 | 1 | 128 | real: `s = 2d`, `z = -d` |
    /// | Q2_0 | 2 | 64 | zero point 1 |
    ///
    /// With zero points the weights equal [`Self::dequantize_into`]'s; with real zeros they differ by the rounding of `z`, at most a
    /// few units in the last place of the largest weight of the group.
    ///
    /// # Errors
    ///
    /// [`BlockError::NotUniform`] for dense and codebook types, [`BlockError::NonFiniteScale`] with the place.
    pub fn to_group_quantized(&self) -> Result<GroupQuantized, BlockError> {
        uniform::to_group_quantized(self)
    }

    /// Checks that every decoded weight is finite.
    ///
    /// # Errors
    ///
    /// [`BlockError::NonFiniteScale`] with the first row and block that are not.
    pub fn validate(&self) -> Result<(), BlockError> {
        let (len, bytes) = (self.block_type.block_len(), self.block_type.block_bytes());
        let mut weights = vec![0.0; len];
        for (i, block) in self.bytes.chunks_exact(bytes).enumerate() {
            decode(self.block_type, block, &mut weights);
            if weights.iter().any(|w| !w.is_finite()) {
                return Err(BlockError::NonFiniteScale { row: i / (self.k / len), block: i % (self.k / len) });
            }
        }
        Ok(())
    }
}

/// Decodes whole blocks; the lengths are the caller's promise.
fn decode(block_type: BlockType, bytes: &[u8], out: &mut [f32]) {
    match block_type {
        F32 => elements(bytes, out, f32::from_le_bytes),
        F16 => elements(bytes, out, |b| f16::from_le_bytes(b).to_f32()),
        BF16 => elements(bytes, out, |b| bf16::from_le_bytes(b).to_f32()),
        F64 => elements(bytes, out, |b| f64::from_le_bytes(b) as f32),
        MXFP4 => blocks(bytes, out, fp4::mxfp4),
        NVFP4 => blocks(bytes, out, fp4::nvfp4),
        IQ4_NL => blocks(bytes, out, fp4::iq4_nl),
        IQ4_XS => blocks(bytes, out, fp4::iq4_xs),
        IQ2_XXS => blocks(bytes, out, codebook::iq2_xxs),
        IQ2_XS => blocks(bytes, out, codebook::iq2_xs),
        IQ2_S => blocks(bytes, out, codebook::iq2_s),
        IQ3_XXS => blocks(bytes, out, codebook::iq3_xxs),
        IQ3_S => blocks(bytes, out, codebook::iq3_s),
        IQ1_S => blocks(bytes, out, codebook::iq1_s),
        IQ1_M => blocks(bytes, out, codebook::iq1_m),
        I8 | I16 | I32 | I64 => unreachable!("`BlockMatrix::try_new` refuses integer types"),
        _ => uniform::decode(block_type, bytes, out),
    }
}

fn elements<const N: usize>(bytes: &[u8], out: &mut [f32], decode: impl Fn([u8; N]) -> f32) {
    for (&element, out) in bytes.as_chunks::<N>().0.iter().zip(out) {
        *out = decode(element);
    }
}

fn blocks<const B: usize, const L: usize>(bytes: &[u8], out: &mut [f32], decode: impl Fn(&[u8; B], &mut [f32; L])) {
    for (block, out) in bytes.as_chunks::<B>().0.iter().zip(out.as_chunks_mut::<L>().0) {
        decode(block, out);
    }
}

/// The f16 at byte `at`.
fn f16_at(block: &[u8], at: usize) -> f32 {
    f16::from_bits(u16_at(block, at)).to_f32()
}

fn u16_at(block: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([block[at], block[at + 1]])
}

fn u32_at(block: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]])
}

/// A block type or a block matrix is not usable.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum BlockError {
    #[error("block type {id} ({name}) was removed from the format; quantize the model again")]
    RemovedType { id: u32, name: &'static str },
    #[error("block type {id} ({name}) exists in memory only and has no place in a file")]
    InMemoryType { id: u32, name: &'static str },
    #[error("block type {id} is not known")]
    UnknownType { id: u32 },
    #[error("{block_type} tensors hold integers, not weights")]
    NotDecodable { block_type: BlockType },
    #[error("{block_type} is not a uniform low-bit type: it decodes to f32 only")]
    NotUniform { block_type: BlockType },
    #[error("empty shape: m = {m}, k = {k}")]
    EmptyShape { m: usize, k: usize },
    #[error("[{m}, {k}] does not fit the address space")]
    TooLarge { m: usize, k: usize },
    #[error("{block_type} has blocks of {block_len} weights, which do not divide k = {k}")]
    NotWholeBlocks { block_type: BlockType, k: usize, block_len: usize },
    #[error("{block_type} [{m}, {k}] needs {expected} bytes, got {actual}")]
    ByteLength { block_type: BlockType, m: usize, k: usize, expected: usize, actual: usize },
    #[error("a scale of row {row}, block {block} is not finite")]
    NonFiniteScale { row: usize, block: usize },
}

impl Diagnose for BlockError {}

#[cfg(test)]
mod tests;
