//! Complex numbers over [`Double`], with the principal branches of the elementary functions.

use std::ops::{Add, Div, Mul, Neg, Sub};

use super::double::{Double, PI};

#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Complex {
    pub(crate) re: Double,
    pub(crate) im: Double,
}

impl From<Double> for Complex {
    fn from(re: Double) -> Self {
        Complex { re, im: Double::ZERO }
    }
}

impl From<f64> for Complex {
    fn from(re: f64) -> Self {
        Double::from(re).into()
    }
}

impl Add for Complex {
    type Output = Complex;
    fn add(self, other: Complex) -> Complex {
        Complex { re: self.re + other.re, im: self.im + other.im }
    }
}

impl Neg for Complex {
    type Output = Complex;
    fn neg(self) -> Complex {
        Complex { re: -self.re, im: -self.im }
    }
}

impl Sub for Complex {
    type Output = Complex;
    fn sub(self, other: Complex) -> Complex {
        self + -other
    }
}

impl Mul for Complex {
    type Output = Complex;
    fn mul(self, other: Complex) -> Complex {
        if self.is_real() && other.is_real() {
            return (self.re * other.re).into();
        }
        Complex { re: self.re * other.re - self.im * other.im, im: self.re * other.im + self.im * other.re }
    }
}

impl Div for Complex {
    type Output = Complex;
    fn div(self, other: Complex) -> Complex {
        if other.is_real() {
            return Complex { re: self.re / other.re, im: self.im / other.re };
        }
        let norm = other.re * other.re + other.im * other.im;
        let product = self * Complex { re: other.re, im: -other.im };
        Complex { re: product.re / norm, im: product.im / norm }
    }
}

impl Complex {
    pub(crate) const ONE: Complex = Complex { re: Double::ONE, im: Double::ZERO };
    pub(crate) const I: Complex = Complex { re: Double::ZERO, im: Double::ONE };

    pub(crate) fn is_real(self) -> bool {
        self.im.hi == 0.0
    }

    pub(crate) fn is_finite(self) -> bool {
        self.re.is_finite() && self.im.is_finite()
    }

    pub(crate) fn is_zero(self) -> bool {
        self.re.hi == 0.0 && self.im.hi == 0.0
    }

    pub(crate) fn abs(self) -> Double {
        if self.is_real() { self.re.abs() } else { (self.re * self.re + self.im * self.im).sqrt() }
    }

    pub(crate) fn exp(self) -> Complex {
        let radius = self.re.exp();
        if self.is_real() {
            return radius.into();
        }
        let (sin, cos) = self.im.sin_cos();
        Complex { re: radius * cos, im: radius * sin }
    }

    pub(crate) fn ln(self) -> Complex {
        if self.is_real() && self.re.hi > 0.0 {
            return self.re.ln().into();
        }
        Complex { re: self.abs().ln(), im: self.im.atan2(self.re) }
    }

    pub(crate) fn sqrt(self) -> Complex {
        if !self.is_real() {
            return if self.is_zero() { self } else { (self.ln() * Complex::from(0.5)).exp() };
        }
        let root = self.re.abs().sqrt();
        if self.re.hi < 0.0 { Complex { re: Double::ZERO, im: root } } else { root.into() }
    }

    /// The integer power by repeated squaring.
    pub(crate) fn powi(self, exponent: i64) -> Complex {
        let (mut base, mut power, mut rest) = (self, Complex::ONE, exponent.unsigned_abs());
        while rest > 0 {
            if rest & 1 == 1 {
                power = power * base;
            }
            base = base * base;
            rest >>= 1;
        }
        if exponent < 0 { Complex::ONE / power } else { power }
    }

    pub(crate) fn pow(self, exponent: Complex) -> Complex {
        if self.is_zero() {
            return self;
        }
        (self.ln() * exponent).exp()
    }

    /// Sine and cosine, through the exponential where the argument is not real.
    pub(crate) fn sin_cos(self) -> (Complex, Complex) {
        if self.is_real() {
            let (sin, cos) = self.re.sin_cos();
            return (sin.into(), cos.into());
        }
        let (up, down) = ((self * Complex::I).exp(), (-self * Complex::I).exp());
        let half = Complex::from(0.5);
        ((up - down) * half / Complex::I, (up + down) * half)
    }

    pub(crate) fn atan(self) -> Complex {
        if self.is_real() {
            return self.re.atan2(Double::ONE).into();
        }
        let turned = self * Complex::I;
        (Complex::ONE - turned).ln() * Complex::I * Complex::from(0.5)
            - (Complex::ONE + turned).ln() * Complex::I * Complex::from(0.5)
    }

    pub(crate) fn asin(self) -> Complex {
        if self.is_real() && self.re.abs().hi <= 1.0 {
            return self.re.atan2((Double::ONE - self.re * self.re).sqrt()).into();
        }
        -Complex::I * (Complex::I * self + (Complex::ONE - self * self).sqrt()).ln()
    }

    pub(crate) fn acos(self) -> Complex {
        Complex::from(PI.scale(0.5)) - self.asin()
    }
}
