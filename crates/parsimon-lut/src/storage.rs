//! Where the parts of a packed matrix lie: in memory of their own, or in a mapped file.

use std::borrow::Cow;
use std::ops::{Deref, Range};
use std::sync::Arc;

use bytemuck::Pod;
use parsimon_core::io::{Map, Pages};

/// Bytes of a mapped file.
#[derive(Clone, Debug)]
pub(crate) struct MapPart {
    map: Arc<Map>,
    range: Range<usize>,
}

impl MapPart {
    /// The bytes `range` of a file that has them.
    pub(crate) fn new(map: &Arc<Map>, range: Range<usize>) -> MapPart {
        debug_assert!(map.get(range.clone()).is_some());
        MapPart { map: Arc::clone(map), range }
    }
}

impl Deref for MapPart {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.map[self.range.clone()]
    }
}

/// The stream of all tiles.
#[derive(Clone, Debug)]
pub(crate) enum Stream {
    Owned(Pages),
    Mapped(MapPart),
}

impl Deref for Stream {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Stream::Owned(pages) => pages,
            Stream::Mapped(part) => part,
        }
    }
}

/// Scales or constants.
#[derive(Clone, Debug)]
pub(crate) enum Values<T> {
    Owned(Vec<T>),
    /// Whole, aligned elements in this machine's byte order.
    Mapped(MapPart),
}

impl<T: Pod> Values<T> {
    /// The elements where they lie; `None` where this machine cannot read them in place.
    pub(crate) fn mapped(part: MapPart) -> Option<Self> {
        let readable = cfg!(target_endian = "little") && bytemuck::try_cast_slice::<u8, T>(&part).is_ok();
        readable.then_some(Values::Mapped(part))
    }
}

impl<T: Pod> Deref for Values<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Values::Owned(values) => values,
            Values::Mapped(part) => bytemuck::cast_slice(part),
        }
    }
}

impl<T: Pod + PartialEq> PartialEq for Values<T> {
    fn eq(&self, other: &Self) -> bool {
        self[..] == other[..]
    }
}

impl<T> From<Vec<T>> for Values<T> {
    fn from(values: Vec<T>) -> Self {
        Values::Owned(values)
    }
}

/// The elements as little-endian bytes.
pub(crate) fn to_le_bytes<T: Pod>(values: &[T]) -> Cow<'_, [u8]> {
    let bytes: &[u8] = bytemuck::cast_slice(values);
    if cfg!(target_endian = "little") {
        return Cow::Borrowed(bytes);
    }
    let mut bytes = bytes.to_vec();
    reverse_elements::<T>(&mut bytes);
    Cow::Owned(bytes)
}

/// The elements of little-endian bytes, wherever these begin.
///
/// # Panics
///
/// When the bytes are not whole elements.
pub(crate) fn from_le_bytes<T: Pod>(bytes: &[u8]) -> Vec<T> {
    assert!(bytes.len().is_multiple_of(size_of::<T>()), "{} bytes are not whole elements", bytes.len());
    let mut values: Vec<T> = bytemuck::pod_collect_to_vec(bytes);
    if cfg!(target_endian = "big") {
        reverse_elements::<T>(bytemuck::cast_slice_mut(&mut values));
    }
    values
}

fn reverse_elements<T>(bytes: &mut [u8]) {
    bytes.chunks_exact_mut(size_of::<T>()).for_each(<[u8]>::reverse);
}
