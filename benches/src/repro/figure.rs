//! A figure of lines over two axes, as SVG.

use std::fmt::Write as _;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 420.0;
/// Left, right, top and bottom of the plot.
const FRAME: [f64; 4] = [70.0, 560.0, 40.0, 370.0];
const COLOURS: [&str; 6] = ["#2563eb", "#d97706", "#dc2626", "#059669", "#7c3aed", "#475569"];

/// A named line of points.
pub(super) struct Series {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
}

/// What stands above and beside the lines.
pub(super) struct Figure<'a> {
    pub(super) title: &'a str,
    pub(super) x: &'a str,
    pub(super) y: &'a str,
    /// A value that is drawn as a line of its own, with its name.
    pub(super) level: Option<(&'a str, f64)>,
    /// Whether equal distances are equal ratios on the vertical axis.
    pub(super) is_log: bool,
}

impl Figure<'_> {
    /// Draws the lines; the legend stands at their right.
    pub(super) fn svg(&self, lines: &[Series]) -> String {
        let [left, right, top, bottom] = FRAME;
        let scale = |y: f64| if self.is_log { y.max(f64::MIN_POSITIVE).log10() } else { y };
        let points = || lines.iter().flat_map(|line| line.points.iter().copied());
        let (x_low, x_high) = extent(points().map(|point| point.0));
        let (y_low, y_high) = extent(points().map(|point| point.1).chain(self.level.map(|level| level.1)).map(&scale));
        let x_at = |x: f64| left + (right - left) * (x - x_low) / (x_high - x_low);
        let y_at = |y: f64| bottom - (bottom - top) * (scale(y) - y_low) / (y_high - y_low);
        let mut svg = format!(
            "<svg xmlns='http://www.w3.org/2000/svg' width='{WIDTH}' height='{HEIGHT}' font-family='sans-serif' font-size='12'>\
             <rect width='100%' height='100%' fill='white'/><text x='{left}' y='20' font-size='14'>{}</text>\
             <path d='M{left},{top}V{bottom}H{right}' fill='none' stroke='black'/>\
             <text x='{}' y='{}' text-anchor='middle'>{}</text>\
             <text transform='translate(16,{}) rotate(-90)' text-anchor='middle'>{}</text>",
            self.title,
            (left + right) / 2.0,
            bottom + 38.0,
            self.x,
            (top + bottom) / 2.0,
            self.y
        );
        // Writing to a string cannot fail.
        for i in 0..=4 {
            let share = f64::from(i) / 4.0;
            let (x, y) = (x_low + share * (x_high - x_low), y_low + share * (y_high - y_low));
            let y = if self.is_log { 10f64.powf(y) } else { y };
            let _ = write!(
                svg,
                "<text x='{:.1}' y='{:.1}' text-anchor='middle'>{x:.2}</text><text x='{:.1}' y='{:.1}' text-anchor='end'>{y:.2}</text>",
                x_at(x),
                bottom + 18.0,
                left - 6.0,
                y_at(y) + 4.0
            );
        }
        if let Some((name, y)) = self.level {
            let y = y_at(y);
            let _ = write!(
                svg,
                "<path d='M{left},{y:.1}H{right}' stroke='gray' stroke-dasharray='4'/><text x='{}' y='{:.1}'>{name}</text>",
                right + 8.0,
                y + 4.0
            );
        }
        for ((i, line), colour) in lines.iter().enumerate().zip(COLOURS.iter().cycle()) {
            let points: Vec<String> =
                line.points.iter().map(|&(x, y)| format!("{:.1},{:.1}", x_at(x), y_at(y))).collect();
            let _ = write!(
                svg,
                "<polyline fill='none' stroke='{colour}' stroke-width='2' points='{}'/><text x='{}' y='{:.1}' fill='{colour}'>{}</text>",
                points.join(" "),
                right + 8.0,
                top + 18.0 * i as f64,
                line.name
            );
            for point in points {
                let (x, y) = point.split_once(',').unwrap_or_default();
                let _ = write!(svg, "<circle cx='{x}' cy='{y}' r='3' fill='{colour}'/>");
            }
        }
        svg.push_str("</svg>\n");
        svg
    }
}

/// The smallest and the largest value, never the same.
fn extent(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    match (low.is_finite(), high > low) {
        (false, _) => (0.0, 1.0),
        (true, false) => (low - 0.5, low + 0.5),
        (true, true) => (low, high),
    }
}
