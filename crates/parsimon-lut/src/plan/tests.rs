use super::*;

fn plan(bits: u8, ternary: bool, group: usize, level: Level) -> String {
    Plan::new(Traits { bits, ternary, group }, level).unwrap().kernel.name()
}

#[test]
fn the_dispatch_table() {
    let table = [
        (1, false, Level::Avx512Vbmi, "lut-avx512vbmi"),
        (2, false, Level::Avx512Vbmi, "lut-avx512vbmi"),
        (2, true, Level::Avx512Vbmi, "elut-avx512vbmi"),
        (3, false, Level::Avx512Bf16, "lut-avx512vbmi"),
        (4, false, Level::Avx512Vbmi, "dot-avx512vnni"),
        (8, false, Level::Avx512Vbmi, "dot-avx512vnni"),
        (1, false, Level::Avx512Vnni, "lut-avx512"),
        (3, false, Level::Avx512Vnni, "lut-avx512"),
        (2, false, Level::Avx512, "lut-avx512"),
        (2, false, Level::Avx512Vnni, "dot-avx512vnni"),
        (2, true, Level::Avx512Vnni, "dot-avx512vnni"),
        (2, false, Level::Avx2, "lut-avx2"),
        (3, false, Level::Avx2, "lut-avx2"),
        (4, false, Level::Avx2, "dot-avx2"),
        (4, false, Level::Avx512, "dot-avx2"),
        (6, false, Level::Avx2, "dot-avx2"),
        (2, true, Level::Avx2, "lut-avx2"),
        (4, false, Level::Scalar, "lut-scalar"),
        (6, false, Level::Scalar, "dot-scalar"),
        (1, false, Level::Neon, "lut-neon"),
        (4, false, Level::Neon, "lut-neon"),
        (3, false, Level::NeonDot, "lut-neon"),
        (4, false, Level::NeonDot, "dot-neondot"),
        (8, false, Level::NeonDot, "dot-neondot"),
        (8, false, Level::Neon, "dot-scalar"),
    ];
    for (bits, ternary, level, expected) in table {
        assert_eq!(plan(bits, ternary, 128, level), expected, "{bits} bits, ternary {ternary}, {level}");
    }
    assert_eq!(plan(2, true, 32, Level::Avx512Vbmi), "lut-avx512vbmi", "padding would cost too much");
}

#[test]
fn every_width_has_a_plan_at_every_level() {
    for level in Level::ALL {
        for bits in 1..=8 {
            let plan = Plan::new(Traits { bits, ternary: false, group: 16 }, level).unwrap();
            assert!(plan.kernel.stored_bits(bits, 16).is_some() && level.includes(plan.kernel.level()));
        }
        assert!(Plan::new(Traits { bits: 9, ternary: false, group: 16 }, level).is_err());
    }
}
