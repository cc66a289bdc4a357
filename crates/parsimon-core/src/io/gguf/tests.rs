use super::*;
use crate::Diagnose;

fn path() -> &'static Path {
    Path::new("test.gguf")
}

/// A small file with a value of every type and tensors of three.
fn sample() -> Vec<u8> {
    let f32s: Vec<u8> = [1f32, -2.0, 0.5].iter().flat_map(|x| x.to_le_bytes()).collect();
    let q8: Vec<u8> = (0..68).collect();
    let mut writer = GgufWriter::new();
    for (key, value) in values() {
        writer.set(key, &value).unwrap();
    }
    writer.tensor("norm.weight", BlockType::F32, &[3]).unwrap();
    writer.tensor("a.weight", BlockType::Q8_0, &[2, 32]).unwrap();
    writer.tensor_of_id("odd.weight", 36, &[8, 32], 36).unwrap();
    written(writer, &[("norm.weight", &f32s), ("a.weight", &q8), ("odd.weight", &q8[..36])])
}

/// Writes the file with the data of its tensors.
fn write(writer: GgufWriter, path: &Path, tensors: &[(&str, &[u8])]) {
    let mut data = writer.create(path).unwrap();
    tensors.iter().for_each(|(name, bytes)| data.write(name, bytes).unwrap());
    data.commit().unwrap();
}

/// The bytes of the file.
fn written(writer: GgufWriter, tensors: &[(&str, &[u8])]) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    write(writer, &path, tensors);
    std::fs::read(&path).unwrap()
}

fn values() -> Vec<(&'static str, Value<'static>)> {
    vec![
        ("general.architecture", Value::String(b"llama")),
        ("u8", Value::U8(1)),
        ("i8", Value::I8(-1)),
        ("u16", Value::U16(2)),
        ("i16", Value::I16(-2)),
        ("u32", Value::U32(3)),
        ("i32", Value::I32(-3)),
        ("u64", Value::U64(u64::MAX)),
        ("i64", Value::I64(i64::MIN)),
        ("f32", Value::F32(0.5)),
        ("f64", Value::F64(0.25)),
        ("bool", Value::Bool(true)),
        ("tokens", Value::Array(Array::of_strings(&["a", "", "\u{2581}b"]))),
        ("scores", Value::Array(Array::of_f32s(&[1.0, -1.5]))),
        ("token_type", Value::Array(Array::of_i32s(&[1, -6]))),
        ("dims", Value::Array(Array::of_u32s(&[7]))),
        ("raw", Value::String(&[0xff, 0xfe])),
    ]
}

fn parse(bytes: &[u8]) -> Result<Directory, FormatError> {
    Directory::parse(path(), bytes, Dialect::Upstream)
}

/// A file of hand-made counts, keys and tensors: `[version, n_tensors, n_keys]`, then `rest`.
fn raw(version: u32, n_tensors: u64, n_keys: u64, rest: &[u8]) -> Vec<u8> {
    let mut bytes = b"GGUF".to_vec();
    bytes.extend(version.to_le_bytes());
    bytes.extend(n_tensors.to_le_bytes());
    bytes.extend(n_keys.to_le_bytes());
    bytes.extend(rest);
    bytes
}

fn string(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    value::write_string(text, &mut bytes);
    bytes
}

/// A tensor entry with dimensions in file order.
fn entry(name: &str, dims: &[u64], type_id: u32, offset: u64) -> Vec<u8> {
    let mut bytes = string(name.as_bytes());
    bytes.extend((dims.len() as u32).to_le_bytes());
    dims.iter().for_each(|dim| bytes.extend(dim.to_le_bytes()));
    bytes.extend(type_id.to_le_bytes());
    bytes.extend(offset.to_le_bytes());
    bytes
}

