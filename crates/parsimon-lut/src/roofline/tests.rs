use super::*;

#[test]
fn operations_follow_the_method() {
    let work = |method, bits, n| Work::of_shape(method, bits, (64, 320), 1000, n);
    let weights = 64 * 320;
    assert_eq!(work(Method::Lut, 3, 1), Work { bytes: 1000, operations: weights * 3 / 4, flops: 2 * weights });
    assert_eq!(work(Method::Elut, 2, 2).operations, 2 * weights / 5);
    assert_eq!(work(Method::Dot, 4, 3), Work { bytes: 1000, operations: 3 * weights, flops: 6 * weights });
    assert_eq!(work(Method::Dot, 4, 0), Work { bytes: 1000, operations: 0, flops: 0 });
}

#[test]
fn numbers_beyond_64_bits_stop_there() {
    let work = Work::of_shape(Method::Lut, 4, (usize::MAX, usize::MAX), 1, usize::MAX);
    assert_eq!((work.operations, work.flops), (u64::MAX, u64::MAX));
}

#[test]
fn reading_reaches_every_word() {
    let mut words = vec![0; 99];
    assert_eq!(read_words(&words), 0);
    (words[0], words[33], words[95], words[98]) = (1, 2, 4, 8);
    assert_eq!(read_words(&words), 15);
}
