//! Plots as SVG text: scales with readable ticks, a frame with labelled axes, lines and points. Colours come from the page's style
//! sheet through classes.

use std::fmt::Write;

use super::numbers::escape;

/// Maps values of one axis to `0..=1`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    min: f64,
    max: f64,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Kind {
    /// With a tick at every multiple of `step`.
    Linear {
        step: f64,
    },
    Log,
}

impl Scale {
    /// A linear scale whose ends are round numbers around all finite `values`.
    pub(super) fn linear(values: impl IntoIterator<Item = f64>) -> Scale {
        let (min, max) = range(values);
        let step = step(min, max);
        Scale { min: (min / step).floor() * step, max: (max / step).ceil() * step, kind: Kind::Linear { step } }
    }

    /// A linear scale from exactly `min` to exactly `max`.
    pub(super) fn exact(min: f64, max: f64) -> Scale {
        Scale { min, max, kind: Kind::Linear { step: step(min, max) } }
    }

    /// Logarithmic where the positive `values` span more than a factor of 8, linear elsewhere; a little room below the smallest.
    pub(super) fn fitting(values: impl IntoIterator<Item = f64>) -> Scale {
        let (min, max) = range(values);
        if min > 0.0 && max / min > 8.0 {
            Scale { min: min / 1.3, max: max * 1.3, kind: Kind::Log }
        } else {
            Scale::linear([min - 0.06 * (max - min), max])
        }
    }

    pub(super) fn is_log(&self) -> bool {
        self.kind == Kind::Log
    }

    /// Where `value` lies between the ends.
    pub(super) fn at(&self, value: f64) -> f64 {
        let map = |v: f64| if self.is_log() { v.ln() } else { v };
        (map(value) - map(self.min)) / (map(self.max) - map(self.min))
    }

    /// Round values with their labels, from the lower end to the upper.
    pub(super) fn ticks(&self) -> Vec<(f64, String)> {
        let Kind::Linear { step } = self.kind else { return self.log_ticks() };
        let first = (self.min / step - 1e-9).ceil() as i64;
        let last = (self.max / step + 1e-9).floor() as i64;
        (first..=last).map(|n| (n as f64 * step, label(n as f64 * step, step))).collect()
    }

    /// Powers of ten, and twice and five times them where few powers fit.
    fn log_ticks(&self) -> Vec<(f64, String)> {
        let digits = if self.max / self.min > 300.0 { &[1.0][..] } else { &[1.0, 2.0, 5.0] };
        let decades = self.min.log10().floor() as i32..=self.max.log10().ceil() as i32;
        let values = decades.flat_map(|decade| digits.iter().map(move |digit| digit * 10f64.powi(decade)));
        values
            .filter(|value| *value >= self.min && *value <= self.max)
            .map(|value| (value, label(value, value)))
            .collect()
    }
}

/// The ends of the finite values, never equal.
fn range(values: impl IntoIterator<Item = f64>) -> (f64, f64) {
    let finite = values.into_iter().filter(|value| value.is_finite());
    let (min, max) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(min, max), v| (min.min(v), max.max(v)));
    if min > max {
        (0.0, 1.0)
    } else if max - min <= f64::EPSILON * max.abs() {
        (min - min.abs().max(1.0) * 0.1, max + max.abs().max(1.0) * 0.1)
    } else {
        (min, max)
    }
}

/// A step of 1, 2 or 5 times a power of ten that gives four to nine ticks.
fn step(min: f64, max: f64) -> f64 {
    let rough = (max - min) / 5.0;
    let power = 10f64.powf(rough.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|digit| digit * power)
        .find(|step| *step >= rough * 0.999)
        .unwrap_or(power * 10.0)
}

fn label(value: f64, step: f64) -> String {
    let digits = (-step.abs().log10().floor()).clamp(0.0, 9.0) as usize;
    let text = format!("{:.digits$}", if value.abs() < step.abs() * 1e-9 { 0.0 } else { value });
    match text.split_once('.') {
        None if value >= 10_000.0 => super::numbers::short(value),
        _ => text,
    }
}

/// What stands at an axis.
pub(super) struct Axis<'a> {
    pub(super) title: &'a str,
    pub(super) scale: Scale,
}

/// A plot area with axes.
pub(super) struct Plot<'a> {
    x: Axis<'a>,
    y: Axis<'a>,
    right: f64,
    body: String,
}

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 64.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 52.0;

/// A point in the plot's own units.
pub(super) type Point = (f64, f64);

impl<'a> Plot<'a> {
    /// An empty plot; `right` is the room for labels beside it.
    pub(super) fn new(x: Axis<'a>, y: Axis<'a>, right: f64) -> Self {
        let mut plot = Plot { x, y, right, body: String::new() };
        plot.draw_axes();
        plot
    }

    fn px(&self, value: f64) -> f64 {
        LEFT + self.x.scale.at(value) * (WIDTH - LEFT - self.right)
    }

