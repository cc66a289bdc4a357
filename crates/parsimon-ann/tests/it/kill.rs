//! A writer that is killed at random moments, again and again, on a real disk: what it acknowledged is there.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use parsimon_ann::{
    Element, Index, IndexConfig, Metric, Runtime, SearchParams, Space, StdVfs, VectorId, VerifyLevel, Vfs,
};
use parsimon_core::SplitMix64;

/// Where the child finds its seed and its index, in the folder it is started in.
const SEED: &str = "kill-seed";
const INDEX: &str = "index";
const KILLS: u64 = 200;
const IDS: u64 = 200;

fn vector(rng: &mut SplitMix64) -> [u8; 4] {
    std::array::from_fn(|_| rng.below(256) as u8)
}

fn number(vector: [u8; 4]) -> u32 {
    u32::from_le_bytes(vector)
}

/// The writer: says what it begins and what was acknowledged, until it is killed. Alone it has no index and does nothing; the
/// test below starts it.
#[test]
fn child() {
    let Ok(seed) = std::fs::read_to_string(SEED) else { return };
    let index = Index::open(Path::new(INDEX), Runtime::default()).expect("an index");
    let mut rng = SplitMix64::new(seed.parse().expect("a number"));
    let mut out = std::io::stdout().lock();
    let mut say = |line: String| out.write_all(line.as_bytes()).and_then(|()| out.flush()).expect("the parent listens");
    for step in 0.. {
        let id = rng.below(IDS);
        let content = (rng.below(4) > 0).then(|| vector(&mut rng));
        let text = content.map_or("-".to_owned(), |content| number(content).to_string());
        say(format!("\nbegin {id} {text}\n"));
        let report = match content {
            Some(content) => index.upsert(&[VectorId(id)], &content),
            None => index.delete(&[VectorId(id)]),
        };
        assert!(report.expect("an update").applied <= 1);
        say(format!("\nend {id} {text}\n"));
        if step % 40 == 39 {
            index.checkpoint().expect("a checkpoint");
        }
    }
}

/// What the index holds: the squared distance from the origin does for the content.
fn contents(index: &Index) -> BTreeMap<u64, f32> {
    let mut found = Vec::new();
    let params = SearchParams { k: 10_000, nprobe: usize::MAX, ..SearchParams::default() };
    index.searcher().search_into(&[0; 4], &params, &mut found).expect("results");
    found.into_iter().map(|n| (n.id.0, n.distance)).collect()
}

fn distance(content: u32) -> f32 {
    content.to_le_bytes().iter().map(|&v| f32::from(v) * f32::from(v)).sum()
}

#[test]
fn killed_writers_lose_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let place = dir.path().join(INDEX);
    let space = Space::new(Metric::L2, Element::U8, 4, None).expect("a space");
    let config = IndexConfig { posting_limit: Some(16), ..IndexConfig::default() };
    drop(Index::create(&place, &space, &config, [4; 16], Runtime::default()).expect("an index"));
    let mut rng = SplitMix64::new(6);
    let mut expected: BTreeMap<u64, f32> = BTreeMap::new();
    let mut acknowledged = 0;
    for kill in 0..KILLS {
        std::fs::write(dir.path().join(SEED), kill.to_string()).expect("a file");
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "kill::child", "--nocapture", "--test-threads", "1"])
            .current_dir(dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("a child");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        // The kill falls at a random moment after a random number of answers.
        let patience = rng.below(60);
        let delay = Duration::from_micros(rng.below(3000));
        let mut seen = 0;
        let mut under_way = None;
        for line in lines {
            let line = line.expect("text");
            let words: Vec<&str> = line.split(' ').collect();
            let [word, id, content] = words[..] else { continue };
            let Ok(id) = id.parse::<u64>() else { continue };
            let content: Option<u32> = content.parse().ok();
            match word {
                "begin" => under_way = Some((id, content)),
                "end" => {
                    match content {
                        Some(content) => expected.insert(id, distance(content)),
                        None => expected.remove(&id),
                    };
                    under_way = None;
                    acknowledged += 1;
                    seen += 1;
                    if seen == patience {
                        std::thread::sleep(delay);
                        child.kill().expect("a kill");
                    }
                }
                _ => {}
            }
            if patience == 0 && seen == 0 && word == "begin" {
                child.kill().expect("a kill");
            }
        }
        child.wait().expect("an end");
        let index = Index::open(&place, Runtime::default()).unwrap_or_else(|e| panic!("kill {kill}: {e}"));
        let found = contents(&index);
        if found != expected {
            let (id, content) = under_way.unwrap_or_else(|| panic!("kill {kill}: {found:?} instead of {expected:?}"));
            match content {
                Some(content) => expected.insert(id, distance(content)),
                None => expected.remove(&id),
            };
            assert_eq!(found, expected, "kill {kill}");
        }
        drop(index);
        let vfs: Arc<dyn Vfs> = Arc::new(StdVfs::new(&place));
        let report = Index::verify(&vfs, VerifyLevel::Full).expect("a report");
        assert!(report.clean, "kill {kill}: {report:?}");
    }
    eprintln!("{KILLS} kills, {acknowledged} acknowledged writes");
    assert!(acknowledged > KILLS);
}
