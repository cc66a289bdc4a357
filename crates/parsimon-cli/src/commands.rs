//! The commands, one file each.

mod isa;

use clap::Subcommand;

use crate::context::Context;

#[derive(Subcommand)]
pub(crate) enum Command {
    Isa(isa::Isa),
}

impl Command {
    pub(crate) fn run(self, cx: &Context) -> anyhow::Result<()> {
        match self {
            Command::Isa(args) => args.run(cx),
        }
    }
}
