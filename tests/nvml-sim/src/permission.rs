//! What the callers of a node may do.
//!
//! On hardware that follows from being root and from which of the files below `/dev/nvidia-caps` a process can open. Here it is one
//! setting of the node, which the environment variable [`ENVIRONMENT`] overrides for one process.

use std::fmt;
use std::str::FromStr;

use crate::behaviour::{UnknownWord, named};

/// Names the permission of one client process, whatever the node's setting is.
pub const ENVIRONMENT: &str = "NVML_SIM_PERMISSION";

/// What a caller may do. The three capabilities are apart: who may configure sees no more than others, and the reverse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Permission {
    /// Everything; the only one that may change the MIG mode.
    #[default]
    Root,
    /// Create, destroy and list instances (`mig/config`).
    Config,
    /// See the processes and the memory of whole GPUs in MIG mode (`mig/monitor`).
    Monitor,
    /// Neither: enumerate, read profiles, use MIG devices.
    None,
}

const NAMES: [(&str, Permission); 4] = [
    ("root", Permission::Root),
    ("config", Permission::Config),
    ("monitor", Permission::Monitor),
    ("none", Permission::None),
];

impl FromStr for Permission {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        named(&NAMES, word)
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = NAMES.iter().find(|(_, value)| value == self);
        f.pad(name.map_or("", |(name, _)| name))
    }
}

impl Permission {
    pub(crate) fn byte(self) -> u8 {
        match self {
            Self::Root => 0,
            Self::Config => 1,
            Self::Monitor => 2,
            Self::None => 3,
        }
    }

    pub(crate) fn of_byte(byte: u8) -> Self {
        match byte {
            0 => Self::Root,
            1 => Self::Config,
            2 => Self::Monitor,
            _ => Self::None,
        }
    }

    /// Whether processes and memory of a whole GPU in MIG mode may be seen.
    pub(crate) fn sees_whole_gpus(self) -> bool {
        matches!(self, Self::Root | Self::Monitor)
    }

    /// Whether a call may be made at all; else it answers 4, before it looks at its arguments. These are the calls of which the
    /// header says "requires root user" or "requires privileged user".
    pub(crate) fn allows(self, call: &str) -> bool {
        match call {
            "nvmlDeviceSetMigMode" => self == Self::Root,
            "nvmlDeviceGetGpuInstancePossiblePlacements"
            | "nvmlDeviceGetGpuInstancePossiblePlacements_v2"
            | "nvmlDeviceGetGpuInstanceRemainingCapacity"
            | "nvmlDeviceCreateGpuInstance"
            | "nvmlDeviceCreateGpuInstanceWithPlacement"
            | "nvmlGpuInstanceDestroy"
            | "nvmlDeviceGetGpuInstances"
            | "nvmlDeviceGetGpuInstanceById"
            | "nvmlGpuInstanceGetComputeInstancePossiblePlacements"
            | "nvmlGpuInstanceGetComputeInstanceRemainingCapacity"
            | "nvmlGpuInstanceCreateComputeInstance"
            | "nvmlGpuInstanceCreateComputeInstanceWithPlacement"
            | "nvmlComputeInstanceDestroy"
            | "nvmlGpuInstanceGetComputeInstances"
            | "nvmlGpuInstanceGetComputeInstanceById" => {
                matches!(self, Self::Root | Self::Config)
            }
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_go_there_and_back() {
        for (name, value) in NAMES {
            assert_eq!(name.parse(), Ok(value));
            assert_eq!(value.to_string(), name);
            assert_eq!(Permission::of_byte(value.byte()), value);
        }
        assert!("admin".parse::<Permission>().is_err());
    }
}
