//! A golden case: its parameters, inputs and expected outputs.

use std::path::Path;

use parsimon_attn::{AttnConfig, BlockList, BlockShape, Compute, Grid, HeadMap, Mask, ScoreMod};
use parsimon_core::io::Checkpoint;
use serde_json::Value;

pub(crate) struct Case {
    pub(crate) id: String,
    pub(crate) params: Value,
    tolerances: Value,
    inputs: Checkpoint,
    expected: Checkpoint,
}

impl Case {
    pub(crate) fn open(dir: &Path, case: &Value) -> Case {
        let file = case["file"].as_str().unwrap();
        Case {
            id: case["id"].as_str().unwrap().to_owned(),
            params: case["params"].clone(),
            tolerances: case["tol"].clone(),
            inputs: Checkpoint::open(&dir.join("inputs").join(file)).unwrap(),
            expected: Checkpoint::open(&dir.join("expected").join(file)).unwrap(),
        }
    }

    fn name(&self, name: &str) -> String {
        format!("{}.{name}", self.id)
    }

    pub(crate) fn input(&self, name: &str) -> Vec<f32> {
        self.inputs.tensor(&self.name(name)).unwrap().to_f32().unwrap()
    }

    pub(crate) fn has_input(&self, name: &str) -> bool {
        self.inputs.tensor(&self.name(name)).is_ok()
    }

    pub(crate) fn integers(&self, name: &str) -> Vec<u32> {
        integers(&self.inputs, &self.name(name))
    }

    pub(crate) fn expected_integers(&self, name: &str) -> Vec<u32> {
        integers(&self.expected, &self.name(name))
    }

    pub(crate) fn expected(&self, name: &str) -> Vec<f64> {
        self.expected.tensor(&self.name(name)).unwrap().to_f64().unwrap()
    }

    pub(crate) fn has_expected(&self, name: &str) -> bool {
        self.expected.tensor(&self.name(name)).is_ok()
    }

    pub(crate) fn number(&self, key: &str) -> usize {
        self.params[key].as_u64().unwrap_or_else(|| panic!("{}: no number {key}", self.id)) as usize
    }

    pub(crate) fn float(&self, key: &str) -> f64 {
        self.params[key].as_f64().unwrap_or_else(|| panic!("{}: no number {key}", self.id))
    }

    pub(crate) fn heads(&self) -> HeadMap {
        let count = |key: &str| self.params[key].as_u64().map(|n| n as usize);
        let n_k = self.number("n_k");
        HeadMap::try_new(self.number("n_q"), n_k, count("n_v").unwrap_or(n_k)).unwrap()
    }

    pub(crate) fn config(&self, dims: (usize, usize), compute: Compute) -> AttnConfig {
        let mask = &self.params["mask"];
        let side = |key: &str| mask[key].as_u64().map(|keys| keys as usize);
        let mask = match mask["type"].as_str() {
            Some("full") => Mask::Full,
            Some("causal") | None => Mask::Causal,
            Some("window") => Mask::Window { left: side("left"), right: side("right") },
            Some(other) => panic!("{}: mask {other}", self.id),
        };
        let modifier = &self.params["score_mod"];
        let score_mod = match modifier["type"].as_str() {
            None => ScoreMod::None,
            Some("softcap") => ScoreMod::SoftCap(modifier["cap"].as_f64().unwrap() as f32),
            Some("alibi") => {
                let slopes = modifier["slopes"].as_array().unwrap();
                ScoreMod::Alibi(slopes.iter().map(|slope| slope.as_f64().unwrap() as f32).collect())
            }
            Some(other) => panic!("{}: modifier {other}", self.id),
        };
        let scale = Some(self.float("scale"));
        AttnConfig { scale, score_mod, compute, ..AttnConfig::new(self.heads(), dims, mask) }
    }

    /// The block list over `t_q` queries and `t_k` keys.
    pub(crate) fn blocks(&self, t_q: usize, t_k: usize) -> Option<BlockList> {
        let heads = self.params["list_heads"].as_u64()? as usize;
        let grid =
            |size: &str, phase: &str| Grid::try_new(self.number(size) as u32, self.number(phase) as u32).unwrap();
        let shape = BlockShape { q: grid("b_q", "q_phase"), k: grid("b_k", "k_phase"), t_q, t_k };
        Some(BlockList::try_new(shape, heads, self.integers("row_ptr"), self.integers("cols")).unwrap())
    }

    /// The tolerance of a type; `None` where the type is not asked for.
    pub(crate) fn tolerance(&self, dtype: &str) -> Option<f64> {
        self.tolerances[dtype].as_f64()
    }

    #[track_caller]
    pub(crate) fn check(&self, name: &str, actual: &[f32], tolerance: f64) {
        let actual: Vec<f64> = actual.iter().map(|&x| f64::from(x)).collect();
        self.check_wide(name, &actual, tolerance);
    }

    /// Relative distance, and the same places of what is not finite.
    #[track_caller]
    pub(crate) fn check_wide(&self, name: &str, actual: &[f64], tolerance: f64) {
        let expected = self.expected(name);
        assert_eq!(actual.len(), expected.len(), "{} {name}", self.id);
        let (mut error, mut energy) = (0.0, 0.0);
        for (&a, &e) in actual.iter().zip(&expected) {
            if e.is_finite() {
                error += (a - e) * (a - e);
                energy += e * e;
            } else {
                assert!(a == e || a.is_nan() && e.is_nan(), "{} {name}: {a} for {e}", self.id);
            }
        }
        let error = if error == 0.0 { 0.0 } else { (error / energy).sqrt() };
        assert!(error <= tolerance, "{} {name}: {error} > {tolerance}", self.id);
    }

    #[track_caller]
    pub(crate) fn check_lse(&self, name: &str, actual: &[f32], tolerance: f64) {
        let expected = self.expected(name);
        assert_eq!(actual.len(), expected.len(), "{} {name}", self.id);
        let largest = expected.iter().filter(|lse| lse.is_finite()).fold(0.0f64, |max, lse| max.max(lse.abs()));
        for (&a, &e) in actual.iter().zip(&expected) {
            let near = (f64::from(a) - e).abs() <= tolerance * (1.0 + largest / 20.0);
            assert!(f64::from(a) == e || near, "{} {name}: {a} for {e}", self.id);
        }
    }
}

fn integers(file: &Checkpoint, name: &str) -> Vec<u32> {
    let bytes = file.tensor(name).unwrap().bytes();
    bytes.as_chunks::<4>().0.iter().map(|&bytes| u32::from_le_bytes(bytes)).collect()
}

/// What a greatest absolute error of a log-sum-exp may be.
pub(crate) fn lse_tolerance(dtype: &str) -> f64 {
    if dtype == "bf16" { 3e-2 } else { 2e-5 }
}
