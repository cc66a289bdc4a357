//! The packed cache: a [`LowBitMatrix`] as bytes, to be mapped instead of packed again.
//!
//! A header of 128 bytes, then scales, constants, order and stream, each at a multiple of 64; docs/design/lut-layout.md specifies every byte.

use std::io::{self, Write};
use std::ops::Range;
use std::sync::Arc;

use bytemuck::Pod;
use half::f16;
use parsimon_core::io::{Map, Pages};
use parsimon_simd::Level;
use xxhash_rust::xxh3::Xxh3;

use crate::activations::{groups_in_row, is_supported_group};
use crate::groups::{Groups, PackedConstants, UNIT_EXPONENTS};
use crate::pack::Layout;
use crate::storage::{MapPart, Stream, Values, from_le_bytes, to_le_bytes};
use crate::{CacheError, Kernel, LowBitMatrix, Method, Plan};

const MAGIC: [u8; 4] = *b"PSLT";

/// The version that is written, and the only one that is read.
const VERSION: u32 = 1;

/// Bytes of the header. The checksum is its last field, so that it covers all before and all after.
const HEADER: usize = 128;

const CHECKSUM_AT: usize = HEADER - 8;

/// Where a section may begin.
const ALIGN: usize = 64;

/// Codes of the methods in the header.
const METHODS: [Method; 3] = [Method::Lut, Method::Elut, Method::Dot];

/// Codes of the levels in the header; never reordered.
const LEVELS: [Level; 9] = [
    Level::Scalar,
    Level::Avx2,
    Level::Avx512,
    Level::Avx512Vnni,
    Level::Avx512Vbmi,
    Level::Avx512Bf16,
    Level::Neon,
    Level::NeonDot,
    Level::Amx,
];

const UNIFORM: u8 = 0;
const OFFSETS: u8 = 1;
const REAL: u8 = 2;

/// The header, field by field.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Header {
    method: u8,
    level: u8,
    bits: u8,
    stored_bits: u8,
    constants: u8,
    has_order: u8,
    m: u64,
    k: u64,
    group: u64,
    unit_exponent: i32,
    uniform: f32,
    total: u64,
    /// Bytes of scales, constants, order and stream.
    lengths: [u64; 4],
}

impl Header {
    fn of(matrix: &LowBitMatrix, sections: [&[u8]; 4]) -> Header {
        let Layout { kernel, bits, k, group } = matrix.layout;
        let code = |position: Option<usize>| position.expect("every method and level has a code") as u8;
        let (constants, uniform) = match &matrix.groups.constants {
            PackedConstants::Uniform(offset) => (UNIFORM, *offset),
            PackedConstants::Offsets(_) => (OFFSETS, 0.0),
            PackedConstants::Real(_) => (REAL, 0.0),
        };
        let end = |at: usize, section: &[u8]| at.next_multiple_of(ALIGN) + section.len();
        Header {
            method: code(METHODS.iter().position(|&method| method == kernel.method())),
            level: code(LEVELS.iter().position(|&level| level == kernel.level())),
            bits: matrix.bits,
            stored_bits: bits as u8,
            constants,
            has_order: u8::from(matrix.order.is_some()),
            m: matrix.m as u64,
            k: k as u64,
            group: group as u64,
            unit_exponent: matrix.groups.unit_exponent,
            uniform,
            total: sections.into_iter().fold(HEADER, end) as u64,
            lengths: sections.map(|section| section.len() as u64),
        }
    }

    /// The bytes with a checksum of 0.
    fn to_bytes(self) -> [u8; HEADER] {
        let Header { method, level, bits, stored_bits, constants, has_order, .. } = self;
        let mut bytes = [0; HEADER];
        let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        put(0, &MAGIC);
        put(4, &VERSION.to_le_bytes());
        put(8, &[method, level, bits, stored_bits, constants, has_order]);
        put(16, &self.m.to_le_bytes());
        put(24, &self.k.to_le_bytes());
        put(32, &self.group.to_le_bytes());
        put(40, &self.unit_exponent.to_le_bytes());
        put(44, &self.uniform.to_le_bytes());
        put(48, &self.total.to_le_bytes());
        for (i, length) in self.lengths.into_iter().enumerate() {
            put(56 + 8 * i, &length.to_le_bytes());
        }
        bytes
    }

