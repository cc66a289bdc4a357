use super::*;

fn apply(name: &str, options: &OpOptions, row: Value) -> Value {
    let Value::Object(mut row) = row else { panic!("an object") };
    Op::new(name, options).unwrap_or_else(|e| panic!("{name}: {e}")).apply(&mut row);
    Value::Object(row)
}

#[test]
fn operations_by_name() {
    let none = OpOptions::default();
    let check = |name: &str, row: Value, key: &str, expected: Value| {
        let row = apply(name, &none, row);
        assert_eq!(row[key], expected, "{name}: {row}");
    };
    check("sentences", json!({"text": "One. Two."}), "sentences", json!(["One.", "Two."]));
    check("words", json!({"text": "a, b"}), "tokens", json!(["a", ",", "b"]));
    check("simplify", json!({"text": "A 12"}), "text", json!("a 0"));
    check("mathml", json!({"mathml": "<math><mi>x</mi></math>"}), "latex", json!("x"));
    check("code-detect", json!({"text": "x = f(1);"}), "is_code", json!(true));
    check("pii", json!({"text": "a@b.co"}), "text", json!("email@example.com"));
    check("extract", json!({"html": "<main><p>words</p></main>"}), "text", json!("words"));
    check("lid", json!({"text": "The river bends twice before it reaches the old mill."}), "lang", json!("en"));
    check("minhash", json!({"text": "short"}), "sig", Value::Null);
    check("rules", json!({"text": ""}), "reason", json!("empty"));
    check("extract", json!({"text": "no page"}), "error", json!("the row has no string `html` or `html_path`"));
    assert!(Op::new("nothing", &none).is_err() && Op::new("fasttext", &none).is_err());
}
