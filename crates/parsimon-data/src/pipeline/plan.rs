//! The plan: recipe and shards, frozen in `plan.json`.

use std::path::{Path, PathBuf};

use parsimon_core::io::{read_json, write_json};
use serde::{Deserialize, Serialize};

use super::recipe::Recipe;
use crate::error::CurateError;
use crate::extract::Extractor;
use crate::io;

/// Version of the files in an output folder.
const VERSION: u32 = 2;

/// Folders and files that a run makes in its output folder.
const OUTPUTS: [&str; 12] = [
    "plan.json",
    "done",
    "extracted",
    "documents",
    "rejects",
    "code",
    "math",
    "qa",
    "stats.json",
    "tokenizer.json",
    "tokens",
    "heldout.txt",
];

/// One input file.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct PlanShard {
    /// Its number; file names in the output folder carry it with five digits.
    pub id: u32,
    /// Its path as it was found.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// xxh3-64 of its bytes, in hexadecimal.
    pub xxh3: String,
}

impl PlanShard {
    /// The file's name, as rows carry it.
    pub fn file_name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

/// What is to be done, frozen before anything runs.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub struct Plan {
    /// Version of the files.
    pub version: u32,
    /// Version of the code whose behaviour decides the bytes.
    pub code_version: String,
    /// [`Recipe::hash`].
    pub recipe_hash: String,
    /// The recipe.
    pub recipe: Recipe,
    /// The input files, in the order of their paths.
    pub shards: Vec<PlanShard>,
}

impl Plan {
    /// A plan over the files that `inputs` (paths and globs) stand for.
    ///
    /// # Errors
    ///
    /// [`CurateError`]: a glob that is bad or matches nothing, a file that cannot be read.
    pub fn new(recipe: &Recipe, inputs: &[String]) -> Result<Plan, CurateError> {
        let files = io::expand(inputs)?;
        if files.is_empty() {
            return Err(CurateError::NoInput { place: PathBuf::from("."), patterns: inputs.join(" ") });
        }
        let mut shards = Vec::with_capacity(files.len());
        for (id, path) in files.into_iter().enumerate() {
            let (bytes, xxh3) = io::hash_path(&path)?;
            shards.push(PlanShard { id: id as u32, path, bytes, xxh3 });
        }
        Ok(Plan {
            version: VERSION,
            code_version: format!("{}+extract{}", env!("CARGO_PKG_VERSION"), Extractor::VERSION),
            recipe_hash: recipe.hash()?,
            recipe: recipe.clone(),
            shards,
        })
    }

    /// Freezes the plan in `out` without running it.
    ///
    /// # Errors
    ///
    /// As [`crate::Runner::run`] for a folder of another plan.
    pub fn write(&self, out: &Path, force: bool) -> Result<(), CurateError> {
        self.claim(out, force)
    }

    /// The plan in an output folder.
    ///
    /// # Errors
    ///
    /// [`CurateError::Format`] when there is none or it cannot be read.
    pub fn read(out: &Path) -> Result<Plan, CurateError> {
        Ok(read_json(&out.join("plan.json"))?)
    }

    /// Prepares `out` for this plan: writes `plan.json` into a new folder, or checks that the one there is the same.
    pub(super) fn claim(&self, out: &Path, force: bool) -> Result<(), CurateError> {
        let file = out.join("plan.json");
        if file.exists() && !force {
            self.compare(&file, &Plan::read(out)?)?;
            return Ok(io::remove_unfinished(out)?);
        }
        if force {
            for name in OUTPUTS {
                let path = out.join(name);
                if path.is_dir() { io::remove_folder(&path)? } else { io::remove_file(&path).map(|_| ())? }
            }
        } else if io::has_files(out)? {
            return Err(CurateError::NotEmpty { folder: out.to_owned() });
        }
        Ok(write_json(&file, self)?)
    }

    fn compare(&self, file: &Path, found: &Plan) -> Result<(), CurateError> {
        let inputs = |plan: &Plan| -> Vec<String> {
            plan.shards
                .iter()
                .map(|shard| format!("{} ({} bytes, {})", shard.file_name(), shard.bytes, shard.xxh3))
                .collect()
        };
        let fields = [
            ("version", found.version.to_string(), self.version.to_string()),
            ("code_version", found.code_version.clone(), self.code_version.clone()),
            ("recipe", found.recipe_hash.clone(), self.recipe_hash.clone()),
        ];
        let mismatch = |field, found: String, expected: String| {
            Err(CurateError::PlanMismatch { file: file.to_owned(), field, found, expected })
        };
        for (field, found, expected) in fields {
            if found != expected {
                return mismatch(field, found, expected);
            }
        }
        let (theirs, ours) = (inputs(found), inputs(self));
        if theirs.len() != ours.len() {
            return mismatch("the number of inputs", theirs.len().to_string(), ours.len().to_string());
        }
        match theirs.into_iter().zip(ours).find(|(theirs, ours)| theirs != ours) {
            Some((theirs, ours)) => mismatch("an input", theirs, ours),
            None => Ok(()),
        }
    }
}
