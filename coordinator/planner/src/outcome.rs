use mica_model::Slice;
use serde::{Deserialize, Serialize};

use crate::GpuId;

/// What to change, and whom that serves. See [`crate::plan`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The GPUs to change, in ascending order of id; a GPU that stays as it is has no entry.
    pub changes: Vec<GpuChange>,
    /// Who is served, and who is not and why.
    pub report: Report,
}

/// What to change on one GPU: first destroy, then create.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuChange {
    /// Which GPU.
    pub gpu: GpuId,
    /// Idle slices to destroy, in ascending order of place.
    pub destroy: Vec<Slice>,
    /// Slices to create at explicit places, largest first.
    pub create: Vec<Slice>,
}

/// Who is served, and who is not and why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Every class of the demand, in ascending order of id.
    pub classes: Vec<ClassReport>,
    /// Sum of the weights of the requests served.
    pub weight: u64,
}

/// What becomes of the requests of one class: `wanted` is the sum of all other counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassReport {
    /// The class.
    pub id: String,
    /// How many requests wait.
    pub wanted: u32,
    /// How many get a slice that is there already, or under way.
    pub served_idle: u32,
    /// How many get a slice that this plan creates.
    pub served_new: u32,
    /// Why the others get none.
    pub unmet: Vec<Unmet>,
}

/// Requests of one class that get no slice for the same reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unmet {
    /// Why, as a word.
    pub reason: UnmetReason,
    /// How many requests.
    pub count: u32,
    /// Why, as a sentence for people: names the GPU and the slices in the way.
    pub detail: String,
}

/// Why a request gets no slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnmetReason {
    /// The room is taken: by slices in use, or by slices for requests that weigh at least as much together.
    NoRoom,
    /// One GPU has enough free slots, but not where an accepted profile may stand.
    Fragmented,
    /// No GPU offers an accepted profile.
    NoSuchProfile,
    /// GPUs offer an accepted profile, but none of them may be changed in this round.
    GpuUnavailable,
}
