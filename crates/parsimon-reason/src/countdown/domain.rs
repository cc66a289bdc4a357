//! The rules, the generator and the exact counts.

use std::fmt;

use parsimon_core::SplitMix64;
use serde::{Deserialize, Serialize};

use crate::error::LoadError;

/// A problem: four numbers and a target.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Game {
    /// The numbers as they were drawn.
    pub numbers: [u32; 4],
    /// What the last number must be.
    pub target: u32,
}

/// An operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Op {
    /// Sum.
    Add,
    /// Difference, never negative because the larger number comes first.
    Sub,
    /// Product.
    Mul,
    /// Quotient, where it is whole.
    Div,
}

impl Op {
    /// All, in the order of the legal steps.
    pub const ALL: [Op; 4] = [Op::Add, Op::Sub, Op::Mul, Op::Div];

    /// As it is written.
    pub fn symbol(self) -> char {
        match self {
            Op::Add => '+',
            Op::Sub => '-',
            Op::Mul => '*',
            Op::Div => '/',
        }
    }
}

/// The numbers that are left, descending.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct State {
    numbers: [u32; 4],
    len: u8,
    /// What the last number must be.
    pub target: u32,
}

/// Two numbers combined.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step {
    /// The larger number.
    pub a: u32,
    /// The other.
    pub b: u32,
    /// How.
    pub op: Op,
    /// What is left.
    pub next: State,
}

impl State {
    /// The state of given numbers, 1 to 4 of them.
    ///
    /// # Panics
    ///
    /// When there are none or more than four.
    pub fn new(numbers: &[u32], target: u32) -> State {
        assert!((1..=4).contains(&numbers.len()), "one to four numbers");
        let mut state = State { numbers: [0; 4], len: numbers.len() as u8, target };
        state.numbers[..numbers.len()].copy_from_slice(numbers);
        state.numbers[..numbers.len()].sort_unstable_by(|a, b| b.cmp(a));
        state
    }

    /// The numbers, descending.
    pub fn numbers(&self) -> &[u32] {
        &self.numbers[..usize::from(self.len)]
    }

    /// Whether one number is left.
    pub fn is_end(&self) -> bool {
        self.len == 1
    }

    /// Whether the one number left is the target.
    pub fn is_solved(&self) -> bool {
        self.is_end() && self.numbers[0] == self.target
    }

    /// All legal steps in their fixed order: pairs by position, then sum, difference, product and, where it is whole, the quotient.
    pub fn steps(&self) -> Vec<Step> {
        let numbers = self.numbers();
        let mut steps = Vec::with_capacity(24);
        for i in 0..numbers.len() {
            for j in i + 1..numbers.len() {
                let (a, b) = (numbers[i], numbers[j]);
                for op in Op::ALL {
                    let value = match op {
                        Op::Add => a.checked_add(b),
                        Op::Sub => Some(a - b),
                        Op::Mul => a.checked_mul(b),
                        Op::Div => (b != 0 && a % b == 0).then(|| a / b),
                    };
                    if let Some(value) = value {
                        steps.push(Step { a, b, op, next: self.without(i, j, value) });
                    }
                }
            }
        }
        steps
    }

    fn without(&self, i: usize, j: usize, value: u32) -> State {
        let mut next = State { numbers: [0; 4], len: self.len - 1, target: self.target };
        let mut at = 0;
        let mut placed = false;
        for (index, number) in self.numbers().iter().enumerate() {
            if index == i || index == j {
                continue;
            }
            if !placed && value >= *number {
                next.numbers[at] = value;
                at += 1;
                placed = true;
            }
            next.numbers[at] = *number;
            at += 1;
        }
        if !placed {
            next.numbers[at] = value;
        }
        next
    }
}

impl Step {
    /// The number that the step makes.
    pub fn value(&self) -> u32 {
        match self.op {
            Op::Add => self.a + self.b,
            Op::Sub => self.a - self.b,
            Op::Mul => self.a * self.b,
            Op::Div => self.a / self.b,
        }
    }
}

impl fmt::Display for Step {
    /// `50 - 7 = 43 ( 43 24 3 )`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} = {} (", self.a, self.op.symbol(), self.b, self.value())?;
        for number in self.next.numbers() {
            write!(f, " {number}")?;
        }
        f.write_str(" )")
    }
}

impl Game {
    /// Where it starts.
    pub fn start(&self) -> State {
        State::new(&self.numbers, self.target)
    }

    /// The prompt: `24 7 3 50 > 37` and a line end.
    pub fn prompt(&self) -> String {
        let [a, b, c, d] = self.numbers;
        format!("{a} {b} {c} {d} > {}\n", self.target)
    }
}

/// The first `n` solvable games of a seed: numbers 1 to 99, target 10 to 100.
pub fn generate(seed: u64, n: usize) -> Vec<Game> {
    let mut rng = SplitMix64::new(seed);
    let mut games = Vec::with_capacity(n);
    while games.len() < n {
        let numbers = std::array::from_fn(|_| 1 + (rng.next_u64() % 99) as u32);
        let target = 10 + (rng.next_u64() % 91) as u32;
        let game = Game { numbers, target };
        if is_solvable(&game.start()) {
            games.push(game);
        }
    }
    games
}

fn is_solvable(state: &State) -> bool {
    if state.is_end() {
        return state.is_solved();
    }
    state.steps().iter().any(|step| is_solvable(&step.next))
}

/// How many sequences of steps there are, and how many of them solve the game.
pub fn solving_leaves(state: &State) -> (u32, u32) {
    if state.is_end() {
        return (1, u32::from(state.is_solved()));
    }
    state.steps().iter().fold((0, 0), |(all, solving), step| {
        let (more, right) = solving_leaves(&step.next);
        (all + more, solving + right)
    })
}

/// A game of a file.
#[derive(Clone, PartialEq, Debug, Deserialize)]
pub struct GameRecord {
    /// The game.
    #[serde(flatten)]
    pub game: Game,
    /// How many sequences solve it.
    pub solving_leaves: u32,
    /// How many there are.
    pub leaves: u32,
}

/// Reads lines of `{"numbers", "target", "solving_leaves", "leaves"}`.
///
/// # Errors
///
/// [`LoadError::Json`] with the line; [`LoadError::Text`] for numbers above 999 or a target of 0; [`LoadError::Empty`].
pub fn read_games(text: &str) -> Result<Vec<GameRecord>, LoadError> {
    let mut games = Vec::new();
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let line_number = at + 1;
        let record: GameRecord = serde_json::from_str(line)
            .map_err(|error| LoadError::Json { line: line_number, what: error.to_string() })?;
        // Four numbers up to 178 keep every product below 2^32.
        if record.game.numbers.iter().any(|number| *number == 0 || *number > 178) {
            return Err(LoadError::Text { line: line_number, what: "a number outside 1 to 178".into() });
        }
        games.push(record);
    }
    if games.is_empty() { Err(LoadError::Empty) } else { Ok(games) }
}
