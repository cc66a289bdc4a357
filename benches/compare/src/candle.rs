//! candle's quantized products, in its own formats by its own quantizer.

use std::borrow::Cow;
use std::hint::black_box;
use std::sync::Arc;

use candle_core::quantized::{GgmlDType, QMatMul, QStorage, QTensor};
use candle_core::{Device, Module, Tensor};

use crate::case::{Case, Inputs};
use crate::variant::{Built, Class, Owner, Part, Plan, Product, Tolerance};

/// The version that Cargo.lock names; a test compares.
pub(crate) const VERSION: &str = "0.11.1";

const FORMATS: [(&str, GgmlDType, Class, f64); 5] = [
    ("q2_K", GgmlDType::Q2K, Class::Bits(2), 2.625),
    ("q3_K", GgmlDType::Q3K, Class::Bits(3), 3.4375),
    ("q4_0", GgmlDType::Q4_0, Class::Bits(4), 4.5),
    ("q4_K", GgmlDType::Q4K, Class::Bits(4), 4.5),
    ("q8_0", GgmlDType::Q8_0, Class::Bits(8), 8.5),
];

/// Everything of candle's that takes part.
pub(crate) fn plans() -> Vec<Plan> {
    let plan = |(name, dtype, class, bits_per_weight)| Plan {
        name: format!("candle {name}"),
        owner: Owner::Peer,
        class,
        part: Part::Whole,
        bits_per_weight,
        build: Box::new(move |case, inputs, copies| build(dtype, case, inputs, copies)),
    };
    FORMATS.into_iter().map(plan).collect()
}

fn build(dtype: GgmlDType, case: &Case, inputs: &Inputs, copies: usize) -> anyhow::Result<Option<Built>> {
    let device = Device::Cpu;
    if !case.k.is_multiple_of(dtype.block_size()) {
        return Ok(None);
    }
    let rows = Tensor::from_slice(&inputs.weights, (inputs.rows, case.k), &device)?;
    let rows = QTensor::quantize(&rows, dtype)?;
    let data = inputs.repeat(&rows.data()?, case.m);
    let copy = |_| -> anyhow::Result<QMatMul> {
        let storage = QStorage::from_data(Cow::Borrowed(&data), &device, dtype)?;
        Ok(QMatMul::QTensor(Arc::new(QTensor::new(storage, (case.m, case.k))?)))
    };
    let x = Tensor::from_slice(&inputs.x, (case.n, case.k), &device)?;
    let product = Quantized { copies: (0..copies).map(copy).collect::<Result<_, _>>()?, x, out: None };
    Ok(Some(Built {
        bytes: data.len(),
        dequantized: rows.dequantize(&device)?.flatten_all()?.to_vec1()?,
        tolerance: Tolerance::BYTE_ACTIVATIONS,
        product: Box::new(product),
    }))
}

struct Quantized {
    copies: Vec<QMatMul>,
    x: Tensor,
    out: Option<Tensor>,
}

impl Product for Quantized {
    fn run(&mut self, call: usize) {
        let matrix = &self.copies[call % self.copies.len()];
        self.out =
            Some(matrix.forward(black_box(&self.x)).expect("the shapes fit, and memory for the output is there"));
    }

    fn output(&mut self) -> Vec<f32> {
        let out = self.out.as_ref().map(|out| out.flatten_all().and_then(|flat| flat.to_vec1()));
        out.and_then(Result::ok).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_version_is_the_locked_one() {
        let lock = include_str!("../Cargo.lock");
        assert!(lock.contains(&format!("name = \"candle-core\"\nversion = \"{}\"", super::VERSION)));
    }
}
