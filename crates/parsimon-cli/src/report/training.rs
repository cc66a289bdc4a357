//! The section about training: the loss curve.

use super::numbers::{duration, grouped, short, significant};
use super::page::{Tile, tiles};
use super::run::Training;
use super::svg::{Axis, Plot, Point, Scale};

/// From this many points on, a smoothed line is drawn over the raw one.
const SMOOTHED_FROM: usize = 40;

pub(super) fn section(training: &Training) -> String {
    let loss = training.final_loss.map_or("unknown".into(), |loss| format!("{loss:.3}"));
    let facts = [
        Tile::new("parameters", short(training.parameters as f64), format!("preset {}", training.preset)),
        Tile::new(
            "tokens seen",
            short(training.tokens as f64),
            format!("{} steps, context {}", grouped(training.steps), training.context),
        ),
        Tile::new(
            "time",
            duration(training.seconds),
            format!("{} tokens/s", grouped(training.tokens_per_s.max(0.0) as u64)),
        ),
        Tile::new("final loss", loss, format!("nats per token, seed {}", training.seed)),
    ];
    let mut html = format!("<section id=\"training\"><h2>Training</h2>\n{}", tiles(&facts));
    let points: Vec<Point> = training
        .loss
        .iter()
        .filter_map(|point| Some((point.step as f64, point.loss.filter(|loss| loss.is_finite())?)))
        .collect();
    if points.len() >= 2 {
        html.push_str("<h3>Loss</h3>\n<figure>\n");
        html.push_str(&curve(&points));
        html.push_str("</figure>\n");
    } else {
        html.push_str(&format!("<p class=\"note\">{} points of loss are too few for a curve.</p>\n", points.len()));
    }
    html.push_str("</section>\n");
    html
}

fn curve(points: &[Point]) -> String {
    let last_step = points.last().map_or(1.0, |point| point.0);
    let x = Axis { title: "training step", scale: Scale::exact(points[0].0.min(0.0), last_step.max(1.0)) };
    let y = Axis { title: "loss (nats per token)", scale: Scale::linear(points.iter().map(|point| point.1)) };
    let mut plot = Plot::new(x, y, 92.0);
    let shown = if points.len() >= SMOOTHED_FROM {
        plot.line("raw", points.iter().copied());
        smoothed(points)
    } else {
        points.to_vec()
    };
    let end = shown.last().map_or(f64::NAN, |point| point.1);
    plot.line("main", shown);
    plot.end_labels(&[("main", end, significant(end))]);
    let description = format!("Loss over training steps, from {} to {}", significant(points[0].1), significant(end));
    let note = if points.len() >= SMOOTHED_FROM {
        "<figcaption>Pale: each recorded step. Solid: the mean of the neighbouring steps.</figcaption>\n"
    } else {
        ""
    };
    format!("{}{note}", plot.finish(&description))
}

/// The mean of each point's neighbours, a fiftieth of the curve to each side and fewer near its ends.
fn smoothed(points: &[Point]) -> Vec<Point> {
    let reach = (points.len() / 50).max(2);
    let means = (0..points.len()).map(|at| {
        let reach = reach.min(at).min(points.len() - 1 - at);
        let window = &points[at - reach..=at + reach];
        (points[at].0, window.iter().map(|point| point.1).sum::<f64>() / window.len() as f64)
    });
    means.collect()
}
