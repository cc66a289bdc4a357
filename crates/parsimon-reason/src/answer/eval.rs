//! Numerical evaluation in complex double-double, the step budget, and the identity test of two scalars at random points.

use parsimon_core::SplitMix64;

use super::complex::Complex;
use super::double::{Double, PI};
use super::expr::{Expr, Function};
use super::modular::{Modular, PRIMES, is_rational};

/// Why an evaluation stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stop {
    /// No value at this point: a division by zero, a logarithm of zero.
    Domain,
    /// The step budget, or a number beyond what is computed.
    Budget,
}

/// Steps that are left. One step is about ten nanoseconds.
pub(super) struct Budget(pub(super) u64);

impl Budget {
    pub(super) fn spend(&mut self, steps: u64) -> Result<(), Stop> {
        match self.0.checked_sub(steps) {
            Some(left) => {
                self.0 = left;
                Ok(())
            }
            None => {
                self.0 = 0;
                Err(Stop::Budget)
            }
        }
    }
}

/// Relative difference below which two values of 31 digits count as the same.
const RELATIVE: f64 = 1e-24;
/// What cancellation of summands may leave, relative to the largest of them.
const CANCELLED: f64 = 1e-27;
/// How often a point outside the domain of both sides is drawn again.
const REDRAWS: usize = 32;
const POINTS: usize = 8;
/// Integer exponents up to this are computed.
const EXPONENT_MAX: i64 = 1 << 32;

/// The integer that a constant expression of integers is, where it and every part of it fit in 63 bits.
pub(super) fn small_int(expr: &Expr) -> Option<i64> {
    let int = |part: &Expr| small_int(part);
    match expr {
        Expr::Num { digits, exp10 } => {
            let trimmed = digits.trim_start_matches('0');
            if *exp10 < 0 || trimmed.len() as i64 + exp10 > 18 {
                return None;
            }
            let value: i64 = if trimmed.is_empty() { 0 } else { trimmed.parse().ok()? };
            value.checked_mul(10i64.checked_pow(u32::try_from(*exp10).ok()?)?)
        }
        Expr::Neg(a) => int(a)?.checked_neg(),
        Expr::Add(a, b) => int(a)?.checked_add(int(b)?),
        Expr::Mul(a, b) => int(a)?.checked_mul(int(b)?),
        Expr::Div(a, b) => {
            let (a, b) = (int(a)?, int(b)?);
            (b != 0 && a % b == 0).then(|| a / b)
        }
        Expr::Pow(a, b) => int(a)?.checked_pow(u32::try_from(int(b)?).ok()?),
        _ => None,
    }
    .filter(|value| value.abs() <= EXPONENT_MAX)
}

/// Evaluates at one assignment, and remembers the largest summand for the tolerance.
pub(super) struct Numeric<'a> {
    pub(super) values: &'a [(String, f64)],
    pub(super) largest: f64,
}

