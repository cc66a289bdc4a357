//! Exact evaluation of rational expressions modulo a prime of 61 bits.
//!
//! Two rational functions that agree at random points modulo random primes are equal but for a chance of about `degree / 2^61` a point
//! (Schwartz and Zippel), so that no number is ever rounded and `1/2^69` differs from `1/2^68`.

use super::eval::{Budget, Stop, small_int};
use super::expr::Expr;

/// Primes just below 2^61; the pair is what makes a collision of constants improbable too.
pub(super) const PRIMES: [u64; 2] = [(1 << 61) - 1, 2_305_843_009_213_693_921];

/// The arithmetic modulo `p` at one assignment of the variables.
pub(super) struct Modular<'a> {
    pub(super) p: u64,
    pub(super) values: &'a [(String, u64)],
}

/// Whether the expression is a rational function with constant integer exponents, which is what [`Modular`] evaluates.
pub(super) fn is_rational(expr: &Expr) -> bool {
    !expr.any(&|part| match part {
        Expr::Pow(_, exponent) => small_int(exponent).is_none(),
        Expr::Factorial(n) => small_int(n).is_none(),
        Expr::Binomial(n, k) => small_int(n).is_none() || small_int(k).is_none(),
        Expr::Pi
        | Expr::E
        | Expr::I
        | Expr::Infinity
        | Expr::Root(..)
        | Expr::Abs(_)
        | Expr::Call(..)
        | Expr::Log(..)
        | Expr::PlusMinus(..) => true,
        _ => false,
    })
}

impl Modular<'_> {
    fn mul(&self, a: u64, b: u64) -> u64 {
        (u128::from(a) * u128::from(b) % u128::from(self.p)) as u64
    }

    fn add(&self, a: u64, b: u64) -> u64 {
        // Both are below 2^61, so that the sum fits.
        (a + b) % self.p
    }

    fn pow(&self, mut base: u64, mut exponent: u64) -> u64 {
        let mut power = 1;
        while exponent > 0 {
            if exponent & 1 == 1 {
                power = self.mul(power, base);
            }
            base = self.mul(base, base);
            exponent >>= 1;
        }
        power
    }

    fn inverse(&self, a: u64) -> Result<u64, Stop> {
        if a == 0 { Err(Stop::Domain) } else { Ok(self.pow(a, self.p - 2)) }
    }

    fn factorial(&self, n: i64, budget: &mut Budget) -> Result<u64, Stop> {
        if n < 0 {
            return Err(Stop::Domain);
        }
        if n > 1_000_000 {
            return Err(Stop::Budget);
        }
        budget.spend(1 + n as u64 / 16)?;
        Ok((2..=n as u64).fold(1, |product, i| self.mul(product, i)))
    }

    pub(super) fn eval(&self, expr: &Expr, budget: &mut Budget) -> Result<u64, Stop> {
        budget.spend(1)?;
        Ok(match expr {
            Expr::Num { digits, exp10 } => {
                budget.spend(digits.len() as u64 / 8)?;
                let mantissa =
                    digits.bytes().fold(0, |sum, digit| self.add(self.mul(sum, 10), u64::from(digit - b'0')));
                let scale = self.pow(10, exp10.unsigned_abs());
                self.mul(mantissa, if *exp10 < 0 { self.inverse(scale)? } else { scale })
            }
            Expr::Var(name) => match self.values.iter().find(|(known, _)| known == name) {
                Some((_, value)) => *value % self.p,
                None => return Err(Stop::Domain),
            },
            Expr::Neg(a) => (self.p - self.eval(a, budget)?) % self.p,
            Expr::Add(a, b) => self.add(self.eval(a, budget)?, self.eval(b, budget)?),
            Expr::Mul(a, b) => self.mul(self.eval(a, budget)?, self.eval(b, budget)?),
            Expr::Div(a, b) => {
                let (a, b) = (self.eval(a, budget)?, self.eval(b, budget)?);
                self.mul(a, self.inverse(b)?)
            }
            Expr::Pow(base, exponent) => {
                let exponent = small_int(exponent).ok_or(Stop::Domain)?;
                let base = self.eval(base, budget)?;
                budget.spend(8)?;
                let power = self.pow(base, exponent.unsigned_abs());
                if exponent < 0 { self.inverse(power)? } else { power }
            }
            Expr::Factorial(n) => self.factorial(small_int(n).ok_or(Stop::Domain)?, budget)?,
            Expr::Binomial(n, k) => {
                let (n, k) = (small_int(n).ok_or(Stop::Domain)?, small_int(k).ok_or(Stop::Domain)?);
                if k < 0 || n < 0 {
                    return Err(Stop::Domain);
                }
                if k > n {
                    return Ok(0);
                }
                let below = self.mul(self.factorial(k, budget)?, self.factorial(n - k, budget)?);
                self.mul(self.factorial(n, budget)?, self.inverse(below)?)
            }
            _ => return Err(Stop::Domain),
        })
    }
}
