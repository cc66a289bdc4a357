use super::*;

fn rows(n: usize, seed: u64) -> Vec<[f32; FEATURES]> {
    let mut rng = SplitMix64::new(seed);
    (0..n).map(|_| std::array::from_fn(|_| if rng.below(2) == 0 { 0.0 } else { rng.next_f64() as f32 })).collect()
}

/// The same network in f64, written the plain way.
fn reference(mlp: &Mlp, x: &[f32; FEATURES]) -> f64 {
    let w = |at: usize| f64::from(mlp.weights[at]);
    let layer = |input: &[f64], at: usize, bias: usize| -> Vec<f64> {
        (0..HIDDEN)
            .map(|k| {
                (w(bias + k) + input.iter().enumerate().map(|(i, x)| x * w(at + i * HIDDEN + k)).sum::<f64>()).max(0.0)
            })
            .collect()
    };
    let x: Vec<f64> = x.iter().map(|x| f64::from(*x)).collect();
    let hidden = layer(&layer(&x, AT[0], AT[1]), AT[2], AT[3]);
    w(AT[5]) + hidden.iter().enumerate().map(|(k, h)| h * w(AT[4] + k)).sum::<f64>()
}

#[test]
fn forward_agrees_with_f64() {
    let mlp = Mlp::random(3);
    for n in [1, 4, 7] {
        let rows = rows(n, 5);
        for (y, x) in mlp.forward(&rows).iter().zip(&rows) {
            // Sums of about 128 products of size one.
            assert!((f64::from(*y) - reference(&mlp, x)).abs() < 1e-5);
        }
    }
}

#[test]
fn backward_agrees_with_differences() {
    let mlp = Mlp::random(9);
    let rows = rows(5, 6);
    let dy = [1.0f32, -0.5, 0.25, 2.0, -1.5];
    let mut pass = Pass { x: rows.as_flattened().to_vec(), ..Pass::default() };
    mlp.run(&mut pass);
    let mut gradient = vec![0.0; WEIGHTS];
    mlp.backward(&pass, &dy, &mut gradient, &mut Scratch::default());
    let loss = |mlp: &Mlp| rows.iter().zip(&dy).map(|(x, dy)| reference(mlp, x) * f64::from(*dy)).sum::<f64>();
    let mut rng = SplitMix64::new(1);
    for part in 0..6 {
        for _ in 0..20 {
            let at = AT[part] + rng.below((AT[part + 1] - AT[part]) as u64) as usize;
            let step = 1e-3f32;
            let (mut up, mut down) = (mlp.clone(), mlp.clone());
            up.weights[at] += step;
            down.weights[at] -= step;
            let width = f64::from(up.weights[at]) - f64::from(down.weights[at]);
            let difference = (loss(&up) - loss(&down)) / width;
            // A unit that switches inside the step makes the difference inexact.
            assert!(
                (f64::from(gradient[at]) - difference).abs() < 2e-2 * difference.abs().max(0.5),
                "weight {at}: {} for {difference}",
                gradient[at]
            );
        }
    }
}

#[test]
fn files_are_checked() {
    let mlp = Mlp::random(4);
    let bytes = mlp.to_bytes();
    assert_eq!(Mlp::from_bytes(&bytes).expect("its own bytes"), mlp);
    for at in [0, 9, 40, bytes.len() - 1] {
        let mut bad = bytes.clone();
        bad[at] ^= 4;
        assert!(Mlp::from_bytes(&bad).is_err(), "byte {at}");
    }
    assert!(Mlp::from_bytes(&bytes[..100]).is_err());
    assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
}