    /// The fields of bytes whose magic, version, length and checksum are right.
    fn read(bytes: &[u8; HEADER]) -> Result<Header, CacheError> {
        if [&bytes[14..16], &bytes[88..CHECKSUM_AT]].concat().iter().any(|&byte| byte != 0) {
            return Err(CacheError::Malformed("a reserved byte is not 0"));
        }
        let [method, level, bits, stored_bits, constants, has_order] = field(bytes, 8);
        Ok(Header {
            method,
            level,
            bits,
            stored_bits,
            constants,
            has_order,
            m: u64::from_le_bytes(field(bytes, 16)),
            k: u64::from_le_bytes(field(bytes, 24)),
            group: u64::from_le_bytes(field(bytes, 32)),
            unit_exponent: i32::from_le_bytes(field(bytes, 40)),
            uniform: f32::from_le_bytes(field(bytes, 44)),
            total: u64::from_le_bytes(field(bytes, 48)),
            lengths: [56, 64, 72, 80].map(|at| u64::from_le_bytes(field(bytes, at))),
        })
    }

    /// The kernel, if this process runs it.
    fn kernel(&self) -> Result<Kernel, CacheError> {
        let method = METHODS.get(usize::from(self.method)).ok_or(CacheError::Malformed("an unknown method"))?;
        let &wanted = LEVELS.get(usize::from(self.level)).ok_or(CacheError::Malformed("an unknown level"))?;
        let best = Level::best();
        if !best.includes(wanted) {
            return Err(CacheError::WrongLayout { wanted, best });
        }
        let mut kernels = Kernel::ALL.into_iter();
        let kernel = kernels.find(|kernel| kernel.method() == *method && kernel.level() == wanted);
        kernel.ok_or(CacheError::Malformed("the method has no body of this level"))
    }

    /// Rows and layout, in a file of `file_bytes`.
    fn layout(&self, file_bytes: usize) -> Result<(usize, Layout), CacheError> {
        let kernel = self.kernel()?;
        let malformed = CacheError::Malformed;
        let size = |field: u64| usize::try_from(field).map_err(|_| malformed("a size does not fit the address space"));
        let (m, k, group) = (size(self.m)?, size(self.k)?, size(self.group)?);
        if m == 0 || k == 0 || group == 0 || group > k {
            return Err(malformed("m, k or group is out of range"));
        }
        // A byte holds at most eight codes. What padding to tiles, steps and fives adds stays below this product.
        let padded = || m.checked_add(256)?.checked_mul(k.checked_add(64)?)?.checked_mul(16);
        if m.checked_mul(k).is_none_or(|codes| codes.div_ceil(8) > file_bytes) || padded().is_none() {
            return Err(malformed("the shape is larger than the stream"));
        }
        if !is_supported_group(group, k) {
            return Err(malformed("no kernel reads groups of this size"));
        }
        if !(1..=8).contains(&self.bits) || kernel.stored_bits(self.bits, group) != Some(self.stored_bits) {
            return Err(malformed("the kernel does not store codes of this width so"));
        }
        Ok((m, Layout { kernel, bits: usize::from(self.stored_bits), k, group }))
    }

    /// The bytes of scales, constants, order and stream, if the lengths are what the shape says.
    fn sections(&self, m: usize, layout: &Layout) -> Result<[Range<usize>; 4], CacheError> {
        let tiles = m.div_ceil(layout.kernel.tile_m());
        let groups = tiles * layout.kernel.tile_m() * groups_in_row(layout.k, layout.group);
        let constants = match self.constants {
            UNIFORM if self.uniform.is_finite() => 0,
            OFFSETS if self.uniform.to_bits() == 0 => groups,
            REAL if self.uniform.to_bits() == 0 => 4 * groups,
            _ => return Err(CacheError::Malformed("an unknown kind of constants")),
        };
        let order = match self.has_order {
            0 => 0,
            1 => 4 * layout.k,
            _ => return Err(CacheError::Malformed("an unknown order of columns")),
        };
        let expected = [2 * groups, constants, order, tiles * layout.tile_bytes()];
        if self.lengths != expected.map(|length| length as u64) {
            return Err(CacheError::Malformed("the length of a section is not what the shape says"));
        }
        let mut end = HEADER;
        let sections = expected.map(|length| {
            let begin = end.next_multiple_of(ALIGN);
            end = begin + length;
            begin..end
        });
        let fits = self.total == end as u64;
        if fits { Ok(sections) } else { Err(CacheError::Malformed("the sections do not fill the file")) }
    }
}

