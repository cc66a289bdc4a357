use super::*;

#[test]
fn shapes() {
    let shape = ArrayShape::try_new(8, 4, 16).unwrap();
    assert_eq!((shape.m(), shape.n(), shape.k(), shape.one_bit_macs()), (8, 4, 16, 512));
    let largest = ArrayShape::try_new(256, 256, 256).unwrap();
    assert_eq!(largest.one_bit_macs(), 1 << 24);
    assert_eq!(largest.to_string(), "m256n256k256");
}

#[test]
fn bad_extents() {
    let cases = [(0, 1, 1, "m", 0), (1, 3, 1, "n", 3), (1, 1, 512, "k", 512)];
    for (m, n, k, what, given) in cases {
        assert_eq!(ArrayShape::try_new(m, n, k), Err(HwError::Extent { what, given, limit: 256 }));
    }
}
