use super::*;

/// Ten units of the last of 31 digits: the functions lose a few bits in their argument reduction.
const TOLERANCE: f64 = 1e-30;

#[track_caller]
fn close(actual: Double, expected: Double) {
    let error = (actual - expected).abs().hi;
    assert!(error <= TOLERANCE * expected.hi.abs().max(1.0), "{actual:?} for {expected:?}, off by {error:e}");
}

#[test]
fn identities_hold_to_thirty_digits() {
    for i in 1..40 {
        let x = Double::from(f64::from(i)) / Double::from(7.0);
        close(x.ln().exp(), x);
        close(x.sqrt() * x.sqrt(), x);
        let (sin, cos) = x.sin_cos();
        close(sin * sin + cos * cos, Double::ONE);
        close(x.exp() * (-x).exp(), Double::ONE);
        close((x / Double::from(3.0)).scale(3.0), x);
    }
    close(Double::ONE.atan2(Double::ONE).scale(4.0), PI);
    close(PI.sin_cos().0, Double::ZERO);
    close(Double::from(2.0).ln(), LN_2);
}
