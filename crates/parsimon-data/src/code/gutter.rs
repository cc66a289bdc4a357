//! Removing numbers of lines from the text of pages, as RedStone does it.
//!
//! Every first, second, third and fourth line is looked at in turn for numbers that count up; a run that reaches beyond 7 goes. Then
//! numbers that count up with code between them. A run that the text ends inside of stays: that is the published behaviour, and the
//! structural way (dropping the cells that hold numbers before a page becomes text) does not need this function at all.

/// The marks around a block of code in RedStone's pages.
const OPEN: &str = "<code-encode>";
const CLOSE: &str = "</code-encode>";

/// A run that ends at this number or below stays: short lists are no gutters.
const LAST_MIN: i64 = 7;

/// The page without numbers of lines; empty when its marks around code do not match. `PAPER(redstone §3.6)`
pub fn remove_gutters(page: &str) -> String {
    let mut lines: Vec<&str> = page.split('\n').collect();
    for step in 1..=4 {
        blank_strided(&mut lines, step);
        lines.retain(|line| !line.is_empty());
    }
    for _ in 0..2 {
        blank_spread(&mut lines);
        lines.retain(|line| !line.is_empty());
    }
    lines.retain(|line| !line.trim_matches(crate::text::is_space).is_empty());
    for at in 0..lines.len().saturating_sub(3) {
        if lines[at].contains(CLOSE) && lines[at + 1].contains(OPEN) && lines[at + 3].contains(CLOSE) {
            lines[at] = "";
            lines[at + 1] = "";
        }
    }
    lines.retain(|line| !line.is_empty());
    let mut depth = 0i64;
    for line in &lines {
        depth += line.matches(OPEN).count() as i64 - line.matches(CLOSE).count() as i64;
        if !(0..=1).contains(&depth) {
            return String::new();
        }
    }
    lines.join("\n")
}

/// The whole number on a line; -1 where there is none. Signs and single underscores between digits are read as Python reads them.
fn number(line: &str) -> i64 {
    let line = line.trim_matches(crate::text::is_space);
    let digits = line.strip_prefix(['+', '-']).unwrap_or(line);
    let is_number = !digits.is_empty()
        && digits.split('_').all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()));
    if !is_number {
        return -1;
    }
    let value: i64 = digits.replace('_', "").parse().unwrap_or(-1);
    if line.starts_with('-') { -value } else { value }
}

fn continues(last: i64, number: i64) -> bool {
    (last == -1 && number == 1) || number == last + 1
}

fn blank_strided(lines: &mut [&str], step: usize) {
    let (mut last, mut run) = (-1, Vec::new());
    for at in (0..lines.len()).step_by(step) {
        let number = number(lines[at]);
        if continues(last, number) {
            run.push(at);
            last = number;
        } else {
            if last > LAST_MIN {
                run.iter().for_each(|&at| lines[at] = "");
            }
            run.clear();
            last = -1;
        }
    }
}

fn blank_spread(lines: &mut [&str]) {
    let (mut last, mut run) = (-1, Vec::new());
    for at in 0..lines.len() {
        let number = number(lines[at]);
        if continues(last, number) {
            run.push(at);
            last = number;
        } else if matches!(number, 0 | 1) {
            if last > LAST_MIN {
                run.iter().for_each(|&at| lines[at] = "");
            }
            run = vec![at];
            last = number;
        }
    }
}
