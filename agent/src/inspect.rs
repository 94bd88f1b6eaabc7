//! `mica-agent inspect`: what the agent sees on its node, for people or programs.

use std::fmt::Write as _;

use mica_model::{Container, Gpu, Holder, Instance, MigMode, Placement, Use, WaitsFor};
use serde::{Serialize, Serializer};

use crate::inventory::Inventory;

/// The JSON of `inspect -o json`. Fields are added, not changed or removed; one that does not apply is null.
#[derive(Debug, Serialize)]
pub struct Document {
    /// Version of the NVIDIA driver.
    pub driver_version: String,
    /// Version of NVML.
    pub nvml_version: String,
    /// In order of index.
    pub gpus: Vec<GpuDocument>,
}

/// A GPU.
#[derive(Debug, Serialize)]
pub struct GpuDocument {
    /// NVML index on the node.
    pub index: u32,
    /// `GPU-…`.
    pub uuid: String,
    /// Marketing name.
    pub product: String,
    /// Memory of the whole GPU, MiB.
    pub memory_mib: u64,
    /// `unsupported`, `disabled`, `enabled`, `pending-enable` or `pending-disable`.
    pub mig_mode: MigMode,
    /// Memory slots; null without MIG.
    pub slots: Option<u32>,
    /// Memory slots that instances stand on.
    pub slots_used: u32,
    /// Processes on the GPU outside any instance.
    pub pids: Vec<u32>,
    /// Processes that have the device node of the GPU open, those that compute on it included.
    #[serde(serialize_with = "holders")]
    pub holders: Vec<Holder>,
    /// What a pending MIG mode waits for: `release`, `reset` or `reboot`.
    pub waits_for: Option<WaitsFor>,
    /// Why the GPU cannot be read or used now.
    pub fault: Option<String>,
    /// What it can be cut into.
    pub profiles: Vec<ProfileDocument>,
    /// In order of GPU instance id.
    pub instances: Vec<InstanceDocument>,
}

/// A GPU instance profile.
#[derive(Debug, Serialize)]
pub struct ProfileDocument {
    /// GPU instance profile id.
    pub id: u32,
    /// E.g. `3g.20gb`.
    pub name: String,
    /// Memory, MiB.
    pub memory_mib: u64,
    /// Where it may stand.
    pub placements: Vec<Placement>,
}

/// A GPU instance and its compute instance.
#[derive(Debug, Serialize)]
pub struct InstanceDocument {
    /// GPU instance id.
    pub gi: u32,
    /// Compute instance id; null when the GPU instance is half made.
    pub ci: Option<u32>,
    /// `MIG-…`; null when the GPU instance is half made.
    pub uuid: Option<String>,
    /// Name of its profile.
    pub profile: String,
    /// GPU instance profile id.
    pub profile_id: u32,
    /// Memory slots.
    pub placement: Placement,
    /// Whether it counts as in use.
    pub in_use: bool,
    /// Processes on it.
    pub pids: Vec<u32>,
    /// Containers that the kubelet has given it to.
    pub containers: Vec<Container>,
    /// Why its use cannot be told; it then counts as in use.
    pub use_unknown: Option<String>,
    /// Memory in use, bytes.
    pub memory_used_bytes: u64,
    /// Memory, bytes.
    pub memory_total_bytes: u64,
}

impl From<&Inventory> for Document {
    fn from(inventory: &Inventory) -> Self {
        Self {
            driver_version: inventory.versions.driver.clone(),
            nvml_version: inventory.versions.nvml.clone(),
            gpus: inventory.gpus.iter().map(GpuDocument::from).collect(),
        }
    }
}

impl From<&Gpu> for GpuDocument {
    fn from(gpu: &Gpu) -> Self {
        let profiles = gpu.board.iter().flat_map(|board| &board.profiles);
        Self {
            index: gpu.index,
            uuid: gpu.uuid.clone(),
            product: gpu.product.clone(),
            memory_mib: gpu.memory_mib,
            mig_mode: gpu.mig_mode,
            slots: gpu.board.as_ref().map(|board| board.slots),
            slots_used: gpu.layout().mask().count(),
            pids: gpu.in_use.processes.clone(),
            holders: gpu.holders.clone(),
            waits_for: gpu.waits_for,
            fault: gpu.fault.clone(),
            profiles: profiles
                .map(|profile| ProfileDocument {
                    id: profile.id.0,
                    name: profile.name.clone(),
                    memory_mib: profile.memory_mib,
                    placements: profile.placements.clone(),
                })
                .collect(),
            instances: gpu
                .instances
                .iter()
                .map(|instance| InstanceDocument::new(gpu, instance))
                .collect(),
        }
    }
}