/// A file of these entries and so many bytes of data.
fn file_of(entries: &[Vec<u8>], data: usize) -> Vec<u8> {
    let mut bytes = raw(3, entries.len() as u64, 0, &entries.concat());
    bytes.resize(bytes.len().next_multiple_of(32) + data, 0);
    bytes
}

#[track_caller]
fn check_error(bytes: &[u8], variant: &str, parts: &[&str]) {
    let error = parse(bytes).expect_err("the file is wrong");
    let text = error.to_string();
    assert_eq!(error.variant(), variant, "{text}");
    assert_eq!(error.file(), Some(path()));
    for part in parts {
        assert!(text.contains(part), "`{text}` should name `{part}`");
    }
}

#[test]
fn every_value_is_read_as_it_was_written() {
    let bytes = sample();
    let directory = parse(&bytes).unwrap();
    let read: Vec<_> = directory.metadata(&bytes).collect();
    assert_eq!(read, values());
    for (key, value) in values() {
        assert_eq!(directory.get(&bytes, key), Some(value), "{key}");
    }
    assert_eq!(directory.get(&bytes, "absent"), None);
    let tokens = directory.get(&bytes, "tokens").unwrap();
    let tokens: Vec<&[u8]> = tokens.as_array().unwrap().strings().unwrap().collect();
    assert_eq!(tokens, [b"a".as_slice(), b"", "\u{2581}b".as_bytes()]);
    assert_eq!(directory.get(&bytes, "token_type").unwrap().as_array().unwrap().to_i64s(), Some(vec![1, -6]));
    assert_eq!(directory.get(&bytes, "u64").unwrap().as_i64(), None);
    assert_eq!(directory.get(&bytes, "i32").unwrap().as_u64(), None);
}

#[test]
fn an_unread_type_leaves_the_file_readable() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    std::fs::write(&path, sample()).unwrap();
    let file = Gguf::open(&path, &OpenOptions::default()).unwrap();
    assert_eq!(file.tensor("norm.weight").unwrap().to_f32().unwrap(), [1.0, -2.0, 0.5]);
    let GgufTensor::Blocks(matrix) = file.tensor("a.weight").unwrap() else { panic!("Q8_0 is blocks") };
    assert_eq!((matrix.block_type(), matrix.m(), matrix.k()), (BlockType::Q8_0, 2, 32));
    let error = file.tensor("odd.weight").unwrap_err();
    assert_eq!((error.variant().as_str(), error.place().as_deref()), ("UnsupportedType", Some("odd.weight")));
    assert!(error.to_string().contains("IQ4_NL_4_4"), "{error}");
    // The padding belongs to it: nothing says where it ends.
    assert_eq!(file.raw("odd.weight").unwrap().len(), 64);
    let missing = file.tensor("b").unwrap_err();
    assert_eq!(missing.variant(), "MissingTensors");
    assert_eq!(file.str("general.architecture").unwrap(), "llama");
    assert_eq!(file.str("absent").unwrap_err().variant(), "MissingKey");
    assert_eq!(file.u64("f32").unwrap_err().variant(), "WrongValueType");
    assert_eq!(file.f64("f64").unwrap(), 0.25);
    assert_eq!(file.array("scores").unwrap().to_f32s(), Some(vec![1.0, -1.5]));
}

