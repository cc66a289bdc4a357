//! Comparison of whole answers, by their structure.

use super::eval::{Budget, Stop, identical, real_value};
use super::expr::{Answer, Expr, Interval, Relation};
use super::parse::is_order;

/// Longest list that is matched as a multiset; the matching is quadratic.
const ITEMS_MAX: usize = 256;

/// What strictness allows; see [`super::Grader`].
#[derive(Clone, Copy)]
pub(super) struct Rules {
    pub(super) lenient: bool,
}

/// Whether two answers are the same.
pub(super) fn equal(a: &Answer, b: &Answer, rules: Rules, budget: &mut Budget) -> Result<bool, Stop> {
    budget.spend(1)?;
    match (a, b) {
        (Answer::Scalar(x), Answer::Scalar(y)) => Ok(identical(x, y, budget)? || rules.lenient && nearly(x, y, budget)),
        (Answer::Tuple(x), Answer::Tuple(y)) => ordered(x, y, rules, budget),
        (Answer::Set { items: x, .. }, Answer::Set { items: y, .. }) => unordered(x, y, rules, budget),
        (Answer::Union(x), Answer::Union(y)) => unordered(x, y, rules, budget),
        (Answer::Interval(x), Answer::Interval(y)) => intervals(x, y, rules, budget),
        (Answer::Matrix(x), Answer::Matrix(y)) => matrices(x, y, budget),
        (Answer::Chain { items: x, ops: p }, Answer::Chain { items: y, ops: q }) => {
            chains((x, p), (y, q), rules, budget)
        }
        (Answer::Interval(x), Answer::Tuple(y)) | (Answer::Tuple(y), Answer::Interval(x)) => {
            let kinds = rules.lenient || !x.lo_closed && !x.hi_closed;
            match y.as_slice() {
                [Answer::Scalar(lo), Answer::Scalar(hi)] if kinds => {
                    Ok(identical(&x.lo, lo, budget)? && identical(&x.hi, hi, budget)?)
                }
                _ => Ok(false),
            }
        }
        (Answer::Chain { items, ops }, other) | (other, Answer::Chain { items, ops }) => {
            if let Some((_, value)) = assignment(items, ops) {
                return equal(value, other, rules, budget);
            }
            match to_interval(items, ops, budget) {
                Some((_, interval)) => equal(&Answer::Interval(interval), other, rules, budget),
                None => Ok(false),
            }
        }
        (Answer::Set { items, .. }, other) | (other, Answer::Set { items, .. }) => match items.as_slice() {
            [single] => equal(single, other, rules, budget),
            _ => Ok(false),
        },
        _ => Ok(false),
    }
}

/// The lenient tolerance of 1e-4, relative.
fn nearly(x: &Expr, y: &Expr, budget: &mut Budget) -> bool {
    let (Some(x), Some(y)) = (real_value(x, budget), real_value(y, budget)) else { return false };
    (x - y).abs() <= 1e-4 * x.abs().max(y.abs())
}

