//! The parser: precedence climbing over the tokens, with a bound on depth.

use super::expr::{Answer, Expr, Function, Interval, Relation};
use super::lex::{NotMath, Token, lex};

/// Deepest nesting that is read.
const DEPTH_MAX: usize = 128;

/// Reads a normalized text as an answer.
pub(super) fn parse(text: &str) -> Result<Answer, NotMath> {
    let tokens = lex(text)?;
    if tokens.is_empty() {
        return Err(NotMath("nothing"));
    }
    let mut parser = Parser { tokens, at: 0, depth: 0, bars: 0 };
    let mut items = parser.list()?;
    if parser.at < parser.tokens.len() {
        return Err(NotMath("something after the answer"));
    }
    Ok(if items.len() == 1 { items.remove(0) } else { Answer::Set { items, braces: false } })
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
    /// Open absolute values: there a bar closes.
    bars: usize,
}

fn scalar(answer: Answer) -> Result<Expr, NotMath> {
    match answer {
        Answer::Scalar(expr) => Ok(expr),
        _ => Err(NotMath("a structure where a number belongs")),
    }
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn is(&self, symbol: char) -> bool {
        self.peek() == Some(&Token::Symbol(symbol))
    }

    fn command(&self) -> Option<&str> {
        match self.peek() {
            Some(Token::Command(name)) => Some(name),
            _ => None,
        }
    }

    fn take(&mut self, symbol: char) -> bool {
        let found = self.is(symbol);
        self.at += usize::from(found);
        found
    }

    fn take_command(&mut self, names: &[&str]) -> bool {
        let found = self.command().is_some_and(|name| names.contains(&name));
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, symbol: char) -> Result<(), NotMath> {
        if self.take(symbol) { Ok(()) } else { Err(NotMath("a bracket that is not closed")) }
    }

    fn list(&mut self) -> Result<Vec<Answer>, NotMath> {
        let mut items = vec![self.chain()?];
        while self.take(',') {
            items.push(self.chain()?);
        }
        Ok(items)
    }

    fn chain(&mut self) -> Result<Answer, NotMath> {
        let first = self.union()?;
        let mut items = vec![first];
        let mut ops = Vec::new();
        while let Some(Token::Relation(op)) = self.peek() {
            ops.push(*op);
            self.at += 1;
            items.push(self.union()?);
        }
        Ok(if ops.is_empty() { items.remove(0) } else { Answer::Chain { items, ops } })
    }

    fn union(&mut self) -> Result<Answer, NotMath> {
        let first = self.sum()?;
        let mut parts = vec![first];
        while self.take_command(&["cup"]) {
            parts.push(self.sum()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Answer::Union(parts) })
    }

    fn sum(&mut self) -> Result<Answer, NotMath> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(NotMath("nested too deeply"));
        }
        let answer = self.sum_inside();
        self.depth -= 1;
        answer
    }

    fn sum_inside(&mut self) -> Result<Answer, NotMath> {
        let mut total = if self.take('-') {
            Answer::Scalar(scalar(self.term()?)?.neg())
        } else if self.take_command(&["pm", "mp"]) {
            Answer::Scalar(Expr::PlusMinus(Box::new(Expr::int(0)), Box::new(scalar(self.term()?)?)))
        } else {
            self.take('+');
            self.term()?
        };
        let mut terms = 0;
        loop {
            let plus_minus = self.command().is_some_and(|name| matches!(name, "pm" | "mp"));
            let (plus, minus) = (self.is('+'), self.is('-'));
            if !plus && !minus && !plus_minus {
                return Ok(total);
            }
            // A long sum is a deep tree; what walks it recursively must stay within the stack.
            terms += 1;
            if terms > 512 {
                return Err(NotMath("too many terms"));
            }
            self.at += 1;
            let left = scalar(total)?;
            let right = scalar(self.term()?)?;
            total = Answer::Scalar(match (plus_minus, minus) {
                (true, _) => Expr::PlusMinus(Box::new(left), Box::new(right)),
                (false, true) => left.sub(right),
                (false, false) => left.add(right),
            });
        }
    }

    fn term(&mut self) -> Result<Answer, NotMath> {
        let mut product = self.factor()?;
        let mut factors = 0;
        loop {
            let times = self.is('*') || self.command().is_some_and(|name| matches!(name, "cdot" | "times" | "ast"));
            let over = self.is('/') || self.command() == Some("div");
            if !times && !over && !self.starts_factor() {
                return Ok(product);
            }
            let numbers = |at: usize| matches!(self.tokens.get(at), Some(Token::Number(_)));
            if !times && !over && numbers(self.at) && numbers(self.at - 1) {
                return Err(NotMath("two numbers side by side"));
            }
            factors += 1;
            if factors > 512 {
                return Err(NotMath("too many factors"));
            }
            let mixed = !times && !over && self.is_mixed_fraction(&product);
            self.at += usize::from(times || over);
            let negative = (times || over) && self.take('-');
            let left = scalar(product)?;
            let mut right = scalar(self.factor()?)?;
            if negative {
                right = right.neg();
            }
            product = Answer::Scalar(if over {
                left.div(right)
            } else if mixed {
                left.add(right)
            } else {
                left.mul(right)
            });
        }
    }

    /// `3\frac{1}{2}`: an integer directly before a fraction of two integers, the upper one below the lower one.
    fn is_mixed_fraction(&self, before: &Answer) -> bool {
        let Answer::Scalar(Expr::Num { exp10: 0, .. }) = before else { return false };
        let number = |token: Option<&Token>| match token {
            Some(Token::Number(text)) => text.parse::<u64>().ok(),
            _ => None,
        };
        let window: Vec<Option<&Token>> = (0..7).map(|i| self.tokens.get(self.at + i)).collect();
        let braces = [(1, '{'), (3, '}'), (4, '{'), (6, '}')];
        window[0] == Some(&Token::Command("frac".into()))
            && braces.iter().all(|(i, c)| window[*i] == Some(&Token::Symbol(*c)))
            && number(window[2]).zip(number(window[5])).is_some_and(|(up, down)| up < down)
    }

    fn starts_factor(&self) -> bool {
        match self.peek() {
            Some(Token::Number(_) | Token::Letter(_)) => true,
            Some(Token::Symbol(c)) => matches!(c, '(' | '[' | '{') || (*c == '|' && self.bars == 0),
            Some(Token::Command(name)) => !matches!(
                name.as_str(),
                "cup" | "pm" | "mp" | "cdot" | "times" | "ast" | "div" | "}" | "cr" | "end" | "rfloor" | "rceil"
            ),
            _ => false,
        }
    }

    fn factor(&mut self) -> Result<Answer, NotMath> {
        let mut base = self.primary()?;
        loop {
            if self.take('^') {
                let exponent = self.exponent()?;
                base = Answer::Scalar(scalar(base)?.pow(exponent));
            } else if self.is('!') {
                self.at += 1;
                base = Answer::Scalar(Expr::Factorial(Box::new(scalar(base)?)));
            } else {
                return Ok(base);
            }
        }
    }

    fn exponent(&mut self) -> Result<Expr, NotMath> {
        if self.take('-') {
            return Ok(self.exponent()?.neg());
        }
        if let Some(Token::Number(_)) = self.peek() {
            return scalar(self.primary()?);
        }
        self.argument()
    }

    /// The argument of a command: a group in braces, or one digit or symbol.
    fn argument(&mut self) -> Result<Expr, NotMath> {
        if self.take('{') {
            let inside = scalar(self.sum()?)?;
            self.expect('}')?;
            return Ok(inside);
        }
        if let Some(Token::Number(text)) = self.tokens.get_mut(self.at)
            && text.len() > 1
            && text.bytes().all(|byte| byte.is_ascii_digit())
        {
            let first = text.remove(0);
            return Ok(Expr::Num { digits: first.to_string(), exp10: 0 });
        }
        scalar(self.primary()?)
    }

    fn primary(&mut self) -> Result<Answer, NotMath> {
        let token = self.peek().cloned().ok_or(NotMath("an operand is missing"))?;
        match token {
            Token::Number(text) => {
                self.at += 1;
                self.number(&text).map(Answer::Scalar)
            }
            Token::Letter(letter) => {
                self.at += 1;
                Ok(Answer::Scalar(self.variable(letter.to_string())?))
            }
            Token::Symbol('{') => {
                self.at += 1;
                let mut items = self.list()?;
                self.expect('}')?;
                Ok(if items.len() == 1 { items.remove(0) } else { Answer::Set { items, braces: true } })
            }
            Token::Symbol(open @ ('(' | '[')) => self.bracketed(open),
            Token::Symbol('|') => {
                self.at += 1;
                self.bars += 1;
                let inside = self.sum();
                self.bars -= 1;
                self.expect('|')?;
                Ok(Answer::Scalar(Expr::Abs(Box::new(scalar(inside?)?))))
            }
            Token::Command(name) => {
                self.at += 1;
                self.named(&name)
            }
            _ => Err(NotMath("an operand is missing")),
        }
    }

    fn variable(&mut self, letter: String) -> Result<Expr, NotMath> {
        let mut name = letter;
        if self.take('_') {
            name.push('_');
            if self.take('{') {
                while !self.is('}') {
                    match self.peek().ok_or(NotMath("a subscript that is not closed"))? {
                        Token::Number(text) | Token::Command(text) => name.push_str(text),
                        Token::Letter(c) | Token::Symbol(c) => name.push(*c),
                        Token::Relation(_) => return Err(NotMath("a relation in a subscript")),
                    }
                    self.at += 1;
                }
                self.at += 1;
            } else {
                match self.peek().ok_or(NotMath("a subscript is missing"))? {
                    Token::Number(text) => name.push_str(text),
                    Token::Letter(c) => name.push(*c),
                    _ => return Err(NotMath("a subscript is missing")),
                }
                self.at += 1;
            }
        }
        while self.take('\'') {
            name.push('\'');
        }
        Ok(match name.as_str() {
            "e" => Expr::E,
            "i" => Expr::I,
            _ => Expr::Var(name),
        })
    }

    fn number(&mut self, text: &str) -> Result<Expr, NotMath> {
        let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
        let exponent: i64 = exponent.parse().map_err(|_| NotMath("an exponent of too many digits"))?;
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        if self.command() == Some("overline") && mantissa.contains('.') {
            self.at += 1;
            return self.repeating(whole, fraction);
        }
        if self.is('_') && fraction.is_empty() && exponent == 0 {
            self.at += 1;
            let base = self.argument()?;
            return in_base(whole, &base);
        }
        let digits = format!("{whole}{fraction}");
        Ok(Expr::Num { digits, exp10: exponent.saturating_sub(fraction.len() as i64).clamp(-1_000_000, 1_000_000) })
    }

    /// `0.1\overline{6}` as the fraction that it is.
    fn repeating(&mut self, whole: &str, fraction: &str) -> Result<Expr, NotMath> {
        self.expect('{')?;
        let Some(Token::Number(period)) = self.peek().cloned() else {
            return Err(NotMath("a period of digits is missing"));
        };
        self.at += 1;
        self.expect('}')?;
        if !period.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(NotMath("a period of digits is missing"));
        }
        let all = Expr::Num { digits: format!("{whole}{fraction}{period}"), exp10: 0 };
        let head = Expr::Num { digits: format!("0{whole}{fraction}"), exp10: 0 };
        let below = Expr::Num { digits: "9".repeat(period.len()), exp10: fraction.len() as i64 };
        Ok(all.sub(head).div(below))
    }

    fn bracketed(&mut self, open: char) -> Result<Answer, NotMath> {
        self.at += 1;
        let bars = std::mem::take(&mut self.bars);
        let mut items = self.list()?;
        self.bars = bars;
        let close = if self.take(')') {
            ')'
        } else if self.take(']') {
            ']'
        } else {
            return Err(NotMath("a bracket that is not closed"));
        };
        match (open, close, items.len()) {
            ('(', ')', 1) | ('[', ']', 1) => Ok(items.remove(0)),
            ('(', ')', _) => Ok(Answer::Tuple(items)),
            (_, _, 2) => {
                let hi = scalar(items.remove(1))?;
                let lo = scalar(items.remove(0))?;
                Ok(Answer::Interval(Interval { lo, hi, lo_closed: open == '[', hi_closed: close == ']' }))
            }
            ('[', ']', _) => Ok(Answer::Tuple(items)),
            _ => Err(NotMath("brackets that do not match")),
        }
    }

    fn named(&mut self, name: &str) -> Result<Answer, NotMath> {
        let expr = match name {
            "frac" => {
                let (up, down) = (self.argument()?, self.argument()?);
                up.div(down)
            }
            "sqrt" => {
                let mut degree = 2;
                if self.take('[') {
                    let Some(Token::Number(text)) = self.peek() else {
                        return Err(NotMath("the degree of a root is not a number"));
                    };
                    degree =
                        text.parse().ok().filter(|n| *n >= 2).ok_or(NotMath("the degree of a root is not a number"))?;
                    self.at += 1;
                    self.expect(']')?;
                }
                Expr::Root(degree, Box::new(self.argument()?))
            }
            "binom" => Expr::Binomial(Box::new(self.argument()?), Box::new(self.argument()?)),
            "pi" => Expr::Pi,
            "infty" => Expr::Infinity,
            "{" => return self.set(),
            "emptyset" | "varnothing" => return Ok(Answer::Set { items: Vec::new(), braces: true }),
            "begin" => return self.matrix(),
            "lfloor" | "lceil" => {
                let inside = scalar(self.sum()?)?;
                if !self.take_command(&["rfloor", "rceil"]) {
                    return Err(NotMath("a bracket that is not closed"));
                }
                Expr::Call(if name == "lfloor" { Function::Floor } else { Function::Ceil }, Box::new(inside))
            }
            "mathbb" | "mathcal" => return Ok(Answer::Scalar(self.argument()?)),
            _ => match Function::named(name) {
                Some(function) => self.call(function)?,
                None if is_symbol(name) => self.variable(format!("\\{name}"))?,
                None => return Err(NotMath("an unknown command")),
            },
        };
        Ok(Answer::Scalar(expr))
    }

    fn set(&mut self) -> Result<Answer, NotMath> {
        if self.take_command(&["}"]) {
            return Ok(Answer::Set { items: Vec::new(), braces: true });
        }
        let items = self.list()?;
        if self.take_command(&["}"]) {
            Ok(Answer::Set { items, braces: true })
        } else {
            Err(NotMath("a set that is not closed"))
        }
    }

    fn call(&mut self, function: Function) -> Result<Expr, NotMath> {
        let mut function = function;
        let mut base = None;
        let mut power = None;
        if self.take('_') {
            base = Some(self.argument()?);
        }
        if self.take('^') {
            let exponent = self.exponent()?;
            match function.inverse().filter(|_| exponent == Expr::int(1).neg()) {
                Some(inverse) => function = inverse,
                None => power = Some(exponent),
            }
        }
        let argument = if self.is('(') || self.is('{') {
            scalar(self.primary()?)?
        } else {
            // Without brackets the argument is the product up to the next sign or function.
            let mut product = scalar(self.factor()?)?;
            while self.starts_factor() && self.command().is_none_or(|name| Function::named(name).is_none()) {
                product = product.mul(scalar(self.factor()?)?);
            }
            product
        };
        let value = match (function, base) {
            (Function::Log10, Some(base)) => Expr::Log(Box::new(base), Box::new(argument)),
            (_, Some(_)) => return Err(NotMath("a subscript of a function")),
            (function, None) => Expr::Call(function, Box::new(argument)),
        };
        Ok(match power {
            Some(power) => value.pow(power),
            None => value,
        })
    }

    fn matrix(&mut self) -> Result<Answer, NotMath> {
        let environment = self.environment()?;
        if !environment.ends_with("matrix") && environment != "array" {
            return Err(NotMath("an environment that is no matrix"));
        }
        if environment == "array" && self.take('{') {
            while !self.take('}') {
                self.at += 1;
                if self.at > self.tokens.len() {
                    return Err(NotMath("a bracket that is not closed"));
                }
            }
        }
        let mut rows = vec![Vec::new()];
        loop {
            if self.take_command(&["end"]) {
                break;
            }
            if self.take_command(&["cr"]) {
                rows.push(Vec::new());
                continue;
            }
            if self.take('&') {
                continue;
            }
            let cell = scalar(self.sum()?)?;
            rows.last_mut().expect("it starts with one row").push(cell);
        }
        if self.environment()? != environment {
            return Err(NotMath("environments that do not match"));
        }
        rows.retain(|row| !row.is_empty());
        if rows.is_empty() || rows.iter().any(|row| row.len() != rows[0].len()) {
            return Err(NotMath("rows of different lengths"));
        }
        Ok(Answer::Matrix(rows))
    }

    /// `{name}`, whose letters the lexer split.
    fn environment(&mut self) -> Result<String, NotMath> {
        self.expect('{')?;
        match self.peek().cloned() {
            Some(Token::Command(name)) => {
                self.at += 1;
                self.expect('}')?;
                Ok(name)
            }
            _ => Err(NotMath("the name of an environment is missing")),
        }
    }
}

