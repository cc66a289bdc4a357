//! The encoding prescan against the conformance cases of html5lib.

use std::io::Read;

use parsimon_data::charset::{CharsetSource, decode};
use parsimon_testkit::Cases;

/// Cases by number whose declaration stands behind the 1,024 bytes of a prescan: a browser finds it while it parses and starts again.
const SKIPPED: std::ops::RangeInclusive<usize> = 47..=53;

#[test]
fn prescan_goldens() {
    parsimon_testkit::golden("parsimon-data", "data/html5lib", |dir| {
        let file = std::fs::File::open(dir.join("tests1.dat.gz")).unwrap();
        let mut bytes = Vec::new();
        flate2::read::GzDecoder::new(file).read_to_end(&mut bytes).unwrap();
        let (mut run, mut skipped) = (0, 0);
        for (number, case) in split(&bytes, b"#data\n").into_iter().skip(1).enumerate() {
            let parts = split(case, b"#encoding\n");
            let [data, encoding] = parts[..] else { panic!("case {number} has no encoding") };
            if SKIPPED.contains(&number) {
                skipped += 1;
                continue;
            }
            let expected = String::from_utf8_lossy(encoding).trim().to_ascii_lowercase();
            // The suite writes the default where nothing is declared.
            let decoded = decode(data, None);
            let is_declared = matches!(decoded.source, CharsetSource::Bom | CharsetSource::Meta);
            let found = if is_declared { decoded.charset } else { "windows-1252" };
            assert_eq!(found.to_ascii_lowercase(), expected, "case {number}: {}", data.escape_ascii());
            run += 1;
        }
        Cases { run, skipped }
    });
}

fn split<'a>(bytes: &'a [u8], mark: &[u8]) -> Vec<&'a [u8]> {
    let mut starts = vec![0];
    starts.extend(bytes.windows(mark.len()).enumerate().filter(|(_, window)| *window == mark).map(|(at, _)| at));
    let ends = starts.iter().skip(1).copied().chain([bytes.len()]);
    let parts = starts.iter().zip(ends).map(|(&start, end)| &bytes[start..end]);
    parts.map(|part| part.strip_prefix(mark).unwrap_or(part)).collect()
}
