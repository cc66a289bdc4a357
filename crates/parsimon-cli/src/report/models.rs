//! The sections about the models: quality against bits, speed, the error of each layer, the table, and what they write.

use super::numbers::{bytes, escape, significant};
use super::run::{Generation, Model};
use super::svg::{Axis, Plot, Point, Scale};

/// Classes of the quantized models' colours, from the most bits to the fewest.
const COLOURS: [&str; 5] = ["s1", "s2", "s3", "s4", "s5"];
/// Class of the trained model.
const TRAINED: &str = "main";

/// The colour of each model, in the order of `models`.
fn coloured(models: &[Model]) -> Vec<(&'static str, &Model)> {
    let mut next = COLOURS.iter().cycle();
    models
        .iter()
        .map(|model| (if model.is_quantized() { next.next().unwrap_or(&TRAINED) } else { TRAINED }, model))
        .collect()
}

pub(super) fn section(models: &[Model]) -> String {
    if models.is_empty() {
        return String::new();
    }
    let mut html = String::from("<section id=\"models\"><h2>Models</h2>\n");
    html.push_str(&table(models));
    html.push_str(&quality(models));
    html.push_str(&speed(models));
    html.push_str(&layers(models));
    html.push_str("</section>\n");
    html
}

/// Perplexity against bits per weight; the trained model is a level.
fn quality(models: &[Model]) -> String {
    let measured: Vec<(&str, Point, &str)> = coloured(models)
        .into_iter()
        .filter(|(_, model)| model.is_quantized() && model.bits_per_weight().is_finite())
        .filter_map(|(class, model)| Some((class, (model.bits_per_weight(), model.ppl()?), model.name.as_str())))
        .collect();
    if measured.is_empty() {
        return String::new();
    }
    let base = models.iter().find(|model| !model.is_quantized()).and_then(Model::ppl);
    let widest = measured.iter().map(|(_, (bits, _), _)| *bits).fold(0.0, f64::max);
    let ppls = measured.iter().map(|(_, (_, ppl), _)| *ppl).chain(base);
    let y = Scale::fitting(ppls);
    let title = if y.is_log() { "perplexity on held-out text (logarithmic)" } else { "perplexity on held-out text" };
    let x = Axis { title: "bits per weight, overheads included", scale: Scale::exact(1.0, (widest + 0.5).ceil()) };
    let mut plot = Plot::new(x, Axis { title, scale: y }, 24.0);
    if let Some(base) = base {
        plot.level(base, &format!("f32: {}", significant(base)));
    }
    plot.line("faint", measured.iter().map(|(_, point, _)| *point));
    for (class, point, name) in &measured {
        plot.point(class, *point, &format!("{name}: {}", significant(point.1)));
    }
    let plot = plot.finish("Perplexity against bits per weight");
    format!(
        "<h3>Quality against size</h3>\n<figure>\n{plot}<figcaption>Lower is better. Dashed: the trained model.</figcaption></figure>\n"
    )
}

/// Tokens per second as bars from zero.
fn speed(models: &[Model]) -> String {
    let measured: Vec<(&str, &str, f64)> = coloured(models)
        .into_iter()
        .filter_map(|(class, model)| Some((class, model.name.as_str(), model.tokens_per_s()?)))
        .collect();
    let Some(fastest) = measured.iter().map(|(_, _, speed)| *speed).max_by(f64::total_cmp) else {
        return String::new();
    };
    let base = models.iter().find(|model| !model.is_quantized()).and_then(Model::tokens_per_s);
    let mut html = String::from(
        "<h3>Speed of generation</h3>\n<p class=\"note\">Tokens per second, one text at a time.</p>\n<div class=\"bars\">\n",
    );
    for (class, name, speed) in measured {
        let ratio = base.filter(|_| class != TRAINED);
        let ratio = ratio.map_or(String::new(), |base| format!(" <i>{:.2}\u{d7} f32</i>", speed / base));
        html.push_str(&format!(
            "<div class=\"bar\"><div class=\"name\">{}</div><div class=\"track\"><span class=\"fill {class}\" style=\"width:{:.2}%\"></span></div>\
             <div class=\"count\"><b>{}</b>{ratio}</div></div>\n",
            escape(name),
            speed / fastest * 100.0,
            significant(speed),
        ));
    }
    html.push_str("</div>\n");
    html
}

