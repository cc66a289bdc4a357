//! Recipes: what is done, as data.
//!
//! A recipe is a list of stages in TOML, or a preset. Files that it names (lists of addresses) are read into it, and models enter its hash
//! with their bytes, so that a plan says everything that decides the corpus.

mod toml_file;

use std::path::Path;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::dedup::{MinHashParams, Scope};
use crate::error::CurateError;
use crate::extract::Profile;
use crate::io;
use crate::pack::TokenizerOptions;
use crate::pii::PiiOptions;
use crate::rules::RulePreset;
use crate::url_filter::UrlLists;

/// The recipes that have a name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Preset {
    /// What `cargo xtask demo` runs: technical documentation to a small tokenized corpus.
    Demo,
    /// English web text by RedStone's rules.
    RedstoneWeb,
    /// Pages with code.
    RedstoneCode,
    /// Pages with mathematics.
    RedstoneMath,
    /// Pages with questions and answers.
    RedstoneQa,
    /// FineWeb's chain.
    Fineweb,
    /// DCLM's chain, without its model.
    Dclm,
    /// Technical text with its code and tables.
    Technical,
}

impl Preset {
    /// Every preset with its name.
    pub const ALL: [(&'static str, Preset); 8] = [
        ("demo", Preset::Demo),
        ("redstone-web", Preset::RedstoneWeb),
        ("redstone-code", Preset::RedstoneCode),
        ("redstone-math", Preset::RedstoneMath),
        ("redstone-qa", Preset::RedstoneQa),
        ("fineweb", Preset::Fineweb),
        ("dclm", Preset::Dclm),
        ("technical", Preset::Technical),
    ];

    /// The preset called `name`.
    pub fn from_name(name: &str) -> Option<Preset> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|&(_, preset)| preset)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|&&(_, preset)| preset == self).map_or("", |(name, _)| name)
    }
}

/// Whether documents are dropped or marked.
#[derive(Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, Debug)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// What fails a rule is dropped.
    #[default]
    Filter,
    /// Every document with a text stays, with `keep` and every decision.
    Annotate,
}

/// Which pages a corpus is made of, by what they hold.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "snake_case")]
pub enum Select {
    /// Pages with a block of code.
    Code,
    /// Pages with a formula, or whose text passes RedStone's test.
    Math,
    /// Pages with questions and answers, open or multiple-choice, or whose text passes RedStone's tests.
    Qa,
}

/// Which languages stay.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct LidStage {
    /// `builtin` or the path of a fastText model.
    #[serde(default = "builtin")]
    pub model: String,
    /// Labels that stay.
    pub keep: Vec<String>,
    /// The least probability.
    pub min: f32,
}

fn builtin() -> String {
    "builtin".to_owned()
}

/// A fastText classifier that scores texts.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct QualityStage {
    /// The model's path.
    pub model: String,
    /// The label whose probability is the score, without its prefix.
    pub label: String,
    /// The least score that stays.
    pub min: f32,
}

/// Near-duplicates.
#[derive(Clone, Copy, PartialEq, Serialize, Deserialize, Debug)]
pub struct NearStage {
    /// The signatures.
    #[serde(flatten)]
    pub params: MinHashParams,
    /// The least share of equal values of two signatures that counts; 0 for every candidate.
    #[serde(default)]
    pub similarity_min: f64,
}

/// What is deduplicated, and how far.
#[derive(Clone, Copy, PartialEq, Serialize, Deserialize, Debug)]
pub struct DedupStage {
    /// Among which documents.
    pub scope: Scope,
    /// Equal texts.
    pub exact: bool,
    /// Equal addresses.
    pub url: bool,
    /// Paragraphs that stood on an earlier page are taken out.
    pub paragraphs: bool,
    /// Near-duplicates.
    pub near: Option<NearStage>,
}

