//! `parsimon warc`: packing pages into web archives, listing and checking them.

use std::path::PathBuf;
use std::time::Instant;

use clap::{Args, Subcommand};
use parsimon::data::warc::{PackOptions, WarcOptions, WarcReader, WarcRecord, pack_pages, sha1_base32, sha1_hex};
use parsimon::tensor::Diagnose;
use serde::Serialize;

use crate::context::Context;

/// The largest payload that `ls` decodes for its digest.
const PAYLOAD_BYTES_MAX: usize = 64 << 20;

/// Pack pages into WARC files; list, check and show WARC files.
#[derive(Args)]
pub(crate) struct Warc {
    #[command(subcommand)]
    command: WarcCommand,
}

#[derive(Subcommand)]
enum WarcCommand {
    Pack(Pack),
    Ls(Ls),
    Check(Check),
    Cat(Cat),
}

/// Pack the HTML pages of a folder into WARC files (.warc.gz), repeatable to the byte.
#[derive(Args)]
#[command(
    after_help = "Example: parsimon warc pack --root ~/site --include '**' --base-url https://a.example/ --date 2026-01-01T00:00:00Z --out warc"
)]
struct Pack {
    /// Folder with *.html and *.html.gz files.
    #[arg(long, value_name = "DIR")]
    root: PathBuf,
    /// Globs on paths below the folder; a page is taken when one matches.
    #[arg(long, value_name = "GLOB", num_args = 1.., required = true)]
    include: Vec<String>,
    /// Globs of pages to leave out.
    #[arg(long, value_name = "GLOB", num_args = 1..)]
    exclude: Vec<String>,
    /// A page's address is this followed by its path.
    #[arg(long, value_name = "URL")]
    base_url: String,
    /// WARC-Date of every record.
    #[arg(long, value_name = "YYYY-MM-DDThh:mm:ssZ")]
    date: String,
    /// Start a new file after this many bytes of pages (before compression); suffixes kB, MB, GB.
    #[arg(long, value_name = "N", default_value = "32MB", value_parser = parse_bytes)]
    shard_bytes: u64,
    /// Where 00000.warc.gz and so on and pack.json go.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// List the records of a WARC file.
#[derive(Args)]
#[command(after_help = "Example: parsimon warc ls crawl.warc.gz --json")]
struct Ls {
    /// The file: .warc or .warc.gz.
    file: PathBuf,
}

/// Read WARC files to their end and check their digests; exit status 1 when anything is wrong.
#[derive(Args)]
#[command(after_help = "Example: parsimon warc check crawl.warc.gz")]
struct Check {
    /// The files: .warc, .warc.gz, .warc.zst, .arc.gz.
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

/// Write the block of the record at an offset, or its decoded payload, to standard output.
#[derive(Args)]
#[command(after_help = "Example: parsimon warc cat crawl.warc.gz 2113 --payload")]
struct Cat {
    /// The file.
    file: PathBuf,
    /// The record's offset, as `ls` shows it.
    offset: u64,
    /// The payload of the HTTP response instead of the block.
    #[arg(long)]
    payload: bool,
}

/// What `check` found in a file.
#[derive(Serialize)]
struct Checked {
    file: PathBuf,
    records: u64,
    digests: u64,
    errors: Vec<String>,
}

/// A record or an error, as `ls` lists it.
#[derive(Serialize)]
struct Entry {
    file: PathBuf,
    offset: Option<u64>,
    length: Option<u64>,
    #[serde(rename = "type")]
    kind: Option<String>,
    id: Option<String>,
    uri: Option<String>,
    http_status: Option<u16>,
    mime: Option<String>,
    charset: Option<String>,
    block_sha1: Option<String>,
    payload_sha1: Option<String>,
    error: Option<String>,
}

impl Warc {
    pub(crate) fn run(self, cx: &Context) -> anyhow::Result<()> {
        match self.command {
            WarcCommand::Pack(args) => args.run(cx),
            WarcCommand::Ls(args) => args.run(cx),
            WarcCommand::Check(args) => args.run(cx),
            WarcCommand::Cat(args) => args.run(cx),
        }
    }
}

impl Pack {
    fn run(self, cx: &Context) -> anyhow::Result<()> {
        let Pack { root, include, exclude, base_url, date, shard_bytes, out } = self;
        let options = PackOptions { root, include, exclude, base_url, date, shard_bytes, out };
        let start = Instant::now();
        let report = pack_pages(&options, &|| start.elapsed().as_secs_f64(), &cx.control())?;
        cx.report(&report, |r| {
            format!(
                "{} pages ({:.1} MB) in {} files ({:.1} MB), {:.1} s",
                r.pages,
                r.html_bytes as f64 / 1e6,
                r.files.len(),
                r.warc_bytes as f64 / 1e6,
                r.seconds
            )
        })
    }
}

impl Ls {
    fn run(self, cx: &Context) -> anyhow::Result<()> {
        let mut entries = Vec::new();
        for item in WarcReader::open(&self.file, WarcOptions::default())? {
            entries.push(match item {
                Ok(record) => Entry::of_record(self.file.clone(), &record),
                Err(error) => Entry {
                    offset: error.offset(),
                    error: Some(format!("{}: {error}", error.variant())),
                    ..Entry::empty(self.file.clone())
                },
            });
        }
        cx.report(&entries, |entries| entries.iter().map(Entry::line).collect::<Vec<_>>().join("\n"))
    }
}

impl Check {
    fn run(self, cx: &Context) -> anyhow::Result<()> {
        let mut checked = Vec::new();
        for file in self.files {
            let mut found = Checked { file: file.clone(), records: 0, digests: 0, errors: Vec::new() };
            for item in WarcReader::open(&file, WarcOptions::default())? {
                match item {
                    Ok(record) => {
                        found.records += 1;
                        match block_digest_holds(&record) {
                            Some(true) => found.digests += 1,
                            Some(false) => found
                                .errors
                                .push(format!("byte {}: the block has another digest", record.location().offset)),
                            None => {}
                        }
                    }
                    Err(error) => found.errors.push(format!("{}: {error}", error.variant())),
                }
            }
            checked.push(found);
        }
        cx.report(&checked, |checked| {
            let line = |c: &Checked| {
                let errors: String = c.errors.iter().map(|error| format!("\n  {error}")).collect();
                format!(
                    "{}: {} records, {} digests hold, {} errors{errors}",
                    c.file.display(),
                    c.records,
                    c.digests,
                    c.errors.len()
                )
            };
            checked.iter().map(line).collect::<Vec<_>>().join("\n")
        })?;
        let n: usize = checked.iter().map(|found| found.errors.len()).sum();
        anyhow::ensure!(n == 0, "{n} errors");
        Ok(())
    }
}

/// Whether the SHA-1 in the header is that of the block; `None` where the header has none that is read.
fn block_digest_holds(record: &WarcRecord) -> Option<bool> {
    let digest = record.fields.get("WARC-Block-Digest")?.strip_prefix("sha1:")?;
    Some(
        digest.eq_ignore_ascii_case(&sha1_base32(&record.block))
            || digest.eq_ignore_ascii_case(&sha1_hex(&record.block)),
    )
}

impl Cat {
    fn run(self, _cx: &Context) -> anyhow::Result<()> {
        let records = WarcReader::open(&self.file, WarcOptions::default())?.flatten();
        let record = records.into_iter().find(|record| record.location().offset == self.offset);
        let record = record.ok_or_else(|| {
            let message = format!("{}: no record at byte {}", self.file.display(), self.offset);
            crate::failure::BadInput { file: Some(self.file.clone()), message }
        })?;
        let mut out = std::io::stdout().lock();
        if self.payload {
            let http =
                record.http().ok_or_else(|| crate::failure::BadInput::new("the record holds no HTTP message"))?;
            std::io::Write::write_all(&mut out, &http.payload(PAYLOAD_BYTES_MAX)?)?;
        } else {
            std::io::Write::write_all(&mut out, &record.block)?;
        }
        Ok(())
    }
}

impl Entry {
    fn empty(file: PathBuf) -> Entry {
        Entry {
            file,
            offset: None,
            length: None,
            kind: None,
            id: None,
            uri: None,
            http_status: None,
            mime: None,
            charset: None,
            block_sha1: None,
            payload_sha1: None,
            error: None,
        }
    }

