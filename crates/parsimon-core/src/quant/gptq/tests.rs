use super::*;
use crate::SplitMix64;
use crate::io::write_safetensors;

fn random(bits: u8, m: usize, k: usize, group: usize, seed: u64) -> GroupQuantized {
    let mut rng = SplitMix64::new(seed);
    let n_groups = k.div_ceil(group);
    let levels = 1u64 << bits;
    GroupQuantized {
        bits,
        m,
        k,
        group,
        codes: (0..m * k).map(|_| rng.below(levels) as u8).collect(),
        scales: (0..m * n_groups).map(|_| f16::from_f64(rng.next_f64()).to_f32()).collect(),
        zeros: Zeros::Points((0..m * n_groups).map(|_| rng.below(levels) as u16).collect()),
        g_idx: None,
    }
}

#[test]
fn pack_and_unpack_are_inverse() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.safetensors");
    // The last case has a short last group; its `g_idx` is still `c / group`.
    for (bits, m, k, group) in [(2, 16, 64, 32), (3, 32, 96, 32), (4, 8, 40, 8), (8, 4, 12, 12), (4, 8, 40, 16)] {
        let matrix = random(bits, m, k, group, u64::from(bits));
        write_safetensors(&path, &pack("p", &matrix).unwrap(), None).unwrap();
        let read = unpack(&Checkpoint::open(&path).unwrap(), "p", &GptqConfig::new(bits, group as i64)).unwrap();
        assert_eq!(read, matrix, "{bits} bits");
    }
}

#[test]
fn lying_shapes_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.safetensors");
    let matrix = random(4, 8, 64, 32, 1);
    let good = pack("p", &matrix).unwrap();
    let check = |tensors: &BTreeMap<String, TensorData>, config: &GptqConfig, part: &str| {
        write_safetensors(&path, tensors, None).unwrap();
        let error = unpack(&Checkpoint::open(&path).unwrap(), "p", config).unwrap_err().to_string();
        assert!(error.contains(part), "`{error}` should name `{part}`");
    };
    check(&good, &GptqConfig::new(3, 32), "do not fill whole 32-bit words");
    check(&good, &GptqConfig::new(8, 32), "expected [16, 8]");
    check(&good, &GptqConfig::new(4, 16), "group_size 16 of 64 inputs does not give 2 groups");
    check(&good, &GptqConfig::new(5, 32), "5-bit codes");
    let mut missing = good.clone();
    missing.remove("p.qzeros");
    missing.remove("p.scales");
    check(&missing, &GptqConfig::new(4, 32), "2 tensors are missing: p.qzeros, p.scales");
    let mut g_idx = good.clone();
    g_idx.insert("p.g_idx".into(), TensorData::from_i32(&[64], &[-1; 64]));
    check(&g_idx, &GptqConfig::new(4, 32), "g_idx[0]");
    assert_eq!(
        pack("p", &random(4, 7, 64, 32, 1)),
        Err(QuantError::NotWholeWords { what: "a column", len: 7, bits: 4 })
    );
}

impl PartialEq for TensorData {
    fn eq(&self, other: &Self) -> bool {
        self.dtype == other.dtype && self.shape == other.shape && self.bytes == other.bytes
    }
}
