//! The whole pipeline on the bundled sample: workers, kills, reruns, plans.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use parsimon_core::io::read_json;
use parsimon_core::{CancelFlag, Control, Diagnose, NoProgress, Progress, Unit};
use parsimon_data::io::JsonlReader;
use parsimon_data::pack::TokenIndex;
use parsimon_data::pipeline::status;
use parsimon_data::stats::Funnel;
use parsimon_data::warc::{PackOptions, WarcOptions, WarcReader, pack_pages};
use parsimon_data::{CurateError, Plan, Preset, Recipe, Record, Report, RunOptions, Runner};

fn control(cancel: &CancelFlag) -> Control<'_> {
    Control { progress: &NoProgress, cancel }
}

/// The sample packed into several archives below `dir/warc`.
fn pack(dir: &Path) -> String {
    let options = PackOptions {
        root: Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/rustdoc"),
        include: vec!["**".to_owned()],
        exclude: Vec::new(),
        base_url: "https://doc.rust-lang.org/".to_owned(),
        date: "2026-01-01T00:00:00Z".to_owned(),
        shard_bytes: 700_000,
        out: dir.join("warc"),
    };
    let report = pack_pages(&options, &|| 0.0, &control(&CancelFlag::new())).unwrap();
    assert_eq!(report.pages, 57);
    assert!(report.files.len() >= 3);
    dir.join("warc/*.warc.gz").to_str().unwrap().to_owned()
}

/// The demo's recipe with a tokenizer and shards that suit a small sample.
fn recipe() -> Recipe {
    let mut recipe = Recipe::preset(Preset::Demo);
    recipe.tokenizer.as_mut().unwrap().vocab_size = 1000;
    recipe.tokens_per_shard = 50_000;
    recipe
}

fn run(input: &str, out: &Path, workers: usize) -> Result<Report, CurateError> {
    let plan = Plan::new(&recipe(), &[input.to_owned()])?;
    let options = RunOptions { workers: NonZeroUsize::new(workers), force: false };
    Runner::new(options).run(&plan, out, &|| 0.0, &control(&CancelFlag::new()))
}

/// Every file below `out` with its bytes, except `stats.json`, which counts what a run found done.
fn bytes(out: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![out.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.file_name().unwrap() != "stats.json" {
                files.insert(path.strip_prefix(out).unwrap().to_owned(), std::fs::read(&path).unwrap());
            }
        }
    }
    files
}

#[test]
fn rows_trace_back_to_their_records_and_the_funnel_adds_up() {
    let dir = tempfile::tempdir().unwrap();
    let input = pack(dir.path());
    let out = dir.path().join("corpus");
    let report = run(&input, &out, 2).unwrap();
    assert_eq!(report.internal_rejects(), 0);
    let read: Report = read_json(&out.join("stats.json")).unwrap();
    assert_eq!(read, report);
    let funnel: Funnel = serde_json::from_value(serde_json::to_value(&report.funnel).unwrap()).unwrap();
    assert!(funnel.adds_up(), "{funnel:?}");
    assert_eq!(funnel.stage("read").unwrap().docs_out, 57);
    assert_eq!(funnel.stage("dedup").unwrap().docs_out, report.documents);

    let (mut documents, mut text_bytes, mut rejects) = (0, 0, 0);
    for shard in 0..report.inputs.len() {
        let mut rows = JsonlReader::open(&out.join(format!("documents/{shard:05}.jsonl.zst"))).unwrap();
        while let Some(row) = rows.next_row::<Record>().unwrap() {
            documents += 1;
            text_bytes += row.text.len() as u64;
            let archive = std::fs::read(dir.path().join("warc").join(&row.warc_file)).unwrap();
            let member = &archive[row.warc_offset as usize..][..row.warc_length as usize];
            let records: Vec<_> = WarcReader::from_bytes("member".as_ref(), member, WarcOptions::default()).collect();
            assert_eq!(records.len(), 1);
            assert_eq!(records[0].as_ref().unwrap().target_uri(), Some(row.url.as_str()));
            assert_eq!(row.host, "doc.rust-lang.org");
            assert!(row.decisions.iter().all(|decision| decision.keep) && !row.decisions.is_empty());
        }
        let lines = std::fs::read_to_string(out.join(format!("rejects/{shard:05}.jsonl"))).unwrap();
        rejects += lines.lines().count() as u64;
    }
    assert_eq!((documents, text_bytes), (report.documents, report.text_bytes));
    let dropped: u64 = report.funnel.iter().flat_map(|stage| stage.reasons.values()).sum();
    assert_eq!(rejects, dropped);
    let index: TokenIndex = read_json(&out.join("tokens/index.json")).unwrap();
    let packed: usize = index.shards.iter().map(|shard| shard.documents.len()).sum();
    assert_eq!(packed as u64 + report.heldout.documents, report.documents);
    // A sample this small holds out more than one in a hundred, so that there is something to measure on.
    assert!(report.heldout.bytes >= 16 << 10, "{:?}", report.heldout);
}

