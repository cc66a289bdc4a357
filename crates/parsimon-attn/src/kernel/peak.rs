//! What a core can do at most: chains of the products that the kernels are made of, and nothing else.

use std::hint::black_box;

use parsimon_simd::Level;

/// Which product.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Peak {
    /// Fused multiply-adds of `f32`.
    F32,
    /// Dot products of pairs of `bf16`.
    Bf16,
}

/// Runs `rounds` rounds of independent products at `level` and returns the number of floating-point operations; `None` where the level is not
/// available or has no such instruction. Time it to know the peak.
pub fn run_peak(peak: Peak, level: Level, rounds: usize) -> Option<u64> {
    if !Level::best().includes(level) {
        return None;
    }
    #[cfg(target_arch = "x86_64")]
    {
        use parsimon_simd::{Avx2, Avx512, Avx512Bf16};
        if peak == Peak::Bf16 {
            return level.includes(Level::Avx512Bf16).then(Avx512Bf16::try_new)?.map(|token| x86::bf16(token, rounds));
        }
        if level.includes(Level::Avx512) {
            return Avx512::try_new().map(|token| x86::avx512(token, rounds));
        }
        if level.includes(Level::Avx2) {
            return Avx2::try_new().map(|token| x86::avx2(token, rounds));
        }
    }
    (peak == Peak::F32).then(|| scalar(rounds))
}

fn scalar(rounds: usize) -> u64 {
    let (a, mut acc) = (black_box(0.5f32), [0.0f32; 16]);
    for _ in 0..rounds {
        for acc in &mut acc {
            *acc = *acc * a + a;
        }
    }
    black_box(acc);
    rounds as u64 * 16 * 2
}

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
mod x86 {
    use std::arch::x86_64::*;
    use std::hint::black_box;

    use parsimon_simd::x86::{broadcast_f32, broadcast_pair};
    use parsimon_simd::{Avx2, Avx512, Avx512Bf16};

    /// Chains that run side by side.
    const CHAINS: usize = 24;

    pub(super) fn avx512(_: Avx512, rounds: usize) -> u64 {
        #[target_feature(enable = "avx512f")]
        fn run(rounds: usize) {
            let a = broadcast_f32(&black_box(0.5));
            let mut acc = [_mm512_setzero_ps(); CHAINS];
            for _ in 0..rounds {
                acc.iter_mut().for_each(|acc| *acc = _mm512_fmadd_ps(a, a, *acc));
            }
            black_box(acc);
        }
        // SAFETY: the token proves AVX-512.
        unsafe { run(rounds) };
        (rounds * CHAINS * 16 * 2) as u64
    }

    pub(super) fn bf16(_: Avx512Bf16, rounds: usize) -> u64 {
        #[target_feature(enable = "avx512f,avx512bf16")]
        fn run(rounds: usize) {
            let a = broadcast_pair(&black_box(0x3f00_3f00));
            let mut acc = [_mm512_setzero_ps(); CHAINS];
            for _ in 0..rounds {
                acc.iter_mut().for_each(|acc| *acc = _mm512_dpbf16_ps(*acc, a, a));
            }
            black_box(acc);
        }
        // SAFETY: the token proves AVX-512 BF16.
        unsafe { run(rounds) };
        (rounds * CHAINS * 32 * 2) as u64
    }

    pub(super) fn avx2(_: Avx2, rounds: usize) -> u64 {
        const CHAINS: usize = 12;
        #[target_feature(enable = "avx2,fma")]
        fn run(rounds: usize) {
            let a = _mm256_set1_ps(black_box(0.5));
            let mut acc = [_mm256_setzero_ps(); CHAINS];
            for _ in 0..rounds {
                acc.iter_mut().for_each(|acc| *acc = _mm256_fmadd_ps(a, a, *acc));
            }
            black_box(acc);
        }
        // SAFETY: the token proves AVX2 and FMA.
        unsafe { run(rounds) };
        (rounds * CHAINS * 8 * 2) as u64
    }
}
