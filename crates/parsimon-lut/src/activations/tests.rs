use super::*;

const CONFIG: ActConfig = ActConfig { ags: 64, group: 64 };

#[test]
fn reuse_gives_the_same_as_a_new_value() {
    let x: Vec<f32> = (0..300).map(|i| (i as f32).sin()).collect();
    let mut reused = PreparedActivations::try_new(&x, 2, 150, CONFIG).unwrap();
    reused.prepare(&x[..200], 2, 100, ActConfig { ags: 32, group: 16 }).unwrap();
    let fresh = PreparedActivations::try_new(&x[..200], 2, 100, ActConfig { ags: 32, group: 16 }).unwrap();
    for token in 0..2 {
        assert_eq!(reused.tables(token), fresh.tables(token));
        assert_eq!(reused.scales(token), fresh.scales(token));
        assert_eq!(reused.betas(token), fresh.betas(token));
    }
}

#[test]
fn bad_activations_are_refused() {
    let mut x = vec![0.0; 8];
    x[5] = f32::INFINITY;
    let prepare = |x: &[f32], config| PreparedActivations::try_new(x, 2, 4, config).map(|p| p.n());
    assert_eq!(prepare(&x, CONFIG), Err(ActivationError::NonFinite { token: 1, index: 1 }));
    x[5] = 0.0;
    assert_eq!(prepare(&x, CONFIG), Ok(2));
    let ags = ActConfig { ags: 48, group: 64 };
    assert_eq!(prepare(&x, ags), Err(ActivationError::UnsupportedAgs { ags: 48 }));
    let group = ActConfig { ags: 64, group: 3 };
    assert_eq!(prepare(&x, group), Err(ActivationError::UnsupportedGroup { group: 3, k: 4 }));
}
