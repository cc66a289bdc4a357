//! Packing a folder of HTML pages into WARC files.
//!
//! Pages are taken in byte order of their paths, and a file is full when the blocks in it pass `shard_bytes`, so that what is written
//! depends on the folder and the options alone: not on the order of the file system, and not on the number of threads.

use std::io::Read;
use std::path::{Path, PathBuf};

use parsimon_core::io::{AtomicFile, FormatError, Map, write_json};
use parsimon_core::{Control, Unit};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::io::Write;
use url::Url;

use super::writer::{PageRecord, WarcWriter};
use crate::error::CurateError;
use crate::io::{self, GlobList};

/// The largest page that is packed, inflated.
const PAGE_BYTES_MAX: u64 = 64 << 20;

/// Pages that are compressed together; bounds the memory, changes no byte.
const BATCH: usize = 64;

/// What to pack and how.
#[derive(Clone, Debug)]
pub struct PackOptions {
    /// The folder whose pages are packed.
    pub root: PathBuf,
    /// Globs on paths below `root`; a page is taken when one matches. `*.html` and `*.html.gz` files only.
    pub include: Vec<String>,
    /// Globs of pages that are left out.
    pub exclude: Vec<String>,
    /// A page's address is this followed by its path (without `.gz`).
    pub base_url: String,
    /// `WARC-Date` of every record, `YYYY-MM-DDThh:mm:ssZ`.
    pub date: String,
    /// A file is closed once its pages have this many bytes before compression.
    pub shard_bytes: u64,
    /// Where `00000.warc.gz` and so on and `pack.json` go.
    pub out: PathBuf,
}

/// One written file.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct PackFile {
    /// Its name in the output folder.
    pub file: String,
    /// Records in it, with the `warcinfo`.
    pub records: u64,
    /// Its length.
    pub bytes: u64,
}

/// What [`pack_pages`] did; also written as `pack.json`.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub struct PackReport {
    /// The packed folder.
    pub root: PathBuf,
    /// Packed pages.
    pub pages: u64,
    /// Records, with one `warcinfo` a file.
    pub records: u64,
    /// Bytes of the pages.
    pub html_bytes: u64,
    /// Bytes of the files.
    pub warc_bytes: u64,
    /// The files.
    pub files: Vec<PackFile>,
    /// Time by the caller's clock.
    pub seconds: f64,
}

/// Packs the pages of a folder; `clock` gives seconds from any fixed moment, for the report alone.
///
/// WARC files that an earlier run left in the output folder under the same kind of name are removed.
///
/// # Errors
///
/// [`CurateError`]: a bad glob, address or date, no page, files that cannot be read or written, cancellation.
pub fn pack_pages(
    options: &PackOptions,
    clock: &dyn Fn() -> f64,
    control: &Control<'_>,
) -> Result<PackReport, CurateError> {
    let start = clock();
    check_date(&options.date)?;
    let base = Url::parse(&options.base_url).map_err(|e| CurateError::BadArgument {
        what: "the base URL",
        given: options.base_url.clone(),
        reason: e.to_string(),
    })?;
    let pages = list_pages(options)?;
    control.progress.start("pack", Some(pages.len() as u64), Unit::Items("pages"));
    let mut report = PackReport {
        root: options.root.clone(),
        pages: 0,
        records: 0,
        html_bytes: 0,
        warc_bytes: 0,
        files: Vec::new(),
        seconds: 0.0,
    };
    let mut shard: Option<Shard> = None;
    for batch in pages.chunks(BATCH) {
        control.cancel.check().map_err(|_| CurateError::Cancelled)?;
        let members = batch
            .par_iter()
            .map_init(WarcWriter::new, |writer, path| pack_page(writer, options, &base, path))
            .collect::<Result<Vec<_>, _>>()?;
        for (html_bytes, member) in members {
            let open = match &mut shard {
                Some(open) => open,
                None => shard.insert(Shard::open(options, report.files.len())?),
            };
            open.push(&member)?;
            open.html_bytes += html_bytes;
            report.pages += 1;
            report.html_bytes += html_bytes;
            if open.html_bytes >= options.shard_bytes {
                report.files.extend(shard.take().map(Shard::close).transpose()?);
            }
        }
        control.progress.advance(batch.len() as u64);
    }
    report.files.extend(shard.take().map(Shard::close).transpose()?);
    control.progress.finish();
    report.records = report.files.iter().map(|file| file.records).sum();
    report.warc_bytes = report.files.iter().map(|file| file.bytes).sum();
    for index in report.files.len().. {
        if !io::remove_file(&options.out.join(format!("{index:05}.warc.gz")))? {
            break;
        }
    }
    report.seconds = clock() - start;
    write_json(&options.out.join("pack.json"), &report)?;
    Ok(report)
}