    fn of_record(file: PathBuf, record: &WarcRecord) -> Entry {
        let http = record.http();
        let payload = http.as_ref().map(|http| http.payload(PAYLOAD_BYTES_MAX));
        let (payload_sha1, error) = match payload {
            Some(Ok(payload)) => (Some(sha1_hex(&payload)), None),
            Some(Err(error)) => (None, Some(error.to_string())),
            None => (None, None),
        };
        Entry {
            offset: Some(record.location().offset),
            length: record.location().length,
            kind: Some(record.record_type()),
            id: record.record_id().map(str::to_owned),
            uri: record.target_uri().map(str::to_owned),
            http_status: http.as_ref().and_then(|http| http.status),
            mime: http.as_ref().and_then(|http| http.mime()),
            charset: http.as_ref().and_then(|http| http.charset()),
            block_sha1: Some(sha1_hex(&record.block)),
            payload_sha1,
            error: if record.is_partial { Some("the file ends inside the block".to_owned()) } else { error },
            ..Entry::empty(file)
        }
    }

    fn line(&self) -> String {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let offset = self.offset.map(|offset| offset.to_string()).unwrap_or_default();
        let error = self.error.as_ref().map(|error| format!(" error: {error}")).unwrap_or_default();
        format!("{offset:>12} {:<10} {}{error}", text(&self.kind), text(&self.uri))
    }
}

/// `32MB`, `500kB`, `1GB` or a number.
fn parse_bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let scale: u64 = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1_000,
        "m" | "mb" => 1_000_000,
        "g" | "gb" => 1_000_000_000,
        unit => return Err(format!("unknown unit `{unit}`; use kB, MB or GB")),
    };
    let number: u64 = digits.parse().map_err(|_| format!("`{digits}` is not a whole number"))?;
    number.checked_mul(scale).filter(|&bytes| bytes > 0).ok_or_else(|| "it must be between 1 and 2^64".to_owned())
}
