//! `cargo xtask peers`: the other projects' kernels that `bench lut --peers` compares ours with.
//!
//! ggml's libraries are built from the source release of llama-cpp-python, which carries llama.cpp, into `target/peers`: once for this
//! machine and once for AVX2 alone. pip brings the release, whose hash is fixed here, and cmake and ninja. OpenMP is off: the comparison
//! gives ggml a pool of its own threads, which it can pause. candle comes with the compare program itself. With `--models` the programs
//! that measure and quantize whole models are built too, for `bench model --peers`.
//!
//! Nothing else needs any of this.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::{process, workspace};

/// The release, and the hash of its file.
const RELEASE: &str = "llama-cpp-python==0.3.36";
const SHA256: &str = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e";

/// llama.cpp inside the release, and ggml inside that.
const LLAMA: &str = "vendor/llama.cpp";
const GGML: &str = "vendor/llama.cpp/ggml";

/// The build of llama.cpp's programs, for this machine.
const PROGRAMS: &str = "llama";

/// llama.cpp without what needs a network or takes long.
const PROGRAM_OPTIONS: &[&str] = &[
    "-DCMAKE_BUILD_TYPE=Release",
    "-DGGML_CCACHE=OFF",
    "-DGGML_OPENMP=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_SERVER=OFF",
    "-DLLAMA_BUILD_APP=OFF",
    "-DLLAMA_BUILD_UI=OFF",
    "-DLLAMA_CURL=OFF",
    "-DLLAMA_OPENSSL=OFF",
];

/// Tools for the build, and what pip asks of the release to describe itself.
const TOOLS: [&str; 3] = ["cmake", "ninja", "scikit-build-core"];

/// What both builds have in common.
const OPTIONS: &[&str] = &[
    "-DCMAKE_BUILD_TYPE=Release",
    "-DBUILD_SHARED_LIBS=ON",
    "-DGGML_BUILD_COMMIT=llama-cpp-python-0.3.36",
    "-DGGML_BUILD_EXAMPLES=OFF",
    "-DGGML_BUILD_TESTS=OFF",
    "-DGGML_CCACHE=OFF",
    "-DGGML_LLAMAFILE=ON",
    "-DGGML_OPENMP=OFF",
];

/// The builds by name, each with its instruction sets.
const BUILDS: [(&str, &[&str]); 2] = [
    ("native", &["-DGGML_NATIVE=ON"]),
    (
        "avx2",
        &[
            "-DGGML_NATIVE=OFF",
            "-DGGML_SSE42=ON",
            "-DGGML_AVX=ON",
            "-DGGML_AVX2=ON",
            "-DGGML_FMA=ON",
            "-DGGML_F16C=ON",
            "-DGGML_BMI2=ON",
            "-DGGML_AVX_VNNI=OFF",
            "-DGGML_AVX512=OFF",
            "-DGGML_AVX512_VBMI=OFF",
            "-DGGML_AVX512_VNNI=OFF",
            "-DGGML_AVX512_BF16=OFF",
            "-DGGML_AMX_TILE=OFF",
            "-DGGML_AMX_INT8=OFF",
            "-DGGML_AMX_BF16=OFF",
        ],
    ),
];

/// What has to be typed to have them all.
pub(crate) const INSTALL: &str = "cargo xtask peers install";

/// Example: `cargo xtask peers install`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Builds what is missing. Needs python3 with venv, gcc or another C++ compiler, and a network that pip reaches.
    Install {
        /// Compilers at a time.
        #[arg(long, short, default_value_t = 2)]
        jobs: usize,
        /// Also builds llama-bench and llama-quantize, for `bench model --peers`: some ten minutes more on two cores.
        #[arg(long)]
        models: bool,
    },
    /// Says what is installed.
    Status,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    match args.action {
        Action::Install { jobs, models } => {
            install(jobs)?;
            if models { install_programs(jobs) } else { Ok(()) }
        }
        Action::Status => {
            println!("candle: comes with benches/compare");
            for build in BUILDS.map(|(build, _)| build).into_iter().chain([PROGRAMS]) {
                let state = if is_installed(build) { "installed" } else { "not installed" };
                println!("llama.cpp, {build}: {state}");
            }
            Ok(())
        }
    }
}

/// The folder of everything that is installed.
pub(crate) fn folder() -> PathBuf {
    workspace::target_dir().join("peers")
}

/// The builds that are missing, by name.
pub(crate) fn missing() -> Vec<&'static str> {
    BUILDS.iter().map(|(build, _)| *build).filter(|build| !is_installed(build)).collect()
}

fn is_installed(build: &str) -> bool {
    folder().join(build).join("installed").exists()
}