    fn py(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - self.y.scale.at(value) * (HEIGHT - TOP - BOTTOM)
    }

    fn draw_axes(&mut self) {
        let (x_end, y_end) = (WIDTH - self.right, HEIGHT - BOTTOM);
        for (value, label) in self.y.scale.ticks() {
            let y = self.py(value);
            self.push(format_args!(r#"<line class="grid" x1="{LEFT}" x2="{x_end}" y1="{y:.1}" y2="{y:.1}"/>"#));
            self.text((LEFT - 8.0, y + 4.0), "tick end", &label);
        }
        for (value, label) in self.x.scale.ticks() {
            let x = self.px(value);
            self.push(format_args!(
                r#"<line class="axis" x1="{x:.1}" x2="{x:.1}" y1="{y_end}" y2="{}"/>"#,
                y_end + 5.0
            ));
            self.text((x, y_end + 20.0), "tick middle", &label);
        }
        self.push(format_args!(r#"<line class="axis" x1="{LEFT}" x2="{x_end}" y1="{y_end}" y2="{y_end}"/>"#));
        let (x_title, y_title) = (self.x.title, self.y.title);
        self.text(((LEFT + x_end) / 2.0, HEIGHT - 8.0), "title middle", x_title);
        self.text((0.0, 14.0), "title", y_title);
    }

    fn push(&mut self, element: std::fmt::Arguments) {
        writeln!(self.body, "{element}").expect("writing to a string cannot fail");
    }

    /// Text at a position in pixels.
    fn text(&mut self, (x, y): Point, class: &str, text: &str) {
        let text = escape(text);
        self.push(format_args!(r#"<text class="{class}" x="{x:.1}" y="{y:.1}">{text}</text>"#));
    }

    /// A line through the points; points that are not finite interrupt it.
    pub(super) fn line(&mut self, class: &str, points: impl IntoIterator<Item = Point>) {
        let mut path = String::new();
        let mut pen_down = false;
        for (x, y) in points {
            if !x.is_finite() || !y.is_finite() {
                pen_down = false;
                continue;
            }
            let command = if pen_down { 'L' } else { 'M' };
            write!(path, "{command}{:.1} {:.1}", self.px(x), self.py(y)).expect("writing to a string cannot fail");
            pen_down = true;
        }
        self.push(format_args!(r#"<path class="line {class}" d="{path}"/>"#));
    }

    /// A dashed line across the plot with a label above its left end.
    pub(super) fn level(&mut self, value: f64, label: &str) {
        let (y, x_end) = (self.py(value), WIDTH - self.right);
        self.push(format_args!(r#"<line class="level" x1="{LEFT}" x2="{x_end}" y1="{y:.1}" y2="{y:.1}"/>"#));
        self.text((LEFT + 8.0, y - 8.0), "label", label);
    }

    /// A point that says `tip` under the pointer.
    pub(super) fn mark(&mut self, class: &str, point: Point, tip: &str) {
        let (x, y) = (self.px(point.0), self.py(point.1));
        let tip = escape(tip);
        self.push(format_args!(
            r#"<circle class="dot {class}" cx="{x:.1}" cy="{y:.1}" r="5"><title>{tip}</title></circle>"#
        ));
    }

    /// A point with a label.
    pub(super) fn point(&mut self, class: &str, point: Point, label: &str) {
        let (x, y) = (self.px(point.0), self.py(point.1));
        self.mark(class, point, label);
        // Above and to the right, where a falling curve leaves room; a label near the right end would leave the plot.
        if self.x.scale.at(point.0) > 0.85 {
            self.text((x + 5.0, y - 12.0), "label end", label);
        } else {
            self.text((x + 8.0, y - 8.0), "label", label);
        }
    }

    /// Labels beside the right end of lines, moved apart where they would overlap.
    pub(super) fn end_labels(&mut self, labels: &[(&str, f64, String)]) {
        const APART: f64 = 16.0;
        let mut placed: Vec<(f64, &str, &str)> =
            labels.iter().map(|(class, value, text)| (self.py(*value), *class, text.as_str())).collect();
        placed.sort_by(|a, b| a.0.total_cmp(&b.0));
        for at in 1..placed.len() {
            placed[at].0 = placed[at].0.max(placed[at - 1].0 + APART);
        }
        let mut floor = HEIGHT - BOTTOM;
        for label in placed.iter_mut().rev() {
            label.0 = label.0.min(floor);
            floor = label.0 - APART;
        }
        for (y, class, text) in placed {
            self.text((WIDTH - self.right + 10.0, y + 4.0), &format!("label ink-{class}"), text);
        }
    }

    /// The finished plot; `description` is what a screen reader says.
    pub(super) fn finish(self, description: &str) -> String {
        let description = escape(description);
        format!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{description}\">\n{}</svg>\n",
            self.body
        )
    }
}
