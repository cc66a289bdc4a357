use half::{bf16, f16};
use parsimon_core::SplitMix64;
use parsimon_simd::Level;

use super::*;

/// Rows of random elements with padding, and the same as f64.
fn random_rows(element: Element, dim: usize, n: usize, rng: &mut SplitMix64) -> (Vec<u8>, usize, Vec<Vec<f64>>) {
    let stride = (dim * element.size()).next_multiple_of(16);
    let mut bytes = vec![0; stride * n];
    let mut exact = vec![vec![0.0; dim]; n];
    for (i, row) in exact.iter_mut().enumerate() {
        for (j, value) in row.iter_mut().enumerate() {
            let raw = match element {
                Element::U8 => vec![if i == 0 { 255 } else { rng.next_u64() as u8 }],
                Element::I8 => vec![if i == 0 { 128 } else { rng.next_u64() as u8 }],
                Element::F32 => (rng.next_normal() as f32).to_le_bytes().to_vec(),
                Element::F16 => f16::from_f64(rng.next_normal()).to_le_bytes().to_vec(),
                Element::Bf16 => bf16::from_f64(rng.next_normal()).to_le_bytes().to_vec(),
            };
            *value = element.decode(&raw)[0].into();
            bytes[i * stride + j * element.size()..][..raw.len()].copy_from_slice(&raw);
        }
    }
    (bytes, stride, exact)
}

/// Every level x element x tail against sums in f64: integers are equal, floats within the rounding of `dim` f32 additions.
#[test]
fn conformance() {
    let mut rng = SplitMix64::new(3);
    for level in Level::available() {
        for element in Element::ALL {
            for dim in [1, 3, 7, 8, 15, 16, 17, 31, 32, 33, 64, 100, 128, 129, 960, 40_000] {
                let (bytes, stride, exact) = random_rows(element, dim, if dim > 1000 { 2 } else { 5 }, &mut rng);
                let query = element.widen(&bytes[..dim * element.size()]);
                for sums in [Sums::Squares, Sums::Products, Sums::ProductsAndNorm] {
                    let mut seen = 0;
                    scan(level, sums, &query, Rows { bytes: &bytes, stride, element }, |i, sum, norm| {
                        let terms = exact[0].iter().zip(&exact[i]);
                        let (want, size) = terms.fold((0.0, 0.0), |(sum, size), (q, x)| {
                            let term = if sums == Sums::Squares { (q - x) * (q - x) } else { q * x };
                            (sum + term, size + term.abs())
                        });
                        let exact_norm: f64 =
                            if sums == Sums::ProductsAndNorm { exact[i].iter().map(|x| x * x).sum() } else { 0.0 };
                        // Eight lanes at least: each sums dim / 8 terms.
                        let tolerance =
                            if element.is_integer() { 0.0 } else { f64::from(f32::EPSILON) * (dim as f64 / 8.0 + 8.0) };
                        let what = format!("{level} {element:?} dim {dim} {sums:?} row {i}");
                        assert!((sum - want).abs() <= tolerance * size, "{what}: {sum} != {want}");
                        assert!(
                            (norm - exact_norm).abs() <= tolerance * exact_norm,
                            "{what}: norm {norm} != {exact_norm}"
                        );
                        seen += 1;
                    });
                    assert_eq!(seen, exact.len());
                }
            }
        }
    }
}
