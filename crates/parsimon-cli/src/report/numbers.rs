//! Numbers and texts as people read them, and the escaping of everything that comes from outside.

/// Escapes a text for HTML, inside elements and quoted attributes. Control characters that HTML does not allow become U+FFFD.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\n' | '\t' => escaped.push(c),
            c if c.is_control() => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

/// `12,345,678`
pub(super) fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Three significant digits with a unit: `5.07 M`.
pub(super) fn short(n: f64) -> String {
    let (value, unit) = match n.abs() {
        size if size >= 1e9 => (n / 1e9, " G"),
        size if size >= 1e6 => (n / 1e6, " M"),
        size if size >= 1e4 => (n / 1e3, " k"),
        _ => (n, ""),
    };
    if unit.is_empty() && value.fract() == 0.0 {
        format!("{value:.0}")
    } else {
        format!("{}{unit}", significant(value))
    }
}

/// Three significant digits, without an exponent.
pub(super) fn significant(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 || size == 0.0 => 2,
        size => (2.0 - size.log10().floor()).min(9.0) as usize,
    };
    format!("{value:.digits$}")
}

/// `1.25 MB`, decimal units.
pub(super) fn bytes(n: u64) -> String {
    let (value, unit) = match n {
        1_000_000_000.. => (n as f64 / 1e9, "GB"),
        1_000_000.. => (n as f64 / 1e6, "MB"),
        1_000.. => (n as f64 / 1e3, "kB"),
        _ => return format!("{n} B"),
    };
    format!("{} {unit}", significant(value))
}

/// `4 min 05 s`, `3.2 s`.
pub(super) fn duration(seconds: f64) -> String {
    if seconds < 59.95 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.round() as u64;
    match (whole / 3600, whole / 60 % 60, whole % 60) {
        (0, minutes, rest) => format!("{minutes} min {rest:02} s"),
        (hours, minutes, _) => format!("{hours} h {minutes:02} min"),
    }
}

/// `12.3 %` of the whole.
pub(super) fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "0 %".into();
    }
    let share = part as f64 / whole as f64 * 100.0;
    if part > 0 && share < 0.1 { "&lt; 0.1 %".into() } else { format!("{share:.1} %") }
}
