//! XIDs: the numbers under which NVIDIA's driver reports errors.
//!
//! Sources: NVIDIA's XID catalogue (docs.nvidia.com/deploy/xid-errors, r580) for the meanings; NVIDIA's Kubernetes device plugin
//! (internal/rm/health.go) for those that are applications' own faults.

/// The application did something wrong, or was told to stop; the GPU is well.
pub(super) const APPLICATION: [u64; 6] = [13, 31, 43, 45, 68, 109];

/// What NVML has when the driver does not say which.
pub(super) const UNKNOWN: u64 = 999;

/// No driver has a higher number; the catalogue ends below.
pub(super) const HIGHEST: u64 = 255;

/// What a number means, of those that are met most.
pub(super) fn meaning(number: u64) -> Option<&'static str> {
    Some(match number {
        13 => "graphics engine exception",
        31 => "memory page fault",
        43 => "the GPU stopped processing",
        45 => "channel removed",
        48 => "double-bit ECC error",
        61 | 62 => "internal micro-controller halt",
        63 => "row remapping or page retirement recorded",
        64 => "row remapping or page retirement failed",
        68 => "video decoder exception",
        69 => "graphics engine class error",
        74 => "NVLink error",
        79 => "the GPU has fallen off the bus",
        92 => "high rate of single-bit ECC errors",
        94 => "contained memory error",
        95 => "uncontained memory error",
        109 => "context switch timeout",
        119 => "GSP does not answer",
        120 => "GSP error",
        121 => "C2C link error",
        140 => "uncorrectable ECC error",
        154 => "recovery action changed",
        _ => return None,
    })
}
