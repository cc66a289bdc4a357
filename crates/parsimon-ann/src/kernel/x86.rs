//! Bodies for x86-64: bytes widen to 16 bits and multiply in pairs into 32; halves widen to floats.
//!
//! A lane of 32 bits takes at most `65536 / 8` products of `255^2`, which fits; only the sum of the lanes may not, so it is made in
//! 64 bits above [`NARROW`] elements.

use std::arch::x86_64::*;

use parsimon_simd::{Avx2, Avx512, Avx512Vnni, Level, x86};

use super::{Rows, Sums, Wide};
use crate::Element;

/// Up to this many elements the whole sum fits 32 bits: `33_000 * 255^2 < 2^31`.
const NARROW: usize = 33_000;

/// `sum (q - x)^2`, `sum q x` and `sum x x`, as constants that choose a body.
const SQUARES: u8 = 0;
const PRODUCTS: u8 = 1;
const NORM: u8 = 2;

/// Runs the best body; false where the portable one is to run.
pub(super) fn block(
    level: Level,
    sums: Sums,
    query: &Wide,
    rows: Rows<'_>,
    out: &mut [f64],
    norms: &mut [f64],
) -> bool {
    macro_rules! run {
        ($token:ident, $module:ident) => {
            if level.includes(Level::$token) && $token::try_new().is_some() {
                match (query, rows.element) {
                    // SAFETY: the token exists, so the processor has the features of its level.
                    (Wide::Int(query), Element::U8) => unsafe { $module::ints::<false>(sums, query, rows, out, norms) },
                    // SAFETY: as above.
                    (Wide::Int(query), Element::I8) => unsafe { $module::ints::<true>(sums, query, rows, out, norms) },
                    // SAFETY: as above.
                    (Wide::Float(query), Element::F16) => unsafe { $module::halves(sums, query, rows, out, norms) },
                    _ => return false,
                }
                return true;
            }
        };
    }
    run!(Avx512Vnni, avx512vnni);
    run!(Avx512, avx512);
    run!(Avx2, avx2);
    false
}

