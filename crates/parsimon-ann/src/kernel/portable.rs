//! Portable bodies, compiled for every level: independent lanes that the compiler turns into registers.

use half::f16;
use parsimon_simd::{Level, Vectorize, vectorize};

use super::{Rows, Sums, Wide};
use crate::Element;

/// Lanes of a float sum: two 512-bit registers.
const LANES: usize = 32;
/// Integer products of 16 bits fit i32 this often (`2^14 * 255^2 < 2^31`).
const INT_BLOCK: usize = 1 << 14;

pub(super) fn block(level: Level, sums: Sums, query: &Wide, rows: Rows<'_>, out: &mut [f64], norms: &mut [f64]) {
    match (query, rows.element) {
        (Wide::Float(query), Element::F32) => {
            vectorize(level, FloatScan::<4, _> { sums, query, rows, out, norms, widen: f32::from_le_bytes })
        }
        (Wide::Float(query), Element::Bf16) => {
            let widen = |b: [u8; 2]| f32::from_bits(u32::from(u16::from_le_bytes(b)) << 16);
            vectorize(level, FloatScan::<2, _> { sums, query, rows, out, norms, widen });
        }
        (Wide::Float(query), Element::F16) => {
            let widen = |b: [u8; 2]| f16::from_le_bytes(b).to_f32();
            vectorize(level, FloatScan::<2, _> { sums, query, rows, out, norms, widen });
        }
        (Wide::Int(query), Element::U8) => {
            vectorize(level, IntScan { sums, query, rows, out, norms, widen: i16::from })
        }
        (Wide::Int(query), Element::I8) => {
            vectorize(level, IntScan { sums, query, rows, out, norms, widen: |b: u8| i16::from(b as i8) });
        }
        (Wide::Float(_), Element::U8 | Element::I8) | (Wide::Int(_), _) => {
            unreachable!("a query is widened for its rows")
        }
    }
}

struct FloatScan<'a, const SIZE: usize, W> {
    sums: Sums,
    query: &'a [f32],
    rows: Rows<'a>,
    out: &'a mut [f64],
    norms: &'a mut [f64],
    widen: W,
}

impl<const SIZE: usize, W: Fn([u8; SIZE]) -> f32> Vectorize for FloatScan<'_, SIZE, W> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let dim = self.query.len();
        let add = |acc: f32, a: f32, b: f32| if FMA { a.mul_add(b, acc) } else { a * b + acc };
        for (i, (out, norm)) in self.out.iter_mut().zip(self.norms).enumerate() {
            let row = &self.rows.bytes[i * self.rows.stride..][..dim * SIZE];
            let widen = &self.widen;
            match self.sums {
                Sums::Squares => {
                    *out = fold(self.query, row, |acc, q, x| add(acc, q - widen(x), q - widen(x)));
                }
                Sums::Products => *out = fold(self.query, row, |acc, q, x| add(acc, q, widen(x))),
                Sums::ProductsAndNorm => {
                    *out = fold(self.query, row, |acc, q, x| add(acc, q, widen(x)));
                    *norm = fold(self.query, row, |acc, _, x| add(acc, widen(x), widen(x)));
                }
            }
        }
    }
}

#[inline(always)]
fn fold<const SIZE: usize>(query: &[f32], row: &[u8], add: impl Fn(f32, f32, [u8; SIZE]) -> f32) -> f64 {
    let (row, _) = row.as_chunks::<SIZE>();
    let (queries, query_tail) = query.as_chunks::<LANES>();
    let (rows, row_tail) = row.as_chunks::<LANES>();
    let mut acc = [0.0f32; LANES];
    for (q, x) in queries.iter().zip(rows) {
        for (acc, (&q, &x)) in acc.iter_mut().zip(q.iter().zip(x)) {
            *acc = add(*acc, q, x);
        }
    }
    let mut tail = 0.0;
    for (&q, &x) in query_tail.iter().zip(row_tail) {
        tail = add(tail, q, x);
    }
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            acc[lane] += acc[lane + width];
        }
        width /= 2;
    }
    f64::from(acc[0] + tail)
}

struct IntScan<'a, W> {
    sums: Sums,
    query: &'a [i16],
    rows: Rows<'a>,
    out: &'a mut [f64],
    norms: &'a mut [f64],
    widen: W,
}

impl<W: Fn(u8) -> i16> Vectorize for IntScan<'_, W> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let dim = self.query.len();
        for (i, (out, norm)) in self.out.iter_mut().zip(self.norms).enumerate() {
            let row = &self.rows.bytes[i * self.rows.stride..][..dim];
            let widen = |x: u8| i32::from((self.widen)(x));
            let total = |term: &dyn Fn(i32, i32) -> i32| -> f64 {
                let blocks = self.query.chunks(INT_BLOCK).zip(row.chunks(INT_BLOCK));
                let sum = |(q, x): (&[i16], &[u8])| -> i64 {
                    i64::from(q.iter().zip(x).map(|(&q, &x)| term(i32::from(q), widen(x))).sum::<i32>())
                };
                blocks.map(sum).sum::<i64>() as f64
            };
            (*out, *norm) = match self.sums {
                Sums::Squares => (total(&|q, x| (q - x) * (q - x)), 0.0),
                Sums::Products => (total(&|q, x| q * x), 0.0),
                Sums::ProductsAndNorm => (total(&|q, x| q * x), total(&|_, x| x * x)),
            };
        }
    }
}
