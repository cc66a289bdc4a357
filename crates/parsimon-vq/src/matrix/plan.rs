//! Which kernel a layer takes, with the error that it costs.

use std::fmt;

use parsimon_simd::Level;

use crate::VptqLinear;
use crate::kernel::reg256::Tables;

/// How products of few tokens are computed. Many tokens always decode tiles and multiply densely.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum VptqMethod {
    /// Lookup inside registers, activations of 8 bits; at most 256 centroids a book.
    Reg256,
    /// A load of every centroid, `f32`.
    Gather,
    /// Activations added into buckets, `f32`.
    Bucket,
}

impl VptqMethod {
    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            VptqMethod::Reg256 => "reg256",
            VptqMethod::Gather => "gather",
            VptqMethod::Bucket => "bucket",
        }
    }
}

/// What picks the kernel.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct VptqBackend {
    /// The kernel, where it is not left to the plan.
    pub method: Option<VptqMethod>,
    /// The most normalized squared error of the weights that rounding centroids to bytes may cost.
    pub max_nmse: f64,
    /// The level of the bodies.
    pub level: Level,
}

impl Default for VptqBackend {
    fn default() -> Self {
        VptqBackend { method: None, max_nmse: 5e-4, level: Level::best() }
    }
}

impl VptqBackend {
    /// Products in `f32` alone.
    pub fn exact() -> Self {
        VptqBackend { method: Some(VptqMethod::Gather), ..VptqBackend::default() }
    }
}

/// The kernel of a layer.
#[derive(Clone, PartialEq, Debug)]
pub struct VptqPlan {
    /// The kernel.
    pub method: VptqMethod,
    /// The level of its body.
    pub level: Level,
    /// The normalized squared error of the weights from rounding centroids to bytes, where they could be; by how often each centroid occurs.
    pub byte_nmse: Option<f64>,
    /// Why.
    pub reason: String,
}

impl fmt::Display for VptqPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}: {}", self.method.name(), self.level, self.reason)
    }
}

/// Columns of a group from which on a bucket is filled often enough, in parts of the centroids.
const BUCKET_FILL: usize = 8;

/// The plan, and the tables of all groups where registers hold them.
pub(super) fn choose(linear: &VptqLinear, backend: &VptqBackend) -> (VptqPlan, Option<Vec<Tables>>) {
    let level = if Level::best().includes(backend.level) { backend.level } else { Level::best() };
    let fits = linear.centroids() <= 256 && linear.residual_centroids() <= 256;
    let tables = fits.then(|| tables(linear));
    let byte_nmse = tables.as_ref().map(|(_, nmse)| *nmse);
    let plan = |method, reason| VptqPlan { method, level, byte_nmse, reason };
    let in_registers = |(tables, _): (Vec<Tables>, f64)| Some(tables);
    match (backend.method, tables) {
        (Some(VptqMethod::Reg256), Some(tables)) => {
            (plan(VptqMethod::Reg256, "as asked for".into()), in_registers(tables))
        }
        (Some(VptqMethod::Reg256), None) => {
            (plan(VptqMethod::Gather, "registers were asked for, but hold 256 centroids at most".into()), None)
        }
        (Some(method), _) => (plan(method, "as asked for".into()), None),
        (None, Some(tables)) if level.includes(Level::Avx512Vbmi) && tables.1 <= backend.max_nmse => {
            let reason = format!("bytes cost {:.1e} of the weights, at most {:.1e} may be", tables.1, backend.max_nmse);
            (plan(VptqMethod::Reg256, reason), in_registers(tables))
        }
        (None, tables) => {
            let reason = match tables {
                None => "more than 256 centroids".to_owned(),
                Some(_) if !level.includes(Level::Avx512Vbmi) => "no byte permutes at this level".to_owned(),
                Some((_, nmse)) => {
                    format!("bytes would cost {nmse:.1e} of the weights, at most {:.1e} may be", backend.max_nmse)
                }
            };
            let k = linear.centroids().max(linear.residual_centroids());
            let columns = linear.parts().group_size;
            let far = k * linear.vector_len() * 4 > 1 << 20 && columns >= BUCKET_FILL * k;
            (plan(if far { VptqMethod::Bucket } else { VptqMethod::Gather }, reason), None)
        }
    }
}

/// The tables of all groups, and the normalized squared error that they cost.
fn tables(linear: &VptqLinear) -> (Vec<Tables>, f64) {
    let p = linear.parts();
    let (k_main, k_residual, v) = (linear.centroids(), linear.residual_centroids(), p.v);
    let per_group = p.codes.len() / p.groups;
    let count = |codes: &[u16], k: usize| {
        let mut counts = vec![0u64; k];
        codes.iter().for_each(|&code| counts[usize::from(code)] += 1);
        counts
    };
    let (mut error, mut energy) = (0.0, 0.0);
    let mut tables = Vec::with_capacity(p.groups);
    for g in 0..p.groups {
        let main = &p.centroids[g * k_main * v..][..k_main * v];
        let residual = &p.residual_centroids[g * k_residual * v..][..k_residual * v];
        let codes = g * per_group..(g + 1) * per_group;
        let main_counts = count(&p.codes[codes.clone()], k_main);
        let residual_counts = p.residual_codes.get(codes).map_or_else(Vec::new, |codes| count(codes, k_residual));
        let (made, part, all) = Tables::new(main, residual, v, (&main_counts, &residual_counts));
        tables.push(made);
        error += part;
        energy += all;
    }
    (tables, if energy > 0.0 { error / energy } else { 0.0 })
}
