//! SPFresh: 100 days on which 1 % of the vectors go and as many come, on 50 000 real SIFT vectors, against a fresh build, an index
//! that only appends, and one that moves no vectors.
//!
//! The paper's numbers are of 100 million vectors on an NVMe disk; they stand beside ours to show the shape, not to be met.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context as _;
use parsimon_ann::Compat;
use parsimon_ann::io::VectorFile;

use super::Row;
use crate::ann::churn::{Day, NPROBES, Run, Stream};

const PAPER: &str = "spfresh";

/// One line of a figure.
struct Line {
    name: String,
    days: Vec<Day>,
    fresh: Day,
}

pub(super) fn rows(days: usize, figures: Option<&Path>, peers: Option<&Path>) -> anyhow::Result<Vec<Row>> {
    let Some(data) = crate::ann::data() else { return Ok(Vec::new()) };
    let queries = VectorFile::open(&data.join("photosift_query_1k.u8bin"))?;
    let peers = peers.map(read_peers).transpose()?.unwrap_or_default();
    let mut rows = Vec::new();
    for (stream, file, label) in
        [(Stream::Churn, "photosift_200k.u8bin", "churn"), (Stream::Shift, "photosift_shift_100k.u8bin", "shift")]
    {
        let base = VectorFile::open(&data.join(file))?;
        let mut lines = Vec::new();
        for (name, compat) in [
            ("LIRE", Compat::default()),
            ("no reassign", Compat { no_reassign: true, ..Compat::default() }),
            ("append only", Compat { append_only: true, ..Compat::default() }),
        ] {
            let dir = tempfile::tempdir()?;
            let run = Run {
                base: &base,
                queries: &queries,
                stream,
                start: 50_000,
                days,
                per_day: 500,
                every: (days / 10).max(1),
                compat,
            };
            let (measured, fresh) = run.run(dir.path())?;
            let line = Line { name: format!("{label}, {name}"), days: measured, fresh };
            eprintln!("{}", summary(&line));
            rows.extend(of_line(&line, days));
            lines.push(line);
        }
        let peers: Vec<&Peer> = peers.iter().filter(|peer| peer.stream == label).collect();
        rows.extend(of_peers(&peers, label, days));
        if let Some(dir) = figures {
            std::fs::create_dir_all(dir)?;
            std::fs::write(dir.join(format!("spfresh-{label}.svg")), figure(&lines, &peers))?;
        }
    }
    Ok(rows)
}

/// A line of `benches/compare/hnsw.py days`.
#[derive(serde::Deserialize)]
struct Peer {
    stream: String,
    day: usize,
    /// `day` or `fresh`.
    kind: String,
    recall: f64,
    us: f64,
    insert_us: Option<f64>,
}

fn read_peers(path: &Path) -> anyhow::Result<Vec<Peer>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    text.lines().map(|line| serde_json::from_str(line).with_context(|| path.display().to_string())).collect()
}

fn of_peers(peers: &[&Peer], label: &str, days: usize) -> Vec<Row> {
    let last = peers.iter().filter(|peer| peer.kind == "day").max_by_key(|peer| peer.day);
    let fresh = peers.iter().find(|peer| peer.kind == "fresh");
    let (Some(last), Some(fresh)) = (last, fresh) else { return Vec::new() };
    let row = |name: &str, ours: f64, unit: &'static str| Row {
        paper: PAPER,
        table: "Figures 6 and 7: accuracy and cost over the days",
        row: format!("{label}, hnswlib ef 40: {name}"),
        published: None,
        published_conditions: "-".to_owned(),
        ours: Some(ours),
        unit,
        conditions: format!("hnswlib, f32, M 16, replacing deleted elements, {days} days of 1 %, one thread, CPU time"),
        deviation: None,
    };
    let mut rows = vec![
        row("recall below a fresh build", 100.0 * (fresh.recall - last.recall), "pts"),
        row("a search", last.us, "us"),
    ];
    rows.extend(last.insert_us.map(|us| row("an insert", us, "us")));
    rows
}

fn summary(line: &Line) -> String {
    let mut text = String::new();
    for (name, day) in line.days.iter().map(|day| ("", day)).chain([("fresh ", &line.fresh)]) {
        let _ = write!(text, "{} {name}day {}: stale {:.1} %,", line.name, day.day, 100.0 * day.stale);
        for (nprobe, q) in NPROBES.iter().zip(&day.quality) {
            let _ = write!(text, " np{nprobe} {:.4}@{:.0}", q.recall, q.scan);
        }
        let _ = writeln!(
            text,
            ", p99 scan np16 {:.0}, {} heads, postings {}/{}/{}, {:.0} us search, {:.0} us insert, {:.0} us maintain, {:.1} MB, {} splits, {} merges, {} reassigned",
            day.quality[2].scan_p99,
            day.heads,
            day.posting_p50,
            day.posting_p99,
            day.posting_max,
            day.quality[2].us,
            day.insert_us,
            day.maintain_us,
            day.ram_mb,
            day.counts.splits,
            day.counts.merges,
            day.counts.reassigned
        );
    }
    text
}

