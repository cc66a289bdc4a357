use std::path::Path;

use serde_json::{Value, json};

use super::numbers::{bytes, duration, escape, grouped, percent, short, significant};
use super::svg::{Axis, Plot, Scale};
use super::{BenchError, Run, bench_page, page};

/// A run folder with these JSON files.
fn folder(files: &[(&str, Value)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (path, value) in files {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, value.to_string()).unwrap();
    }
    dir
}

fn drawn(dir: &Path) -> String {
    let html = page(&Run::read(dir).unwrap());
    check_tags(&html);
    html
}

/// Every element that opens closes again in the right order, and nothing is a script.
#[track_caller]
fn check_tags(html: &str) {
    let body = html.split_once("</style>").unwrap().1;
    let mut open = vec!["html", "head"];
    for piece in body.split('<').skip(1) {
        let (tag, _) = piece.split_once('>').expect("every `<` opens a tag, because texts are escaped");
        let name = tag.trim_start_matches('/').split_whitespace().next().unwrap();
        assert!(!["script", "iframe", "img", "link"].contains(&name), "<{tag}>");
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "</{name}> closes another element");
        } else if !tag.ends_with('/') {
            open.push(name);
        }
    }
    assert_eq!(open, [""; 0], "elements stay open");
}

fn full_run() -> Vec<(&'static str, Value)> {
    let loss: Vec<Value> =
        (0..60).map(|step| json!({"step": step, "tokens": 1, "loss": 9.0 / (1.0 + step as f64)})).collect();
    let quantize = |bits: f64| {
        let layer = |name: &str, rel: f64| json!({"name": name, "m": 8, "k": 8, "rel": rel, "bits_per_weight": bits});
        json!({"method": "rtn", "bits": bits, "group": 64, "bits_per_weight": bits, "seconds": 0.1,
               "layers": [layer("q_proj", 0.1), layer("k_proj", 0.2)]})
    };
    let generate = |speed: f64| json!({"text": "the rest", "prompt": "Prompt ", "tokens": [1], "tokens_per_s": speed, "first_token_ms": 2.0});
    let eval = |ppl: f64| json!({"ppl": ppl, "nll": ppl.ln(), "tokens": 1024, "seconds": 1.0});
    vec![
        ("demo.json", json!({"input": "a test", "comparable": true, "steps": [{"name": "train", "seconds": 61.0}]})),
        (
            "warc/pack.json",
            json!({"root": "/", "pages": 1234, "html_bytes": 5_000_000, "warc_bytes": 700_000, "files": []}),
        ),
        (
            "corpus/stats.json",
            json!({"funnel": [{"stage": "extract", "docs_in": 1234, "docs_out": 1000, "reasons": {"too_short": 200, "no_text": 34}}],
                   "documents": 990, "text_bytes": 1000, "heldout": {"documents": 10}, "tokens": 5000, "vocab_size": 8192}),
        ),
        (
            "model/train.json",
            json!({"preset": "sigma-tiny", "seed": 7, "parameters": 7_000_000, "steps": 60, "tokens": 5000, "context": 512,
                   "seconds": 3.0, "tokens_per_s": 1000.5, "final_loss": 0.15, "loss": loss}),
        ),
        ("q2/quantize.json", quantize(2.5)),
        ("q4/quantize.json", quantize(4.5)),
        ("eval/f32.json", eval(20.0)),
        ("eval/q4.json", eval(20.5)),
        ("eval/q2.json", eval(400.0)),
        ("generate/f32.json", generate(100.0)),
        ("generate/q4.json", generate(250.0)),
    ]
}

