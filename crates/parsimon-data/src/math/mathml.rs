//! MathML to TeX: one rule an element, over the page's own tree.
//!
//! Groups are braced where TeX needs it, operators stand between blanks. The recursion is as deep as the formula, and a formula deeper than
//! 64 elements is none.

use unicode_normalization::UnicodeNormalization;

use super::symbols::{ACCENTS, CHARACTERS, FUNCTIONS, MARKS, MATRICES, TEXT_VARIANTS, UNDER_ACCENTS, VARIANTS, find};
use crate::html::{Document, Event, NodeId};

/// Elements inside each other.
const DEPTH_MAX: usize = 64;

/// The first formula of a piece of MathML; `None` when there is none that can be written.
///
/// ```
/// use parsimon_data::math::mathml_fragment;
/// assert_eq!(mathml_fragment("<math><mfrac><mi>a</mi><mi>b</mi></mfrac></math>").unwrap(), r"\frac{a}{b}");
/// ```
pub fn mathml_fragment(mathml: &str) -> Option<String> {
    let page = Document::parse(mathml.as_bytes(), Some("utf-8"));
    let math = page.walk(page.root()).find_map(|event| match event {
        Event::Enter(node) if page.tag(node).map(local) == Some("math") => Some(node),
        _ => None,
    })?;
    to_latex(&page, math)
}

/// The TeX of a `math` element: its TeX annotation where it has one, else its presentation. `None` when it is too deep.
pub fn to_latex(page: &Document, math: NodeId) -> Option<String> {
    let annotation = page.walk(math).find_map(|event| match event {
        Event::Enter(node) if is_tex_annotation(page, node) => Some(page.text_of(node)),
        _ => None,
    });
    if let Some(annotation) = annotation.filter(|text| !text.trim().is_empty()) {
        return Some(annotation.trim().to_owned());
    }
    let latex = Converter { page, depth: 0 }.row(math)?;
    Some(latex.trim().to_owned())
}

fn is_tex_annotation(page: &Document, node: NodeId) -> bool {
    page.tag(node).map(local) == Some("annotation")
        && page.attribute(node, "encoding").is_some_and(|encoding| encoding.to_ascii_lowercase().contains("tex"))
}

/// The name without its namespace prefix.
fn local(tag: &str) -> &str {
    tag.rsplit_once(':').map_or(tag, |(_, name)| name)
}

struct Converter<'a> {
    page: &'a Document,
    depth: usize,
}

