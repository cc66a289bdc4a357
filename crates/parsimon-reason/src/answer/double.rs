//! Double-double arithmetic: an unevaluated sum of two f64 with about 31 digits.
//!
//! Sums and products are error-free transformations (Dekker, Knuth) followed by a renormalization; the elementary functions reduce
//! their argument, sum a Taylor series and, for the inverse ones, take a step of Newton's method from the f64 value.

use std::ops::{Add, Div, Mul, Neg, Sub};

/// `hi + lo` with `|lo| <= ulp(hi) / 2`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Double {
    pub(crate) hi: f64,
    pub(crate) lo: f64,
}

pub(crate) const PI: Double = Double { hi: std::f64::consts::PI, lo: 1.224_646_799_147_353_2e-16 };
const HALF_PI: Double = Double { hi: std::f64::consts::FRAC_PI_2, lo: 6.123_233_995_736_766e-17 };
const LN_2: Double = Double { hi: std::f64::consts::LN_2, lo: 2.319_046_813_846_299_6e-17 };

fn two_sum(a: f64, b: f64) -> Double {
    let hi = a + b;
    let bb = hi - a;
    Double { hi, lo: (a - (hi - bb)) + (b - bb) }
}

fn quick_sum(a: f64, b: f64) -> Double {
    let hi = a + b;
    Double { hi, lo: b - (hi - a) }
}

impl From<f64> for Double {
    fn from(hi: f64) -> Self {
        Double { hi, lo: 0.0 }
    }
}

impl Add for Double {
    type Output = Double;
    fn add(self, other: Double) -> Double {
        let high = two_sum(self.hi, other.hi);
        let low = two_sum(self.lo, other.lo);
        let sum = quick_sum(high.hi, high.lo + low.hi);
        quick_sum(sum.hi, sum.lo + low.lo)
    }
}

impl Neg for Double {
    type Output = Double;
    fn neg(self) -> Double {
        Double { hi: -self.hi, lo: -self.lo }
    }
}

impl Sub for Double {
    type Output = Double;
    fn sub(self, other: Double) -> Double {
        self + -other
    }
}

impl Mul for Double {
    type Output = Double;
    fn mul(self, other: Double) -> Double {
        let hi = self.hi * other.hi;
        let lo = self.hi.mul_add(other.hi, -hi) + (self.hi * other.lo + self.lo * other.hi);
        quick_sum(hi, lo)
    }
}

impl Div for Double {
    type Output = Double;
    fn div(self, other: Double) -> Double {
        let first = self.hi / other.hi;
        let rest = self - other * Double::from(first);
        let second = rest.hi / other.hi;
        let rest = rest - other * Double::from(second);
        quick_sum(first, second) + Double::from(rest.hi / other.hi)
    }
}

impl Double {
    pub(crate) const ZERO: Double = Double { hi: 0.0, lo: 0.0 };
    pub(crate) const ONE: Double = Double { hi: 1.0, lo: 0.0 };

    pub(crate) fn is_finite(self) -> bool {
        self.hi.is_finite() && self.lo.is_finite()
    }

    pub(crate) fn abs(self) -> Double {
        if self.hi < 0.0 { -self } else { self }
    }

    pub(crate) fn scale(self, by: f64) -> Double {
        self * Double::from(by)
    }

    pub(crate) fn sqrt(self) -> Double {
        if self.hi <= 0.0 {
            return Double::from(self.hi.max(0.0).sqrt());
        }
        let root = Double::from(self.hi.sqrt());
        // Two steps of Newton's method double the 16 digits once and repair the rounding.
        let root = (root + self / root).scale(0.5);
        (root + self / root).scale(0.5)
    }

    pub(crate) fn exp(self) -> Double {
        if self.hi > 709.0 {
            return Double::from(f64::INFINITY);
        }
        if self.hi < -709.0 {
            return Double::ZERO;
        }
        let twos = (self.hi / LN_2.hi).round();
        let rest = (self - LN_2.scale(twos)).scale(1.0 / 64.0);
        // The series of exp(x) - 1, so that squaring away the scale loses no digits of the small part.
        let mut term = rest;
        let mut sum = rest;
        for n in 2..16 {
            term = term * rest / Double::from(f64::from(n));
            sum = sum + term;
        }
        for _ in 0..6 {
            sum = sum.scale(2.0) + sum * sum;
        }
        (sum + Double::ONE).scale(2f64.powi(twos as i32))
    }

    /// The natural logarithm of a positive number.
    pub(crate) fn ln(self) -> Double {
        let mut y = Double::from(self.hi.ln());
        for _ in 0..2 {
            y = y + (self * (-y).exp() - Double::ONE);
        }
        y
    }

    /// Sine and cosine.
    pub(crate) fn sin_cos(self) -> (Double, Double) {
        let quarter = (self.hi / HALF_PI.hi).round();
        let x = self - HALF_PI.scale(quarter);
        let square = -(x * x);
        let (mut sin, mut cos, mut sin_term, mut cos_term) = (x, Double::ONE, x, Double::ONE);
        for n in 1..16 {
            let n = f64::from(n);
            cos_term = cos_term * square / Double::from((2.0 * n - 1.0) * (2.0 * n));
            sin_term = sin_term * square / Double::from((2.0 * n) * (2.0 * n + 1.0));
            cos = cos + cos_term;
            sin = sin + sin_term;
        }
        match quarter.rem_euclid(4.0) as u8 {
            0 => (sin, cos),
            1 => (cos, -sin),
            2 => (-sin, -cos),
            _ => (-cos, sin),
        }
    }

    /// The angle of the point (`x`, `self`).
    pub(crate) fn atan2(self, x: Double) -> Double {
        let radius = (self * self + x * x).sqrt();
        if radius.hi == 0.0 {
            return Double::ZERO;
        }
        let start = Double::from(self.hi.atan2(x.hi));
        let (sin, cos) = start.sin_cos();
        // sin of the error of the start; its cube is far below the last digit.
        start + (self * cos - x * sin) / radius
    }
}

#[cfg(test)]
mod tests;
