use parsimon_core::SplitMix64;
use parsimon_core::quant::{GroupQuantized, Zeros};
use xxhash_rust::xxh3::xxh3_64;

use super::*;
use crate::{ActConfig, Backend, PreparedActivations};

/// What the zeros of a matrix become when it is packed.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Kind {
    Uniform,
    Offsets,
    Real,
}

const KINDS: [Kind; 3] = [Kind::Uniform, Kind::Offsets, Kind::Real];

fn matrix(bits: u8, (m, k): (usize, usize), group: usize, kind: Kind, seed: u64) -> GroupQuantized {
    let mut rng = SplitMix64::new(seed);
    let groups = m * k.div_ceil(group);
    let zeros = match kind {
        Kind::Uniform if bits == 2 => Zeros::Points(vec![1; groups]),
        Kind::Uniform => Zeros::Points(vec![1 << (bits - 1); groups]),
        Kind::Offsets => Zeros::Points((0..groups).map(|g| (g % 2) as u16).collect()),
        Kind::Real => Zeros::Real((0..groups).map(|_| rng.next_normal() as f32).collect()),
    };
    // Two bits with uniform zeros are ternary, so that every method takes them.
    let levels = if bits == 2 && kind == Kind::Uniform { 3 } else { 1 << bits };
    let codes = (0..m * k).map(|_| rng.below(levels) as u8).collect();
    let scales = (0..groups).map(|_| rng.next_normal() as f32).collect();
    GroupQuantized { bits, m, k, group, codes, scales, zeros, g_idx: None }
}

fn in_act_order(mut matrix: GroupQuantized) -> GroupQuantized {
    let mut g_idx: Vec<u32> = (0..matrix.k).map(|c| (c / matrix.group) as u32).collect();
    SplitMix64::new(3).shuffle(&mut g_idx);
    matrix.g_idx = Some(g_idx);
    matrix
}

/// The bits of all weights and of a product with two tokens.
fn results(matrix: &LowBitMatrix) -> Vec<u32> {
    let (m, k) = matrix.shape();
    let mut weights = vec![0.0; m * k];
    matrix.dequantize_into(&mut weights);
    let x: Vec<f32> = (0..2 * k).map(|i| (i as f32 * 0.37).sin()).collect();
    let x = PreparedActivations::try_new(&x, 2, k, &ActConfig::for_matrix(matrix)).unwrap();
    let mut y = vec![0.0; 2 * m];
    matrix.matmul_into(&x, &mut y);
    weights.into_iter().chain(y).map(f32::to_bits).collect()
}

fn small() -> Vec<u8> {
    let lut = Kernel::new(Method::Lut, Level::Scalar);
    LowBitMatrix::from_quantized(&matrix(1, (3, 32), 32, Kind::Uniform, 1), Backend::Kernel(lut)).unwrap().to_cache()
}

/// Packs for every kernel that takes the matrix; returns their number.
#[track_caller]
fn check_identity(matrix: &GroupQuantized, kind: Kind, folder: &std::path::Path) -> usize {
    let mut checked = 0;
    for kernel in Kernel::available() {
        let Ok(packed) = LowBitMatrix::from_quantized(matrix, Backend::Kernel(kernel)) else { continue };
        let what = format!("{} bits, G = {}, {kind:?} on {}", matrix.bits, matrix.group, kernel.name());
        let kept = match packed.groups.constants {
            PackedConstants::Uniform(_) => Kind::Uniform,
            PackedConstants::Offsets(_) => Kind::Offsets,
            PackedConstants::Real(_) => Kind::Real,
        };
        assert!(kept == kind || matrix.bits == 8, "{what}: packed as {kept:?}");
        let (bytes, expected) = (packed.to_cache(), results(&packed));
        let copied = LowBitMatrix::from_cache_bytes(&bytes).unwrap();

        // The second of two in one file, at an aligned and an odd place.
        for gap in [64, 1] {
            let path = folder.join(format!("{gap}.pslt"));
            std::fs::write(&path, [vec![0; gap], bytes.clone()].concat()).unwrap();
            let map = Arc::new(Map::open(&path).unwrap());
            let mapped = LowBitMatrix::from_cache(&map, gap..gap + bytes.len()).unwrap();
            assert!(matches!(mapped.stream, Stream::Mapped(_)), "{what}");
            let in_place = matches!(mapped.groups.scales, Values::Mapped(_));
            assert_eq!(in_place, gap == 64 && cfg!(target_endian = "little"), "{what}");
            for loaded in [&copied, &mapped] {
                assert_eq!((loaded.shape(), loaded.bits()), (packed.shape(), packed.bits()), "{what}");
                assert_eq!((loaded.group(), loaded.kernel()), (packed.group(), packed.kernel()), "{what}");
                assert_eq!((loaded.order(), loaded.bytes()), (packed.order(), packed.bytes()), "{what}");
                assert_eq!(results(loaded), expected, "{what}");
                assert_eq!(loaded.to_cache(), bytes, "{what}");
            }
        }
        checked += 1;
    }
    checked
}

