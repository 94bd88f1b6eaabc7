//! The state of a simulated node as plain data: what lies in the shared file.
//!
//! Everything here is fixed-size and without padding, so that a copy of it is a copy of words (see [`crate::shared`]).

use bytemuck::{Pod, Zeroable};

use crate::behaviour::Behaviour;
use crate::boards::{self, Board, Profile, Span};
use crate::permission::Permission;

/// Most GPUs of a node.
pub(crate) const MAX_GPUS: usize = 16;
/// GPU instance ids are 0 to 14: one whole, two halves, four quarters, eight eighths.
pub(crate) const MAX_GPU_INSTANCES: usize = 15;
/// Compute instances of one GPU instance.
pub(crate) const MAX_COMPUTE_INSTANCES: usize = 8;
/// Simulated processes of one GPU.
pub(crate) const MAX_PROCESSES: usize = 64;
/// Clients of one GPU that hold it without running anything there.
pub(crate) const MAX_HOLDERS: usize = 8;
/// Ended processes of one GPU whose instance is in use for a while yet.
pub(crate) const MAX_LINGERING: usize = 8;
/// Instance id of a process that uses the whole GPU.
pub(crate) const WHOLE_GPU: u8 = u8::MAX;

/// A compute instance; `size` 0 means that there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct ComputeInstance {
    pub(crate) profile: u8,
    pub(crate) start: u8,
    pub(crate) size: u8,
    /// Index of its MIG device on the GPU.
    pub(crate) mig_index: u8,
    /// Tells it from an earlier one with the same id.
    pub(crate) generation: u32,
    /// What its UUID has beside its place: 0 when UUIDs come again, else the generation.
    pub(crate) birth: u32,
}

impl ComputeInstance {
    pub(crate) fn span(self) -> Span {
        Span {
            start: self.start.into(),
            size: self.size.into(),
        }
    }
}

/// A GPU instance; `size` 0 means that there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct GpuInstance {
    pub(crate) profile: u8,
    pub(crate) start: u8,
    pub(crate) size: u8,
    pub(crate) reserved: u8,
    /// Tells it from an earlier one with the same id.
    pub(crate) generation: u32,
    pub(crate) compute: [ComputeInstance; MAX_COMPUTE_INSTANCES],
}

impl GpuInstance {
    pub(crate) fn span(self) -> Span {
        Span {
            start: self.start.into(),
            size: self.size.into(),
        }
    }

    pub(crate) fn compute_instance(&self, id: u8) -> Option<&ComputeInstance> {
        self.compute.get(usize::from(id)).filter(|ci| ci.size > 0)
    }

    /// Its compute instances with their ids.
    pub(crate) fn compute_instances(&self) -> impl Iterator<Item = (u8, &ComputeInstance)> {
        (0u8..).zip(&self.compute).filter(|(_, ci)| ci.size > 0)
    }
}

/// A process on an instance, or on the whole GPU ([`WHOLE_GPU`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) gi: u8,
    pub(crate) ci: u8,
    pub(crate) reserved: u16,
    pub(crate) memory_bytes: u64,
    /// The GPU's clock when it started: a client that read the process list at this clock or later has seen it.
    pub(crate) started: u64,
}

/// An ended process whose instance counts as in use until a moment; 0 means that there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Lingering {
    /// Nanoseconds since the epoch.
    pub(crate) until_ns: u64,
    pub(crate) gi: u8,
    pub(crate) ci: u8,
    pub(crate) reserved: [u8; 6],
}

/// One GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Gpu {
    /// End of the log after the change that made this state (see [`crate::store`]).
    pub(crate) log_end: u64,
    /// Number of changes so far.
    pub(crate) clock: u64,
    pub(crate) uuid: [u8; 16],
    /// Index into [`boards::all`].
    pub(crate) board: u32,
    /// Whether GPU instance ids count the halves from the top, as some boards do.
    pub(crate) swapped_halves: u8,
    pub(crate) mig_current: u8,
    pub(crate) mig_pending: u8,
    /// Fell off the bus: every call on it answers 15.
    pub(crate) lost: u8,
    pub(crate) process_count: u64,
    /// Number of the driver's load that its handles are of.
    pub(crate) load: u32,
    /// Minor number of its device file.
    pub(crate) minor: u32,
    /// Process ids of clients that hold it without running anything there, such as monitoring daemons; 0 means none.
    pub(crate) holders: [u32; MAX_HOLDERS],
    pub(crate) lingering: [Lingering; MAX_LINGERING],
    pub(crate) instances: [GpuInstance; MAX_GPU_INSTANCES],
    pub(crate) processes: [Process; MAX_PROCESSES],
}

