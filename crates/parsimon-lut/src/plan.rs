//! Which kernel a matrix gets, and why.

use parsimon_simd::Level;

use crate::{Kernel, Method, PackError};

/// Which kernel the caller wants.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Backend {
    /// The plan for this machine.
    #[default]
    Auto,
    /// The plan for a machine of exactly this level.
    Exact(Level),
    /// The best body of this method. [`Method::Dot`] with integer activations is the lossless mode of ternary models.
    Method(Method),
    /// This kernel.
    Kernel(Kernel),
}

/// A matrix, as far as the choice of its kernel goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Traits {
    /// Bits of a code.
    pub bits: u8,
    /// Codes are 0, 1 and 2 with zero point 1 everywhere.
    pub ternary: bool,
    /// Columns that share a scale.
    pub group: usize,
}

/// The kernel of a matrix with the reason.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Plan {
    /// What multiplies it.
    pub kernel: Kernel,
    /// Why, in a sentence.
    pub reason: &'static str,
}

/// One rule: the first that fits decides.
struct Rule {
    bits: std::ops::RangeInclusive<u8>,
    ternary: bool,
    level: Level,
    method: Method,
    reason: &'static str,
}

/// Ternary weights with shorter groups would waste more on padding to fives than the form saves.
const ELUT_GROUP_MIN: usize = 64;

/// The dispatch (PAPER(tmac §3.12), measured on our own kernels); docs/papers/tmac.md has the measurements.
const RULES: [Rule; 8] = [
    Rule {
        bits: 2..=2,
        ternary: true,
        level: Level::Avx512Vbmi,
        method: Method::Elut,
        reason: "ternary: one permute looks up five weights of a byte, 1.6 bits a weight",
    },
    Rule {
        bits: 4..=4,
        ternary: false,
        level: Level::Avx2,
        method: Method::Dot,
        reason: "4 bits: two dot products a byte cost less than four planes of lookups",
    },
    Rule {
        bits: 4..=4,
        ternary: false,
        level: Level::NeonDot,
        method: Method::Dot,
        reason: "4 bits: dot products take about half as many instructions as four planes of lookups",
    },
    Rule {
        bits: 1..=3,
        ternary: false,
        level: Level::Avx512Vbmi,
        method: Method::Lut,
        reason: "up to 3 bits: one permute looks up four tables, and the work is proportional to the bits",
    },
    Rule {
        bits: 2..=2,
        ternary: false,
        level: Level::Avx512Vnni,
        method: Method::Dot,
        reason: "2 bits without a byte permute over four tables: dot products read less than they compute",
    },
    Rule {
        bits: 1..=3,
        ternary: false,
        level: Level::Scalar,
        method: Method::Lut,
        reason: "up to 3 bits: a lookup covers four weights a plane, and the work is proportional to the bits",
    },
    Rule {
        bits: 4..=4,
        ternary: false,
        level: Level::Scalar,
        method: Method::Lut,
        reason: "4 bits without dot-product instructions: four planes of lookups",
    },
    Rule {
        bits: 5..=8,
        ternary: false,
        level: Level::Scalar,
        method: Method::Dot,
        reason: "5 to 8 bits: planes of lookups cost more than dot products of bytes",
    },
];

impl Plan {
    /// The plan for a machine of `level`.
    ///
    /// # Errors
    ///
    /// [`PackError::UnsupportedBits`] for no bits or more than 8.
    pub fn new(traits: Traits, level: Level) -> Result<Plan, PackError> {
        let Traits { bits, ternary, group } = traits;
        let fits = |rule: &&Rule| {
            let level_fits = level.includes(rule.level);
            let ternary_fits = !rule.ternary || (ternary && group >= ELUT_GROUP_MIN);
            rule.bits.contains(&bits) && level_fits && ternary_fits
        };
        let rule =
            RULES.iter().find(fits).ok_or(PackError::UnsupportedBits { kernel: "any kernel".into(), bits, group })?;
        Ok(Plan { kernel: Kernel::new(rule.method, level), reason: rule.reason })
    }

    /// The plan of a backend.
    ///
    /// # Errors
    ///
    /// [`PackError::BackendUnavailable`] when this process cannot run the level, and as [`new`](Self::new).
    pub fn for_backend(traits: Traits, backend: Backend) -> Result<Plan, PackError> {
        let best = Level::best();
        let available = |wanted: Level| {
            if best.includes(wanted) { Ok(wanted) } else { Err(PackError::BackendUnavailable { wanted, best }) }
        };
        let asked = |kernel| Plan { kernel, reason: "the caller asked for it" };
        match backend {
            Backend::Auto => Plan::new(traits, best),
            Backend::Exact(level) => Plan::new(traits, available(level)?),
            Backend::Method(method) => Ok(asked(Kernel::new(method, best))),
            Backend::Kernel(kernel) => available(kernel.level()).map(|_| asked(kernel)),
        }
    }
}

#[cfg(test)]
mod tests;
