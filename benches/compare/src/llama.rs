//! llama.cpp's kernels: the formats of ggml that low-bit weights are compared with, plain and repacked.

use std::path::Path;
use std::rc::Rc;

use anyhow::ensure;
use parsimon_simd::Level;

use crate::case::{Case, Inputs};
use crate::ggml::{Backend, Format, Ggml, Memory, MulMat};
use crate::variant::{Built, Class, Owner, Part, Plan, Tolerance};

/// Formats by name, their class and bits of a weight.
const FORMATS: [(&str, Class, f64); 10] = [
    ("q1_0", Class::Bits(1), 1.125),
    ("tq1_0", Class::Ternary, 1.6875),
    ("tq2_0", Class::Ternary, 2.0625),
    ("q2_0", Class::Bits(2), 2.25),
    ("q2_K", Class::Bits(2), 2.625),
    ("q3_K", Class::Bits(3), 3.4375),
    ("q4_0", Class::Bits(4), 4.5),
    ("q4_K", Class::Bits(4), 4.5),
    ("q8_0", Class::Bits(8), 8.5),
    ("f16", Class::Float, 16.0),
];

/// Opens the build that suits our level: at AVX2 the one without AVX-512, above it the one for this machine, below it none.
pub(crate) fn open(peers: &Path, level: Level) -> anyhow::Result<Option<&'static Ggml>> {
    let build = match level {
        Level::Scalar => return Ok(None),
        Level::Avx2 => "avx2",
        _ => "native",
    };
    let folder = peers.join(build).join("lib");
    if !folder.join(Ggml::FILE).exists() {
        return Ok(None);
    }
    Ok(Some(Ggml::open(&folder)?))
}

/// Everything of llama.cpp's that takes part.
pub(crate) fn plans(ggml: &'static Ggml, threads: usize) -> anyhow::Result<Vec<Plan>> {
    let backend = Rc::new(Backend::try_new(ggml, threads)?);
    let mut plans = Vec::new();
    for (name, class, bits_per_weight) in FORMATS {
        let Some(format) = ggml.format(name) else { continue };
        for (memory, suffix) in [(Memory::Plain, ""), (Memory::Repacked, " repacked")] {
            let backend = Rc::clone(&backend);
            plans.push(Plan {
                name: format!("llama.cpp {name}{suffix}"),
                owner: Owner::Peer,
                class,
                part: Part::Whole,
                // What the repacked form of a format without one would hold is never read.
                bits_per_weight: if memory == Memory::Plain { bits_per_weight } else { 0.0 },
                build: Box::new(move |case, inputs, copies| build(&backend, format, memory, case, inputs, copies)),
            });
        }
    }
    Ok(plans)
}

fn build(
    backend: &Rc<Backend>,
    format: Format,
    memory: Memory,
    case: &Case,
    inputs: &Inputs,
    copies: usize,
) -> anyhow::Result<Option<Built>> {
    let ggml = backend.ggml();
    if !case.k.is_multiple_of(ggml.block_len(format)) {
        return Ok(None);
    }
    let rows = ggml.quantize(format, &inputs.weights, case.k);
    let data = inputs.repeat(&rows, case.m);
    let Some(mut product) = MulMat::try_new(backend, format, memory, [case.m, case.k, case.n], copies)? else {
        return Ok(None);
    };
    product.set(&data, &inputs.x);
    let dequantized = ggml.dequantize(format, &rows);
    ensure!(dequantized.len() == inputs.weights.len(), "ggml quantized {} weights", dequantized.len());
    let tolerance = if format.is_half() { Tolerance::HALF_ACTIVATIONS } else { Tolerance::BYTE_ACTIVATIONS };
    Ok(Some(Built { bytes: data.len(), dequantized, tolerance, product: Box::new(product) }))
}
