//! Signs of life of the threads that call NVML.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tracing::warn;

/// How often the threads are looked at.
const WATCH: Duration = Duration::from_secs(1);

/// Longer than a call takes, also on a loaded node where one in a thousand takes seconds.
const LONG: Duration = Duration::from_secs(10);

/// When each thread last came back from the driver. Clones are handles on the same.
#[derive(Clone, Debug, Default)]
pub struct Pulse {
    beats: Arc<Mutex<BTreeMap<String, Last>>>,
}

/// When a thread last came back from the driver, and what it has gone there for.
#[derive(Clone, Debug)]
struct Last {
    beat: Instant,
    at: String,
}

/// A thread that calls NVML, and for how long it has not come back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Silent {
    /// `node` for the one that reads the node, `events`, or the UUID of the GPU that it works on.
    pub thread: String,
    /// What it does, for people; empty where the thread says it all.
    pub at: String,
    /// Since when it has not come back.
    pub silent: Duration,
}

impl fmt::Display for Silent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.thread)?;
        if self.at.is_empty() {
            Ok(())
        } else {
            write!(f, " ({})", self.at)
        }
    }
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

    /// Every thread that calls NVML.
    #[must_use]
    pub fn all(&self) -> Vec<Silent> {
        let beats = self.beats.lock().unwrap_or_else(PoisonError::into_inner);
        let silent = |(thread, last): (&String, &Last)| Silent {
            thread: thread.clone(),
            at: last.at.clone(),
            silent: last.beat.elapsed(),
        };
        beats.iter().map(silent).collect()
    }

    /// Who has not come back for longest.
    #[must_use]
    pub fn slowest(&self) -> Option<Silent> {
        self.all().into_iter().max_by_key(|known| known.silent)
    }

    /// Logs who has not come back for long, again each time that it is twice as long. Never returns.
    pub async fn watch(self) {
        let mut told: BTreeMap<String, Duration> = BTreeMap::new();
        let mut ticks = tokio::time::interval(WATCH);
        loop {
            ticks.tick().await;
            for Silent { thread, at, silent } in overdue(&mut told, self.all()) {
                warn!(thread, at, ?silent, "NVML does not return");
            }
        }
    }
}

/// Those of `now` who have not come back for long, or for twice as long as when they were last `told` of.
fn overdue(told: &mut BTreeMap<String, Duration>, now: Vec<Silent>) -> Vec<Silent> {
    told.retain(|thread, told| {
        let known = now.iter().find(|known| known.thread == *thread);
        known.is_some_and(|known| known.silent >= *told)
    });
    let mut overdue = now;
    overdue.retain(|known| {
        let told = told.get(&known.thread);
        known.silent >= told.map_or(LONG, |told| told.saturating_mul(2))
    });
    told.extend(
        overdue
            .iter()
            .map(|known| (known.thread.clone(), known.silent)),
    );
    overdue
}

impl Beat {
    /// Says that the thread came back from the driver.
    pub(super) fn beat(&self) {
        self.at("");
    }

    /// As [`Self::beat`], and what it goes there for next.
    pub(super) fn at(&self, at: &str) {
        self.due(Instant::now(), at);
    }

    /// As [`Self::beat`], and it goes there to wait for this long, which is no silence.
    pub(super) fn waits(&self, time: Duration) {
        let now = Instant::now();
        self.due(now.checked_add(time).unwrap_or(now), "");
    }

    fn due(&self, beat: Instant, at: &str) {
        let mut beats = self
            .pulse
            .beats
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let last = Last {
            beat,
            at: at.to_owned(),
        };
        beats.insert(self.who.clone(), last);
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
        let slowest = || pulse.slowest().map(|slowest| slowest.to_string());
        assert_eq!(slowest().as_deref(), Some("poll"));
        poll.beat();
        assert_eq!(slowest().as_deref(), Some("GPU-1"));
        drop(gpu);
        poll.at("GPU 3");
        assert_eq!(slowest().as_deref(), Some("poll (GPU 3)"));
        drop(poll);
        assert_eq!(slowest(), None);
    }

    #[test]
    fn who_does_not_come_back_is_told_of_again_when_it_is_twice_as_long() {
        let mut told = BTreeMap::new();
        let mut tell = |seconds: &[(&str, u64)]| {
            let silent = |&(thread, seconds): &(&str, u64)| Silent {
                thread: thread.to_owned(),
                at: String::new(),
                silent: Duration::from_secs(seconds),
            };
            let overdue = overdue(&mut told, seconds.iter().map(silent).collect());
            let threads = overdue.into_iter().map(|known| known.thread);
            threads.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(tell(&[("a", 1), ("b", 9)]), "");
        assert_eq!(tell(&[("a", 2), ("b", 10)]), "b");
        assert_eq!(tell(&[("a", 12), ("b", 19)]), "a");
        assert_eq!(tell(&[("a", 13), ("b", 20)]), "b");
        assert_eq!(tell(&[("a", 0), ("b", 21)]), "", "it came back");
        assert_eq!(tell(&[("a", 10), ("b", 40)]), "a b");
    }
}
