//! Elementary functions without calls or branches, so that a loop around them vectorizes inside [`vectorize`](crate::vectorize).

/// `2^x`: `2^n p(x - n)` with `n` the nearest integer and a minimax polynomial of degree 6 on `[-1/2, 1/2]`.
///
/// Relative error below 1.2e-7 up to 127.5 (1e-5 in the half octave before infinity). Exactly 0 below -126, where normal numbers end; infinite from 128 on; NaN stays NaN.
#[inline(always)]
pub fn exp2<const FMA: bool>(x: f32) -> f32 {
    const C: [f32; 7] =
        [1.0, std::f32::consts::LN_2, 0.240_226_46, 0.055_503_286, 0.009_618_489, 0.001_339_993, 0.000_153_458_12];
    // A comparison, not `max`: a NaN must stay one.
    let inside = if x < -126.0 { -126.0 } else { x };
    let n = inside.round_ties_even().min(127.0);
    let f = inside - n;
    let mut p = C[6];
    for &c in C[..6].iter().rev() {
        p = if FMA { p.mul_add(f, c) } else { p * f + c };
    }
    let scale = f32::from_bits(((n as i32 + 127) << 23) as u32);
    if x < -126.0 {
        0.0
    } else if x >= 128.0 {
        f32::INFINITY
    } else {
        p * scale
    }
}

/// The logistic unit `silu(x) = x / (1 + e^-x)`.
#[inline(always)]
pub fn silu<const FMA: bool>(x: f32) -> f32 {
    x / (1.0 + exp2::<FMA>(-x * std::f32::consts::LOG2_E))
}

/// The hyperbolic tangent, relative error below 3e-7.
///
/// Near 0 the continued fraction `x / (1 + x^2 / (3 + x^2 / (5 + ..)))` cut after five levels, beyond it `1 - 2 / (e^(2 |x|) + 1)` with the sign of
/// `x`; both are computed and one is kept.
#[inline(always)]
pub fn tanh<const FMA: bool>(x: f32) -> f32 {
    let x2 = x * x;
    let near = x * (945.0 + x2 * (105.0 + x2)) / (945.0 + x2 * (420.0 + 15.0 * x2));
    let far = 1.0 - 2.0 / (exp2::<FMA>(x.abs() * (2.0 * std::f32::consts::LOG2_E)) + 1.0);
    if x.abs() < 0.625 { near } else { far.copysign(x) }
}

/// The tangent form of the Gaussian error linear unit, `gelu(x) = x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))`.
///
/// Computed as `x sigmoid(2 u)` with `u` the argument of the tangent, which keeps its relative precision where the unit vanishes.
#[inline(always)]
pub fn gelu_tanh<const FMA: bool>(x: f32) -> f32 {
    const FACTOR: f32 = -2.0 * 0.797_884_6 * std::f32::consts::LOG2_E;
    x / (1.0 + exp2::<FMA>(FACTOR * (x + 0.044_715 * x * x * x)))
}

/// The sum of 16 lanes, halves added to halves: four additions deep, where one after the other would be fifteen.
#[inline(always)]
pub fn lane_sum(lanes: [f32; 16]) -> f32 {
    let mut eight = [0.0f32; 8];
    for (i, sum) in eight.iter_mut().enumerate() {
        *sum = lanes[i] + lanes[i + 8];
    }
    let mut four = [0.0f32; 4];
    for (i, sum) in four.iter_mut().enumerate() {
        *sum = eight[i] + eight[i + 4];
    }
    (four[0] + four[2]) + (four[1] + four[3])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponential_is_within_its_bound() {
        for i in -126_000..128_000 {
            let x = i as f32 / 1000.0;
            let exact = f64::from(x).exp2();
            for value in [exp2::<true>(x), exp2::<false>(x)] {
                let error = (f64::from(value) - exact).abs() / exact;
                let bound = if x > 127.5 { 1e-5 } else { 1.2e-7 };
                assert!(error < bound, "2^{x}: {error}");
            }
        }
        assert_eq!(exp2::<false>(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp2::<false>(-126.5), 0.0);
        assert_eq!(exp2::<false>(0.0), 1.0);
        assert_eq!(exp2::<false>(128.0), f32::INFINITY);
        assert_eq!(exp2::<false>(f32::INFINITY), f32::INFINITY);
        assert!(exp2::<false>(f32::NAN).is_nan());
    }

    #[test]
    fn silu_follows_its_definition_to_the_ends() {
        for i in -1000..1000 {
            let x = i as f32 / 10.0;
            let exact = f64::from(x) / (1.0 + (-f64::from(x)).exp());
            // The exponent `x log2 e` itself is rounded, which is what the error grows with.
            assert!((f64::from(silu::<true>(x)) - exact).abs() <= 1e-5 * exact.abs() + 1e-36, "silu({x})");
        }
        assert_eq!(silu::<true>(-1e30), 0.0);
    }

    #[test]
    fn the_tangent_is_within_its_bound() {
        for i in -40_000..40_000 {
            let x = i as f32 / 2000.0;
            let exact = f64::from(x).tanh();
            for value in [tanh::<true>(x), tanh::<false>(x)] {
                assert!((f64::from(value) - exact).abs() <= 3e-7 * exact.abs(), "tanh({x}) = {value}");
            }
        }
        assert_eq!((tanh::<false>(f32::INFINITY), tanh::<true>(-1e30)), (1.0, -1.0));
        assert!(tanh::<false>(f32::NAN).is_nan());
    }

    #[test]
    fn gelu_follows_its_definition_to_the_ends() {
        for i in -1000..1000 {
            let x = i as f32 / 100.0;
            let (wide, factor) = (f64::from(x), (2.0 / std::f64::consts::PI).sqrt());
            let exact = 0.5 * wide * (1.0 + (factor * (wide + 0.044_715 * wide.powi(3))).tanh());
            let error = (f64::from(gelu_tanh::<true>(x)) - exact).abs();
            assert!(error <= 2e-5 * exact.abs() + 1e-9, "gelu({x}): {error}");
        }
        assert_eq!((gelu_tanh::<true>(-1e5), gelu_tanh::<false>(1e5)), (0.0, 1e5));
    }

    #[test]
    fn every_lane_is_in_the_sum_once() {
        for lane in 0..16 {
            let mut lanes = [1.0; 16];
            lanes[lane] = 100.0;
            assert_eq!(lane_sum(lanes), 115.0);
        }
    }
}
