//! Recipes beyond the demo's: near-duplicates, paragraphs, masks, languages, annotation, data sets; kills of three workers.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use parsimon_core::{CancelFlag, Control, NoProgress, SplitMix64};
use parsimon_data::dedup::Scope;
use parsimon_data::io::JsonlReader;
use parsimon_data::pipeline::{Mode, NearStage, ShardTask, explain, verify};
use parsimon_data::warc::{PageRecord, WarcWriter};
use parsimon_data::{Plan, Preset, Recipe, Record, Report, RunOptions, Runner};

const DATE: &str = "2026-01-01T00:00:00Z";

/// Whom the pages say to write to; a number would make their lines equal, since paragraphs are compared without numbers.
const NAMES: [&str; 3] = ["ann", "bob", "eve"];

fn sentence(seed: u64, n: usize) -> String {
    const WORDS: [&str; 40] = [
        "the",
        "river",
        "bends",
        "before",
        "it",
        "reaches",
        "an",
        "old",
        "mill",
        "and",
        "path",
        "follows",
        "closely",
        "when",
        "pressure",
        "drops",
        "valve",
        "closes",
        "by",
        "itself",
        "while",
        "pump",
        "stops",
        "within",
        "second",
        "of",
        "that",
        "have",
        "careful",
        "reader",
        "will",
        "notice",
        "each",
        "measurement",
        "was",
        "repeated",
        "with",
        "same",
        "result",
        "again",
    ];
    let mut rng = SplitMix64::new(seed);
    let words: Vec<&str> = (0..n).map(|_| WORDS[rng.below(40) as usize]).collect();
    format!("Here {}.", words.join(" "))
}

fn article(seed: u64) -> String {
    (0..8).map(|n| format!("<p>{}</p>", sentence(seed * 100 + n, 24))).collect()
}

/// Archives of `n` pages each: page 1 of every archive is near to page 0 of the first, page 2 has a line that all share.
fn archives(dir: &Path, files: usize, pages: usize) -> String {
    std::fs::create_dir_all(dir.join("warc")).unwrap();
    for file in 0..files {
        let mut writer = WarcWriter::new();
        let mut bytes = writer.warcinfo("x", DATE);
        for page in 0..pages {
            let seed = (file * pages + page) as u64 + 1;
            let body = match page {
                0 if file == 0 => article(9999),
                1 => article(9999).replacen("Here", &format!("There{file}"), 1),
                2 => format!(
                    "<p>{}</p>{}<p>write to {}@corp.example.net</p>",
                    sentence(7, 30),
                    article(seed),
                    NAMES[file % 3]
                ),
                _ => article(seed),
            };
            let html = format!(
                "<html><body><main><h1>Page {seed}</h1>{body}<pre>let x{seed} = 1;\nprint(x{seed})</pre></main>"
            );
            let url = format!("https://a.example/{file}/{page}");
            let page = PageRecord { url: &url, date: DATE, content_type: "text/html", payload: html.as_bytes() };
            bytes.extend(writer.response(&page));
        }
        std::fs::write(dir.join(format!("warc/{file:05}.warc.gz")), bytes).unwrap();
    }
    dir.join("warc/*.warc.gz").to_str().unwrap().to_owned()
}

fn recipe() -> Recipe {
    let mut recipe = Recipe::preset(Preset::Technical);
    recipe.dedup.near = recipe.dedup.near.map(|near| NearStage { similarity_min: 0.6, ..near });
    recipe.dedup.paragraphs = true;
    recipe
}

fn run(recipe: &Recipe, input: &str, out: &Path, workers: usize) -> Report {
    let plan = Plan::new(recipe, &[input.to_owned()]).unwrap();
    let options = RunOptions { workers: NonZeroUsize::new(workers), force: false };
    let cancel = CancelFlag::new();
    Runner::new(options).run(&plan, out, &|| 0.0, &Control { progress: &NoProgress, cancel: &cancel }).unwrap()
}

fn documents(out: &Path, shards: usize) -> Vec<Record> {
    let mut rows = Vec::new();
    for shard in 0..shards {
        let mut reader = JsonlReader::open(&out.join(format!("documents/{shard:05}.jsonl.zst"))).unwrap();
        while let Some(row) = reader.next_row::<Record>().unwrap() {
            rows.push(row);
        }
    }
    rows
}

fn files(out: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in walk(out) {
        if entry.file_name().unwrap() != "stats.json" {
            files.insert(entry.strip_prefix(out).unwrap().to_owned(), std::fs::read(&entry).unwrap());
        }
    }
    files
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(walk(&path)) } else { found.push(path) }
    }
    found
}

