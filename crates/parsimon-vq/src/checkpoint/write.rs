//! The tensors of a layer, as the authors' package loads them.

use std::collections::BTreeMap;

use parsimon_core::DType;
use parsimon_core::io::TensorData;

use crate::{VptqLinear, pack};

impl VptqLinear {
    /// The tensors of the layer by full name.
    pub fn to_tensors(&self, name: &str) -> BTreeMap<String, TensorData> {
        let p = self.parts();
        let mut tensors = BTreeMap::new();
        let mut add = |suffix: &str, dtype, shape: Vec<usize>, bytes| {
            tensors.insert(format!("{name}.{suffix}"), TensorData { dtype, shape, bytes });
        };
        let floats = |values: &[f32]| p.float.to_bytes(values.iter().copied());
        let small = |codes: &[u16]| codes.iter().flat_map(|code| code.to_le_bytes()).collect::<Vec<u8>>();
        let float = p.float.dtype();
        let small_type = if p.indices_as_float { DType::F16 } else { DType::I16 };
        add("centroids.weight", float, vec![p.groups, p.centroids.len() / p.groups], floats(&p.centroids));
        if !p.residual_centroids.is_empty() {
            let shape = vec![p.groups, p.residual_centroids.len() / p.groups];
            add("res_centroids.weight", float, shape, floats(&p.residual_centroids));
        }
        let (blocks, gs) = (p.m.div_ceil(p.v), p.group_size);
        if p.packed {
            let bits = (pack::bits_for(self.centroids()), pack::bits_for(self.residual_centroids()));
            let words = pack::pack(&p.codes, &p.residual_codes, gs, bits);
            let shape = vec![p.groups, blocks, words.len() / (p.groups * blocks)];
            add("indices", DType::I32, shape, words.iter().flat_map(|word| word.to_le_bytes()).collect());
        } else {
            add("indices", small_type, vec![p.groups, blocks, gs], small(&p.codes));
            if !p.residual_codes.is_empty() {
                add("res_indices", small_type, vec![p.groups, blocks, gs], small(&p.residual_codes));
            }
        }
        if let Some(outlier) = &p.outlier {
            add("outlier_centroids.weight", float, vec![1, outlier.centroids.len()], floats(&outlier.centroids));
            let shape = vec![1, p.m.div_ceil(outlier.v), outlier.columns];
            add("outlier_indices", small_type, shape, small(&outlier.codes));
        }
        if let Some(perm) = &p.perm {
            let (dtype, bytes) = match p.perm_wide {
                true => (DType::I64, perm.iter().flat_map(|&j| i64::from(j).to_le_bytes()).collect()),
                false => (DType::I16, perm.iter().flat_map(|&j| (j as u16).to_le_bytes()).collect()),
            };
            add("perm", dtype, vec![p.k], bytes);
        }
        if let Some((scale, bias)) = &p.norm {
            add("weight_scale", float, vec![p.k], floats(scale));
            add("weight_bias", float, vec![p.k], floats(bias));
        }
        if let Some(bias) = &p.bias {
            add("bias", float, vec![p.m], floats(bias));
        }
        tensors
    }
}