impl InstanceDocument {
    fn new(gpu: &Gpu, instance: &Instance) -> Self {
        let Use {
            processes,
            containers,
            reservations: _,
            unknown,
        } = &instance.in_use;
        let unknown: Vec<_> = unknown.iter().map(ToString::to_string).collect();
        let profile = instance.slice.profile;
        Self {
            gi: instance.gi,
            ci: instance.compute.as_ref().map(|compute| compute.id),
            uuid: instance
                .compute
                .as_ref()
                .map(|compute| compute.uuid.clone()),
            profile: gpu.board.as_ref().map_or_else(
                || format!("profile {profile}"),
                |board| board.profile_name(profile),
            ),
            profile_id: profile.0,
            placement: instance.slice.placement,
            in_use: !instance.in_use.is_idle(),
            pids: processes.clone(),
            containers: containers.clone(),
            use_unknown: (!unknown.is_empty()).then(|| unknown.join(", ")),
            memory_used_bytes: instance.memory_used_bytes,
            memory_total_bytes: instance.memory_total_bytes,
        }
    }
}

impl Document {
    /// As JSON, with a line break at the end.
    pub fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self).map(|json| json + "\n")
    }

    /// For people: a table of GPUs and, when there are instances, one of instances.
    #[must_use]
    pub fn text(&self) -> String {
        let Self {
            driver_version,
            nvml_version,
            gpus,
        } = self;
        let mut text = format!("driver {driver_version}, NVML {nvml_version}\n\n");
        let head = ["GPU", "UUID", "PRODUCT", "MEMORY", "MIG", "SLOTS", "STATE"];
        text += &table(head, gpus.iter().map(gpu_row));
        let instances: Vec<_> = gpus
            .iter()
            .flat_map(|gpu| {
                gpu.instances
                    .iter()
                    .map(|instance| instance_row(gpu, instance))
            })
            .collect();
        if !instances.is_empty() {
            let head = [
                "GPU", "GI", "CI", "PROFILE", "PLACE", "MEMORY", "USE", "UUID",
            ];
            text.push('\n');
            text += &table(head, instances);
        }
        text
    }
}

fn gpu_row(gpu: &GpuDocument) -> [String; 7] {
    let slots = gpu.slots.map_or_else(
        || "-".to_owned(),
        |slots| format!("{}/{slots}", gpu.slots_used),
    );
    let state = match (&gpu.fault, gpu.waits_for, &*gpu.pids) {
        (Some(fault), _, _) => fault.clone(),
        (None, Some(waits_for), _) => {
            let holders: Vec<_> = gpu.holders.iter().map(Holder::to_string).collect();
            let held = if holders.is_empty() {
                String::new()
            } else {
                format!(": held by {}", holders.join(", "))
            };
            format!("waits for {}{held}", waits_for.as_str())
        }
        (None, None, []) => "ok".to_owned(),
        (None, None, pids) => format!("used by {}", pids_text(pids)),
    };
    [
        gpu.index.to_string(),
        gpu.uuid.clone(),
        gpu.product.clone(),
        format!("{} MiB", gpu.memory_mib),
        gpu.mig_mode.as_str().to_owned(),
        slots,
        state,
    ]
}

fn instance_row(gpu: &GpuDocument, instance: &InstanceDocument) -> [String; 8] {
    let mib = |bytes: u64| bytes / (1024 * 1024);
    let pids = (!instance.pids.is_empty()).then(|| pids_text(&instance.pids));
    let holders = instance.containers.iter();
    let holders = holders.map(|held| format!("pod {}/{}", held.pod.namespace, held.pod.name));
    let unknown = instance.use_unknown.iter();
    let unknown = unknown.map(|why| format!("unknown ({why})"));
    let mut users: Vec<_> = pids.into_iter().chain(holders).chain(unknown).collect();
    users.dedup();
    let in_use = if users.is_empty() {
        "idle".to_owned()
    } else {
        users.join(", ")
    };
    [
        gpu.index.to_string(),
        instance.gi.to_string(),
        instance
            .ci
            .map_or_else(|| "none".to_owned(), |ci| ci.to_string()),
        instance.profile.clone(),
        instance.placement.to_string(),
        format!(
            "{}/{} MiB",
            mib(instance.memory_used_bytes),
            mib(instance.memory_total_bytes)
        ),
        in_use,
        instance.uuid.clone().unwrap_or_else(|| "-".to_owned()),
    ]
}

/// In the field names of this document.
fn holders<S: Serializer>(holders: &[Holder], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(holders.iter().map(|holder| {
        serde_json::json!({
            "pid": holder.pid,
            "command": holder.command,
            "pod_uid": holder.pod_uid,
            "container_id": holder.container_id,
        })
    }))
}

fn pids_text(pids: &[u32]) -> String {
    let pids: Vec<_> = pids.iter().map(u32::to_string).collect();
    format!("pid {}", pids.join(","))
}

/// Columns as wide as their widest cell, two blanks between them, none at the end of a line.
fn table<const N: usize>(head: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let rows: Vec<_> = [head.map(str::to_owned)].into_iter().chain(rows).collect();
    let mut widths = [0; N];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for row in &rows {
        let line = row
            .iter()
            .zip(widths)
            .fold(String::new(), |mut line, (cell, width)| {
                // Writing to a string does not fail.
                let _ = write!(line, "{cell:width$}  ");
                line
            });
        text += line.trim_end();
        text.push('\n');
    }
    text
}
