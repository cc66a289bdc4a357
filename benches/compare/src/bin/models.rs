//! Whole models: our decode and prefill beside llama.cpp's, in turns; started by `cargo xtask bench model --peers`.
//!
//! One model of random weights is written, converted to a GGUF file of f16 and quantized by each project's own program; llama.cpp's TQ2_0
//! file is also read by us, so that one comparison has the same bytes. Every variant is a process (`parsimon bench`, `llama-bench`) that
//! loads its model, and all take turns, so that a disturbance of the machine meets every one of them.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};
use clap::Parser;
use serde_json::{Value, json};

/// Tokens of the prompt, as the published tables of llama.cpp's users have it.
const PREFILL_TOKENS: usize = 256;

/// Tokens that are decoded.
const DECODE_TOKENS: usize = 64;

/// Types of llama-quantize, with the names of the variants.
const PEERS: [(&str, &str); 3] = [("TQ2_0", "llama.cpp tq2_0"), ("Q2_K", "llama.cpp q2_k"), ("Q4_0", "llama.cpp q4_0")];

/// Compare whole models with llama.cpp.
#[derive(Parser)]
struct Args {
    /// Two rounds of a small model; shows that everything works, not how fast it is.
    #[arg(long)]
    smoke: bool,
    /// Also write the records here, one JSON object a line.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The folder that `cargo xtask peers install` fills; models are kept in it.
    #[arg(long, value_name = "DIR")]
    peers: PathBuf,
    /// The `parsimon` program.
    #[arg(long, value_name = "FILE")]
    parsimon: PathBuf,
    /// Threads of every process.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// How many times each variant runs.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

/// Prefill and decode in tokens a second, one of each a round.
#[derive(Default)]
struct Speeds {
    prefill: Vec<f64>,
    decode: Vec<f64>,
}

/// A model file and whose program runs it.
struct Variant {
    name: String,
    model: PathBuf,
    is_ours: bool,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let variants = models(&args)?;
    let mut speeds: BTreeMap<usize, Speeds> = BTreeMap::new();
    for round in 0..if args.smoke { 2 } else { args.rounds } {
        for (i, variant) in variants.iter().enumerate() {
            let (prefill, decode) = if variant.is_ours { ours(&args, variant)? } else { llama(&args, variant)? };
            eprintln!("round {round}: {:<22} prefill {prefill:8.2} decode {decode:7.2} tokens/s", variant.name);
            let speeds = speeds.entry(i).or_default();
            speeds.prefill.push(prefill);
            speeds.decode.push(decode);
        }
    }
    report(&args, &variants, &speeds)
}

/// Writes the models that are missing.
fn models(args: &Args) -> anyhow::Result<Vec<Variant>> {
    let shape = if args.smoke { "llama-110m" } else { "llama-1.1b" };
    let folder = args.peers.join("models");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let floats = folder.join(shape);
    let (two_bits, gguf) = (folder.join(format!("{shape}-2bit")), folder.join(format!("{shape}.gguf")));
    let parsimon = |words: &[&str], from: &Path, out: &Path| {
        let mut command = Command::new(&args.parsimon);
        command.args(words).arg("--model").arg(from).arg("--out").arg(out);
        if out.exists() { Ok(Vec::new()) } else { output(&mut command) }
    };
    if !floats.exists() {
        output(Command::new(&args.parsimon).args(["synthesize", "--shape", shape, "--out"]).arg(&floats))?;
    }
    parsimon(&["quantize", "--bits", "2"], &floats, &two_bits)?;
    parsimon(&["convert", "--dtype", "f16"], &floats, &gguf)?;
    let ours = |name: &str, model: &Path| Variant { name: name.into(), model: model.into(), is_ours: true };
    let mut variants = vec![ours("2 bits, group 64", &two_bits)];
    for (quant, name) in PEERS {
        let model = folder.join(format!("{shape}-{quant}.gguf"));
        if !model.exists() {
            let part = model.with_extension("part");
            output(llama_program(args, "llama-quantize")?.arg(&gguf).arg(&part).arg(quant))?;
            std::fs::rename(&part, &model)?;
        }
        variants.push(ours(&format!("their {} file", quant.to_lowercase()), &model));
        variants.push(Variant { name: name.into(), model, is_ours: false });
    }
    Ok(variants)
}

fn ours(args: &Args, variant: &Variant) -> anyhow::Result<(f64, f64)> {
    let speed = |phase: &str, tokens: usize| -> anyhow::Result<f64> {
        let mut command = Command::new(&args.parsimon);
        command.args([
            "bench",
            phase,
            "--json",
            "--tokens",
            &tokens.to_string(),
            "--threads",
            &args.threads.to_string(),
        ]);
        let json: Value = serde_json::from_slice(&output(command.arg("--model").arg(&variant.model))?)?;
        json["tokens_per_s"].as_f64().context("`parsimon bench` printed no tokens_per_s")
    };
    Ok((speed("prefill", PREFILL_TOKENS)?, speed("decode", DECODE_TOKENS)?))
}

fn llama(args: &Args, variant: &Variant) -> anyhow::Result<(f64, f64)> {
    let mut command = llama_program(args, "llama-bench")?;
    command.args(["-o", "json", "-r", "3", "-t", &args.threads.to_string()]);
    command.args(["-p", &PREFILL_TOKENS.to_string(), "-n", &DECODE_TOKENS.to_string()]).arg("-m").arg(&variant.model);
    let tests: Vec<Value> = serde_json::from_slice(&output(&mut command)?)?;
    let speed = |key: &str| {
        let test = tests.iter().find(|test| test[key].as_u64().is_some_and(|tokens| tokens > 0));
        test.and_then(|test| test["avg_ts"].as_f64()).with_context(|| format!("llama-bench measured no {key}"))
    };
    Ok((speed("n_prompt")?, speed("n_gen")?))
}

fn llama_program(args: &Args, name: &str) -> anyhow::Result<Command> {
    let folder = args.peers.join("llama/bin");
    let program = folder.join(name);
    ensure!(program.exists(), "there is no {}; `cargo xtask peers install --models` builds it", program.display());
    let mut command = Command::new(program);
    command.env("LD_LIBRARY_PATH", folder);
    Ok(command)
}

/// What a program prints; its messages only when it fails.
fn output(command: &mut Command) -> anyhow::Result<Vec<u8>> {
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?} ended with {}:\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(output.stdout)
}