/// The loops, written once and compiled per level, so that the features reach every call. The module that uses the macro supplies
/// the steps: registers of words and of floats.
macro_rules! loops {
    ($features:literal, $step:literal, $half_step:literal) => {
        #[target_feature(enable = $features)]
        pub(super) fn ints<const SIGNED: bool>(
            sums: Sums,
            query: &[i16],
            rows: Rows<'_>,
            out: &mut [f64],
            norms: &mut [f64],
        ) {
            let dim = query.len();
            for (i, (out, norm)) in out.iter_mut().zip(norms).enumerate() {
                let row = &rows.bytes[i * rows.stride..][..dim];
                match sums {
                    Sums::Squares => *out = int_sum::<SQUARES, SIGNED>(query, row),
                    Sums::Products => *out = int_sum::<PRODUCTS, SIGNED>(query, row),
                    Sums::ProductsAndNorm => {
                        *out = int_sum::<PRODUCTS, SIGNED>(query, row);
                        *norm = int_sum::<NORM, SIGNED>(query, row);
                    }
                }
            }
        }

        #[inline]
        #[target_feature(enable = $features)]
        fn int_sum<const OP: u8, const SIGNED: bool>(query: &[i16], row: &[u8]) -> f64 {
            let (queries, query_tail) = query.as_chunks::<$step>();
            let (rows, row_tail) = row.as_chunks::<$step>();
            let mut acc = [zero(); 2];
            for (step, (q, x)) in queries.iter().zip(rows).enumerate() {
                let x = widen::<SIGNED>(x);
                let (a, b) = match OP {
                    SQUARES => {
                        let d = subtract(load_words(q), x);
                        (d, d)
                    }
                    PRODUCTS => (load_words(q), x),
                    _ => (x, x),
                };
                acc[step % 2] = dot(acc[step % 2], a, b);
            }
            let lanes = add(acc[0], acc[1]);
            let mut sum = if query.len() <= NARROW { i64::from(narrow(lanes)) } else { wide(lanes) };
            for (&q, &x) in query_tail.iter().zip(row_tail) {
                let (q, x) = (i64::from(q), if SIGNED { i64::from(x as i8) } else { i64::from(x) });
                sum += match OP {
                    SQUARES => (q - x) * (q - x),
                    PRODUCTS => q * x,
                    _ => x * x,
                };
            }
            sum as f64
        }

        #[target_feature(enable = $features)]
        pub(super) fn halves(sums: Sums, query: &[f32], rows: Rows<'_>, out: &mut [f64], norms: &mut [f64]) {
            let dim = query.len();
            for (i, (out, norm)) in out.iter_mut().zip(norms).enumerate() {
                let (row, _) = rows.bytes[i * rows.stride..][..2 * dim].as_chunks::<2>();
                match sums {
                    Sums::Squares => *out = half_sum::<SQUARES>(query, row),
                    Sums::Products => *out = half_sum::<PRODUCTS>(query, row),
                    Sums::ProductsAndNorm => {
                        *out = half_sum::<PRODUCTS>(query, row);
                        *norm = half_sum::<NORM>(query, row);
                    }
                }
            }
        }

        #[inline]
        #[target_feature(enable = $features)]
        fn half_sum<const OP: u8>(query: &[f32], row: &[[u8; 2]]) -> f64 {
            let (queries, query_tail) = query.as_chunks::<$half_step>();
            let (rows, row_tail) = row.as_chunks::<$half_step>();
            let mut acc = [float_zero(); 2];
            for (step, (q, x)) in queries.iter().zip(rows).enumerate() {
                let x = load_halves(&std::array::from_fn(|i| u16::from_le_bytes(x[i])));
                let (a, b) = match OP {
                    SQUARES => {
                        let d = float_subtract(load_floats(q), x);
                        (d, d)
                    }
                    PRODUCTS => (load_floats(q), x),
                    _ => (x, x),
                };
                acc[step % 2] = multiply_add(a, b, acc[step % 2]);
            }
            let mut sum = float_total(acc[0], acc[1]);
            for (&q, &x) in query_tail.iter().zip(row_tail) {
                let x = half::f16::from_le_bytes(x).to_f32();
                let (a, b) = match OP {
                    SQUARES => (q - x, q - x),
                    PRODUCTS => (q, x),
                    _ => (x, x),
                };
                sum = a.mul_add(b, sum);
            }
            f64::from(sum)
        }
    };
}

