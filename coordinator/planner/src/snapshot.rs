use std::fmt;
use std::sync::Arc;

use mica_model::{Board, Layout};
use serde::{Deserialize, Serialize};

/// Names a GPU in the cluster: its node, and its NVML index there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GpuId {
    /// Name of the node.
    pub node: String,
    /// NVML index on the node.
    pub index: u32,
}

impl fmt::Display for GpuId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.node, self.index)
    }
}

/// What may be done with a GPU in this round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Availability {
    /// Its idle slices serve demand, and it may be changed.
    Free,
    /// A change is under way: its idle slices, present or being made, serve demand; it may not be changed.
    Settling,
    /// Neither. Its node is away, or the GPU is faulty or outside MIG.
    Unavailable,
}

/// A GPU as the planner sees it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct GpuState {
    /// Which GPU.
    pub id: GpuId,
    /// What it can be cut into.
    pub board: Arc<Board>,
    /// Slices that somebody uses, or may be using: never touched.
    pub in_use: Layout,
    /// Slices that nobody uses and nothing is promised to: each may serve a request or be destroyed.
    pub idle: Layout,
    /// What may be done with it.
    pub availability: Availability,
}

/// The cluster at one moment. GPU ids are unique; order says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Every GPU.
    pub gpus: Vec<GpuState>,
}
