//! Numbers as a cache keeps them.

use half::{bf16, f16};

/// How keys and values are kept.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum KvDtype {
    /// `f32`, as they come.
    #[default]
    F32,
    /// IEEE half precision: 11 significant bits, up to 65504.
    F16,
    /// The upper half of an `f32`: 8 significant bits.
    Bf16,
    /// 8-bit integers with an `f32` scale for every head and position, `x = scale code` with `scale = max |x| / 127`. A row with a number that is
    /// not finite becomes NaN.
    Int8,
}

impl KvDtype {
    /// All of them.
    pub const ALL: [KvDtype; 4] = [KvDtype::F32, KvDtype::F16, KvDtype::Bf16, KvDtype::Int8];

    /// The name in options.
    pub fn name(self) -> &'static str {
        match self {
            KvDtype::F32 => "f32",
            KvDtype::F16 => "f16",
            KvDtype::Bf16 => "bf16",
            KvDtype::Int8 => "int8",
        }
    }

    /// Bytes of a row of `d` numbers.
    pub fn row_bytes(self, d: usize) -> usize {
        match self {
            KvDtype::F32 => 4 * d,
            KvDtype::F16 | KvDtype::Bf16 => 2 * d,
            KvDtype::Int8 => d + 4,
        }
    }
}

/// A stored number.
pub(crate) trait Element: Copy + Sync {
    /// Whether [`to_f32`](Self::to_f32) takes longer than a product.
    const IS_SLOW: bool = false;

    fn to_f32(self) -> f32;

    /// The rows of a block whose numbers are of this type; of another type none.
    fn rows(block: Block<'_>) -> TypedRows<'_, Self>;
}

/// Rows of one type, `stride` numbers apart, with a scale each or none at all.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TypedRows<'a, E> {
    pub(crate) rows: &'a [E],
    pub(crate) stride: usize,
    pub(crate) scales: &'a [f32],
}

impl<E> TypedRows<'_, E> {
    const NONE: Self = TypedRows { rows: &[], stride: 1, scales: &[] };
}

impl Element for f32 {
    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }

    fn rows(block: Block<'_>) -> TypedRows<'_, Self> {
        match block {
            Block::F32 { rows, stride } => TypedRows { rows, stride, scales: &[] },
            _ => TypedRows::NONE,
        }
    }
}

impl Element for f16 {
    const IS_SLOW: bool = true;

    /// Without branches or calls, so that loops over it become vectors.
    #[inline(always)]
    fn to_f32(self) -> f32 {
        // The bits of a half, moved up, are those of a float with an exponent that is 112 too small, subnormal ones too.
        const REBIAS: f32 = f32::from_bits((127 + 112) << 23);
        let bits = u32::from(self.to_bits());
        let (sign, magnitude) = ((bits & 0x8000) << 16, (bits & 0x7fff) << 13);
        let finite = (f32::from_bits(magnitude) * REBIAS).to_bits();
        let not_finite = if bits & 0x7c00 == 0x7c00 { 0x7f80_0000 } else { 0 };
        f32::from_bits(sign | finite | not_finite)
    }

    fn rows(block: Block<'_>) -> TypedRows<'_, Self> {
        match block {
            Block::F16 { rows, stride } => TypedRows { rows, stride, scales: &[] },
            _ => TypedRows::NONE,
        }
    }
}

impl Element for bf16 {
    #[inline(always)]
    fn to_f32(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }

    fn rows(block: Block<'_>) -> TypedRows<'_, Self> {
        match block {
            Block::Bf16 { rows, stride } => TypedRows { rows, stride, scales: &[] },
            _ => TypedRows::NONE,
        }
    }
}

impl Element for i8 {
    #[inline(always)]
    fn to_f32(self) -> f32 {
        f32::from(self)
    }

