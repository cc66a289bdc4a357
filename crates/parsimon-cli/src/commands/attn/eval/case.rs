//! A case: its parameters, its inputs, and what was computed of it.

use std::collections::BTreeMap;
use std::path::Path;

use half::bf16;
use parsimon::attn::gate::Real;
use parsimon::attn::{AttnConfig, BlockList, BlockShape, Compute, Grid, HeadMap, KvData, Mask, ScoreMod};
use parsimon::tensor::DType;
use parsimon::tensor::io::{Checkpoint, TensorData};
use serde::Deserialize;
use serde_json::Value;

use super::Precision;
use crate::failure::BadInput;

/// A case as the index describes it.
#[derive(Deserialize)]
pub(super) struct Entry {
    pub(super) id: String,
    pub(super) kind: String,
    pub(super) file: String,
    #[serde(default)]
    params: Value,
    #[serde(default)]
    out: Vec<String>,
}

pub(super) struct Case<'a> {
    index: &'a Path,
    entry: &'a Entry,
    inputs: &'a Checkpoint,
    precision: Precision,
    outputs: BTreeMap<String, TensorData>,
}

/// Numbers in both types that kernels read.
pub(super) struct Numbers {
    pub(super) floats: Vec<f32>,
    halves: Option<Vec<bf16>>,
}

impl Numbers {
    /// Numbers `start..start + len`, in the type of the case.
    pub(super) fn data(&self, start: usize, len: usize) -> anyhow::Result<KvData<'_>> {
        let range = start..start + len;
        let data = match &self.halves {
            Some(halves) => halves.get(range.clone()).map(KvData::from),
            None => self.floats.get(range.clone()).map(KvData::from),
        };
        data.ok_or_else(|| BadInput::new(format!("numbers {range:?} of a tensor of {}", self.floats.len())).into())
    }
}

impl<'a> Case<'a> {
    pub(super) fn new(index: &'a Path, entry: &'a Entry, inputs: &'a Checkpoint, precision: Precision) -> Self {
        Case { index, entry, inputs, precision, outputs: BTreeMap::new() }
    }

    pub(super) fn kind(&self) -> &str {
        &self.entry.kind
    }

    pub(super) fn precision(&self) -> Precision {
        self.precision
    }

    pub(super) fn compute(&self) -> Compute {
        if self.precision == Precision::Bf16 { Compute::Bf16 } else { Compute::F32 }
    }

    pub(super) fn into_outputs(self) -> BTreeMap<String, TensorData> {
        self.outputs
    }

    /// An error that names the case and the parameter.
    pub(super) fn bad(&self, key: &str, what: &str) -> anyhow::Error {
        BadInput::in_file(self.index, format!("case {}, `{key}`: {what}", self.entry.id)).into()
    }

    pub(super) fn param(&self, key: &str) -> &Value {
        &self.entry.params[key]
    }

    pub(super) fn maybe_number(&self, key: &str) -> Option<usize> {
        self.param(key).as_u64().and_then(|n| usize::try_from(n).ok())
    }

    pub(super) fn number(&self, key: &str) -> anyhow::Result<usize> {
        self.maybe_number(key).ok_or_else(|| self.bad(key, "not a whole number"))
    }

    pub(super) fn float(&self, key: &str) -> anyhow::Result<f64> {
        self.param(key).as_f64().ok_or_else(|| self.bad(key, "not a number"))
    }

    pub(super) fn flag(&self, key: &str) -> bool {
        self.param(key).as_bool().unwrap_or(false)
    }

    pub(super) fn text(&self, key: &str) -> anyhow::Result<&str> {
        self.param(key).as_str().ok_or_else(|| self.bad(key, "not a text"))
    }

    fn name(&self, name: &str) -> String {
        format!("{}.{name}", self.entry.id)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.inputs.tensor(&self.name(name)).is_ok()
    }

    pub(super) fn wants(&self, output: &str) -> bool {
        self.entry.out.iter().any(|name| name == output)
    }

    pub(super) fn input(&self, name: &str) -> anyhow::Result<Vec<f32>> {
        Ok(self.inputs.tensor(&self.name(name))?.to_f32()?)
    }

    pub(super) fn shape_of(&self, name: &str) -> anyhow::Result<Vec<usize>> {
        Ok(self.inputs.tensor(&self.name(name))?.shape().to_vec())
    }

    pub(super) fn real<R: Real>(&self, name: &str) -> anyhow::Result<Vec<R>> {
        Ok(self.input(name)?.into_iter().map(|x| R::of(f64::from(x))).collect())
    }

    pub(super) fn maybe_real<R: Real>(&self, name: &str) -> anyhow::Result<Option<Vec<R>>> {
        self.has(name).then(|| self.real(name)).transpose()
    }

