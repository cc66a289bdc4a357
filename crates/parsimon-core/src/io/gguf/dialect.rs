//! Which program's numbers the types of a file are.
//!
//! Forks gave numbers to their own types that upstream used later for others. The table below is those collisions; a file does not
//! say which program wrote it, so the caller does, and evidence only leads to a suggestion inside an error.

use std::ops::RangeInclusive;

use super::TensorInfo;
use crate::quant::{BlockError, BlockType};

/// Whose type numbers a file uses. Numbers that a fork does not redefine are upstream's in every dialect.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub enum Dialect {
    /// ggml's own.
    #[default]
    Upstream,
    /// T-MAC's fork: 30 to 33 are its tile-permuted 1 to 4 bit types. 30 is upstream's BF16.
    TMac,
    /// bitnet.cpp: 36 I2_S, 37 I8_S, 38 TL1, 39 TL2. 39 is upstream's MXFP4.
    BitnetCpp,
    /// vlut: 40 to 47. 40 to 42 are upstream's NVFP4, Q1_0 and Q2_0.
    Vlut,
    /// PrismML: 142 and 143.
    PrismMl,
    /// ik_llama.cpp: 134 and above.
    Ik,
}

impl Dialect {
    /// Every dialect.
    pub const ALL: [Dialect; 6] =
        [Dialect::Upstream, Dialect::TMac, Dialect::BitnetCpp, Dialect::Vlut, Dialect::PrismMl, Dialect::Ik];
}

/// What is known of the bytes of a foreign type; `n = m k` weights.
#[derive(Clone, Copy, PartialEq, Debug)]
enum ForeignBytes {
    /// `n / 4 + 32`.
    I2s,
    /// `m (4 + k / 4)`.
    RowScaled,
    /// At least so many bits a weight; scales or padding come on top.
    AtLeastBits(u64),
}

struct Foreign {
    dialect: Dialect,
    ids: RangeInclusive<u32>,
    name: &'static str,
    bytes: ForeignBytes,
    /// Why it is not read, or nothing where it is.
    refusal: &'static str,
}

const TILES: &str =
    "its bytes are permuted for one kernel configuration; read them with `raw` and `quant::packed::tmac`";
const KERNEL: &str = "the layout depends on a kernel configuration that the file does not hold";
const UNREAD: &str = "this type of a fork is not read; convert the model with that fork to an upstream type";

const fn foreign(
    dialect: Dialect,
    ids: RangeInclusive<u32>,
    name: &'static str,
    bytes: ForeignBytes,
    refusal: &'static str,
) -> Foreign {
    Foreign { dialect, ids, name, bytes, refusal }
}

use ForeignBytes::{AtLeastBits, I2s, RowScaled};

const FOREIGN: [Foreign; 13] = [
    foreign(Dialect::TMac, 30..=30, "I2", AtLeastBits(2), TILES),
    foreign(Dialect::TMac, 31..=31, "I1", AtLeastBits(1), TILES),
    foreign(Dialect::TMac, 32..=32, "I3", AtLeastBits(3), TILES),
    foreign(Dialect::TMac, 33..=33, "I4", AtLeastBits(4), TILES),
    foreign(Dialect::BitnetCpp, 36..=36, "I2_S", I2s, ""),
    foreign(Dialect::BitnetCpp, 37..=37, "I8_S", AtLeastBits(8), "it holds quantized activations, not weights"),
    foreign(Dialect::BitnetCpp, 38..=38, "TL1", AtLeastBits(1), KERNEL),
    foreign(Dialect::BitnetCpp, 39..=39, "TL2", AtLeastBits(1), KERNEL),
    foreign(Dialect::Vlut, 40..=47, "a vlut type", AtLeastBits(1), UNREAD),
    foreign(Dialect::PrismMl, 142..=143, "a PrismML type", AtLeastBits(1), UNREAD),
    foreign(Dialect::Ik, 134..=134, "IQ1_BN", AtLeastBits(1), UNREAD),
    foreign(Dialect::Ik, 135..=135, "IQ2_BN", RowScaled, UNREAD),
    foreign(Dialect::Ik, 136..=u32::MAX, "an ik type", AtLeastBits(1), UNREAD),
];

/// What a type number is in a dialect.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Layout {
    Block(BlockType),
    I2s,
    /// Not read: the name and the reason.
    Refused(String, &'static str),
}

fn foreign_of(dialect: Dialect, id: u32) -> Option<&'static Foreign> {
    FOREIGN.iter().find(|row| row.dialect == dialect && row.ids.contains(&id))
}

