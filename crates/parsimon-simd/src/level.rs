//! Instruction-set levels: detection, the override, and their order.

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

/// The environment variable that lowers the instruction set of every kernel in the process, for tests and comparisons.
pub const ENV_VAR: &str = "PARSIMON_ISA";

/// An instruction-set level. The crate documentation lists the features of each.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Level {
    /// Portable code, no explicit vector instructions.
    Scalar,
    /// x86-64 with AVX2, FMA and F16C.
    Avx2,
    /// AVX-512 F, BW, VL and DQ.
    Avx512,
    /// `Avx512` with the byte dot product (VNNI).
    Avx512Vnni,
    /// `Avx512Vnni` with byte permutes (VBMI).
    Avx512Vbmi,
    /// `Avx512Vbmi` with the bfloat16 dot product.
    Avx512Bf16,
    /// `Avx512Bf16` with matrix tiles of bfloat16 and of bytes (AMX), which Linux lends to a process that asks.
    Amx,
    /// AArch64 NEON.
    Neon,
    /// `Neon` with the dot-product extension.
    NeonDot,
}

impl Level {
    /// Every level, lowest first within each architecture.
    pub const ALL: [Level; 9] = [
        Level::Scalar,
        Level::Avx2,
        Level::Avx512,
        Level::Avx512Vnni,
        Level::Avx512Vbmi,
        Level::Avx512Bf16,
        Level::Amx,
        Level::Neon,
        Level::NeonDot,
    ];

    /// The name that `PARSIMON_ISA` and all reports use.
    pub const fn name(self) -> &'static str {
        match self {
            Level::Scalar => "scalar",
            Level::Avx2 => "avx2",
            Level::Avx512 => "avx512",
            Level::Avx512Vnni => "avx512vnni",
            Level::Avx512Vbmi => "avx512vbmi",
            Level::Avx512Bf16 => "avx512bf16",
            Level::Amx => "amx",
            Level::Neon => "neon",
            Level::NeonDot => "neondot",
        }
    }

    /// The level directly below, `None` for [`Level::Scalar`].
    pub const fn lower(self) -> Option<Level> {
        match self {
            Level::Scalar => None,
            Level::Avx2 | Level::Neon => Some(Level::Scalar),
            Level::Avx512 => Some(Level::Avx2),
            Level::Avx512Vnni => Some(Level::Avx512),
            Level::Avx512Vbmi => Some(Level::Avx512Vnni),
            Level::Avx512Bf16 => Some(Level::Avx512Vbmi),
            Level::Amx => Some(Level::Avx512Bf16),
            Level::NeonDot => Some(Level::Neon),
        }
    }

    /// Whether a processor of this level runs code written for `other`.
    pub fn includes(self, other: Level) -> bool {
        let mut level = Some(self);
        while let Some(at) = level {
            if at == other {
                return true;
            }
            level = at.lower();
        }
        false
    }

    /// The level that kernels run at: the processor's, lowered by `PARSIMON_ISA`.
    ///
    /// # Panics
    ///
    /// When `PARSIMON_ISA` holds an unknown name: running silently at another level than the one asked for would make every
    /// test that sets it meaningless. Programs that want a message instead call [`Selection::current`] first.
    pub fn best() -> Level {
        match &Selection::current().requested {
            Some(Err(unknown)) => panic!("{unknown}"),
            _ => Selection::current().best,
        }
    }

    /// The levels that this process can run, from scalar up to [`Level::best`]; what a conformance test walks.
    pub fn available() -> impl Iterator<Item = Level> {
        let best = Level::best();
        Level::ALL.into_iter().filter(move |&level| best.includes(level))
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Level {
    type Err = UnknownLevel;

    fn from_str(name: &str) -> Result<Self, UnknownLevel> {
        Level::ALL.into_iter().find(|level| level.name() == name).ok_or_else(|| UnknownLevel { name: name.to_owned() })
    }
}

/// `PARSIMON_ISA` names no level.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "PARSIMON_ISA={name}: no such level; use scalar, avx2, avx512, avx512vnni, avx512vbmi, avx512bf16, amx, neon or neondot"
)]
pub struct UnknownLevel {
    /// What was given.
    pub name: String,
}

/// How [`Level::best`] came about; `parsimon isa` prints it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Selection {
    /// What the processor and the operating system offer.
    pub detected: Level,
    /// What `PARSIMON_ISA` asked for, if it is set.
    pub requested: Option<Result<Level, UnknownLevel>>,
    /// The level in use: `requested` where `detected` includes it, else `detected`.
    pub best: Level,
}

impl Selection {
    /// The selection of this process, made at the first call.
    pub fn current() -> &'static Selection {
        static CURRENT: OnceLock<Selection> = OnceLock::new();
        CURRENT.get_or_init(|| Selection::from_request(detect(), std::env::var(ENV_VAR).ok().as_deref()))
    }

    fn from_request(detected: Level, request: Option<&str>) -> Selection {
        let requested = request.filter(|name| !name.is_empty()).map(str::parse::<Level>);
        let best = match requested {
            Some(Ok(level)) if detected.includes(level) => level,
            _ => detected,
        };
        Selection { detected, requested, best }
    }
}

#[cfg(target_arch = "x86_64")]
fn detect() -> Level {
    macro_rules! has {
        ($($feature:tt),+) => { $(std::arch::is_x86_feature_detected!($feature))&&+ };
    }
    if !has!("avx2", "fma", "f16c") {
        Level::Scalar
    } else if !has!("avx512f", "avx512bw", "avx512vl", "avx512dq") {
        Level::Avx2
    } else if !has!("avx512vnni") {
        Level::Avx512
    } else if !has!("avx512vbmi") {
        Level::Avx512Vnni
    } else if !has!("avx512bf16") {
        Level::Avx512Vbmi
    } else if !has_tiles() {
        Level::Avx512Bf16
    } else {
        Level::Amx
    }
}

/// Whether the processor multiplies tiles of bfloat16 and of bytes, and the kernel lets this process use them.
#[cfg(target_arch = "x86_64")]
fn has_tiles() -> bool {
    const BF16: u32 = 1 << 22;
    const TILE: u32 = 1 << 24;
    const INT8: u32 = 1 << 25;
    let features = std::arch::x86_64::__cpuid_count(7, 0).edx;
    features & (BF16 | TILE | INT8) == BF16 | TILE | INT8 && request_tiles()
}

/// Asks Linux for the 8 KiB of tile registers in the state of every thread; it refuses where it cannot save them.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn request_tiles() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const ARCH_REQ_XCOMP_PERM: u64 = 0x1023;
    const XFEATURE_XTILEDATA: u64 = 18;
    let mut status = ARCH_PRCTL;
    // SAFETY: this system call takes two numbers, touches no memory of the process, and clobbers only rcx and r11.
    unsafe {
        std::arch::asm!("syscall", inlateout("rax") status, in("rdi") ARCH_REQ_XCOMP_PERM, in("rsi") XFEATURE_XTILEDATA,
            lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    status == 0
}

#[cfg(all(target_arch = "x86_64", not(target_os = "linux")))]
fn request_tiles() -> bool {
    false
}

#[cfg(target_arch = "aarch64")]
fn detect() -> Level {
    if !std::arch::is_aarch64_feature_detected!("neon") {
        Level::Scalar
    } else if std::arch::is_aarch64_feature_detected!("dotprod") {
        Level::NeonDot
    } else {
        Level::Neon
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn detect() -> Level {
    Level::Scalar
}

#[cfg(test)]
mod tests;