#[test]
fn a_full_run_has_all_sections() {
    let dir = folder(&full_run());
    let html = drawn(dir.path());
    for id in ["corpus", "training", "models", "samples", "time"] {
        assert!(html.contains(&format!("<section id=\"{id}\">")), "{id}");
    }
    // Loss, perplexity (logarithmic, because 400 is 20 times 20) and the errors of the matrices.
    assert_eq!(html.matches("<svg").count(), 3);
    assert!(html.contains("perplexity on held-out text (logarithmic)"));
    let places =
        ["<th scope=\"row\">f32", "<th scope=\"row\">q4", "<th scope=\"row\">q2"].map(|row| html.find(row).unwrap());
    assert!(places.is_sorted(), "from the most bits to the fewest");
    assert!(html.contains("2.50\u{d7}"), "q4 is 2.5 times as fast");
    assert!(html.contains("+2.5 %"), "q4 costs 2.5 % of perplexity");
    assert!(html.contains("too short <b>200</b>"));
    assert!(html.contains("<b>Prompt </b>the rest"));
    assert!(html.contains("<code>generate/q2.json</code>"), "what is missing is named");
    assert!(!html.contains("NaN") && !html.contains("inf"), "numbers are numbers");
    assert!(!html.contains("warning\">"), "the run is comparable");
}

#[test]
fn every_part_may_be_missing() {
    let empty = folder(&[]);
    assert!(drawn(empty.path()).contains("holds no results yet"));
    let all = full_run();
    for left_out in 0..all.len() {
        let mut files = all.clone();
        files.remove(left_out);
        drawn(folder(&files).path());
        drawn(folder(&all[left_out..=left_out]).path());
    }
    assert!(Run::read(&empty.path().join("nowhere")).is_err());
}

#[test]
fn texts_are_escaped_wherever_they_come_from() {
    const EVIL: &str = "</b><script>alert(\"1\")</script> & 'x' \u{0}";
    let mut files = full_run();
    files[0].1 = json!({"input": EVIL, "comparable": false, "steps": [{"name": EVIL, "seconds": 1.0}]});
    files[2].1["funnel"][0]["stage"] = json!(EVIL);
    files[2].1["funnel"][0]["reasons"] = json!({EVIL: 3});
    files[3].1["preset"] = json!(EVIL);
    files[4].1["layers"][0]["name"] = json!(EVIL);
    files[4].1["layers"][0]["rel"] = json!(9.0);
    files[9].1["text"] = json!(format!("more {EVIL}"));
    files[9].1["prompt"] = json!(EVIL);
    let dir = folder(&files);
    let html = drawn(dir.path());
    assert!(!html.contains("<script"), "markup went through");
    assert_eq!(html.matches("&lt;script&gt;").count(), 8);
    assert_eq!(escape("<a href='x'>\"&\u{7}\n"), "&lt;a href=&#39;x&#39;&gt;&quot;&amp;\u{fffd}\n");
}

#[test]
fn a_damaged_file_is_an_error_that_names_it() {
    let dir = folder(&full_run());
    std::fs::write(dir.path().join("corpus/stats.json"), "{\"funnel\": 3}").unwrap();
    let error = Run::read(dir.path()).unwrap_err().to_string();
    assert!(error.contains("corpus/stats.json") && error.contains("line 1"), "{error}");
}

#[test]
fn numbers_that_are_none_are_left_out() {
    let mut files = full_run();
    files[3].1["loss"] = json!([{"step": 0, "loss": null}, {"step": 1, "loss": 3.0}]);
    files[3].1["final_loss"] = Value::Null;
    files[8].1["ppl"] = Value::Null;
    files[9].1["tokens_per_s"] = json!(0.0);
    files[5].1["layers"][1]["rel"] = Value::Null;
    let html = drawn(folder(&files).path());
    assert!(html.contains("too few for a curve"));
    assert!(!html.contains("NaN") && !html.contains("inf"), "numbers are numbers");
}

#[track_caller]
fn check_ticks(scale: Scale, expected: &[&str]) {
    let ticks = scale.ticks();
    assert_eq!(ticks.iter().map(|(_, label)| label.as_str()).collect::<Vec<_>>(), expected);
    for (value, label) in ticks {
        let place = scale.at(value);
        assert!((-1e-9..=1.0 + 1e-9).contains(&place), "{label} lies at {place}");
    }
}

