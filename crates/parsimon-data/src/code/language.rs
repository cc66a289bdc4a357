//! The language of a block of code: what its page says, else what its text starts like.

/// Names that pages use, and the name that is written.
const ALIASES: &[(&str, &str)] = &[
    ("bash", "bash"),
    ("sh", "bash"),
    ("shell", "bash"),
    ("zsh", "bash"),
    ("console", "bash"),
    ("c", "c"),
    ("h", "c"),
    ("cpp", "c++"),
    ("c++", "c++"),
    ("cxx", "c++"),
    ("cc", "c++"),
    ("cs", "c#"),
    ("csharp", "c#"),
    ("c#", "c#"),
    ("css", "css"),
    ("clojure", "clojure"),
    ("dart", "dart"),
    ("diff", "diff"),
    ("dockerfile", "dockerfile"),
    ("elixir", "elixir"),
    ("erlang", "erlang"),
    ("fsharp", "f#"),
    ("go", "go"),
    ("golang", "go"),
    ("graphql", "graphql"),
    ("haskell", "haskell"),
    ("hs", "haskell"),
    ("html", "html"),
    ("ini", "ini"),
    ("java", "java"),
    ("javascript", "javascript"),
    ("js", "javascript"),
    ("jsx", "javascript"),
    ("json", "json"),
    ("julia", "julia"),
    ("kotlin", "kotlin"),
    ("kt", "kotlin"),
    ("latex", "tex"),
    ("tex", "tex"),
    ("less", "less"),
    ("lisp", "common lisp"),
    ("lua", "lua"),
    ("makefile", "makefile"),
    ("make", "makefile"),
    ("markdown", "markdown"),
    ("md", "markdown"),
    ("matlab", "matlab"),
    ("objc", "objective-c"),
    ("objective-c", "objective-c"),
    ("ocaml", "ocaml"),
    ("perl", "perl"),
    ("php", "php"),
    ("powershell", "powershell"),
    ("ps1", "powershell"),
    ("python", "python"),
    ("py", "python"),
    ("python3", "python"),
    ("pycon", "python"),
    ("r", "r"),
    ("ruby", "ruby"),
    ("rb", "ruby"),
    ("rust", "rust"),
    ("rs", "rust"),
    ("scala", "scala"),
    ("scss", "scss"),
    ("sql", "sql"),
    ("swift", "swift"),
    ("toml", "toml"),
    ("typescript", "typescript"),
    ("ts", "typescript"),
    ("tsx", "typescript"),
    ("vb", "visual basic"),
    ("xml", "xml"),
    ("yaml", "yaml"),
    ("yml", "yaml"),
    ("zig", "zig"),
];

/// Prefixes that make any name of a language one.
const PREFIXES: [&str; 5] = ["language-", "lang-", "highlight-source-", "brush:", "highlight-"];

/// The language in a list of class names such as `language-rust`, `brush: js` or `bash`.
///
/// ```
/// use parsimon_data::code::language_of_class;
/// assert_eq!(language_of_class("hljs language-py").as_deref(), Some("python"));
/// assert_eq!(language_of_class("highlight"), None);
/// ```
pub fn language_of_class(classes: &str) -> Option<String> {
    let mut names = classes.split([' ', '\t', '\n', '\r', ';', ',']).filter(|name| !name.is_empty()).peekable();
    while let Some(name) = names.next() {
        let lower = name.to_ascii_lowercase();
        if let Some(language) = PREFIXES.iter().find_map(|prefix| lower.strip_prefix(prefix)) {
            let language =
                if language.is_empty() { names.next().map(str::to_ascii_lowercase)? } else { language.to_owned() };
            if matches!(language.as_str(), "none" | "plaintext" | "text" | "default") {
                return None;
            }
            return Some(alias(&language).map_or(language, str::to_owned));
        }
        // Short names are too often something else.
        if let Some(language) = alias(&lower).filter(|_| lower.len() > 2) {
            return Some(language.to_owned());
        }
    }
    None
}

fn alias(name: &str) -> Option<&'static str> {
    ALIASES.iter().find(|(known, _)| *known == name).map(|(_, language)| *language)
}

/// The language that a text starts like; `None` where nothing is certain.
///
/// ```
/// assert_eq!(parsimon_data::code::detect_language("#include <stdio.h>\nint main() {}"), Some("c"));
/// ```
pub fn detect_language(code: &str) -> Option<&'static str> {
    let start = code.trim_start();
    let first = start.lines().next().unwrap_or_default();
    if let Some(shebang) = first.strip_prefix("#!") {
        return ["python", "bash", "perl", "ruby", "node"]
            .into_iter()
            .find(|name| shebang.contains(name))
            .map(|name| if name == "node" { "javascript" } else { name })
            .or_else(|| shebang.ends_with("sh").then_some("bash"));
    }
    let has = |what: &str| code.contains(what);
    if start.starts_with("<?php") {
        Some("php")
    } else if has("#include <") || has("#include \"") {
        let is_cpp = has("std::") || has("#include <iostream") || has("template<") || has("namespace ");
        Some(if is_cpp { "c++" } else { "c" })
    } else if start.starts_with("package main") || (has("func ") && has(":= ")) {
        Some("go")
    } else if has("fn main()") || (has("let mut ") && has(";")) || (has("fn ") && has("-> ") && has("{")) {
        Some("rust")
    } else if start.starts_with("using System") || has("namespace ") && has("public class") {
        Some("c#")
    } else if has("public static void main") || start.starts_with("import java.") {
        Some("java")
    } else if start.starts_with("def ") || start.starts_with("from ") && has(" import ") || has("\ndef ") && has(":\n")
    {
        Some("python")
    } else if start.starts_with("$ ") || first.starts_with("sudo ") {
        Some("bash")
    } else if start.starts_with("<!DOCTYPE html") || start.starts_with("<html") {
        Some("html")
    } else {
        let lower = first.to_ascii_lowercase();
        let is_sql = ["select ", "insert into ", "create table ", "update ", "delete from ", "alter table "]
            .iter()
            .any(|verb| lower.starts_with(verb));
        is_sql.then_some("sql")
    }
}