/// Greek letters and other names that are variables.
fn is_symbol(name: &str) -> bool {
    const NAMES: &[&str] = &[
        "alpha", "beta", "gamma", "delta", "epsilon", "theta", "lambda", "mu", "nu", "phi", "varphi", "psi", "rho",
        "sigma", "tau", "omega", "Delta", "Gamma", "Omega", "Phi", "Theta", "ell", "xi", "eta", "zeta", "kappa",
        "Sigma", "Lambda",
    ];
    NAMES.contains(&name)
}

/// `digits` read in a constant base from 2 to 36.
fn in_base(digits: &str, base: &Expr) -> Result<Expr, NotMath> {
    let Expr::Num { digits: base, exp10: 0 } = base else { return Err(NotMath("a base that is not a number")) };
    let base: u32 =
        base.parse().ok().filter(|base| (2..=36).contains(base)).ok_or(NotMath("a base that is not a number"))?;
    let value = digits
        .chars()
        .try_fold(0u128, |sum, c| sum.checked_mul(u128::from(base))?.checked_add(u128::from(c.to_digit(base)?)));
    let value = value.ok_or(NotMath("digits that the base does not have"))?;
    Ok(Expr::Num { digits: value.to_string(), exp10: 0 })
}

/// Whether a relation orders its sides.
pub(super) fn is_order(op: Relation) -> bool {
    matches!(op, Relation::Lt | Relation::Le | Relation::Gt | Relation::Ge)
}
