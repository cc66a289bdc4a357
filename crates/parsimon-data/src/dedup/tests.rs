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

mod near {
    use parsimon_simd::Level;
    use proptest::prelude::*;

    use super::super::permutation::Permutations;
    use super::*;

    /// The published first values: the twister, the range and the order of draws.
    #[test]
    fn permutations_are_the_published_ones() {
        let (a, b) = Permutations::new(256, 1).first();
        assert_eq!(a, [775_169_054_918_279_404, 1_758_426_461_858_698_313]);
        assert_eq!(b, [1_378_184_067_104_217_416, 56_745_916_861_920_898]);
        let (_, b) = Permutations::new(112, 1).first();
        assert_eq!(b, [1_062_448_801_025_099_917, 1_324_811_268_927_594_100]);
    }

    #[test]
    fn every_level_gives_the_same_minima() {
        let hashes: Vec<u64> = (0..57u64).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect();
        let expected = Permutations::new(100, 1).with_level(Level::Scalar).minima(&hashes, u64::MAX);
        assert_eq!(Permutations::new(100, 1).minima(&hashes, u64::MAX), expected);
        assert_eq!(expected.len(), 100);
    }

    /// Within three standard deviations of the exact similarity.
    #[test]
    fn signatures_estimate_the_similarity() {
        let signer = Signer::new(MinHashParams::default());
        let words: Vec<String> = (0..600).map(|n| format!("w{}", n * 7919 % 1000)).collect();
        for changed in [0, 3, 10, 40] {
            let mut other = words.clone();
            (0..changed).for_each(|n| other[n * 14] = format!("new{n}"));
            let (a, b) = (words.join(" "), other.join(" "));
            let s = jaccard(&signer.shingles(&a), &signer.shingles(&b));
            let (a, b) = (signer.sign(&a).unwrap(), signer.sign(&b).unwrap());
            let equal = a.iter().zip(&b).filter(|(a, b)| a == b).count() as f64 / 112.0;
            assert!((equal - s).abs() <= 3.0 * (s * (1.0 - s) / 112.0).sqrt() + 1e-9, "{changed}: {equal} for {s}");
        }
    }

    #[test]
    fn bands_of_the_known_thresholds() {
        for (t, n, expected) in [
            (0.8, 256, (17, 15)),
            (0.8, 128, (9, 13)),
            (0.7, 128, (14, 9)),
            (0.7, 256, (25, 10)),
            (0.75, 128, (11, 11)),
            (0.5, 128, (25, 5)),
        ] {
            assert_eq!(choose_bands(t, n), expected, "{t} {n}");
        }
        assert!((probability(0.8, 14, 8) - 0.92).abs() < 0.005);
    }

    #[test]
    fn candidates_are_the_first_of_their_band() {
        let mut lsh = Lsh::new(2, 2);
        let mut found = Vec::new();
        for (document, signature) in [[1, 2, 3, 4], [9, 9, 3, 4], [1, 2, 9, 9], [5, 6, 7, 8]].iter().enumerate() {
            lsh.insert(document as u32, signature, |first| found.push((document, first)));
        }
        assert_eq!(found, [(1, 0), (2, 0)]);
    }

    proptest! {
        #[test]
        fn components_equal_a_search(edges in prop::collection::vec((0u32..30, 0u32..30), 0..40)) {
            let mut components = Components::new(30);
            edges.iter().for_each(|&(a, b)| components.join(a, b));
            for start in 0..30 {
                let mut reached = std::collections::BTreeSet::from([start]);
                loop {
                    let before = reached.len();
                    for &(a, b) in &edges {
                        if reached.contains(&a) || reached.contains(&b) {
                            reached.extend([a, b]);
                        }
                    }
                    if reached.len() == before { break }
                }
                prop_assert_eq!(components.root(start), *reached.first().unwrap());
            }
        }

        #[test]
        fn substrings_equal_brute_force(texts in prop::collection::vec("[ab]{0,30}", 1..5), length in 1usize..6) {
            let bytes: Vec<&[u8]> = texts.iter().map(|text| text.as_bytes()).collect();
            let found = repeated_ranges(&bytes, length);
            for (t, text) in bytes.iter().enumerate() {
                let mut expected = vec![false; text.len()];
                for at in 0..text.len().saturating_sub(length - 1) {
                    let window = &text[at..at + length];
                    let earlier = bytes[..t].iter().any(|other| other.windows(length).any(|w| w == window))
                        || (0..at).any(|other| &text[other..other + length] == window);
                    if earlier { expected[at..at + length].fill(true) }
                }
                let mut marked = vec![false; text.len()];
                found[t].iter().for_each(|range| marked[range.clone()].fill(true));
                prop_assert_eq!(marked, expected);
            }
        }

        #[test]
        fn bloom_has_no_false_negatives(keys in prop::collection::vec("[a-z]{1,12}", 1..200)) {
            let mut bloom = Bloom::new(200, 0.01, 7);
            keys.iter().for_each(|key| bloom.insert(key.as_bytes()));
            prop_assert!(keys.iter().all(|key| bloom.contains(key.as_bytes())));
        }
    }

    #[test]
    fn bloom_decides_before_it_inserts() {
        let mut bloom = Bloom::new(10_000, 0.001, 7);
        let line = (0..40).map(|n| format!("word{n}")).collect::<Vec<_>>().join(" ");
        let document = format!("{line}\n{line}");
        let first = bloom.filter(&document);
        assert_eq!((first.lines_dropped, first.is_duplicate, first.text), (0, false, document.clone()));
        let second = bloom.filter(&document);
        assert_eq!((second.lines_dropped, second.is_duplicate, second.text.as_str()), (2, true, ""));
        let hits = (0..10_000).filter(|n| bloom.contains(format!("other{n}").as_bytes())).count();
        assert!(hits < 100, "{hits}");
    }

    #[test]
    fn paragraphs_and_addresses() {
        assert_eq!(paragraph_key(" Page 12, of 30! "), paragraph_key("page 00 of 00"));
        let mut index = ParagraphIndex::default();
        assert_eq!(index.keep_new("One.\nTwo.\nONE"), ("One.\nTwo.".to_owned(), 1));
        assert_eq!(index.keep_new("Three\ntwo"), ("Three".to_owned(), 1));
        assert_ne!(url_key("http://a.example/x?a=1"), url_key("http://a.example/x?a=2"));
        assert_eq!(url_key("not a url"), url_key("not a url"));
        let a = "the quick brown fox jumps over the lazy dog and runs far away from the farm house tonight";
        let near = simhash(a).unwrap() ^ simhash(&a.replace("lazy", "idle")).unwrap();
        let far = simhash(a).unwrap() ^ simhash("an entirely different sentence about the weather in spring").unwrap();
        assert!(near.count_ones() < far.count_ones());
        assert_eq!(simhash("two words"), None);
    }
}