/// The table, and one record a phase and variant: a peer's ratio is the speed of our 2-bit model over its own.
fn report(args: &Args, variants: &[Variant], speeds: &BTreeMap<usize, Speeds>) -> anyhow::Result<()> {
    let mut lines = Vec::new();
    for phase in ["prefill", "decode"] {
        println!("{phase:<10} {:>10} {:>10} {:>10}   ours, 2 bits / it", "median", "min", "max");
        let of = |i: usize| {
            let speeds = &speeds[&i];
            let mut all = if phase == "prefill" { speeds.prefill.clone() } else { speeds.decode.clone() };
            all.sort_by(f64::total_cmp);
            (all[all.len() / 2], all[0], all[all.len() - 1], all.len())
        };
        let baseline = of(0).0;
        for (i, variant) in variants.iter().enumerate() {
            let (median, min, max, runs) = of(i);
            let name = if variant.is_ours { format!("parsimon, {}", variant.name) } else { variant.name.clone() };
            println!("{name:<28} {median:10.2} {min:10.2} {max:10.2}   {:.2}", baseline / median);
            lines.push(json!({
                "area": "model-peers", "case": format!("{phase} {}", if phase == "prefill" { PREFILL_TOKENS } else { DECODE_TOKENS }),
                "variant": name, "params": {}, "isa": Value::Null, "threads": args.threads, "metric": "speed",
                "unit": "tokens/s", "median": median, "min": min, "max": max, "runs": runs, "limit": Value::Null,
                "pct_of_limit": Value::Null, "baseline": format!("parsimon, {}", variants[0].name),
                "ratio_to_baseline": baseline / median, "checked": false,
            }));
        }
    }
    let Some(path) = &args.json else { return Ok(()) };
    let mut file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    lines
        .iter()
        .try_for_each(|line| writeln!(file, "{line}"))
        .with_context(|| format!("cannot write {}", path.display()))
}
