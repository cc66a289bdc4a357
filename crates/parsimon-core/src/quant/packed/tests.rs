use std::collections::BTreeMap;

use super::bitnet::ScaleRule;
use super::i2s::{I2sBlock, I2sMatrix};
use super::tmac::{TmacScales, TmacTile};
use super::*;
use crate::io::{Checkpoint, TensorData, write_safetensors};
use crate::quant::Zeros;
use crate::{DType, SplitMix64};

type Tensors = BTreeMap<String, TensorData>;

fn i32s(shape: &[usize]) -> TensorData {
    TensorData::from_i32(shape, &vec![0; shape.iter().product()])
}

fn f32s(shape: &[usize]) -> TensorData {
    TensorData::from_f32(shape, &vec![1.0; shape.iter().product()])
}

fn u8s(shape: &[usize], byte: u8) -> TensorData {
    TensorData { dtype: DType::U8, shape: shape.to_vec(), bytes: vec![byte; shape.iter().product()] }
}

fn tensors<const N: usize>(entries: [(&str, TensorData); N]) -> Tensors {
    entries.into_iter().map(|(name, data)| (name.to_owned(), data)).collect()
}

/// Reads `tensors` and expects an error of this variant that names the tensor and `part`.
#[track_caller]
fn check_error(
    tensors: &Tensors,
    read: impl Fn(&Checkpoint) -> Result<GroupQuantized, PackedError>,
    variant: &str,
    place: &str,
    part: &str,
) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.safetensors");
    write_safetensors(&path, tensors, None).unwrap();
    let error = read(&Checkpoint::open(&path).unwrap()).expect_err("the tensors are wrong");
    let text = error.to_string();
    assert_eq!((error.variant().as_str(), error.place().as_deref()), (variant, Some(place)), "{text}");
    assert!(text.contains(place) && text.contains(part), "`{text}` should name `{place}` and `{part}`");
}

#[test]
fn awq_names_what_is_wrong() {
    let config = |version: &str, bits, group_size| awq::AwqConfig { bits, group_size, version: version.into() };
    let good = || tensors([("p.qweight", i32s(&[64, 2])), ("p.qzeros", i32s(&[2, 2])), ("p.scales", f32s(&[2, 16]))]);
    let check = |tensors: &Tensors, config: awq::AwqConfig, variant, place, part| {
        check_error(tensors, |checkpoint| awq::unpack(checkpoint, "p", &config), variant, place, part);
    };
    check(&good(), config("gemv", 4, 32), "Unsupported", "p.qweight", "gemv");
    check(&good(), config("gemm", 3, 32), "Unsupported", "p.qweight", "3");
    check(&good(), config("gemm", 4, 16), "Mismatch", "p.scales", "group_size 16");
    check(&good(), config("gemm", 4, -2), "Mismatch", "p.scales", "group_size -2");
    let mut bad = good();
    bad.insert("p.qzeros".into(), i32s(&[2, 3]));
    check(&bad, config("GEMM", 4, 32), "Shape", "p.qzeros", "[2, 3]");
    bad.remove("p.scales");
    check(&bad, config("gemm", 4, 32), "MissingTensors", "p.scales", "missing");
    let mut flat = good();
    flat.insert("p.qweight".into(), i32s(&[128]));
    check(&flat, config("gemm", 4, 32), "Mismatch", "p.qweight", "[128]");
    let mut infinite = good();
    infinite.insert("p.scales".into(), TensorData::from_f32(&[2, 16], &[f32::INFINITY; 32]));
    check(&infinite, config("gemm", 4, 32), "NonFiniteScale", "p.qweight", "not finite");
}

/// `k` need not be whole blocks of the eight inputs that are unpacked together.
#[test]
fn awq_codes_are_where_the_table_says() {
    let (k, words) = (13, 3);
    let mut rng = SplitMix64::new(2);
    let qweight: Vec<i32> = (0..k * words).map(|_| rng.next_u64() as i32).collect();
    let tensors = tensors([
        ("qweight", TensorData::from_i32(&[k, words], &qweight)),
        ("qzeros", i32s(&[1, words])),
        ("scales", f32s(&[1, 8 * words])),
    ]);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.safetensors");
    write_safetensors(&path, &tensors, None).unwrap();
    let config = awq::AwqConfig { bits: 4, group_size: -1, version: "gemm".into() };
    let matrix = awq::unpack(&Checkpoint::open(&path).unwrap(), "", &config).unwrap();
    for (r, row) in matrix.codes.chunks(k).enumerate() {
        let nibble = [0, 4, 1, 5, 2, 6, 3, 7][r % 8];
        for (c, &code) in row.iter().enumerate() {
            assert_eq!(u32::from(code), qweight[c * words + r / 8] as u32 >> (4 * nibble) & 15, "row {r}, column {c}");
        }
    }
}

