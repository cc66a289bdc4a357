use std::sync::Arc;

use super::*;

fn config(quant: ActQuant, group: usize) -> ActConfig {
    ActConfig { quant, group, order: None }
}

const TABLE: ActQuant = ActQuant::Table { ags: 64 };

#[test]
fn reuse_gives_the_same_as_a_new_value() {
    let x: Vec<f32> = (0..300).map(|i| (i as f32).sin()).collect();
    let quants = [ActQuant::Table { ags: 32 }, ActQuant::TernaryTable { ags: 20 }, ActQuant::Int8 { block: 32 }];
    for quant in quants {
        let mut reused = PreparedActivations::try_new(&x, 2, 150, &config(TABLE, 64)).unwrap();
        reused.prepare(&x[..200], 2, 100, &config(quant, 32)).unwrap();
        let fresh = PreparedActivations::try_new(&x[..200], 2, 100, &config(quant, 32)).unwrap();
        for token in 0..2 {
            assert_eq!(reused.codes(token), fresh.codes(token));
            assert_eq!(reused.scales(token), fresh.scales(token));
            assert_eq!(reused.betas(token), fresh.betas(token));
        }
    }
}

#[test]
fn threads_and_neighbours_do_not_change_a_token() {
    let (n, k) = (70, 1000);
    let x: Vec<f32> = (0..n * k).map(|i| (i as f32 * 0.7).sin()).collect();
    let all = PreparedActivations::try_new(&x, n, k, &config(TABLE, 64)).unwrap();
    for token in [0, 33, 69] {
        let one = PreparedActivations::try_new(&x[token * k..][..k], 1, k, &config(TABLE, 64)).unwrap();
        assert_eq!(all.codes(token), one.codes(0));
        assert_eq!(all.scales(token), one.scales(0));
    }
}

#[test]
fn a_fused_producer_gives_the_same_as_its_stored_result() {
    let (n, k) = (3, 96);
    let x: Vec<f32> = (0..n * k).map(|i| (i as f32 * 0.3).cos()).collect();
    let stored: Vec<f32> = x.iter().map(|x| x * 0.77).collect();
    let by_store = PreparedActivations::try_new(&stored, n, k, &config(TABLE, 32)).unwrap();
    let mut fused = PreparedActivations::empty();
    let fill = |token: usize, row: &mut [f32]| {
        for (out, x) in row.iter_mut().zip(&x[token * k..]) {
            *out = x * 0.77;
        }
    };
    fused.prepare_with(n, k, &config(TABLE, 32), fill).unwrap();
    assert!(
        (0..n)
            .all(|token| fused.codes(token) == by_store.codes(token) && fused.scales(token) == by_store.scales(token))
    );
}

#[test]
fn an_order_gathers_the_inputs() {
    let order: Arc<[u32]> = [3, 0, 2, 1].into();
    let ordered = ActConfig { order: Some(order), ..config(ActQuant::Int8 { block: 32 }, 4) };
    let prepared = PreparedActivations::from_integers(&[10, 20, 30, 40], None, 1, 4, &ordered).unwrap();
    assert_eq!(prepared.codes(0)[..4], [40, 10, 30, 20]);
}

#[test]
fn bad_activations_are_refused() {
    let mut x = vec![0.0; 8];
    x[5] = f32::INFINITY;
    let prepare = |x: &[f32], config: ActConfig| PreparedActivations::try_new(x, 2, 4, &config).map(|p| p.n());
    assert_eq!(prepare(&x, config(TABLE, 64)), Err(ActivationError::NonFinite { token: 1, index: 1 }));
    x[1] = f32::NAN;
    assert_eq!(prepare(&x, config(TABLE, 64)), Err(ActivationError::NonFinite { token: 0, index: 1 }));
    x.fill(0.0);
    assert_eq!(prepare(&x, config(TABLE, 64)), Ok(2));
    let unsupported = |ags, granule| Err(ActivationError::UnsupportedAgs { ags, granule });
    assert_eq!(prepare(&x, config(ActQuant::Table { ags: 48 }, 64)), unsupported(48, 32));
    assert_eq!(prepare(&x, config(ActQuant::Int8 { block: 0 }, 64)), unsupported(0, 32));
    assert_eq!(prepare(&x, config(ActQuant::TernaryTable { ags: 32 }, 64)), unsupported(32, 5));
    assert_eq!(prepare(&x, config(TABLE, 3)), Err(ActivationError::UnsupportedGroup { group: 3, k: 4 }));
    for order in [vec![0, 1, 2], vec![0, 1, 2, 4]] {
        let ordered = ActConfig { order: Some(order.into()), ..config(TABLE, 64) };
        assert_eq!(prepare(&x, ordered), Err(ActivationError::BadOrder { k: 4 }));
    }
    let integers = PreparedActivations::from_integers(&[0, 32], None, 1, 2, &config(TABLE, 2)).map(|p| p.n());
    assert_eq!(integers, Err(ActivationError::IntegerTooLarge { token: 0, index: 1, value: 32, max: 31 }));
    let scales = PreparedActivations::from_integers(&[0, 1], Some(&[f32::NAN]), 1, 2, &config(TABLE, 2)).map(|p| p.n());
    assert!(matches!(scales, Err(ActivationError::NonFiniteScale { token: 0, .. })));
}
