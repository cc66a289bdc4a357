//! What goes over the wire, and what comes back.

use serde_json::{Map, Value, json};

use super::client::{ClientConfig, Kind};
use crate::error::PolicyError;
use crate::policy::{Finish, Sample, Sampling, Usage};

/// The fields that all OpenAI-like requests share. Temperature and nucleus are always sent: a server's defaults may come from the model.
pub(super) fn sampling_fields(
    body: &mut Map<String, Value>,
    kind: Kind,
    n: usize,
    stops: &[String],
    sampling: &Sampling,
    seed: Option<u64>,
) {
    body.insert("n".into(), n.into());
    body.insert("max_tokens".into(), sampling.max_tokens.into());
    body.insert("temperature".into(), short(sampling.temperature));
    body.insert("top_p".into(), short(sampling.top_p));
    if !stops.is_empty() {
        body.insert("stop".into(), stops.into());
    }
    if let Some(seed) = seed {
        // JSON numbers of many servers are signed.
        body.insert("seed".into(), (seed & (u64::MAX >> 1)).into());
    }
    if kind.is_vllm() {
        body.insert("top_k".into(), if sampling.top_k == 0 { json!(-1) } else { sampling.top_k.into() });
        body.insert("repetition_penalty".into(), short(sampling.repetition_penalty));
        body.insert("skip_special_tokens".into(), false.into());
    }
}

/// An f32 as the shortest decimal that reads back as it: 0.8 and not 0.800000011920929.
fn short(value: f32) -> Value {
    value.to_string().parse::<f64>().map_or(Value::Null, Value::from)
}

fn one_or_list(prompts: &[&str]) -> Value {
    match prompts {
        [one] => (*one).into(),
        many => many.into(),
    }
}

pub(super) fn completions_request(
    config: &ClientConfig,
    prompts: &[&str],
    n: usize,
    stops: &[String],
    sampling: &Sampling,
    seed: Option<u64>,
) -> Value {
    let mut body = Map::new();
    body.insert("model".into(), config.model.clone().into());
    body.insert("prompt".into(), one_or_list(prompts));
    sampling_fields(&mut body, config.kind, n, stops, sampling, seed);
    body.into()
}

pub(super) fn llamacpp_request(prompt: &str, stops: &[String], sampling: &Sampling, seed: Option<u64>) -> Value {
    json!({
        "prompt": prompt,
        "n_predict": sampling.max_tokens,
        "stop": stops,
        "temperature": short(sampling.temperature),
        "top_k": sampling.top_k,
        "top_p": short(sampling.top_p),
        "repeat_penalty": short(sampling.repetition_penalty),
        "seed": seed.map(|seed| seed & u64::from(u32::MAX)),
        "cache_prompt": true,
    })
}

pub(super) fn sglang_request(prompts: &[&str], n: usize, stops: &[String], sampling: &Sampling) -> Value {
    json!({
        "text": one_or_list(prompts),
        "sampling_params": {
            "n": n,
            "stop": stops,
            "max_new_tokens": sampling.max_tokens,
            "temperature": short(sampling.temperature),
            "top_p": short(sampling.top_p),
            "top_k": if sampling.top_k == 0 { json!(-1) } else { sampling.top_k.into() },
            "repetition_penalty": short(sampling.repetition_penalty),
        },
    })
}

fn bad(what: impl Into<String>) -> PolicyError {
    PolicyError::BadReply { what: what.into() }
}

fn count(value: Option<&Value>) -> u64 {
    value.and_then(Value::as_u64).unwrap_or(0)
}

/// The choices of a reply in the order of their index; `field` is `text`, or `message` of a chat.
pub(super) fn choices(reply: &Value, field: &str, usage: &mut Usage) -> Result<Vec<Sample>, PolicyError> {
    let list = reply.get("choices").and_then(Value::as_array).ok_or_else(|| bad("no `choices`"))?;
    let mut indexed = Vec::with_capacity(list.len());
    for (at, choice) in list.iter().enumerate() {
        let index = choice.get("index").and_then(Value::as_u64).unwrap_or(at as u64);
        let content = choice.get(field).ok_or_else(|| bad(format!("a choice without `{field}`")))?;
        let text = if field == "message" { content.get("content") } else { Some(content) };
        let text = text.and_then(Value::as_str).unwrap_or("").to_owned();
        let fired = choice.get("stop_reason").and_then(Value::as_str).map(str::to_owned);
        // A reason that is a token's number, or null where the server knows the field, is the end of the sequence.
        let says = choice.get("stop_reason").is_some();
        let finish = match choice.get("finish_reason").and_then(Value::as_str) {
            Some("length") => Finish::Length,
            _ if fired.is_some() || !says => Finish::Stop,
            _ => Finish::Eos,
        };
        indexed.push((index, Sample { text, stop: fired, stop_inferred: false, finish, tokens: 0 }));
    }
    indexed.sort_by_key(|(index, _)| *index);
    match reply.get("usage") {
        Some(counts) => {
            usage.prompt += count(counts.get("prompt_tokens"));
            usage.completion += count(counts.get("completion_tokens"));
            usage.cached += count(counts.pointer("/prompt_tokens_details/cached_tokens"));
        }
        None => usage.unknown += 1,
    }
    Ok(indexed.into_iter().map(|(_, sample)| sample).collect())
}