#[test]
fn efficient_qat_reads_either_packing_of_three_bits_by_shape() {
    let read = |bits| move |checkpoint: &Checkpoint| efficient_qat::unpack(checkpoint, "", bits);
    let of_shapes = |rows, cols| {
        tensors([
            ("qweight", i32s(&[rows, 32])),
            ("qzeros", i32s(&[2, cols])),
            ("scales", f32s(&[2, 32])),
            ("g_idx", i32s(&[64])),
        ])
    };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.safetensors");
    for (rows, cols) in [(7, 4), (6, 3)] {
        write_safetensors(&path, &of_shapes(rows, cols), None).unwrap();
        let matrix = read(3)(&Checkpoint::open(&path).unwrap()).unwrap();
        assert_eq!((matrix.k, matrix.m, matrix.group), (64, 32, 32));
    }
    check_error(&of_shapes(5, 4), read(3), "Mismatch", "qweight", "64 codes of 3 bits");
    check_error(&of_shapes(7, 5), read(3), "Mismatch", "qzeros", "[2, 5]");
    check_error(&of_shapes(7, 4), read(5), "UnsupportedBits", "qweight", "5-bit");
    let mut top = of_shapes(7, 4);
    top.insert("qweight".into(), TensorData::from_i32(&[7, 32], &[-1; 7 * 32]));
    check_error(&top, read(3), "Mismatch", "qweight", "0xffffffff");
    let mut far = of_shapes(7, 4);
    far.insert("g_idx".into(), TensorData::from_i32(&[64], &[2; 64]));
    check_error(&far, read(3), "GroupIndexOutOfRange", "qweight", "g_idx[0]");
}

#[test]
fn bitnet_says_what_the_scale_does() {
    assert_eq!(ScaleRule::from_linear_class(Some("autobitlinear")).unwrap(), ScaleRule::Multiply);
    assert_eq!(ScaleRule::from_linear_class(Some("bitlinear")).unwrap(), ScaleRule::Divide);
    assert_eq!(ScaleRule::from_linear_class(None).unwrap(), ScaleRule::Divide);
    assert!(ScaleRule::from_linear_class(Some("linear")).unwrap_err().to_string().contains("`linear`"));

    let of = |byte, scale: f32| {
        tensors([("weight", u8s(&[2, 4], byte)), ("weight_scale", TensorData::from_f32(&[1], &[scale]))])
    };
    let read = |rule| move |checkpoint: &Checkpoint| bitnet::unpack(checkpoint, "", rule);
    check_error(&of(0b0011_0000, 1.0), read(ScaleRule::Multiply), "NotTernary", "weight", "code 3 at row 4, column 0");
    check_error(&of(0, 0.0), read(ScaleRule::Divide), "NonFiniteScale", "weight_scale", "not finite");
    let mut two = of(0, 1.0);
    two.insert("weight_scale".into(), f32s(&[2]));
    check_error(&two, read(ScaleRule::Divide), "Mismatch", "weight_scale", "is 2, expected 1");
    two.insert("weight".into(), i32s(&[2, 4]));
    check_error(&two, read(ScaleRule::Divide), "Mismatch", "weight", "expected U8");
}

#[test]
fn float_weights_become_ternary_around_their_mean() {
    let matrix = bitnet::ternarize(&[1.0, -0.2, 0.6, -2.2], 2, 2).unwrap();
    assert_eq!((matrix.codes.as_slice(), matrix.scales.as_slice()), (&[2, 1, 2, 0][..], &[1.0, 1.0][..]));
    assert_eq!(matrix.validate(), Ok(()));
    assert_eq!(bitnet::ternarize(&[0.0; 4], 1, 4).unwrap().scales, [1e-5]);
    assert_eq!(bitnet::ternarize(&[f32::NAN], 1, 1), Err(QuantError::NonFiniteWeight { row: 0, col: 0 }));
}

