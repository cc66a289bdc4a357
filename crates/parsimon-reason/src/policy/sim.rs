//! A policy with a known error rate: chains of arithmetic in which each step goes wrong with a probability.
//!
//! A chain comes from a worked solution with `<<expression=value>>` marks. A number of an expression that equals an earlier value refers
//! to it, so that later steps compute with what the earlier ones gave, right or wrong. The policy answers every prompt of rStar and the
//! code steps of rStar-Math, and so lets the whole machinery run without a model.

use std::collections::HashMap;

use parsimon_core::SplitMix64;

use super::{Policy, Reply, Request, Sample, Usage};
use crate::error::PolicyError;

/// How a step goes wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Noise {
    /// Plus or minus 1 to 9: wrong answers scatter.
    Scatter,
    /// Plus 1: wrong answers agree.
    Systematic,
}

#[derive(Clone, PartialEq, Debug)]
enum Token {
    Number(f64),
    Earlier(usize),
    Symbol(u8),
}

/// A chain of steps with a known result.
#[derive(Clone, PartialEq, Debug)]
pub struct Chain {
    steps: Vec<Vec<Token>>,
    /// The right value of each step.
    pub values: Vec<f64>,
}

impl Chain {
    /// Reads the marks of a worked solution; `None` where there are none, one does not compute, or the last is not the gold answer.
    pub fn read(solution: &str) -> Option<Chain> {
        let mut chain = Chain { steps: Vec::new(), values: Vec::new() };
        let (worked, gold) = solution.rsplit_once("####")?;
        let gold: f64 = gold.trim().replace(',', "").parse().ok()?;
        for line in worked.lines().filter(|line| !line.trim().is_empty()) {
            // One step a line, with one mark.
            let (_, mark) = line.split_once("<<").filter(|(_, rest)| !rest.contains("<<"))?;
            let (expression, value) = mark.split(">>").next()?.split_once('=')?;
            let value: f64 = value.trim().parse().ok()?;
            let step = tokens(expression, &chain.values)?;
            if !close(evaluate(&step, &chain.values)?, value) {
                return None;
            }
            chain.steps.push(step);
            chain.values.push(value);
        }
        (chain.values.last().is_some_and(|last| close(*last, gold))).then_some(chain)
    }

    /// The number of steps.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// A chain has a step.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// One noisy pass over the steps after `done`; returns the values of all steps.
    fn sample(&self, done: &[f64], noise: Noise, p: f64, rng: &mut SplitMix64) -> Vec<f64> {
        let mut values = done.to_vec();
        while values.len() < self.steps.len() {
            let right = evaluate(&self.steps[values.len()], &values).unwrap_or(0.0);
            let error = if rng.next_f64() >= p {
                0.0
            } else if noise == Noise::Systematic {
                1.0
            } else {
                let size = 1.0 + rng.below(9) as f64;
                if rng.below(2) == 0 { size } else { -size }
            };
            values.push(right + error);
        }
        values
    }

    fn text(&self, step: usize, values: &[f64]) -> String {
        let shown: String = self.steps[step]
            .iter()
            .map(|token| match token {
                Token::Number(value) => show(*value),
                Token::Earlier(at) => show(values[*at]),
                Token::Symbol(symbol) => format!(" {} ", char::from(*symbol)),
            })
            .collect();
        format!("{} = {}.", shown.trim(), show(values[step]))
    }

    fn code(&self, step: usize, values: &[f64], right: f64) -> String {
        let shown: String = self.steps[step]
            .iter()
            .map(|token| match token {
                Token::Number(value) => show(*value),
                Token::Earlier(at) => format!("x{at}"),
                Token::Symbol(symbol) => char::from(*symbol).to_string(),
            })
            .collect();
        let error = values[step] - right;
        if error.abs() < 1e-9 {
            format!("x{step} = {shown}\n")
        } else {
            format!("x{step} = ({shown}) + {}\n", show(error))
        }
    }
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-6 * b.abs().max(1.0)
}

fn show(value: f64) -> String {
    let rounded = (value * 1e6).round() / 1e6;
    format!("{rounded}")
}

