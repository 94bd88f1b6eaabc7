//! How the layout of one GPU ended, in words for people and as wire messages.

use std::fmt;

use mica_model::{Generation, Holder, MigMode, Placement, Reservation, Use};
use mica_nvml::Code;
use mica_proto::v1;
use serde::{Deserialize, Serialize};

/// Why nothing was touched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The generation is not newer than the newest seen.
    #[error("generation {asked} is not newer than {newest}, the newest this agent has seen")]
    StaleGeneration {
        /// What was sent.
        asked: Generation,
        /// The newest seen, over restarts.
        newest: Generation,
    },
    /// Instances that would go are in use, or may be.
    #[error("{}", Listed(.0))]
    InUse(Vec<Busy>),
    /// What would come is in the place of slices that are kept for pods.
    #[error("{}", Listed(.0))]
    PlaceKept(Vec<Kept>),
    /// MIG mode is off and cannot be enabled: the GPU as a whole is in use, or may be.
    #[error(
        "MIG mode is off and cannot be enabled while the GPU {0}; it is tried again with the next layout"
    )]
    GpuInUse(Use),
    /// The layout is not legal on this board, or makes no sense.
    #[error("the layout is not legal: {0}")]
    IllegalLayout(String),
    /// There is no such GPU on the node.
    #[error("there is no GPU {0} on this node")]
    UnknownGpu(String),
    /// The GPU has no MIG.
    #[error("{product} has no MIG")]
    MigUnsupported {
        /// Marketing name of the GPU.
        product: String,
    },
    /// MIG mode is off and cannot be enabled while processes hold the GPU.
    #[error("MIG mode is off and cannot be enabled while the GPU is held by {}: stop what holds it", Holders(.0))]
    MigModeHeld(Vec<Holder>),
    /// A change of MIG mode waits for a reset.
    #[error("MIG mode is {}: reset the GPU or reboot the node", .0.as_str())]
    ResetRequired(MigMode),
    /// A change of MIG mode waits for a reboot; why no less will do.
    #[error("MIG mode changes only when the node is rebooted: {0}")]
    RebootRequired(String),
    /// The GPU cannot be read or used now.
    #[error("the GPU cannot be used: {0}")]
    Faulted(String),
}

impl Refusal {
    /// Whether it is for silence alone: no source shows a user, but some do not tell. It may be otherwise in a moment.
    #[must_use]
    pub fn is_for_silence(&self) -> bool {
        match self {
            Self::InUse(busy) => busy.iter().all(|busy| busy.in_use.is_unused()),
            Self::GpuInUse(in_use) => in_use.is_unused(),
            Self::PlaceKept(_)
            | Self::StaleGeneration { .. }
            | Self::IllegalLayout(_)
            | Self::UnknownGpu(_)
            | Self::MigUnsupported { .. }
            | Self::MigModeHeld(_)
            | Self::ResetRequired(_)
            | Self::RebootRequired(_)
            | Self::Faulted(_) => false,
        }
    }
}

/// An instance that may not be destroyed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Busy {
    /// GPU instance id.
    pub gi: u32,
    /// Name of its profile.
    pub profile: String,
    /// Where it stands.
    pub placement: Placement,
    /// Who uses it, or why that is not known.
    pub in_use: Use,
}

impl fmt::Display for Busy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            gi,
            profile,
            placement,
            in_use,
        } = self;
        write!(f, "GPU instance {gi} ({profile} at {placement}) {in_use}")
    }
}

/// A slice that may not be made, because its place is kept for another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Name of its profile.
    pub profile: String,
    /// Where it would stand.
    pub placement: Placement,
    /// Name of the profile of the slice that is kept.
    pub kept_profile: String,
    /// Where that is to stand.
    pub kept_placement: Placement,
    /// For whom.
    pub reservation: Reservation,
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            profile,
            placement,
            kept_profile,
            kept_placement,
            reservation,
        } = self;
        write!(
            f,
            "{profile} at {placement} is in the place of {kept_profile} at {kept_placement}, which is kept for {reservation}"
        )
    }
}

struct Listed<'a, T>(&'a [T]);

impl<T: fmt::Display> fmt::Display for Listed<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, item) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{item}")?;
        }
        Ok(())
    }
}

/// `nv-hostengine (pid 7), pid 8`.
struct Holders<'a>(&'a [Holder]);

impl fmt::Display for Holders<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let holders: Vec<_> = self.0.iter().map(Holder::to_string).collect();
        f.write_str(&holders.join(", "))
    }
}

