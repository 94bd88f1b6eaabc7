//! The index behind its lock, and the news that it has changed.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::index::{Index, Revision};

/// What every task of the coordinator shares.
#[derive(Debug)]
pub(crate) struct Cluster {
    index: Mutex<Index>,
    revision: watch::Sender<Revision>,
}

impl Cluster {
    pub(crate) fn new(index: Index) -> Self {
        Self {
            revision: watch::Sender::new(index.revision()),
            index: Mutex::new(index),
        }
    }

    /// Reads the index. Nobody else reads or changes it meanwhile, so keep it short.
    pub(crate) fn read<R>(&self, read: impl FnOnce(&Index) -> R) -> R {
        read(&self.lock())
    }

    /// Changes the index, and says so to those who watch.
    pub(crate) fn update<R>(&self, change: impl FnOnce(&mut Index) -> R) -> R {
        let mut index = self.lock();
        let result = change(&mut index);
        let revision = index.revision();
        self.revision.send_if_modified(|known| {
            let modified = *known != revision;
            *known = revision;
            modified
        });
        result
    }

    /// The index's revision, now and whenever it changes.
    pub(crate) fn watch(&self) -> watch::Receiver<Revision> {
        self.revision.subscribe()
    }

    /// The index is changed by single steps that do not panic, so a poisoned lock still guards a good one.
    fn lock(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
