//! Passages found by meaning: the embeddings of a model in a vector index.

use std::path::Path;

use parsimon_ann::{AnnError, Element, Index, IndexConfig, Metric, Neighbor, Runtime, SearchParams, Space, VectorId};
use parsimon_core::{Control, Unit};
use parsimon_model::{Model, ModelError};

/// Texts in a batch of the log.
const BATCH: usize = 64;

/// A passage cannot be embedded, stored or found.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum PassageError {
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error(transparent)]
    Index(#[from] AnnError),
}

/// A durable index of texts under the mean of a model's last hidden states, compared by their direction.
///
/// ```no_run
/// use parsimon::ann::VectorId;
/// use parsimon::{PassageIndex, model::{LoadOptions, Model}, tensor::{CancelFlag, Control, NoProgress}};
///
/// let model = Model::open("model".as_ref(), &LoadOptions::default())?;
/// let passages = PassageIndex::create("passages".as_ref(), &model, [1; 16])?;
/// let control = Control { progress: &NoProgress, cancel: &CancelFlag::new() };
/// passages.add(&model, &[(VectorId(0), vec![5, 9, 2]), (VectorId(1), vec![7, 7])], &control)?;
/// let nearest = passages.search(&model, &[5, 9], 1)?;
/// println!("{:?}", nearest[0].id);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct PassageIndex {
    index: Index,
}

impl PassageIndex {
    /// Makes an empty index for the embeddings of `model`; `uuid` names it.
    ///
    /// # Errors
    ///
    /// As [`Index::create`].
    pub fn create(dir: &Path, model: &Model, uuid: [u8; 16]) -> Result<PassageIndex, PassageError> {
        let space = Space::new(Metric::Cosine, Element::F32, model.config().hidden_size, None)?;
        Ok(PassageIndex { index: Index::create(dir, &space, &IndexConfig::default(), uuid, Runtime::default())? })
    }

    /// Opens an index.
    ///
    /// # Errors
    ///
    /// As [`Index::open`].
    pub fn open(dir: &Path) -> Result<PassageIndex, PassageError> {
        Ok(PassageIndex { index: Index::open(dir, Runtime::default())? })
    }

    /// The index, for deleting, maintaining and looking at it.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// Embeds texts, given as tokens, and stores them; a text of a known id replaces the old one.
    ///
    /// # Errors
    ///
    /// As [`Model::embed_text`] and [`Index::upsert`]; what was stored before a cancel stays.
    pub fn add(
        &self,
        model: &Model,
        texts: &[(VectorId, Vec<u32>)],
        control: &Control<'_>,
    ) -> Result<(), PassageError> {
        control.progress.start("embed", Some(texts.len() as u64), Unit::Items("passages"));
        for part in texts.chunks(BATCH) {
            control.cancel.check().map_err(AnnError::from)?;
            let mut vectors = Vec::new();
            for (_, tokens) in part {
                vectors.extend(model.embed_text(tokens)?.iter().flat_map(|v| v.to_le_bytes()));
            }
            let ids: Vec<VectorId> = part.iter().map(|(id, _)| *id).collect();
            self.index.upsert(&ids, &vectors)?;
            control.progress.advance(part.len() as u64);
        }
        control.progress.finish();
        Ok(())
    }

    /// The `k` texts nearest in meaning to a text.
    ///
    /// # Errors
    ///
    /// As [`Model::embed_text`] and [`parsimon_ann::Searcher::search_into`].
    pub fn search(&self, model: &Model, tokens: &[u32], k: usize) -> Result<Vec<Neighbor>, PassageError> {
        let query: Vec<u8> = model.embed_text(tokens)?.iter().flat_map(|v| v.to_le_bytes()).collect();
        let mut found = Vec::new();
        self.index.searcher().search_into(&query, &SearchParams { k, ..SearchParams::default() }, &mut found)?;
        Ok(found)
    }
}