#[test]
fn every_kernel_width_and_kind_of_constants_comes_back_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    let mut checked = 0;
    for bits in 1..=8 {
        for kind in KINDS {
            for (group, shape) in [(16, (37, 96)), (32, (300, 100)), (64, (70, 192)), (130, (5, 130))] {
                let matrix = matrix(bits, shape, group, kind, u64::from(bits));
                checked += check_identity(&matrix, kind, folder.path());
                if group < shape.1 {
                    checked += check_identity(&in_act_order(matrix), kind, folder.path());
                }
            }
        }
    }
    assert!(checked >= 8 * 3 * 6, "{checked}");
}

#[test]
fn sections_are_aligned_and_say_how_long_they_are() {
    let matrix = in_act_order(matrix(3, (40, 96), 32, Kind::Real, 2));
    let bytes = LowBitMatrix::from_quantized(&matrix, Backend::Auto).unwrap().to_cache();
    let header = check_envelope(&bytes).unwrap();
    let (m, layout) = header.layout(bytes.len()).unwrap();
    let sections = header.sections(m, &layout).unwrap();
    assert!(sections.iter().all(|section| section.start.is_multiple_of(64)));
    assert_eq!(sections[3].end, bytes.len());
}

#[test]
fn every_truncation_is_an_error() {
    let bytes = small();
    assert!(LowBitMatrix::from_cache_bytes(&bytes).is_ok());
    for len in 0..bytes.len() {
        let expected = if len < HEADER { HEADER } else { bytes.len() } as u64;
        let error = LowBitMatrix::from_cache_bytes(&bytes[..len]).unwrap_err();
        assert_eq!(error, CacheError::Truncated { expected, actual: len as u64 });
    }
    let longer = [&bytes[..], &[0]].concat();
    assert_eq!(read_error(&longer), CacheError::Malformed("there are bytes after the end"));
}

#[test]
fn every_flipped_bit_is_an_error() {
    let bytes = small();
    for bit in 0..8 * bytes.len() {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let error = read_error(&damaged);
        let expected = match bit / 8 {
            0..4 => matches!(error, CacheError::NotACache { .. }),
            4..8 => matches!(error, CacheError::UnsupportedVersion { known: VERSION, .. }),
            48..56 => matches!(error, CacheError::Truncated { .. } | CacheError::Malformed(_)),
            _ => matches!(error, CacheError::ChecksumMismatch { .. }),
        };
        assert!(expected, "bit {bit}: {error}");
    }
}

#[track_caller]
fn read_error(bytes: &[u8]) -> CacheError {
    LowBitMatrix::from_cache_bytes(bytes).expect_err("the cache is not valid")
}

/// A cache with other bytes at a place, and the checksum that belongs to it.
fn forged(bytes: &[u8], at: usize, field: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at..at + field.len()].copy_from_slice(field);
    let checksum = xxh3_64(&[&bytes[..CHECKSUM_AT], &bytes[HEADER..]].concat());
    bytes[CHECKSUM_AT..HEADER].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

