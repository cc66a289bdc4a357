//! The low-bit kernels beside dense `f32`: GEMV and GEMM by width, kernel and temperature of the cache, and the preparation of activations.

mod case;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Duration;

use anyhow::ensure;
use parsimon_core::SplitMix64;
use parsimon_core::quant::rtn::{Levels, quantize};
use parsimon_lut::{ActConfig, ActQuant, Backend, DenseMatrix, Kernel, LowBitMatrix, Method, PreparedActivations};
use parsimon_simd::Level;
use serde_json::json;

use self::case::Case;
use crate::Effort;
use crate::measure::time;
use crate::probe;
use crate::record::{Record, Sink};

/// A working set that no cache of a common machine holds.
const COLD_BYTES: usize = 320 << 20;

const GROUP: usize = 128;

/// The widths of every table.
const WIDTHS: [Levels; 6] =
    [Levels::Bits(1), Levels::Bits(2), Levels::Ternary, Levels::Bits(3), Levels::Bits(4), Levels::Bits(8)];

pub(crate) fn run(effort: Effort, sink: &mut Sink) -> anyhow::Result<()> {
    probe::print_class();
    let llama: &[(usize, usize)] = &[(4096, 4096), (11008, 4096), (4096, 11008)];
    let bitnet: &[(usize, usize)] = &[(3200, 3200), (8640, 3200), (3200, 8640)];
    let (shapes, tokens, threads): (Vec<(usize, usize)>, &[usize], &[usize]) = match effort {
        Effort::Smoke => (vec![(256, 256), (512, 768)], &[3], &[1]),
        Effort::Normal => (vec![(4096, 4096)], &[128], &[1, 2]),
        Effort::Full => ([llama, bitnet].concat(), &[8, 32, 128, 256], &[1, 2]),
    };
    let budget = Duration::from_millis(if effort == Effort::Smoke { 10 } else { 300 });
    for &(m, k) in &shapes {
        for &threads in threads {
            if threads == 1 {
                Case { m, k, n: 1, cold: false, threads, budget }.run(sink)?;
            }
            if effort != Effort::Smoke {
                Case { m, k, n: 1, cold: true, threads, budget }.run(sink)?;
            }
            for &n in tokens {
                Case { m, k, n, cold: false, threads, budget }.run(sink)?;
            }
        }
    }
    preparation(if effort == Effort::Smoke { 512 } else { 4096 }, budget, sink)
}

fn label(levels: Levels) -> String {
    match levels {
        Levels::Bits(bits) => format!("{bits}bit"),
        Levels::Ternary => "ternary".into(),
    }
}

/// Making tables or integers of one activation vector.
fn preparation(k: usize, budget: Duration, sink: &mut Sink) -> anyhow::Result<()> {
    let mut rng = SplitMix64::new(2);
    let x: Vec<f32> = (0..k).map(|_| rng.next_normal() as f32).collect();
    let quants = [
        ("table", ActQuant::Table { ags: 64 }),
        ("ternary-table", ActQuant::TernaryTable { ags: 160 }),
        ("int8", ActQuant::Int8 { block: 32 }),
    ];
    let case = format!("prepare k={k}");
    for (variant, quant) in quants {
        if !sink.wants(&case, variant) {
            continue;
        }
        let config = ActConfig { quant, group: GROUP, order: None };
        let mut prepared = PreparedActivations::try_new(&x, 1, k, &config)?;
        let sum: f64 = x.iter().map(|&a| f64::from(a)).sum();
        let negated: f64 = prepared.betas(0).iter().map(|&beta| f64::from(beta)).sum();
        ensure!((sum + negated).abs() <= 1e-2 * (k as f64).sqrt(), "{case}: the sums of {variant} are wrong");
        let times =
            time(budget, |_| prepared.prepare(black_box(&x), 1, k, &config).expect("the activations are finite"));
        let record = Record::lut_time(&case, variant, Level::best(), 1, times);
        sink.push(Record { params: BTreeMap::from([("k", json!(k))]), ..record });
    }
    Ok(())
}
