//! What the agent knows of its node at one moment.

use std::collections::{BTreeMap, BTreeSet};

use mica_model::{Generation, Gpu, Silence};
use mica_nvml::{Activity, Hardware, Versions};
use mica_proto::v1;
use tracing::{info, warn};

/// Everything read from the driver in one go, and the generations. Replaced as a whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Inventory {
    /// Versions of driver and NVML.
    pub versions: Versions,
    /// The GPUs in order of index. While NVML cannot be read they are those last seen, each with its fault set.
    pub gpus: Vec<Gpu>,
    /// Activity by UUID of the GPU and GPU instance id, where the architecture has it.
    pub activity: BTreeMap<(String, u32), Activity>,
    /// What is known of the GPUs' places in the machine, by UUID.
    pub hardware: BTreeMap<String, Hardware>,
    /// Why NVML cannot be read now.
    pub fault: Option<String>,
    /// Sources of use that do not tell now.
    pub silences: Vec<Silence>,
    /// The newest generation seen, over restarts.
    pub seen: Generation,
    /// The newest generation finished with, well or badly. After a restart nothing is under way, so that it is the newest seen.
    pub finished: Generation,
}

impl Inventory {
    /// The report to the coordinator.
    #[must_use]
    pub fn report(&self) -> v1::Report {
        v1::Report {
            driver_version: self.versions.driver.clone(),
            nvml_version: self.versions.nvml.clone(),
            generation: self.finished.0,
            ..v1::Report::of_gpus(&self.gpus)
        }
    }

    /// Completes where the GPUs are in the machine: of those of which it is not known.
    pub(crate) fn place(&mut self, mut hardware: impl FnMut(&str) -> Option<Hardware>) {
        let uuids: BTreeSet<_> = self.gpus.iter().map(|gpu| &gpu.uuid).collect();
        self.hardware.retain(|uuid, _| uuids.contains(uuid));
        for uuid in uuids {
            if !self.hardware.contains_key(uuid)
                && let Some(found) = hardware(uuid)
            {
                self.hardware.insert(uuid.clone(), found);
            }
        }
    }

    /// Whether a layout is under way.
    #[must_use]
    pub fn is_working(&self) -> bool {
        self.seen != self.finished
    }

    /// Logs which GPUs could be read before and cannot now, and the reverse. What is wrong with NVML as a whole is said elsewhere.
    pub(crate) fn tell_faults(&self, before: &Self) {
        if self.fault.is_some() || before.fault.is_some() {
            return;
        }
        for gpu in &self.gpus {
            let known = before.gpus.iter().find(|known| known.uuid == gpu.uuid);
            match (known.and_then(|known| known.fault.as_ref()), &gpu.fault) {
                (None, Some(fault)) => warn!(gpu = gpu.uuid, fault, "the GPU cannot be used"),
                (Some(_), None) => info!(gpu = gpu.uuid, "the GPU can be used again"),
                (None, None) | (Some(_), Some(_)) => {}
            }
        }
    }

    /// Marks everything as not readable: what is not seen counts as in use.
    pub(crate) fn lose(&mut self, fault: &str) {
        self.fault = Some(fault.to_owned());
        self.activity.clear();
        self.hardware.clear();
        for gpu in &mut self.gpus {
            gpu.fault = Some(fault.to_owned());
        }
    }
}
