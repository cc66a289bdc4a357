//! The report of a run: one page without network access, with the trees as data and a view that opens them.

use std::io::Write;
use std::path::Path;

use parsimon::reason::run::file_name;
use parsimon::reason::solver::Solution;
use parsimon::tensor::io::{AtomicFile, read_json};
use serde_json::{Value, json};

const PAGE: &str = include_str!("tree.html");
/// Where the page's data goes.
const SLOT: &str = "/*DATA*/null";

pub(super) fn write(out: &Path, solutions: &[&Solution]) -> anyhow::Result<()> {
    let mut problems = Vec::new();
    for solution in solutions {
        let tree = out.join("trees").join(format!("{}.jsonl", file_name(&solution.problem)));
        let tree: Value = if tree.exists() { read_json(&tree)? } else { Value::Null };
        problems.push(json!({ "solution": solution, "tree": tree }));
    }
    // The data stands inside a script element: nothing in it may end that.
    let data = serde_json::to_string(&problems)?.replace('<', "\\u003c");
    let mut file = AtomicFile::create(&out.join("report.html"))?;
    file.write_all(PAGE.replace(SLOT, &data).as_bytes())?;
    Ok(file.commit()?)
}