macro_rules! steps {
    ($features:literal: $($(#[$attr:meta])* fn $name:ident $(<const $c:ident: bool>)? ($($arg:ident: $ty:ty),*) -> $out:ty $body:block)*) => {
        $($(#[$attr])* #[inline] #[target_feature(enable = $features)] fn $name $(<const $c: bool>)? ($($arg: $ty),*) -> $out $body)*
    };
}

mod avx2 {
    use super::*;

    loops!("avx2,fma,f16c", 16, 8);
    steps! { "avx2,fma,f16c":
        fn zero() -> __m256i { _mm256_setzero_si256() }
        fn load_words(q: &[i16; 16]) -> __m256i { x86::load_256(bytemuck::cast_ref(q)) }
        fn widen<const SIGNED: bool>(x: &[u8; 16]) -> __m256i {
            let bytes = _mm256_castsi256_si128(x86::broadcast_128(x));
            if SIGNED { _mm256_cvtepi8_epi16(bytes) } else { _mm256_cvtepu8_epi16(bytes) }
        }
        fn subtract(a: __m256i, b: __m256i) -> __m256i { _mm256_sub_epi16(a, b) }
        fn dot(acc: __m256i, a: __m256i, b: __m256i) -> __m256i { _mm256_add_epi32(acc, _mm256_madd_epi16(a, b)) }
        fn add(a: __m256i, b: __m256i) -> __m256i { _mm256_add_epi32(a, b) }
        fn narrow(lanes: __m256i) -> i32 {
            let half = _mm_add_epi32(_mm256_castsi256_si128(lanes), _mm256_extracti128_si256::<1>(lanes));
            let pair = _mm_add_epi32(half, _mm_shuffle_epi32::<0b01_00_11_10>(half));
            _mm_cvtsi128_si32(_mm_add_epi32(pair, _mm_shuffle_epi32::<0b10_11_00_01>(pair)))
        }
        fn wide(lanes: __m256i) -> i64 {
            let mut bytes = [0; 32];
            x86::store_256(&mut bytes, lanes);
            bytemuck::cast::<_, [i32; 8]>(bytes).into_iter().map(i64::from).sum()
        }
        fn float_zero() -> __m256 { _mm256_setzero_ps() }
        fn load_floats(q: &[f32; 8]) -> __m256 { x86::load_f32x8(q) }
        fn load_halves(x: &[u16; 8]) -> __m256 { x86::load_f16x8(x) }
        fn float_subtract(a: __m256, b: __m256) -> __m256 { _mm256_sub_ps(a, b) }
        fn multiply_add(a: __m256, b: __m256, acc: __m256) -> __m256 { _mm256_fmadd_ps(a, b, acc) }
        fn float_total(a: __m256, b: __m256) -> f32 {
            let mut lanes = [0.0; 8];
            x86::store_f32x8(&mut lanes, _mm256_add_ps(a, b));
            lanes.into_iter().sum()
        }
    }
}

/// The steps of 512 bits; `dot` is what VNNI adds.
macro_rules! steps_512 {
    ($features:literal) => {
        steps! { $features:
            fn zero() -> __m512i { _mm512_setzero_si512() }
            fn load_words(q: &[i16; 32]) -> __m512i { x86::load_512(bytemuck::cast_ref(q)) }
            fn widen<const SIGNED: bool>(x: &[u8; 32]) -> __m512i {
                let bytes = x86::load_256(x);
                if SIGNED { _mm512_cvtepi8_epi16(bytes) } else { _mm512_cvtepu8_epi16(bytes) }
            }
            fn subtract(a: __m512i, b: __m512i) -> __m512i { _mm512_sub_epi16(a, b) }
            fn add(a: __m512i, b: __m512i) -> __m512i { _mm512_add_epi32(a, b) }
            fn narrow(lanes: __m512i) -> i32 { _mm512_reduce_add_epi32(lanes) }
            fn wide(lanes: __m512i) -> i64 {
                let mut bytes = [0; 64];
                x86::store_512(&mut bytes, lanes);
                bytemuck::cast::<_, [i32; 16]>(bytes).into_iter().map(i64::from).sum()
            }
            fn float_zero() -> __m512 { _mm512_setzero_ps() }
            fn load_floats(q: &[f32; 16]) -> __m512 { x86::load_f32x16(q) }
            fn load_halves(x: &[u16; 16]) -> __m512 { x86::load_f16x16(x) }
            fn float_subtract(a: __m512, b: __m512) -> __m512 { _mm512_sub_ps(a, b) }
            fn multiply_add(a: __m512, b: __m512, acc: __m512) -> __m512 { _mm512_fmadd_ps(a, b, acc) }
            fn float_total(a: __m512, b: __m512) -> f32 { _mm512_reduce_add_ps(_mm512_add_ps(a, b)) }
        }
    };
}

mod avx512 {
    use super::*;

    loops!("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c", 32, 16);
    steps_512!("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c");
    steps! { "avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c":
        fn dot(acc: __m512i, a: __m512i, b: __m512i) -> __m512i { _mm512_add_epi32(acc, _mm512_madd_epi16(a, b)) }
    }
}

mod avx512vnni {
    use super::*;

    loops!("avx512vnni,avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c", 32, 16);
    steps_512!("avx512vnni,avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c");
    steps! { "avx512vnni,avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c":
        fn dot(acc: __m512i, a: __m512i, b: __m512i) -> __m512i { _mm512_dpwssd_epi32(acc, a, b) }
    }
}
