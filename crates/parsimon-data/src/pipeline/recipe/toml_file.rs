//! Recipes in TOML: `[run]` and `[[stage]]` with `op` and its options.
//!
//! ```toml
//! [run]
//! seed = 1
//! mode = "filter"
//! [[stage]]
//! op = "extract"
//! profile = "balanced"
//! [[stage]]
//! op = "rules"
//! preset = "redstone"
//! ```
//!
//! Stages run in one order, and a recipe lists them in it: what is written is what happens.

use std::path::Path;

use parsimon_core::io::{FormatError, Map};
use serde::Deserialize;

use super::{DedupStage, LidStage, Mode, NearStage, Preset, QualityStage, Recipe, Select};
use crate::dedup::{MinHashParams, Scope};
use crate::error::CurateError;
use crate::extract::Profile;
use crate::pack::TokenizerOptions;
use crate::pii::PiiOptions;
use crate::rules::RulePreset;
use crate::url_filter::{UrlLists, entries};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    run: Run,
    stage: Vec<toml::Spanned<Stage>>,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct Run {
    seed: Option<u64>,
    mode: Mode,
    scope: Option<Scope>,
}

#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
enum Stage {
    ReadWarc {
        payload_bytes_max: Option<usize>,
        mimes: Option<Vec<String>>,
    },
    UrlFilter {
        domains: Option<String>,
        urls: Option<String>,
        hard: Option<String>,
        soft: Option<String>,
        soft_min: Option<usize>,
    },
    Extract {
        #[serde(default)]
        profile: Profile,
    },
    Select {
        what: Select,
    },
    Lid {
        #[serde(default = "super::builtin")]
        model: String,
        keep: Vec<String>,
        min: f32,
    },
    Rules {
        preset: String,
        #[serde(default)]
        mask: bool,
    },
    Quality {
        model: String,
        label: String,
        min: f32,
    },
    Url {},
    Exact {},
    Minhash {
        #[serde(default = "native")]
        preset: String,
        bands: Option<usize>,
        rows: Option<usize>,
        #[serde(default)]
        similarity_min: f64,
    },
    Paragraphs {},
    Pii {
        #[serde(default = "yes")]
        email: bool,
        #[serde(default = "yes")]
        ipv4: bool,
        #[serde(default)]
        phone: bool,
        #[serde(default)]
        card: bool,
    },
    Datasets {},
    TrainTokenizer {
        vocab_size: usize,
        sample_bytes: Option<u64>,
    },
    Pack {
        tokens_per_shard: Option<usize>,
    },
}

fn native() -> String {
    "native".to_owned()
}

fn yes() -> bool {
    true
}

impl Stage {
    /// Its place in the one order.
    fn rank(&self) -> (u8, &'static str) {
        match self {
            Stage::ReadWarc { .. } => (0, "read_warc"),
            Stage::UrlFilter { .. } => (1, "url_filter"),
            Stage::Extract { .. } => (2, "extract"),
            Stage::Select { .. } => (3, "select"),
            Stage::Lid { .. } => (4, "lid"),
            Stage::Rules { .. } => (5, "rules"),
            Stage::Quality { .. } => (6, "quality"),
            Stage::Url {} => (7, "url"),
            Stage::Exact {} => (8, "exact"),
            Stage::Minhash { .. } => (9, "minhash"),
            Stage::Paragraphs {} => (10, "paragraphs"),
            Stage::Pii { .. } => (11, "pii"),
            Stage::Datasets {} => (12, "datasets"),
            Stage::TrainTokenizer { .. } => (13, "train_tokenizer"),
            Stage::Pack { .. } => (14, "pack"),
        }
    }
}