#[test]
fn i2s_checks_its_length_and_its_block() {
    let error = |m, k, bytes: &[u8], block| {
        I2sMatrix::try_new("t", m, k, bytes).and_then(|matrix| matrix.to_group_quantized(block)).unwrap_err()
    };
    assert!(matches!(error(2, 64, &[0; 63], I2sBlock::X86), PackedError::ByteLength { expected: 64, actual: 63, .. }));
    assert!(matches!(error(1, 64, &[0; 48], I2sBlock::X86), PackedError::Mismatch { .. }));
    assert!(matches!(error(1, 65, &[0; 48], I2sBlock::X86), PackedError::Mismatch { .. }));
    assert!(matches!(error(1, 64, &[3; 48], I2sBlock::Arm64), PackedError::NotTernary { row: 0, col: 48, .. }));
    assert_eq!(I2sMatrix::try_new("t", 1, 64, &[0; 48]).unwrap().scale(), 0.0);
}

/// The formula of the module's docs, applied to write what the reader must give back.
fn permute(codes: &[u8], tile: &TmacTile) -> Vec<u8> {
    let &TmacTile { bits, m, k, bm, kfactor } = tile;
    let b = usize::from(bits);
    let mut bytes = vec![0; m * k * b / 8];
    for (i, &code) in codes.iter().enumerate() {
        let (row, col) = (i / k, i % k);
        for plane in 0..b {
            let permuted = (row / 8) * 8 * b + plane * 8 + row % 8;
            let (mo, r, ko, ki) = (permuted / bm, permuted % bm, col / 4 / kfactor, col / 4 % kfactor);
            let byte = ((mo * (k / 4 / kfactor) + ko) * (bm / 32) + r / 32) * kfactor * 16 + ki * 16 + r % 16;
            bytes[byte] |= (code >> plane & 1) << (4 * (r % 32 / 16) + col % 4);
        }
    }
    bytes
}

#[test]
fn tmac_tiles_of_every_width_are_undone() {
    let mut rng = SplitMix64::new(9);
    for (bits, m, k, bm, kfactor) in
        [(1, 64, 32, 32, 8), (2, 128, 64, 128, 16), (3, 64, 64, 96, 4), (4, 64, 32, 256, 8)]
    {
        let tile = TmacTile { bits, m, k, bm, kfactor };
        let codes: Vec<u8> = (0..m * k).map(|_| rng.below(1 << bits) as u8).collect();
        let bytes = permute(&codes, &tile);
        assert_eq!(tmac::unpack_codes("t", &bytes, &tile).unwrap(), codes, "{bits} bits");
        for zeros in [false, true] {
            let values: Vec<f32> = (0..m * if zeros { 2 } else { 1 }).map(|i| i as f32).collect();
            let scales = TmacScales { group: k, values: &values, zeros };
            let matrix = tmac::unpack("t", &bytes, scales, &tile).unwrap();
            let stride = if zeros { 16.0 } else { 8.0 };
            assert_eq!((matrix.scales[0], matrix.scales[9]), (0.0, stride + 1.0));
            match &matrix.zeros {
                Zeros::Real(reals) => assert_eq!(reals[9], 25.0),
                Zeros::Points(points) => assert_eq!(points[9], 1 << (bits - 1)),
            }
        }
    }
}

#[test]
fn tmac_refuses_a_configuration_that_does_not_fit() {
    let good = TmacTile { bits: 2, m: 64, k: 64, bm: 64, kfactor: 8 };
    for (tile, part) in [
        (TmacTile { bits: 5, ..good }, "1 to 4 bits"),
        (TmacTile { bm: 48, ..good }, "bm is 48"),
        (TmacTile { bm: 0, ..good }, "multiple of 0"),
        (TmacTile { kfactor: 0, ..good }, "k is 64"),
        (TmacTile { kfactor: usize::MAX, ..good }, "k is 64"),
        (TmacTile { m: 72, ..good }, "m is 72"),
        (TmacTile { m: 128, ..good }, "expected 2048 bytes, got 1024"),
    ] {
        let error = tmac::unpack_codes("t", &[0; 1024], &tile).unwrap_err().to_string();
        assert!(error.contains(part), "`{error}` should name `{part}`");
    }
    let scales = TmacScales { group: 64, values: &[1.0; 63], zeros: false };
    let error = tmac::unpack("t", &[0; 1024], scales, &good).unwrap_err().to_string();
    assert!(error.contains("the number of scales is 63, expected 64"), "{error}");
}
