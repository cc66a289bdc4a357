//! Our variants. A new kernel or format of parsimon-lut is one more entry of [`plans`].

use std::hint::black_box;

use parsimon_core::quant::GroupQuantized;
use parsimon_core::quant::rtn::{Levels, quantize};
use parsimon_lut::{ActConfig, Backend, DenseMatrix, Kernel, LowBitMatrix, Method, PreparedActivations};
use parsimon_simd::Level;

use crate::case::{Case, Inputs};
use crate::variant::{Build, Built, Class, Owner, Part, Plan, Product, Tolerance};

/// Weights that share a scale.
const GROUP: usize = 128;

/// Bits of a group's `f16` scale and 8-bit zero point, a weight.
const OVERHEAD: f64 = 24.0 / GROUP as f64;

/// The variant that our own ratios compare with.
pub(crate) const DENSE: &str = "dense f32";

/// Everything of ours that takes part.
pub(crate) fn plans() -> Vec<Plan> {
    let mut plans = vec![plan(DENSE, Class::Float, Part::Whole, 32.0, Box::new(dense))];
    let formats = [
        ("1bit", Class::Bits(1), Levels::Bits(1), Method::Lut),
        ("ternary", Class::Ternary, Levels::Ternary, Method::Elut),
        ("ternary", Class::Ternary, Levels::Ternary, Method::Lut),
        ("2bit", Class::Bits(2), Levels::Bits(2), Method::Lut),
        ("3bit", Class::Bits(3), Levels::Bits(3), Method::Lut),
        ("3bit", Class::Bits(3), Levels::Bits(3), Method::Dot),
        ("4bit", Class::Bits(4), Levels::Bits(4), Method::Lut),
        ("4bit", Class::Bits(4), Levels::Bits(4), Method::Dot),
        ("8bit", Class::Bits(8), Levels::Bits(8), Method::Dot),
    ];
    for (name, class, levels, method) in formats {
        let kernel = Kernel::new(method, Level::best());
        if kernel.level() == Level::Scalar && Level::best() != Level::Scalar {
            continue;
        }
        for (part, suffix) in [(Part::Whole, ""), (Part::ProductOnly, " product only")] {
            let bits = f64::from(levels.code_bits()) + OVERHEAD;
            let build: Build = Box::new(move |case, inputs, copies| table(levels, kernel, part, case, inputs, copies));
            plans.push(plan(&format!("{} {name}{suffix}", kernel.name()), class, part, bits, build));
        }
    }
    plans
}

fn plan(name: &str, class: Class, part: Part, bits_per_weight: f64, build: Build) -> Plan {
    Plan { name: format!("ours {name}"), owner: Owner::Ours, class, part, bits_per_weight, build }
}

fn dense(case: &Case, inputs: &Inputs, copies: usize) -> anyhow::Result<Option<Built>> {
    let matrix = DenseMatrix::new(inputs.repeat(&inputs.weights, case.m), case.m, case.k);
    let product =
        Dense { n: case.n, x: inputs.x.clone(), out: vec![0.0; case.n * case.m], copies: vec![matrix.clone(); copies] };
    Ok(Some(Built {
        bytes: matrix.bytes(),
        dequantized: inputs.weights.clone(),
        tolerance: Tolerance::SINGLE,
        product: Box::new(product),
    }))
}

struct Dense {
    copies: Vec<DenseMatrix>,
    n: usize,
    x: Vec<f32>,
    out: Vec<f32>,
}

impl Product for Dense {
    fn run(&mut self, call: usize) {
        self.copies[call % self.copies.len()].matmul_into(black_box(&self.x), self.n, black_box(&mut self.out));
    }

    fn output(&mut self) -> Vec<f32> {
        self.out.clone()
    }
}

fn table(
    levels: Levels,
    kernel: Kernel,
    part: Part,
    case: &Case,
    inputs: &Inputs,
    copies: usize,
) -> anyhow::Result<Option<Built>> {
    let rows = quantize(&inputs.weights, inputs.rows, case.k, levels, GROUP)?;
    let dequantized = (0..inputs.rows * case.k).map(|i| rows.weight(i / case.k, i % case.k) as f32).collect();
    let matrix = LowBitMatrix::from_quantized(&repeated(&rows, case, inputs), Backend::Kernel(kernel))?;
    let config = ActConfig::for_matrix(&matrix);
    let product = Table {
        part,
        prepared: PreparedActivations::try_new(&inputs.x, case.n, case.k, &config)?,
        config,
        x: inputs.x.clone(),
        out: vec![0.0; case.n * case.m],
        copies: vec![matrix.clone(); copies],
    };
    Ok(Some(Built {
        bytes: matrix.bytes(),
        dequantized,
        tolerance: Tolerance::BYTE_ACTIVATIONS,
        product: Box::new(product),
    }))
}

/// The whole matrix from its distinct rows.
fn repeated(rows: &GroupQuantized, case: &Case, inputs: &Inputs) -> GroupQuantized {
    use parsimon_core::quant::Zeros;
    GroupQuantized {
        m: case.m,
        codes: inputs.repeat(&rows.codes, case.m),
        scales: inputs.repeat(&rows.scales, case.m),
        zeros: match &rows.zeros {
            Zeros::Points(points) => Zeros::Points(inputs.repeat(points, case.m)),
            Zeros::Real(reals) => Zeros::Real(inputs.repeat(reals, case.m)),
        },
        ..rows.clone()
    }
}

struct Table {
    copies: Vec<LowBitMatrix>,
    part: Part,
    config: ActConfig,
    prepared: PreparedActivations,
    x: Vec<f32>,
    out: Vec<f32>,
}

impl Product for Table {
    fn run(&mut self, call: usize) {
        let matrix = &self.copies[call % self.copies.len()];
        if self.part == Part::Whole {
            let (n, k) = (self.prepared.n(), self.prepared.k());
            self.prepared
                .prepare(black_box(&self.x), n, k, &self.config)
                .expect("the same activations were prepared before");
        }
        matrix.matmul_into(&self.prepared, black_box(&mut self.out));
    }

    fn output(&mut self) -> Vec<f32> {
        self.out.clone()
    }
}
