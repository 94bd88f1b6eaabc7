//! Signs of life of the threads that call NVML.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// When each thread last came back from the driver. Clones are handles on the same.
#[derive(Clone, Debug, Default)]
pub struct Pulse {
    beats: Arc<Mutex<BTreeMap<String, Instant>>>,
}

/// One thread that beats; when it is dropped the thread has no more calls to come back from.
#[derive(Debug)]
pub(super) struct Beat {
    pulse: Pulse,
    who: String,
}

impl Pulse {
    /// Begins to beat as `who`.
    pub(super) fn begin(&self, who: &str) -> Beat {
        let beat = Beat {
            pulse: self.clone(),
            who: who.to_owned(),
        };
        beat.beat();
        beat
    }

    /// Who has not come back for longest, and for how long.
    #[must_use]
    pub fn slowest(&self) -> Option<(String, Duration)> {
        let beats = self.beats.lock().unwrap_or_else(PoisonError::into_inner);
        beats
            .iter()
            .min_by_key(|(_, beat)| **beat)
            .map(|(who, beat)| (who.clone(), beat.elapsed()))
    }
}

impl Beat {
    /// Says that the thread came back from the driver.
    pub(super) fn beat(&self) {
        let mut beats = self
            .pulse
            .beats
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        beats.insert(self.who.clone(), Instant::now());
    }
}

impl Drop for Beat {
    fn drop(&mut self) {
        let beats = self.pulse.beats.lock();
        beats
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.who);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_is_the_one_that_came_back_longest_ago() {
        let pulse = Pulse::default();
        assert_eq!(pulse.slowest(), None);
        let poll = pulse.begin("poll");
        let gpu = pulse.begin("GPU-1");
        let slowest = || pulse.slowest().map(|(who, _)| who);
        assert_eq!(slowest().as_deref(), Some("poll"));
        poll.beat();
        assert_eq!(slowest().as_deref(), Some("GPU-1"));
        drop(gpu);
        assert_eq!(slowest().as_deref(), Some("poll"));
        drop(poll);
        assert_eq!(slowest(), None);
    }
}
