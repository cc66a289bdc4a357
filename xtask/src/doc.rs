//! `cargo xtask doc`: the documentation of all crates, with every warning an error.

use anyhow::Result;

use crate::{process, workspace};

/// Example: `cargo xtask doc --open`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Opens the documentation in a browser.
    #[arg(long)]
    open: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    build()?;
    if args.open {
        process::run(workspace::cargo().args(["doc", "--release", "--no-deps", "-p", "parsimon", "--open"]))?;
    }
    Ok(())
}

/// Documents the workspace. In the release profile, because the dependencies' metadata is then the one that clippy left.
pub(crate) fn build() -> Result<()> {
    let mut command = workspace::cargo();
    command.args(["doc", "--release", "--no-deps", "--workspace"]);
    process::run(command.env("RUSTDOCFLAGS", "-D warnings"))
}