#[test]
fn a_scale_that_is_not_finite_is_named_with_its_tensor() {
    let mut blocks = [0; 68];
    blocks[34..36].copy_from_slice(&half::f16::NAN.to_le_bytes());
    let mut writer = GgufWriter::new();
    writer.tensor("w", BlockType::Q8_0, &[2, 32]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    write(writer, &path, &[("w", &blocks)]);
    let file = Gguf::open(&path, &OpenOptions::default()).unwrap();
    let error = file.validate().unwrap_err();
    assert!(error.to_string().contains("`w`") && error.to_string().contains("row 1, block 0"), "{error}");
}

#[test]
fn what_is_no_gguf_is_named() {
    check_error(b"", "NotGguf", &[]);
    check_error(b"GGML\0\0\0\0", "NotGguf", &["GGML"]);
    check_error(&raw(1, 0, 0, &[]), "UnsupportedVersion", &["version 1"]);
    check_error(&raw(0x0300_0000, 0, 0, &[]), "UnsupportedVersion", &["big-endian"]);
    check_error(&raw(4, 0, 0, &[]), "UnsupportedVersion", &["0x4"]);
    assert!(parse(&raw(2, 0, 0, &[])).is_ok());
}

#[test]
fn counts_and_lengths_are_checked_before_anything_is_allocated() {
    check_error(&raw(3, u64::MAX, 0, &[]), "CountTooLarge", &["tensors", "at most 0"]);
    check_error(&raw(3, 0, 1 << 40, &[0; 64]), "CountTooLarge", &["keys", "at most 4"]);
    let value = |key: &[u8], value_type: u32, rest: &[u8]| {
        let mut bytes = [string(key), value_type.to_le_bytes().to_vec(), rest.to_vec()].concat();
        bytes.resize(bytes.len().max(64), 0);
        raw(3, 0, 1, &bytes)
    };
    check_error(&value(b"k", 13, &[]), "Malformed", &["`k`", "13"]);
    check_error(&value(b"k", 7, &[2]), "Malformed", &["truth value of 2"]);
    check_error(&value(&[0xff], 0, &[]), "Malformed", &["key 0 is not UTF-8"]);
    check_error(&value(b"k", 8, &(1u64 << 32).to_le_bytes()), "LimitExceeded", &["`", "4294967296"]);
    check_error(&value(b"k", 8, &1000u64.to_le_bytes()), "Truncated", &["1000"]);
    let array = |element: u32, len: u64, rest: &[u8]| {
        value(b"k", 9, &[&element.to_le_bytes()[..], &len.to_le_bytes(), rest].concat())
    };
    check_error(&array(6, u64::MAX, &[]), "Truncated", &["k"]);
    check_error(&array(8, 1 << 60, &[]), "Truncated", &["`k`"]);
    check_error(&array(9, 1 << 60, &[]), "Truncated", &["`k`"]);
    let nested: Vec<u8> =
        [9u32, 1, 0, 9, 1, 0, 9, 1, 0, 9, 1, 0, 9, 1, 0].iter().flat_map(|w| w.to_le_bytes()).collect();
    check_error(&value(b"k", 9, &nested), "LimitExceeded", &["nesting", "limit is 4"]);
    check_error(&raw(3, 0, 1, &(70000u64).to_le_bytes().repeat(2)), "LimitExceeded", &["key 0", "70000"]);
}

#[test]
fn names_shapes_and_places_are_checked() {
    let f32s = |name: &str, dims: &[u64], offset| entry(name, dims, 0, offset);
    let one = |entry: Vec<u8>| file_of(&[entry], 64);
    check_error(&one(f32s(&"n".repeat(65), &[1], 0)), "LimitExceeded", &["tensor 0", "65"]);
    check_error(&one(f32s("w", &[], 0)), "BadShape", &["`w`", "0 dimensions"]);
    check_error(&one(f32s("w", &[1; 5], 0)), "BadShape", &["5 dimensions"]);
    check_error(&one(f32s("w", &[0], 0)), "BadShape", &["[0]"]);
    check_error(&one(f32s("w", &[1 << 33, 1 << 33], 0)), "BadShape", &["too large"]);
    check_error(&one(entry("w", &[48], 2, 0)), "BadShape", &["Q4_0", "whole blocks of 32"]);
    check_error(&one(f32s("w", &[16], 8)), "Misaligned", &["`w`", "8", "32"]);
    check_error(&one(f32s("w", &[17], 0)), "OutOfBounds", &["`w`", "0..68", "64"]);
    check_error(&one(f32s("w", &[1], u64::MAX - 31)), "OutOfBounds", &["`w`"]);
    check_error(&one(entry("w", &[1], 99, 64)), "OutOfBounds", &["type 99"]);
    let two = |a: Vec<u8>, b: Vec<u8>| file_of(&[a, b], 96);
    check_error(&two(f32s("a", &[9], 0), f32s("b", &[1], 32)), "Overlap", &["`a`", "`b`", "byte 32"]);
    check_error(&two(f32s("b", &[1], 32), entry("a", &[1], 99, 32)), "Overlap", &["`b`", "`a`"]);
    check_error(&two(f32s("a", &[1], 0), f32s("a", &[1], 32)), "DuplicateTensor", &["`a`"]);
    let key = [string(b"k"), 0u32.to_le_bytes().to_vec(), vec![1]].concat();
    check_error(&raw(3, 0, 2, &key.repeat(2)), "DuplicateKey", &["`k`"]);
}

#[test]
fn the_alignment_is_a_key() {
    let key = |bytes: u32| {
        let key = [string(b"general.alignment"), 4u32.to_le_bytes().to_vec(), bytes.to_le_bytes().to_vec()].concat();
        raw(3, 0, 1, &key)
    };
    for bad in [0, 4, 48, 1 << 21] {
        check_error(&key(bad), "BadAlignment", &[&bad.to_string()]);
    }
    assert_eq!(parse(&key(64)).unwrap().alignment, 64);

    let mut writer = GgufWriter::new();
    writer.set("general.alignment", &Value::U32(256)).unwrap();
    writer.tensor("a", BlockType::I8, &[3]).unwrap();
    writer.tensor("b", BlockType::I8, &[1]).unwrap();
    let bytes = written(writer, &[("a", &[1, 2, 3]), ("b", &[4])]);
    let directory = parse(&bytes).unwrap();
    assert_eq!((directory.alignment, directory.tensor("b").unwrap().offset, bytes.len() % 256), (256, 256, 0));
}

#[test]
fn the_writer_refuses_what_a_file_cannot_hold() {
    let mut writer = GgufWriter::new();
    writer.set("k", &Value::U8(1)).unwrap();
    assert_eq!(writer.set("k", &Value::U8(1)), Err(GgufWriteError::DuplicateKey { key: "k".into() }));
    assert!(matches!(writer.set(&"k".repeat(65536), &Value::U8(1)), Err(GgufWriteError::KeyTooLong { .. })));
    let alignment = writer.set("general.alignment", &Value::U32(48));
    assert!(matches!(alignment, Err(GgufWriteError::BadAlignment { .. })));
    writer.tensor("w", BlockType::I8, &[1]).unwrap();
    let mut tensor = |name: &str, shape: &[usize]| writer.tensor(name, BlockType::I8, shape).unwrap_err();
    assert!(matches!(tensor("w", &[1]), GgufWriteError::DuplicateTensor { .. }));
    assert!(matches!(tensor(&"n".repeat(65), &[1]), GgufWriteError::NameTooLong { bytes: 65, .. }));
    assert!(matches!(tensor("v", &[1; 5]), GgufWriteError::BadShape { .. }));
    let blocks = writer.tensor("v", BlockType::Q8_0, &[2, 48]);
    assert!(matches!(blocks, Err(GgufWriteError::NotWholeBlocks { block_len: 32, .. })));
}

#[test]
fn every_truncation_is_a_typed_error_and_no_flipped_bit_panics() {
    let whole = sample();
    // The last tensor is of a type whose length nobody knows: 64 bytes with its padding.
    for len in 0..=whole.len() - 64 {
        assert!(parse(&whole[..len]).is_err(), "{len} bytes of {}", whole.len());
    }
    for bit in 0..whole.len() * 8 {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        if let Ok(directory) = parse(&bytes) {
            assert!(directory.metadata(&bytes).count() <= 17);
        }
    }
}

/// Type number, dimensions and bytes of a tensor at the start of the data.
fn layout_of(dialect: Dialect, id: u32, dims: &[u64], data: usize) -> Result<Directory, FormatError> {
    Directory::parse(path(), &file_of(&[entry("w", dims, id, 0)], data), dialect)
}

/// Every dialect's own types: the name, and what a tensor of `[4, 256]` weights takes if that is known.
#[test]
fn dialects_name_their_types() {
    use Dialect::*;
    for (dialect, id, name, bytes) in [
        (Upstream, 30, "BF16", Some(2048)),
        (TMac, 30, "I2", None),
        (TMac, 33, "I4", None),
        (TMac, 2, "Q4_0", Some(576)),
        (BitnetCpp, 36, "I2_S", Some(288)),
        (Upstream, 36, "IQ4_NL_4_4", None),
        (BitnetCpp, 39, "TL2", None),
        (Upstream, 39, "MXFP4", Some(544)),
        (Vlut, 42, "a vlut type", None),
        (Upstream, 42, "Q2_0", Some(288)),
        (PrismMl, 142, "a PrismML type", None),
        (Ik, 135, "IQ2_BN", Some(4 * 68)),
        (Ik, 202, "an ik type", None),
    ] {
        assert_eq!(directory::type_name(dialect, id), name);
        let directory = layout_of(dialect, id, &[256, 4], 4096).unwrap();
        assert_eq!(directory.tensors[0].bytes, bytes.unwrap_or(4096), "{name}");
    }
    for dialect in Dialect::ALL {
        for block_type in BlockType::all() {
            let foreign = directory::type_name(dialect, block_type.id()) != block_type.name();
            assert!(!foreign || !matches!(dialect, Upstream | PrismMl | Ik), "{dialect:?} {block_type}");
        }
    }
}

#[test]
fn a_file_of_another_dialect_names_it_and_is_not_read_as_that() {
    // 288 bytes: the I2_S of [4, 256]. As upstream's 36 it is a removed type, and lazily refused.
    let directory = layout_of(Dialect::Upstream, 36, &[256, 4], 288).unwrap();
    let bytes = file_of(&[entry("w", &[256, 4], 36, 0)], 288);
    assert_eq!(directory.suggest(&bytes, Dialect::Upstream).unwrap().dialect, Dialect::BitnetCpp);
    // A real IQ4_NL_4_4 of [4, 256] is 576 bytes: no dialect but upstream knows it.
    let bytes = file_of(&[entry("w", &[256, 4], 36, 0)], 576);
    let directory = layout_of(Dialect::Upstream, 36, &[256, 4], 576).unwrap();
    assert_eq!(directory.suggest(&bytes, Dialect::Upstream), None);
    // T-MAC's 2-bit type has the number of BF16, whose bytes would not fit.
    let error = layout_of(Dialect::Upstream, 30, &[256, 4], 320).unwrap_err();
    assert_eq!((error.variant().as_str(), error.place().as_deref()), ("WrongDialect", Some("w")));
    assert!(error.to_string().contains("Dialect::TMac instead of Dialect::Upstream"), "{error}");
    assert!(layout_of(Dialect::TMac, 30, &[256, 4], 320).is_ok());
    // An upstream file needs no suggestion, whatever its architecture.
    let directory = layout_of(Dialect::Upstream, 39, &[256, 4], 544).unwrap();
    assert_eq!(directory.suggest(&file_of(&[entry("w", &[256, 4], 39, 0)], 544), Dialect::Upstream), None);
}

#[test]
fn i2s_tensors_are_read_in_their_dialect() {
    let mut bytes = vec![0b01_01_01_01; 256 + 32];
    bytes[0] = 0b10_00_01_01;
    bytes[256..260].copy_from_slice(&0.5f32.to_le_bytes());
    let mut writer = GgufWriter::new();
    writer.set("general.architecture", &Value::String(b"bitnet-b1.58")).unwrap();
    writer.set("general.file_type", &Value::U32(40)).unwrap();
    writer.tensor_of_id("w", 36, &[4, 256], bytes.len() as u64).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    write(writer, &path, &[("w", &bytes)]);

    let upstream = Gguf::open(&path, &OpenOptions::default()).unwrap();
    let error = upstream.tensor("w").unwrap_err();
    assert!(error.to_string().contains("Dialect::BitnetCpp"), "{error}");
    let file = Gguf::open(&path, &OpenOptions { dialect: Dialect::BitnetCpp }).unwrap();
    let weights = file.tensor("w").unwrap().to_f32().unwrap();
    assert_eq!((weights[0], weights[32], weights[64], weights[96]), (0.5, -0.5, 0.0, 0.0));
}

/// Three files of one tensor each; `change` gets the number of the file, the keys to set, and may change them.
fn split_model(
    dir: &Path,
    change: impl Fn(u16, &mut Vec<(&'static str, Value<'static>)>, &mut String),
) -> std::path::PathBuf {
    for no in 0..3u16 {
        let mut keys = vec![("split.no", Value::U16(no)), ("split.count", Value::U16(3))];
        if no == 0 {
            keys.push(("split.tensors.count", Value::I32(3)));
        }
        let mut tensor = format!("t{no}");
        change(no, &mut keys, &mut tensor);
        let bytes = [no as u8];
        let mut writer = GgufWriter::new();
        keys.iter().for_each(|(key, value)| writer.set(key, value).unwrap());
        writer.tensor(&tensor, BlockType::I8, &[1]).unwrap();
        write(writer, &dir.join(format!("m-0000{}-of-00003.gguf", no + 1)), &[(&tensor, &bytes)]);
    }
    dir.join("m-00001-of-00003.gguf")
}

#[test]
fn a_model_in_several_files_is_opened_by_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let path = split_model(dir.path(), |_, _, _| {});
    let file = Gguf::open(&path, &OpenOptions::default()).unwrap();
    assert_eq!(file.tensors().map(|info| &*info.name).collect::<Vec<_>>(), ["t0", "t1", "t2"]);
    assert_eq!(file.raw("t2").unwrap(), [2]);
    let GgufTensor::Dense(view) = file.tensor("t1").unwrap() else { panic!("integers are dense") };
    assert_eq!((view.to_i64().unwrap(), view.file().ends_with("m-00002-of-00003.gguf")), (vec![1], true));

    let error = |path: &Path| Gguf::open(path, &OpenOptions::default()).unwrap_err().to_string();
    let second = error(&dir.path().join("m-00002-of-00003.gguf"));
    assert!(second.contains("open the one that ends in -00001-of-00003.gguf"), "{second}");
    std::fs::copy(&path, dir.path().join("renamed.gguf")).unwrap();
    let renamed = error(&dir.path().join("renamed.gguf"));
    assert!(renamed.contains("does not end in -00001-of-00003.gguf"), "{renamed}");
    std::fs::remove_file(dir.path().join("m-00003-of-00003.gguf")).unwrap();
    assert!(error(&path).contains("m-00003-of-00003.gguf"));
}

#[test]
fn files_that_do_not_belong_together_are_named() {
    let check = |part: &str, change: fn(u16, &mut Vec<(&'static str, Value<'static>)>, &mut String)| {
        let dir = tempfile::tempdir().unwrap();
        let path = split_model(dir.path(), change);
        let error = Gguf::open(&path, &OpenOptions::default()).unwrap_err().to_string();
        assert!(error.contains(part), "`{error}` should name `{part}`");
    };
    check("expected 1 and 3", |no, keys, _| keys[0].1 = Value::U16(no * 2));
    check("two tensors are named `t0`", |_, _, tensor| *tensor = "t0".into());
    check("split.tensors.count is 4, the files hold 3", |no, keys, _| {
        if no == 0 {
            keys[2].1 = Value::I32(4);
        }
    });
}
