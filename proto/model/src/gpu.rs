use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Board, Layout, Slice};

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
    /// Processes on the GPU outside any instance.
    pub pids: Vec<u32>,
    /// Why the GPU cannot be read or used now: a sentence for people.
    pub fault: Option<String>,
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
    /// Whether somebody uses it.
    pub in_use: Use,
    /// Memory in use, bytes.
    pub memory_used_bytes: u64,
    /// Memory of the instance, bytes.
    pub memory_total_bytes: u64,
}

/// A compute instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComputeInstance {
    /// Compute instance id within the GPU instance.
    pub id: u32,
    /// UUID of the MIG device, `MIG-…`.
    pub uuid: String,
}

/// Whether an instance is in use. Only [`Use::Idle`] may be destroyed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Use {
    /// Every source was asked and none shows a user.
    Idle,
    /// These processes are on it, in ascending order.
    Processes(Vec<u32>),
    /// A source did not answer; a sentence for people says which.
    Unknown(String),
}

impl Use {
    /// Whether every source was asked and none shows a user.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        matches!(self, Self::Idle)
    }
}
