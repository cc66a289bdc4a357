//! Which language a text is in.
//!
//! A linear classifier over character n-grams in fastText's format: the one that comes with the crate knows 75 languages, and any other
//! model file can take its place. The label of the model is the answer without its prefix, for the bundled one a code of ISO 639-1.

use std::path::Path;
use std::sync::LazyLock;

use crate::fasttext::{FastText, LABEL_PREFIX, ModelError, QuantizeOptions, TrainOptions};

/// The bundled model: `parsimon curate train-lid` on sentences of 75 languages, one tenth held out.
static BUILTIN: LazyLock<FastText> =
    LazyLock::new(|| FastText::from_bytes(include_bytes!("../data/lid.ftz")).expect("the bundled model was tested"));

/// Of a long text this many bytes are looked at by the bundled model: a language shows early.
const TEXT_BYTES_MAX: usize = 4 << 10;

/// A text with fewer letters is undetermined unless the model is sure.
const LETTERS_MIN: usize = 20;

/// A language with its probability.
#[derive(Clone, PartialEq, Debug)]
pub struct Language {
    /// The model's label.
    pub code: String,
    /// Its probability.
    pub score: f32,
}

/// Finds languages.
///
/// ```
/// use parsimon_data::lid::Lid;
///
/// let lid = Lid::builtin();
/// assert_eq!(lid.detect("The committee agreed that the bridge should be repaired.").unwrap().code, "en");
/// assert_eq!(lid.detect("Der Ausschuss war sich einig, dass die Brücke repariert werden soll.").unwrap().code, "de");
/// ```
pub struct Lid {
    model: Option<FastText>,
}

impl Lid {
    /// The bundled model.
    pub fn builtin() -> Lid {
        Lid { model: None }
    }

    /// A model of a file, such as `lid.176.bin`; it sees whole texts.
    ///
    /// # Errors
    ///
    /// [`ModelError`] when it cannot be read.
    pub fn open(path: &Path) -> Result<Lid, ModelError> {
        Ok(Lid { model: Some(FastText::open(path)?) })
    }

    /// The most probable language; `None` for a text in which nothing is known. `PAPER(redstone §3.4)`
    pub fn detect(&self, text: &str) -> Option<Language> {
        let model = self.model.as_ref().unwrap_or_else(|| &*BUILTIN);
        let text = if self.model.is_none() { &text[..text.floor_char_boundary(TEXT_BYTES_MAX)] } else { text };
        let line = prepare(text, self.model.is_none());
        let best = model.predict(&line, 1).pop()?;
        let code = best.label.strip_prefix(LABEL_PREFIX).unwrap_or(best.label).to_owned();
        Some(Language { code, score: best.probability.min(1.0) })
    }

    /// Whether a text is in one of `keep` with at least `min`; with too few letters to tell it is not, unless the model is sure.
    pub fn keeps(&self, text: &str, keep: &[String], min: f32) -> (Option<Language>, bool) {
        let found = self.detect(text);
        let is_kept = found.as_ref().is_some_and(|language| language.score >= min && keep.contains(&language.code));
        (found, is_kept)
    }

    /// Whether a text has too few letters for its language to be told.
    pub fn is_undetermined(text: &str) -> bool {
        text.chars().filter(|c| c.is_alphabetic()).take(LETTERS_MIN).count() < LETTERS_MIN
    }
}

/// One line; for the bundled model in lower case and without digits and marks, as it was trained.
fn prepare(text: &str, is_builtin: bool) -> String {
    if !is_builtin {
        return text.replace('\n', " ");
    }
    let keep = |c: char| if c.is_alphabetic() || !c.is_ascii() && c.is_alphanumeric() || c == '\'' { c } else { ' ' };
    text.chars().map(keep).flat_map(char::to_lowercase).collect()
}

/// How the bundled model is trained.
pub fn train_options() -> TrainOptions {
    TrainOptions {
        dim: 16,
        epochs: 40,
        lr: 0.8,
        min_count: i64::MAX,
        minn: 1,
        maxn: 4,
        bucket: 100_000,
        ..TrainOptions::default()
    }
}

/// Trains a model like the bundled one on pairs of a language and a sentence, and makes it small.
///
/// # Errors
///
/// [`ModelError`] as of [`FastText::train`].
pub fn train(rows: &[(String, String)], options: &TrainOptions) -> Result<FastText, ModelError> {
    let lines: Vec<String> =
        rows.iter().map(|(language, text)| format!("{LABEL_PREFIX}{language} {}", prepare(text, true))).collect();
    Ok(FastText::train(&lines, options)?.quantize(&QuantizeOptions::default()))
}

/// The share of rows whose language a model like the bundled one finds.
pub fn accuracy(model: &FastText, rows: &[(String, String)]) -> f64 {
    let is_right = |(language, text): &&(String, String)| {
        let found = model.predict(&prepare(text, true), 1);
        found.first().is_some_and(|best| best.label.strip_prefix(LABEL_PREFIX) == Some(language))
    };
    rows.iter().filter(is_right).count() as f64 / rows.len().max(1) as f64
}