fn tokens(expression: &str, earlier: &[f64]) -> Option<Vec<Token>> {
    let bytes = expression.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b' ' => at += 1,
            b'+' | b'-' | b'*' | b'/' | b'(' | b')' => {
                found.push(Token::Symbol(bytes[at]));
                at += 1;
            }
            b'0'..=b'9' | b'.' => {
                let len = bytes[at..].iter().take_while(|byte| byte.is_ascii_digit() || **byte == b'.').count();
                let value: f64 = expression[at..at + len].parse().ok()?;
                found.push(
                    earlier.iter().rposition(|known| *known == value).map_or(Token::Number(value), Token::Earlier),
                );
                at += len;
            }
            _ => return None,
        }
    }
    (!found.is_empty()).then_some(found)
}

/// The value of an expression; `None` where it is not one, divides by zero or is nested more than 64 deep.
fn evaluate(tokens: &[Token], values: &[f64]) -> Option<f64> {
    struct Reader<'a> {
        tokens: &'a [Token],
        values: &'a [f64],
        at: usize,
        depth: usize,
    }
    impl Reader<'_> {
        fn take(&mut self, symbols: &[u8]) -> Option<u8> {
            match self.tokens.get(self.at) {
                Some(Token::Symbol(symbol)) if symbols.contains(symbol) => {
                    self.at += 1;
                    Some(*symbol)
                }
                _ => None,
            }
        }
        fn sum(&mut self) -> Option<f64> {
            let mut total = self.product()?;
            while let Some(sign) = self.take(b"+-") {
                let next = self.product()?;
                total += if sign == b'+' { next } else { -next };
            }
            Some(total)
        }
        fn product(&mut self) -> Option<f64> {
            let mut total = self.unit()?;
            while let Some(sign) = self.take(b"*/") {
                let next = self.unit()?;
                if sign == b'/' && next == 0.0 {
                    return None;
                }
                total = if sign == b'*' { total * next } else { total / next };
            }
            Some(total)
        }
        fn unit(&mut self) -> Option<f64> {
            if self.take(b"-").is_some() {
                return Some(-self.unit()?);
            }
            if self.take(b"(").is_some() {
                self.depth += 1;
                let inside = if self.depth > 64 { None } else { self.sum() }?;
                self.depth -= 1;
                return self.take(b")").map(|_| inside);
            }
            let value = match self.tokens.get(self.at)? {
                Token::Number(value) => *value,
                Token::Earlier(at) => *self.values.get(*at)?,
                Token::Symbol(_) => return None,
            };
            self.at += 1;
            Some(value)
        }
    }
    let mut reader = Reader { tokens, values, at: 0, depth: 0 };
    let value = reader.sum()?;
    (reader.at == tokens.len()).then_some(value)
}

/// The noisy policy over a set of chains.
#[derive(Clone, Debug)]
pub struct NoisyChains {
    chains: HashMap<String, Chain>,
    noise: Noise,
    p: f64,
    id: String,
}

impl NoisyChains {
    /// A policy over chains by problem id, whose steps go wrong with probability `p`.
    pub fn new(chains: HashMap<String, Chain>, noise: Noise, p: f64) -> Self {
        NoisyChains { chains, noise, p, id: format!("sim:{noise:?},p={p}").to_lowercase() }
    }

