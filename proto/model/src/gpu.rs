use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Board, Holder, Layout, Slice, Use};

/// MIG mode of a GPU: what is in force, and what is pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MigMode {
    /// The GPU has no MIG.
    Unsupported,
    /// Off.
    Disabled,
    /// On.
    Enabled,
    /// Asked for and not yet in force: the GPU must be reset, or its users must let go.
    PendingEnable,
    /// On still; off after a reset.
    PendingDisable,
}

impl MigMode {
    /// The word for people and labels: `unsupported`, `disabled`, `enabled`, `pending-enable`, `pending-disable`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unsupported => "unsupported",
            Self::Disabled => "disabled",
            Self::Enabled => "enabled",
            Self::PendingEnable => "pending-enable",
            Self::PendingDisable => "pending-disable",
        }
    }
}

/// A GPU as an agent saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gpu {
    /// `GPU-…`.
    pub uuid: String,
    /// NVML index on its node.
    pub index: u32,
    /// Marketing name, e.g. `NVIDIA A100-SXM4-40GB`.
    pub product: String,
    /// Memory of the whole GPU, MiB.
    pub memory_mib: u64,
    /// MIG mode.
    pub mig_mode: MigMode,
    /// What it can be cut into; `None` when it has no MIG.
    pub board: Option<Arc<Board>>,
    /// GPU instances, in ascending order of id.
    pub instances: Vec<Instance>,
    /// Who uses it as a whole, outside any instance.
    pub in_use: Use,
    /// Processes that have the device node of the GPU open, in ascending order of pid; looked for only while it matters, as when MIG mode
    /// cannot change or the GPU has to be reset.
    pub holders: Vec<Holder>,
    /// What has to happen before a pending MIG mode comes into force or the GPU is well again; `None` when it waits for nothing.
    pub waits_for: Option<WaitsFor>,
    /// Why the GPU cannot be read or used now: a sentence for people.
    pub fault: Option<String>,
}

/// What a GPU waits for, see [`Gpu::waits_for`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WaitsFor {
    /// The agent, which is changing the MIG mode or resetting the GPU.
    Agent,
    /// Its users, who must let go of it.
    Release,
    /// A reset of the GPU.
    Reset,
    /// A reboot of the node: a reset is not possible or does not help.
    Reboot,
}

impl WaitsFor {
    /// Everything that there is to wait for.
    pub const ALL: [Self; 4] = [Self::Agent, Self::Release, Self::Reset, Self::Reboot];

    /// The word for people and labels: `agent`, `release`, `reset`, `reboot`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Release => "release",
            Self::Reset => "reset",
            Self::Reboot => "reboot",
        }
    }
}

impl Gpu {
    /// The slices that stand on it, half-made ones included.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.instances
            .iter()
            .map(|instance| instance.slice)
            .collect()
    }
}

/// A GPU instance with its compute instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// GPU instance id. The driver reuses ids at once: it names an instance only as long as that lives.
    pub gi: u32,
    /// Profile and place.
    pub slice: Slice,
    /// The compute instance; `None` when the GPU instance is half made. Such an instance has no MIG device and no UUID.
    pub compute: Option<ComputeInstance>,
    /// Who uses it.
    pub in_use: Use,
    /// Memory in use, bytes.
    pub memory_used_bytes: u64,
    /// Memory of the instance, bytes.
    pub memory_total_bytes: u64,
    /// Why it cannot be used now although it stands: a sentence for people. Nobody is to get it, and nobody to destroy it.
    pub fault: Option<String>,
}

impl Instance {
    /// Whether it may be destroyed: nobody uses it, every source says so, and it is well.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.in_use.is_idle() && self.fault.is_none()
    }
}

/// A compute instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComputeInstance {
    /// Compute instance id within the GPU instance.
    pub id: u32,
    /// UUID of the MIG device, `MIG-…`.
    pub uuid: String,
}