pub(super) fn llamacpp_reply(reply: &Value, usage: &mut Usage) -> Result<Sample, PolicyError> {
    let text = reply.get("content").and_then(Value::as_str).ok_or_else(|| bad("no `content`"))?.to_owned();
    if reply.get("truncated").and_then(Value::as_bool) == Some(true) {
        return Err(PolicyError::PromptTruncated { tokens: count(reply.get("tokens_evaluated")) });
    }
    usage.prompt += count(reply.get("tokens_evaluated"));
    usage.completion += count(reply.get("tokens_predicted"));
    usage.cached += count(reply.get("tokens_cached"));
    let word = reply.get("stopping_word").and_then(Value::as_str).filter(|word| !word.is_empty()).map(str::to_owned);
    let (stop, finish) = match reply.get("stop_type").and_then(Value::as_str) {
        Some("limit") => (None, Finish::Length),
        Some("word") => (word, Finish::Stop),
        _ => (None, Finish::Eos),
    };
    Ok(Sample { text, stop, stop_inferred: false, finish, tokens: count(reply.get("tokens_predicted")) })
}

pub(super) fn sglang_reply(reply: &Value, usage: &mut Usage) -> Result<Vec<Sample>, PolicyError> {
    let items: Vec<&Value> = match reply {
        Value::Array(items) => items.iter().collect(),
        one => vec![one],
    };
    let mut samples = Vec::with_capacity(items.len());
    for item in items {
        let text = item.get("text").and_then(Value::as_str).ok_or_else(|| bad("no `text`"))?.to_owned();
        let meta = item.get("meta_info").ok_or_else(|| bad("no `meta_info`"))?;
        usage.prompt += count(meta.get("prompt_tokens"));
        usage.completion += count(meta.get("completion_tokens"));
        usage.cached += count(meta.get("cached_tokens"));
        let reason = meta.get("finish_reason");
        let matched = reason.and_then(|reason| reason.get("matched")).and_then(Value::as_str).map(str::to_owned);
        let finish = match (reason.and_then(|reason| reason.get("type")).and_then(Value::as_str), &matched) {
            (Some("length"), _) => Finish::Length,
            (_, Some(_)) => Finish::Stop,
            _ => Finish::Eos,
        };
        samples.push(Sample {
            text,
            stop: matched,
            stop_inferred: false,
            finish,
            tokens: count(meta.get("completion_tokens")),
        });
    }
    Ok(samples)
}

/// Which stop fired where the server does not say: from where the text stands in the grammar of steps. An inferred stop is flagged.
pub(super) fn infer_stop(mut sample: Sample, prompt: &str, stops: &[String], kind: Kind) -> Sample {
    let unsaid = sample.finish == Finish::Stop && sample.stop.is_none();
    if !unsaid || stops.is_empty() {
        return sample;
    }
    let has = |stop: &str| stops.iter().any(|other| other == stop);
    let whole = format!("{prompt}{}", sample.text);
    let in_code = whole.rfind("<code>").is_some_and(|open| !whole[open..].contains("<end_of_code>"));
    let guess = if sample.text.contains("\\boxed") || whole.rfind("<output>") > whole.rfind("<code>") {
        "<end_of_answer>"
    } else if in_code && sample.text.contains("Now print the final answer") {
        "<end_of_code>"
    } else if in_code {
        "<end_of_step>"
    } else {
        "\n"
    };
    if has(guess) {
        sample.stop = Some(guess.to_owned());
        sample.stop_inferred = true;
    } else if kind.is_vllm() {
        sample.finish = Finish::Eos;
    }
    sample
}
