use parsimon_core::{CancelFlag, NoProgress};

use super::*;
use crate::warc::{WarcOptions, WarcReader};

fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (path, bytes) in files {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    dir
}

fn options(root: &Path, out: &Path) -> PackOptions {
    PackOptions {
        root: root.to_owned(),
        include: vec!["**".to_owned()],
        exclude: Vec::new(),
        base_url: "https://doc.example/base/".to_owned(),
        date: "2026-01-01T00:00:00Z".to_owned(),
        shard_bytes: 1 << 20,
        out: out.to_owned(),
    }
}

fn run(options: &PackOptions) -> Result<PackReport, CurateError> {
    pack_pages(options, &|| 0.0, &Control { progress: &NoProgress, cancel: &CancelFlag::new() })
}

fn urls(out: &Path, report: &PackReport) -> Vec<String> {
    let files =
        report.files.iter().flat_map(|file| WarcReader::open(&out.join(&file.file), WarcOptions::default()).unwrap());
    files.filter_map(|record| record.unwrap().target_uri().map(str::to_owned)).collect()
}

#[test]
fn pages_in_byte_order_of_their_paths() {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(b"<p>compressed").unwrap();
    let compressed = encoder.finish().unwrap();
    let root = folder(&[
        ("b/x y.html", b"<p>b"),
        ("a.html", b"<p>a"),
        ("c/z.html.gz", &compressed),
        ("b/skip.txt", b"no"),
        ("b/de/out.html", b"no"),
    ]);
    let out = tempfile::tempdir().unwrap();
    let options = PackOptions { exclude: vec!["b/{de,fr}/**".to_owned()], ..options(root.path(), out.path()) };
    let report = run(&options).unwrap();
    let base = "https://doc.example/base";
    let expected = [format!("{base}/a.html"), format!("{base}/b/x%20y.html"), format!("{base}/c/z.html")];
    assert_eq!(urls(out.path(), &report), expected);
    assert_eq!((report.pages, report.records, report.files.len()), (3, 4, 1));
    assert_eq!(report.html_bytes, 4 + 4 + 13);
    let read: PackReport = parsimon_core::io::read_json(&out.path().join("pack.json")).unwrap();
    assert_eq!(read, report);
}

#[test]
fn shards_by_bytes_and_no_stale_ones() {
    let root = folder(&[("1.html", &[b'a'; 10]), ("2.html", &[b'b'; 10]), ("3.html", &[b'c'; 10])]);
    let out = tempfile::tempdir().unwrap();
    let many = run(&PackOptions { shard_bytes: 10, ..options(root.path(), out.path()) }).unwrap();
    assert_eq!(many.files.len(), 3);
    let two = run(&PackOptions { shard_bytes: 11, ..options(root.path(), out.path()) }).unwrap();
    assert_eq!(two.files.iter().map(|file| file.records).collect::<Vec<_>>(), [3, 2]);
    assert!(!out.path().join("00002.warc.gz").exists());
    let first = std::fs::read(out.path().join("00000.warc.gz")).unwrap();
    run(&PackOptions { shard_bytes: 11, ..options(root.path(), out.path()) }).unwrap();
    assert_eq!(std::fs::read(out.path().join("00000.warc.gz")).unwrap(), first);
}

#[test]
fn bad_arguments() {
    use parsimon_core::Diagnose;
    let root = folder(&[("1.html", b"a")]);
    let out = tempfile::tempdir().unwrap();
    let good = options(root.path(), out.path());
    let cases = [
        (PackOptions { date: "yesterday".to_owned(), ..good.clone() }, "BadArgument"),
        (PackOptions { base_url: "nowhere".to_owned(), ..good.clone() }, "BadArgument"),
        (PackOptions { include: vec!["[".to_owned()], ..good.clone() }, "BadArgument"),
        (PackOptions { include: vec!["*.pdf".to_owned()], ..good.clone() }, "NoInput"),
        (PackOptions { root: root.path().join("absent"), ..good.clone() }, "Io"),
    ];
    for (options, variant) in cases {
        let error = run(&options).unwrap_err();
        assert_eq!(error.variant(), variant);
        assert!(error.is_bad_input(), "{error}");
    }
    assert_eq!(
        std::fs::read_dir(out.path()).unwrap().count(),
        0,
        "nothing is written before the arguments are checked"
    );
}
