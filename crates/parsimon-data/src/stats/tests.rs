use proptest::prelude::*;

use super::*;

const STAGES: [&str; 2] = ["read", "rules"];

/// A funnel of documents that each pass both stages, or drop in one for one of two reasons.
fn funnel(documents: &[(u8, u64)]) -> Funnel {
    let mut funnel = Funnel::new(&STAGES);
    for &(fate, bytes) in documents {
        match fate % 4 {
            0 => funnel.drop("read", "a"),
            1 => {
                funnel.pass("read", bytes);
                funnel.drop("rules", "b");
            }
            2 => {
                funnel.pass("read", bytes);
                funnel.drop("rules", "c");
            }
            _ => {
                funnel.pass("read", bytes);
                funnel.pass("rules", bytes);
            }
        }
    }
    funnel
}

#[test]
fn a_funnel_that_loses_documents_does_not_add_up() {
    let mut funnel = funnel(&[(0, 1), (3, 5)]);
    assert!(funnel.adds_up());
    assert_eq!(funnel.stage("rules").unwrap().bytes_out, 5);
    funnel.pass("read", 1);
    assert!(!funnel.adds_up());
}

proptest! {
    /// Counting parts and merging them in any grouping gives what counting the whole gives.
    #[test]
    fn merging_is_associative(documents in proptest::collection::vec((any::<u8>(), 0u64..100), 0..50), a in 0usize..50, b in 0usize..50) {
        let (a, b) = (a.min(documents.len()), b.min(documents.len()));
        let (a, b) = (a.min(b), a.max(b));
        let parts = [funnel(&documents[..a]), funnel(&documents[a..b]), funnel(&documents[b..])];
        let mut left = parts[0].clone();
        left.merge(&parts[1]);
        left.merge(&parts[2]);
        let mut right = parts[1].clone();
        right.merge(&parts[2]);
        let mut right_sum = parts[0].clone();
        right_sum.merge(&right);
        prop_assert_eq!(&left, &right_sum);
        prop_assert_eq!(&left, &funnel(&documents));
        prop_assert!(left.adds_up());
    }
}