/// A WARC file being written.
struct Shard {
    path: PathBuf,
    name: String,
    file: AtomicFile,
    html_bytes: u64,
    records: u64,
    bytes: u64,
}

impl Shard {
    fn open(options: &PackOptions, index: usize) -> Result<Shard, CurateError> {
        let name = format!("{index:05}.warc.gz");
        let path = options.out.join(&name);
        let file = AtomicFile::create(&path)?;
        let mut shard = Shard { path, name, file, html_bytes: 0, records: 0, bytes: 0 };
        let info = WarcWriter::new().warcinfo(&shard.name, &options.date);
        shard.push(&info)?;
        Ok(shard)
    }

    fn push(&mut self, member: &[u8]) -> Result<(), CurateError> {
        self.file.write_all(member).map_err(|e| FormatError::io(&self.path, "write", e))?;
        self.records += 1;
        self.bytes += member.len() as u64;
        Ok(())
    }

    fn close(self) -> Result<PackFile, CurateError> {
        self.file.commit()?;
        Ok(PackFile { file: self.name, records: self.records, bytes: self.bytes })
    }
}

fn list_pages(options: &PackOptions) -> Result<Vec<String>, CurateError> {
    let include = GlobList::new(&options.include)?;
    let exclude = GlobList::new(&options.exclude)?;
    let mut pages = io::list_files(&options.root)?;
    pages.retain(|path| {
        let is_page = path.ends_with(".html") || path.ends_with(".html.gz");
        is_page && (options.include.is_empty() || include.matches(path)) && !exclude.matches(path)
    });
    if pages.is_empty() {
        let patterns = options.include.join(" ");
        return Err(CurateError::NoInput { place: options.root.clone(), patterns });
    }
    Ok(pages)
}

fn pack_page(
    writer: &mut WarcWriter,
    options: &PackOptions,
    base: &Url,
    path: &str,
) -> Result<(u64, Vec<u8>), CurateError> {
    let file = options.root.join(path);
    let map = Map::open(&file)?;
    let inflated;
    let payload: &[u8] = if path.ends_with(".gz") {
        inflated = inflate(&file, &map)?;
        &inflated
    } else {
        &map
    };
    if payload.len() as u64 > PAGE_BYTES_MAX {
        let what = "the page's length".into();
        return Err(
            FormatError::LimitExceeded { file, what, given: payload.len() as u64, limit: PAGE_BYTES_MAX }.into()
        );
    }
    // Not `Url::join`: that would let a path such as `//elsewhere` leave the base.
    let mut url = base.clone();
    url.set_path(&format!("{}/{}", base.path().trim_end_matches('/'), path.trim_end_matches(".gz")));
    let page = PageRecord { url: url.as_str(), date: &options.date, content_type: "text/html", payload };
    Ok((payload.len() as u64, writer.response(&page)))
}

fn inflate(file: &Path, bytes: &[u8]) -> Result<Vec<u8>, CurateError> {
    let mut out = Vec::new();
    let reader = flate2::read::MultiGzDecoder::new(bytes);
    reader.take(PAGE_BYTES_MAX + 1).read_to_end(&mut out).map_err(|e| FormatError::Malformed {
        file: file.to_owned(),
        format: "gzip",
        reason: e.to_string(),
    })?;
    Ok(out)
}

fn check_date(date: &str) -> Result<(), CurateError> {
    let pattern = b"dddd-dd-ddTdd:dd:ddZ";
    let fits = |(&b, &p): (&u8, &u8)| if p == b'd' { b.is_ascii_digit() } else { b == p };
    if date.len() == pattern.len() && date.as_bytes().iter().zip(pattern).all(fits) {
        return Ok(());
    }
    let reason = "expected YYYY-MM-DDThh:mm:ssZ".to_owned();
    Err(CurateError::BadArgument { what: "the date", given: date.to_owned(), reason })
}

#[cfg(test)]
mod tests;
