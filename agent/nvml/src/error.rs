use std::ffi::OsStr;

use nvml_wrapper::error::NvmlError;
use nvml_wrapper_sys::bindings::nvmlReturn_t;

use crate::Code;

/// Why something could not be read or done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no file of this name.
    #[error(
        "NVML library {path} was not found: {cause}; install the NVIDIA driver or give the path of its libnvidia-ml.so.1"
    )]
    LibraryNotFound {
        /// The name or path asked for.
        path: String,
        /// What the dynamic loader says.
        cause: String,
    },
    /// The file is there and cannot be loaded.
    #[error(
        "{path} cannot be loaded: {cause}; give the path of the NVIDIA driver's libnvidia-ml.so.1 for this machine"
    )]
    NotALibrary {
        /// The name or path asked for.
        path: String,
        /// What the dynamic loader says.
        cause: String,
    },
    /// A library, but another one.
    #[error(
        "{path} is a library but not NVML: it has no {missing}; give the path of the NVIDIA driver's libnvidia-ml.so.1"
    )]
    NotNvml {
        /// The name or path asked for.
        path: String,
        /// The function that it lacks.
        missing: &'static str,
    },
    /// NVML was loaded and refused to start.
    #[error("NVML in {path} does not start: nvmlInit_v2: {}", described(*code))]
    Init {
        /// The name or path asked for.
        path: String,
        /// What `nvmlInit_v2` returned.
        code: Code,
    },
    /// The UUID of an instance where that of a GPU is needed.
    #[error("{uuid} is a MIG device, not a GPU; give the UUID of its GPU")]
    NotAGpu {
        /// The UUID.
        uuid: String,
    },
    /// The library is too old to have a function.
    #[error("this driver's NVML has no {call}; a newer driver is needed")]
    MissingSymbol {
        /// Name of the NVML call.
        call: &'static str,
    },
    /// A call returned an error code.
    #[error("{call}: {}", described(*code))]
    Call {
        /// Name of the NVML call.
        call: &'static str,
        /// What it returned.
        code: Code,
    },
    /// A call succeeded with an answer that makes no sense.
    #[error("{call}: {problem}")]
    Answer {
        /// Name of the NVML call.
        call: &'static str,
        /// What is wrong with the answer.
        problem: String,
    },
    /// The driver is too old to describe a GPU that is not in MIG mode.
    #[error(
        "{call}: this driver describes what the GPU can be cut into only while MIG mode is on; turn it on with `nvidia-smi -i {gpu} -mig 1` or install a newer driver"
    )]
    NeedsMigMode {
        /// Name of the NVML call.
        call: &'static str,
        /// UUID of the GPU.
        gpu: String,
    },
    /// No compute instance profile fills the GPU instance.
    #[error(
        "GPU instance {gi} of {gpu} offers no compute instance profile of {slices} slices, which would fill it"
    )]
    NoFullComputeInstance {
        /// UUID of the GPU.
        gpu: String,
        /// GPU instance id.
        gi: u32,
        /// Compute slices of the GPU instance.
        slices: u32,
    },
}

fn described(code: Code) -> String {
    let remedy = code
        .remedy()
        .map(|remedy| format!("; {remedy}"))
        .unwrap_or_default();
    format!("{code} ({}){remedy}", code.0)
}

