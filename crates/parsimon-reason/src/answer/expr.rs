//! What an answer can be once it is read: scalars as expression trees, and the structures around them.

/// A scalar expression. Depth is bounded by the parser, so recursion over it is bounded too.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Expr {
    /// Decimal digits without a point, and the power of ten that scales them.
    Num {
        digits: String,
        exp10: i64,
    },
    /// A free variable with its subscript.
    Var(String),
    Pi,
    E,
    I,
    Infinity,
    Neg(Box<Expr>),
    Add(Box<Expr>, Box<Expr>),
    Mul(Box<Expr>, Box<Expr>),
    Div(Box<Expr>, Box<Expr>),
    Pow(Box<Expr>, Box<Expr>),
    /// The `n`-th root, `n` at least 2.
    Root(u32, Box<Expr>),
    Abs(Box<Expr>),
    Factorial(Box<Expr>),
    Binomial(Box<Expr>, Box<Expr>),
    Call(Function, Box<Expr>),
    /// `log_base x`.
    Log(Box<Expr>, Box<Expr>),
    /// Both branches of a plus-minus sign; expanded before anything is compared.
    PlusMinus(Box<Expr>, Box<Expr>),
}

/// Elementary functions of one argument.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Function {
    Sin,
    Cos,
    Tan,
    Cot,
    Sec,
    Csc,
    Arcsin,
    Arccos,
    Arctan,
    Sinh,
    Cosh,
    Tanh,
    Ln,
    Log10,
    Exp,
    Floor,
    Ceil,
}

impl Function {
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "sin" => Self::Sin,
            "cos" => Self::Cos,
            "tan" => Self::Tan,
            "cot" => Self::Cot,
            "sec" => Self::Sec,
            "csc" => Self::Csc,
            "arcsin" | "asin" => Self::Arcsin,
            "arccos" | "acos" => Self::Arccos,
            "arctan" | "atan" => Self::Arctan,
            "sinh" => Self::Sinh,
            "cosh" => Self::Cosh,
            "tanh" => Self::Tanh,
            "ln" => Self::Ln,
            "log" | "lg" => Self::Log10,
            "exp" => Self::Exp,
            _ => return None,
        })
    }

    /// The function that `f^{-1}` means.
    pub(crate) fn inverse(self) -> Option<Self> {
        Some(match self {
            Self::Sin => Self::Arcsin,
            Self::Cos => Self::Arccos,
            Self::Tan => Self::Arctan,
            _ => return None,
        })
    }
}

/// How the members of a chain are related.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Relation {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

impl Relation {
    pub(crate) fn flipped(self) -> Self {
        match self {
            Self::Lt => Self::Gt,
            Self::Le => Self::Ge,
            Self::Gt => Self::Lt,
            Self::Ge => Self::Le,
            same => same,
        }
    }
}

/// An interval with the kind of each end.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Interval {
    pub(crate) lo: Expr,
    pub(crate) hi: Expr,
    pub(crate) lo_closed: bool,
    pub(crate) hi_closed: bool,
}

/// A whole answer.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Answer {
    Scalar(Expr),
    /// Ordered components in round parentheses.
    Tuple(Vec<Answer>),
    /// A bare list of solutions, or a set in braces: unordered.
    Set {
        items: Vec<Answer>,
        braces: bool,
    },
    Interval(Interval),
    Union(Vec<Answer>),
    Matrix(Vec<Vec<Expr>>),
    /// `items[0] ops[0] items[1] ops[1] ...`
    Chain {
        items: Vec<Answer>,
        ops: Vec<Relation>,
    },
}

impl Expr {
    pub(crate) fn int(value: u64) -> Expr {
        Expr::Num { digits: value.to_string(), exp10: 0 }
    }

    pub(crate) fn neg(self) -> Expr {
        Expr::Neg(Box::new(self))
    }

    pub(crate) fn add(self, other: Expr) -> Expr {
        Expr::Add(Box::new(self), Box::new(other))
    }

    pub(crate) fn sub(self, other: Expr) -> Expr {
        self.add(other.neg())
    }

    pub(crate) fn mul(self, other: Expr) -> Expr {
        Expr::Mul(Box::new(self), Box::new(other))
    }

    pub(crate) fn div(self, other: Expr) -> Expr {
        Expr::Div(Box::new(self), Box::new(other))
    }

    pub(crate) fn pow(self, other: Expr) -> Expr {
        Expr::Pow(Box::new(self), Box::new(other))
    }

    /// The direct operands.
    pub(crate) fn operands(&self) -> impl Iterator<Item = &Expr> {
        let (a, b): (Option<&Expr>, Option<&Expr>) = match self {
            Expr::Num { .. } | Expr::Var(_) | Expr::Pi | Expr::E | Expr::I | Expr::Infinity => (None, None),
            Expr::Neg(a) | Expr::Root(_, a) | Expr::Abs(a) | Expr::Factorial(a) | Expr::Call(_, a) => (Some(a), None),
            Expr::Add(a, b)
            | Expr::Mul(a, b)
            | Expr::Div(a, b)
            | Expr::Pow(a, b)
            | Expr::Binomial(a, b)
            | Expr::Log(a, b)
            | Expr::PlusMinus(a, b) => (Some(a), Some(b)),
        };
        a.into_iter().chain(b)
    }

    /// Whether `test` holds for this expression or a part of it.
    pub(crate) fn any(&self, test: &dyn Fn(&Expr) -> bool) -> bool {
        test(self) || self.operands().any(|part| part.any(test))
    }

    /// Adds the names of the free variables to `names`, each once.
    pub(crate) fn variables(&self, names: &mut Vec<String>) {
        if let Expr::Var(name) = self
            && !names.contains(name)
        {
            names.push(name.clone());
        }
        self.operands().for_each(|part| part.variables(names));
    }

    /// The expression with every plus-minus sign replaced by plus (`true`) or minus.
    pub(crate) fn branch(&self, plus: bool) -> Expr {
        let walk = |part: &Expr| Box::new(part.branch(plus));
        match self {
            Expr::PlusMinus(a, b) => {
                let b = b.branch(plus);
                a.branch(plus).add(if plus { b } else { b.neg() })
            }
            Expr::Neg(a) => Expr::Neg(walk(a)),
            Expr::Root(n, a) => Expr::Root(*n, walk(a)),
            Expr::Abs(a) => Expr::Abs(walk(a)),
            Expr::Factorial(a) => Expr::Factorial(walk(a)),
            Expr::Call(f, a) => Expr::Call(*f, walk(a)),
            Expr::Add(a, b) => Expr::Add(walk(a), walk(b)),
            Expr::Mul(a, b) => Expr::Mul(walk(a), walk(b)),
            Expr::Div(a, b) => Expr::Div(walk(a), walk(b)),
            Expr::Pow(a, b) => Expr::Pow(walk(a), walk(b)),
            Expr::Binomial(a, b) => Expr::Binomial(walk(a), walk(b)),
            Expr::Log(a, b) => Expr::Log(walk(a), walk(b)),
            leaf => leaf.clone(),
        }
    }

    pub(crate) fn has_plus_minus(&self) -> bool {
        self.any(&|part| matches!(part, Expr::PlusMinus(..)))
    }
}
