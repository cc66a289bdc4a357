//! Vocabularies and chat templates between `tokenizer.json`, `tokenizer_config.json` and the keys of a GGUF file.

use std::path::Path;

use parsimon_core::io::gguf::{Array, Gguf, GgufWriter, Value as Entry};
use parsimon_core::io::{read_json, write_json};
use serde_json::{Value, json};

use super::unwritable;
use crate::splits::{SPLITS, Split};
use crate::{ModelConfig, ModelError};

/// The name of a model's tokenizer that has none; readers of GGUF files want a name.
const NO_VOCABULARY: &[u8] = b"no_vocab";

/// Kinds of tokens (`tokenizer.ggml.token_type`).
const NORMAL: i32 = 1;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;

/// The most bytes of a chat template, as they are read.
const TEMPLATE_BYTES_MAX: u64 = 1 << 20;

/// Sets the keys of the folder's vocabulary, if it has one, and of its chat template.
pub(super) fn set(folder: &Path, config: &ModelConfig, writer: &mut GgufWriter) -> Result<(), ModelError> {
    let file = folder.join("tokenizer.json");
    let mut ends = Ends { bos: config.bos_token_id, eos: config.eos_token_ids.first().copied(), ..Ends::default() };
    if file.exists() {
        let json: Value = read_json(&file)?;
        let vocabulary = Vocabulary::read(&file, &json, config.vocab_size)?;
        ends.read(&json["post_processor"]);
        let split = split(&file, &json)?;
        writer.set("tokenizer.ggml.model", &Entry::String(b"gpt2"))?;
        writer.set("tokenizer.ggml.pre", &Entry::String(split.names[0].as_bytes()))?;
        writer.set("tokenizer.ggml.tokens", &Entry::Array(Array::of_strings(&vocabulary.tokens)))?;
        writer.set("tokenizer.ggml.token_type", &Entry::Array(Array::of_i32s(&vocabulary.kinds)))?;
        writer.set("tokenizer.ggml.merges", &Entry::Array(Array::of_strings(&vocabulary.merges)))?;
        writer.set("tokenizer.ggml.add_bos_token", &Entry::Bool(ends.adds_bos))?;
        writer.set("tokenizer.ggml.add_eos_token", &Entry::Bool(ends.adds_eos))?;
    } else {
        writer.set("tokenizer.ggml.model", &Entry::String(NO_VOCABULARY))?;
    }
    for (key, id) in [("bos", ends.bos), ("eos", ends.eos), ("eot", config.eos_token_ids.get(1).copied())] {
        if let Some(id) = id {
            writer.set(&format!("tokenizer.ggml.{key}_token_id"), &Entry::U32(id))?;
        }
    }
    if let Some(template) = template(folder)? {
        writer.set("tokenizer.chat_template", &Entry::String(template.as_bytes()))?;
    }
    Ok(())
}

/// The tokens that begin and end a text.
#[derive(Default)]
struct Ends {
    bos: Option<u32>,
    eos: Option<u32>,
    adds_bos: bool,
    adds_eos: bool,
}

impl Ends {
    /// What a template around one text adds, alone or in a sequence of processors.
    fn read(&mut self, processor: &Value) {
        let all = processor["processors"].as_array().map_or(std::slice::from_ref(processor), Vec::as_slice);
        let Some(template) = all.iter().find(|one| one["type"] == "TemplateProcessing") else { return };
        let id = |piece: Option<&Value>| {
            let name = piece?["SpecialToken"]["id"].as_str()?;
            u32::try_from(template["special_tokens"][name]["ids"][0].as_u64()?).ok()
        };
        let single = template["single"].as_array().map(Vec::as_slice).unwrap_or_default();
        let (bos, eos) = (id(single.first()), id(single.last()));
        (self.adds_bos, self.adds_eos) = (bos.is_some(), eos.is_some());
        self.bos = bos.or(self.bos);
        self.eos = eos.or(self.eos);
    }
}

/// The split of a byte-level `tokenizer.json`.
fn split(file: &Path, json: &Value) -> Result<&'static Split, ModelError> {
    let refused = |what: &str, value: &Value| unwritable(file, what, format!("it is {value}, which no key says"));
    let pre = &json["pre_tokenizer"];
    let steps = pre["pretokenizers"].as_array().map_or(std::slice::from_ref(pre), Vec::as_slice);
    let (pattern, bytes) = match steps {
        [bytes] => (None, bytes),
        [split, bytes] if split["type"] == "Split" => (Some(&split["pattern"]["Regex"]), bytes),
        _ => return Err(refused("`pre_tokenizer`", pre)),
    };
    let plain = bytes["type"] == "ByteLevel" && bytes["add_prefix_space"] != true;
    // Without the key it splits by itself.
    if !plain || (bytes["use_regex"] != false) != pattern.is_none() {
        return Err(refused("`pre_tokenizer`", pre));
    }
    let known = SPLITS.iter().find(|split| split.pattern == pattern.and_then(Value::as_str));
    let split = known.filter(|split| split.pattern.is_some() == pattern.is_some());
    let Some(split) = split else { return Err(refused("the split", pattern.unwrap_or(pre))) };
    let normalizer = &json["normalizer"];
    if !normalizer.is_null() && normalizer["type"] != "NFC" {
        return Err(refused("`normalizer`", normalizer));
    }
    // A vocabulary whose tokens are all results of its merges gives the same with and without.
    let ignores = &json["model"]["ignore_merges"];
    if *ignores == true && !split.ignore_merges {
        return Err(refused("`ignore_merges`", ignores));
    }
    Ok(split)
}

