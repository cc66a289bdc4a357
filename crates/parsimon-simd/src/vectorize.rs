//! One portable body, compiled once per level.
//!
//! Each wrapper below enables a level's features and inlines the body into itself, so that the compiler vectorizes the same
//! safe code for every instruction set. The wrappers are the only place of `unsafe` in this idea.

use crate::Level;

/// A portable computation that [`vectorize`] compiles for every level.
///
/// Implementations mark `run` (and everything hot that it calls) `#[inline(always)]`; only code that is inlined is compiled
/// with the level's features.
pub trait Vectorize {
    /// What the computation returns.
    type Output;

    /// The computation. `FMA` says that `f32::mul_add` is one instruction here, so use it only then.
    fn run<const FMA: bool>(self) -> Self::Output;
}

/// Runs `op` compiled for `level`, or for [`Level::best`] where the process cannot run `level`.
pub fn vectorize<V: Vectorize>(level: Level, op: V) -> V::Output {
    let best = Level::best();
    let level = if best.includes(level) { level } else { best };
    dispatch(level, op)
}

#[cfg(target_arch = "x86_64")]
fn dispatch<V: Vectorize>(level: Level, op: V) -> V::Output {
    #[target_feature(enable = "avx2,fma,f16c")]
    fn avx2<V: Vectorize>(op: V) -> V::Output {
        op.run::<true>()
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c")]
    fn avx512<V: Vectorize>(op: V) -> V::Output {
        op.run::<true>()
    }

    if level.includes(Level::Avx512) {
        // SAFETY: `vectorize` passes only levels that `Level::best` includes, so the processor has these features.
        unsafe { avx512(op) }
    } else if level.includes(Level::Avx2) {
        // SAFETY: as above.
        unsafe { avx2(op) }
    } else {
        op.run::<false>()
    }
}

#[cfg(target_arch = "aarch64")]
fn dispatch<V: Vectorize>(_level: Level, op: V) -> V::Output {
    // NEON and its fused multiply-add are part of the baseline of this architecture.
    op.run::<true>()
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn dispatch<V: Vectorize>(_level: Level, op: V) -> V::Output {
    op.run::<false>()
}