#[test]
fn workers_change_no_byte_and_a_second_run_does_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let input = pack(dir.path());
    let (one, three) = (dir.path().join("one"), dir.path().join("three"));
    let first = run(&input, &one, 1).unwrap();
    run(&input, &three, 3).unwrap();
    let expected = bytes(&one);
    assert_eq!(bytes(&three), expected);
    assert_eq!((first.shards_done, first.shards_skipped), (first.inputs.len() as u64, 0));
    let second = run(&input, &one, 2).unwrap();
    assert_eq!((second.shards_done, second.shards_skipped), (0, first.inputs.len() as u64));
    assert_eq!(Report { shards_done: first.shards_done, shards_skipped: 0, ..second }, first);
    assert_eq!(bytes(&one), expected);
}

/// Whatever a kill leaves (a missing manifest or output, a damaged output, a half-written temporary), a rerun ends in the same bytes.
#[test]
fn resumes_after_any_loss() {
    let dir = tempfile::tempdir().unwrap();
    let input = pack(dir.path());
    let out = dir.path().join("corpus");
    let n_shards = run(&input, &out, 2).unwrap().inputs.len() as u64;
    let expected = bytes(&out);
    for (number, lost) in expected.keys().filter(|path| *path != Path::new("plan.json")).enumerate() {
        let path = out.join(lost);
        match number % 3 {
            0 => std::fs::remove_file(&path).unwrap(),
            1 => std::fs::write(&path, &expected[lost][..expected[lost].len() / 2]).unwrap(),
            _ => {
                std::fs::remove_file(&path).unwrap();
                std::fs::write(path.with_file_name(".tmpHALF"), b"half").unwrap();
            }
        }
        let report = run(&input, &out, 2).unwrap();
        assert!(report.shards_done <= 1, "{}: at most the shard that lost it is done again", lost.display());
        assert_eq!(report.shards_done + report.shards_skipped, n_shards);
        assert!(bytes(&out) == expected, "after the loss of {}", lost.display());
    }
}

/// Cancels when the n-th progress report comes.
struct CancelAfter {
    left: std::sync::atomic::AtomicI64,
    cancel: CancelFlag,
}

impl Progress for CancelAfter {
    fn start(&self, _task: &str, _total: Option<u64>, _unit: Unit) {
        self.advance(0);
    }

    fn advance(&self, _n: u64) {
        if self.left.fetch_sub(1, std::sync::atomic::Ordering::Relaxed) <= 0 {
            self.cancel.cancel();
        }
    }
}