struct Vocabulary {
    tokens: Vec<String>,
    kinds: Vec<i32>,
    merges: Vec<String>,
}

impl Vocabulary {
    /// Byte-level BPE; ids up to `rows` that have no token get one that is unused.
    fn read(file: &Path, json: &Value, rows: usize) -> Result<Self, ModelError> {
        let model = &json["model"];
        if model["type"] != "BPE" || model["byte_fallback"] == true {
            let reason = format!("only byte-level BPE is written, it is {}", model["type"]);
            return Err(unwritable(file, "the vocabulary", reason));
        }
        let wrong = |what: &str, reason: String| unwritable(file, what, reason);
        let mut tokens: Vec<Option<String>> = vec![None; rows];
        let mut kinds = vec![NORMAL; rows];
        let mut place = |token: &str, id: &Value, kind: i32| {
            let at = id.as_u64().and_then(|id| usize::try_from(id).ok()).filter(|&id| id < rows);
            let Some(at) = at else {
                return Err(wrong(&format!("token `{token}`"), format!("its id is {id}, the model has {rows} rows")));
            };
            tokens[at] = Some(token.to_owned());
            kinds[at] = kind;
            Ok(())
        };
        for (token, id) in model["vocab"].as_object().into_iter().flatten() {
            place(token, id, NORMAL)?;
        }
        for added in json["added_tokens"].as_array().into_iter().flatten() {
            let kind = if added["special"] == true { CONTROL } else { USER_DEFINED };
            place(added["content"].as_str().unwrap_or_default(), &added["id"], kind)?;
        }
        let mut named = Vec::with_capacity(rows);
        for (id, token) in tokens.into_iter().enumerate() {
            if token.is_none() {
                kinds[id] = UNUSED;
            }
            named.push(token.unwrap_or_else(|| format!("[PAD{id}]")));
        }
        let merge = |merge: &Value| match merge {
            Value::String(text) => Some(text.clone()),
            Value::Array(pair) => Some(format!("{} {}", pair.first()?.as_str()?, pair.get(1)?.as_str()?)),
            _ => None,
        };
        let merges: Option<Vec<String>> = model["merges"].as_array().into_iter().flatten().map(merge).collect();
        let merges = merges.ok_or_else(|| wrong("`merges`", "one is no pair of tokens".to_owned()))?;
        Ok(Vocabulary { tokens: named, kinds, merges })
    }
}

/// `chat_template.jinja`, or `chat_template` of `tokenizer_config.json`, of several the one named `default`.
fn template(folder: &Path) -> Result<Option<String>, ModelError> {
    use parsimon_core::io::FormatError;

    let file = folder.join("chat_template.jinja");
    if let Ok(metadata) = file.metadata() {
        if metadata.len() > TEMPLATE_BYTES_MAX {
            let reason = format!("it has {} bytes, at most {TEMPLATE_BYTES_MAX} are read", metadata.len());
            return Err(unwritable(&file, "the chat template", reason));
        }
        let text = std::fs::read_to_string(&file).map_err(|e| FormatError::io(&file, "read", e))?;
        return Ok(Some(text));
    }
    let file = folder.join("tokenizer_config.json");
    if !file.exists() {
        return Ok(None);
    }
    let config: Value = read_json(&file)?;
    let text = match &config["chat_template"] {
        Value::Array(all) => all.iter().find(|one| one["name"] == "default").and_then(|one| one["template"].as_str()),
        one => one.as_str(),
    };
    Ok(text.map(str::to_owned))
}

/// Writes `tokenizer.json` and `tokenizer_config.json` of a GGUF file's vocabulary, if it has one.
pub(crate) fn write_vocabulary(file: &Gguf, out: &Path) -> Result<(), ModelError> {
    let model = file.get("tokenizer.ggml.model");
    if model.as_ref().is_none_or(|model| model.as_str().is_some_and(|name| name.as_bytes() == NO_VOCABULARY)) {
        return Ok(());
    }
    write_json(&out.join("tokenizer.json"), &tokenizer_json(file)?)?;
    let token = |key: &str| -> Option<String> {
        let id = usize::try_from(file.get(key)?.as_u64()?).ok()?;
        let tokens = file.array("tokenizer.ggml.tokens").ok()?;
        Some(String::from_utf8_lossy(tokens.strings()?.nth(id)?).into_owned())
    };
    let mut config = json!({"tokenizer_class": "PreTrainedTokenizerFast"});
    for name in ["bos_token", "eos_token"] {
        if let Some(token) = token(&format!("tokenizer.ggml.{name}_id")) {
            config[name] = token.into();
        }
    }
    if let Some(template) = file.get("tokenizer.chat_template").as_ref().and_then(|entry| entry.as_str()) {
        config["chat_template"] = template.into();
    }
    Ok(write_json(&out.join("tokenizer_config.json"), &config)?)
}

fn vocabulary_error(file: &Gguf, reason: impl ToString) -> ModelError {
    let (file, what) = (file.path().to_owned(), "the vocabulary".to_owned());
    ModelError::Export { file, what, form: "a folder", reason: reason.to_string() }
}

#[cfg(feature = "tokenizer")]
fn tokenizer_json(file: &Gguf) -> Result<Value, ModelError> {
    let tokenizer = crate::Tokenizer::from_gguf(file).map_err(|e| vocabulary_error(file, e))?;
    tokenizer.to_json().map_err(|e| vocabulary_error(file, e))
}

#[cfg(not(feature = "tokenizer"))]
fn tokenizer_json(file: &Gguf) -> Result<Value, ModelError> {
    Err(vocabulary_error(file, "this build has no tokenizers: build with the feature `tokenizer`"))
}
