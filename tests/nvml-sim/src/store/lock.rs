//! The writers' lock, which is the log file.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;

use super::{Store, StoreError, io_error, now_ns};
use crate::log::Event;

/// The right to change a node, held by one thread of one process. The system takes it back from a process that dies.
pub(super) struct Lock<'store> {
    file: File,
    end: u64,
    store: &'store Store,
}

impl<'store> Lock<'store> {
    pub(super) fn take(store: &'store Store) -> Result<Self, StoreError> {
        let path = &store.log;
        // Opened anew each time, so that the lock also holds between threads and after a fork.
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .map_err(io_error("open", path))?;
        file.lock().map_err(io_error("lock", path))?;
        let end = store.log_end();
        let length = file.metadata().map_err(io_error("read", path))?.len();
        if length > end {
            file.set_len(end).map_err(io_error("cut", path))?;
        }
        let lock = Self { file, end, store };
        store.show_caps(&lock)?;
        Ok(lock)
    }

    /// Appends an event and returns where the log ends then.
    pub(super) fn append(&mut self, mut event: Event) -> Result<u64, StoreError> {
        let path = &self.store.log;
        event.time_ns = now_ns();
        let mut line =
            serde_json::to_vec(&event).map_err(|error| io_error("write", path)(error.into()))?;
        line.push(b'\n');
        self.file
            .write_all_at(&line, self.end)
            .map_err(io_error("write", path))?;
        self.end += u64::try_from(line.len()).unwrap_or(0);
        Ok(self.end)
    }

    /// Empties the log; no state may say any more that it ends elsewhere.
    pub(super) fn clear_log(&mut self) -> Result<(), StoreError> {
        let path = &self.store.log;
        self.end = 0;
        self.file.set_len(0).map_err(io_error("cut", path))
    }
}

impl Drop for Lock<'_> {
    fn drop(&mut self) {
        // Closing would do, but not while a forked child still has the file open. A failure leaves just that to closing.
        drop(self.file.unlock());
    }
}
