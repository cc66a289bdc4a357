use parsimon_core::io::{NpyArray, read_json};
use parsimon_core::{CancelFlag, Control, NoProgress, SplitMix64};
use tokenizers::Tokenizer;

use super::*;
use crate::io::JsonlWriter;

/// Two files of documents made of a few words; every tenth spells the end token out.
fn documents(root: &std::path::Path, n: u64) -> (Vec<std::path::PathBuf>, Vec<(String, String)>) {
    const WORDS: [&str; 8] = ["fn", "let", " the", "borrow", "checker\n", "énü", "    ", "42"];
    let mut rng = SplitMix64::new(5);
    let mut all = Vec::new();
    let mut files = Vec::new();
    for shard in 0..2 {
        let name = format!("documents/{shard:05}.jsonl.zst");
        let mut file = JsonlWriter::create(root, &name).unwrap();
        for i in 0..n {
            let length = 1 + rng.below(40);
            let words = (0..length).map(|_| WORDS[rng.below(8) as usize]).collect::<Vec<_>>().join(" ");
            let text = if i % 10 == 0 { format!("{words}{END_OF_TEXT}x") } else { words };
            let id = format!("{:032x}", u128::from(rng.next_u64()));
            file.push(&serde_json::json!({"id": id, "text": text, "url": "ignored"})).unwrap();
            all.push((id, text));
        }
        file.commit().unwrap();
        files.push(root.join(name));
    }
    (files, all)
}

/// The choice for a corpus of ordinary size.
const ONE: HeldOut = HeldOut { parts: 1 };

#[test]
fn a_small_corpus_holds_more_out() {
    let part = HELD_OUT_BYTES_MIN / 4;
    for (part_bytes, parts) in [(HELD_OUT_BYTES_MIN, 1), (part, 4), (part + 1, 4), (part - 1, 5), (1, 10), (0, 10)] {
        assert_eq!(HeldOut::for_corpus(&[part_bytes; PARTS]), HeldOut { parts });
    }
    let ids = (0..1000u128).map(|i| format!("{:032x}", i * 7919));
    let held = ids.filter(|id| HeldOut { parts: 10 }.contains(id)).count();
    assert_eq!(held, 100);
}

fn control(cancel: &CancelFlag) -> Control<'_> {
    Control { progress: &NoProgress, cancel }
}

#[test]
fn training_is_repeatable_on_any_number_of_threads() {
    let dir = tempfile::tempdir().unwrap();
    let (files, _) = documents(dir.path(), 400);
    let cancel = CancelFlag::new();
    let train = |threads, seed, sample_bytes| {
        let options = TokenizerOptions { vocab_size: 320, sample_bytes, seed };
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| train(&files, &options, ONE, &control(&cancel))).unwrap()
    };
    let json = train(1, 1, 20_000);
    assert_eq!(train(4, 1, 20_000), json);
    assert_eq!(train(2, 1, 20_000), json);
    let tokenizer = Tokenizer::from_bytes(&json).unwrap();
    assert_eq!(tokenizer.token_to_id(END_OF_TEXT), Some(0));
    assert!(tokenizer.get_vocab_size(true) > 257 && tokenizer.get_vocab_size(true) <= 320);
    let odd = "any bytes: \u{1f980} \u{e9}\n\t x";
    let ids = tokenizer.encode(odd, false).unwrap();
    assert_eq!(tokenizer.decode(ids.get_ids(), false).unwrap(), odd);
}

#[test]
fn every_document_is_in_a_shard_or_held_out() {
    let dir = tempfile::tempdir().unwrap();
    let (files, all) = documents(dir.path(), 300);
    let cancel = CancelFlag::new();
    let options = TokenizerOptions { vocab_size: 300, sample_bytes: 1 << 20, seed: 1 };
    std::fs::write(dir.path().join("tokenizer.json"), train(&files, &options, ONE, &control(&cancel)).unwrap())
        .unwrap();
    let tokens_max = 500;
    let packed =
        pack(dir.path(), &files, 600, &PackOptions { held_out: ONE, tokens_max, seed: 3 }, &control(&cancel)).unwrap();
    let index: TokenIndex = read_json(&dir.path().join("tokens/index.json")).unwrap();
    assert_eq!(index, packed.index);
    let mut tokenizer = Tokenizer::from_file(dir.path().join("tokenizer.json")).unwrap();
    tokenizer.set_encode_special_tokens(true);

    let mut found = std::collections::BTreeMap::new();
    let mut tokens = 0;
    for shard in &index.shards {
        let array = NpyArray::open(&dir.path().join("tokens").join(&shard.file)).unwrap().to_vec::<u16>().unwrap();
        assert!(array.len() <= tokens_max && array.len() as u64 == shard.tokens);
        tokens += shard.tokens;
        let mut start = 0;
        for document in &shard.documents {
            let ids: Vec<u32> = array[start..document.end as usize].iter().map(|&id| u32::from(id)).collect();
            assert_eq!(
                ids.iter().position(|&id| id == index.eos_id),
                Some(ids.len() - 1),
                "the end token ends it and stands nowhere else"
            );
            found.insert(document.id.clone(), tokenizer.decode(&ids[..ids.len() - 1], false).unwrap());
            start = document.end as usize;
        }
        assert_eq!(start, array.len());
    }
    assert_eq!(tokens, index.tokens);
    let (held, kept): (Vec<_>, Vec<_>) = all.into_iter().partition(|(id, _)| ONE.contains(id));
    assert_eq!(found, kept.into_iter().collect());
    let heldout: String = held.iter().map(|(_, text)| format!("{text}{END_OF_TEXT}")).collect();
    assert_eq!(std::fs::read_to_string(dir.path().join("heldout.txt")).unwrap(), heldout);
    assert_eq!(packed.heldout_documents, held.len() as u64);
    assert!(!held.is_empty());
}

#[test]
fn a_document_longer_than_a_shard_comes_in_parts() {
    let dir = tempfile::tempdir().unwrap();
    let mut file = JsonlWriter::create(dir.path(), "d.jsonl.zst").unwrap();
    file.push(&serde_json::json!({"id": "1", "text": "abcdefghij".repeat(10)})).unwrap();
    file.push(&serde_json::json!({"id": "2", "text": "x"})).unwrap();
    file.commit().unwrap();
    let files = [dir.path().join("d.jsonl.zst")];
    let cancel = CancelFlag::new();
    let options = TokenizerOptions { vocab_size: 257, sample_bytes: 1 << 20, seed: 1 };
    std::fs::write(dir.path().join("tokenizer.json"), train(&files, &options, ONE, &control(&cancel)).unwrap())
        .unwrap();
    let index = pack(dir.path(), &files, 2, &PackOptions { held_out: ONE, tokens_max: 40, seed: 3 }, &control(&cancel))
        .unwrap()
        .index;
    assert_eq!(index.tokens, 101 + 2);
    assert!(index.shards.iter().all(|shard| shard.tokens <= 40));
}

#[test]
fn an_empty_corpus_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    JsonlWriter::create(dir.path(), "d.jsonl.zst").unwrap().commit().unwrap();
    let options = TokenizerOptions { vocab_size: 257, sample_bytes: 1 << 20, seed: 1 };
    let error = train(&[dir.path().join("d.jsonl.zst")], &options, ONE, &control(&CancelFlag::new())).unwrap_err();
    assert_eq!(error.to_string(), crate::CurateError::EmptyCorpus.to_string());
}