impl Converter<'_> {
    fn elements(&self, node: NodeId) -> Vec<NodeId> {
        self.page.children(node).filter(|&child| self.page.tag(child).is_some()).collect()
    }

    fn tag(&self, node: NodeId) -> &str {
        self.page.tag(node).map(local).unwrap_or_default()
    }

    fn attribute(&self, node: NodeId, name: &str) -> &str {
        self.page.attribute(node, name).unwrap_or_default()
    }

    fn text(&self, node: NodeId) -> String {
        let keep = |c: &char| !matches!(c, '\u{2061}'..='\u{2064}' | '\u{feff}' | '\u{200b}');
        self.page.text_of(node).chars().filter(keep).collect::<String>().trim().to_owned()
    }

    /// The children in a row; a table between fences becomes a matrix.
    fn row(&mut self, node: NodeId) -> Option<String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return None;
        }
        let children = self.elements(node);
        let mut parts: Vec<String> = Vec::with_capacity(children.len());
        let mut at = 0;
        while at < children.len() {
            let fence =
                |at: usize| children.get(at).filter(|&&node| self.tag(node) == "mo").map(|&node| self.text(node));
            let table = children.get(at + 1).copied().filter(|&node| self.tag(node) == "mtable");
            if let (Some(open), Some(table)) = (fence(at), table) {
                let close = fence(at + 2).unwrap_or_default();
                let matrix = MATRICES.iter().find(|(o, c, _)| *o == open && (*c == close || *o == "{" && c.is_empty()));
                if let Some(&(_, used, environment)) = matrix {
                    parts.push(self.table(table, environment)?);
                    at += if used.is_empty() { 2 } else { 3 };
                    continue;
                }
            }
            parts.push(self.node(children[at])?);
            at += 1;
        }
        self.depth -= 1;
        parts.retain(|part| !part.is_empty());
        Some(parts.join(" "))
    }

    fn node(&mut self, node: NodeId) -> Option<String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return None;
        }
        let children = self.elements(node);
        let latex = match (self.tag(node), &children[..]) {
            ("mi", _) => self.identifier(node),
            ("mn", _) => self.text(node),
            ("mo", _) => characters(&self.text(node)),
            ("mtext" | "ms", _) => self.text_element(node),
            ("mfrac", &[above, below]) => self.fraction(node, above, below)?,
            ("msqrt", _) => format!("\\sqrt{{{}}}", self.row(node)?),
            ("mroot", &[base, index]) => format!("\\sqrt[{}]{{{}}}", self.node(index)?, self.node(base)?),
            ("msub", &[base, sub]) => format!("{}_{{{}}}", self.base(base)?, self.node(sub)?),
            ("msup", &[base, sup]) => format!("{}^{{{}}}", self.base(base)?, self.node(sup)?),
            ("msubsup", &[base, sub, sup]) => {
                format!("{}_{{{}}}^{{{}}}", self.base(base)?, self.node(sub)?, self.node(sup)?)
            }
            ("munder", &[base, under]) => self.under(base, under)?,
            ("mover", &[base, over]) => self.over(base, over)?,
            ("munderover", &[base, under, over]) => {
                format!("{}_{{{}}}^{{{}}}", self.base(base)?, self.node(under)?, self.node(over)?)
            }
            ("mfenced", _) => self.fenced(node, &children)?,
            ("mtable", _) => self.table(node, "matrix")?,
            ("mmultiscripts", [base, scripts @ ..]) => self.multiscripts(*base, scripts)?,
            ("menclose", _) => self.enclosed(node)?,
            ("merror", _) => format!("\\color{{red}}{{{}}}", self.row(node)?),
            ("maction", _) => self.action(node, &children)?,
            ("semantics", &[first, ..]) => self.node(first)?,
            ("mphantom", _) => format!("\\phantom{{{}}}", self.row(node)?),
            ("mspace" | "none" | "mprescripts" | "annotation" | "annotation-xml" | "maligngroup" | "malignmark", _) => {
                String::new()
            }
            _ => self.row(node)?,
        };
        self.depth -= 1;
        Some(latex)
    }

    fn identifier(&self, node: NodeId) -> String {
        let text = self.text(node);
        let variant = self.attribute(node, "mathvariant");
        let mut chars = text.chars();
        match (chars.next(), chars.next()) {
            (None, _) => "\\textrm{ }".to_owned(),
            (Some(c), None) => {
                let latex = character(c).map_or_else(|| letter(c), str::to_owned);
                match find(VARIANTS, variant) {
                    Some(command) if !latex.starts_with('\\') => format!("{command}{{{latex}}}"),
                    _ => latex,
                }
            }
            _ if FUNCTIONS.contains(&text.as_str()) => format!("\\{text}"),
            _ if text.chars().all(|c| c.is_ascii_alphanumeric()) => {
                format!("{}{{{text}}}", find(VARIANTS, variant).unwrap_or("\\mathrm"))
            }
            _ => characters(&text),
        }
    }

    fn text_element(&self, node: NodeId) -> String {
        let command = find(TEXT_VARIANTS, self.attribute(node, "mathvariant")).unwrap_or("\\text");
        format!("{command}{{{}}}", self.page.text_of(node).replace(['{', '}', '\\', '$'], ""))
    }

    fn is_atomic(&self, node: NodeId) -> bool {
        match self.tag(node) {
            "mi" | "mn" | "mo" | "mtext" => true,
            "mrow" | "mstyle" | "mpadded" => matches!(self.elements(node)[..], [only] if self.is_atomic(only)),
            _ => false,
        }
    }

    /// What a script is set on: braced when it is more than one symbol.
    fn base(&mut self, node: NodeId) -> Option<String> {
        let latex = self.node(node)?;
        Some(if self.is_atomic(node) || is_one_group(&latex) { latex } else { format!("{{{latex}}}") })
    }

    fn fraction(&mut self, node: NodeId, above: NodeId, below: NodeId) -> Option<String> {
        let (a, b) = (self.node(above)?, self.node(below)?);
        if self.attribute(node, "bevelled") == "true" {
            let part = |latex: String, is_atomic| if is_atomic { latex } else { format!("\\left({latex}\\right)") };
            return Some(format!("{}/{}", part(a, self.is_atomic(above)), part(b, self.is_atomic(below))));
        }
        let thickness = self.attribute(node, "linethickness");
        let is_binomial = matches!(thickness.trim_end_matches(char::is_alphabetic), "0" | "0.0");
        Some(format!("{}{{{a}}}{{{b}}}", if is_binomial { "\\binom" } else { "\\frac" }))
    }

    fn under(&mut self, base: NodeId, under: NodeId) -> Option<String> {
        if let Some(accent) = find(UNDER_ACCENTS, &self.text(under)) {
            return Some(format!("{accent}{{{}}}", self.node(base)?));
        }
        let (latex, under) = (self.node(base)?, self.node(under)?);
        Some(if has_limits(&latex) {
            format!("{latex}_{{{under}}}")
        } else {
            format!("\\underset{{{under}}}{{{latex}}}")
        })
    }

    fn over(&mut self, base: NodeId, over: NodeId) -> Option<String> {
        if let Some(accent) = find(ACCENTS, &self.text(over)) {
            return Some(format!("{accent}{{{}}}", self.node(base)?));
        }
        let (latex, over) = (self.node(base)?, self.node(over)?);
        Some(if has_limits(&latex) { format!("{latex}^{{{over}}}") } else { format!("\\overset{{{over}}}{{{latex}}}") })
    }

    fn fenced(&mut self, node: NodeId, children: &[NodeId]) -> Option<String> {
        let open = self.page.attribute(node, "open").unwrap_or("(").trim().to_owned();
        let close = self.page.attribute(node, "close").unwrap_or(")").trim().to_owned();
        if let &[table] = children
            && self.tag(table) == "mtable"
            && let Some((_, _, environment)) = MATRICES.iter().find(|(o, c, _)| *o == open && *c == close)
        {
            return self.table(table, environment);
        }
        let separators: Vec<char> = match self.page.attribute(node, "separators") {
            Some(given) => given.chars().filter(|c| !c.is_whitespace()).collect(),
            None => vec![','],
        };
        let mut inside = String::new();
        for (at, &child) in children.iter().enumerate() {
            if at > 0 {
                inside.extend(separators.get(at - 1).or(separators.last()));
            }
            inside.push_str(&self.node(child)?);
        }
        let fence = |text: &str| if text.is_empty() { ".".to_owned() } else { characters(text) };
        Some(format!("\\left{}{inside}\\right{}", fence(&open), fence(&close)))
    }

    fn table(&mut self, table: NodeId, environment: &str) -> Option<String> {
        let mut rows = Vec::new();
        for row in self.elements(table) {
            let cells = self.elements(row).into_iter().filter(|&cell| self.tag(cell) == "mtd").collect::<Vec<_>>();
            rows.push(cells.into_iter().map(|cell| self.row(cell)).collect::<Option<Vec<_>>>()?.join(" & "));
        }
        Some(format!("\\begin{{{environment}}} {} \\end{{{environment}}}", rows.join(" \\\\ ")))
    }

    fn multiscripts(&mut self, base: NodeId, scripts: &[NodeId]) -> Option<String> {
        let split = scripts.iter().position(|&node| self.tag(node) == "mprescripts").unwrap_or(scripts.len());
        let (behind, before) = (&scripts[..split], scripts.get(split + 1..).unwrap_or_default());
        let mut latex = String::new();
        if !before.is_empty() {
            latex.push_str("{}");
            latex.push_str(&self.scripts(before)?);
        }
        latex.push_str(&self.base(base)?);
        latex.push_str(&self.scripts(behind)?);
        Some(latex)
    }

    fn scripts(&mut self, scripts: &[NodeId]) -> Option<String> {
        let mut latex = String::new();
        for (at, &script) in scripts.iter().enumerate() {
            let inside = self.node(script)?;
            if !inside.is_empty() {
                latex.push_str(&format!("{}{{{inside}}}", if at % 2 == 0 { '_' } else { '^' }));
            }
        }
        Some(latex)
    }

    fn enclosed(&mut self, node: NodeId) -> Option<String> {
        let inside = self.row(node)?;
        Some(match self.attribute(node, "notation") {
            "radical" => format!("\\sqrt{{{inside}}}"),
            "box" | "roundedbox" | "circle" => format!("\\boxed{{{inside}}}"),
            "updiagonalstrike" => format!("\\cancel{{{inside}}}"),
            "downdiagonalstrike" => format!("\\bcancel{{{inside}}}"),
            "updiagonalstrike downdiagonalstrike" => format!("\\xcancel{{{inside}}}"),
            "verticalstrike" | "horizontalstrike" => format!("\\hcancel{{{inside}}}"),
            "actuarial" => format!("\\overline{{{inside}|}}"),
            "madruwb" => format!("\\underline{{{inside}|}}"),
            "top" => format!("\\overline{{{inside}}}"),
            "bottom" => format!("\\underline{{{inside}}}"),
            _ => format!("\\overline{{){inside}}}"),
        })
    }

    fn action(&mut self, node: NodeId, children: &[NodeId]) -> Option<String> {
        match (self.attribute(node, "actiontype"), children) {
            (_, []) => Some(String::new()),
            ("" | "toggle", _) => {
                let steps = children.iter().map(|&child| self.node(child)).collect::<Option<Vec<_>>>()?;
                Some(steps.join(" \\Longrightarrow "))
            }
            (_, &[first, ..]) => self.node(first),
        }
    }
}

