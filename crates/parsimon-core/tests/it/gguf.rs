//! GGUF files that another program wrote: reading, writing again, and damage.

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use parsimon_core::io::gguf::{Gguf, GgufTensor, GgufWriter, OpenOptions as Options};

/// Bytes of a file whose damage is tested one by one: its directory.
const DAMAGED_BYTES: u64 = 4096;

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.filter(|path| path.extension().is_some_and(|e| e == "gguf")).collect();
    files.sort();
    files
}

fn each(check: fn(&Path)) {
    crate::shared_and_committed("formats/gguf_tiny", |dir| {
        let files = files(dir);
        files.iter().for_each(|path| check(path));
        files.len()
    });
}

fn open(path: &Path) -> Gguf {
    Gguf::open(path, &Options::default()).unwrap()
}

#[test]
fn tiny_models_are_read() {
    each(|path| {
        let file = open(path);
        assert_eq!((file.version(), file.alignment(), file.str("general.architecture").unwrap()), (3, 32, "llama"));
        assert_eq!(file.u64("llama.vocab_size").unwrap(), 384);
        assert_eq!(file.array("tokenizer.ggml.tokens").unwrap().strings().unwrap().count(), 384);
        assert_eq!(file.suggestion(), None);
        file.validate().unwrap();
        let mut blocks = 0;
        for info in file.tensors() {
            let tensor = file.tensor(&info.name).unwrap();
            let weights = tensor.to_f32().unwrap();
            assert_eq!(weights.len() as u64, info.elements(), "{}", info.name);
            assert!(weights.iter().all(|w| w.is_finite()) && weights.iter().any(|&w| w != 0.0), "{}", info.name);
            if let GgufTensor::Blocks(matrix) = tensor {
                blocks += 1;
                assert_eq!([matrix.m(), matrix.k()], *info.shape);
                let converted = matrix.to_group_quantized().unwrap();
                assert_eq!((converted.m, converted.k), (matrix.m(), matrix.k()));
            }
        }
        assert_eq!((file.tensors().count(), blocks), (12, 9));
    });
}

#[test]
fn reading_and_writing_again_gives_the_same_bytes() {
    each(|path| {
        let file = open(path);
        let mut writer = GgufWriter::new();
        file.metadata().for_each(|(key, value)| writer.set(key, &value).unwrap());
        for info in file.tensors() {
            writer
                .tensor_of_id(&info.name, info.type_id, &info.shape, file.raw(&info.name).unwrap().len() as u64)
                .unwrap();
        }
        let dir = tempfile::tempdir().unwrap();
        let copy = dir.path().join("copy.gguf");
        let mut data = writer.create(&copy).unwrap();
        file.tensors().for_each(|info| data.write(&info.name, file.raw(&info.name).unwrap()).unwrap());
        data.commit().unwrap();
        assert!(std::fs::read(&copy).unwrap() == std::fs::read(path).unwrap(), "{}", path.display());
        assert!(open(&copy).tensors().eq(file.tensors()));
    });
}

/// A writable copy.
fn copy(path: &Path) -> (tempfile::TempDir, PathBuf, File) {
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("damaged.gguf");
    std::fs::write(&copy, std::fs::read(path).unwrap()).unwrap();
    let file = OpenOptions::new().write(true).open(&copy).unwrap();
    (dir, copy, file)
}

#[test]
fn every_truncation_is_a_typed_error() {
    each(|path| {
        let (_dir, copy, file) = copy(path);
        for len in (0..DAMAGED_BYTES).rev() {
            file.set_len(len).unwrap();
            let error = Gguf::open(&copy, &Options::default()).expect_err("a cut file is not whole");
            assert!(error.to_string().contains("damaged.gguf"), "{error}");
        }
    });
}

#[test]
fn no_flipped_bit_makes_the_reader_panic() {
    each(|path| {
        let (_dir, copy, mut file) = copy(path);
        let bytes = std::fs::read(path).unwrap();
        // The list of tensors ends the directory; a few bits of every byte of both parts.
        let tensors_at = bytes.windows(13).position(|window| window == b"output.weight").unwrap() as u64;
        let places = (0..DAMAGED_BYTES / 4).chain(tensors_at - 16..tensors_at + 1024);
        for (i, at) in places.enumerate() {
            let byte = bytes[at as usize];
            for bit in [i % 8, (i + 3) % 8] {
                put(&mut file, at, byte ^ 1 << bit);
                if let Ok(gguf) = Gguf::open(&copy, &Options::default()) {
                    let values = gguf.metadata().count();
                    let read = gguf.tensors().filter(|info| gguf.tensor(&info.name).is_ok()).count();
                    assert!(values <= 22 && read <= 12);
                }
            }
            put(&mut file, at, byte);
        }
    });
}

fn put(file: &mut File, at: u64, byte: u8) {
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(&[byte]).unwrap();
}
