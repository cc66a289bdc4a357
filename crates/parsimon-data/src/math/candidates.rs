//! RedStone's test for text with mathematics in it, before any model sees it.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use aho_corasick::AhoCorasick;
use regex::Regex;

static COMMAND: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\\[A-Z]{0,9}[a-z]{2,9}").expect("a constant"));
static OPERATORS: LazyLock<AhoCorasick> = LazyLock::new(|| {
    let operators = [
        "+", "-", "*", "/", "%", "=", "!=", "<", ">", "^", "_", "(", ")", "[", "]", "{", "}", "||", "&&", "sqrt",
        "sum", "int", "$", "<math>", "[math]",
    ];
    AhoCorasick::new(operators).expect("constants")
});

/// Commands that mathematics is written with.
const COMMANDS: &str = "displaystyle alpha beta gamma delta zeta eta iota kappa mu nu xi rho tau phi chi psi omicron epsilon pi lambda \
    omega sigma theta vartheta times cdot dot div frac log exp poly eq neq leq geq approx infty int sum lim begin subset supset top star \
    sim simeq ne ll gg pm mp triangleleft triangleright ast circ bullet oplus odot otimes ominus oslash bigcirc wr dagger \
    bigtriangleup bigtriangledown setminus sqcup wedge dotplus centerdot ltimes rtimes prod coprod iint iiint iiiint idotsint bigoplus \
    big oint rightarrow to leftarrow gets uparrow downarrow forall exists pmod cup cap hat acute check grave vec ddot tilde breve \
    mathring land lor lnot in smile frown mid sin cos tan equiv dfrac prec preccurlyeq sqrt";

static COMMAND_SET: LazyLock<BTreeSet<&str>> = LazyLock::new(|| COMMANDS.split_whitespace().collect());

/// What the test finds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MathCandidate {
    /// Different runs that look like a command; at least one must be there.
    pub commands: usize,
    /// The known commands, with their backslash, sorted.
    pub known: Vec<String>,
    /// Whether any operator occurs.
    pub has_operator: bool,
}

impl MathCandidate {
    /// Whether a model is asked: a command that is known, and with one alone an operator beside it. `PAPER(redstone §3.7)`
    pub fn is_candidate(&self) -> bool {
        self.commands > 0 && !self.known.is_empty() && (self.known.len() > 1 || self.has_operator)
    }

    /// Whether the text is taken without asking a model.
    pub fn is_certain(&self) -> bool {
        self.is_candidate() && self.known.len() >= 5
    }
}

/// Looks for mathematics in a text.
pub fn math_candidate(text: &str) -> MathCandidate {
    let commands: BTreeSet<&str> = COMMAND.find_iter(text).map(|found| found.as_str()).collect();
    let lower = text.to_lowercase();
    let mut known = BTreeSet::new();
    for at in memchr::memchr_iter(b'\\', lower.as_bytes()) {
        let rest = &lower[at + 1..];
        // What ends with the text is not followed by a non-letter.
        if let Some(end) = rest.find(|c: char| !c.is_ascii_lowercase())
            && COMMAND_SET.contains(&rest[..end])
        {
            known.insert(format!("\\{}", &rest[..end]));
        }
    }
    MathCandidate {
        commands: commands.len(),
        known: known.into_iter().collect(),
        has_operator: OPERATORS.is_match(text),
    }
}
