//! The library is complete, and its structs are those of the header.

use std::ffi::CStr;

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
        assert_eq!(rig.client.call_with(symbol, 0), 3, "{symbol}");
    }
}

/// Whatever comes first, a GPU, an instance, nothing or garbage: NULL behind it is refused, and nothing happens.
#[test]
fn every_function_refuses_null() {
    let rig = rig(&["a100-40gb", "h100-sxm5-80gb"]);
    let client = &rig.client;
    let mut handles = vec![0, 1, usize::MAX, 0xa1, 0xdead_beef];
    for index in 0..2 {
        let gpu = client.gpu(index).unwrap();
        let instance = client.create(gpu, 9).unwrap();
        let compute = client.create_compute(instance, 2).unwrap();
        let mig = client.mig(gpu, 0).unwrap();
        handles.extend([gpu.addr(), mig.addr(), instance.addr(), compute.addr()]);
    }
    // They take no pointer, or succeed on a handle alone.
    let bare = [
        "nvmlInit",
        "nvmlInit_v2",
        "nvmlInitWithFlags",
        "nvmlShutdown",
        "nvmlErrorString",
    ];
    let by_handle = [
        "nvmlGpuInstanceDestroy",
        "nvmlComputeInstanceDestroy",
        "nvmlGpmSetStreamingEnabled",
    ];
    let before = rig.node.gpus();
    for symbol in SYMBOLS
        .lines()
        .filter(|symbol| !bare.contains(symbol) && !by_handle.contains(symbol))
    {
        for &handle in handles
            .iter()
            .filter(|&&handle| is_no_pointer(symbol) || handle == 0)
        {
            let code = client.call_with(symbol, handle);
            assert!(
                matches!(code, 2 | 3 | 6),
                "{symbol}({handle:#x}, NULL) is {code}"
            );
        }
    }
    assert_eq!(rig.node.gpus(), before);
}

/// Whether the first parameter of a function is a handle or a number, so that any value may be passed.
fn is_no_pointer(symbol: &str) -> bool {
    let device = symbol.starts_with("nvmlDevice") && !symbol.starts_with("nvmlDeviceGetCount");
    let by_name = symbol.contains("HandleByUUID")
        || symbol.contains("HandleBySerial")
        || symbol.contains("HandleByPci");
    (device && !by_name)
        || symbol.starts_with("nvmlGpuInstance")
        || symbol.starts_with("nvmlComputeInstance")
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

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn name(bytes: &[u8], at: usize) -> &str {
    CStr::from_bytes_until_nul(&bytes[at..])
        .unwrap()
        .to_str()
        .unwrap()
}

/// Versioned structs, byte by byte as the header lays them out; what lies behind is left alone.
#[test]
fn versioned_structs_of_gpu_instances() {
    let rig = rig(&["rtx-pro-6000-blackwell-96gb"]);
    let gpu = rig.client.gpu(0).unwrap().addr();
    let ask = |query, version| {
        rig.client.call_for_bytes(
            "nvmlDeviceGetGpuInstanceProfileInfoV",
            &[gpu, query],
            version,
        )
    };
    let v2 = ask(0x0a, 0x0200_0098).unwrap();
    assert_eq!(
        (word(&v2, 4), word(&v2, 8), word(&v2, 12), word(&v2, 16)),
        (47, 0, 1, 4),
        "id, p2p, slices, instances"
    );
    assert_eq!(
        (word(&v2, 20), word(&v2, 48), name(&v2, 56)),
        (46, 24_192, "MIG 1g.24gb+gfx")
    );
    assert_eq!(v2[152..], [0xee; 8]);
    let v3 = ask(0x0a, 0x0300_0098).unwrap();
    assert_eq!(
        (word(&v3, 4), word(&v3, 8), word(&v3, 12), word(&v3, 16)),
        (47, 1, 4, 46),
        "id, slices, instances, SM"
    );
    assert_eq!(
        (word(&v3, 40), name(&v3, 48), word(&v3, 144)),
        (24_192, "MIG 1g.24gb+gfx", 2),
        "2: graphics"
    );
    assert_eq!(v3[152..], [0xee; 8]);
    assert_eq!(ask(0, 0x0100_0030), Err(2));
}

#[test]
fn versioned_structs_of_compute_instances() {
    let rig = rig(&["rtx-pro-6000-blackwell-96gb"]);
    let gpu = rig.client.gpu(0).unwrap();
    let instance = rig.client.create(gpu, 5).unwrap();
    let ask = |version| {
        let arguments = [instance.addr(), 0, 0];
        rig.client.call_for_bytes(
            "nvmlGpuInstanceGetComputeInstanceProfileInfoV",
            &arguments,
            version,
        )
    };
    let v2 = ask(0x0200_0088).unwrap();
    assert_eq!(
        (word(&v2, 4), word(&v2, 8), word(&v2, 12), word(&v2, 16)),
        (0, 1, 2, 46),
        "id, slices, instances, SM"
    );
    assert_eq!(name(&v2, 40), "MIG 1c.2g.48gb");
    assert_eq!(v2[136..], [0xee; 24]);
    let v3 = ask(0x0300_008c).unwrap();
    assert_eq!((name(&v3, 40), word(&v3, 136)), ("MIG 1c.2g.48gb", 0));
    assert_eq!(v3[140..], [0xee; 20]);
    assert_eq!(ask(0x0100_0024), Err(2));
    rig.client.create_compute(instance, 0).unwrap();
    let mig = rig.client.mig(gpu, 0).unwrap().addr();
    let first = rig
        .client
        .call_for_bytes("nvmlDeviceGetAttributes", &[mig], 0)
        .unwrap();
    assert_eq!((word(&first, 0), word(&first, 4)), (46, 2));
    assert_eq!(first[24..], [0xee; 136], "the first version ends there");
}