#[test]
fn cancelled_anywhere_it_continues_to_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let input = pack(dir.path());
    let whole = dir.path().join("whole");
    run(&input, &whole, 2).unwrap();
    let expected = bytes(&whole);
    let out = dir.path().join("corpus");
    let plan = Plan::new(&recipe(), std::slice::from_ref(&input)).unwrap();
    let mut cancelled = 0;
    for reports in 0.. {
        let cancel = CancelFlag::new();
        let progress = CancelAfter { left: reports.into(), cancel: cancel.clone() };
        let control = Control { progress: &progress, cancel: &cancel };
        match Runner::default().run(&plan, &out, &|| 0.0, &control) {
            Ok(_) => break,
            Err(error) => assert_eq!(error.variant(), "Cancelled"),
        }
        cancelled += 1;
        assert!(!out.join("stats.json").exists());
        assert!(status(&out).unwrap().documents <= plan.shards.len() as u64);
    }
    assert!(cancelled > 3);
    assert_eq!(bytes(&out), expected);
    let status = status(&out).unwrap();
    assert!(status.tokenizer && status.packed);
    assert_eq!(
        (status.shards, status.extracted, status.documents),
        (plan.shards.len() as u64, status.shards, status.shards)
    );
}

#[test]
fn a_folder_belongs_to_one_plan() {
    let dir = tempfile::tempdir().unwrap();
    let input = pack(dir.path());
    let out = dir.path().join("corpus");
    run(&input, &out, 2).unwrap();
    let expected = bytes(&out);
    let one = dir.path().join("warc/00000.warc.gz").to_str().unwrap().to_owned();
    let error = run(&one, &out, 2).unwrap_err();
    assert_eq!(error.variant(), "PlanMismatch");
    assert!(error.is_bad_input());
    let other = Plan::new(&Recipe { seed: 9, ..recipe() }, std::slice::from_ref(&input)).unwrap();
    let again = Runner::default().run(&other, &out, &|| 0.0, &control(&CancelFlag::new())).unwrap_err();
    assert_eq!(again.place().as_deref(), Some("recipe"));
    assert_eq!(bytes(&out), expected, "a refused run touches nothing");

    let forced = Runner::new(RunOptions { force: true, ..RunOptions::default() });
    let plan = Plan::new(&recipe(), &[one]).unwrap();
    let report = forced.run(&plan, &out, &|| 0.0, &control(&CancelFlag::new())).unwrap();
    assert_eq!(report.shards_done, 1);
    assert!(!out.join("documents/00001.jsonl.zst").exists());

    let foreign = dir.path().join("foreign");
    std::fs::create_dir(&foreign).unwrap();
    std::fs::write(foreign.join("notes.txt"), "mine").unwrap();
    assert_eq!(run(&input, &foreign, 1).unwrap_err().variant(), "NotEmpty");
    // What a kill before the first file of a run leaves is no reason to refuse.
    std::fs::rename(foreign.join("notes.txt"), foreign.join(".tmpAbCdEf")).unwrap();
    run(&input, &foreign, 1).unwrap();
}

#[test]
fn damaged_archives_lose_no_other_record() {
    let dir = tempfile::tempdir().unwrap();
    pack(dir.path());
    let path = dir.path().join("warc/00000.warc.gz");
    let archive = std::fs::read(&path).unwrap();
    std::fs::write(dir.path().join("clipped.warc.gz"), &archive[..archive.len() - 100]).unwrap();
    let mut damaged = archive.clone();
    let middle = archive.len() / 2;
    damaged[middle] ^= 0xff;
    std::fs::write(dir.path().join("damaged.warc.gz"), damaged).unwrap();
    std::fs::write(dir.path().join("not.warc.gz"), "hello").unwrap();

    let whole = run(path.to_str().unwrap(), &dir.path().join("whole"), 1).unwrap();
    for name in ["clipped", "damaged"] {
        let input = dir.path().join(format!("{name}.warc.gz"));
        let report = run(input.to_str().unwrap(), &dir.path().join(name), 1).unwrap();
        let funnel: Funnel = serde_json::from_value(serde_json::to_value(&report.funnel).unwrap()).unwrap();
        assert!(funnel.adds_up());
        let read = |report: &Report| report.funnel[0].docs_out;
        assert_eq!(read(&report), read(&whole) - 1, "{name}: {:?}", report.funnel[0]);
    }
    let error = run(dir.path().join("not.warc.gz").to_str().unwrap(), &dir.path().join("not"), 1).unwrap_err();
    assert_eq!(error.variant(), "BadHeader");
}