/// Builds llama-bench and llama-quantize where they are missing.
fn install_programs(jobs: usize) -> Result<()> {
    if is_installed(PROGRAMS) {
        return Ok(());
    }
    let tools = tools()?;
    let source = source(&tools, LLAMA)?;
    let out = folder().join(PROGRAMS);
    let mut configure = Command::new(tools.join("cmake"));
    configure.arg("-S").arg(&source).arg("-B").arg(&out).args(["-G", "Ninja"]);
    configure.arg(format!("-DCMAKE_MAKE_PROGRAM={}", tools.join("ninja").display()));
    process::run(configure.args(PROGRAM_OPTIONS))?;
    let mut command = Command::new(tools.join("cmake"));
    command.arg("--build").arg(&out).args(["--target", "llama-bench", "llama-quantize", "--parallel"]);
    process::run(command.arg(jobs.to_string()))?;
    mark(&out)
}

fn install(jobs: usize) -> Result<()> {
    let missing = missing();
    if missing.is_empty() {
        eprintln!("all peers are installed in {}", folder().display());
        return Ok(());
    }
    for (program, why) in [("python3", "it brings pip"), ("c++", "it compiles ggml")] {
        ensure!(process::works(Command::new(program).arg("--version")), "`{program}` does not start here: {why}");
    }
    std::fs::create_dir_all(folder()).with_context(|| format!("cannot create {}", folder().display()))?;
    let tools = tools()?;
    let source = source(&tools, GGML)?;
    for (build, options) in BUILDS.iter().filter(|(build, _)| missing.contains(build)) {
        compile(&tools, &source, build, options, jobs)?;
    }
    eprintln!("all peers are installed in {}", folder().display());
    Ok(())
}

/// The programs of a Python environment that has the tools; made where it is missing.
fn tools() -> Result<PathBuf> {
    let venv = folder().join("venv");
    let programs = venv.join("bin");
    if TOOLS[..2].iter().all(|tool| process::works(Command::new(programs.join(tool)).arg("--version"))) {
        return Ok(programs);
    }
    process::run(Command::new("python3").args(["-m", "venv"]).arg(&venv)).context("python3 needs its module venv")?;
    process::run(Command::new(programs.join("pip")).args(["install", "--quiet"]).args(TOOLS))
        .context("pip cannot install the tools: is there a network?")?;
    Ok(programs)
}

/// A folder of the release, downloaded and unpacked where it is missing.
fn source(tools: &Path, part: &str) -> Result<PathBuf> {
    let source = folder().join("source");
    let unpacked = source.join(part);
    if unpacked.join("installed").exists() {
        return Ok(unpacked);
    }
    let wanted = folder().join("release.txt");
    std::fs::write(&wanted, format!("{RELEASE} --hash=sha256:{SHA256}\n"))
        .with_context(|| format!("cannot write {}", wanted.display()))?;
    let archives = folder().join("release");
    // Without isolation pip describes the release with the tools above, instead of building tools for it first.
    let mut pip = Command::new(tools.join("pip"));
    pip.args(["download", "--no-deps", "--no-build-isolation", "--no-binary", "llama-cpp-python", "--require-hashes"]);
    process::run(pip.arg("-r").arg(&wanted).arg("-d").arg(&archives))
        .context("pip cannot download the release: is there a network?")?;
    let archive = std::fs::read_dir(&archives)?.filter_map(|entry| Some(entry.ok()?.path()));
    let Some(archive) = archive.into_iter().find(|path| path.extension().is_some_and(|end| end == "gz")) else {
        bail!("pip left no archive in {}", archives.display());
    };
    std::fs::create_dir_all(&source)?;
    let mut tar = Command::new("tar");
    tar.arg("xzf").arg(&archive).arg("-C").arg(&source).args(["--strip-components=1", "--wildcards"]);
    process::run(tar.arg(format!("*/{part}/*")))?;
    mark(&unpacked)?;
    Ok(unpacked)
}

fn compile(tools: &Path, source: &Path, build: &str, options: &[&str], jobs: usize) -> Result<()> {
    let out = folder().join(build);
    let mut configure = Command::new(tools.join("cmake"));
    configure.arg("-S").arg(workspace::root().join("benches/compare/ggml")).arg("-B").arg(&out).args(["-G", "Ninja"]);
    configure.arg(format!("-DCMAKE_MAKE_PROGRAM={}", tools.join("ninja").display()));
    configure.arg(format!("-DGGML_SOURCE={}", source.display()));
    configure.arg(format!("-DCMAKE_LIBRARY_OUTPUT_DIRECTORY={}", out.join("lib").display()));
    process::run(configure.args(OPTIONS).args(options))?;
    let mut command = Command::new(tools.join("cmake"));
    command.arg("--build").arg(&out).args(["--target", "ggml", "--parallel"]).arg(jobs.to_string());
    process::run(&mut command)?;
    mark(&out)
}

/// Leaves the sign that a folder is complete: a step that was interrupted is repeated.
fn mark(folder: &Path) -> Result<()> {
    std::fs::write(folder.join("installed"), RELEASE).with_context(|| format!("cannot write to {}", folder.display()))
}
