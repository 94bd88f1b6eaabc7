//! What a config says of the GPUs of a node.

use std::collections::BTreeMap;

use mica_model::{Gpu, MigMode};

use super::{Device, Devices, Entry, PciId, Wanted};

/// A GPU of the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// As it was read.
    pub gpu: Gpu,
    /// What board it is; `None` when that cannot be read.
    pub pci: Option<PciId>,
}

/// A GPU that a config says something of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chosen<'a> {
    /// The GPU.
    pub gpu: &'a Gpu,
    /// What it shall be.
    pub wanted: &'a Wanted,
}

/// The GPUs that a config is for, in order of index, or all that keeps it from being for this node.
///
/// As in mig-parted, of two entries for a GPU the later one holds, and GPUs without MIG are passed over where `all` are meant. A GPU
/// that no entry is for is left alone.
pub fn select<'a>(entries: &'a [Entry], node: &'a [Seen]) -> Result<Vec<Chosen<'a>>, Vec<String>> {
    let mut chosen = BTreeMap::new();
    let mut passed_over = Vec::new();
    let mut problems = Vec::new();
    for entry in entries {
        for seen in meant(entry, node, &mut problems) {
            let gpu = &seen.gpu;
            let without_mig = gpu.mig_mode == MigMode::Unsupported && gpu.fault.is_none();
            match (&entry.wanted, &entry.devices) {
                (Wanted::On(_), Devices::All) if without_mig => passed_over.push(gpu),
                (Wanted::On(_), Devices::These(_)) if without_mig => problems.push(format!(
                    "{}: {} has no MIG; leave it out of devices",
                    name(gpu),
                    gpu.product
                )),
                (wanted, _) => {
                    chosen.insert(gpu.index, Chosen { gpu, wanted });
                }
            }
        }
    }
    if chosen.is_empty() && problems.is_empty() {
        problems.push(nothing_meant(node, &passed_over));
    }
    if problems.is_empty() {
        Ok(chosen.into_values().collect())
    } else {
        Err(problems)
    }
}

/// The GPUs that an entry is for.
fn meant<'a>(entry: &Entry, node: &'a [Seen], problems: &mut Vec<String>) -> Vec<&'a Seen> {
    let mut of_board = Vec::new();
    for seen in node {
        match seen.pci {
            _ if entry.filter.is_empty() => of_board.push(seen),
            Some(pci) if entry.filter.contains(&pci) => of_board.push(seen),
            Some(_) => {}
            None => problems.push(format!(
                "{} cannot be read, so that it is not known whether a device-filter is for it: {}",
                name(&seen.gpu),
                seen.gpu.fault.as_deref().unwrap_or("its PCI id is missing")
            )),
        }
    }
    let devices = match &entry.devices {
        Devices::All => return of_board,
        Devices::These(devices) => devices,
    };
    let is = |gpu: &Gpu, device: &Device| match device {
        Device::Index(index) => gpu.index == *index,
        Device::Uuid(uuid) => gpu.uuid == *uuid,
    };
    if !of_board.is_empty() {
        // An entry for other boards may be of a larger node.
        let there = |device: &Device| node.iter().any(|seen| is(&seen.gpu, device));
        for device in devices.iter().filter(|device| !there(device)) {
            problems.push(format!(
                "devices: there is no GPU {device} on this node; it has {}",
                listed(node.iter().map(|seen| name(&seen.gpu)))
            ));
        }
    }
    of_board.retain(|seen| devices.iter().any(|device| is(&seen.gpu, device)));
    of_board
}

fn nothing_meant(node: &[Seen], passed_over: &[&Gpu]) -> String {
    if !passed_over.is_empty() {
        let products = passed_over.iter().map(|gpu| gpu.product.clone());
        return format!("no GPU that it is for has MIG: {}", listed(products));
    }
    let boards = node.iter().map(|seen| {
        let pci = seen.pci.map_or_else(String::new, |pci| pci.to_string());
        format!("{pci} ({})", seen.gpu.product)
    });
    format!(
        "it is for no GPU of this node; compare devices and device-filter with {}",
        listed(boards)
    )
}

/// What messages call a GPU: `GPU 0 (GPU-…)`.
#[must_use]
pub fn name(gpu: &Gpu) -> String {
    format!("GPU {} ({})", gpu.index, gpu.uuid)
}

/// Each once.
fn listed(items: impl Iterator<Item = String>) -> String {
    let mut items: Vec<_> = items.collect();
    items.dedup();
    if items.is_empty() {
        "no GPU at all".to_owned()
    } else {
        items.join(", ")
    }
}
