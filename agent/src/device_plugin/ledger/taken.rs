//! What was taken back. Pure: the time is given.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

/// How long after a container was given a device the kubelet may need until it says so when it is asked for what containers hold.
const RECORDED: Duration = Duration::from_secs(1);

/// How long it is remembered that a container was given a device: until the kubelet was surely asked who holds what.
const REMEMBERED: Duration = Duration::from_secs(10);

/// Devices that are not to be given to pods.
#[derive(Debug, Default)]
pub(in crate::device_plugin) struct Taken {
    /// By UUID of the GPU.
    by_gpu: BTreeMap<String, BTreeSet<String>>,
    /// Those of them that are given to nobody any more, whatever the kubelet asks for.
    sealed: BTreeSet<String>,
    /// When devices were last given to a container.
    granted: BTreeMap<String, Instant>,
}

impl Taken {
    pub(in crate::device_plugin) fn has(&self, device: &str) -> bool {
        self.by_gpu.values().any(|devices| devices.contains(device))
    }

    pub(super) fn add(&mut self, gpu: &str, devices: &BTreeSet<String>) {
        let of_gpu = self.by_gpu.entry(gpu.to_owned()).or_default();
        of_gpu.extend(devices.iter().cloned());
    }

    /// Whether there was anything.
    pub(super) fn remove(&mut self, gpu: &str) -> bool {
        let Some(devices) = self.by_gpu.remove(gpu) else {
            return false;
        };
        self.sealed.retain(|device| !devices.contains(device));
        true
    }

    /// Notes that a container is given devices. `Err` when one of them is sealed.
    pub(super) fn grant(&mut self, devices: &[String], now: Instant) -> Result<(), String> {
        if let Some(sealed) = devices.iter().find(|device| self.sealed.contains(*device)) {
            return Err(format!("{sealed} is being destroyed"));
        }
        self.granted
            .retain(|_, at| now.saturating_duration_since(*at) < REMEMBERED);
        let now = devices.iter().map(|device| (device.clone(), now));
        self.granted.extend(now);
        Ok(())
    }

    /// What was given to containers lately.
    pub(super) fn granted(&self) -> BTreeSet<String> {
        self.granted.keys().cloned().collect()
    }

    /// Seals devices of a GPU that were taken back, unless one was given away so lately that the kubelet need not say so yet: then gives
    /// how long that is still so.
    pub(super) fn seal(
        &mut self,
        gpu: &str,
        devices: &BTreeSet<String>,
        now: Instant,
    ) -> Option<Duration> {
        let left = |device: &String| {
            let at = self.granted.get(device)?;
            RECORDED.checked_sub(now.saturating_duration_since(*at))
        };
        let left = devices.iter().filter_map(left).max();
        if left.is_none() && self.by_gpu.contains_key(gpu) {
            self.sealed.extend(devices.iter().cloned());
        }
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(devices: &[&str]) -> BTreeSet<String> {
        devices.iter().map(|&device| device.to_owned()).collect()
    }

    #[test]
    fn what_was_just_given_away_is_sealed_only_when_the_kubelet_says_who_has_it() {
        let mut taken = Taken::default();
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let devices = set(&["MIG-1", "MIG-2"]);
        let asked = |device: &str| vec![device.to_owned()];
        assert_eq!(taken.grant(&asked("MIG-1"), at(0)), Ok(()));
        taken.add("GPU-1", &devices);
        assert!(taken.has("MIG-1") && !taken.has("MIG-3"));
        // The kubelet had decided before it heard.
        assert_eq!(taken.grant(&asked("MIG-2"), at(500)), Ok(()));
        let left = taken.seal("GPU-1", &devices, at(600));
        assert_eq!(left, Some(Duration::from_millis(900)));
        assert_eq!(taken.seal("GPU-1", &devices, at(1_501)), None);
        let refused = taken.grant(&asked("MIG-2"), at(1_502)).unwrap_err();
        assert_eq!(refused, "MIG-2 is being destroyed");
        assert_eq!(taken.grant(&asked("MIG-3"), at(1_502)), Ok(()));
        assert!(taken.remove("GPU-1") && !taken.remove("GPU-1"));
        assert_eq!(taken.grant(&asked("MIG-2"), at(1_503)), Ok(()));
    }
}