/// Where the bytes of a cache come from.
struct Source<'a> {
    bytes: &'a [u8],
    /// The file that holds them, and where they begin in it.
    map: Option<(&'a Arc<Map>, usize)>,
}

impl Source<'_> {
    fn part(&self, range: &Range<usize>) -> Option<MapPart> {
        self.map.map(|(map, base)| MapPart::new(map, base + range.start..base + range.end))
    }

    fn stream(&self, range: &Range<usize>) -> Stream {
        self.part(range).map_or_else(
            || {
                let mut pages = Pages::zeroed(range.len());
                pages.copy_from_slice(&self.bytes[range.clone()]);
                Stream::Owned(pages)
            },
            Stream::Mapped,
        )
    }

    fn values<T: Pod>(&self, range: &Range<usize>) -> Values<T> {
        let mapped = self.part(range).and_then(Values::mapped);
        mapped.unwrap_or_else(|| Values::Owned(from_le_bytes(&self.bytes[range.clone()])))
    }
}

impl LowBitMatrix {
    /// Writes the matrix as it is packed, for [`from_cache`](Self::from_cache) on a machine that runs the same kernel.
    ///
    /// # Errors
    ///
    /// What `out` returns.
    pub fn write_cache(&self, out: &mut impl Write) -> io::Result<()> {
        let scales = to_le_bytes(&self.groups.scales);
        let constants = match &self.groups.constants {
            PackedConstants::Uniform(_) => Default::default(),
            PackedConstants::Offsets(offsets) => to_le_bytes(offsets),
            PackedConstants::Real(reals) => to_le_bytes(reals),
        };
        let order = self.order.as_deref().map(to_le_bytes).unwrap_or_default();
        let sections = [&*scales, &*constants, &*order, &*self.stream];
        let mut header = Header::of(self, sections).to_bytes();
        let mut hash = Xxh3::new();
        hash.update(&header[..CHECKSUM_AT]);
        padded(sections).for_each(|bytes| hash.update(bytes));
        header[CHECKSUM_AT..].copy_from_slice(&hash.digest().to_le_bytes());
        out.write_all(&header)?;
        padded(sections).try_for_each(|bytes| out.write_all(bytes))
    }

    /// [`write_cache`](Self::write_cache) into a new vector.
    pub fn to_cache(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.write_cache(&mut bytes).expect("a vector takes every byte");
        bytes
    }

    /// Reads what [`write_cache`](Self::write_cache) wrote from the bytes `range` of a mapped file, without copying codes, scales and constants:
    /// the matrix keeps the map. `range` begins best at a multiple of 64. The result is bit for bit the matrix that was written.
    ///
    /// All bytes are read once for the checksum. Nothing is allocated beyond the length of `range`. Mapped weights lie in pages of the file
    /// system's cache, which all processes share; those packed in memory get huge pages where the system has them.
    ///
    /// # Errors
    ///
    /// [`CacheError`]: what is not such a matrix, is damaged, or was packed for a kernel that this process cannot run.
    pub fn from_cache(map: &Arc<Map>, range: Range<usize>) -> Result<Self, CacheError> {
        let truncated = CacheError::Truncated { expected: range.end as u64, actual: map.len() as u64 };
        let bytes = map.get(range.clone()).ok_or(truncated)?;
        read(&Source { bytes, map: Some((map, range.start)) })
    }