/// The layout of `id`.
pub(super) fn layout(dialect: Dialect, id: u32) -> Layout {
    if let Some(row) = foreign_of(dialect, id) {
        return if row.bytes == I2s { Layout::I2s } else { Layout::Refused(row.name.to_owned(), row.refusal) };
    }
    match BlockType::from_id(id) {
        Ok(block_type) => Layout::Block(block_type),
        Err(BlockError::RemovedType { name, .. }) => {
            Layout::Refused(name.to_owned(), "this type was removed from the format; quantize the model again")
        }
        Err(BlockError::InMemoryType { name, .. }) => {
            Layout::Refused(name.to_owned(), "this type exists in memory only and has no place in a file")
        }
        Err(_) => Layout::Refused(format!("type {id}"), "no type of this dialect has this number"),
    }
}

/// The exact bytes of a tensor, or none where the dialect does not know or the shape does not fit.
pub(super) fn exact_bytes(dialect: Dialect, info: &TensorInfo) -> Option<u64> {
    let (n, k) = (info.elements(), info.k());
    if let Some(row) = foreign_of(dialect, info.type_id) {
        return match row.bytes {
            I2s => (n % 64 == 0).then_some(n / 4 + 32),
            RowScaled => (k % 4 == 0).then_some(n / k * (4 + k / 4)),
            AtLeastBits(_) => None,
        };
    }
    let block_type = BlockType::from_id(info.type_id).ok()?;
    if k.is_multiple_of(block_type.block_len() as u64) { block_type.bytes_of(n) } else { None }
}

/// A dialect that fits a file better than the one it was opened with.
#[derive(Clone, PartialEq, Debug)]
pub struct Suggestion {
    /// The dialect to pass.
    pub dialect: Dialect,
    /// What speaks for it.
    pub evidence: String,
}

/// What the file says besides its types.
pub(super) struct Clues<'a> {
    pub(super) architecture: &'a str,
    pub(super) file_type: u64,
    /// For every tensor, the bytes to the next one or to the end of the data; the last flag says that it is the end.
    pub(super) gaps: &'a [(u64, bool)],
    pub(super) alignment: u64,
}

/// The one other dialect that explains the file, if the given one does not.
pub(super) fn suggest(given: Dialect, tensors: &[TensorInfo], clues: &Clues<'_>) -> Option<Suggestion> {
    let has = |ids: RangeInclusive<u32>| tensors.iter().any(|info| ids.contains(&info.type_id));
    if given != Dialect::BitnetCpp && has(36..=39) {
        if matches!(clues.architecture, "bitnet-b1.58" | "bitnet-25") {
            let evidence = format!("the architecture is `{}` and there are types 36 to 39", clues.architecture);
            return Some(Suggestion { dialect: Dialect::BitnetCpp, evidence });
        }
        if clues.file_type == 40 && has(36..=36) {
            let evidence = "general.file_type is 40 and there are tensors of type 36".to_owned();
            return Some(Suggestion { dialect: Dialect::BitnetCpp, evidence });
        }
    }
    let explains = |dialect: Dialect| {
        let mut pairs = tensors.iter().zip(clues.gaps);
        pairs.all(|(info, &(gap, is_last))| fits(dialect, info, gap, is_last, clues.alignment))
    };
    if explains(given) {
        return None;
    }
    let mut candidates = Dialect::ALL.into_iter().filter(|&dialect| dialect != given && explains(dialect));
    match (candidates.next(), candidates.next()) {
        (Some(dialect), None) => {
            let evidence = "the types and sizes of all tensors agree with this dialect alone".to_owned();
            Some(Suggestion { dialect, evidence })
        }
        _ => None,
    }
}

/// Whether the bytes to the next tensor are what the dialect says.
fn fits(dialect: Dialect, info: &TensorInfo, gap: u64, is_last: bool, alignment: u64) -> bool {
    if let Some(bytes) = exact_bytes(dialect, info) {
        // The end of the file may be padded or not.
        return gap == bytes.next_multiple_of(alignment) || (is_last && gap >= bytes && gap - bytes < alignment);
    }
    // The blocks of every removed type are 18 bytes for 32 weights.
    let removed = matches!(BlockType::from_id(info.type_id), Err(BlockError::RemovedType { .. }));
    let is_removed = removed && gap == (info.elements() / 32).saturating_mul(18).next_multiple_of(alignment);
    match foreign_of(dialect, info.type_id).map(|row| row.bytes) {
        Some(AtLeastBits(bits)) => !is_removed && gap >= info.elements().saturating_mul(bits) / 8,
        _ => false,
    }
}
