//! Buffers that begin at a cache line.

use std::ops::{Deref, DerefMut};

const LINE: usize = 64;

/// Numbers that begin at a cache line, so that no vector of them lies in two.
#[derive(Default, Debug)]
pub(crate) struct Aligned<T> {
    data: Vec<T>,
    start: usize,
}

impl<T: Copy + Default> Aligned<T> {
    pub(crate) fn zeroed(len: usize) -> Self {
        let spare = LINE / size_of::<T>();
        let mut data = vec![T::default(); len + spare];
        // The offset is one of whole numbers: the allocator aligns to them, and they divide a line.
        let start = data.as_ptr().align_offset(LINE).min(spare);
        data.truncate(start + len);
        Aligned { data, start }
    }

    /// Room for `len` numbers that hold anything.
    pub(crate) fn resize(&mut self, len: usize) {
        if self.data.capacity() < self.start + len || self.data.is_empty() {
            *self = Aligned::zeroed(len);
        } else {
            self.data.resize(self.start + len, T::default());
        }
    }
}

/// A copy lies elsewhere, and begins at a line of its own.
impl<T: Copy + Default> Clone for Aligned<T> {
    fn clone(&self) -> Self {
        let mut copy = Aligned::zeroed(self.len());
        copy.copy_from_slice(self);
        copy
    }
}

impl<T> Deref for Aligned<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.data[self.start..]
    }
}

impl<T> DerefMut for Aligned<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.data[self.start..]
    }
}