/// The relative error of each layer's weights, one line a model.
fn layers(models: &[Model]) -> String {
    let lines: Vec<(&str, &str, Vec<Point>)> = coloured(models)
        .into_iter()
        .filter_map(|(class, model)| {
            let layers = &model.quantization.as_ref()?.layers;
            let points: Vec<Point> =
                layers.iter().enumerate().map(|(at, layer)| (at as f64 + 1.0, layer.rel.unwrap_or(f64::NAN))).collect();
            points.iter().any(|point| point.1.is_finite()).then_some((class, model.name.as_str(), points))
        })
        .collect();
    let count = lines.iter().map(|(_, _, points)| points.len()).max().unwrap_or(0);
    if count < 2 {
        return String::new();
    }
    let errors = || lines.iter().flat_map(|(_, _, points)| points.iter().map(|point| point.1));
    let largest = errors().filter(|error| error.is_finite()).fold(0.0, f64::max);
    let x = Axis { title: "quantized matrix, in the order of the checkpoint", scale: Scale::exact(1.0, count as f64) };
    let y = Axis { title: "relative error of the weights", scale: Scale::linear([0.0, largest]) };
    let mut plot = Plot::new(x, y, 72.0);
    let mut labels = Vec::new();
    for (class, name, points) in &lines {
        plot.line(class, points.iter().copied());
        if let Some(last) = points.iter().rev().find(|point| point.1.is_finite()) {
            labels.push((*class, last.1, (*name).to_owned()));
        }
    }
    plot.end_labels(&labels);
    let plot = plot.finish("Relative quantization error of each matrix");
    format!(
        "<h3>Error of each matrix</h3>\n<figure>\n{plot}<figcaption>|W \u{2212} \u{174}|\u{b2} / |W|\u{b2} in the Frobenius norm.</figcaption></figure>\n{}",
        worst(models)
    )
}

/// The matrix with the largest error of each model.
fn worst(models: &[Model]) -> String {
    let rows: String = models
        .iter()
        .filter_map(|model| {
            let layers = &model.quantization.as_ref()?.layers;
            let finite =
                layers.iter().filter_map(|layer| Some((layer.rel.filter(|rel| rel.is_finite())?, &layer.name)));
            let (rel, name) = finite.max_by(|a, b| a.0.total_cmp(&b.0))?;
            Some(format!("<li>{}: {} at <code>{}</code></li>\n", escape(&model.name), significant(rel), escape(name)))
        })
        .collect();
    if rows.is_empty() { rows } else { format!("<p class=\"note\">Largest:</p><ul class=\"note\">\n{rows}</ul>\n") }
}

fn table(models: &[Model]) -> String {
    let base = models.iter().find(|model| !model.is_quantized());
    let (base_ppl, base_speed) = (base.and_then(Model::ppl), base.and_then(Model::tokens_per_s));
    let mut html = String::from(
        "<div class=\"scroll\"><table>\n<thead><tr><th>model</th><th>bits/weight</th><th>size</th><th>perplexity</th>\
         <th>against f32</th><th>tokens/s</th><th>against f32</th><th>first token</th></tr></thead>\n<tbody>\n",
    );
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "\u{2013}".into());
    for model in models {
        let bits = model.bits_per_weight();
        let first = model.generation.as_ref().and_then(|generation| generation.first_token_ms);
        let cells = [
            or_dash(bits.is_finite().then(|| format!("{bits:.2}"))),
            or_dash(model.bytes.map(bytes)),
            or_dash(model.ppl().map(|ppl| format!("{ppl:.3}"))),
            or_dash(
                model
                    .ppl()
                    .zip(base_ppl)
                    .filter(|_| model.is_quantized())
                    .map(|(ppl, base)| format!("{:+.1} %", (ppl / base - 1.0) * 100.0)),
            ),
            or_dash(model.tokens_per_s().map(significant)),
            or_dash(
                model
                    .tokens_per_s()
                    .zip(base_speed)
                    .filter(|_| model.is_quantized())
                    .map(|(speed, base)| format!("{:.2}\u{d7}", speed / base)),
            ),
            or_dash(first.map(|ms| format!("{} ms", significant(ms)))),
        ];
        let cells: String = cells.iter().map(|cell| format!("<td>{cell}</td>")).collect();
        html.push_str(&format!("<tr><th scope=\"row\">{}</th>{cells}</tr>\n", escape(&model.name)));
    }
    html.push_str("</tbody></table></div>\n");
    let tokens = models.iter().filter_map(|model| model.evaluation.as_ref()).map(|evaluation| evaluation.tokens).max();
    html.push_str("<p class=\"note\">Bits per weight count scales and zero points of the quantized matrices; size is the whole checkpoint.");
    if let Some(tokens) = tokens {
        html.push_str(&format!(" Perplexity over {} held-out tokens.", super::numbers::grouped(tokens)));
    }
    html.push_str("</p>\n");
    html
}

/// What each model wrote.
pub(super) fn samples(models: &[Model]) -> String {
    let texts: Vec<(&str, &str, &str)> = models
        .iter()
        .filter_map(|model| {
            let Generation { text, prompt, .. } = model.generation.as_ref()?;
            Some((model.name.as_str(), prompt.as_deref().unwrap_or_default(), text.as_deref()?))
        })
        .collect();
    if texts.is_empty() {
        return String::new();
    }
    let mut html = String::from("<section id=\"samples\"><h2>Samples</h2>\n");
    for (name, prompt, text) in texts {
        // Some commands return the text with its prompt, some without.
        let text = text.strip_prefix(prompt).unwrap_or(text);
        html.push_str(&format!(
            "<article><h3>{}</h3><blockquote><b>{}</b>{}</blockquote></article>\n",
            escape(name),
            escape(prompt),
            escape(text)
        ));
    }
    html.push_str("</section>\n");
    html
}