impl Numeric<'_> {
    pub(super) fn eval(&mut self, expr: &Expr, budget: &mut Budget) -> Result<Complex, Stop> {
        budget.spend(4)?;
        let value = match expr {
            Expr::Num { digits, exp10 } => number(digits, *exp10, budget)?,
            Expr::Var(name) => match self.values.iter().find(|(known, _)| known == name) {
                Some((_, value)) => Complex::from(*value),
                None => return Err(Stop::Domain),
            },
            Expr::Pi => PI.into(),
            Expr::E => Complex::ONE.exp(),
            Expr::I => Complex::I,
            Expr::Infinity | Expr::PlusMinus(..) => return Err(Stop::Domain),
            Expr::Neg(a) => -self.eval(a, budget)?,
            Expr::Add(a, b) => {
                let (a, b) = (self.eval(a, budget)?, self.eval(b, budget)?);
                self.largest = self.largest.max(a.abs().hi).max(b.abs().hi);
                a + b
            }
            Expr::Mul(a, b) => self.eval(a, budget)? * self.eval(b, budget)?,
            Expr::Div(a, b) => {
                let (a, b) = (self.eval(a, budget)?, self.eval(b, budget)?);
                if b.is_zero() {
                    return Err(Stop::Domain);
                }
                a / b
            }
            Expr::Pow(a, b) => self.power(a, b, budget)?,
            Expr::Root(n, a) => self.root(*n, a, budget)?,
            Expr::Abs(a) => self.eval(a, budget)?.abs().into(),
            Expr::Factorial(n) => factorial(small_int(n).ok_or(Stop::Domain)?)?,
            Expr::Binomial(n, k) => {
                let (n, k) = (small_int(n).ok_or(Stop::Domain)?, small_int(k).ok_or(Stop::Domain)?);
                if k < 0 || k > n {
                    return Err(Stop::Domain);
                }
                factorial(n)? / (factorial(k)? * factorial(n - k)?)
            }
            Expr::Log(base, a) => {
                let (base, a) = (self.eval(base, budget)?, self.eval(a, budget)?);
                budget.spend(200)?;
                if base.is_zero() || a.is_zero() || base == Complex::ONE {
                    return Err(Stop::Domain);
                }
                a.ln() / base.ln()
            }
            Expr::Call(function, a) => {
                let a = self.eval(a, budget)?;
                budget.spend(200)?;
                call(*function, a)?
            }
        };
        if value.is_finite() { Ok(value) } else { Err(Stop::Budget) }
    }

    fn power(&mut self, base: &Expr, exponent: &Expr, budget: &mut Budget) -> Result<Complex, Stop> {
        let value = self.eval(base, budget)?;
        if let Some(exponent) = small_int(exponent) {
            budget.spend(32)?;
            return if value.is_zero() && exponent < 0 { Err(Stop::Domain) } else { Ok(value.powi(exponent)) };
        }
        budget.spend(200)?;
        let exponent = self.eval(exponent, budget)?;
        if value.is_zero() && exponent.re.hi <= 0.0 {
            return Err(Stop::Domain);
        }
        Ok(value.pow(exponent))
    }

    /// The real root of a negative number where the degree is odd, the principal root elsewhere.
    fn root(&mut self, n: u32, of: &Expr, budget: &mut Budget) -> Result<Complex, Stop> {
        budget.spend(60)?;
        let value = self.eval(of, budget)?;
        if n == 2 || value.is_zero() {
            return Ok(value.sqrt());
        }
        let degree = Complex::from(1.0) / Complex::from(f64::from(n));
        if value.is_real() && value.re.hi < 0.0 && n % 2 == 1 {
            return Ok(-(-value).pow(degree));
        }
        Ok(value.pow(degree))
    }
}

fn number(digits: &str, exp10: i64, budget: &mut Budget) -> Result<Complex, Stop> {
    budget.spend(digits.len() as u64)?;
    if exp10.abs() > 400 {
        return Err(Stop::Budget);
    }
    let mantissa =
        digits.bytes().fold(Double::ZERO, |sum, digit| sum.scale(10.0) + Double::from(f64::from(digit - b'0')));
    let scale = Complex::from(10.0).powi(exp10.abs());
    let mantissa = Complex::from(mantissa);
    Ok(if exp10 < 0 { mantissa / scale } else { mantissa * scale })
}

fn factorial(n: i64) -> Result<Complex, Stop> {
    match n {
        ..0 => Err(Stop::Domain),
        0..=170 => Ok((2..=n).fold(Complex::ONE, |product, i| product * Complex::from(i as f64))),
        _ => Err(Stop::Budget),
    }
}

fn call(function: Function, a: Complex) -> Result<Complex, Stop> {
    let nonzero = |value: Complex| if value.is_zero() { Err(Stop::Domain) } else { Ok(value) };
    let hyperbolic = |sign: f64| (a.exp() + (-a).exp() * Complex::from(sign)) * Complex::from(0.5);
    let (sin, cos) = match function {
        Function::Sin | Function::Cos | Function::Tan | Function::Cot | Function::Sec | Function::Csc => {
            if a.re.abs().hi > 1e6 {
                return Err(Stop::Budget);
            }
            a.sin_cos()
        }
        _ => (a, a),
    };
    Ok(match function {
        Function::Sin => sin,
        Function::Cos => cos,
        Function::Tan => sin / nonzero(cos)?,
        Function::Cot => cos / nonzero(sin)?,
        Function::Sec => Complex::ONE / nonzero(cos)?,
        Function::Csc => Complex::ONE / nonzero(sin)?,
        Function::Arcsin => a.asin(),
        Function::Arccos => a.acos(),
        Function::Arctan => a.atan(),
        Function::Sinh => hyperbolic(-1.0),
        Function::Cosh => hyperbolic(1.0),
        Function::Tanh => hyperbolic(-1.0) / nonzero(hyperbolic(1.0))?,
        Function::Ln => nonzero(a)?.ln(),
        Function::Log10 => nonzero(a)?.ln() / Complex::from(10.0).ln(),
        Function::Exp => a.exp(),
        Function::Floor | Function::Ceil if !a.is_real() => return Err(Stop::Domain),
        Function::Floor => a.re.hi.floor().into(),
        Function::Ceil => a.re.hi.ceil().into(),
    })
}

