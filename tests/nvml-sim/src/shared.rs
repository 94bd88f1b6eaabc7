//! State that processes share: a mapped file of words, read without locks.
//!
//! The file holds [`Cell`]s. A cell has a sequence number and two copies of its value; the copy in force is the one that the
//! number's lowest bit names. A writer (there is one at a time, see [`crate::store`]) fills the other copy and then adds one
//! to the number: killed at any moment, it leaves the old value or the new one. A reader copies the value in force and
//! starts again when the number has moved meanwhile, since the copy it read may then have been overwritten.
#![expect(
    unsafe_code,
    reason = "the mapped file is seen as a slice of atomic words, and futexes are system calls"
)]

use std::fs::File;
use std::io;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytemuck::Pod;
use memmap2::{MmapOptions, MmapRaw};

const WORD: usize = size_of::<u64>();

/// A mapped file.
#[derive(Debug)]
pub(crate) struct Words {
    map: MmapRaw,
}

impl Words {
    /// Maps a file of `words` words; the file must be at least that long, and must not be cut while mapped.
    pub(crate) fn map(file: &File, words: usize) -> io::Result<Self> {
        let map = MmapOptions::new().len(words * WORD).map_raw(file)?;
        Ok(Self { map })
    }

    fn slice(&self) -> &[AtomicU64] {
        #[expect(clippy::cast_ptr_alignment, reason = "a mapping starts at a page")]
        let start = self.map.as_ptr().cast::<AtomicU64>();
        // SAFETY: the mapping is page-aligned, `len` bytes long and lives as long as `self`; every access by every process
        // goes through these atomic words, and any bit pattern is a valid word.
        unsafe { std::slice::from_raw_parts(start, self.map.len() / WORD) }
    }

    /// One word, or 0 behind the end.
    pub(crate) fn load(&self, index: usize) -> u64 {
        self.slice()
            .get(index)
            .map_or(0, |word| word.load(Ordering::Relaxed))
    }

    /// Adds to one word and returns what it was.
    pub(crate) fn add(&self, index: usize, more: u64) -> u64 {
        self.slice()
            .get(index)
            .map_or(0, |word| word.fetch_add(more, Ordering::Relaxed))
    }

    /// Sets one word.
    pub(crate) fn store(&self, index: usize, value: u64) {
        if let Some(word) = self.slice().get(index) {
            word.store(value, Ordering::Release);
        }
    }
}

/// Words as futexes: a process can sleep until another one changes a word. The system call knows 32 bits, so only the lower half
/// of a word counts; that is where counting up shows.
impl Words {
    fn futex(&self, index: usize) -> Option<*mut u32> {
        let word = self.slice().get(index)?.as_ptr().cast::<u32>();
        Some(if cfg!(target_endian = "little") {
            word
        } else {
            word.wrapping_add(1)
        })
    }

    /// The lower half of a word.
    pub(crate) fn low_half(&self, index: usize) -> u32 {
        let word = self
            .slice()
            .get(index)
            .map_or(0, |word| word.load(Ordering::Acquire));
        u32::try_from(word & u64::from(u32::MAX)).unwrap_or(0)
    }

    /// Wakes every process that sleeps on a word.
    pub(crate) fn wake_all(&self, index: usize) {
        if let Some(word) = self.futex(index) {
            // SAFETY: the word lies in the mapping, which lives as long as `self`; the system only wakes those that sleep on it.
            unsafe { libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAKE, i32::MAX) };
        }
    }

    /// Sleeps while the lower half of a word is `value`, but not longer than `at_most`; may wake early.
    pub(crate) fn sleep_while(&self, index: usize, value: u32, at_most: Duration) {
        let Some(word) = self.futex(index) else {
            return;
        };
        let at_most = libc::timespec {
            tv_sec: libc::time_t::try_from(at_most.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: at_most.subsec_nanos().into(),
        };
        // SAFETY: the word lies in the mapping, which lives as long as `self`, and the time is a live local; the system reads both.
        unsafe {
            libc::syscall(
                libc::SYS_futex,
                word,
                libc::FUTEX_WAIT,
                value,
                &raw const at_most,
            )
        };
    }
}

/// A value that was read, with the sequence number that it had.
#[derive(Debug)]
pub(crate) struct Cache<T>(Mutex<Option<(u64, Arc<T>)>>);

impl<T> Default for Cache<T> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

/// A value of type `T` at a fixed place of the file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell<T> {
    at: usize,
    value: PhantomData<T>,
}

impl<T: Pod> Cell<T> {
    const VALUE_WORDS: usize = {
        assert!(size_of::<T>().is_multiple_of(WORD) && align_of::<T>() <= WORD);
        size_of::<T>() / WORD
    };

