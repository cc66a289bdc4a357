//! Portable bodies over 16 lanes that the compiler vectorizes at every level.

/// Lanes of every reduction: the order of additions is the same at every level.
const LANES: usize = 16;

/// Declares a function whose body is compiled for every instruction-set level and run at the best one.
///
/// Inside the body `FMA` is a constant that says whether `mul_add` is one instruction.
macro_rules! vectorized {
    ($(#[$doc:meta])* $vis:vis fn $name:ident<$life:lifetime>($($arg:ident: $ty:ty),* $(,)?) $(-> $out:ty)? $body:block) => {
        $(#[$doc])*
        $vis fn $name<$life>($($arg: $ty),*) $(-> $out)? {
            struct Op<$life>($($ty,)* std::marker::PhantomData<&$life ()>);
            impl<$life> parsimon_simd::Vectorize for Op<$life> {
                type Output = vectorized!(@out $($out)?);
                #[inline(always)]
                fn run<const FMA: bool>(self) -> Self::Output {
                    let Op($($arg,)* _) = self;
                    $body
                }
            }
            parsimon_simd::vectorize(parsimon_simd::Level::best(), Op($($arg,)* std::marker::PhantomData))
        }
    };
    (@out) => { () };
    (@out $out:ty) => { $out };
}
pub(crate) use vectorized;

/// `a b + c`, fused where that is one instruction.
#[inline(always)]
pub(crate) fn fma<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// `e^x` through [`parsimon_simd::math::exp2`]: exactly 0 below -87.3, NaN for NaN.
#[inline(always)]
pub(crate) fn exp<const FMA: bool>(x: f32) -> f32 {
    parsimon_simd::math::exp2::<FMA>(x * std::f32::consts::LOG2_E)
}

/// `sum a[i] b[i]` over 16 running sums.
#[inline(always)]
pub(crate) fn dot<const FMA: bool>(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0; LANES];
    let (a, a_rest) = a.as_chunks::<LANES>();
    let (b, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a.iter().zip(b) {
        for i in 0..LANES {
            sums[i] = fma::<FMA>(a[i], b[i], sums[i]);
        }
    }
    for (i, (a, b)) in a_rest.iter().zip(b_rest).enumerate() {
        sums[i] = fma::<FMA>(*a, *b, sums[i]);
    }
    fold(sums, |x, y| x + y)
}

/// The largest element; `-inf` for an empty slice.
#[inline(always)]
pub(crate) fn row_max(row: &[f32]) -> f32 {
    let larger = |x: f32, y: f32| if x > y { x } else { y };
    let mut best = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = row.as_chunks::<LANES>();
    for chunk in chunks {
        for i in 0..LANES {
            best[i] = larger(best[i], chunk[i]);
        }
    }
    for (i, &value) in rest.iter().enumerate() {
        best[i] = larger(best[i], value);
    }
    fold(best, larger)
}

/// Replaces every `x` by `e^(x - shift)` and returns the sum.
#[inline(always)]
pub(crate) fn exp_shifted<const FMA: bool>(row: &mut [f32], shift: f32) -> f32 {
    let mut sums = [0.0; LANES];
    let (chunks, rest) = row.as_chunks_mut::<LANES>();
    for chunk in chunks {
        for i in 0..LANES {
            let e = exp::<FMA>(chunk[i] - shift);
            chunk[i] = e;
            sums[i] += e;
        }
    }
    for (i, value) in rest.iter_mut().enumerate() {
        let e = exp::<FMA>(*value - shift);
        *value = e;
        sums[i] += e;
    }
    fold(sums, |x, y| x + y)
}

vectorized! {
    /// `sum[i] += values[i]`.
    pub(crate) fn add<'a>(sum: &'a mut [f32], values: &'a [f32]) {
        for (sum, value) in sum.iter_mut().zip(values) {
            *sum += value;
        }
    }
}

/// Combines the lanes pairwise.
#[inline(always)]
fn fold(mut lanes: [f32; LANES], combine: impl Fn(f32, f32) -> f32) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] = combine(lanes[i], lanes[i + width]);
        }
        width /= 2;
    }
    lanes[0]
}

#[cfg(test)]
mod tests;
