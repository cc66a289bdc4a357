use approx::assert_abs_diff_eq;

use super::*;

fn config(head_dim: usize) -> ModelConfig {
    ModelConfig { head_dim, ..ModelConfig::sigma_tiny(10) }
}

#[test]
fn frequencies_follow_the_formula() {
    let f = RopeFrequencies::new(&config(4));
    assert_eq!(f.inv_freq(), [1.0, 0.01]);
    let linear = ModelConfig { rope_scaling: RopeScaling::Linear { factor: 4.0 }, ..config(4) };
    assert_eq!(RopeFrequencies::new(&linear).inv_freq(), [0.25, 0.0025]);
}

#[test]
fn a_rotation_turns_pairs_and_keeps_their_length() {
    let f = RopeFrequencies::new(&config(4));
    let mut x = [1.0, 2.0, 3.0, 4.0].repeat(2);
    f.angles(0, 1).rotate(&mut x[..4], 1);
    assert_eq!(x[..4], [1.0, 2.0, 3.0, 4.0], "position 0 is the identity");
    f.angles(5, 1).rotate(&mut x[..4], 1);
    let (sin, cos) = 5f32.sin_cos();
    assert_abs_diff_eq!(x[0], cos - 3.0 * sin, epsilon = 1e-6);
    assert_abs_diff_eq!(x[2], 3.0 * cos + sin, epsilon = 1e-6);
    assert_abs_diff_eq!(x[1].hypot(x[3]), 20f32.sqrt(), epsilon = 1e-6);
}
