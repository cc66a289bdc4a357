use super::*;

#[test]
fn blocks_have_their_own_scales() {
    let x = [1.0, -2.0, 0.5, 0.0, 100.0, 50.0, -25.0, 0.0, 0.0, 0.0];
    let (mut codes, mut scales) = ([0; 10], [0.0; 3]);
    quantize(&x, 4, &mut codes, &mut scales);
    assert_eq!(codes, [64, -127, 32, 0, 127, 64, -32, 0, 0, 0]);
    assert_eq!(scales, [2.0 / 127.0, 100.0 / 127.0, 0.0]);
}

#[test]
fn sums_follow_the_groups() {
    let codes: Vec<i8> = (0..70).map(|i| i as i8 - 30).collect();
    let scales = [1.0, 2.0, 4.0];
    for group in [16, 32, 64, 70, 96] {
        let mut sums = vec![0.0; 96usize.div_ceil(group)];
        negated_group_sums(&codes, &scales, 32, group, &mut sums);
        for (g, sum) in sums.iter().enumerate() {
            let expected: f32 =
                (g * group..((g + 1) * group).min(70)).map(|k| f32::from(codes[k]) * scales[k / 32]).sum();
            assert_eq!(-sum, expected, "group {g} of {group}");
        }
    }
}
