use serde_json::json;

use super::*;

fn stage(name: &str, docs_in: u64, docs_out: u64, reasons: Value) -> Value {
    json!({"stage": name, "docs_in": docs_in, "docs_out": docs_out, "reasons": reasons})
}

#[test]
fn funnels() {
    let good =
        json!({"funnel": [stage("read", 10, 10, json!({})), stage("filter", 10, 7, json!({"short": 2, "stub": 1}))]});
    funnel(&good).unwrap();
    let cases = [
        (json!({"funnel": [stage("filter", 10, 7, json!({"short": 2}))]}), "reasons for 2"),
        (json!({"funnel": [stage("a", 10, 10, json!({})), stage("b", 9, 9, json!({}))]}), "`b` took 9"),
        (json!({"funnel": []}), "empty"),
        (json!({}), "no `funnel`"),
        (json!({"funnel": [{"stage": "a", "docs_in": 1}]}), "docs_out"),
    ];
    for (stats, message) in cases {
        let error = funnel(&stats).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn orders_of_perplexity() {
    let good = [("f32", 10.0), ("q4", 10.1), ("q3", 11.0), ("q2", 15.0)];
    perplexities(&good, true).unwrap();
    let dear = [("f32", 10.0), ("q4", 10.4)];
    assert!(perplexities(&dear, false).unwrap_err().to_string().contains("4.00 %"));
    let unordered = [("f32", 10.0), ("q4", 10.1), ("q3", 10.05)];
    perplexities(&unordered, false).unwrap();
    assert!(perplexities(&unordered, true).unwrap_err().to_string().contains("q3 predicts better than q4"));
    assert!(perplexities(&[("f32", f64::NAN), ("q4", 10.0)], false).is_err());
}

#[test]
fn texts() {
    let text = |text: &str, tokens: &[u32]| json!({"text": text, "tokens": tokens});
    same_text(&text("a b", &[1, 2]), &text("a b", &[1, 2])).unwrap();
    assert!(same_text(&text("a b", &[1, 2]), &text("a c", &[1, 3])).is_err());
    assert!(same_text(&text("a b", &[1, 2]), &text("a b", &[1, 3])).is_err());
    assert!(same_text(&text("", &[]), &text("", &[])).is_err());
}

#[test]
fn rounds_of_self_evolution() {
    let round = |coverage: f64, greedy: f64, mcts: f64| json!({"coverage": coverage, "greedy": greedy, "mcts": mcts});
    rounds(&json!({"rounds": [round(0.5, 0.1, 0.4), round(0.6, 0.2, 0.5)]})).unwrap();
    for (report, message) in [
        (json!({"rounds": [round(0.5, 0.1, 0.4), round(0.4, 0.2, 0.5)]}), "coverage fell"),
        (json!({"rounds": [round(0.5, 0.1, 0.4), round(0.6, 0.6, 0.5)]}), "the policy alone in 0.6"),
        (json!({"rounds": []}), "no `rounds`"),
        (json!({"rounds": [{"greedy": 1}]}), "no number"),
    ] {
        let error = rounds(&report).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
}