fn ordered(x: &[Answer], y: &[Answer], rules: Rules, budget: &mut Budget) -> Result<bool, Stop> {
    if x.len() != y.len() {
        return Ok(false);
    }
    for (x, y) in x.iter().zip(y) {
        if !equal(x, y, rules, budget)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Equality as multisets. Equality is transitive in strict mode, so that a greedy matching is enough.
fn unordered(x: &[Answer], y: &[Answer], rules: Rules, budget: &mut Budget) -> Result<bool, Stop> {
    if x.len() != y.len() {
        return Ok(false);
    }
    if x.len() > ITEMS_MAX {
        return Err(Stop::Budget);
    }
    let mut free: Vec<&Answer> = y.iter().collect();
    for item in x {
        let mut partner = None;
        for (at, other) in free.iter().enumerate() {
            if equal(item, other, rules, budget)? {
                partner = Some(at);
                break;
            }
        }
        match partner {
            Some(at) => free.remove(at),
            None => return Ok(false),
        };
    }
    Ok(true)
}

fn intervals(x: &Interval, y: &Interval, rules: Rules, budget: &mut Budget) -> Result<bool, Stop> {
    let infinite = |expr: &Expr| expr.any(&|part| matches!(part, Expr::Infinity));
    // At infinity the kind of the bracket says nothing.
    let kinds = rules.lenient
        || (x.lo_closed == y.lo_closed || infinite(&x.lo)) && (x.hi_closed == y.hi_closed || infinite(&x.hi));
    Ok(kinds && identical(&x.lo, &y.lo, budget)? && identical(&x.hi, &y.hi, budget)?)
}

fn matrices(x: &[Vec<Expr>], y: &[Vec<Expr>], budget: &mut Budget) -> Result<bool, Stop> {
    if x.len() != y.len() || x.iter().zip(y).any(|(x, y)| x.len() != y.len()) {
        return Ok(false);
    }
    for (x, y) in x.iter().flatten().zip(y.iter().flatten()) {
        if !identical(x, y, budget)? {
            return Ok(false);
        }
    }
    Ok(true)
}

type ChainRef<'a> = (&'a [Answer], &'a [Relation]);

fn chains((x, p): ChainRef<'_>, (y, q): ChainRef<'_>, rules: Rules, budget: &mut Budget) -> Result<bool, Stop> {
    if let (Some((name, value)), Some((other, again))) = (assignment(x, p), assignment(y, q)) {
        return if name == other { equal(value, again, rules, budget) } else { Ok(false) };
    }
    if p == [Relation::Eq] && q == [Relation::Eq] {
        return equations(x, y, rules, budget);
    }
    if let (Some((name, one)), Some((other, two))) = (to_interval(x, p, budget), to_interval(y, q, budget)) {
        return if name == other { intervals(&one, &two, rules, budget) } else { Ok(false) };
    }
    if p == q && ordered(x, y, rules, budget)? {
        return Ok(true);
    }
    let turned: Vec<Relation> = q.iter().rev().map(|op| op.flipped()).collect();
    let reversed: Vec<Answer> = y.iter().rev().cloned().collect();
    if p == turned { ordered(x, &reversed, rules, budget) } else { Ok(false) }
}

/// Two equations are the same when the differences of their sides are proportional and not zero everywhere.
///
/// With `F = l1 - r1` and `G = l2 - r2`, that is `F(p) G(q) = F(q) G(p)` for independent points p and q, which is an identity in twice
/// as many variables.
fn equations(x: &[Answer], y: &[Answer], rules: Rules, budget: &mut Budget) -> Result<bool, Stop> {
    let ([Answer::Scalar(l1), Answer::Scalar(r1)], [Answer::Scalar(l2), Answer::Scalar(r2)]) = (x, y) else {
        return ordered(x, y, rules, budget);
    };
    let (f, g) = (l1.clone().sub(r1.clone()), l2.clone().sub(r2.clone()));
    let zero = Expr::int(0);
    if identical(&f, &zero, budget)? || identical(&g, &zero, budget)? {
        return Ok(identical(l1, l2, budget)? && identical(r1, r2, budget)?);
    }
    let mut names = Vec::new();
    f.variables(&mut names);
    if names.is_empty() {
        return Ok(identical(l1, l2, budget)? && identical(r1, r2, budget)?);
    }
    let (f_there, g_there) = (renamed(&f), renamed(&g));
    identical(&f.mul(g_there), &f_there.mul(g), budget)
}

fn renamed(expr: &Expr) -> Expr {
    let go = |part: &Expr| Box::new(renamed(part));
    match expr {
        Expr::Var(name) => Expr::Var(format!("{name}~")),
        Expr::Neg(a) => Expr::Neg(go(a)),
        Expr::Root(n, a) => Expr::Root(*n, go(a)),
        Expr::Abs(a) => Expr::Abs(go(a)),
        Expr::Factorial(a) => Expr::Factorial(go(a)),
        Expr::Call(f, a) => Expr::Call(*f, go(a)),
        Expr::Add(a, b) => Expr::Add(go(a), go(b)),
        Expr::Mul(a, b) => Expr::Mul(go(a), go(b)),
        Expr::Div(a, b) => Expr::Div(go(a), go(b)),
        Expr::Pow(a, b) => Expr::Pow(go(a), go(b)),
        Expr::Binomial(a, b) => Expr::Binomial(go(a), go(b)),
        Expr::Log(a, b) => Expr::Log(go(a), go(b)),
        Expr::PlusMinus(a, b) => Expr::PlusMinus(go(a), go(b)),
        leaf => leaf.clone(),
    }
}

/// `name = value` and what its left side is called: a variable, a function of a variable, a ratio or a length of named points, a tuple of
/// variables. A sum or a multiple on the left is an equation, not an assignment.
fn assignment<'a>(items: &'a [Answer], ops: &[Relation]) -> Option<(String, &'a Answer)> {
    if items.len() < 2 || ops.iter().any(|op| *op != Relation::Eq) {
        return None;
    }
    let value = items.last()?;
    let name = left_name(&items[0])?;
    // `y = 2x` with the same variable on both sides would be an equation.
    if let (Answer::Scalar(Expr::Var(name)), Answer::Scalar(value)) = (&items[0], value)
        && value.any(&|part| matches!(part, Expr::Var(other) if other == name))
    {
        return None;
    }
    // A line y = ax + b is compared as an equation, because the other side may be written in another form.
    if let Answer::Scalar(value) = value
        && matches!(&items[0], Answer::Scalar(Expr::Var(_)))
        && value.any(&|part| matches!(part, Expr::Var(_)))
        && items.len() == 2
        && name.len() == 1
    {
        return None;
    }
    Some((name, value))
}

fn left_name(left: &Answer) -> Option<String> {
    match left {
        Answer::Scalar(Expr::Var(name)) => Some(name.clone()),
        // f(x) is read as a product: the function's name is the first factor.
        Answer::Scalar(Expr::Mul(f, x)) => match (&**f, &**x) {
            (Expr::Var(f), Expr::Var(_)) => Some(f.clone()),
            _ => None,
        },
        Answer::Scalar(Expr::Abs(a)) if names_only(a) => Some(format!("|{a:?}|")),
        Answer::Scalar(Expr::Div(a, b)) if names_only(a) && names_only(b) => Some(format!("{a:?}/{b:?}")),
        Answer::Tuple(items) if items.iter().all(|item| matches!(item, Answer::Scalar(Expr::Var(_)))) => {
            Some(format!("{items:?}"))
        }
        _ => None,
    }
}

fn names_only(expr: &Expr) -> bool {
    match expr {
        Expr::Var(_) => true,
        Expr::Mul(a, b) => names_only(a) && names_only(b),
        _ => false,
    }
}

/// `x > 5` and `a < x <= b` as the interval of the variable.
fn to_interval(items: &[Answer], ops: &[Relation], budget: &mut Budget) -> Option<(String, Interval)> {
    if !ops.iter().all(|op| is_order(*op)) {
        return None;
    }
    let variable = |item: &Answer| match item {
        Answer::Scalar(Expr::Var(name)) => Some(name.clone()),
        _ => None,
    };
    let constant = |item: &Answer| match item {
        Answer::Scalar(expr) if !expr.any(&|part| matches!(part, Expr::Var(_))) => Some(expr.clone()),
        _ => None,
    };
    let rising = |op: Relation| matches!(op, Relation::Lt | Relation::Le);
    let closed = |op: Relation| matches!(op, Relation::Le | Relation::Ge);
    let (name, lo, hi) = match (items, ops) {
        ([a, b], [op]) => {
            let (name, bound, op) = match (variable(a), constant(b), constant(a), variable(b)) {
                (Some(name), Some(bound), _, _) => (name, bound, *op),
                (_, _, Some(bound), Some(name)) => (name, bound, op.flipped()),
                _ => return None,
            };
            let bound = (bound, closed(op));
            let (down, up) = ((Expr::Infinity.neg(), false), (Expr::Infinity, false));
            if rising(op) { (name, down, bound) } else { (name, bound, up) }
        }
        ([a, x, b], [p, q]) if rising(*p) == rising(*q) => {
            let ends = ((constant(a)?, closed(*p)), (constant(b)?, closed(*q)));
            let (lo, hi) = if rising(*p) { ends } else { (ends.1, ends.0) };
            (variable(x)?, lo, hi)
        }
        _ => return None,
    };
    // An empty interval is a contradiction, not an answer.
    let order = real_value(&lo.0, budget).zip(real_value(&hi.0, budget));
    if order.is_some_and(|(lo, hi)| lo > hi) {
        return None;
    }
    Some((name, Interval { lo: lo.0, hi: hi.0, lo_closed: lo.1, hi_closed: hi.1 }))
}

/// The answer with plus-minus signs expanded, chains of equalities shortened to their ends and `n = 1, 2` read as a list of values.
pub(super) fn canonical(answer: Answer) -> Answer {
    match answer {
        Answer::Scalar(expr) if expr.has_plus_minus() => Answer::Set {
            items: vec![Answer::Scalar(expr.branch(true)), Answer::Scalar(expr.branch(false))],
            braces: false,
        },
        Answer::Tuple(items) => Answer::Tuple(items.into_iter().map(canonical).collect()),
        Answer::Union(items) => Answer::Union(items.into_iter().map(canonical).collect()),
        Answer::Chain { items, ops } => {
            let mut items: Vec<Answer> = items.into_iter().map(canonical).collect();
            if items.len() > 2 && ops.iter().all(|op| *op == Relation::Eq) {
                items.drain(1..items.len() - 1);
                return Answer::Chain { items, ops: vec![Relation::Eq] };
            }
            Answer::Chain { items, ops }
        }
        Answer::Set { items, braces } => canonical_set(items, braces),
        other => other,
    }
}

fn canonical_set(items: Vec<Answer>, braces: bool) -> Answer {
    let mut flat = Vec::with_capacity(items.len());
    for item in items.into_iter().map(canonical) {
        match item {
            // The two branches of a plus-minus sign, or a list inside a list.
            Answer::Set { items, braces: false } => flat.extend(items),
            other => flat.push(other),
        }
    }
    let is_chain = |item: &Answer| matches!(item, Answer::Chain { .. });
    let values = match flat.split_first() {
        Some((Answer::Chain { items, ops }, rest)) if !braces && !rest.is_empty() && !rest.iter().any(is_chain) => {
            assignment(items, ops)
                .map(|(_, value)| std::iter::once(value.clone()).chain(rest.iter().cloned()).collect())
        }
        _ => None,
    };
    Answer::Set { items: values.unwrap_or(flat), braces }
}
