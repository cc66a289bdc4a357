//! Speeds of the stages on one thread: `measure DIR`, where DIR holds the golden corpus and pages (`shared/data/data`). Every result is
//! counted, so that nothing is optimized away, and the median of five rounds is printed.

use std::io::Read;
use std::path::Path;
use std::time::Instant;

use parsimon_data::dedup::{MinHashParams, Signer};
use parsimon_data::fasttext::FastText;
use parsimon_data::lid::Lid;
use parsimon_data::rules::RulePreset;
use parsimon_data::warc::{PageRecord, WarcOptions, WarcReader, WarcWriter};
use parsimon_data::{Document, Extractor, Profile};

fn inflate(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    flate2::read::MultiGzDecoder::new(std::fs::File::open(path)?).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Median seconds of five rounds; the sum of what the rounds count must be the same.
fn time(mut round: impl FnMut() -> u64) -> f64 {
    let expected = round();
    let mut times: Vec<f64> = (0..5)
        .map(|_| {
            let start = Instant::now();
            assert_eq!(round(), expected, "a round counts what the first one counted");
            start.elapsed().as_secs_f64()
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[2]
}

fn line(name: &str, seconds: f64, n: usize, unit: &str, bytes: usize) {
    let (rate, megabytes) = (n as f64 / seconds, bytes as f64 / seconds / 1e6);
    println!("{name:<34} {rate:>12.0} {unit}/s {megabytes:>9.1} MB/s");
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::args().nth(1).ok_or("no folder")?;
    let dir = Path::new(&dir);
    let corpus = String::from_utf8(inflate(&dir.join("golden/corpus.jsonl.gz"))?)?;
    let texts: Vec<String> = corpus
        .lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).map(|row| row["text"].as_str().unwrap_or("").to_owned())
        })
        .collect::<Result<_, _>>()?;
    let text_bytes: usize = texts.iter().map(String::len).sum();
    let mut pages = Vec::new();
    for entry in std::fs::read_dir(dir.join("html/aeb"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "gz") {
            pages.push(inflate(&path)?);
        }
    }
    let page_bytes: usize = pages.iter().map(Vec::len).sum();

    let mut archive = Vec::new();
    let mut writer = WarcWriter::new();
    for (at, page) in pages.iter().enumerate() {
        let url = format!("https://a.example/{at}");
        archive.extend(writer.response(&PageRecord {
            url: &url,
            date: "2026-01-01T00:00:00Z",
            content_type: "text/html",
            payload: page,
        }));
    }
    let read = || WarcReader::from_bytes("-".as_ref(), &archive[..], WarcOptions::default()).flatten();
    line("warc, records", time(|| read().map(|r| r.block.len() as u64).sum()), pages.len(), "records", page_bytes);
    let parse = time(|| pages.iter().map(|page| Document::parse(page, None).len() as u64).sum());
    line("html, tree", parse, pages.len(), "pages", page_bytes);
    for profile in [Profile::Article, Profile::Balanced] {
        let extractor = Extractor::new(profile);
        let seconds =
            time(|| pages.iter().map(|page| extractor.extract(&Document::parse(page, None)).text.len() as u64).sum());
        line(&format!("extract, {}", profile.name()), seconds, pages.len(), "pages", page_bytes);
    }
    for (name, preset) in RulePreset::ALL {
        let seconds = time(|| texts.iter().map(|text| u64::from(preset.judge(text, &[]).keep)).sum());
        line(&format!("rules, {name}"), seconds, texts.len(), "docs", text_bytes);
    }
    for name in ["native", "fineweb-xxh64", "fineweb-sha1", "redstone"] {
        let signer = Signer::new(MinHashParams::from_name(name).ok_or("a preset")?);
        let seconds = time(|| texts.iter().filter_map(|text| signer.sign(text)).fold(0, |sum, sig| sum ^ sig[0]));
        line(&format!("minhash, {name}"), seconds, texts.len(), "docs", text_bytes);
    }
    let sentences = String::from_utf8(inflate(&dir.join("lid/train.tsv.gz"))?)?;
    let sentences: Vec<&str> =
        sentences.lines().filter_map(|line| line.split_once('\t')).map(|(_, s)| s).take(6000).collect();
    let sentence_bytes = sentences.iter().map(|s| s.len()).sum();
    let lid = Lid::builtin();
    let seconds = time(|| sentences.iter().filter_map(|s| lid.detect(s)).map(|found| found.code.len() as u64).sum());
    line("lid, builtin", seconds, sentences.len(), "sentences", sentence_bytes);
    for file in ["ft_softmax.bin", "ft_hs.ftz"] {
        let model = FastText::open(&dir.join("golden").join(file))?;
        let seconds = time(|| sentences.iter().map(|s| model.predict(s, 1).len() as u64).sum());
        line(&format!("fasttext, {file}"), seconds, sentences.len(), "sentences", sentence_bytes);
    }
    Ok(())
}
