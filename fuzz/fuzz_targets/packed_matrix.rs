//! A packed matrix with bytes changed, cut or appended and its checksum made right again: refused, or a matrix that multiplies.
#![no_main]

use std::sync::{Arc, OnceLock};

use libfuzzer_sys::fuzz_target;
use parsimon_core::io::Map;
use parsimon_core::quant::{GroupQuantized, Zeros};
use parsimon_lut::{ActConfig, Backend, Kernel, LowBitMatrix, PreparedActivations};
use xxhash_rust::xxh3::Xxh3;

/// Where the checksum stands (docs/design/lut-layout.md).
const CHECKSUM: std::ops::Range<usize> = 120..128;

/// Larger shapes than this would only make a round slow.
const WEIGHTS_MAX: usize = 1 << 20;

/// One valid file for every kernel that this machine runs.
fn files() -> &'static [Vec<u8>] {
    static FILES: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    FILES.get_or_init(|| {
        let (m, k, group) = (3, 64, 32);
        let matrix = GroupQuantized {
            bits: 2,
            m,
            k,
            group,
            codes: (0..m * k).map(|i| (i % 3) as u8).collect(),
            scales: vec![0.5; m * k / group],
            zeros: Zeros::Points(vec![1; m * k / group]),
            g_idx: None,
        };
        let pack = |kernel| LowBitMatrix::from_quantized(&matrix, Backend::Kernel(kernel));
        Kernel::available().filter_map(|kernel| Some(pack(kernel).ok()?.to_cache())).collect()
    })
}

fuzz_target!(|input: (u8, Vec<(u16, u8)>, Option<u16>, Vec<u8>)| {
    let (which, changes, cut, more) = input;
    let mut file = files()[usize::from(which) % files().len()].clone();
    for (at, byte) in changes {
        let at = usize::from(at) % file.len();
        file[at] = byte;
    }
    file.truncate(cut.map_or(file.len(), usize::from).max(CHECKSUM.end));
    file.extend(more);
    let len = file.len() as u64;
    file[48..56].copy_from_slice(&len.to_le_bytes());
    let mut hash = Xxh3::new();
    hash.update(&file[..CHECKSUM.start]);
    hash.update(&file[CHECKSUM.end..]);
    file[CHECKSUM].copy_from_slice(&hash.digest().to_le_bytes());
    parsimon_fuzz::as_file("input.pslt", &file, |path| {
        let map = Arc::new(Map::open(path).expect("the file was written"));
        let Ok(matrix) = LowBitMatrix::from_cache(&map, 0..file.len()) else { return };
        let (m, k) = matrix.shape();
        if m.saturating_mul(k) <= WEIGHTS_MAX {
            let x = PreparedActivations::try_new(&vec![0.5; k], 1, k, &ActConfig::for_matrix(&matrix));
            matrix.matmul_into(&x.expect("finite activations"), &mut vec![0.0; m]);
        }
    });
});
