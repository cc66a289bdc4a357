//! What must hold in every run of the demo.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// The most that 4-bit weights may cost in perplexity.
const PPL_4BIT_MAX: f64 = 1.03;

/// Every document that enters a stage leaves it or is counted with a reason, and the next stage starts where this one ends.
pub(super) fn funnel(stats: &Value) -> Result<()> {
    let stages = stats["funnel"].as_array().context("the statistics of the corpus have no `funnel`")?;
    ensure!(!stages.is_empty(), "the funnel of the corpus is empty");
    let mut before: Option<(&str, u64)> = None;
    for stage in stages {
        let name = stage["stage"].as_str().context("a stage of the funnel has no name")?;
        let count = |key: &str| stage[key].as_u64().with_context(|| format!("stage `{name}` has no count `{key}`"));
        let (docs_in, docs_out) = (count("docs_in")?, count("docs_out")?);
        let reasons = stage["reasons"].as_object().into_iter().flat_map(|reasons| reasons.values());
        let reasons: u64 = reasons.filter_map(Value::as_u64).sum();
        ensure!(
            docs_in == docs_out + reasons,
            "the funnel does not add up: stage `{name}` took {docs_in} documents, let {docs_out} through and gives reasons for {reasons}"
        );
        if let Some((previous, left)) = before {
            ensure!(
                left == docs_in,
                "the funnel does not add up: `{previous}` let {left} documents through, `{name}` took {docs_in}"
            );
        }
        before = Some((name, docs_out));
    }
    eprintln!("check: the funnel of {} stages adds up", stages.len());
    Ok(())
}

/// 4 bits cost at most 3 %, and, where the model has learned something, fewer bits never predict better.
pub(super) fn perplexities(models: &[(&str, f64)], trained: bool) -> Result<()> {
    let of = |name: &str| models.iter().find(|(model, _)| *model == name).map(|(_, ppl)| *ppl);
    let (full, four) = (of("f32").context("no perplexity of f32")?, of("q4").context("no perplexity of q4")?);
    for (name, ppl) in models {
        ensure!(ppl.is_finite() && *ppl >= 1.0, "the perplexity of {name} is {ppl}");
    }
    let cost = (four / full - 1.0) * 100.0;
    ensure!(four <= full * PPL_4BIT_MAX, "4 bits cost {cost:.2} % of perplexity: {four:.3} against {full:.3}");
    eprintln!("check: 4 bits change the perplexity by {cost:+.2} %");
    if trained {
        for pair in models.windows(2) {
            let ((more, better), (fewer, worse)) = (pair[0], pair[1]);
            ensure!(better <= worse, "{fewer} predicts better than {more}: perplexity {worse:.3} against {better:.3}");
        }
        eprintln!("check: perplexity is ordered by bits");
    }
    Ok(())
}

/// Later rounds solve more of the training games, and the search is better than the policy alone.
pub(super) fn rounds(report: &Value) -> Result<()> {
    let rounds =
        report["rounds"].as_array().filter(|rounds| !rounds.is_empty()).context("self-evolution has no `rounds`")?;
    let of = |round: &Value, key: &str| round[key].as_f64().with_context(|| format!("a round has no number `{key}`"));
    let (first, last) = (&rounds[0], &rounds[rounds.len() - 1]);
    let (before, after) = (of(first, "coverage")?, of(last, "coverage")?);
    ensure!(after > before, "coverage fell from {before:.3} to {after:.3}");
    let (greedy, search) = (of(last, "greedy")?, of(last, "mcts")?);
    ensure!(search > greedy, "the search is right in {search:.3} of the games, the policy alone in {greedy:.3}");
    eprintln!(
        "check: coverage rises from {before:.3} to {after:.3}; the search is right in {search:.3}, the policy alone in {greedy:.3}"
    );
    Ok(())
}

/// Two runs of one seed wrote the same tokens.
pub(super) fn same_text(one: &Value, two: &Value) -> Result<()> {
    let text = one["text"].as_str().context("`generate` printed no `text`")?;
    ensure!(
        !one["tokens"].as_array().context("`generate` printed no `tokens`")?.is_empty(),
        "`generate` wrote no token"
    );
    ensure!(
        one["tokens"] == two["tokens"] && two["text"] == text,
        "one seed wrote two texts:\n1 thread:  {text}\n2 threads: {}",
        two["text"]
    );
    eprintln!("check: 1 thread and 2 threads write the same text");
    Ok(())
}

#[cfg(test)]
mod tests;