fn character(c: char) -> Option<&'static str> {
    CHARACTERS.iter().find(|(known, _)| *known == c).map(|(_, latex)| *latex)
}

/// A letter with its mark as TeX.
fn letter(c: char) -> String {
    let parts: Vec<char> = std::iter::once(c).nfd().collect();
    let mark = |mark| MARKS.iter().find(|(known, _)| *known == mark).map(|(_, latex)| *latex);
    match parts[..] {
        [base, combining] if mark(combining).is_some() => format!("{}{{{base}}}", mark(combining).unwrap_or_default()),
        _ => c.to_string(),
    }
}

fn characters(text: &str) -> String {
    if FUNCTIONS.contains(&text) {
        return format!("\\{text}");
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if out.ends_with(|last: char| last.is_ascii_alphabetic()) && out.contains('\\') && c.is_ascii_alphabetic() {
            out.push(' ');
        }
        out.push_str(character(c).unwrap_or(c.encode_utf8(&mut [0; 4])));
    }
    out
}

/// Whether scripts of this go above and below it.
fn has_limits(latex: &str) -> bool {
    const LIMITS: [&str; 14] = [
        "\\sum", "\\prod", "\\coprod", "\\int", "\\lim", "\\max", "\\min", "\\sup", "\\inf", "\\limsup", "\\liminf",
        "\\bigcup", "\\bigcap", "\\oint",
    ];
    LIMITS.contains(&latex)
}

fn is_one_group(latex: &str) -> bool {
    latex.starts_with("\\left") || latex.starts_with("\\begin")
}
