//! Pointers that C callers pass, checked for NULL.
//!
//! The fields are private to this file, so such a pointer can only come from a caller across the C border, who promises what
//! `nvml.h` asks for: NULL, or a pointer to a value, or to a buffer of the length that is passed with it. That promise is
//! what each SAFETY comment rests on; no library can check it.

use std::ffi::{CStr, c_char, c_uint, c_void};

use super::call::Result;
use crate::code::Code;

/// Pointer to a value, or to the first of a buffer, that the library writes and may read.
#[repr(transparent)]
pub(super) struct Out<T>(*mut T);

impl<T> Clone for Out<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Out<T> {}

impl<T: Copy> Out<T> {
    pub(super) fn is_null(self) -> bool {
        self.0.is_null()
    }

    /// Writes the value; 2 when the pointer is NULL.
    pub(super) fn put(self, value: T) -> Result {
        self.put_at(0, value)
    }

    fn put_at(self, index: usize, value: T) -> Result {
        if self.0.is_null() {
            return Err(Code::ERROR_INVALID_ARGUMENT);
        }
        // SAFETY: not NULL, so the caller promises a buffer that holds `index` (see the head of the file).
        let place = unsafe { self.0.add(index) };
        // SAFETY: as before; C structs may be written unaligned without harm.
        unsafe { place.write_unaligned(value) };
        Ok(())
    }

    /// Reads the value; 2 when the pointer is NULL.
    pub(super) fn get(self) -> Result<T> {
        if self.0.is_null() {
            return Err(Code::ERROR_INVALID_ARGUMENT);
        }
        // SAFETY: not NULL, so the caller promises an initialised value (see the head of the file).
        Ok(unsafe { self.0.read_unaligned() })
    }

    /// The same address seen as another type: a version word, or a struct that depends on it.
    pub(super) fn cast<U>(self) -> Out<U> {
        Out(self.0.cast())
    }

    /// The pointer `bytes` further on, for fields whose struct has no one size.
    pub(super) fn offset<U>(self, bytes: usize) -> Result<Out<U>> {
        if self.0.is_null() {
            return Err(Code::ERROR_INVALID_ARGUMENT);
        }
        Ok(Out(self.0.cast::<u8>().wrapping_add(bytes).cast()))
    }

    /// The text that starts here.
    pub(super) fn text(self) -> Text {
        Text(self.0.cast_const().cast())
    }

    /// Writes a whole list to a buffer whose size NVML fixes elsewhere.
    pub(super) fn put_all(self, values: impl IntoIterator<Item = T>) -> Result {
        values
            .into_iter()
            .enumerate()
            .try_for_each(|(index, value)| self.put_at(index, value))
    }
}

impl Out<c_uint> {
    /// Answers a list whose length a profile bounds: the header gives no capacity, so the buffer must hold as many as the profile has;
    /// a buffer of NULL asks for the length alone.
    pub(super) fn answer_all<T: Copy>(self, buffer: Out<T>, values: &[T]) -> Result {
        self.put(c_uint::try_from(values.len()).unwrap_or(c_uint::MAX))?;
        if buffer.is_null() {
            return Ok(());
        }
        buffer.put_all(values.iter().copied())
    }

    /// Answers a list in the way of NVML: `self` holds the capacity of `buffer` and gets the length. Too small is 7 with the
    /// length needed; a buffer of NULL with a capacity of 0 asks for it.
    pub(super) fn answer_list<T: Copy>(self, buffer: Out<T>, values: &[T]) -> Result {
        let capacity = self.get()?;
        let length = c_uint::try_from(values.len()).unwrap_or(c_uint::MAX);
        self.put(length)?;
        if capacity < length {
            return Err(Code::ERROR_INSUFFICIENT_SIZE);
        }
        buffer.put_all(values.iter().copied())
    }
}

impl Out<c_char> {
    /// Writes a text with its NUL; 7 when `length` is too small.
    pub(super) fn put_text(self, length: c_uint, text: &str) -> Result {
        if self.is_null() {
            return Err(Code::ERROR_INVALID_ARGUMENT);
        }
        if usize::try_from(length).is_ok_and(|length| length <= text.len()) {
            return Err(Code::ERROR_INSUFFICIENT_SIZE);
        }
        self.cast::<u8>().put_all(text.bytes().chain([0]))
    }
}

/// A NUL-terminated text that the library reads.
#[repr(transparent)]
pub(super) struct Text(*const c_char);

impl Text {
    /// The text; 2 when the pointer is NULL or the text is not UTF-8.
    pub(super) fn get(&self) -> Result<&str> {
        if self.0.is_null() {
            return Err(Code::ERROR_INVALID_ARGUMENT);
        }
        // SAFETY: not NULL, so the caller promises a terminated text (see the head of the file).
        let text = unsafe { CStr::from_ptr(self.0) };
        text.to_str().map_err(|_| Code::ERROR_INVALID_ARGUMENT)
    }
}

/// An opaque handle; see [`super::handle`]. Never dereferenced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub(super) struct Handle(*mut c_void);

impl Handle {
    pub(super) fn from_bits(bits: usize) -> Self {
        Self(std::ptr::without_provenance_mut(bits))
    }

    pub(super) fn bits(self) -> usize {
        self.0.addr()
    }

    /// As a field of one of NVML's structs.
    pub(super) fn pointer<T>(self) -> *mut T {
        self.0.cast()
    }
}

/// A text in a fixed array of C characters: cut to fit, always terminated.
pub(super) fn fixed_text<const N: usize>(text: &str) -> [c_char; N] {
    let mut array = [0; N];
    let end = N.saturating_sub(1);
    for (to, byte) in array.iter_mut().take(end).zip(text.bytes()) {
        *to = c_char::from_ne_bytes([byte]);
    }
    array
}

/// The version word of a struct: its size and, in the top byte, its version.
pub(super) const fn version<T>(number: usize) -> usize {
    size_of::<T>() | number << 24
}

/// Whether the version word at the start of a struct says `T`, version `number`.
pub(super) fn has_version<T>(word: c_uint, number: usize) -> bool {
    usize::try_from(word) == Ok(version::<T>(number))
}
