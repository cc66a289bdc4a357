//! `cargo xtask demo`: the whole story on real input, and the checks that it holds together.
//!
//! Web archives are made from the HTML documentation that rustup installs; they are curated, a small model is trained on them, it is
//! quantized to 4, 3, 2 and 1.58 bits by rounding and to 2 bits with codebooks, and every model is measured and writes some text. What each command returns with `--json` lies
//! in the run folder afterwards, and `report.html` shows it.

mod checks;
mod input;
mod runner;
mod summary;

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::{ci, process, workspace};
use input::Input;
use runner::Runner;

/// Example: `cargo xtask demo --smoke --out target/demo-smoke`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// A small selection and few training steps: at most 90 seconds once compiled. Quality is then meaningless.
    #[arg(long, conflicts_with = "full")]
    smoke: bool,
    /// Adds the documentation of alloc, core, clippy and rustdoc to the corpus.
    #[arg(long)]
    full: bool,
    /// The run folder [default: target/demo, with --smoke target/demo-smoke].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl Args {
    /// The run of `cargo xtask ci`.
    pub(crate) fn smoke() -> Self {
        Args { smoke: true, full: false, out: None }
    }

    fn out(&self) -> PathBuf {
        match &self.out {
            Some(dir) => dir.clone(),
            None => workspace::target_dir().join(if self.smoke { "demo-smoke" } else { "demo" }),
        }
    }
}

/// How the `parsimon` program comes about.
pub(crate) enum Build {
    /// Build the command line alone.
    CliOnly,
    /// Build the whole workspace, as `ci` has already done: nothing is left to build then.
    Workspace,
}

/// A model of the demo: the name of its folder below the run folder is the name of its results as well.
struct Variant {
    name: &'static str,
    made: Made,
}

/// How a model comes about.
enum Made {
    Trained,
    /// Rounded to so many bits.
    Rounded(&'static str),
    /// Codebooks of 16 pairs of weights: with layers as small as these, larger ones would cost more bits than the codes.
    Codebooks,
}

/// The trained model and what is made from it, from the most bits to the fewest.
const VARIANTS: &[Variant] = &[
    Variant { name: "f32", made: Made::Trained },
    Variant { name: "q4", made: Made::Rounded("4") },
    Variant { name: "q3", made: Made::Rounded("3") },
    Variant { name: "vptq2", made: Made::Codebooks },
    Variant { name: "q2", made: Made::Rounded("2") },
    Variant { name: "q1.58", made: Made::Rounded("1.58") },
];

impl Variant {
    fn folder(&self) -> &'static str {
        if matches!(self.made, Made::Trained) { "model" } else { self.name }
    }
}

const PROMPT: &str = "The borrow checker ensures that";
const SEED: &str = "1";
const SMOKE_STEPS: &str = "20";
/// Windows of held-out text per model: enough that perplexities of neighbouring widths do not overlap, few enough for the time.
const PPL_WINDOWS: &str = "48";
const SMOKE_PPL_WINDOWS: &str = "4";

pub(crate) fn run(args: &Args, build: Build) -> Result<()> {
    match build {
        Build::CliOnly => process::run(workspace::cargo().args(["build", "--release", "-p", "parsimon-cli"]))?,
        Build::Workspace => ci::build_all()?,
    }
    let input = Input::find(args.smoke, args.full)?;
    let mut runner = Runner::start(args.out())?;
    eprintln!("run folder: {}", runner.out().display());
    eprintln!("input: {}", input.described());

    let curated = corpus(&mut runner, &input)?;
    checks::funnel(&curated)?;
    train(&mut runner, args.smoke)?;
    for variant in VARIANTS {
        quantize(&mut runner, variant)?;
    }
    let mut perplexities = Vec::new();
    for variant in VARIANTS {
        perplexities.push((variant.name, perplexity(&mut runner, variant, args.smoke)?));
    }
    // A model of twenty steps predicts nothing, and widths that all predict nothing have no order.
    checks::perplexities(&perplexities, !args.smoke)?;
    for variant in VARIANTS {
        measure_generation(&mut runner, variant)?;
    }
    repeat(&mut runner)?;
    reason(&mut runner, args.smoke)?;

    let about = json!({
        "source": input.name(),
        "input": input.described(),
        "comparable": input.is_comparable() && !args.smoke,
        "smoke": args.smoke,
        "steps": runner.seconds(),
    });
    runner.save("demo.json", &about)?;
    let report = runner.path("report.html");
    runner.json("report", &["report", "--run", &runner.path(""), "--out", &report], None)?;
    println!("\n{}", runner.table());
    println!("{}", summary::table(runner.out(), VARIANTS)?);
    if args.smoke {
        println!("This was a smoke run on a small selection with few training steps: its quality is not comparable.");
    } else if !input.is_comparable() {
        println!("The quality of this run is not comparable: its input was {}.", input.described());
    }
    println!("report: {report}");
    Ok(())
}