pub(super) fn read(path: &Path) -> Result<Recipe, CurateError> {
    let map = Map::open(path)?;
    let malformed = |reason: String| FormatError::Malformed { file: path.to_owned(), format: "recipe", reason };
    let text = std::str::from_utf8(&map).map_err(|e| malformed(e.to_string()))?;
    // The message of the parser names line and column and shows the place; for an unknown stage it lists those that there are.
    let file: File = toml::from_str(text).map_err(|e| malformed(e.to_string()))?;
    let mut recipe = Recipe {
        preset: path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
        lid: None,
        pii: None,
        mask: false,
        mode: file.run.mode,
        seed: file.run.seed.unwrap_or(1),
        dedup: DedupStage {
            scope: file.run.scope.unwrap_or(Scope::Snapshot),
            exact: false,
            url: false,
            paragraphs: false,
            near: None,
        },
        ..Recipe::preset(Preset::Technical)
    };
    recipe.rules = None;
    recipe.datasets = false;
    let mut last: Option<(u8, &'static str)> = None;
    for stage in file.stage {
        let line = text[..stage.span().start].matches('\n').count() + 1;
        let stage = stage.into_inner();
        let (rank, name) = stage.rank();
        match last {
            Some((before, other)) if rank <= before => {
                let reason = format!("line {line}: the stage `{name}` cannot come after `{other}`");
                return Err(malformed(reason).into());
            }
            _ => last = Some((rank, name)),
        }
        apply(stage, &mut recipe, path).map_err(|reason| malformed(format!("line {line}: {reason}")))?;
    }
    Ok(recipe)
}

/// Puts a stage into the recipe.
fn apply(stage: Stage, recipe: &mut Recipe, path: &Path) -> Result<(), String> {
    match stage {
        Stage::ReadWarc { payload_bytes_max, mimes } => {
            recipe.payload_bytes_max = payload_bytes_max.unwrap_or(recipe.payload_bytes_max);
            recipe.mimes = mimes.unwrap_or(std::mem::take(&mut recipe.mimes));
        }
        Stage::UrlFilter { domains, urls, hard, soft, soft_min } => {
            let list = |file: Option<String>| list_of(file.as_deref(), path);
            let (domains, urls, hard, soft) = (list(domains)?, list(urls)?, list(hard)?, list(soft)?);
            recipe.url_filter =
                Some(UrlLists { domains, urls, hard, soft, soft_min: soft_min.unwrap_or(2), sub_words: Vec::new() });
        }
        Stage::Extract { profile } => recipe.profile = profile,
        Stage::Select { what } => recipe.select = Some(what),
        Stage::Lid { model, keep, min } => recipe.lid = Some(LidStage { model, keep, min }),
        Stage::Rules { preset, mask } => {
            let names = || RulePreset::ALL.map(|(name, _)| name).join(", ");
            let preset = RulePreset::from_name(&preset);
            recipe.rules = Some(preset.ok_or_else(|| format!("the rules are one of {}", names()))?);
            recipe.mask = mask;
        }
        Stage::Quality { model, label, min } => recipe.quality = Some(QualityStage { model, label, min }),
        Stage::Url {} => recipe.dedup.url = true,
        Stage::Exact {} => recipe.dedup.exact = true,
        Stage::Minhash { preset, bands, rows, similarity_min } => {
            let mut params =
                MinHashParams::from_name(&preset).ok_or_else(|| format!("no kind of signature `{preset}`"))?;
            params.bands = bands.unwrap_or(params.bands);
            params.rows = rows.unwrap_or(params.rows);
            if params.n() == 0 || params.n() > 4096 {
                return Err(format!("a signature of {} values; between 1 and 4096", params.n()));
            }
            recipe.dedup.near = Some(NearStage { params, similarity_min });
        }
        Stage::Paragraphs {} => recipe.dedup.paragraphs = true,
        Stage::Pii { email, ipv4, phone, card } => recipe.pii = Some(PiiOptions { email, ipv4, phone, card }),
        Stage::Datasets {} => recipe.datasets = true,
        Stage::TrainTokenizer { vocab_size, sample_bytes } => {
            let sample_bytes = sample_bytes.unwrap_or(12 << 20);
            recipe.tokenizer = Some(TokenizerOptions { vocab_size, sample_bytes, seed: recipe.seed });
        }
        Stage::Pack { tokens_per_shard } => {
            if recipe.tokenizer.is_none() {
                return Err("`pack` needs `train_tokenizer` before it".to_owned());
            }
            recipe.tokens_per_shard = tokens_per_shard.unwrap_or(recipe.tokens_per_shard);
        }
    }
    Ok(())
}

/// The entries of a list, whose path is relative to the recipe's folder.
fn list_of(file: Option<&str>, recipe: &Path) -> Result<Vec<String>, String> {
    let Some(file) = file else { return Ok(Vec::new()) };
    let path = recipe.parent().unwrap_or(Path::new("")).join(file);
    let map = Map::open(&path).map_err(|e| e.to_string())?;
    Ok(entries(&String::from_utf8_lossy(&map)))
}
