//! What a run folder holds, as far as the report shows it. Every part may be missing.

use std::collections::BTreeMap;
use std::path::Path;

use parsimon::tensor::io::{FormatError, read_json};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// The parts of a run that were found.
#[derive(Debug, Default)]
pub(crate) struct Run {
    pub(super) about: Option<About>,
    pub(super) pack: Option<Pack>,
    pub(super) corpus: Option<Corpus>,
    pub(super) training: Option<Training>,
    /// The trained model first, then the quantized ones from the most bits to the fewest.
    pub(super) models: Vec<Model>,
    /// What was looked for and not found, as paths in the run folder.
    pub(crate) missing: Vec<String>,
}

/// `demo.json`: how the run came about.
#[derive(Debug, Default, Deserialize)]
pub(super) struct About {
    #[serde(default)]
    pub(super) input: String,
    #[serde(default)]
    pub(super) comparable: bool,
    #[serde(default)]
    pub(super) smoke: bool,
    #[serde(default)]
    pub(super) steps: Vec<StepTime>,
}

#[derive(Debug, Deserialize)]
pub(super) struct StepTime {
    pub(super) name: String,
    pub(super) seconds: f64,
}

/// `warc/pack.json`.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Pack {
    pub(super) pages: u64,
    pub(super) html_bytes: u64,
    pub(super) warc_bytes: u64,
}

/// `corpus/stats.json`.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Corpus {
    pub(super) funnel: Vec<Stage>,
    pub(super) documents: u64,
    pub(super) text_bytes: u64,
    #[serde(default)]
    pub(super) heldout: HeldOut,
    pub(super) tokens: u64,
    pub(super) vocab_size: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Stage {
    pub(super) stage: String,
    pub(super) docs_in: u64,
    pub(super) docs_out: u64,
    #[serde(default)]
    pub(super) reasons: BTreeMap<String, u64>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct HeldOut {
    pub(super) documents: u64,
}

/// `model/train.json`.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Training {
    pub(super) preset: String,
    pub(super) seed: u64,
    pub(super) parameters: u64,
    pub(super) steps: u64,
    pub(super) tokens: u64,
    pub(super) context: u64,
    pub(super) seconds: f64,
    pub(super) tokens_per_s: f64,
    #[serde(default)]
    pub(super) final_loss: Option<f64>,
    #[serde(default)]
    pub(super) loss: Vec<LossPoint>,
}

#[derive(Debug, Deserialize)]
pub(super) struct LossPoint {
    pub(super) step: u64,
    #[serde(default)]
    pub(super) loss: Option<f64>,
}

/// One model folder and the results that carry its name.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) name: String,
    pub(super) bytes: Option<u64>,
    pub(super) quantization: Option<Quantization>,
    pub(super) evaluation: Option<Evaluation>,
    pub(super) generation: Option<Generation>,
}

/// `<model>/quantize.json`.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Quantization {
    #[serde(default)]
    bits: Option<f64>,
    #[serde(default)]
    pub(super) bits_per_weight: Option<f64>,
    #[serde(default)]
    pub(super) layers: Vec<Layer>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Layer {
    pub(super) name: String,
    #[serde(default)]
    pub(super) rel: Option<f64>,
}

/// `eval/<model>.json`.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Evaluation {
    #[serde(default)]
    pub(super) ppl: Option<f64>,
    pub(super) tokens: u64,
}

/// `generate/<model>.json`.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Generation {
    /// Null where the model has no tokenizer.
    #[serde(default)]
    pub(super) text: Option<String>,
    #[serde(default)]
    pub(super) prompt: Option<String>,
    #[serde(default)]
    pub(super) tokens_per_s: Option<f64>,
    #[serde(default)]
    pub(super) first_token_ms: Option<f64>,
}

/// The folder of the trained model and the name of its results.
const TRAINED: (&str, &str) = ("model", "f32");

impl Run {
    /// Reads what the run folder holds. Missing files are noted, not an error.
    ///
    /// # Errors
    ///
    /// A file that is there and cannot be read, or does not have the form that the commands write.
    pub(crate) fn read(dir: &Path) -> Result<Run, FormatError> {
        let listed = std::fs::read_dir(dir).map_err(|e| FormatError::io(dir, "list", e))?;
        let mut run = Run::default();
        run.about = run.part(dir, "demo.json")?;
        run.pack = run.part(dir, "warc/pack.json")?;
        run.corpus = run.part(dir, "corpus/stats.json")?;
        run.training = run.part(dir, "model/train.json")?;

        let mut folders: Vec<String> = Vec::new();
        for entry in listed {
            let entry = entry.map_err(|e| FormatError::io(dir, "list", e))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.path().join("quantize.json").is_file() {
                folders.push(name);
            }
        }
        if dir.join(TRAINED.0).is_dir() {
            let (folder, name) = TRAINED;
            let model = run.model(dir, folder, name)?;
            run.models.push(model);
        }
        let mut quantized = Vec::new();
        for folder in folders {
            quantized.push(run.model(dir, &folder, &folder)?);
        }
        // Ternary codes take the room of 2-bit codes; what they can say decides then.
        quantized.sort_by(|a, b| {
            let by_room = b.bits_per_weight().total_cmp(&a.bits_per_weight());
            by_room.then(b.bits().total_cmp(&a.bits())).then_with(|| a.name.cmp(&b.name))
        });
        run.models.extend(quantized);
        Ok(run)
    }

    fn model(&mut self, dir: &Path, folder: &str, name: &str) -> Result<Model, FormatError> {
        let quantized = folder != TRAINED.0;
        Ok(Model {
            name: name.to_owned(),
            bytes: std::fs::metadata(dir.join(folder).join("model.safetensors")).ok().map(|metadata| metadata.len()),
            quantization: if quantized { self.part(dir, &format!("{folder}/quantize.json"))? } else { None },
            evaluation: self.part(dir, &format!("eval/{name}.json"))?,
            generation: self.part(dir, &format!("generate/{name}.json"))?,
        })
    }

    fn part<T: DeserializeOwned>(&mut self, dir: &Path, relative: &str) -> Result<Option<T>, FormatError> {
        let path = dir.join(relative);
        if path.exists() {
            return read_json(&path).map(Some);
        }
        self.missing.push(relative.to_owned());
        Ok(None)
    }
}

impl Model {
    /// Of the quantized projections, overheads included; 32 for the trained model.
    pub(super) fn bits_per_weight(&self) -> f64 {
        match &self.quantization {
            Some(quantization) => quantization.bits_per_weight.unwrap_or(f64::NAN),
            None => 32.0,
        }
    }

    /// Bits that a code can say: 1.58 for ternary weights.
    fn bits(&self) -> f64 {
        self.quantization.as_ref().and_then(|quantization| quantization.bits).unwrap_or(32.0)
    }

    pub(super) fn is_quantized(&self) -> bool {
        self.quantization.is_some()
    }

    /// Perplexity, where it is a finite number.
    pub(super) fn ppl(&self) -> Option<f64> {
        self.evaluation.as_ref().and_then(|evaluation| evaluation.ppl).filter(|ppl| ppl.is_finite() && *ppl > 0.0)
    }

    pub(super) fn tokens_per_s(&self) -> Option<f64> {
        let speed = self.generation.as_ref().and_then(|generation| generation.tokens_per_s);
        speed.filter(|speed| speed.is_finite() && *speed > 0.0)
    }
}
