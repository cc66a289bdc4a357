use super::*;

#[test]
fn names_round_trip() {
    for level in Level::ALL {
        assert_eq!(level.name().parse::<Level>(), Ok(level));
    }
    assert!("avx9000".parse::<Level>().is_err());
}

#[test]
fn the_order_is_a_chain_per_architecture() {
    assert!(Level::Avx512Bf16.includes(Level::Avx2));
    assert!(Level::Avx512Vbmi.includes(Level::Avx512Vnni));
    assert!(!Level::Avx512Vnni.includes(Level::Avx512Vbmi));
    assert!(Level::NeonDot.includes(Level::Scalar));
    assert!(!Level::Avx512Bf16.includes(Level::Neon));
    assert!(Level::Amx.includes(Level::Avx512Bf16) && !Level::Avx512Bf16.includes(Level::Amx));
    assert!(!Level::Neon.includes(Level::Avx2));
}

#[test]
fn the_override_only_lowers() {
    let pick = |detected, request| Selection::from_request(detected, request).best;
    assert_eq!(pick(Level::Avx512Vbmi, None), Level::Avx512Vbmi);
    assert_eq!(pick(Level::Avx512Vbmi, Some("avx2")), Level::Avx2);
    assert_eq!(pick(Level::Avx2, Some("avx512vbmi")), Level::Avx2);
    assert_eq!(pick(Level::Avx2, Some("neon")), Level::Avx2);
    assert_eq!(pick(Level::Avx2, Some("")), Level::Avx2);
    assert!(matches!(Selection::from_request(Level::Avx2, Some("avx3")).requested, Some(Err(_))));
}