/// What the agent does to a GPU; the labels of metrics and the words of failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepKind {
    /// Reading what is there.
    Read,
    /// Putting into the journal what is begun.
    Journal,
    /// Switching MIG mode on.
    EnableMig,
    /// Switching MIG mode off; a person asks for that, never a coordinator.
    DisableMig,
    /// Destroying a compute instance.
    DestroyComputeInstance,
    /// Destroying a GPU instance.
    DestroyGpuInstance,
    /// Creating a GPU instance.
    CreateGpuInstance,
    /// Creating the compute instance of a GPU instance.
    CreateComputeInstance,
    /// Reading again after the last step.
    Verify,
}

impl StepKind {
    /// The label of metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Journal => "journal",
            Self::EnableMig => "enable_mig",
            Self::DisableMig => "disable_mig",
            Self::DestroyComputeInstance => "destroy_compute_instance",
            Self::DestroyGpuInstance => "destroy_gpu_instance",
            Self::CreateGpuInstance => "create_gpu_instance",
            Self::CreateComputeInstance => "create_compute_instance",
            Self::Verify => "verify",
        }
    }
}

impl From<StepKind> for v1::FailedStep {
    fn from(kind: StepKind) -> Self {
        match kind {
            StepKind::Read => Self::Read,
            StepKind::Journal => Self::Journal,
            // The wire has one word for a change of the mode.
            StepKind::EnableMig | StepKind::DisableMig => Self::EnableMig,
            StepKind::DestroyComputeInstance | StepKind::DestroyGpuInstance => Self::Destroy,
            StepKind::CreateGpuInstance => Self::CreateGpuInstance,
            StepKind::CreateComputeInstance => Self::CreateComputeInstance,
            StepKind::Verify => Self::Verify,
        }
    }
}

/// A step went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which one.
    pub step: StepKind,
    /// What NVML answered, when it was NVML that failed.
    pub code: Option<Code>,
    /// A sentence for people.
    pub detail: String,
    /// Whether the former layout stands again.
    pub rolled_back: bool,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The layout holds.
    Holds,
    /// Nothing was touched.
    Refused(Refusal),
    /// A step went wrong.
    Failed(Failure),
}

impl Ending {
    /// The label of metrics.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::Refused(_) => "refused",
            Self::Failed(failure) if failure.rolled_back => "rolled_back",
            Self::Failed(_) => "failed",
        }
    }
}

/// How the layout of one GPU ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GpuOutcome {
    /// UUID of the GPU.
    pub uuid: String,
    /// Whether it holds, and if not why.
    pub ending: Ending,
    /// Instances created, those of a roll-back not counted.
    pub created: u32,
    /// Instances destroyed, those of a roll-back not counted.
    pub destroyed: u32,
}

impl GpuOutcome {
    /// The outcome of a layout that was refused before anything was touched.
    #[must_use]
    pub fn refused(uuid: String, refusal: Refusal) -> Self {
        Self {
            uuid,
            ending: Ending::Refused(refusal),
            created: 0,
            destroyed: 0,
        }
    }
}

impl From<&Refusal> for v1::Refusal {
    fn from(refusal: &Refusal) -> Self {
        let reason = match refusal {
            Refusal::StaleGeneration { .. } => v1::RefusalReason::StaleGeneration,
            Refusal::InUse(_) | Refusal::PlaceKept(_) => v1::RefusalReason::InUse,
            Refusal::IllegalLayout(_) => v1::RefusalReason::IllegalLayout,
            Refusal::UnknownGpu(_) => v1::RefusalReason::UnknownGpu,
            Refusal::MigUnsupported { .. } => v1::RefusalReason::MigUnsupported,
            Refusal::MigModeHeld(_) | Refusal::GpuInUse(_) => v1::RefusalReason::MigModeHeld,
            Refusal::ResetRequired(_) | Refusal::RebootRequired(_) => {
                v1::RefusalReason::ResetRequired
            }
            Refusal::Faulted(_) => v1::RefusalReason::Faulted,
        };
        Self {
            reason: reason.into(),
            detail: refusal.to_string(),
        }
    }
}

impl From<&Failure> for v1::Failure {
    fn from(failure: &Failure) -> Self {
        Self {
            step: v1::FailedStep::from(failure.step).into(),
            nvml_code: failure.code.map(|code| code.0),
            detail: failure.detail.clone(),
            rolled_back: failure.rolled_back,
        }
    }
}

impl From<&GpuOutcome> for v1::GpuOutcome {
    fn from(outcome: &GpuOutcome) -> Self {
        let mut wire = Self {
            uuid: outcome.uuid.clone(),
            created: outcome.created,
            destroyed: outcome.destroyed,
            ..Self::default()
        };
        match &outcome.ending {
            Ending::Holds => {}
            Ending::Refused(refusal) => wire.refusal = Some(refusal.into()),
            Ending::Failed(failure) => wire.failure = Some(failure.into()),
        }
        wire
    }
}