/// Everything that decides what a corpus holds, down to the byte.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub struct Recipe {
    /// The preset's name, or the recipe file's.
    pub preset: String,
    /// Seed of samples and shuffles.
    pub seed: u64,
    /// Whether documents are dropped or marked.
    pub mode: Mode,
    /// The largest decoded payload of a page.
    pub payload_bytes_max: usize,
    /// Media types that are read as HTML.
    pub mimes: Vec<String>,
    /// Addresses that are not read.
    pub url_filter: Option<UrlLists>,
    /// How much of a page is taken.
    pub profile: Profile,
    /// Which pages are taken.
    pub select: Option<Select>,
    /// Languages.
    pub lid: Option<LidStage>,
    /// The rules on the text, outside code and tables where `mask` says so.
    pub rules: Option<RulePreset>,
    /// Whether rules see the prose alone.
    pub mask: bool,
    /// A quality model.
    pub quality: Option<QualityStage>,
    /// Deduplication.
    pub dedup: DedupStage,
    /// Masks of personal data.
    pub pii: Option<PiiOptions>,
    /// Whether `code/`, `math/` and `qa/` are written beside the documents.
    pub datasets: bool,
    /// The tokenizer; without one the corpus is not packed.
    pub tokenizer: Option<TokenizerOptions>,
    /// The most tokens of a shard.
    pub tokens_per_shard: usize,
}

impl Recipe {
    /// The recipe of a preset. `PAPER(redstone §3.1)`
    pub fn preset(preset: Preset) -> Recipe {
        let english = || Some(LidStage { model: builtin(), keep: vec!["en".to_owned()], min: 0.65 });
        let near = |name: &str, similarity_min| {
            MinHashParams::from_name(name).map(|params| NearStage { params, similarity_min })
        };
        let dedup = DedupStage { scope: Scope::Snapshot, exact: true, url: true, paragraphs: false, near: None };
        let base = Recipe {
            preset: preset.name().to_owned(),
            seed: 1,
            mode: Mode::Filter,
            payload_bytes_max: 20 << 20,
            mimes: ["text/html", "application/xhtml+xml"].map(str::to_owned).to_vec(),
            url_filter: None,
            profile: Profile::Balanced,
            select: None,
            lid: english(),
            rules: None,
            mask: true,
            quality: None,
            dedup,
            pii: Some(PiiOptions::default()),
            datasets: false,
            tokenizer: None,
            tokens_per_shard: 4_000_000,
        };
        let select = |select, rules| Recipe { select: Some(select), rules, datasets: true, ..base.clone() };
        match preset {
            Preset::Demo => Recipe {
                lid: None,
                rules: Some(RulePreset::Technical),
                dedup: DedupStage { scope: Scope::Global, exact: true, url: false, paragraphs: false, near: None },
                pii: None,
                tokenizer: Some(TokenizerOptions { vocab_size: 8192, sample_bytes: 12 << 20, seed: 1 }),
                ..base
            },
            Preset::RedstoneWeb => Recipe {
                profile: Profile::Article,
                rules: Some(RulePreset::Redstone),
                mask: false,
                dedup: DedupStage { paragraphs: true, ..dedup },
                payload_bytes_max: 10_000_000,
                ..base
            },
            Preset::RedstoneCode => select(Select::Code, None),
            Preset::RedstoneMath => select(Select::Math, None),
            Preset::RedstoneQa => select(Select::Qa, None),
            Preset::Fineweb => Recipe {
                profile: Profile::Article,
                rules: Some(RulePreset::Fineweb),
                mask: false,
                dedup: DedupStage { near: near("fineweb-xxh64", 0.0), ..dedup },
                ..base
            },
            Preset::Dclm => Recipe { rules: Some(RulePreset::Dclm), mask: false, ..base },
            Preset::Technical => Recipe {
                rules: Some(RulePreset::Technical),
                dedup: DedupStage { near: near("native", 0.7), ..dedup },
                datasets: true,
                ..base
            },
        }
    }

    /// Reads a recipe from a TOML file.
    ///
    /// # Errors
    ///
    /// [`CurateError`]: what is wrong with the file, with line and column; a stage that is unknown or stands where it cannot.
    pub fn read(path: &Path) -> Result<Recipe, CurateError> {
        toml_file::read(path)
    }

    /// xxh3-64 of the recipe's JSON and of the models that it names, in hexadecimal.
    ///
    /// # Errors
    ///
    /// [`CurateError::Format`] when a model cannot be read.
    pub fn hash(&self) -> Result<String, CurateError> {
        let mut json = serde_json::to_vec(self).expect("a recipe has string keys and finite numbers");
        let lid = self.lid.as_ref().map(|lid| lid.model.as_str()).filter(|model| *model != "builtin");
        for model in lid.into_iter().chain(self.quality.as_ref().map(|quality| quality.model.as_str())) {
            json.extend(io::hash_path(Path::new(model))?.1.as_bytes());
        }
        Ok(format!("{:016x}", xxh3_64(&json)))
    }
}
