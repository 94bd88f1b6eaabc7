//! The ring of events in the shared file, and the bell that wakes those who wait for one.

use std::time::Duration;

use super::lock::Lock;
use super::{AT_BELL, RING, Store, StoreError};
use crate::events::{EventKind, Ring, RingEvent};
use crate::state::Gpu;

impl Store {
    /// Tells of an event.
    pub(crate) fn raise(&self, event: RingEvent) -> Result<(), StoreError> {
        let lock = Lock::take(self)?;
        self.push(&lock, event);
        Ok(())
    }

    fn push(&self, _held: &Lock<'_>, event: RingEvent) {
        let mut ring = RING.read(&self.words);
        ring.push(event);
        RING.write(&self.words, &ring);
        self.ring_bell();
    }

    /// Tells of what a change of a GPU is to those who wait: another MIG configuration is an event; a GPU that was lost wakes them.
    pub(super) fn tell_of_change(&self, held: &Lock<'_>, number: u32, before: &Gpu, after: &Gpu) {
        let config = |gpu: &Gpu| (gpu.mig_current, gpu.instances);
        if config(before) != config(after) {
            self.push(held, RingEvent::whole(number, EventKind::MigConfig));
        }
        if before.lost != after.lost {
            self.ring_bell();
        }
    }

    /// The latest events.
    pub(crate) fn events(&self) -> Ring {
        RING.read(&self.words)
    }

    /// What the bell stands at; it moves whenever somebody who waits has to look again.
    pub(crate) fn bell(&self) -> u32 {
        self.words.low_half(AT_BELL)
    }

    pub(super) fn ring_bell(&self) {
        self.words.add(AT_BELL, 1);
        self.words.wake_all(AT_BELL);
    }

    /// Sleeps while the bell stands at `heard`, or until a signal comes, but not longer than `at_most`.
    pub(crate) fn wait_for_bell(&self, heard: u32, at_most: Duration) {
        self.words.sleep_while(AT_BELL, heard, at_most);
    }
}
