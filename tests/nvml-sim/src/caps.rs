//! Capability files: who may open the one of an instance may use it.
//!
//! The kernel driver lists all that there can be in `/proc/driver/nvidia-caps/mig-minors`, has a file below
//! `/proc/driver/nvidia/capabilities` for each that there is, and a character device `/dev/nvidia-caps/nvidia-cap…` of that minor
//! number belongs to each. Here they lie below the node's folder, and regular files stand for the devices.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use crate::state::{Gpu, MAX_COMPUTE_INSTANCES, MAX_GPU_INSTANCES};

/// GPUs that the kernel driver numbers.
const MAX_GPUS: u32 = 32;
/// Minor number of the capability to configure MIG, and of that to monitor it.
const CONFIG: u32 = 1;
const MONITOR: u32 = 2;
/// Minor numbers below it are not of instances.
const FIRST: u32 = 3;

const CAPABILITIES: &str = "proc/driver/nvidia/capabilities";
const DEVICES: &str = "dev/nvidia-caps";
/// The folders that hold nothing but capability files.
pub(crate) const FOLDERS: [&str; 3] = ["proc/driver/nvidia-caps", CAPABILITIES, DEVICES];

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Minor number of a GPU instance's capability; `gpu` is the minor number of the GPU's device, not its index.
fn gpu_instance(gpu: u32, gi: u32) -> u32 {
    let each = 1 + number(MAX_COMPUTE_INSTANCES);
    FIRST + each * (number(MAX_GPU_INSTANCES) * gpu + gi)
}

/// Minor number of a compute instance's capability.
fn compute_instance(gpu: u32, gi: u32, ci: u32) -> u32 {
    gpu_instance(gpu, gi) + 1 + ci
}

/// A capability file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CapFile {
    pub(crate) text: String,
    /// Permission bits.
    pub(crate) mode: u32,
}

/// The files of a node whose driver is loaded and has these GPUs, by their path below the node's folder. What a file holds follows
/// from its path.
pub(crate) fn files<'a>(gpus: impl Iterator<Item = &'a Gpu>) -> BTreeMap<PathBuf, CapFile> {
    let mut files = BTreeMap::new();
    let minors = CapFile {
        text: mig_minors(),
        mode: 0o444,
    };
    files.insert("proc/driver/nvidia-caps/mig-minors".into(), minors);
    let mut add = |path: String, minor: u32, mode: u32| {
        let text =
            format!("DeviceFileMinor: {minor}\nDeviceFileMode: {mode}\nDeviceFileModify: 1\n");
        files.insert(
            format!("{CAPABILITIES}/{path}").into(),
            CapFile { text, mode: 0o444 },
        );
        let device = CapFile {
            text: String::new(),
            mode,
        };
        files.insert(format!("{DEVICES}/nvidia-cap{minor}").into(), device);
    };
    add("mig/config".to_owned(), CONFIG, 0o400);
    add("mig/monitor".to_owned(), MONITOR, 0o444);
    for gpu in gpus {
        let g = gpu.minor;
        for (gi, instance) in gpu.instances() {
            let folder = format!("gpu{g}/mig/gi{gi}");
            add(
                format!("{folder}/access"),
                gpu_instance(g, gi.into()),
                0o444,
            );
            for (ci, _) in instance.compute_instances() {
                let minor = compute_instance(g, gi.into(), ci.into());
                add(format!("{folder}/ci{ci}/access"), minor, 0o444);
            }
        }
    }
    files
}

/// The list of all capabilities that there can be.
fn mig_minors() -> String {
    let mut text = format!("config {CONFIG}\nmonitor {MONITOR}\n");
    for gpu in 0..MAX_GPUS {
        for gi in 0..number(MAX_GPU_INSTANCES) {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "gpu{gpu}/gi{gi}/access {}", gpu_instance(gpu, gi));
            for ci in 0..number(MAX_COMPUTE_INSTANCES) {
                let minor = compute_instance(gpu, gi, ci);
                let _ = writeln!(text, "gpu{gpu}/gi{gi}/ci{ci}/access {minor}");
            }
        }
    }
    text
}

/// What tells two sets of files apart.
pub(crate) fn fingerprint<'a>(gpus: impl Iterator<Item = &'a Gpu>) -> u64 {
    let mut bytes = Vec::new();
    for gpu in gpus {
        bytes.extend(gpu.minor.to_be_bytes());
        for (gi, instance) in gpu.instances() {
            bytes.push(gi);
            // No instance has an id of 255.
            bytes.extend(instance.compute_instances().map(|(ci, _)| ci));
            bytes.push(u8::MAX);
        }
        bytes.push(u8::MAX);
    }
    crate::identity::hash(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minors_as_listed() {
        assert_eq!(gpu_instance(0, 0), 3);
        assert_eq!(compute_instance(0, 0, 0), 4);
        assert_eq!(gpu_instance(0, 1), 12);
        assert_eq!(gpu_instance(1, 0), 138);
        assert_eq!(compute_instance(31, 14, 7), 4322);
        let text = mig_minors();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 4322);
        assert_eq!(
            lines[..4],
            [
                "config 1",
                "monitor 2",
                "gpu0/gi0/access 3",
                "gpu0/gi0/ci0/access 4"
            ]
        );
        assert_eq!(lines[4321], "gpu31/gi14/ci7/access 4322");
    }
}