#[test]
fn ticks_are_round_numbers() {
    check_ticks(Scale::linear([0.3, 9.7]), &["0", "2", "4", "6", "8", "10"]);
    check_ticks(Scale::linear([2.51, 2.64]), &["2.50", "2.55", "2.60", "2.65"]);
    check_ticks(Scale::linear([5.0]), &["4.4", "4.6", "4.8", "5.0", "5.2", "5.4", "5.6"]);
    check_ticks(Scale::linear([]), &["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
    check_ticks(Scale::linear([-1.0, 1.0]), &["-1.0", "-0.5", "0.0", "0.5", "1.0"]);
    check_ticks(Scale::exact(1.0, 5.0), &["1", "2", "3", "4", "5"]);
    check_ticks(Scale::exact(0.0, 42_000.0), &["0", "10.0 k", "20.0 k", "30.0 k", "40.0 k"]);
    check_ticks(Scale::fitting([20.0, 400.0]), &["20", "50", "100", "200", "500"]);
    check_ticks(Scale::fitting([20.0, 90_000.0]), &["100", "1000", "10.0 k", "100 k"]);
}

#[test]
fn labels_at_line_ends_do_not_overlap() {
    let scale = || Axis { title: "t", scale: Scale::exact(0.0, 1.0) };
    let mut plot = Plot::new(scale(), scale(), 60.0);
    let labels = [("s1", 0.0, "a-label"), ("s2", 0.01, "b-label"), ("s3", 0.02, "c-label"), ("s4", 0.99, "d-label")];
    plot.end_labels(&labels.map(|(class, value, text)| (class, value, text.to_owned())));
    let svg = plot.finish("test");
    let heights = svg.lines().filter(|line| line.contains("-label<")).map(|line| {
        let (_, y) = line.split_once("y=\"").unwrap();
        y.split_once('"').unwrap().0.parse::<f64>().unwrap()
    });
    let mut heights: Vec<f64> = heights.collect();
    assert_eq!(heights.len(), 4);
    heights.sort_by(f64::total_cmp);
    assert!(heights.windows(2).all(|pair| pair[1] - pair[0] >= 16.0 - 0.2), "{heights:?}");
}

#[test]
fn numbers_are_readable() {
    assert_eq!([0, 999, 1000, 12_345_678].map(grouped), ["0", "999", "1,000", "12,345,678"]);
    assert_eq!([0.0, 8192.0, 12_345.0, 5_070_000.0, 2.5e9].map(short), ["0", "8192", "12.3 k", "5.07 M", "2.50 G"]);
    assert_eq!(
        [0.0, 0.01234, 0.5, 1.0, 12.34, 123.4].map(significant),
        ["0.00", "0.0123", "0.500", "1.00", "12.3", "123"]
    );
    assert_eq!([12, 1234, 1_250_000, 3_000_000_000].map(bytes), ["12 B", "1.23 kB", "1.25 MB", "3.00 GB"]);
    assert_eq!(
        [0.04, 59.9, 59.96, 245.2, 3700.0].map(duration),
        ["0.0 s", "59.9 s", "1 min 00 s", "4 min 05 s", "1 h 01 min"]
    );
    assert_eq!(
        [percent(1, 3), percent(0, 3), percent(1, 9999), percent(0, 0)],
        ["33.3 %", "0.0 %", "&lt; 0.1 %", "0 %"]
    );
}

#[test]
fn bench_records_become_plots_over_bits() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("lut.jsonl");
    let line = |variant: &str, bits: f64, median: f64| {
        json!({"area": "lut", "case": "gemv 64x64 cold", "variant": variant, "params": {"m": 64, "k": 64, "bytes": 512.0 * bits},
               "threads": 1, "metric": "time", "unit": "us", "median": median})
        .to_string()
    };
    let lines = [line("lut-avx2-1bit", 1.0, 10.0), line("lut-avx2-4bit", 4.0, 40.0), line("dense-f32", 32.0, 500.0)];
    std::fs::write(&file, lines.join("\n")).unwrap();
    let html = bench_page(&file).unwrap();
    check_tags(&html);
    assert!(html.contains("gemv 64x64 cold, one thread") && html.contains("lut-avx2-4bit: 40"));
    assert!(!html.contains("dense"), "32 bits would squeeze the others");

    std::fs::write(&file, format!("{}\n{{\"area\": 3}}", lines[0])).unwrap();
    assert!(bench_page(&file).unwrap_err().to_string().contains("line 2"));
    std::fs::write(&file, &lines[2]).unwrap();
    assert!(matches!(bench_page(&file), Err(BenchError::NothingToDraw { .. })));
}