    /// Words of a cell: the sequence number and both copies.
    pub(crate) const WORDS: usize = 1 + 2 * Self::VALUE_WORDS;

    pub(crate) const fn at(word: usize) -> Self {
        Self {
            at: word,
            value: PhantomData,
        }
    }

    fn copy(self, words: &Words, sequence: u64) -> &[AtomicU64] {
        let first = self.at
            + 1
            + if sequence.is_multiple_of(2) {
                0
            } else {
                Self::VALUE_WORDS
            };
        words
            .slice()
            .get(first..first + Self::VALUE_WORDS)
            .unwrap_or(&[])
    }

    fn sequence(self, words: &Words) -> Option<&AtomicU64> {
        words.slice().get(self.at)
    }

    /// The value in force.
    pub(crate) fn read(self, words: &Words) -> T {
        self.read_numbered(words).1
    }

    /// The value in force, from `cache` when that has it: a client makes hundreds of calls between two changes.
    pub(crate) fn read_through(self, words: &Words, cache: &Cache<T>) -> Arc<T> {
        let number = self
            .sequence(words)
            .map(|number| number.load(Ordering::Acquire));
        // Somebody else may have it, in a forked child even for ever.
        let Ok(mut cached) = cache.0.try_lock() else {
            return Arc::new(self.read(words));
        };
        if let Some((known, value)) = &*cached
            && Some(*known) == number
        {
            return Arc::clone(value);
        }
        let (number, read) = self.read_numbered(words);
        let read = Arc::new(read);
        *cached = Some((number, Arc::clone(&read)));
        read
    }

    fn read_numbered(self, words: &Words) -> (u64, T) {
        let mut value = T::zeroed();
        let Some(sequence) = self.sequence(words) else {
            return (0, value);
        };
        loop {
            let before = sequence.load(Ordering::Acquire);
            let copy = self.copy(words, before);
            for (to, from) in bytemuck::cast_slice_mut::<T, u64>(std::slice::from_mut(&mut value))
                .iter_mut()
                .zip(copy)
            {
                *to = from.load(Ordering::Relaxed);
            }
            // Pairs with the fence in `write`: whoever saw a word of a later write also sees the later number.
            fence(Ordering::Acquire);
            if sequence.load(Ordering::Relaxed) == before {
                return (before, value);
            }
            std::hint::spin_loop();
        }
    }

    /// Puts a new value in force. Only one writer at a time may do so.
    pub(crate) fn write(self, words: &Words, value: &T) {
        let Some(sequence) = self.sequence(words) else {
            return;
        };
        let next = sequence.load(Ordering::Acquire).wrapping_add(1);
        fence(Ordering::Release);
        let from = bytemuck::cast_slice::<T, u64>(std::slice::from_ref(value));
        for (to, &from) in self.copy(words, next).iter().zip(from) {
            to.store(from, Ordering::Relaxed);
        }
        sequence.store(next, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use bytemuck::Zeroable;

    use super::*;

    #[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
    #[repr(C)]
    struct Many([u64; 64]);

    fn mapped() -> Words {
        let file = tempfile::tempfile().unwrap();
        let words = Cell::<Many>::WORDS;
        file.set_len(u64::try_from(words * WORD).unwrap()).unwrap();
        Words::map(&file, words).unwrap()
    }

    #[test]
    fn a_reader_never_sees_half_a_write() {
        let words = mapped();
        let cell = Cell::<Many>::at(0);
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                for i in 1..=50_000 {
                    cell.write(&words, &Many([i; 64]));
                }
            });
            let mut last = 0;
            let cache = Cache::default();
            loop {
                let done = writer.is_finished();
                let Many(read) = *cell.read_through(&words, &cache);
                assert!(read.iter().all(|&word| word == read[0]), "torn: {read:?}");
                assert!(read[0] >= last, "went back from {last} to {}", read[0]);
                last = read[0];
                if done {
                    break;
                }
            }
            assert_eq!(last, 50_000);
        });
    }

    #[test]
    fn a_write_that_dies_half_way_changes_nothing() {
        let words = mapped();
        let cell = Cell::<Many>::at(0);
        cell.write(&words, &Many([7; 64]));
        // What a writer leaves behind that is killed before it adds one to the number.
        let hidden = cell.copy(&words, 2);
        for word in hidden.iter().take(30) {
            word.store(8, Ordering::Relaxed);
        }
        assert_eq!(cell.read(&words), Many([7; 64]));
        cell.write(&words, &Many([9; 64]));
        assert_eq!(cell.read(&words), Many([9; 64]));
    }
}
