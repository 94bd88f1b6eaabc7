use std::fmt;

/// A raw NVML return code. Displayed in NVML's own words, e.g. `Insufficient Resources`, which is what scripts look for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code(pub u32);

impl Code {
    /// It worked.
    pub const SUCCESS: Self = Self(0);
    /// NVML was not initialized, or was shut down.
    pub const UNINITIALIZED: Self = Self(1);
    /// An argument makes no sense to the driver: an unknown profile, an illegal placement, a dead handle.
    pub const INVALID_ARGUMENT: Self = Self(2);
    /// Not on this GPU, or not in its present mode.
    pub const NOT_SUPPORTED: Self = Self(3);
    /// The caller may not do this.
    pub const NO_PERMISSION: Self = Self(4);
    /// There is no such GPU or instance.
    pub const NOT_FOUND: Self = Self(6);
    /// The buffer is too small.
    pub const INSUFFICIENT_SIZE: Self = Self(7);
    /// The kernel driver is not loaded.
    pub const DRIVER_NOT_LOADED: Self = Self(9);
    /// The driver took too long.
    pub const TIMEOUT: Self = Self(10);
    /// The kernel driver lacks the function.
    pub const FUNCTION_NOT_FOUND: Self = Self(13);
    /// The GPU fell off the bus or cannot be reached.
    pub const GPU_IS_LOST: Self = Self(15);
    /// The GPU must be reset first.
    pub const RESET_REQUIRED: Self = Self(16);
    /// Kernel driver and library have different versions.
    pub const LIB_RM_VERSION_MISMATCH: Self = Self(18);
    /// A process or a compute instance is on it, or a client holds the GPU.
    pub const IN_USE: Self = Self(19);
    /// No room: the slots or engines are taken. To one who planned the placement it says that the plan's view of the GPU is stale.
    pub const INSUFFICIENT_RESOURCES: Self = Self(23);
    /// The driver does not know this version of a structure.
    pub const ARGUMENT_VERSION_MISMATCH: Self = Self(25);
    /// The driver is not ready yet.
    pub const NOT_READY: Self = Self(27);
    /// An error that the driver does not name.
    pub const UNKNOWN: Self = Self(999);

    /// What a person can do about it, where that is clear from the code alone.
    pub(crate) fn remedy(self) -> Option<&'static str> {
        Some(match self {
            Self::NO_PERMISSION => {
                "run as root or with access to the MIG config capability of the driver"
            }
            Self::DRIVER_NOT_LOADED => "load the NVIDIA kernel driver",
            Self::GPU_IS_LOST => "drain the node, then reset the GPU or reboot",
            Self::RESET_REQUIRED => "reset the GPU or reboot the node",
            Self::LIB_RM_VERSION_MISMATCH => {
                "kernel driver and library have different versions: reload the driver or reboot the node"
            }
            _ => return None,
        })
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            0 => "Success",
            1 => "Uninitialized",
            2 => "Invalid Argument",
            3 => "Not Supported",
            4 => "Insufficient Permissions",
            5 => "Already Initialized",
            6 => "Not Found",
            7 => "Insufficient Size",
            8 => "Insufficient External Power",
            9 => "Driver Not Loaded",
            10 => "Timeout",
            11 => "Interrupt Request Issue",
            12 => "NVML Shared Library Not Found",
            13 => "Function Not Found",
            14 => "Corrupted infoROM",
            15 => "GPU is lost",
            16 => "GPU requires reset",
            17 => "GPU access blocked by the operating system",
            18 => "Driver/library version mismatch",
            19 => "In use by another client",
            20 => "Insufficient Memory",
            21 => "No data",
            22 => "The requested vgpu operation is not available on target device, because ECC is enabled",
            23 => "Insufficient Resources",
            24 => "Frequency Not Supported",
            25 => "Argument Version Mismatch",
            26 => "Deprecated",
            27 => "Not Ready",
            28 => "GPU Not Found",
            29 => "Invalid State",
            30 => "Reset Type Not Supported",
            // What NVML says to 999 and to whatever it does not know.
            _ => "Unknown Error",
        })
    }
}