    fn complete(&self, chain: &Chain, prompt: &str, rng: &mut SplitMix64) -> Sample {
        if prompt.starts_with("<|user|>") {
            return self.code(chain, prompt, rng);
        }
        let prompt_end = prompt.trim_end();
        let tail = prompt
            .rsplit_once("### Response:")
            .or_else(|| prompt.rsplit_once("\n\nQuestion"))
            .map_or(prompt, |(_, tail)| tail);
        let done = values_of(tail, chain.len());
        if prompt_end.ends_with("Condition 1:") {
            return Sample::stopped(" the numbers are as given.", "\n");
        }
        let values = chain.sample(&done, self.noise, self.p, rng);
        let next = done.len().min(chain.len() - 1);
        let last = next + 1 == chain.len();
        let line = prompt_end.rsplit('\n').next().unwrap_or("");
        let answer = show(values[chain.len() - 1]);
        if line.starts_with("Question") && line.ends_with(':') {
            let text = if last {
                " Now we can answer the question: what is the result?".to_owned()
            } else {
                format!(" What is value {}?", next + 1)
            };
            return Sample::stopped(text, "\n");
        }
        if line.starts_with("Answer") && line.ends_with(':') {
            return Sample::stopped(
                format!(" {} The answer is {}.", chain.text(next, &values), show(values[next])),
                "\n",
            );
        }
        if line.starts_with("Step") && line.ends_with(':') {
            let end = if last { format!(" The answer is {answer}.") } else { String::new() };
            return Sample::stopped(format!(" {}{end}", chain.text(next, &values)), "\n");
        }
        let steps: Vec<String> = (done.len()..chain.len()).map(|step| chain.text(step, &values)).collect();
        Sample::stopped(format!(" {} The answer is: {answer}.", steps.join(" ")), "\n\n")
    }

    /// The next code step, the printing step, or the answer.
    fn code(&self, chain: &Chain, prompt: &str, rng: &mut SplitMix64) -> Sample {
        let tail = prompt.split_once("with code.").map_or("", |(_, tail)| tail);
        if let Some((_, output)) = tail.rsplit_once("<output>") {
            let output = output.split("<end_of_output>").next().unwrap_or("").trim();
            return Sample::stopped(format!("\n<answer>The answer is \\boxed{{{output}}}."), "<end_of_answer>");
        }
        let done = tail.lines().filter(|line| line.trim_start().starts_with('x') && line.contains(" = ")).count();
        if done >= chain.len() {
            return Sample::stopped(
                format!("\n# Now print the final answer\nprint(x{})\n", chain.len() - 1),
                "<end_of_code>",
            );
        }
        // A step errs by a term of its own, so that the code computes with what earlier steps gave.
        let mut values = chain.values.clone();
        let right = values[done];
        values[done] = chain.sample(&chain.values[..done], self.noise, self.p, rng)[done];
        let opening = if done == 0 { "<code>\n" } else { "" };
        Sample::stopped(format!("{opening}# step {}\n{}", done + 1, chain.code(done, &values, right)), "<end_of_step>")
    }
}

/// The values of the steps that a text contains: the numbers after its equal signs, at most `most`.
fn values_of(text: &str, most: usize) -> Vec<f64> {
    let mut values = Vec::new();
    for part in text.split(" = ").skip(1) {
        let end = part.find(|c: char| !c.is_ascii_digit() && c != '.' && c != '-').unwrap_or(part.len());
        if let Ok(value) = part[..end].trim_end_matches('.').parse::<f64>() {
            values.push(value);
        }
    }
    values.truncate(most);
    values
}

impl Policy for NoisyChains {
    fn id(&self) -> &str {
        &self.id
    }

    fn propose(&self, batch: &[Request<'_>]) -> Result<Reply, PolicyError> {
        let mut reply = Reply::default();
        for request in batch {
            let chain = self
                .chains
                .get(request.problem)
                .ok_or_else(|| PolicyError::NoCandidate { what: format!("problem {}", request.problem) })?;
            let mut samples = Vec::with_capacity(request.n);
            for index in 0..request.n {
                // Not a multiple of the generator's own increment: that would shift one stream along another.
                let mut rng = SplitMix64::new(
                    SplitMix64::new(request.seed).next_u64() ^ (index as u64).wrapping_mul(0xD134_2543_DE82_EF95),
                );
                samples.push(self.complete(chain, &request.prompt, &mut rng));
            }
            // A token is about four bytes; the count only gives budgets something to hold on to.
            let bytes: usize = samples.iter().map(|sample| sample.text.len()).sum();
            reply.usage +=
                Usage { prompt: request.prompt.len() as u64 / 4, completion: bytes as u64 / 4, ..Usage::default() };
            reply.samples.push(samples);
        }
        Ok(reply)
    }
}
