//! A node as it is now, in the terms of `nvidia-smi`.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::boards::{Board, ComputeProfile, Span};
use crate::identity;
use crate::rules;
use crate::state::{Gpu, GpuInstance, Process, WHOLE_GPU};

/// A GPU as it is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GpuView {
    /// NVML index.
    pub index: u32,
    /// Minor number of its device: the number of `/dev/nvidia…`, which need not be the index.
    pub minor: u32,
    /// PCI bus id, `00000000:07:00.0`.
    pub bus_id: String,
    /// `GPU-…`.
    pub uuid: String,
    /// Key of its board.
    pub board: String,
    /// Name the driver reports.
    pub product: String,
    /// Memory slots that placements count in.
    pub slots: u32,
    /// Whether MIG mode is on.
    pub mig: bool,
    /// Whether MIG mode will be on after a reset.
    pub mig_pending: bool,
    /// Whether the GPU fell off the bus.
    pub lost: bool,
    /// GPU instances, by id.
    pub instances: Vec<InstanceView>,
    /// Processes on the whole GPU.
    pub processes: Vec<ProcessView>,
    /// Process ids of clients that hold it without running anything there.
    pub holders: Vec<u32>,
    /// By profile id: how many more instances could be created. Empty when MIG mode is off.
    pub free: BTreeMap<u32, u32>,
}

impl GpuView {
    /// Whether this names it in the way of `nvidia-smi -i`: its index, its UUID or its PCI bus id.
    #[must_use]
    pub fn is_named(&self, id: &str) -> bool {
        id.parse() == Ok(self.index)
            || id.eq_ignore_ascii_case(&self.uuid)
            || identity::parse_bus_id(id) == Some((0, identity::bus(self.index), 0, 0))
    }

    /// All its processes, each with its GPU instance; `None` for those on the whole GPU.
    pub fn all_processes(&self) -> impl Iterator<Item = (Option<u32>, ProcessView)> {
        let of_instances = self.instances.iter().flat_map(|instance| {
            instance
                .processes
                .iter()
                .map(|&process| (Some(instance.gi), process))
        });
        self.processes
            .iter()
            .map(|&process| (None, process))
            .chain(of_instances)
    }
}

/// A GPU instance as it is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InstanceView {
    /// GPU instance id.
    pub gi: u32,
    /// Profile id.
    pub profile: u32,
    /// Profile name, e.g. `3g.20gb`.
    pub profile_name: String,
    /// First memory slot.
    pub start: u32,
    /// Number of memory slots.
    pub size: u32,
    /// Its first compute instance; `None` when it is half made.
    pub ci: Option<u32>,
    /// UUID of the MIG device of that compute instance, `MIG-…`.
    pub uuid: Option<String>,
    /// All its compute instances.
    pub compute_instances: Vec<ComputeInstanceView>,
    /// Processes on all of them.
    pub processes: Vec<ProcessView>,
}

impl InstanceView {
    /// How many more compute instances of a profile could be created, were nothing else created.
    #[must_use]
    pub fn free_places(&self, profile: ComputeProfile) -> usize {
        let taken = self.compute_instances.iter().map(|compute| Span {
            start: compute.start,
            size: compute.slices,
        });
        let free = |place: &Span| !taken.clone().any(|taken| taken.overlaps(*place));
        profile.placements().filter(free).count()
    }
}

/// A compute instance, which is a MIG device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ComputeInstanceView {
    /// Compute instance id.
    pub ci: u32,
    /// Name of its profile: `3g.20gb`, or `1c.3g.20gb` when it does not fill the GPU instance.
    pub name: String,
    /// Id of its profile.
    pub profile: u32,
    /// First compute slice within the GPU instance.
    pub start: u32,
    /// Compute slices.
    pub slices: u32,
    /// Index of the MIG device on its GPU.
    pub mig_index: u32,
    /// `MIG-…`.
    pub uuid: String,
}

/// A simulated process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ProcessView {
    /// Process id.
    pub pid: u32,
    /// Memory it uses, bytes.
    pub memory_bytes: u64,
}

fn views<'a>(processes: impl Iterator<Item = &'a Process>) -> Vec<ProcessView> {
    processes
        .map(|process| ProcessView {
            pid: process.pid,
            memory_bytes: process.memory_bytes,
        })
        .collect()
}

pub(super) fn gpu(index: u32, gpu: &Gpu) -> Option<GpuView> {
    let board: &Board = gpu.board()?;
    Some(GpuView {
        index,
        minor: gpu.minor,
        bus_id: identity::bus_id(index),
        uuid: identity::uuid_text("GPU", gpu.uuid),
        board: board.key.clone(),
        product: board.product.clone(),
        slots: board.slots,
        mig: gpu.mig_enabled(),
        mig_pending: gpu.mig_pending != 0,
        lost: gpu.lost != 0,
        instances: gpu
            .instances()
            .map(|(id, found)| instance(gpu, id, found))
            .collect(),
        processes: views(gpu.processes_on(WHOLE_GPU, None)),
        holders: gpu.holders().collect(),
        free: if gpu.mig_enabled() {
            board
                .profiles
                .iter()
                .map(|profile| (profile.id, rules::remaining_capacity(gpu, board, profile)))
                .collect()
        } else {
            BTreeMap::new()
        },
    })
}

fn instance(gpu: &Gpu, gi: u8, instance: &GpuInstance) -> InstanceView {
    let Span { start, size } = instance.span();
    let compute_instances: Vec<_> = instance
        .compute_instances()
        .map(|(ci, compute)| ComputeInstanceView {
            ci: ci.into(),
            name: gpu.mig_name(instance, *compute),
            profile: compute.profile.into(),
            start: compute.start.into(),
            slices: compute.size.into(),
            mig_index: compute.mig_index.into(),
            uuid: identity::uuid_text("MIG", identity::mig_uuid(gpu.uuid, gi, compute)),
        })
        .collect();
    let first = compute_instances.first();
    InstanceView {
        gi: gi.into(),
        profile: instance.profile.into(),
        profile_name: gpu
            .profile_of(instance)
            .map(|profile| profile.name.clone())
            .unwrap_or_default(),
        start,
        size,
        ci: first.map(|compute| compute.ci),
        uuid: first.map(|compute| compute.uuid.clone()),
        processes: views(gpu.processes_on(gi, None)),
        compute_instances,
    }
}
