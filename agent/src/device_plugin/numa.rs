//! Which memory of the machine a GPU is near to.

use std::{fs, path::PathBuf};

use mica_nvml::Pci;

/// What the kernel says in its `/sys`.
#[derive(Clone, Debug)]
pub(super) struct Nodes {
    root: PathBuf,
}

impl Nodes {
    pub(super) fn below(root: PathBuf) -> Self {
        Self { root }
    }

    /// NUMA node of the device at a place; `None` where the machine has but one, or does not say.
    pub(super) fn of(&self, pci: Pci) -> Option<i64> {
        let devices = self.root.join("bus/pci/devices");
        let text = fs::read_to_string(devices.join(pci.to_string()).join("numa_node")).ok()?;
        // The kernel writes -1 where there is none.
        text.trim().parse().ok().filter(|&node| node >= 0)
    }
}
