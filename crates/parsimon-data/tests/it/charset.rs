//! The encoding prescan against the conformance cases of html5lib.

use std::io::Read;

use parsimon_data::charset::prescan;

/// Cases whose declaration only a full parser finds (behind 1,024 bytes, or by rules of the tree construction): by number.
const SKIPPED: [usize; 0] = [];

#[test]
fn prescan_goldens() {
    parsimon_testkit::golden("parsimon-data", "data/html5lib", |dir| {
        let file = std::fs::File::open(dir.join("tests1.dat.gz")).unwrap();
        let mut bytes = Vec::new();
        flate2::read::GzDecoder::new(file).read_to_end(&mut bytes).unwrap();
        let mut checked = 0;
        for (number, case) in split(&bytes, b"#data\n").into_iter().skip(1).enumerate() {
            let parts = split(case, b"#encoding\n");
            let [data, encoding] = parts[..] else { panic!("case {number} has no encoding") };
            if SKIPPED.contains(&number) {
                continue;
            }
            let expected = String::from_utf8_lossy(encoding).trim().to_ascii_lowercase();
            // The suite writes the default where nothing is declared.
            let found = prescan(&data[..data.len().min(1024)]).map_or("windows-1252", |encoding| encoding.name());
            assert_eq!(found.to_ascii_lowercase(), expected, "case {number}: {}", data.escape_ascii());
            checked += 1;
        }
        checked
    });
}

fn split<'a>(bytes: &'a [u8], mark: &[u8]) -> Vec<&'a [u8]> {
    let mut starts = vec![0];
    starts.extend(bytes.windows(mark.len()).enumerate().filter(|(_, window)| *window == mark).map(|(at, _)| at));
    let ends = starts.iter().skip(1).copied().chain([bytes.len()]);
    let parts = starts.iter().zip(ends).map(|(&start, end)| &bytes[start..end]);
    parts.map(|part| part.strip_prefix(mark).unwrap_or(part)).collect()
}
