//! Characters and words of MathML as TeX.

/// Characters with a command; what is missing here stands as it is.
pub(super) const CHARACTERS: &[(char, &str)] = &[
    ('⋅', "\\cdot"), ('·', "\\cdot"), ('×', "\\times"), ('÷', "\\div"), ('±', "\\pm"), ('∓', "\\mp"), ('≤', "\\leq"),
    ('≥', "\\geq"), ('≠', "\\neq"), ('≈', "\\approx"), ('≡', "\\equiv"), ('∼', "\\sim"), ('≃', "\\simeq"), ('≅', "\\cong"),
    ('∝', "\\propto"), ('≪', "\\ll"), ('≫', "\\gg"), ('∑', "\\sum"), ('∏', "\\prod"), ('∐', "\\coprod"), ('∫', "\\int"),
    ('∬', "\\iint"), ('∭', "\\iiint"), ('∮', "\\oint"), ('∂', "\\partial"), ('∇', "\\nabla"), ('∞', "\\infty"), ('∈', "\\in"),
    ('∉', "\\notin"), ('∋', "\\ni"), ('⊂', "\\subset"), ('⊆', "\\subseteq"), ('⊃', "\\supset"), ('⊇', "\\supseteq"),
    ('∪', "\\cup"), ('∩', "\\cap"), ('∖', "\\setminus"), ('∅', "\\emptyset"), ('∀', "\\forall"), ('∃', "\\exists"),
    ('¬', "\\lnot"), ('∧', "\\land"), ('∨', "\\lor"), ('⊕', "\\oplus"), ('⊗', "\\otimes"), ('⊥', "\\perp"), ('→', "\\to"),
    ('←', "\\leftarrow"), ('⇒', "\\Rightarrow"), ('⇐', "\\Leftarrow"), ('↔', "\\leftrightarrow"), ('⇔', "\\Leftrightarrow"),
    ('↦', "\\mapsto"), ('↑', "\\uparrow"), ('↓', "\\downarrow"), ('⟨', "\\langle"), ('⟩', "\\rangle"), ('〈', "\\langle"),
    ('〉', "\\rangle"), ('⌊', "\\lfloor"), ('⌋', "\\rfloor"), ('⌈', "\\lceil"), ('⌉', "\\rceil"), ('‖', "\\|"), ('∥', "\\|"),
    ('…', "\\ldots"), ('⋯', "\\cdots"), ('⋮', "\\vdots"), ('⋱', "\\ddots"), ('′', "'"), ('″', "''"), ('−', "-"), ('∗', "*"),
    ('∘', "\\circ"), ('∙', "\\bullet"), ('†', "\\dagger"), ('ℏ', "\\hbar"), ('ℓ', "\\ell"), ('ℜ', "\\Re"), ('ℑ', "\\Im"),
    ('ℝ', "\\mathbb{R}"), ('ℂ', "\\mathbb{C}"), ('ℕ', "\\mathbb{N}"), ('ℤ', "\\mathbb{Z}"), ('ℚ', "\\mathbb{Q}"), ('°', "^{\\circ}"),
    ('α', "\\alpha"), ('β', "\\beta"), ('γ', "\\gamma"), ('δ', "\\delta"), ('ε', "\\varepsilon"), ('ϵ', "\\epsilon"),
    ('ζ', "\\zeta"), ('η', "\\eta"), ('θ', "\\theta"), ('ϑ', "\\vartheta"), ('ι', "\\iota"), ('κ', "\\kappa"), ('λ', "\\lambda"),
    ('μ', "\\mu"), ('µ', "\\mu"), ('ν', "\\nu"), ('ξ', "\\xi"), ('π', "\\pi"), ('ϖ', "\\varpi"), ('ρ', "\\rho"), ('ϱ', "\\varrho"),
    ('σ', "\\sigma"), ('ς', "\\varsigma"), ('τ', "\\tau"), ('υ', "\\upsilon"), ('φ', "\\varphi"), ('ϕ', "\\phi"), ('χ', "\\chi"),
    ('ψ', "\\psi"), ('ω', "\\omega"), ('Γ', "\\Gamma"), ('Δ', "\\Delta"), ('Θ', "\\Theta"), ('Λ', "\\Lambda"), ('Ξ', "\\Xi"),
    ('Π', "\\Pi"), ('Σ', "\\Sigma"), ('Υ', "\\Upsilon"), ('Φ', "\\Phi"), ('Ψ', "\\Psi"), ('Ω', "\\Omega"), ('{', "\\{"), ('}', "\\}"),
    ('%', "\\%"), ('#', "\\#"), ('&', "\\&"), ('$', "\\$"),
];