impl Error {
    /// The NVML return code, when an NVML call gave one.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Init { code, .. } | Self::Call { code, .. } => Some(*code),
            Self::LibraryNotFound { .. }
            | Self::NotALibrary { .. }
            | Self::NotNvml { .. }
            | Self::NotAGpu { .. }
            | Self::MissingSymbol { .. }
            | Self::Answer { .. }
            | Self::NeedsMigMode { .. }
            | Self::NoFullComputeInstance { .. } => None,
        }
    }

    /// The name of the NVML call that failed, when one did.
    #[must_use]
    pub fn call(&self) -> Option<&'static str> {
        match self {
            Self::Init { .. } => Some("nvmlInit_v2"),
            Self::MissingSymbol { call }
            | Self::Call { call, .. }
            | Self::Answer { call, .. }
            | Self::NeedsMigMode { call, .. } => Some(call),
            Self::LibraryNotFound { .. }
            | Self::NotALibrary { .. }
            | Self::NotNvml { .. }
            | Self::NotAGpu { .. }
            | Self::NoFullComputeInstance { .. } => None,
        }
    }

    /// Whether the open NVML has become useless as a whole, as after the driver was unloaded or exchanged: drop the
    /// [`Driver`](crate::Driver) and open it again. A lost GPU is not meant; the others go on. But when a call that is about no GPU says
    /// that it is lost, the whole session is, as after the driver was loaded anew.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        match self.code() {
            Some(Code::UNINITIALIZED | Code::DRIVER_NOT_LOADED | Code::LIB_RM_VERSION_MISMATCH) => {
                true
            }
            Some(Code::GPU_IS_LOST) => self.call().is_some_and(|call| {
                call.starts_with("nvmlSystem") || call == "nvmlDeviceGetCount_v2"
            }),
            _ => false,
        }
    }

    /// Whether a handle or an id has just ceased to exist, as when another client destroys an instance while it is being read.
    pub(crate) fn is_gone(&self) -> bool {
        matches!(self.code(), Some(Code::INVALID_ARGUMENT | Code::NOT_FOUND))
    }

    /// Whether the driver does not have the call, or not in the version asked for.
    pub(crate) fn is_missing(&self) -> bool {
        matches!(self, Self::MissingSymbol { .. })
            || matches!(
                self.code(),
                Some(Code::FUNCTION_NOT_FOUND | Code::ARGUMENT_VERSION_MISMATCH)
            )
    }

    /// Why `nvml-wrapper` could not open the library.
    pub(crate) fn open(library: &OsStr, error: NvmlError) -> Self {
        let path = library.display().to_string();
        match failure(error) {
            Failure::Code(code) => Self::Init { path, code },
            Failure::Symbol => Self::NotNvml {
                path,
                missing: "nvmlInit_v2",
            },
            Failure::Other(NvmlError::LibloadingError(error)) => {
                let text = error.to_string();
                let cause = text
                    .strip_prefix(&format!("{path}: "))
                    .unwrap_or(&text)
                    .to_owned();
                // The loader names the file first when it is the library itself that is missing, not one that it needs.
                if cause.len() < text.len() && cause.ends_with("No such file or directory") {
                    Self::LibraryNotFound { path, cause }
                } else {
                    Self::NotALibrary { path, cause }
                }
            }
            Failure::Other(error) => Self::NotALibrary {
                path,
                cause: error.to_string(),
            },
        }
    }

    /// An error of `nvml-wrapper` from a call.
    pub(crate) fn wrapped(call: &'static str, error: NvmlError) -> Self {
        match failure(error) {
            Failure::Code(code) => Self::Call { call, code },
            Failure::Symbol => Self::MissingSymbol { call },
            Failure::Other(error) => Self::Answer {
                call,
                problem: error.to_string(),
            },
        }
    }
}

/// What an error of `nvml-wrapper` stands for.
enum Failure {
    /// A return code; those that its enum lacks come as an unexpected variant.
    Code(Code),
    /// A function that the library does not have.
    Symbol,
    /// The wrapper's own.
    Other(NvmlError),
}

fn failure(error: NvmlError) -> Failure {
    if let NvmlError::FailedToLoadSymbol(_) = error {
        return Failure::Symbol;
    }
    let own = matches!(
        error,
        NvmlError::Utf8Error(_)
            | NvmlError::NulError(_)
            | NvmlError::LibloadingError(_)
            | NvmlError::StringTooLong { .. }
            | NvmlError::IncorrectBits(_)
            | NvmlError::SetReleaseFailed
            | NvmlError::GetPciInfoFailed
            | NvmlError::PciInfoToCFailed
    );
    if own {
        Failure::Other(error)
    } else {
        Failure::Code(Code(nvmlReturn_t::from(error)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_survive_the_wrapper_also_those_it_does_not_know() {
        for code in (1..=30).chain([999, 1234]) {
            let error = Error::wrapped("nvmlX", NvmlError::from(code));
            assert_eq!(error.code(), Some(Code(code)));
            assert_eq!(error.call(), Some("nvmlX"));
        }
    }

    #[test]
    fn the_wrappers_own_errors_carry_no_code() {
        let utf8 = String::from_utf8(vec![0xff]).unwrap_err().utf8_error();
        let error = Error::wrapped("nvmlX", NvmlError::Utf8Error(utf8));
        assert_eq!(error.code(), None);
        assert_eq!(
            error.to_string(),
            "nvmlX: could not interpret string as utf-8"
        );
        let error = Error::wrapped("nvmlX", NvmlError::FailedToLoadSymbol(String::new()));
        assert!(error.is_missing(), "{error}");
    }

    #[test]
    fn messages_name_call_words_code_and_remedy() {
        let say = |code| {
            Error::Call {
                call: "nvmlX",
                code,
            }
            .to_string()
        };
        assert_eq!(
            say(Code::INSUFFICIENT_RESOURCES),
            "nvmlX: Insufficient Resources (23)"
        );
        assert_eq!(
            say(Code::RESET_REQUIRED),
            "nvmlX: GPU requires reset (16); reset the GPU or reboot the node"
        );
        assert_eq!(say(Code(1234)), "nvmlX: Unknown Error (1234)");
    }

    #[test]
    fn a_lost_gpu_does_not_make_the_session_stale() {
        let stale: Vec<_> = (0..=30)
            .filter(|&code| {
                Error::Call {
                    call: "nvmlX",
                    code: Code(code),
                }
                .is_stale()
            })
            .collect();
        assert_eq!(stale, [1, 9, 18]);
    }
}
