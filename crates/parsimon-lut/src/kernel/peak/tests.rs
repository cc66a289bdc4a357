use super::*;

#[test]
fn operations_are_counted_where_they_exist() {
    for level in Level::available() {
        for method in [Method::Lut, Method::Elut, Method::Dot] {
            let done = run(method, level, 1000);
            assert!(done.is_none_or(|done| done >= 32 * 1000 && done.is_multiple_of((32 * CHAINS * REPEATS) as u64)));
        }
    }
    assert_eq!(run(Method::Lut, Level::Scalar, 1000), None);
}
