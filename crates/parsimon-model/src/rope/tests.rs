use approx::assert_abs_diff_eq;

use super::*;

fn config(head_dim: usize) -> ModelConfig {
    ModelConfig { head_dim, ..ModelConfig::sigma_tiny(10) }
}

fn angles(f: &RopeFrequencies, positions: Range<usize>, len: usize) -> RopeAngles {
    let mut angles = RopeAngles::default();
    f.append_angles(positions, len, &mut angles);
    angles
}

#[test]
fn frequencies_follow_the_formula() {
    let f = RopeFrequencies::new(&config(4));
    assert_eq!(f.inv_freq(), [1.0, 0.01]);
    let linear = ModelConfig { rope_scaling: RopeScaling::Linear { factor: 4.0 }, ..config(4) };
    assert_eq!(RopeFrequencies::new(&linear).inv_freq(), [0.25, 0.0025]);
}

#[track_caller]
fn check_phases(rope_scaling: RopeScaling, phases: &[(usize, usize)]) {
    let f = RopeFrequencies::new(&ModelConfig { rope_scaling, max_position_embeddings: 64, ..config(4) });
    for &(len, phase) in phases {
        assert_eq!(f.phase(len), RopePhase(phase), "{len}");
    }
    assert_eq!(f.depends_on_length(), phases.iter().any(|&(_, phase)| phase != 0));
}

#[test]
fn a_phase_changes_where_the_table_does() {
    let longrope = |long_factor: &[f64]| RopeScaling::LongRope {
        short_factor: vec![1.0, 2.0],
        long_factor: long_factor.to_vec(),
        attention_factor: 1.5,
        original_max_position_embeddings: 16,
    };
    check_phases(RopeScaling::Default, &[(1, 0), (1000, 0)]);
    check_phases(longrope(&[3.0, 4.0]), &[(1, 0), (16, 0), (17, 1), (64, 1)]);
    check_phases(longrope(&[1.0, 2.0]), &[(16, 0), (17, 0)]);
    check_phases(RopeScaling::Dynamic { factor: 2.0 }, &[(64, 0), (65, 65), (66, 66)]);
    let f = RopeFrequencies::new(&ModelConfig { rope_scaling: longrope(&[4.0, 5.0]), ..config(4) });
    assert_eq!((f.inv_freq(), &*f.inv_freq_at(17)), (&[1.0, 0.005][..], &[0.25, 0.002][..]));
    assert_eq!(angles(&f, 0..1, 1).cos, [1.5, 1.5]);
}

/// By hand: theta' = 100 (2 * 128 / 64 - 1)^(4 / 2) = 900.
#[test]
fn a_dynamic_base_grows_with_the_sequence() {
    let rope_scaling = RopeScaling::Dynamic { factor: 2.0 };
    let f = RopeFrequencies::new(&ModelConfig {
        rope_scaling,
        rope_theta: 100.0,
        max_position_embeddings: 64,
        ..config(4)
    });
    assert_eq!(f.inv_freq_at(64)[1], 0.1);
    assert_abs_diff_eq!(f.inv_freq_at(128)[1], 1.0 / 30.0, epsilon = 1e-12);
}

#[test]
fn what_is_beyond_the_rotary_part_stays() {
    let mut config = config(8);
    config.block.partial_rotary_factor = 0.5;
    let f = RopeFrequencies::new(&config);
    assert_eq!(f.inv_freq(), [1.0, 0.01]);
    let mut x: Vec<f32> = (0..16).map(|i| i as f32).collect();
    angles(&f, 3..4, 4).rotate(&mut x, 2);
    for head in 0..2 {
        let row = &x[8 * head..][..8];
        assert!(row[..4].iter().enumerate().any(|(i, &x)| x != (8 * head + i) as f32));
        assert!(row[4..].iter().enumerate().all(|(i, &x)| x == (8 * head + 4 + i) as f32));
    }
}

#[test]
fn a_rotation_turns_pairs_and_keeps_their_length() {
    let f = RopeFrequencies::new(&config(4));
    let mut x = [1.0, 2.0, 3.0, 4.0].repeat(2);
    angles(&f, 0..1, 1).rotate(&mut x[..4], 1);
    assert_eq!(x[..4], [1.0, 2.0, 3.0, 4.0], "position 0 is the identity");
    angles(&f, 5..6, 6).rotate(&mut x[..4], 1);
    let (sin, cos) = 5f32.sin_cos();
    assert_abs_diff_eq!(x[0], cos - 3.0 * sin, epsilon = 1e-6);
    assert_abs_diff_eq!(x[2], 3.0 * cos + sin, epsilon = 1e-6);
    assert_abs_diff_eq!(x[1].hypot(x[3]), 20f32.sqrt(), epsilon = 1e-6);
}
