use parsimon_testkit::golden;
use serde_json::Value;

use super::*;
use crate::{Element, HeadIndexKind, Metric};

fn row(space: &Space, value: &Value) -> Vec<u8> {
    let values: Vec<f32> =
        value.as_array().expect("a row").iter().map(|v| v.as_i64().expect("an integer") as f32).collect();
    let mut row = space.element().encode(&values);
    row.resize(space.stride(), 0);
    row
}

/// The rule and its stops on integer heads, against an independent evaluation.
#[test]
fn golden_rng_select() {
    golden("parsimon-ann", "ann/golden", |dir| {
        let text = std::fs::read_to_string(dir.join("rng_select.json")).expect("rng_select.json");
        let json: Value = serde_json::from_str(&text).expect("valid JSON");
        let cases = json["cases"].as_array().expect("cases");
        for case in cases {
            let number = |key: &str| case[key].as_u64().expect("a number");
            let real = |key: &str| case[key].as_f64().expect("a number") as f32;
            let space = Space::new(Metric::L2, Element::F32, number("dim") as usize, None).expect("a space");
            let mut heads = Heads::new(space.clone(), HeadIndexKind::Exact);
            for (id, head) in json["heads"][number("heads") as usize].as_array().expect("heads").iter().enumerate() {
                heads.insert(id as u32, &row(&space, head));
            }
            let config = IndexConfig {
                replicas: number("replicas") as usize,
                candidates: number("candidates") as usize,
                closure: real("closure_epsilon"),
                rng_factor: real("rng_factor"),
                ..IndexConfig::default()
            };
            let query = space.row_query(&row(&space, &case["x"]));
            let mut scratch = HeadScratch::default();
            let mut run = |stop| select(&space, &config, &heads, &query, stop, &mut scratch);
            let selected = case["selected"]
                .as_array()
                .expect("a list")
                .iter()
                .map(|v| v.as_u64().expect("an id") as u32)
                .collect();
            assert_eq!(run(None), Selection::Heads(selected), "{case}");
            for (stop, no_need) in [("stop", "stop_no_need"), ("stop_last", "stop_last_no_need")] {
                let is_stopped = run(Some(number(stop) as u32)) == Selection::NoNeed;
                assert_eq!(is_stopped, case[no_need] == true, "{case}");
            }
        }
        cases.len()
    });
}
