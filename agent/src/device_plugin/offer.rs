//! Which devices are offered, and under which names. Pure.

use std::collections::BTreeMap;

use mica_model::{Gpu, Instance, MigMode, WHOLE_GPU, resource_name};
use mica_nvml::Pci;

use crate::inventory::Inventory;

/// How a device is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Whoever comes may get it.
    Healthy,
    /// It is sick, or was taken back. It stays in the list, and the kubelet gives it to nobody any more; a kubelet that had decided before it
    /// heard still gets it ([`super::Ledger`] says until when).
    Unhealthy,
}

/// Something that a container can get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Device {
    /// UUID of the MIG device or GPU.
    pub(super) id: String,
    /// UUID of its GPU.
    pub(super) gpu: String,
    /// Whether a pod may be given it.
    pub(super) state: State,
    /// Number of the GPU's device node; `None` while it is not known.
    pub(super) minor: Option<u32>,
    /// GPU instance and compute instance; `None` of a whole GPU.
    pub(super) mig: Option<(u32, u32)>,
    /// NUMA node of the GPU.
    pub(super) numa: Option<i64>,
}

/// The devices by resource name.
pub(super) type Lists = BTreeMap<String, Vec<Device>>;

/// What is known beside the inventory.
pub(super) struct Beside<'a> {
    /// Whether a device was taken back.
    pub(super) taken: &'a dyn Fn(&str) -> bool,
    /// Whether a container holds a device.
    pub(super) held: &'a dyn Fn(&str) -> bool,
    /// NUMA node of a place in the machine.
    pub(super) numa: &'a dyn Fn(Pci) -> Option<i64>,
    /// What was offered before.
    pub(super) before: &'a Lists,
}

/// What is to be offered: slices with compute instance, and GPUs outside MIG mode.
///
/// - What was taken back is not healthy. What a container holds stays in the list in any case until the container has ended: the scheduler
///   counts pods against the length of the list.
/// - What is sick is not healthy. Of a GPU that cannot be read everything is so that was there before.
/// - A GPU whose MIG mode is pending on is nobody's, unless it still is somebody's.
/// - Every name that a GPU's slices may have is there, if only with an empty list: a kubelet that does not know a name admits pods without
///   the devices that they ask for.
pub(super) fn offers(inventory: &Inventory, beside: &Beside<'_>) -> Lists {
    let mut lists = Lists::new();
    for gpu in &inventory.gpus {
        for name in names(gpu) {
            lists.entry(name).or_default();
        }
        for (name, device) in of_gpu(gpu, inventory, beside) {
            let state = if (beside.taken)(&device.id) {
                State::Unhealthy
            } else {
                device.state
            };
            let device = Device { state, ..device };
            lists.entry(name).or_default().push(device);
        }
    }
    keep(&mut lists, inventory, beside);
    lists
}

/// Every name under which something of a GPU may come to be offered.
fn names(gpu: &Gpu) -> impl Iterator<Item = String> {
    let profiles = gpu.board.iter().flat_map(|board| &board.profiles);
    profiles.map(|profile| resource_name(&profile.name))
}

/// Adds what was offered and is to stay although it is not seen now.
fn keep(lists: &mut Lists, inventory: &Inventory, beside: &Beside<'_>) {
    for (name, device) in named(beside.before) {
        let seen = lists.values().flatten().any(|known| known.id == device.id);
        let gpu = inventory.gpus.iter().find(|gpu| gpu.uuid == device.gpu);
        let unreadable = gpu.is_some_and(|gpu| gpu.fault.is_some());
        let unreadable = unreadable && !(beside.taken)(&device.id);
        if !seen && (unreadable || (beside.held)(&device.id)) {
            let state = State::Unhealthy;
            let device = Device {
                state,
                ..device.clone()
            };
            lists.entry(name.clone()).or_default().push(device);
        }
    }
}

/// Every device of some lists with its name.
fn named(lists: &Lists) -> impl Iterator<Item = (&String, &Device)> {
    lists
        .iter()
        .flat_map(|(name, devices)| devices.iter().map(move |device| (name, device)))
}

fn of_gpu(gpu: &Gpu, inventory: &Inventory, beside: &Beside<'_>) -> Vec<(String, Device)> {
    let hardware = inventory.hardware.get(&gpu.uuid);
    let whole = Device {
        id: gpu.uuid.clone(),
        gpu: gpu.uuid.clone(),
        state: if gpu.fault.is_none() {
            State::Healthy
        } else {
            State::Unhealthy
        },
        minor: hardware.map(|known| known.minor),
        mig: None,
        numa: hardware.and_then(|known| (beside.numa)(known.pci)),
    };
    match gpu.mig_mode {
        // One that was never readable has no UUID by which anybody could use it.
        MigMode::Unsupported | MigMode::Disabled if hardware.is_none() => Vec::new(),
        MigMode::Unsupported | MigMode::Disabled => vec![(WHOLE_GPU.to_owned(), whole)],
        MigMode::PendingEnable if (beside.held)(&gpu.uuid) => {
            let state = State::Unhealthy;
            vec![(WHOLE_GPU.to_owned(), Device { state, ..whole })]
        }
        MigMode::PendingEnable => Vec::new(),
        MigMode::Enabled | MigMode::PendingDisable => gpu
            .instances
            .iter()
            .filter_map(|instance| slice(gpu, instance, &whole))
            .collect(),
    }
}

/// `None` of one that is half made.
fn slice(gpu: &Gpu, instance: &Instance, whole: &Device) -> Option<(String, Device)> {
    let compute = instance.compute.as_ref()?;
    let profile = gpu.board.as_ref()?.profile(instance.slice.profile)?;
    let device = Device {
        id: compute.uuid.clone(),
        state: if instance.fault.is_none() {
            whole.state
        } else {
            State::Unhealthy
        },
        mig: Some((instance.gi, compute.id)),
        ..whole.clone()
    };
    Some((resource_name(&profile.name), device))
}

#[cfg(test)]
mod tests;
