//! Our low-bit matrix products beside llama.cpp's and candle's, in one process with alternating runs; started by
//! `cargo xtask bench lut --peers`.
//!
//! Every variant of a case multiplies the same random weights, quantized by its own project, with the same activations. Each is first
//! compared with an `f64` product of its own dequantized weights. Then all take turns, so that a disturbance of the machine meets every one
//! of them. Times include whatever a variant does to the activations, unless its name says `product only`.
//!
//! candle fixes its number of threads when it starts, so every number of threads is a process of its own.
#![deny(unsafe_code)]

mod candle;
mod case;
#[allow(unsafe_code)]
mod ggml;
mod llama;
#[allow(dead_code, reason = "shared with the benches of the workspace, which use all of it")]
#[path = "../../src/measure.rs"]
mod measure;
mod ours;
#[allow(dead_code, reason = "shared with the benches of the workspace, which use all of it")]
#[path = "../../src/probe.rs"]
mod probe;
#[allow(dead_code, reason = "shared with the benches of the workspace, which use all of it")]
#[path = "../../src/record.rs"]
mod record;
mod rounds;
mod table;
mod variant;

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Parser;
use parsimon_simd::Level;

use crate::case::{COLD_BYTES, Case, Effort, Inputs};
use crate::ggml::Ggml;
use crate::variant::{Built, Plan};

/// Compare our matrix products with those of other projects.
#[derive(Parser)]
struct Args {
    /// Small shapes that run in seconds; shows that everything works, not how fast it is.
    #[arg(long, conflicts_with = "full")]
    smoke: bool,
    /// All shapes and numbers of tokens.
    #[arg(long)]
    full: bool,
    /// Only what holds this text, such as `4096x4096 n=1 cold 1t` or `q4_0`; ours stay, because the ratios compare with them.
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Also write the records here, one JSON object a line.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Numbers of threads, one process each.
    #[arg(long, value_delimiter = ',', default_value = "1,2")]
    threads: Vec<usize>,
    /// The folder that `cargo xtask peers install` fills.
    #[arg(long, value_name = "DIR", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/peers"))]
    peers: PathBuf,
    /// Seconds of measuring a case.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Measure in this process, which the one before has started.
    #[arg(long, hide = true)]
    measure: bool,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    ensure!(!args.threads.contains(&0), "--threads must be positive");
    if args.measure { measure(&args) } else { start(&args) }
}

/// Says what is compared where, then starts one process for every number of threads.
fn start(args: &Args) -> anyhow::Result<()> {
    let level = Level::best();
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_else(|_| "unknown".into());
    println!("processor {}; our level {level}; load {}", probe::processor(), load.trim());
    match llama::open(&args.peers, level)? {
        Some(ggml) => println!("llama.cpp: {} ({})", ggml.version(), ggml.features()),
        None => println!(
            "llama.cpp: not installed in {} for this level; `cargo xtask peers install` builds it",
            args.peers.display()
        ),
    }
    println!("candle: candle-core {}, which chooses its kernels at run time as ours do", candle::VERSION);
    println!(
        "read bandwidth of one thread, {} MiB: {:.1} GB/s",
        COLD_BYTES >> 20,
        probe::read_bandwidth(COLD_BYTES) / 1e9
    );
    if let Some(path) = &args.json {
        File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    }
    for threads in &args.threads {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(std::env::args_os().skip(1)).arg("--measure");
        command.env("RAYON_NUM_THREADS", threads.to_string()).env("CANDLE_NUM_THREADS", threads.to_string());
        if level == Level::Avx2 {
            // Otherwise candle takes AVX-512 where it finds it.
            command.env("MISTRALRS_FORCE_AVX2", "1");
        }
        let status = command.status().context("cannot start the measuring process")?;
        ensure!(status.success(), "the comparison with {threads} threads ended with {status}");
    }
    Ok(())
}

/// All cases at the number of threads of this process.
fn measure(args: &Args) -> anyhow::Result<()> {
    let threads = rayon::current_num_threads();
    let effort = match (args.smoke, args.full) {
        (true, _) => Effort::Smoke,
        (_, true) => Effort::Full,
        _ => Effort::Normal,
    };
    let ggml = llama::open(&args.peers, Level::best())?;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
    pool.install(|| {
        for case in case::all(effort, threads) {
            let seconds = if effort == Effort::Smoke { 0.05 } else { args.seconds };
            run_case(&case, ggml, args, Duration::from_secs_f64(seconds))
                .with_context(|| format!("case {}", case.name()))?;
        }
        Ok(())
    })
}

fn run_case(case: &Case, ggml: Option<&'static Ggml>, args: &Args, budget: Duration) -> anyhow::Result<()> {
    let mut plans = ours::plans();
    if let Some(ggml) = ggml {
        plans.extend(llama::plans(ggml, case.threads)?);
    }
    plans.extend(candle::plans());
    if let Some(filter) = &args.filter {
        let wanted = |plan: &Plan| format!("{} {}t {}", case.name(), case.threads, plan.name).contains(filter.as_str());
        let wanted: Vec<bool> = plans.iter().map(wanted).collect();
        if !wanted.contains(&true) {
            return Ok(());
        }
        let mut wanted = wanted.into_iter();
        plans.retain(|plan| wanted.next() == Some(true) || plan.is_ours());
    }
    let inputs = Inputs::random(case);
    let copies = case.copies(&plans);
    let mut variants = Vec::new();
    for plan in &plans {
        let built = (plan.build)(case, &inputs, copies).with_context(|| format!("cannot build {}", plan.name))?;
        if let Some(mut built) = built {
            check(case, &inputs, plan, &mut built, copies)?;
            variants.push((plan, built));
        }
    }
    let mut products: Vec<_> = variants.iter_mut().map(|(_, built)| &mut built.product).collect();
    let times = rounds::alternate(&mut products, case, budget);
    let rows: Vec<_> = variants.iter().zip(times).map(|((plan, built), times)| (*plan, built.bytes, times)).collect();
    let records = table::print(case, &rows);
    if let Some(path) = &args.json {
        let mut file = OpenOptions::new().append(true).open(path)?;
        for record in records {
            writeln!(file, "{}", serde_json::to_string(&record)?)?;
        }
    }
    Ok(())
}

/// Every copy computes what its dequantized weights say; this also lets a variant finish what it puts off to the first use.
fn check(case: &Case, inputs: &Inputs, plan: &Plan, built: &mut Built, copies: usize) -> anyhow::Result<()> {
    for copy in 0..copies {
        built.product.run(copy);
        if copy == 0 || copy + 1 == copies {
            let out = built.product.output();
            inputs.check(case, &built.dequantized, &out, built.tolerance).with_context(|| plan.name.clone())?;
        }
    }
    built.product.rest();
    Ok(())
}