    fn rows(block: Block<'_>) -> TypedRows<'_, Self> {
        match block {
            Block::Int8 { rows, stride, scales } => TypedRows { rows, stride, scales },
            _ => TypedRows::NONE,
        }
    }
}

/// Rows of one width.
#[derive(Clone, Debug)]
pub(super) enum Elements {
    F32(Box<[f32]>),
    F16(Box<[f16]>),
    Bf16(Box<[bf16]>),
    Int8 { codes: Box<[i8]>, scales: Box<[f32]> },
}

/// Borrowed rows, `stride` numbers apart.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Block<'a> {
    F32 { rows: &'a [f32], stride: usize },
    F16 { rows: &'a [f16], stride: usize },
    Bf16 { rows: &'a [bf16], stride: usize },
    Int8 { rows: &'a [i8], stride: usize, scales: &'a [f32] },
}

/// Borrowed numbers of one type.
#[derive(Clone, Copy, Debug)]
pub enum KvData<'a> {
    /// `f32`.
    F32(&'a [f32]),
    /// IEEE half precision.
    F16(&'a [f16]),
    /// The upper half of an `f32`.
    Bf16(&'a [bf16]),
}

macro_rules! from_slice {
    ($($element:ty => $variant:ident),*) => {
        $(
            impl<'a> From<&'a [$element]> for KvData<'a> {
                fn from(numbers: &'a [$element]) -> Self {
                    KvData::$variant(numbers)
                }
            }

            impl<'a> From<&'a Vec<$element>> for KvData<'a> {
                fn from(numbers: &'a Vec<$element>) -> Self {
                    KvData::$variant(numbers)
                }
            }
        )*
    };
}

from_slice!(f32 => F32, f16 => F16, bf16 => Bf16);

impl<'a> KvData<'a> {
    /// Numbers.
    pub fn len(&self) -> usize {
        match self {
            KvData::F32(numbers) => numbers.len(),
            KvData::F16(numbers) => numbers.len(),
            KvData::Bf16(numbers) => numbers.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn block(self, stride: usize) -> Block<'a> {
        match self {
            KvData::F32(rows) => Block::F32 { rows, stride },
            KvData::F16(rows) => Block::F16 { rows, stride },
            KvData::Bf16(rows) => Block::Bf16 { rows, stride },
        }
    }
}

impl Elements {
    pub(super) fn zeroed(dtype: KvDtype, rows: usize, d: usize) -> Self {
        let len = rows * d;
        match dtype {
            KvDtype::F32 => Elements::F32(vec![0.0; len].into()),
            KvDtype::F16 => Elements::F16(vec![f16::ZERO; len].into()),
            KvDtype::Bf16 => Elements::Bf16(vec![bf16::ZERO; len].into()),
            KvDtype::Int8 => Elements::Int8 { codes: vec![0; len].into(), scales: vec![0.0; rows].into() },
        }
    }

    /// Writes row `at`.
    pub(super) fn store(&mut self, at: usize, row: &[f32]) {
        let d = row.len();
        match self {
            Elements::F32(rows) => rows[at * d..][..d].copy_from_slice(row),
            Elements::F16(rows) => convert(&mut rows[at * d..][..d], row, f16::from_f32),
            Elements::Bf16(rows) => convert(&mut rows[at * d..][..d], row, bf16::from_f32),
            Elements::Int8 { codes, scales } => scales[at] = quantize(row, &mut codes[at * d..][..d]),
        }
    }

    /// `n` rows of width `d` from row `at` on.
    pub(super) fn block(&self, at: usize, n: usize, d: usize) -> Block<'_> {
        let (start, len) = (at * d, n * d);
        match self {
            Elements::F32(rows) => Block::F32 { rows: &rows[start..][..len], stride: d },
            Elements::F16(rows) => Block::F16 { rows: &rows[start..][..len], stride: d },
            Elements::Bf16(rows) => Block::Bf16 { rows: &rows[start..][..len], stride: d },
            Elements::Int8 { codes, scales } => {
                Block::Int8 { rows: &codes[start..][..len], stride: d, scales: &scales[at..][..n] }
            }
        }
    }

    /// Overwrites all rows with those of `other`, which has the same shape.
    pub(super) fn copy_from(&mut self, other: &Elements) {
        match (self, other) {
            (Elements::F32(to), Elements::F32(from)) => to.copy_from_slice(from),
            (Elements::F16(to), Elements::F16(from)) => to.copy_from_slice(from),
            (Elements::Bf16(to), Elements::Bf16(from)) => to.copy_from_slice(from),
            (Elements::Int8 { codes, scales }, Elements::Int8 { codes: from_codes, scales: from_scales }) => {
                codes.copy_from_slice(from_codes);
                scales.copy_from_slice(from_scales);
            }
            _ => unreachable!("all pages of a pool have one element type"),
        }
    }
}

impl<'a> Block<'a> {
    pub(super) fn dtype(&self) -> KvDtype {
        match self {
            Block::F32 { .. } => KvDtype::F32,
            Block::F16 { .. } => KvDtype::F16,
            Block::Bf16 { .. } => KvDtype::Bf16,
            Block::Int8 { .. } => KvDtype::Int8,
        }
    }

    pub(super) fn stride(&self) -> usize {
        match *self {
            Block::F32 { stride, .. } | Block::F16 { stride, .. } => stride,
            Block::Bf16 { stride, .. } | Block::Int8 { stride, .. } => stride,
        }
    }

    /// What begins at a number of the first row; scales stay where they are.
    pub(super) fn starting_at(self, at: usize) -> Block<'a> {
        match self {
            Block::F32 { rows, stride } => Block::F32 { rows: &rows[at..], stride },
            Block::F16 { rows, stride } => Block::F16 { rows: &rows[at..], stride },
            Block::Bf16 { rows, stride } => Block::Bf16 { rows: &rows[at..], stride },
            Block::Int8 { rows, stride, scales } => Block::Int8 { rows: &rows[at..], stride, scales },
        }
    }

    /// Row `i` as `f32`.
    pub(super) fn row_into(&self, i: usize, out: &mut [f32]) {
        let d = out.len();
        match self {
            Block::F32 { rows, stride } => out.copy_from_slice(&rows[i * stride..][..d]),
            Block::F16 { rows, stride } => convert(out, &rows[i * stride..][..d], Element::to_f32),
            Block::Bf16 { rows, stride } => convert(out, &rows[i * stride..][..d], Element::to_f32),
            Block::Int8 { rows, stride, scales } => {
                convert(out, &rows[i * stride..][..d], |code| scales[i] * code.to_f32());
            }
        }
    }
}

fn convert<A: Copy, B>(to: &mut [B], from: &[A], f: impl Fn(A) -> B) {
    for (to, &from) in to.iter_mut().zip(from) {
        *to = f(from);
    }
}

/// Writes `round(x / scale)` and returns the scale.
fn quantize(row: &[f32], codes: &mut [i8]) -> f32 {
    let max = row.iter().fold(0.0f32, |max, x| max.max(x.abs()));
    if !row.iter().all(|x| x.is_finite()) {
        codes.fill(1);
        return f32::NAN;
    }
    let scale = max / 127.0;
    let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
    // Of a subnormal scale the inverse is infinite; such a row is zero to every sum that it enters.
    let inverse = if inverse.is_finite() { inverse } else { 0.0 };
    convert(codes, row, |x: f32| (x * inverse).round() as i8);
    scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_is_the_number_that_it_means() {
        for bits in 0..=u16::MAX {
            let (ours, theirs) = (Element::to_f32(f16::from_bits(bits)), f16::from_bits(bits).to_f32());
            assert!(ours.to_bits() == theirs.to_bits() || ours.is_nan() && theirs.is_nan(), "{bits:#x}");
            let (ours, theirs) = (Element::to_f32(bf16::from_bits(bits)), bf16::from_bits(bits).to_f32());
            assert!(ours.to_bits() == theirs.to_bits() || ours.is_nan() && theirs.is_nan(), "{bits:#x}");
        }
    }

    #[test]
    fn codes_round_to_nearest_and_keep_what_is_not_finite() {
        let mut codes = [0; 4];
        assert_eq!((quantize(&[127.0, -127.0, 0.6, -0.4], &mut codes), codes), (1.0, [127, -127, 1, 0]));
        assert_eq!((quantize(&[0.0; 4], &mut codes), codes), (0.0, [0; 4]));
        quantize(&[1e-44, 0.0, 0.0, -1e-44], &mut codes);
        assert_eq!(codes, [0; 4]);
        for bad in [f32::NAN, f32::INFINITY] {
            let scale = quantize(&[1.0, bad, 2.0, 3.0], &mut codes);
            assert!(codes.iter().all(|&code| (scale * f32::from(code)).is_nan()));
        }
    }
}