/// The value of a constant real expression, infinities included, as an f64: for the order of an interval's ends.
pub(super) fn real_value(expr: &Expr, budget: &mut Budget) -> Option<f64> {
    match expr {
        Expr::Infinity => Some(f64::INFINITY),
        Expr::Neg(a) if matches!(**a, Expr::Infinity) => Some(f64::NEG_INFINITY),
        _ => {
            let value = Numeric { values: &[], largest: 0.0 }.eval(expr, budget).ok()?;
            value.is_real().then_some(value.re.hi)
        }
    }
}

/// Whether two scalars are the same function of their variables.
pub(super) fn identical(a: &Expr, b: &Expr, budget: &mut Budget) -> Result<bool, Stop> {
    if a == b {
        return Ok(true);
    }
    let infinite = |expr: &Expr| expr.any(&|part| matches!(part, Expr::Infinity));
    if infinite(a) || infinite(b) {
        // Infinities have no arithmetic here: only the two signs are told apart.
        let (a, b) = (real_value(a, budget), real_value(b, budget));
        return Ok(a.is_some() && a == b && a.is_some_and(f64::is_infinite));
    }
    let mut names = Vec::new();
    a.variables(&mut names);
    b.variables(&mut names);
    let mut rng = SplitMix64::new(0x5EED_06AD_0E75);
    if is_rational(a) && is_rational(b) {
        modular(a, b, &names, &mut rng, budget)
    } else {
        numeric(a, b, &names, &mut rng, budget)
    }
}

fn modular(a: &Expr, b: &Expr, names: &[String], rng: &mut SplitMix64, budget: &mut Budget) -> Result<bool, Stop> {
    let points = if names.is_empty() { 1 } else { POINTS / 2 };
    for p in PRIMES {
        let (mut agreed, mut drawn) = (0, 0);
        while agreed < points {
            let values: Vec<_> = names.iter().map(|name| (name.clone(), rng.below(p))).collect();
            let field = Modular { p, values: &values };
            match (field.eval(a, budget), field.eval(b, budget)) {
                (Ok(x), Ok(y)) if x == y => agreed += 1,
                (Err(Stop::Budget), _) | (_, Err(Stop::Budget)) => return Err(Stop::Budget),
                (Err(_), Err(_)) if drawn < REDRAWS && !names.is_empty() => drawn += 1,
                _ => return Ok(false),
            }
        }
    }
    Ok(true)
}

fn numeric(a: &Expr, b: &Expr, names: &[String], rng: &mut SplitMix64, budget: &mut Budget) -> Result<bool, Stop> {
    let points = if names.is_empty() { 1 } else { POINTS };
    let (mut agreed, mut drawn) = (0, 0);
    while agreed < points {
        // Positive rationals with a power of two below them: exact in binary, inside the domain of roots and logarithms.
        let values: Vec<_> = names.iter().map(|name| (name.clone(), (1 + rng.below(4095)) as f64 / 1024.0)).collect();
        let mut field = Numeric { values: &values, largest: 0.0 };
        match (field.eval(a, budget), field.eval(b, budget)) {
            (Ok(x), Ok(y)) => {
                let size = x.abs().hi.max(y.abs().hi);
                if (x - y).abs().hi > RELATIVE * size + CANCELLED * field.largest {
                    return Ok(false);
                }
                agreed += 1;
            }
            (Err(Stop::Budget), _) | (_, Err(Stop::Budget)) => return Err(Stop::Budget),
            (Err(_), Err(_)) if drawn < REDRAWS && !names.is_empty() => drawn += 1,
            _ => return Ok(false),
        }
    }
    Ok(true)
}