fn of_line(line: &Line, days: usize) -> Vec<Row> {
    let conditions = format!("50 000 u8 SIFT of 128, {days} days of 1 %, page cache, one thread, CPU time");
    let row = |name: String, published: Option<f64>, published_conditions: &str, ours: f64, unit: &'static str| Row {
        paper: PAPER,
        table: "Figures 6 and 7: accuracy and cost over the days",
        row: format!("{}: {name}", line.name),
        published,
        published_conditions: published_conditions.to_owned(),
        ours: Some(ours),
        unit,
        conditions: conditions.clone(),
        deviation: published.map(|published| ours / published - 1.0),
    };
    let (Some(first), Some(last)) = (line.days.first(), line.days.last()) else { return Vec::new() };
    let mut rows = Vec::new();
    for (i, nprobe) in NPROBES.iter().enumerate() {
        let loss = 100.0 * (line.fresh.quality[i].recall - last.quality[i].recall);
        rows.push(row(format!("recall below a fresh build, nprobe {nprobe}"), None, "flat", loss, "pts"));
        let ratio = last.quality[i].scan / line.fresh.quality[i].scan;
        rows.push(row(format!("records read over a fresh build's, nprobe {nprobe}"), None, "-", ratio, "x"));
    }
    let p99 = last.quality[2].scan_p99 / first.quality[2].scan_p99;
    rows.push(row("p99 of records read, last over first day, nprobe 16".into(), None, "flat", p99, "x"));
    rows.push(row("stale records".into(), None, "-", 100.0 * last.stale, "%"));
    let inserted = (days * 500) as f64;
    let is_lire = line.name.ends_with("LIRE");
    let splits = 100.0 * last.counts.splits as f64 / inserted;
    rows.push(row("inserts that split".into(), is_lire.then_some(0.4), "100M vectors", splits, "%"));
    if last.counts.splits > 0 {
        let per_split = |n: u64| n as f64 / last.counts.splits as f64;
        let published = |value: f64| is_lire.then_some(value);
        rows.push(row(
            "vectors looked at a split".into(),
            published(5094.0),
            "100M vectors",
            per_split(last.counts.evaluated),
            "",
        ));
        rows.push(row(
            "vectors moved a split".into(),
            published(79.0),
            "100M vectors",
            per_split(last.counts.reassigned),
            "",
        ));
    }
    rows.push(row("foreground of an insert".into(), is_lire.then_some(1500.0), "NVMe, 1.5 ms", last.insert_us, "us"));
    rows.push(row("rebalancing an insert".into(), None, "-", last.maintain_us, "us"));
    rows
}

/// A number of a day that is drawn over the days.
type Figure = fn(&Day) -> f64;

/// Recall and records read over the days, nprobe 8.
fn figure(lines: &[Line], peers: &[&Peer]) -> String {
    let colours = ["#2563eb", "#d97706", "#dc2626"];
    let mut svg = String::from(
        "<svg xmlns='http://www.w3.org/2000/svg' width='720' height='520' font-family='sans-serif' font-size='12'>",
    );
    let panels: [(&str, Figure); 2] = [
        ("recall@10 at nprobe 8", |day| day.quality[1].recall),
        ("records read at nprobe 8", |day| day.quality[1].scan),
    ];
    for (panel, (title, value)) in panels.iter().enumerate() {
        let top = 30.0 + 250.0 * panel as f64;
        // The peer reads no records: it stands in the first panel alone.
        let peers: Vec<&&Peer> = peers.iter().filter(|peer| panel == 0 && peer.kind == "day").collect();
        let ours = lines.iter().flat_map(|line| line.days.iter().chain([&line.fresh]).map(value));
        let all: Vec<f64> = ours.chain(peers.iter().map(|peer| peer.recall)).collect();
        let low = all.iter().copied().fold(f64::INFINITY, f64::min);
        let high = all.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let span = (high - low).max(1e-9);
        let last = lines.iter().flat_map(|line| &line.days).map(|day| day.day).max().unwrap_or(1).max(1) as f64;
        let y = |v: f64| top + 190.0 * (1.0 - (v - low) / span);
        let _ = write!(svg, "<text x='10' y='{}'>{title}: {low:.3} to {high:.3}</text>", top - 10.0);
        for (line, colour) in lines.iter().zip(colours) {
            let points: Vec<String> = line
                .days
                .iter()
                .map(|day| format!("{:.1},{:.1}", 10.0 + 520.0 * day.day as f64 / last, y(value(day))))
                .collect();
            let _ =
                write!(svg, "<polyline fill='none' stroke='{colour}' stroke-width='2' points='{}'/>", points.join(" "));
            let end = line.days.last().map_or(0.0, value);
            let _ = write!(svg, "<text x='540' y='{:.1}' fill='{colour}'>{}</text>", y(end), line.name);
        }
        if let Some(end) = peers.last() {
            let place = |peer: &&&Peer| format!("{:.1},{:.1}", 10.0 + 520.0 * peer.day as f64 / last, y(peer.recall));
            let points: Vec<String> = peers.iter().map(place).collect();
            let _ =
                write!(svg, "<polyline fill='none' stroke='#6b7280' stroke-width='2' points='{}'/>", points.join(" "));
            let _ = write!(svg, "<text x='540' y='{:.1}' fill='#6b7280'>hnswlib, ef 40</text>", y(end.recall));
        }
        if let Some(line) = lines.first() {
            let _ = write!(
                svg,
                "<circle cx='530' cy='{:.1}' r='4'/><text x='540' y='{0:.1}' dy='-12'>fresh build</text>",
                y(value(&line.fresh))
            );
        }
    }
    svg.push_str("</svg>\n");
    svg
}
