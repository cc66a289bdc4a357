//! Creating, building and updating.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use parsimon::ann::io::VectorFile;
use parsimon::ann::{
    AnnError, Element, Index, IndexConfig, Metric, Space, StdVfs, UpdateReport, VectorId, create, max_norm,
};
use parsimon::tensor::Unit;
use serde::Serialize;

use super::{ids_of, open, runtime, uuid};
use crate::context::Context;

/// Vectors of a batch: one record in the log and one synchronization.
const BATCH: usize = 1000;

#[derive(Args)]
struct Shape {
    /// What "near" means: l2, cosine or ip.
    #[arg(long, default_value = "l2")]
    metric: Metric,
    /// Heads a vector.
    #[arg(long, default_value_t = 0.12)]
    head_ratio: f64,
    /// Records of a posting before it is split; whole chunks near 92 by default.
    #[arg(long, value_name = "N")]
    limit: Option<u32>,
    /// How vectors are stored: raw.
    #[arg(long, default_value = "raw")]
    codec: String,
    /// The bound of norms that the inner product needs.
    #[arg(long, value_name = "M")]
    max_norm: Option<f32>,
    /// Seed of everything random.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl Shape {
    fn config(&self) -> Result<IndexConfig, AnnError> {
        match self.codec.as_str() {
            "raw" => {}
            "rabitq1" => return Err(AnnError::Unsupported { what: "codec rabitq1" }),
            _ => {
                let given = self.codec.clone();
                return Err(AnnError::UnknownName { what: "codec", given, expected: "raw" });
            }
        }
        let (head_ratio, posting_limit, seed) = (self.head_ratio, self.limit, self.seed);
        Ok(IndexConfig { head_ratio, posting_limit, seed, ..IndexConfig::default() })
    }
}

#[derive(Serialize)]
struct Made {
    live: u64,
    heads: u64,
    records: u64,
    copies_mean: f64,
    seconds: f64,
    generation: u64,
}

impl Made {
    fn report(cx: &Context, index: &Index, start: Instant) -> anyhow::Result<()> {
        let stats = index.stats()?;
        let made = Made {
            live: stats.live,
            heads: stats.heads,
            records: stats.records,
            copies_mean: stats.copies_mean,
            seconds: start.elapsed().as_secs_f64(),
            generation: stats.generation,
        };
        cx.report(&made, |m| {
            format!("{} vectors, {} heads, {:.2} copies a vector, {:.1} s", m.live, m.heads, m.copies_mean, m.seconds)
        })
    }
}

/// Make an empty index.
#[derive(Args)]
#[command(after_help = "Example: parsimon index create idx --dim 128 --dtype u8")]
pub(crate) struct Create {
    dir: PathBuf,
    /// Elements of a vector.
    #[arg(long)]
    dim: usize,
    /// Type of elements: f32, f16, bf16, u8 or i8.
    #[arg(long)]
    dtype: Element,
    #[command(flatten)]
    shape: Shape,
}

impl Create {
    pub(crate) fn run(self, cx: &Context) -> anyhow::Result<()> {
        let start = Instant::now();
        let space = Space::new(self.shape.metric, self.dtype, self.dim, self.shape.max_norm)?;
        let vfs: std::sync::Arc<dyn parsimon::ann::Vfs> = std::sync::Arc::new(StdVfs::new(&self.dir));
        create(&vfs, &space, &self.shape.config()?, uuid(&self.dir))?;
        Made::report(cx, &open(&self.dir)?, start)
    }
}

/// Build an index from a file of vectors.
#[derive(Args)]
#[command(after_help = "Example: parsimon index build idx --data base.u8bin")]
pub(crate) struct Build {
    dir: PathBuf,
    /// fvecs, bvecs, fbin, u8bin, i8bin or npy.
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// Ids of the rows: npy or ibin; row numbers by default.
    #[arg(long, value_name = "FILE")]
    ids: Option<PathBuf>,
    #[command(flatten)]
    shape: Shape,
}

