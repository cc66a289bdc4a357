//! Recipes: what is done, as data.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::extract::Profile;
use crate::pack::TokenizerOptions;
use crate::rules::Rules;

/// The recipes that have a name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Preset {
    /// What `cargo xtask demo` runs: technical documentation to a small tokenized corpus.
    Demo,
}

impl Preset {
    /// The preset called `name`.
    pub fn from_name(name: &str) -> Option<Preset> {
        (name == "demo").then_some(Preset::Demo)
    }
}

/// Everything that decides what a corpus holds, down to the byte.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub struct Recipe {
    /// The preset's name.
    pub preset: String,
    /// Seed of samples and shuffles.
    pub seed: u64,
    /// The largest decoded payload of a page.
    pub payload_bytes_max: usize,
    /// Media types that are read as HTML.
    pub mimes: Vec<String>,
    /// How much of a page is taken.
    pub profile: Profile,
    /// The rules on the text.
    pub rules: Rules,
    /// The tokenizer.
    pub tokenizer: TokenizerOptions,
    /// The most tokens of a shard.
    pub tokens_per_shard: usize,
}

impl Recipe {
    /// The recipe of a preset.
    pub fn preset(preset: Preset) -> Recipe {
        let Preset::Demo = preset;
        let seed = 1;
        Recipe {
            preset: "demo".to_owned(),
            seed,
            payload_bytes_max: 20 << 20,
            mimes: ["text/html", "application/xhtml+xml"].map(str::to_owned).to_vec(),
            profile: Profile::Balanced,
            rules: Rules::technical(),
            tokenizer: TokenizerOptions { vocab_size: 8192, sample_bytes: 12 << 20, seed },
            tokens_per_shard: 4_000_000,
        }
    }

    /// xxh3-64 of the recipe's JSON, in hexadecimal.
    pub fn hash(&self) -> String {
        let json = serde_json::to_vec(self).expect("a recipe has string keys and finite numbers");
        format!("{:016x}", xxh3_64(&json))
    }
}
