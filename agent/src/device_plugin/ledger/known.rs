//! What the kubelet was told, and what it has understood. Pure: the time is given.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use mica_proto::v1;
use tracing::{info, warn};

use crate::kubelet::Allocatable;

/// Pauses between two questions: the shortest while the kubelet does not know what it was told, the longest meanwhile, and else.
const PACE: [Duration; 3] = [
    Duration::from_millis(20),
    Duration::from_secs(1),
    Duration::from_secs(10),
];

/// A name that was registered.
#[derive(Debug, Default)]
struct Name {
    /// The open stream; `None` when the kubelet does not watch.
    stream: Option<u64>,
    /// Healthy devices of the list that was last sent on it.
    sent: BTreeSet<String>,
    /// Those of them that the kubelet has not been seen to know.
    unseen: BTreeSet<String>,
}

/// Both sides.
#[derive(Debug)]
pub(in crate::device_plugin) struct Known {
    names: BTreeMap<String, Name>,
    streams: u64,
    /// When the kubelet was last told something, or somebody began to wait for its word.
    changed: Instant,
    /// When it was last asked and answered; before the first answer the same as `changed`.
    asked: Instant,
    allocatable: Allocatable,
    /// Why that is not its word of now.
    fault: Option<String>,
}

impl Known {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            names: BTreeMap::new(),
            streams: 0,
            changed: now,
            asked: now,
            allocatable: Allocatable::new(),
            fault: Some("it was not asked yet".to_owned()),
        }
    }

    pub(super) fn opened(&mut self, name: &str, now: Instant) -> u64 {
        self.streams += 1;
        let stream = Some(self.streams);
        let opened = Name {
            stream,
            ..Name::default()
        };
        self.names.insert(name.to_owned(), opened);
        self.changed = now;
        self.streams
    }

    pub(super) fn sent(
        &mut self,
        name: &str,
        stream: u64,
        healthy: BTreeSet<String>,
        now: Instant,
    ) {
        let Some(known) = self.names.get_mut(name) else {
            return;
        };
        if known.stream != Some(stream) {
            return;
        }
        known.unseen.retain(|device| healthy.contains(device));
        let new = healthy.difference(&known.sent).cloned();
        known.unseen.extend(new);
        known.sent = healthy;
        self.changed = now;
    }

    pub(super) fn ended(&mut self, name: &str, stream: u64, now: Instant) {
        let known = self.names.get(name);
        if known.is_some_and(|known| known.stream == Some(stream)) {
            self.forget(name, now);
        }
    }

    pub(super) fn forget(&mut self, name: &str, now: Instant) {
        self.names.insert(name.to_owned(), Name::default());
        self.changed = now;
    }

    pub(super) fn ask(&mut self, now: Instant) {
        self.changed = now;
    }

    pub(super) fn is_watched(&self, name: &str) -> bool {
        let known = self.names.get(name);
        known.is_some_and(|known| known.stream.is_some())
    }

    pub(super) fn heard(&mut self, asked: Instant, answer: Result<Allocatable, String>) {
        match answer {
            Ok(allocatable) => {
                if self.fault.take().is_some() {
                    info!("the kubelet tells what it gives to pods");
                }
                for (name, known) in &mut self.names {
                    if let Some(devices) = allocatable.get(name) {
                        known.unseen.retain(|device| !devices.contains(device));
                    }
                }
                self.allocatable = allocatable;
                self.asked = asked;
            }
            Err(fault) => {
                if self.fault.as_ref() != Some(&fault) {
                    warn!(
                        fault,
                        "the kubelet does not tell what it gives to pods: nothing that it may give is destroyed"
                    );
                }
                self.fault = Some(fault);
            }
        }
    }

    /// Whether the kubelet knows what it was told.
    fn agrees(&self) -> bool {
        let nothing = BTreeSet::new();
        let knows = |(name, known): (&String, &Name)| {
            known.stream.is_none() || self.allocatable.get(name).unwrap_or(&nothing) == &known.sent
        };
        self.fault.is_none() && self.asked >= self.changed && self.names.iter().all(knows)
    }

    /// Pause between two questions: the longer, the longer the kubelet does not agree.
    pub(super) fn pace(&self, now: Instant) -> Duration {
        let [shortest, longest, rest] = PACE;
        if self.agrees() {
            return rest;
        }
        let waited = now.saturating_duration_since(self.changed);
        (waited / 10).clamp(shortest, longest)
    }

    /// Whether one of the devices was sent, and the kubelet has not been seen to know it.
    pub(super) fn is_on_its_way(&self, devices: &BTreeSet<String>) -> bool {
        let mut names = self.names.values();
        names.any(|known| !known.unseen.is_disjoint(devices))
    }

    /// Whether the kubelet, asked after `since` and after it was told so, gives none of the devices to pods.
    pub(super) fn has_forgotten(&self, devices: &BTreeSet<String>, since: Instant) -> bool {
        let mut names = self.names.values();
        let offered = names.any(|known| !known.sent.is_disjoint(devices));
        let asked = self.fault.is_none() && self.asked >= self.changed && self.asked >= since;
        asked && !offered && self.still_gives(devices).is_empty()
    }

    fn still_gives<'a>(&'a self, devices: &BTreeSet<String>) -> Vec<&'a str> {
        let all = self.allocatable.values().flatten();
        let wanted = all.filter(|device| devices.contains(*device));
        wanted.map(String::as_str).collect()
    }

    /// Why it has not forgotten them within this time.
    pub(super) fn why_not(&self, devices: &BTreeSet<String>, waited: Duration) -> String {
        let seconds = waited.as_secs();
        if let Some(fault) = &self.fault {
            return format!(
                "asked for {seconds} s whether pods may still get it, it says: {fault}"
            );
        }
        let given = self.still_gives(devices).join(", ");
        format!("{seconds} s after it was to give them to no pod any more it still may: {given}")
    }

    /// For the coordinator.
    pub(super) fn report(&self) -> v1::Kubelet {
        let resources = self.names.keys().map(|name| v1::Resource {
            name: name.clone(),
            allocatable: self
                .allocatable
                .get(name)
                .map(|devices| devices.iter().cloned().collect())
                .unwrap_or_default(),
        });
        v1::Kubelet {
            resources: resources.collect(),
            fault: self.fault.clone().unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests;
