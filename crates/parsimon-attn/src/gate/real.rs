//! `f32` and `f64`, as much of them as gates need.

use std::fmt::Debug;
use std::ops::{Add, AddAssign, Div, Mul, Neg, Sub};

/// A floating-point number.
pub trait Real:
    Copy
    + Default
    + PartialOrd
    + Debug
    + Send
    + Sync
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
{
    /// 0.
    const ZERO: Self;
    /// Below every number.
    const NEG_INFINITY: Self;

    /// The nearest number.
    fn of(x: f64) -> Self;
    /// As `f64`.
    fn wide(self) -> f64;
    /// `e^x`.
    fn exp(self) -> Self;
    /// The natural logarithm.
    fn ln(self) -> Self;
    /// The square root.
    fn sqrt(self) -> Self;
    /// Whether it is no number.
    fn is_nan(self) -> bool;

    /// The sum, one after the other.
    fn sum(numbers: impl Iterator<Item = Self>) -> Self {
        numbers.fold(Self::ZERO, |sum, x| sum + x)
    }

    /// The scalar product, in eight sums.
    fn dot(a: &[Self], b: &[Self]) -> Self {
        let mut sums = [Self::ZERO; 8];
        let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
        for (a, b) in a.iter().zip(b) {
            for (sum, (&a, &b)) in sums.iter_mut().zip(a.iter().zip(b)) {
                *sum += a * b;
            }
        }
        let rest = Self::sum(a_rest.iter().zip(b_rest).map(|(&a, &b)| a * b));
        Self::sum(sums.into_iter()) + rest
    }
}

macro_rules! real {
    ($($float:ty),*) => {
        $(
            impl Real for $float {
                const ZERO: Self = 0.0;
                const NEG_INFINITY: Self = <$float>::NEG_INFINITY;

                #[allow(clippy::cast_possible_truncation, reason = "rounding is meant")]
                fn of(x: f64) -> Self {
                    x as $float
                }

                fn wide(self) -> f64 {
                    f64::from(self)
                }

                fn exp(self) -> Self {
                    self.exp()
                }

                fn ln(self) -> Self {
                    self.ln()
                }

                fn sqrt(self) -> Self {
                    self.sqrt()
                }

                fn is_nan(self) -> bool {
                    self.is_nan()
                }
            }
        )*
    };
}

real!(f32, f64);
