//! `cargo xtask tidy`: the rules of the house as a test.
//!
//! A rule is a name, a reason and a function from the repository to findings, each with a file and a line. What a rule allows is
//! data at the top of its module. Rust files are read as tokens (`proc-macro2`) and as syntax (`syn`), so comments and strings never
//! count as code.

mod calls;
mod edges;
mod papers;
mod shape;
mod source;
mod unsafety;

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use serde_json::Value;

use crate::workspace;
use source::Source;

/// Example: `cargo xtask tidy`, or `cargo xtask tidy --list` for the rules and their reasons.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Lists the rules with their reasons instead of checking them.
    #[arg(long)]
    list: bool,
    /// Prints how many packages each crate pulls in, as the table of docs/ARCHITECTURE.md.
    #[arg(long)]
    budget: bool,
}

/// A broken rule: where and what.
#[derive(Debug, PartialEq)]
struct Finding {
    file: String,
    line: usize,
    message: String,
}

impl Finding {
    fn new(file: &str, line: usize, message: impl Into<String>) -> Self {
        Finding { file: file.to_owned(), line, message: message.into() }
    }
}

/// What the rules look at.
struct Repo {
    sources: Vec<Source>,
    /// Pages of docs/papers by name, without `.md`.
    papers: BTreeMap<String, String>,
    /// The packages of `cargo metadata`.
    packages: Vec<Value>,
    /// docs/ARCHITECTURE.md.
    architecture: String,
    /// How many packages the default features of each crate pull in, by `cargo tree`.
    pulls: BTreeMap<String, usize>,
}

/// One rule of the house.
struct Rule {
    name: &'static str,
    reason: &'static str,
    check: fn(&Repo) -> Vec<Finding>,
}

const RULES: &[Rule] = &[
    Rule { name: "edges", reason: "a crate depends only downward, siblings never on each other", check: edges::own },
    Rule {
        name: "external",
        reason: "heavy or ambient dependencies stay in the crates that need them",
        check: edges::external,
    },
    Rule {
        name: "budget",
        reason: "every dependency is paid for by everybody who builds the crate",
        check: edges::budget,
    },
    Rule {
        name: "unsafe",
        reason: "unsafe code lives in a few files that are read with care",
        check: unsafety::places,
    },
    Rule { name: "lints", reason: "a crate root says in code what it promises about unsafe", check: unsafety::roots },
    Rule { name: "detection", reason: "CPU features are read in one place", check: unsafety::detection },
    Rule { name: "file-length", reason: "a file is one idea", check: shape::file_length },
    Rule { name: "fn-length", reason: "a function fits on a screen", check: shape::fn_length },
    Rule { name: "names", reason: "a helper lives with the noun it serves", check: shape::names },
    Rule { name: "module-docs", reason: "a reader learns first what a file is for", check: shape::module_docs },
    Rule { name: "papers", reason: "every constant of a paper can be traced to its page", check: papers::resolve },
    Rule { name: "claims", reason: "a claim leads to code and to a test", check: papers::names_exist },
    Rule { name: "unfinished", reason: "what is on main is finished, and every test runs", check: calls::unfinished },
    Rule { name: "printing", reason: "libraries return data, programs print it", check: calls::printing },
    Rule {
        name: "environment",
        reason: "a library's result depends on its arguments alone",
        check: calls::environment,
    },
    Rule {
        name: "clocks",
        reason: "time is measured by programs, so that a library's result can be repeated",
        check: calls::clocks,
    },
];

pub(crate) fn run(args: &Args) -> Result<()> {
    if args.list {
        for rule in RULES {
            println!("{:<14}{}", rule.name, rule.reason);
        }
        return Ok(());
    }
    if args.budget {
        print!("{}", edges::budget_table(&Repo::read()?.pulls));
        return Ok(());
    }
    check()
}

/// Checks all rules.
pub(crate) fn check() -> Result<()> {
    let repo = Repo::read()?;
    let mut broken = 0;
    for rule in RULES {
        for finding in (rule.check)(&repo) {
            println!("{}:{}: [{}] {} ({})", finding.file, finding.line, rule.name, finding.message, rule.reason);
            broken += 1;
        }
    }
    if broken > 0 {
        bail!("{broken} findings by the rules of the house");
    }
    println!("tidy: {} rules hold in {} files", RULES.len(), repo.sources.len());
    Ok(())
}

impl Repo {
    /// Reads the repository; `cargo tree` runs beside the parsing of the sources.
    fn read() -> Result<Repo> {
        let metadata = workspace::metadata()?;
        let packages = metadata["packages"].as_array().cloned().unwrap_or_default();
        let (pulls, sources) = std::thread::scope(|scope| {
            let pulls = scope.spawn(|| edges::pulls(&packages));
            let sources = read_sources();
            (pulls.join().expect("counting packages does not panic"), sources)
        });
        let mut papers = BTreeMap::new();
        for file in workspace::files("docs/papers", |path| path.ends_with(".md"))? {
            let name = file.trim_start_matches("docs/papers/").trim_end_matches(".md").to_owned();
            papers.insert(name, std::fs::read_to_string(workspace::root().join(&file))?);
        }
        let architecture = std::fs::read_to_string(workspace::root().join("docs/ARCHITECTURE.md"))?;
        Ok(Repo { sources: sources?, papers, packages, architecture, pulls: pulls? })
    }
}

fn read_sources() -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    for folder in ["crates", "xtask", "benches"] {
        for path in workspace::files(folder, |path| path.ends_with(".rs") && !path.contains("/target/"))? {
            let text = std::fs::read_to_string(workspace::root().join(&path))?;
            sources.push(Source::parse(&path, &text)?);
        }
    }
    Ok(sources)
}

#[cfg(test)]
mod tests;
