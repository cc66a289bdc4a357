use super::*;

#[test]
fn sums_are_those_of_the_chunks() {
    let term = |i: usize| 1.0 / (1.0 + i as f64);
    let sums = chunk_sums(2 * CHUNK + 3, term);
    assert_eq!(sums.len(), 3);
    assert_eq!(sums[2], term(2 * CHUNK) + term(2 * CHUNK + 1) + term(2 * CHUNK + 2));
}

#[test]
fn draws_follow_the_weights_and_nothing_is_drawn_from_nothing() {
    let weight = |i: usize| {
        if i == 5000 {
            3.0
        } else if i == 2 {
            1.0
        } else {
            0.0
        }
    };
    let sums = chunk_sums(6000, weight);
    let mut rng = SplitMix64::new(1);
    let hits = (0..4000).filter(|_| draw(&sums, 6000, weight, &mut rng) == Some(5000)).count();
    assert!((2900..3100).contains(&hits), "{hits} of 4000, three quarters are due");
    let mut untouched = rng.clone();
    assert_eq!(draw(&[0.0], 5, |_| 0.0, &mut rng), None);
    assert_eq!(rng.next_u64(), untouched.next_u64());
}