#[test]
fn every_stage_leaves_its_mark() {
    let dir = tempfile::tempdir().unwrap();
    let input = archives(dir.path(), 3, 6);
    let out = dir.path().join("out");
    let report = run(&recipe(), &input, &out, 2);
    let names: Vec<&str> = report.funnel.iter().map(|stage| stage.stage.as_str()).collect();
    assert_eq!(names, ["read", "extract", "lid", "rules", "dedup"]);
    let dedup = &report.funnel[4];
    assert_eq!(dedup.reasons.get("near_duplicate"), Some(&3), "{:?}", report.funnel);
    let rows = documents(&out, 3);
    assert_eq!(rows.len() as u64, report.documents);
    assert!(rows.iter().all(|row| row.language.as_deref() == Some("en") && row.keep && row.pii.is_some()));
    let masked = rows.iter().filter(|row| row.pii.unwrap().email == 1);
    assert!(
        masked.clone().count() == 3
            && masked.clone().all(|row| row.text.contains("@example.") && !row.text.contains("corp"))
    );
    // The line that three pages share stays on the first of them.
    let shared = sentence(7, 30);
    assert_eq!(rows.iter().filter(|row| row.text.contains(&shared)).count(), 1);
    for row in &rows {
        assert!(row.spans.iter().all(|span| row.text[span.range()].starts_with("let x")), "{:?}", row.spans);
    }
    let mut code = JsonlReader::open(&out.join("code/00001.jsonl.zst")).unwrap();
    let first: serde_json::Value = code.next_row().unwrap().unwrap();
    assert!(first["text"].as_str().unwrap().starts_with("let x") && first["id"].is_string());
    assert!(verify(&out).unwrap().iter().all(|task| task.state == "done"));

    // Workers and a second run change nothing.
    let other = dir.path().join("other");
    run(&recipe(), &input, &other, 7);
    assert!(files(&other) == files(&out));

    // A narrow scope keeps more.
    let mut narrow = recipe();
    narrow.dedup.scope = Scope::Shard;
    assert!(run(&narrow, &input, &dir.path().join("narrow"), 2).documents > report.documents);

    let kept = explain(&out, &rows[0].url).unwrap();
    assert!(kept.kept && kept.id == rows[0].id && kept.metrics["doc_word_count"] > 100.0 && kept.decisions.len() > 12);
    let dropped = explain(&out, "https://a.example/2/1").unwrap();
    assert_eq!((dropped.kept, dropped.reason.as_deref()), (false, Some("near_duplicate")));
    assert!(dropped.detail.unwrap().contains("repeats row"));
    assert!(explain(&out, "nothing").is_err());
}

#[test]
fn annotation_drops_nothing_that_has_a_text() {
    let dir = tempfile::tempdir().unwrap();
    let input = archives(dir.path(), 2, 5);
    let annotated = Recipe { mode: Mode::Annotate, ..recipe() };
    let report = run(&annotated, &input, &dir.path().join("out"), 2);
    assert_eq!(report.documents, 10);
    let rows = documents(&dir.path().join("out"), 2);
    assert_eq!(rows.iter().filter(|row| !row.keep).count(), 2);
    let marked = rows.iter().find(|row| !row.keep).unwrap();
    assert_eq!(marked.decisions.last().unwrap().rule, "near_duplicate");
}

/// Three processes that share the tasks of one plan write what one run writes.
#[test]
fn tasks_alone_make_the_same_corpus() {
    let dir = tempfile::tempdir().unwrap();
    let input = archives(dir.path(), 4, 5);
    let whole = dir.path().join("whole");
    run(&recipe(), &input, &whole, 1);
    let out = dir.path().join("out");
    Plan::new(&recipe(), &[input]).unwrap().write(&out, false).unwrap();
    let cancel = CancelFlag::new();
    let control = Control { progress: &NoProgress, cancel: &cancel };
    let runner = Runner::default();
    assert!(runner.run_shard(&out, ShardTask::Documents, 0, &control).is_err(), "rows first");
    for shard in [2, 0, 3, 1] {
        assert!(!runner.run_shard(&out, ShardTask::Extract, shard, &control).unwrap().was_done);
    }
    assert!(runner.run_shard(&out, ShardTask::Extract, 0, &control).unwrap().was_done);
    for shard in [3, 1, 0, 2] {
        runner.run_shard(&out, ShardTask::Documents, shard, &control).unwrap();
    }
    assert!(runner.run_shard(&out, ShardTask::Extract, 4, &control).is_err());
    assert!(files(&out) == files(&whole));
}

/// Where the child of the test below finds what to do, in the folder it is started in.
const JOB: &str = "kill-job";

/// Runs the plan in its folder with three workers. Alone it has no job and does nothing; the test below starts it and kills it.
#[test]
fn child() {
    let Ok(input) = std::fs::read_to_string(JOB) else { return };
    run(&recipe(), &input, Path::new("out"), 3);
}

/// Killed at 20 random moments, a run of three workers ends in the bytes of one that was left alone, and does nothing twice.
#[test]
fn killed_anywhere_it_ends_in_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let input = archives(dir.path(), 12, 12);
    let start = std::time::Instant::now();
    run(&recipe(), &input, &dir.path().join("whole"), 3);
    let whole = start.elapsed();
    let expected = files(&dir.path().join("whole"));
    let job = dir.path().join("job");
    std::fs::create_dir(&job).unwrap();
    std::fs::write(job.join(JOB), &input).unwrap();
    let start_child = || {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "stages::child"])
            .current_dir(&job)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    };
    let mut rng = SplitMix64::new(3);
    for _ in 0..20 {
        let before = manifests(&job.join("out/done"));
        let mut child = start_child();
        std::thread::sleep(Duration::from_micros(1 + rng.below(whole.as_micros() as u64 / 3 + 20_000)));
        child.kill().unwrap();
        child.wait().unwrap();
        // What was done stays done, to the byte and to the moment it was written.
        let after = manifests(&job.join("out/done"));
        assert!(before.iter().all(|(path, time)| after.get(path) == Some(time)), "a finished task was done again");
    }
    assert!(start_child().wait().unwrap().success());
    assert!(files(&job.join("out")) == expected);
}

fn manifests(folder: &Path) -> BTreeMap<PathBuf, std::time::SystemTime> {
    if !folder.exists() {
        return BTreeMap::new();
    }
    let whole = walk(folder).into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "json"));
    whole.map(|path| (path.clone(), std::fs::metadata(&path).unwrap().modified().unwrap())).collect()
}
