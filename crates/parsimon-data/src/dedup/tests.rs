use super::*;

#[test]
fn keys_ignore_case_white_space_and_compatibility_forms() {
    let key = TextKey::of("The  ﬁrst line\nand a second");
    assert_eq!(key, TextKey::of("the first\u{a0}line and\tA second\n"));
    assert_ne!(key, TextKey::of("the first line anda second"));
    assert_ne!(TextKey::of("ab c"), TextKey::of("a bc"));
}

#[test]
fn the_first_stays_in_any_order_of_insertion() {
    let at = |shard, row| Position { shard, row };
    let positions = [at(2, 0), at(0, 9), at(1, 1), at(0, 3)];
    for rotation in 0..positions.len() {
        let mut index = ExactIndex::default();
        let mut rotated = positions;
        rotated.rotate_left(rotation);
        rotated.into_iter().for_each(|position| index.insert(TextKey(7), position));
        index.insert(TextKey(8), at(0, 0));
        assert_eq!(index.first(TextKey(7)), Some(at(0, 3)));
    }
    assert_eq!(ExactIndex::default().first(TextKey(7)), None);
}
