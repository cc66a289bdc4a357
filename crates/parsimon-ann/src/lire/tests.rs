use parsimon_testkit::golden;
use proptest::prelude::*;
use serde_json::Value;

use super::*;

#[test]
fn golden_conditions() {
    golden("parsimon-ann", "ann/golden", |dir| {
        let text = std::fs::read_to_string(dir.join("lire_conditions.json")).expect("lire_conditions.json");
        let cases: Vec<Value> = serde_json::from_str(&text).expect("valid JSON");
        for case in &cases {
            let number = |v: &Value| v.as_f64().expect("a number") as f32;
            let d_new: Vec<f32> = case["d_new"].as_array().expect("a list").iter().map(number).collect();
            let d_old = number(&case["d_old"]);
            let needs = match case["kind"].as_str() {
                Some("old_posting") => needs_check_split(d_old, &d_new),
                Some("near_posting") => needs_check_near(d_old, &d_new, number(&case["d_cur"])),
                kind => panic!("{kind:?}"),
            };
            assert_eq!(needs, case["needs_check"] == true, "{case}");
            let changed = case["nearest_leaves_new_heads"] == true || case["nearest_becomes_new_head"] == true;
            assert!(needs || !changed, "{case}");
        }
        cases.len()
    });
}

fn distance(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}

fn points(dim: usize, n: usize) -> impl Strategy<Value = Vec<Vec<f32>>> {
    prop::collection::vec(prop::collection::vec((-50i8..50).prop_map(f32::from), dim), n)
}

/// P1: whenever the nearest head of a vector changes because one head becomes two, its condition holds.
fn check_necessary(heads: &[Vec<f32>], new: &[Vec<f32>], v: &[f32]) {
    let (old, others) = heads.split_first().expect("a head");
    let d_old = distance(v, old);
    let d_new: Vec<f32> = new.iter().map(|head| distance(v, head)).collect();
    let nearest_new = d_new.iter().copied().fold(f32::INFINITY, f32::min);
    let current = others.iter().map(|head| distance(v, head)).fold(f32::INFINITY, f32::min);
    if d_old <= current {
        // The vector lay in the old posting; its nearest head now is another one.
        if current < nearest_new {
            assert!(needs_check_split(d_old, &d_new), "{d_old} {d_new:?} {current}");
        }
    } else if nearest_new < current {
        assert!(needs_check_near(d_old, &d_new, current), "{d_old} {d_new:?} {current}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn conditions_are_necessary((heads, new, v) in prop::sample::select(vec![2usize, 8, 128])
        .prop_flat_map(|dim| (points(dim, 6), points(dim, 2), points(dim, 1))))
    {
        check_necessary(&heads, &new, &v[0]);
    }
}
