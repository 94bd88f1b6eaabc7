use std::ffi::CStr;
use std::fmt;

/// An NVML return code (`nvmlReturn_t`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code(pub u32);

macro_rules! codes {
    ($($name:ident = $value:literal, $words:literal;)*) => {
        impl Code {
            $(#[doc = concat!("`NVML_", stringify!($name), "`: ", stringify!($words), ".")]
            pub const $name: Self = Self($value);)*

            /// NVML's own words for the code, as scripts grep them.
            #[must_use]
            pub fn words(self) -> &'static CStr {
                match self.0 {
                    $($value => $words,)*
                    _ => c"Unknown Error",
                }
            }
        }
    };
}

codes! {
    SUCCESS = 0, c"Success";
    ERROR_UNINITIALIZED = 1, c"Uninitialized";
    ERROR_INVALID_ARGUMENT = 2, c"Invalid Argument";
    ERROR_NOT_SUPPORTED = 3, c"Not Supported";
    ERROR_NO_PERMISSION = 4, c"Insufficient Permissions";
    ERROR_ALREADY_INITIALIZED = 5, c"Already Initialized";
    ERROR_NOT_FOUND = 6, c"Not Found";
    ERROR_INSUFFICIENT_SIZE = 7, c"Insufficient Size";
    ERROR_INSUFFICIENT_POWER = 8, c"Insufficient External Power";
    ERROR_DRIVER_NOT_LOADED = 9, c"Driver Not Loaded";
    ERROR_TIMEOUT = 10, c"Timeout";
    ERROR_IRQ_ISSUE = 11, c"Interrupt Request Issue";
    ERROR_LIBRARY_NOT_FOUND = 12, c"NVML Shared Library Not Found";
    ERROR_FUNCTION_NOT_FOUND = 13, c"Function Not Found";
    ERROR_CORRUPTED_INFOROM = 14, c"Corrupted infoROM";
    ERROR_GPU_IS_LOST = 15, c"GPU is lost";
    ERROR_RESET_REQUIRED = 16, c"GPU requires restart";
    ERROR_OPERATING_SYSTEM = 17, c"The operating system has blocked the request.";
    ERROR_LIB_RM_VERSION_MISMATCH = 18, c"Driver/library version mismatch";
    ERROR_IN_USE = 19, c"In use by another client";
    ERROR_MEMORY = 20, c"Insufficient Memory";
    ERROR_NO_DATA = 21, c"No data";
    ERROR_VGPU_ECC_NOT_SUPPORTED = 22, c"The requested vgpu operation is not available on target device, because ECC is enabled";
    ERROR_INSUFFICIENT_RESOURCES = 23, c"Insufficient Resources";
    ERROR_FREQ_NOT_SUPPORTED = 24, c"Requested frequency is not supported";
    ERROR_ARGUMENT_VERSION_MISMATCH = 25, c"The provided version is invalid/unsupported";
    ERROR_DEPRECATED = 26, c"The requested functionality has been deprecated";
    ERROR_NOT_READY = 27, c"The system is not ready for the request";
    ERROR_GPU_NOT_FOUND = 28, c"No GPUs were found";
    ERROR_INVALID_STATE = 29, c"Resource not in correct state to perform requested operation";
    ERROR_UNKNOWN = 999, c"Unknown Error";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.words().to_string_lossy(), self.0)
    }
}
