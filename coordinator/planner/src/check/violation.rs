use crate::{Availability, GpuId};

/// A rule that a plan breaks. Slices are named like `3g.20gb@4`: profile and first slot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[expect(missing_docs, reason = "the fields are what the messages name")]
pub enum Violation {
    /// Two GPUs of the snapshot have one id.
    #[error("{gpu}: the snapshot has this GPU twice")]
    AmbiguousGpu { gpu: GpuId },
    /// Two classes of the demand have one id.
    #[error("class {class}: the demand has this class twice")]
    AmbiguousClass { class: String },
    /// A GPU that is not in the snapshot is changed.
    #[error("{gpu}: changed, but the snapshot has no such GPU")]
    UnknownGpu { gpu: GpuId },
    /// A GPU is changed twice.
    #[error("{gpu}: changed twice")]
    RepeatedGpu { gpu: GpuId },
    /// Changes are not in ascending order of GPU.
    #[error("{gpu}: listed behind a later GPU")]
    Unordered { gpu: GpuId },
    /// A GPU is changed that may not be.
    #[error("{gpu}: changed, but it is {availability:?}")]
    NotFree {
        gpu: GpuId,
        availability: Availability,
    },
    /// A change that changes nothing.
    #[error("{gpu}: listed, but neither destroys nor creates")]
    EmptyChange { gpu: GpuId },
    /// Slices are created in an order in which a driver might run out of places.
    #[error("{gpu}: does not create the largest slices first")]
    NotLargestFirst { gpu: GpuId },
    /// A slice in use is destroyed.
    #[error("{gpu}: destroys {slice}, which is in use")]
    DestroysInUse { gpu: GpuId, slice: String },
    /// A slice is destroyed that is not there, or twice.
    #[error("{gpu}: destroys {slice}, which is not there")]
    DestroysMissing { gpu: GpuId, slice: String },
    /// A slice is destroyed that could stay beside what is created.
    #[error("{gpu}: destroys {slice}, which is in nobody's way")]
    NeedlessDestroy { gpu: GpuId, slice: String },
    /// A slice is created that is there already, or twice.
    #[error("{gpu}: creates {slice}, which is there already")]
    CreatesPresent { gpu: GpuId, slice: String },
    /// A slice is created that the driver does not offer, or not there.
    #[error("{gpu}: creates {slice}, which the driver does not offer")]
    NotOffered { gpu: GpuId, slice: String },
    /// Two slices take the same slot.
    #[error("{gpu}: slot {slot} belongs to two slices")]
    Overlap { gpu: GpuId, slot: u32 },
    /// More instances of a profile than the driver allows.
    #[error("{gpu}: {count} instances of {profile}, of at most {max}")]
    TooMany {
        gpu: GpuId,
        profile: String,
        count: u32,
        max: u32,
    },
    /// The slices together need more of an engine than the board has.
    #[error("{gpu}: the slices need {wanted} {engine}, the board has {capacity}")]
    Engines {
        gpu: GpuId,
        engine: &'static str,
        wanted: u32,
        capacity: u32,
    },
    /// The report leaves a class out.
    #[error("class {class}: missing in the report")]
    MissingClass { class: String },
    /// The report has a class that the demand does not have, or twice.
    #[error("class {class}: reported, but not wanted or reported twice")]
    UnknownClass { class: String },
    /// The requests of a class are not all accounted for.
    #[error("class {class}: {wanted} requests wait, {accounted} are accounted for")]
    WrongCount {
        class: String,
        wanted: u32,
        accounted: u64,
    },
    /// A class is said to get more slices than it can.
    #[error("class {class}: said to get {claimed} {supply} slices, can get {possible}")]
    NotServable {
        class: String,
        supply: &'static str,
        claimed: u32,
        possible: u32,
    },
    /// Slices are created that serve nobody.
    #[error("{created} slices are created for {serving} requests")]
    NeedlessCreate { created: u64, serving: u64 },
    /// The weight reported is not that of the requests served.
    #[error("the report says weight {claimed}, the requests served weigh {sum}")]
    WrongWeight { claimed: u64, sum: u64 },
    /// The plan serves less than the present slices could.
    #[error("serves weight {weight}, the slices that are there could serve {without}")]
    Worse { weight: u64, without: u64 },
    /// The plan changes GPUs and serves no more than the present slices could.
    #[error("changes GPUs, but weight {weight} is served without any change")]
    NoGain { weight: u64 },
}
