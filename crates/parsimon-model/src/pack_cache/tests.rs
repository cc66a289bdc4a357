use parsimon_core::io::{Checkpoint, TensorData, write_safetensors};
use parsimon_core::quant::gptq;
use parsimon_core::quant::rtn::{Levels, quantize};
use parsimon_lut::PackError;

use super::*;

const SHAPE: (usize, usize) = (32, 64);

fn config(bits: u8) -> GptqConfig {
    let json =
        serde_json::json!({"quant_method": "gptq", "checkpoint_format": "gptq_v2", "bits": bits, "group_size": 64});
    serde_json::from_value(json).unwrap()
}

/// A checkpoint with the matrix `w`.
fn checkpoint(folder: &Path, levels: Levels) -> Checkpoint {
    let w: Vec<f32> = (0..SHAPE.0 * SHAPE.1).map(|i| (i as f32 * 0.37).sin()).collect();
    let matrix = quantize(&w, SHAPE.0, SHAPE.1, levels, 64).unwrap();
    let path = folder.join("model.safetensors");
    write_safetensors(&path, &gptq::pack("w", &matrix).unwrap(), None).unwrap();
    Checkpoint::open(&path).unwrap()
}

fn key(checkpoint: &Checkpoint, config: &GptqConfig, backend: Backend) -> PackKey {
    let tensors = gptq::SUFFIXES.map(|suffix| checkpoint.tensor(&format!("w.{suffix}")).unwrap());
    PackKey::new(&tensors, config, SHAPE, backend).unwrap()
}

#[test]
fn a_key_follows_content_reading_and_kernel() {
    let dir = tempfile::tempdir().unwrap();
    let checkpoint = checkpoint(dir.path(), Levels::Bits(2));
    let known = key(&checkpoint, &config(2), Backend::Auto);
    assert_eq!(known, key(&checkpoint, &config(2), Backend::Auto));
    let v1 = GptqConfig { checkpoint_format: gptq::CheckpointFormat::V1, ..config(2) };
    let scalar = Backend::Exact(parsimon_simd::Level::Scalar);
    let mut others = vec![key(&checkpoint, &v1, Backend::Auto), key(&checkpoint, &config(4), Backend::Auto)];
    if parsimon_simd::Level::best() != parsimon_simd::Level::Scalar {
        others.push(key(&checkpoint, &config(2), scalar));
    }
    let other = self::checkpoint(dir.path(), Levels::Ternary);
    others.push(key(&other, &config(2), Backend::Auto));
    let names: Vec<String> = others.iter().map(PackKey::file_name).collect();
    assert!(!names.contains(&known.file_name()), "{names:?}");
    let tensors: [TensorView<'_>; 0] = [];
    assert_eq!(PackKey::new(&tensors, &config(9), SHAPE, Backend::Auto), None);
}

#[test]
fn a_sound_file_of_another_matrix_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let (sound, config) = (checkpoint(dir.path(), Levels::Bits(4)), config(4));
    let key = key(&sound, &config, Backend::Auto);
    let pack = || LowBitMatrix::from_quantized(&gptq::unpack(&sound, "w", &config).unwrap(), Backend::Auto);
    let cache = PackCache::open(&dir.path().join("cache")).unwrap();
    let expected = cache.get_or_pack(&key, pack).unwrap().to_cache();
    let path = dir.path().join("cache").join(key.file_name());
    assert_eq!(std::fs::read(&path).unwrap(), expected);

    let smaller = quantize(&[0.5; 32 * 32], 32, 32, Levels::Bits(4), 32).unwrap();
    let foreign = LowBitMatrix::from_quantized(&smaller, Backend::Auto).unwrap().to_cache();
    for content in [&foreign[..], b"", b"PSLT", b"something else"] {
        let _ = std::fs::remove_file(&path);
        std::fs::write(&path, content).unwrap();
        assert_eq!(cache.get_or_pack(&key, pack).unwrap().to_cache(), expected);
        assert_eq!(std::fs::read(&path).unwrap(), expected);
    }
    let never = || Err(PackError::NotTernary { kernel: String::new() });
    assert_eq!(cache.get_or_pack(&key, never).unwrap().to_cache(), expected);
    assert_eq!(cache.report(), PackCacheReport { hits: 1, packed: 1, repaired: 4, not_stored: 0 });

    // A folder stands where the file should.
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert_eq!(cache.get_or_pack(&key, pack).unwrap().to_cache(), expected);
    assert_eq!(cache.report(), PackCacheReport { hits: 1, packed: 1, repaired: 5, not_stored: 1 });
}

#[test]
fn what_cannot_be_packed_is_the_error_of_packing() {
    let dir = tempfile::tempdir().unwrap();
    let checkpoint = checkpoint(dir.path(), Levels::Bits(2));
    let cache = PackCache::open(dir.path()).unwrap();
    let error = PackError::NotTernary { kernel: "elut-scalar".into() };
    let result = cache.get_or_pack(&key(&checkpoint, &config(2), Backend::Auto), || Err(error.clone()));
    assert_eq!(result.unwrap_err(), error);
    assert_eq!(cache.report(), PackCacheReport::default());
}

/// Tensors whose bytes are cut elsewhere are other tensors.
#[test]
fn lengths_are_part_of_the_content() {
    let dir = tempfile::tempdir().unwrap();
    let tensors = |first: usize| {
        let path = dir.path().join(format!("{first}.safetensors"));
        let part = |n: usize| TensorData::from_i32(&[n], &vec![7; n]);
        write_safetensors(&path, &[("a".into(), part(first)), ("b".into(), part(8 - first))].into(), None).unwrap();
        Checkpoint::open(&path).unwrap()
    };
    let content = |checkpoint: &Checkpoint| {
        let parts = ["a", "b"].map(|name| checkpoint.tensor(name).unwrap());
        PackKey::new(&parts, &config(4), SHAPE, Backend::Auto).unwrap().content
    };
    assert_ne!(content(&tensors(3)), content(&tensors(4)));
}
