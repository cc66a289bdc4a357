//! Policies and value models from their specifications.

use std::collections::HashMap;
use std::path::Path;

use parsimon::LocalPolicy;
use parsimon::model::{LoadOptions, Model, Tokenizer};
use parsimon::reason::Policy;
use parsimon::reason::PolicyError;
use parsimon::reason::llm::{Client, ClientConfig, Kind, RewardClient, RewardKind, RewardStyle};
use parsimon::reason::policy::{Chain, Noise, NoisyChains};
use parsimon::reason::problem::{Format, read_problems};

/// Where a key for a server comes from; it goes nowhere but into the request's header.
const KEY: &str = "PARSIMON_API_KEY";

fn bad(spec: &str, what: impl Into<String>) -> PolicyError {
    PolicyError::BadSpec { backend: spec.to_owned(), what: what.into() }
}

fn client(kind: Kind, rest: &str) -> ClientConfig {
    let (url, model) = rest.split_once('#').unwrap_or((rest, ""));
    let mut config = ClientConfig::new(kind, url, model);
    config.api_key = std::env::var(KEY).ok();
    config
}

/// A policy; `task` is the text of the problem file, from which the simulated policy takes its chains.
pub(super) fn open(spec: &str, task: &str) -> anyhow::Result<Box<dyn Policy>> {
    if let Some((kind, rest)) = spec.split_once('+')
        && rest.starts_with("http")
    {
        let kind = Kind::named(kind).ok_or_else(|| bad(spec, format!("unknown kind of server `{kind}`")))?;
        return Ok(Box::new(Client::new(client(kind, rest))));
    }
    if let Some(rest) = spec.strip_prefix("sim:") {
        return Ok(Box::new(simulated(spec, rest, task)?));
    }
    let folder = Path::new(spec);
    if !folder.exists() {
        return Err(bad(spec, "no such folder, and no kind+URL, sim: or other specification").into());
    }
    let name = folder.file_name().map_or_else(|| spec.to_owned(), |name| name.to_string_lossy().into_owned());
    Ok(Box::new(LocalPolicy::new(name, Model::open(folder, &LoadOptions::default())?, Tokenizer::open(folder)?)))
}

fn simulated(spec: &str, rest: &str, task: &str) -> anyhow::Result<NoisyChains> {
    let (noise, p) =
        rest.split_once(",p=").ok_or_else(|| bad(spec, "expected sim:scatter,p=0.2 or sim:systematic,p=0.2"))?;
    let noise = match noise {
        "scatter" => Noise::Scatter,
        "systematic" => Noise::Systematic,
        other => return Err(bad(spec, format!("unknown noise `{other}`")).into()),
    };
    let p: f64 =
        p.parse().ok().filter(|p| (0.0..=1.0).contains(p)).ok_or_else(|| bad(spec, "p is a number from 0 to 1"))?;
    let mut chains = HashMap::new();
    for labeled in read_problems(task, Format::guess(task))? {
        let chain = labeled.gold.as_deref().and_then(Chain::read);
        let chain = chain.ok_or_else(|| {
            bad(spec, format!("problem {} has no worked solution with <<...>> marks", labeled.problem.id))
        })?;
        chains.insert(labeled.problem.id, chain);
    }
    Ok(NoisyChains::new(chains, noise, p))
}

/// A value model behind a server.
pub(super) fn open_reward(spec: &str) -> anyhow::Result<Box<RewardClient>> {
    let (kind, rest) =
        spec.split_once('+').ok_or_else(|| bad(spec, "expected pooling+URL#model or classify+URL#model"))?;
    let (kind, style) = match kind {
        "pooling" => (RewardKind::VllmPooling, RewardStyle::ScalarLast { tanh_scale: Some(5.0) }),
        "classify" => (RewardKind::Classify, RewardStyle::ProbOfClass { class: 1 }),
        other => return Err(bad(spec, format!("unknown kind of value model `{other}`")).into()),
    };
    Ok(Box::new(RewardClient::new(kind, style, client(Kind::VllmCompletions, rest))))
}