    /// [`from_cache`](Self::from_cache) from bytes, which are copied.
    ///
    /// # Errors
    ///
    /// As [`from_cache`](Self::from_cache).
    pub fn from_cache_bytes(bytes: &[u8]) -> Result<Self, CacheError> {
        read(&Source { bytes, map: None })
    }
}

/// The sections with the zeros before each.
fn padded(sections: [&[u8]; 4]) -> impl Iterator<Item = &[u8]> {
    let mut at = HEADER;
    sections.into_iter().flat_map(move |section| {
        let begin = at.next_multiple_of(ALIGN);
        let zeros = &[0; ALIGN][..begin - at];
        at = begin + section.len();
        [zeros, section]
    })
}

fn read(source: &Source<'_>) -> Result<LowBitMatrix, CacheError> {
    let bytes = source.bytes;
    let header = check_envelope(bytes)?;
    let (m, layout) = header.layout(bytes.len())?;
    let sections = header.sections(m, &layout)?;
    let [scales, constants, order, stream] = &sections;
    if !UNIT_EXPONENTS.contains(&header.unit_exponent) {
        return Err(CacheError::Malformed("the unit of the scales is out of range"));
    }
    let groups = Groups {
        unit_exponent: header.unit_exponent,
        scales: source.values(scales),
        constants: match header.constants {
            UNIFORM => PackedConstants::Uniform(header.uniform),
            OFFSETS => PackedConstants::Offsets(source.values(constants)),
            _ => PackedConstants::Real(source.values(constants)),
        },
    };
    let reals = if let PackedConstants::Real(reals) = &groups.constants { &reals[..] } else { &[] };
    if !groups.scales.iter().all(|&bits| f16::from_bits(bits).is_finite()) || !reals.iter().all(|c| c.is_finite()) {
        return Err(CacheError::Malformed("a scale or a constant is not finite"));
    }
    let order = if header.has_order == 0 { None } else { Some(read_order(&bytes[order.clone()])?) };
    let plan = Plan { kernel: layout.kernel, reason: "the cached weights were packed for it" };
    Ok(LowBitMatrix { plan, layout, bits: header.bits, m, stream: source.stream(stream), groups, order })
}

/// Magic, version, length and checksum.
fn check_envelope(bytes: &[u8]) -> Result<Header, CacheError> {
    let magic = &bytes[..bytes.len().min(MAGIC.len())];
    if !MAGIC.starts_with(magic) {
        return Err(CacheError::NotACache { found: magic.to_vec() });
    }
    let actual = bytes.len() as u64;
    let Some((header, body)) = bytes.split_first_chunk::<HEADER>() else {
        return Err(CacheError::Truncated { expected: HEADER as u64, actual });
    };
    let given = u32::from_le_bytes(field(header, 4));
    if given != VERSION {
        return Err(CacheError::UnsupportedVersion { given, known: VERSION });
    }
    let total = u64::from_le_bytes(field(header, 48));
    if actual < total {
        return Err(CacheError::Truncated { expected: total, actual });
    }
    if actual > total {
        return Err(CacheError::Malformed("there are bytes after the end"));
    }
    let expected = u64::from_le_bytes(field(header, CHECKSUM_AT));
    let mut hash = Xxh3::new();
    hash.update(&header[..CHECKSUM_AT]);
    hash.update(body);
    if hash.digest() != expected {
        return Err(CacheError::ChecksumMismatch { expected, actual: hash.digest() });
    }
    Header::read(header)
}

/// An order in which every column occurs once.
fn read_order(bytes: &[u8]) -> Result<Arc<[u32]>, CacheError> {
    let order: Vec<u32> = from_le_bytes(bytes);
    let mut seen = vec![false; order.len()];
    for &column in &order {
        match seen.get_mut(column as usize) {
            Some(seen) if !*seen => *seen = true,
            _ => return Err(CacheError::Malformed("the order of the columns is no permutation")),
        }
    }
    Ok(order.into())
}

fn field<const N: usize>(header: &[u8; HEADER], at: usize) -> [u8; N] {
    std::array::from_fn(|i| header[at + i])
}

#[cfg(test)]
mod tests;