/// Functions with a command of their name.
pub(super) const FUNCTIONS: &[&str] = &[
    "arccos", "arcsin", "arctan", "arg", "cos", "cosh", "cot", "coth", "csc", "deg", "det", "dim", "exp", "gcd", "hom", "inf", "ker",
    "lg", "lim", "liminf", "limsup", "ln", "log", "max", "min", "Pr", "sec", "sin", "sinh", "sup", "tan", "tanh",
];

/// What stands over a base.
pub(super) const ACCENTS: &[(&str, &str)] = &[
    ("^", "\\hat"), ("ˆ", "\\hat"), ("¯", "\\overline"), ("‾", "\\overline"), ("_", "\\overline"), ("―", "\\overline"), ("~", "\\tilde"),
    ("˜", "\\tilde"), ("→", "\\vec"), ("⃗", "\\vec"), ("˙", "\\dot"), (".", "\\dot"), ("¨", "\\ddot"), ("ˇ", "\\check"), ("˘", "\\breve"),
    ("´", "\\acute"), ("`", "\\grave"), ("⏞", "\\overbrace"), ("︷", "\\overbrace"),
];

/// What stands under a base.
pub(super) const UNDER_ACCENTS: &[(&str, &str)] =
    &[("⏟", "\\underbrace"), ("︸", "\\underbrace"), ("_", "\\underline"), ("̲", "\\underline"), ("¯", "\\underline")];

/// Combining marks of one letter.
pub(super) const MARKS: &[(char, &str)] = &[
    ('\u{300}', "\\grave"), ('\u{301}', "\\acute"), ('\u{302}', "\\hat"), ('\u{303}', "\\tilde"), ('\u{304}', "\\bar"),
    ('\u{306}', "\\breve"), ('\u{307}', "\\dot"), ('\u{308}', "\\ddot"), ('\u{30a}', "\\mathring"), ('\u{30c}', "\\check"),
];

/// Alphabets.
pub(super) const VARIANTS: &[(&str, &str)] = &[
    ("normal", "\\mathrm"), ("bold", "\\mathbf"), ("italic", "\\mathit"), ("bold-italic", "\\boldsymbol"),
    ("double-struck", "\\mathbb"), ("script", "\\mathcal"), ("bold-script", "\\mathcal"), ("fraktur", "\\mathfrak"),
    ("bold-fraktur", "\\mathfrak"), ("sans-serif", "\\mathsf"), ("monospace", "\\mathtt"),
];

/// Text alphabets.
pub(super) const TEXT_VARIANTS: &[(&str, &str)] = &[
    ("bold", "\\textbf"), ("italic", "\\textit"), ("double-struck", "\\mathbb"), ("monospace", "\\mathtt"), ("sans-serif", "\\textsf"),
];

/// Environments by the fences around a table.
pub(super) const MATRICES: &[(&str, &str, &str)] = &[
    ("(", ")", "pmatrix"), ("[", "]", "bmatrix"), ("{", "}", "Bmatrix"), ("|", "|", "vmatrix"), ("||", "||", "Vmatrix"),
    ("‖", "‖", "Vmatrix"), ("∥", "∥", "Vmatrix"), ("{", "", "cases"), ("", "", "matrix"),
];

pub(super) fn find<'a>(table: &[(&str, &'a str)], key: &str) -> Option<&'a str> {
    table.iter().find(|(known, _)| *known == key).map(|(_, value)| *value)
}
