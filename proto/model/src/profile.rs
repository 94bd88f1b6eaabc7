use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Engines, Placement};

/// GPU instance profile id: the number that NVML's create calls take (19, 14, 9, …).
///
/// Not the enum of the profile query, and not a GPU instance id; confusing the three is the classic mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProfileId(pub u32);

impl fmt::Display for ProfileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A GPU instance profile, as the driver of one board reports it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Profile {
    /// What create calls take.
    pub id: ProfileId,
    /// Name without the driver's "MIG " prefix, e.g. `3g.20gb` or `1g.5gb+me`.
    pub name: String,
    /// Compute slices.
    pub slices: u32,
    /// How many may exist on one GPU.
    pub max_instances: u32,
    /// Memory, MiB.
    pub memory_mib: u64,
    /// Streaming multiprocessors.
    pub multiprocessors: u32,
    /// Engines that one instance takes.
    pub engines: Engines,
    /// Where it may stand, in ascending order of start.
    pub placements: Vec<Placement>,
}

impl Profile {
    /// Memory slots that one instance takes; 0 when the driver reports no placement.
    #[must_use]
    pub fn size(&self) -> u32 {
        self.placements
            .first()
            .map_or(0, |placement| placement.size)
    }
}
