//! The library is complete, and its structs are those of the header.

use nvml_wrapper_sys::bindings::*;

use crate::client::rig;

/// All functions of `nvml.h` 13.5.37, and what `nvidia-ml-py` 13.615 and the bindings look up besides.
const SYMBOLS: &str = include_str!("../../symbols.txt");

#[test]
fn every_symbol_exists() {
    let rig = rig(&["a100-40gb"]);
    let missing: Vec<_> = SYMBOLS
        .lines()
        .filter(|symbol| !rig.client.has(symbol))
        .collect();
    assert_eq!(missing, [""; 0]);
    assert_eq!(SYMBOLS.lines().count(), 438);
    assert!(
        !rig.client.has("nvmlNoSuchFunction"),
        "the look-up itself works"
    );
}

#[test]
fn what_is_not_simulated_says_so() {
    let rig = rig(&["a100-40gb"]);
    for symbol in [
        "nvmlUnitGetCount",
        "nvmlVgpuTypeGetLicense",
        "nvmlDeviceGetRemappedRows",
        "nvmlEventSetWait_v3",
    ] {
        assert_eq!(rig.client.call_bare(symbol), 3, "{symbol}");
    }
}

#[test]
fn structs_have_the_sizes_of_the_header() {
    let sizes = [
        size_of::<nvmlGpuInstanceProfileInfo_t>(),
        size_of::<nvmlGpuInstanceProfileInfo_v2_t>(),
        size_of::<nvmlGpuInstanceProfileInfo_v3_t>(),
        size_of::<nvmlComputeInstanceProfileInfo_t>(),
        size_of::<nvmlComputeInstanceProfileInfo_v2_t>(),
        size_of::<nvmlComputeInstanceProfileInfo_v3_t>(),
        size_of::<nvmlGpuInstancePlacement_t>(),
        size_of::<nvmlGpuInstanceInfo_t>(),
        size_of::<nvmlComputeInstanceInfo_t>(),
        size_of::<nvmlDeviceAttributes_t>(),
        size_of::<nvmlProcessInfo_t>(),
        size_of::<nvmlMemory_t>(),
        size_of::<nvmlMemory_v2_t>(),
        size_of::<nvmlGpmMetric_t>(),
        std::mem::offset_of!(nvmlGpmMetricsGet_t, metrics),
    ];
    assert_eq!(
        sizes,
        [
            48, 152, 152, 36, 136, 140, 8, 24, 32, 40, 24, 24, 40, 40, 24
        ]
    );
}
