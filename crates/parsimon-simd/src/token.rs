//! Tokens: values that exist only where the features they stand for do.

use crate::Level;

macro_rules! token {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name(());

        impl $name {
            /// The level that this token proves.
            pub const LEVEL: Level = Level::$name;

            /// The token, where [`Level::best`] includes its level.
            pub fn try_new() -> Option<Self> {
                Level::best().includes(Self::LEVEL).then_some(Self(()))
            }
        }
    };
}

token! {
    /// Proves AVX2, FMA and F16C.
    Avx2
}
token! {
    /// Proves AVX-512 F, BW, VL and DQ, and what [`Avx2`] proves.
    Avx512
}
token! {
    /// Proves AVX-512 VNNI, and what [`Avx512`] proves.
    Avx512Vnni
}
token! {
    /// Proves AVX-512 VBMI, and what [`Avx512Vnni`] proves.
    Avx512Vbmi
}
token! {
    /// Proves AVX-512 BF16, and what [`Avx512Vbmi`] proves.
    Avx512Bf16
}
token! {
    /// Proves AMX-TILE, AMX-BF16 and AMX-INT8, the kernel's permission to use them, and what [`Avx512Bf16`] proves.
    Amx
}
token! {
    /// Proves NEON.
    Neon
}
token! {
    /// Proves the dot-product extension, and what [`Neon`] proves.
    NeonDot
}
