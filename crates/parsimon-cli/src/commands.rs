//! The commands, one file each.

mod attn;
mod bench;
mod chat;
mod convert;
mod curate;
mod eval;
mod evolve;
mod exec;
mod extract;
mod gated;
mod generate;
mod grade;
mod index;
mod inspect;
mod isa;
mod model;
mod quantize;
mod report;
mod sandbox;
mod serve;
mod solve;
mod synthesize;
mod train;
mod vq;
mod warc;

use clap::Subcommand;

use crate::context::Context;

#[derive(Subcommand)]
pub(crate) enum Command {
    Warc(warc::Warc),
    Curate(curate::Curate),
    Train(train::Train),
    Synthesize(synthesize::Synthesize),
    Quantize(quantize::Quantize),
    Convert(convert::Convert),
    Generate(generate::Generate),
    Chat(chat::Chat),
    Serve(serve::Serve),
    Eval(eval::Eval),
    Attn(attn::Attn),
    Vq(vq::Vq),
    Bench(bench::Bench),
    Index(index::IndexArgs),
    Inspect(inspect::Inspect),
    Isa(isa::Isa),
    Report(report::Report),
    Solve(solve::Solve),
    Grade(grade::Grade),
    Exec(exec::Exec),
    Sandbox(sandbox::Sandbox),
    Extract(extract::Extract),
    Evolve(evolve::Evolve),
}

impl Command {
    pub(crate) fn run(self, cx: &Context) -> anyhow::Result<()> {
        match self {
            Command::Warc(args) => args.run(cx),
            Command::Curate(args) => args.run(cx),
            Command::Train(args) => args.run(cx),
            Command::Synthesize(args) => args.run(cx),
            Command::Quantize(args) => args.run(cx),
            Command::Convert(args) => args.run(cx),
            Command::Generate(args) => args.run(cx),
            Command::Chat(args) => args.run(cx),
            Command::Serve(args) => args.run(cx),
            Command::Eval(args) => args.run(cx),
            Command::Attn(args) => args.run(cx),
            Command::Vq(args) => args.run(cx),
            Command::Bench(args) => args.run(cx),
            Command::Index(args) => args.run(cx),
            Command::Inspect(args) => args.run(cx),
            Command::Isa(args) => args.run(cx),
            Command::Report(args) => args.run(cx),
            Command::Solve(args) => args.run(cx),
            Command::Grade(args) => args.run(cx),
            Command::Exec(args) => args.run(cx),
            Command::Sandbox(args) => args.run(cx),
            Command::Extract(args) => args.run(cx),
            Command::Evolve(args) => args.run(cx),
        }
    }
}

/// Token ids as arguments write them: `1,2,3`.
fn parse_tokens(text: &str) -> Result<Vec<u32>, String> {
    let id = |part: &str| part.trim().parse().map_err(|_| format!("`{part}` is not a token id"));
    text.split(',').filter(|part| !part.trim().is_empty()).map(id).collect()
}