/// HTML pages to web archives to a corpus.
fn corpus(runner: &mut Runner, input: &Input) -> Result<Value> {
    let (root, warc) = (input.root(), runner.path("warc"));
    let mut pack = vec!["warc", "pack", "--root", &root];
    for (flag, pattern) in input.patterns() {
        pack.extend([flag, pattern]);
    }
    let base = ["--base-url", "https://doc.rust-lang.org/", "--date", "2026-01-01T00:00:00Z", "--shard-bytes", "32MB"];
    pack.extend(base);
    pack.extend(["--out", &warc]);
    runner.json("warc pack", &pack, Some("warc/pack.json"))?;

    let (archives, corpus) = (runner.path("warc/*.warc.gz"), runner.path("corpus"));
    let curate = ["curate", "run", "--preset", "demo", "--input", &archives, "--out", &corpus];
    runner.json("curate", &curate, Some("corpus/stats.json"))
}

/// Trains, and compares the logits of the exported model with those of the training engine.
fn train(runner: &mut Runner, smoke: bool) -> Result<()> {
    let (corpus, model) = (runner.path("corpus"), runner.path("model"));
    let mut train = vec!["train", "lm", "--corpus", &corpus, "--out", &model, "--preset", "sigma-tiny", "--seed", SEED];
    if smoke {
        train.extend(["--steps", SMOKE_STEPS]);
    }
    runner.json("train", &train, Some("model/train.json"))?;
    let check = runner.path("model/check.safetensors");
    // Fails beyond 1e-4.
    runner.json(
        "check of the logits",
        &["eval", "logits", "--model", &model, "--check", &check],
        Some("eval/logits.json"),
    )?;
    Ok(())
}

fn quantize(runner: &mut Runner, variant: &Variant) -> Result<()> {
    let (model, out, corpus) = (runner.path("model"), runner.path(variant.folder()), runner.path("corpus"));
    let mut quantize = vec!["quantize", "--model", &model, "--out", &out];
    match variant.made {
        Made::Trained => return Ok(()),
        Made::Rounded(bits) => quantize.extend(["--method", "rtn", "--bits", bits, "--group", "64"]),
        Made::Codebooks => {
            quantize.extend(["--method", "vptq", "--bits", "2", "--vector-len", "2", "--centroids", "16"]);
            quantize.extend(["--calib", &corpus, "--compat", "none"]);
        }
    }
    let (step, report) = (format!("quantize, {}", variant.name), format!("{}/quantize.json", variant.folder()));
    runner.json(&step, &quantize, Some(&report))?;
    Ok(())
}

fn perplexity(runner: &mut Runner, variant: &Variant, smoke: bool) -> Result<f64> {
    let (model, text) = (runner.path(variant.folder()), runner.path("corpus/heldout.txt"));
    let windows = if smoke { SMOKE_PPL_WINDOWS } else { PPL_WINDOWS };
    let eval = ["eval", "ppl", "--model", &model, "--text", &text, "--max-windows", windows];
    let result =
        runner.json(&format!("perplexity, {}", variant.name), &eval, Some(&format!("eval/{}.json", variant.name)))?;
    result["ppl"].as_f64().context("`eval ppl` printed no number `ppl`")
}

/// The arguments of `generate` for a model.
fn generate(runner: &Runner, variant: &Variant) -> Vec<String> {
    let model = runner.path(variant.folder());
    let words = [
        "generate", "--model", &model, "--prompt", PROMPT, "-n", "128", "--temp", "0.8", "--top-p", "0.95", "--seed",
        SEED,
    ];
    words.map(str::to_owned).to_vec()
}

/// Generates several times and keeps the run of median speed: one takes a fraction of a second, and machines are noisy.
fn measure_generation(runner: &mut Runner, variant: &Variant) -> Result<()> {
    const RUNS: usize = 5;
    let words = generate(runner, variant);
    let mut runs = Vec::new();
    for run in 1..=RUNS {
        runs.push(runner.json(&format!("generate, {}, run {run} of {RUNS}", variant.name), &words, None)?);
    }
    runs.sort_by(|a, b| speed(a).total_cmp(&speed(b)));
    runner.save(&format!("generate/{}.json", variant.name), &runs[RUNS / 2])
}

fn speed(run: &Value) -> f64 {
    run["tokens_per_s"].as_f64().unwrap_or(0.0)
}

/// The 2-bit model writes the same text with one thread and with two.
fn repeat(runner: &mut Runner) -> Result<()> {
    let variant = VARIANTS.iter().find(|variant| variant.name == "q2").expect("the demo has a 2-bit model");
    let mut texts = Vec::new();
    for threads in ["1", "2"] {
        let mut words = generate(runner, variant);
        words.extend(["--threads".to_owned(), threads.to_owned()]);
        texts.push(runner.json(&format!("generate, q2, threads {threads}"), &words, None)?);
    }
    checks::same_text(&texts[0], &texts[1])
}

/// Rounds of self-evolution on Countdown: a policy and a preference model that are trained here, and the search that they guide.
fn reason(runner: &mut Runner, smoke: bool) -> Result<()> {
    let out = runner.path("reason");
    let games = if smoke { "200" } else { "800" };
    let evolve =
        ["evolve", "countdown", "--train", games, "--eval", "200", "--rounds", "3", "--seed", SEED, "--out", &out];
    let rounds = runner.json("self-evolution on Countdown", &evolve, Some("reason/evolve.json"))?;
    checks::rounds(&rounds)
}
