//! The driver's own log: every change of state and every attempt at one, in the order in which they happened.
//!
//! One JSON object a line, only ever appended to. It is what [`crate::judge`] judges by, so that no client judges itself.

use serde::{Deserialize, Serialize};

use crate::boards::Span;

/// What happened, or was attempted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// A GPU instance was to be created.
    CreateGpuInstance,
    /// A GPU instance was to be destroyed.
    DestroyGpuInstance,
    /// A compute instance was to be created.
    CreateComputeInstance,
    /// A compute instance was to be destroyed.
    DestroyComputeInstance,
    /// The MIG mode was to be changed; with result 0, `mig` and `pending` say what came of it.
    SetMigMode,
    /// The GPU was to be reset.
    Reset,
    /// The driver was loaded anew; logged of each GPU.
    Reload,
    /// The machine booted; logged of each GPU.
    Boot,
    /// A process was to start.
    StartProcess,
    /// A process ended.
    StopProcess,
    /// A client was to hold the GPU without running anything there.
    Hold,
    /// Such a client let go.
    Release,
    /// An injected fault hit a call; not logged of faults that hit every call.
    Fault,
}

/// What the client that acts knew of a process that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sight {
    /// It was there when the client last read the process list of its instance.
    Seen,
    /// It started after the client's last look.
    Newer,
    /// The client never looked.
    NeverLooked,
}

/// A process that was there when something was done to its instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Present {
    /// Process id.
    pub pid: u32,
    /// Its GPU instance, `None` when it uses the whole GPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gi: Option<u32>,
    /// Its compute instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ci: Option<u32>,
    /// What the client knew of it.
    pub sight: Sight,
}

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// When, in nanoseconds since the epoch.
    pub time_ns: u64,
    /// Process id of the client.
    pub client: u32,
    /// What.
    pub action: Action,
    /// NVML return code of the attempt.
    pub result: u32,
    /// GPU index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<u32>,
    /// GPU instance id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gi: Option<u32>,
    /// Compute instance id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ci: Option<u32>,
    /// Profile id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<u32>,
    /// Placement asked for, or chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placement: Option<Span>,
    /// Processes on what was acted upon.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub processes: Vec<Present>,
    /// The process that started or stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// MIG mode that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mig: Option<bool>,
    /// Activation status of a mode change: 0 when the mode is in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activation: Option<u32>,
    /// Name of the call that a fault hit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<String>,
}

impl Event {
    /// An event of this process, to be completed; the store sets the time.
    pub(crate) fn new(action: Action) -> Self {
        Self {
            time_ns: 0,
            client: std::process::id(),
            action,
            result: 0,
            gpu: None,
            gi: None,
            ci: None,
            profile: None,
            placement: None,
            processes: Vec::new(),
            pid: None,
            mig: None,
            activation: None,
            call: None,
        }
    }
}