impl Gpu {
    /// The board it is; the table and the file belong together, so there always is one.
    pub(crate) fn board(&self) -> Option<&'static Board> {
        usize::try_from(self.board)
            .ok()
            .and_then(|index| boards::all().get(index))
    }

    pub(crate) fn mig_enabled(&self) -> bool {
        self.mig_current != 0
    }

    pub(crate) fn instance(&self, id: u8) -> Option<&GpuInstance> {
        self.instances.get(usize::from(id)).filter(|gi| gi.size > 0)
    }

    /// Its GPU instances with their ids.
    pub(crate) fn instances(&self) -> impl Iterator<Item = (u8, &GpuInstance)> {
        (0u8..).zip(&self.instances).filter(|(_, gi)| gi.size > 0)
    }

    /// The profile of a GPU instance.
    pub(crate) fn profile_of(&self, gi: &GpuInstance) -> Option<&'static Profile> {
        self.board()?.profile(gi.profile.into())
    }

    /// Name of a MIG device's profile: `3g.20gb`, or `1c.3g.20gb` when its compute instance does not fill the GPU instance.
    pub(crate) fn mig_name(&self, gi: &GpuInstance, ci: ComputeInstance) -> String {
        let profile = self.profile_of(gi);
        let (name, slices) = profile.map_or(("", 0), |profile| (&profile.name, profile.slices));
        if u32::from(ci.size) == slices {
            name.to_owned()
        } else {
            format!("{}c.{name}", ci.size)
        }
    }

    pub(crate) fn processes(&self) -> &[Process] {
        let count = usize::try_from(self.process_count).unwrap_or(usize::MAX);
        self.processes.get(..count).unwrap_or(&self.processes)
    }

    /// The processes on a GPU instance, or on one compute instance of it.
    pub(crate) fn processes_on(&self, gi: u8, ci: Option<u8>) -> impl Iterator<Item = &Process> {
        self.processes()
            .iter()
            .filter(move |process| process.gi == gi && ci.is_none_or(|ci| process.ci == ci))
    }

    /// Process ids of the clients that hold it without running anything there.
    pub(crate) fn holders(&self) -> impl Iterator<Item = u32> {
        self.holders.iter().copied().filter(|&pid| pid != 0)
    }

    /// The compute instance behind a MIG device index.
    pub(crate) fn mig_device(&self, index: u32) -> Option<(u8, u8)> {
        self.instances().find_map(|(gi_id, gi)| {
            gi.compute_instances()
                .find(|(_, ci)| u32::from(ci.mig_index) == index)
                .map(|(ci_id, _)| (gi_id, ci_id))
        })
    }
}

/// An injected fault; `left` 0 means that there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct FaultSlot {
    /// Name of the NVML call, NUL-filled; `*` means every call.
    pub(crate) call: [u8; 72],
    /// See [`crate::inject::Effect`].
    pub(crate) effect: u32,
    /// Calls to let pass first.
    pub(crate) skip: u32,
    /// Calls still to hit; `u32::MAX` means always.
    pub(crate) left: u32,
    /// What to return.
    pub(crate) code: u32,
    pub(crate) delay_us: u64,
    /// Index of the GPU whose calls it hits; `u32::MAX` means all calls.
    pub(crate) gpu: u32,
    pub(crate) reserved: u32,
}

/// Faults of a node.
pub(crate) const MAX_FAULTS: usize = 32;
/// Codes that random faults choose from.
pub(crate) const MAX_CODES: usize = 8;

/// Random faults; no rate means that there are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct RandomFaultSlot {
    pub(crate) seed: u64,
    /// Hits in a million calls, by class of call (see [`crate::inject`]).
    pub(crate) rates: [u32; 3],
    /// How many of `codes` there are.
    pub(crate) code_count: u32,
    pub(crate) codes: [u32; MAX_CODES],
}

/// The faults of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Node {
    pub(crate) log_end: u64,
    pub(crate) faults: [FaultSlot; MAX_FAULTS],
    pub(crate) random: RandomFaultSlot,
}

/// The driver of a node: what is loaded, since when, and how it behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Driver {
    /// What names are computed from.
    pub(crate) seed: u64,
    /// Number of boots so far; the boot id follows from it.
    pub(crate) boots: u64,
    /// Version, NUL-filled.
    pub(crate) version: [u8; 32],
    /// Number of loads so far: a client of an earlier one is stale.
    pub(crate) load: u32,
    /// How long an instance stays in use after a process on it ended, milliseconds.
    pub(crate) linger_ms: u32,
    /// 0 while the driver is unloaded.
    pub(crate) loaded: u8,
    /// See [`crate::behaviour`].
    pub(crate) behaviour: u8,
    /// See [`crate::permission`].
    pub(crate) permission: u8,
    /// Whether GPUs cannot be reset from here, as in a virtual machine that they are passed through to.
    pub(crate) passthrough: u8,
    /// Whether it keeps capability files (see [`crate::caps`]).
    pub(crate) caps: u8,
    pub(crate) reserved: [u8; 3],
}

impl Driver {
    pub(crate) fn version(&self) -> String {
        let text = self.version.split(|&byte| byte == 0).next();
        String::from_utf8_lossy(text.unwrap_or_default()).into_owned()
    }

    pub(crate) fn is_loaded(&self) -> bool {
        self.loaded != 0
    }

    pub(crate) fn behaviour(&self) -> Behaviour {
        Behaviour::of_byte(self.behaviour)
    }

    pub(crate) fn permission(&self) -> Permission {
        Permission::of_byte(self.permission)
    }

    pub(crate) fn can_reset(&self) -> bool {
        self.passthrough == 0
    }

    pub(crate) fn has_caps(&self) -> bool {
        self.caps != 0
    }
}
