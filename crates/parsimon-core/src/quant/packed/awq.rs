//! AWQ, version gemm: `qweight`, `qzeros`, `scales`.
//!
//! | tensor | dtype, shape | layout |
//! |---|---|---|
//! | `qweight` | I32 `[k, m / 8]` | nibble `i` of word `c` is output `8 c + [0, 2, 4, 6, 1, 3, 5, 7][i]` |
//! | `qzeros` | I32 `[n_groups, m / 8]` | likewise |
//! | `scales` | F16 `[n_groups, m]` | |
//!
//! `w = (q - zp) s`, with zero points as they are: unlike GPTQ's version 1 there is no `+ 1`. The trap: the outputs of a word are
//! interleaved, and version gemv interleaves otherwise with the same names and dtypes, so only the configuration tells them apart.

use serde::{Deserialize, Serialize};

use super::{PackedError, checked, elements, matrix_shape};
use crate::io::Checkpoint;
use crate::quant::gptq::tensor_name;
use crate::quant::{GroupQuantized, Zeros};

/// The output within its word of each nibble.
const ORDER: [usize; 8] = [0, 2, 4, 6, 1, 3, 5, 7];

/// The `quantization_config` of a `config.json` with `quant_method` "awq".
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct AwqConfig {
    /// Bits of a code: 4.
    #[serde(alias = "w_bit")]
    pub bits: u8,
    /// Inputs that share a scale; -1 for a whole row.
    #[serde(alias = "q_group_size")]
    pub group_size: i64,
    /// "gemm" (also when absent) or something that is refused.
    #[serde(default = "gemm")]
    pub version: String,
}

fn gemm() -> String {
    "gemm".to_owned()
}

/// Reads the matrix `prefix` of a checkpoint.
///
/// # Errors
///
/// [`PackedError`] naming the tensor: another version or width, shapes that disagree with each other or the configuration, values
/// that are not valid.
pub fn unpack(checkpoint: &Checkpoint, prefix: &str, config: &AwqConfig) -> Result<GroupQuantized, PackedError> {
    let [qweight_name, qzeros_name, scales_name] =
        ["qweight", "qzeros", "scales"].map(|suffix| tensor_name(prefix, suffix));
    let unsupported = |what, given: String, supported| PackedError::Unsupported {
        tensor: qweight_name.clone(),
        what,
        given,
        supported,
    };
    if !config.version.eq_ignore_ascii_case("gemm") {
        return Err(unsupported("AWQ version", config.version.clone(), "gemm"));
    }
    if config.bits != 4 {
        return Err(unsupported("the width of AWQ codes", config.bits.to_string(), "4 bits"));
    }
    checkpoint.require([&*qweight_name, &*qzeros_name, &*scales_name])?;
    let (qweight, qzeros) = (checkpoint.tensor(&qweight_name)?, checkpoint.tensor(&qzeros_name)?);
    let scales = checkpoint.tensor(&scales_name)?;
    let [k, words] = matrix_shape(&qweight)?;
    let m = elements(&qweight_name, words, 8)?;
    let [n_groups, _] = matrix_shape(&scales)?;
    let scales = scales.expect_shape(&[n_groups, m])?.to_f32()?;
    let qzeros = qzeros.expect_shape(&[n_groups, words])?.to_i32()?;
    let qweight = qweight.to_i32()?;
    let group = group_of(&scales_name, config.group_size, k, n_groups)?;

    let mut codes = vec![0; elements(&qweight_name, m, k)?];
    unpack_words(&qweight, words, k, &mut codes);
    let mut points = vec![0; m * n_groups];
    let mut transposed = vec![0.0; m * n_groups];
    for g in 0..n_groups {
        for (w, &word) in qzeros[g * words..][..words].iter().enumerate() {
            for (i, output) in ORDER.iter().enumerate() {
                points[(8 * w + output) * n_groups + g] = u16::from(nibble(word, i));
            }
        }
        for (r, &scale) in scales[g * m..][..m].iter().enumerate() {
            transposed[r * n_groups + g] = scale;
        }
    }
    let zeros = Zeros::Points(points);
    let matrix = GroupQuantized { bits: 4, m, k, group, codes, scales: transposed, zeros, g_idx: None };
    checked(&qweight_name, matrix)
}

/// The group size of the configuration, once it agrees with the rows of `scales`.
fn group_of(scales: &str, group_size: i64, k: usize, n_groups: usize) -> Result<usize, PackedError> {
    let group = if group_size == -1 { k } else { usize::try_from(group_size).unwrap_or(0) };
    if group == 0 || k.div_ceil(group) != n_groups {
        let expected = format!("those of group_size {group_size} for {k} inputs");
        return Err(PackedError::mismatch(scales, "the number of groups", expected, n_groups));
    }
    Ok(group)
}

/// Eight words of eight neighbouring inputs at a time: eight rows get eight codes each.
fn unpack_words(qweight: &[i32], words: usize, k: usize, codes: &mut [u8]) {
    for (block, rows) in qweight.chunks(8 * words).enumerate() {
        for w in 0..words {
            let mut column = [0; 8];
            column.iter_mut().zip(rows.iter().skip(w).step_by(words)).for_each(|(to, &word)| *to = word);
            for (i, output) in ORDER.iter().enumerate() {
                let unpacked = column.map(|word| nibble(word, i));
                let row = &mut codes[(8 * w + output) * k..][..k];
                let run = &mut row[8 * block..];
                let len = run.len().min(8);
                run[..len].copy_from_slice(&unpacked[..len]);
            }
        }
    }
}

fn nibble(word: i32, i: usize) -> u8 {
    (word as u32 >> (4 * i)) as u8 & 15
}