impl Build {
    pub(crate) fn run(self, cx: &Context) -> anyhow::Result<()> {
        let start = Instant::now();
        let config = self.shape.config()?;
        let data = VectorFile::open(&self.data)?;
        let bound = match self.shape.metric {
            Metric::InnerProduct => Some(self.shape.max_norm.unwrap_or_else(|| max_norm(&data))),
            _ => None,
        };
        let space = Space::new(self.shape.metric, data.element(), data.dim(), bound)?;
        let ids = self.ids.as_deref().map(parsimon::ann::io::read_ids).transpose()?;
        Index::build(&self.dir, &space, &config, uuid(&self.dir), &data, ids.as_deref(), &cx.control())?;
        Made::report(cx, &Index::open(&self.dir, runtime())?, start)
    }
}

/// The vectors of an insert or an upsert.
#[derive(Args)]
pub(crate) struct Vectors {
    dir: PathBuf,
    /// The vectors.
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// Their ids: npy or ibin.
    #[arg(long, value_name = "FILE")]
    ids: Option<PathBuf>,
    /// Without --ids: the first row's id.
    #[arg(long, value_name = "N", default_value_t = 0, conflicts_with = "ids")]
    start: u64,
}

#[derive(Serialize)]
struct Rejected {
    row: usize,
    why: String,
}

#[derive(Default, Serialize)]
struct Updated {
    applied: u64,
    replaced: u64,
    missing: u64,
    rejected: Vec<Rejected>,
    splits: u64,
    merges: u64,
    reassigned: u64,
    lsn: u64,
}

impl Updated {
    fn add(&mut self, report: &UpdateReport) {
        self.applied += report.applied;
        self.replaced += report.replaced;
        self.missing += report.missing;
        self.lsn = self.lsn.max(report.lsn);
    }

    fn finish(mut self, cx: &Context, index: &Index) -> anyhow::Result<()> {
        index.checkpoint()?;
        let counts = index.counts();
        (self.splits, self.merges, self.reassigned) = (counts.splits, counts.merges, counts.reassigned);
        cx.report(&self, |u| format!("{} applied, {} of them replaced, {} missing", u.applied, u.replaced, u.missing))
    }
}

impl Vectors {
    pub(crate) fn run(self, cx: &Context, is_insert: bool) -> anyhow::Result<()> {
        let index = open(&self.dir)?;
        let data = VectorFile::open(&self.data)?;
        if data.element() != index.space().element() {
            let why = "the vectors are of another type than the index";
            return Err(AnnError::InvalidParam { name: "dtype", value: data.element().to_string(), why }.into());
        }
        let ids = ids_of(&self.ids, self.start, data.len())?;
        let control = cx.control();
        control.progress.start("update", Some(ids.len() as u64), Unit::Items("vectors"));
        let mut updated = Updated::default();
        for (number, part) in ids.chunks(BATCH).enumerate() {
            // A batch is whole or not there; what is done so far stays.
            if control.cancel.is_cancelled() {
                break;
            }
            let rows: Vec<u8> = (0..part.len()).flat_map(|i| data.row(number * BATCH + i)).copied().collect();
            updated.add(&if is_insert { index.insert(part, &rows)? } else { index.upsert(part, &rows)? });
            control.progress.advance(part.len() as u64);
        }
        control.progress.finish();
        updated.finish(cx, &index)
    }
}

/// Remove vectors by id.
#[derive(Args)]
#[command(after_help = "Example: parsimon index delete idx --ids gone.npy")]
pub(crate) struct Delete {
    dir: PathBuf,
    /// The ids: npy or ibin.
    #[arg(long, value_name = "FILE", required_unless_present = "id")]
    ids: Option<PathBuf>,
    /// An id; may be repeated.
    #[arg(long)]
    id: Vec<u64>,
}

impl Delete {
    pub(crate) fn run(self, cx: &Context) -> anyhow::Result<()> {
        let index = open(&self.dir)?;
        let mut ids = self.id;
        if let Some(path) = &self.ids {
            ids.extend(parsimon::ann::io::read_ids(path)?);
        }
        let ids: Vec<VectorId> = ids.into_iter().map(VectorId).collect();
        let mut updated = Updated::default();
        updated.add(&index.delete(&ids)?);
        updated.finish(cx, &index)
    }
}