    /// As kernels keep them: rounded where the case computes in `bf16`.
    pub(super) fn numbers(&self, name: &str) -> anyhow::Result<Numbers> {
        let floats = self.input(name)?;
        let is_half = self.precision == Precision::Bf16;
        let halves = is_half.then(|| floats.iter().map(|&x| bf16::from_f32(x)).collect());
        Ok(Numbers { floats, halves })
    }

    pub(super) fn integers(&self, name: &str) -> anyhow::Result<Vec<u32>> {
        let tensor = self.inputs.tensor(&self.name(name))?;
        if tensor.dtype() != DType::U32 {
            return Err(self.bad(name, "not a tensor of 32-bit integers"));
        }
        Ok(tensor.bytes().as_chunks::<4>().0.iter().map(|&bytes| u32::from_le_bytes(bytes)).collect())
    }

    pub(super) fn heads(&self) -> anyhow::Result<HeadMap> {
        let n_k = self.number("n_k")?;
        Ok(HeadMap::try_new(self.number("n_q")?, n_k, self.maybe_number("n_v").unwrap_or(n_k))?)
    }

    pub(super) fn dims(&self) -> anyhow::Result<(usize, usize)> {
        Ok((self.number("d_qk")?, self.number("d_v")?))
    }

    pub(super) fn config(&self, dims: (usize, usize)) -> anyhow::Result<AttnConfig> {
        let mask = self.param("mask");
        let side = |key: &str| mask[key].as_u64().map(|keys| keys as usize);
        let mask = match mask["type"].as_str() {
            Some("full") => Mask::Full,
            Some("causal") | None => Mask::Causal,
            Some("window") => Mask::Window { left: side("left"), right: side("right") },
            Some(_) => return Err(self.bad("mask", "expected full, causal or window")),
        };
        let modifier = self.param("score_mod");
        let score_mod = match modifier["type"].as_str() {
            None => ScoreMod::None,
            Some("softcap") => ScoreMod::SoftCap(modifier["cap"].as_f64().unwrap_or(f64::NAN) as f32),
            Some("alibi") => {
                let slopes = modifier["slopes"].as_array().ok_or_else(|| self.bad("slopes", "not a list"))?;
                ScoreMod::Alibi(slopes.iter().map(|slope| slope.as_f64().unwrap_or(f64::NAN) as f32).collect())
            }
            Some(_) => return Err(self.bad("score_mod", "expected softcap or alibi")),
        };
        let scale = Some(self.float("scale")?);
        Ok(AttnConfig { scale, score_mod, compute: self.compute(), ..AttnConfig::new(self.heads()?, dims, mask) })
    }

    pub(super) fn grid(&self, size: &str, phase: &str) -> anyhow::Result<Grid> {
        let number = |key| Ok::<_, anyhow::Error>(u32::try_from(self.number(key)?)?);
        Ok(Grid::try_new(number(size)?, number(phase)?)?)
    }

    /// The block list over `t_q` queries and `t_k` keys, if the case has one, and its shape.
    pub(super) fn blocks(&self, t_q: usize, t_k: usize) -> anyhow::Result<Option<(BlockList, BlockShape)>> {
        let Some(heads) = self.maybe_number("list_heads") else { return Ok(None) };
        let shape = BlockShape { q: self.grid("b_q", "q_phase")?, k: self.grid("b_k", "k_phase")?, t_q, t_k };
        let list = BlockList::try_new(shape, heads, self.integers("row_ptr")?, self.integers("cols")?)?;
        Ok(Some((list, shape)))
    }

    /// Writes real numbers, in `f64` where the case computes in it.
    pub(super) fn put<R: Real>(&mut self, name: &str, shape: &[usize], values: &[R]) {
        if self.precision == Precision::F64 {
            self.put_wide(name, shape, &values.iter().map(|x| x.wide()).collect::<Vec<_>>());
        } else {
            let bytes = values.iter().flat_map(|x| (x.wide() as f32).to_le_bytes()).collect();
            self.insert(name, DType::F32, shape, bytes);
        }
    }

    pub(super) fn put_wide(&mut self, name: &str, shape: &[usize], values: &[f64]) {
        self.insert(name, DType::F64, shape, values.iter().flat_map(|x| x.to_le_bytes()).collect());
    }

    pub(super) fn put_integers(&mut self, name: &str, shape: &[usize], values: &[u32]) {
        self.insert(name, DType::U32, shape, values.iter().flat_map(|x| x.to_le_bytes()).collect());
    }

    pub(super) fn put_list(&mut self, row_ptr: &[u32], cols: &[u32]) {
        self.put_integers("row_ptr", &[row_ptr.len()], row_ptr);
        self.put_integers("cols", &[cols.len()], cols);
    }

    fn insert(&mut self, name: &str, dtype: DType, shape: &[usize], bytes: Vec<u8>) {
        self.outputs.insert(self.name(name), TensorData { dtype, shape: shape.to_vec(), bytes });
    }
}