#[test]
fn another_instruction_set_is_a_wrong_layout() {
    let foreign = if cfg!(target_arch = "x86_64") { Level::Neon } else { Level::Avx2 };
    let code = LEVELS.iter().position(|&level| level == foreign).unwrap() as u8;
    let error = read_error(&forged(&small(), 9, &[code]));
    assert_eq!(error, CacheError::WrongLayout { wanted: foreign, best: Level::best() });
}

/// What a right checksum does not excuse.
#[test]
fn forged_headers_are_malformed() {
    let lut = small();
    let word = |value: u64| value.to_le_bytes().to_vec();
    let cases: &[(&str, usize, Vec<u8>)] = &[
        ("an unknown method", 8, vec![3]),
        ("an unknown level", 9, vec![LEVELS.len() as u8]),
        ("the kernel does not store codes of this width so", 10, vec![0]),
        ("the kernel does not store codes of this width so", 10, vec![9]),
        ("the kernel does not store codes of this width so", 11, vec![2]),
        ("an unknown kind of constants", 12, vec![3]),
        ("an unknown order of columns", 13, vec![2]),
        ("a reserved byte is not 0", 14, vec![1]),
        ("a reserved byte is not 0", 119, vec![1]),
        ("m, k or group is out of range", 16, word(0)),
        ("the shape is larger than the stream", 16, word(u64::MAX)),
        ("the shape is larger than the stream", 24, word(u64::MAX)),
        ("the length of a section is not what the shape says", 16, word(33)),
        ("m, k or group is out of range", 32, word(0)),
        ("m, k or group is out of range", 32, word(33)),
        ("no kernel reads groups of this size", 32, word(17)),
        ("the unit of the scales is out of range", 40, i32::MAX.to_le_bytes().to_vec()),
        ("an unknown kind of constants", 44, f32::NAN.to_le_bytes().to_vec()),
        ("the length of a section is not what the shape says", 56, word(65)),
        ("the length of a section is not what the shape says", 80, word(u64::MAX)),
        ("a scale or a constant is not finite", HEADER, f16::NAN.to_bits().to_le_bytes().to_vec()),
    ];
    for (what, at, field) in cases {
        assert_eq!(read_error(&forged(&lut, *at, field)), CacheError::Malformed(what), "at {at}: {field:?}");
    }

    let matrix = in_act_order(matrix(2, (3, 64), 32, Kind::Real, 5));
    let bytes = LowBitMatrix::from_quantized(&matrix, Backend::Method(Method::Dot)).unwrap().to_cache();
    let header = check_envelope(&bytes).unwrap();
    let (m, layout) = header.layout(bytes.len()).unwrap();
    let [_, constants, order, _] = header.sections(m, &layout).unwrap();
    let infinite = forged(&bytes, constants.start, &f32::INFINITY.to_le_bytes());
    assert_eq!(read_error(&infinite), CacheError::Malformed("a scale or a constant is not finite"));
    for column in [64u32, u32::from_le_bytes([bytes[order.start + 4], 0, 0, 0])] {
        let twice = forged(&bytes, order.start, &column.to_le_bytes());
        assert_eq!(read_error(&twice), CacheError::Malformed("the order of the columns is no permutation"));
    }
    let elut_of_a_level_without_it = forged(&forged(&lut, 8, &[1]), 9, &[1]);
    if Level::best().includes(Level::Avx2) {
        let expected = CacheError::Malformed("the method has no body of this level");
        assert_eq!(read_error(&elut_of_a_level_without_it), expected);
    }
}

#[test]
fn a_range_beyond_the_file_is_a_truncation() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("small.pslt");
    std::fs::write(&path, small()).unwrap();
    let map = Arc::new(Map::open(&path).unwrap());
    let error = LowBitMatrix::from_cache(&map, 0..map.len() + 1).unwrap_err();
    let (expected, actual) = (map.len() as u64 + 1, map.len() as u64);
    assert_eq!(error, CacheError::Truncated { expected, actual });
}
