//! `nvml-wrapper`, the Rust crate: everything that its safe API has of MIG, and what monitors call.

use std::collections::BTreeMap;

use nvml_sim::{Code, EventKind, Fault, GpuSpec, Node, NodeOptions};
use nvml_wrapper::bitmasks::event::EventTypes;
use nvml_wrapper::enum_wrappers::device::{EccCounter, MemoryError, TemperatureSensor};
use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::enums::gpm::GpmMetricId;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::gpm::gpm_metrics_get;
use nvml_wrapper::{Device, Nvml};
use tempfile::TempDir;

fn rig(board: &str, mig: bool) -> (TempDir, Node, Nvml) {
    let dir = TempDir::new().unwrap();
    let gpus = GpuSpec::many(board, 2, mig);
    let node = Node::create(&dir.path().join("node"), &gpus, &NodeOptions::default()).unwrap();
    let nvml = open(&node);
    (dir, node, nvml)
}

fn open(node: &Node) -> Nvml {
    let library = node.library();
    Nvml::builder()
        .lib_path(library.as_os_str())
        .init()
        .unwrap()
}

/// Creates GPU instances where the driver likes them, each with one compute instance: profile ids of both. The safe API has no call
/// for it.
#[allow(unsafe_code, reason = "NVML is a C library")]
pub(crate) fn cut(node: &Node, gpu: u32, profiles: &[(u32, u32)]) {
    let nvml = open(node);
    let lib = nvml.lib();
    let device = nvml.device_by_index(gpu).unwrap();
    for &(profile, full) in profiles {
        let (mut instance, mut compute) = (std::ptr::null_mut(), std::ptr::null_mut());
        // SAFETY: the handle is used while the device lives.
        let device = unsafe { device.handle() };
        // SAFETY: the library is loaded, the pointer is to a live local.
        let code = unsafe { lib.nvmlDeviceCreateGpuInstance(device, profile, &raw mut instance) };
        assert_eq!(code, 0, "profile {profile}");
        // SAFETY: as before.
        let code =
            unsafe { lib.nvmlGpuInstanceCreateComputeInstance(instance, full, &raw mut compute) };
        assert_eq!(code, 0, "compute profile {full}");
    }
}

/// Compares, and says what was checked.
macro_rules! check {
    ($what:literal, $got:expr, $want:expr $(,)?) => {
        let got = $got;
        assert_eq!(got, $want, $what);
        println!(concat!("nvml-wrapper: ", $what, ": {:?}"), got);
    };
}

fn mode(gpu: &Device<'_>) -> (u32, u32) {
    let mode = gpu.mig_mode().unwrap();
    (mode.current, mode.pending)
}

fn refused<T>(answer: Result<T, NvmlError>) -> String {
    answer.err().unwrap().to_string()
}

#[test]
fn finds_gpus() {
    let (_dir, _node, nvml) = rig("a100-40gb", true);
    check!(
        "driver version",
        nvml.sys_driver_version().unwrap(),
        "580.95.05",
    );
    check!(
        "CUDA version",
        nvml.sys_cuda_driver_version().unwrap(),
        13_000,
    );
    check!("GPUs", nvml.device_count().unwrap(), 2);
    let gpu = nvml.device_by_index(1).unwrap();
    check!("name", gpu.name().unwrap(), "NVIDIA A100-SXM4-40GB",);
    check!("index", gpu.index().unwrap(), 1);
    let uuid = gpu.uuid().unwrap();
    check!(
        "by UUID",
        nvml.device_by_uuid(uuid.as_str()).unwrap().index().unwrap(),
        1,
    );
    let pci = gpu.pci_info().unwrap();
    check!(
        "PCI id",
        (pci.bus_id.as_str(), pci.pci_device_id),
        ("00000000:14:00.0", 0x20b0_10de),
    );
    check!(
        "by PCI id",
        nvml.device_by_pci_bus_id(pci.bus_id.as_str())
            .unwrap()
            .uuid()
            .unwrap(),
        uuid,
    );
    check!(
        "no such PCI id",
        refused(nvml.device_by_pci_bus_id("0000:ff:00.0")),
        NvmlError::NotFound.to_string(),
    );
    check!(
        "no such index",
        refused(nvml.device_by_index(2)),
        NvmlError::InvalidArg.to_string(),
    );
}

#[test]
fn reads_what_monitors_read() {
    let (_dir, node, nvml) = rig("a100-40gb", true);
    let gpu = nvml.device_by_index(1).unwrap();
    let capability = gpu.cuda_compute_capability().unwrap();
    check!(
        "compute capability",
        (capability.major, capability.minor),
        (8, 0),
    );
    check!(
        "temperature",
        gpu.temperature(TemperatureSensor::Gpu).unwrap(),
        41,
    );
    check!("power", gpu.power_usage().unwrap(), 68_000);
    let errors = gpu.total_ecc_errors(MemoryError::Uncorrected, EccCounter::Volatile);
    check!("ECC errors", errors.unwrap(), 0);
    check!("ECC", gpu.is_ecc_enabled().unwrap().currently_enabled, true);
    check!("BAR 1", gpu.bar1_memory_info().unwrap().total, 128 << 30);
    check!("memory", gpu.memory_info().unwrap().total >> 20, 40_960);
    check!(
        "utilisation with MIG",
        refused(gpu.utilization_rates()),
        NvmlError::NotSupported.to_string(),
    );
    node.lose_gpu(1).unwrap();
    check!(
        "lost",
        refused(gpu.mig_mode()),
        NvmlError::GpuLost.to_string(),
    );
}

#[test]
fn changes_the_mode_and_reads_profiles() {
    let (_dir, node, nvml) = rig("a100-40gb", false);
    let gpu = nvml.device_by_index(0).unwrap();
    check!("MIG mode", mode(&gpu), (0, 0));
    check!(
        "most MIG devices with MIG off",
        gpu.mig_device_count().unwrap(),
        0,
    );
    node.hold(0, 7).unwrap();
    check!(
        "a GPU that is held: activation",
        gpu.set_mig_mode(true).unwrap(),
        19,
    );
    check!("pending", mode(&gpu), (0, 1));
    node.release(7).unwrap();
    check!("activation", gpu.set_mig_mode(true).unwrap(), 0);
    check!("MIG mode", mode(&gpu), (1, 1));
    check!("most MIG devices", gpu.mig_device_count().unwrap(), 7);
    let profiles: BTreeMap<_, _> = (0..0x12)
        .filter_map(|query| gpu.profile_info(query).ok())
        .map(|info| {
            (
                info.id,
                (info.slice_count, info.instance_count, info.memory_size_mb),
            )
        })
        .collect();
    let want = [
        (0, (7, 1, 40_192)),
        (5, (4, 1, 19_968)),
        (9, (3, 2, 19_968)),
        (14, (2, 3, 9_856)),
        (15, (1, 4, 9_856)),
        (19, (1, 7, 4_864)),
        (20, (1, 1, 4_864)),
    ];
    check!("profiles", profiles, BTreeMap::from(want));
}

#[test]
fn follows_mig_devices() {
    let (_dir, node, nvml) = rig("a100-40gb", true);
    let gpu = nvml.device_by_index(0).unwrap();
    check!(
        "no MIG device yet",
        refused(gpu.mig_device_by_index(0)),
        NvmlError::NotFound.to_string(),
    );
    cut(&node, 0, &[(9, 2), (19, 0)]);
    let mig = gpu.mig_device_by_index(0).unwrap();
    check!(
        "name",
        mig.name().unwrap(),
        "NVIDIA A100-SXM4-40GB MIG 3g.20gb",
    );
    check!(
        "is a MIG device",
        [&mig, &gpu].map(|one| one.mig_is_mig_device_handle().unwrap()),
        [true, false],
    );
    check!(
        "its parent",
        mig.mig_parent_device().unwrap().uuid().unwrap(),
        gpu.uuid().unwrap(),
    );
    let attributes = mig.attributes().unwrap();
    check!(
        "its slices",
        (
            attributes.gpu_instance_slice_count,
            attributes.multiprocessor_count,
        ),
        (3, 42),
    );
    let uuid = mig.uuid().unwrap();
    check!(
        "by UUID",
        nvml.device_by_uuid(uuid.as_str()).unwrap().name().unwrap(),
        mig.name().unwrap(),
    );
}

#[test]
fn sees_processes_on_their_instance() {
    let (_dir, node, nvml) = rig("a100-40gb", true);
    let gpu = nvml.device_by_index(0).unwrap();
    cut(&node, 0, &[(9, 2), (19, 0)]);
    let mig = gpu.mig_device_by_index(0).unwrap();
    node.start_process(0, Some(2), 4321, 2 << 30).unwrap();
    let processes = mig.running_compute_processes().unwrap();
    let seen: Vec<_> = processes
        .iter()
        .map(|one| (one.pid, one.gpu_instance_id, one.compute_instance_id))
        .collect();
    check!("processes", seen, vec![(4321, Some(2), Some(0))]);
    assert!(matches!(processes[0].used_gpu_memory, UsedGpuMemory::Used(bytes) if bytes == 2 << 30));
    check!("memory in use", mig.memory_info().unwrap().used, 2 << 30);
    let other = gpu.mig_device_by_index(1).unwrap();
    check!(
        "nobody next door",
        other.running_compute_processes_count().unwrap(),
        0,
    );
    check!(
        "processes of the GPU",
        gpu.running_compute_processes().unwrap().len(),
        1,
    );
    node.stop_process(4321).unwrap();
    node.reset_gpu(0).unwrap();
    check!(
        "stale",
        refused(mig.name()),
        NvmlError::InvalidArg.to_string(),
    );
}

#[test]
fn waits_for_events() {
    let (_dir, node, nvml) = rig("a100-40gb", true);
    let gpu = nvml.device_by_index(0).unwrap();
    let supported = gpu.supported_event_types().unwrap();
    check!(
        "XID errors are told of",
        supported.contains(EventTypes::CRITICAL_XID_ERROR),
        true,
    );
    let set = nvml.create_event_set().unwrap();
    let set = gpu
        .register_events(
            EventTypes::CRITICAL_XID_ERROR | EventTypes::DOUBLE_BIT_ECC_ERROR,
            set,
        )
        .unwrap();
    check!(
        "nothing yet",
        refused(set.wait(1).map(|_| ())),
        NvmlError::Timeout.to_string(),
    );
    node.raise_xid(0, 79, None, None).unwrap();
    node.raise_event(0, EventKind::DoubleBitEcc).unwrap();
    let event = set.wait(60_000).unwrap();
    check!("event", event.event_type, EventTypes::CRITICAL_XID_ERROR);
    check!("its GPU", event.device.uuid().unwrap(), gpu.uuid().unwrap());
    check!(
        "next event",
        set.wait(60_000).unwrap().event_type,
        EventTypes::DOUBLE_BIT_ECC_ERROR,
    );
}

#[test]
fn measures_instances_from_hopper_on() {
    let (_dir, node, nvml) = rig("h100-sxm5-80gb", true);
    let gpu = nvml.device_by_index(0).unwrap();
    check!("GPM", gpu.gpm_support().unwrap(), true);
    cut(&node, 0, &[(9, 2)]);
    let measure = || {
        let (first, second) = (
            gpu.gpm_mig_sample(2).unwrap(),
            gpu.gpm_mig_sample(2).unwrap(),
        );
        let metrics = [GpmMetricId::GraphicsUtil, GpmMetricId::SmUtil];
        let results = gpm_metrics_get(&nvml, &first, &second, &metrics).unwrap();
        results
            .into_iter()
            .map(|result| result.unwrap().value)
            .collect::<Vec<_>>()
    };
    check!("idle", measure(), vec![0.0, 0.0]);
    node.start_process(0, Some(2), 1, 1 << 30).unwrap();
    let busy = measure();
    assert!(
        busy[0] > 25.0 && busy[0] < 100.0 && busy[1] < busy[0],
        "{busy:?}"
    );
    println!("nvml-wrapper: busy: {busy:?}");
    let (_dir, _node, nvml) = rig("a100-40gb", true);
    check!(
        "no GPM before Hopper",
        nvml.device_by_index(0).unwrap().gpm_support().unwrap(),
        false,
    );
}

/// Two faults of the crate itself, version 0.13; when they are gone, agent/nvml may use the calls.
#[test]
fn has_two_faults_of_its_own() {
    let (_dir, node, nvml) = rig("a100-40gb", true);
    let gpu = nvml.device_by_index(0).unwrap();
    check!(
        "placements are lost",
        gpu.possible_placements(9).unwrap().len(),
        0,
    );
    node.inject(&Fault::once(
        "nvmlDeviceGetMigMode",
        Code::ERROR_INSUFFICIENT_RESOURCES,
    ))
    .unwrap();
    let error = gpu.mig_mode().unwrap_err();
    assert!(
        matches!(error, NvmlError::UnexpectedVariant(23)),
        "{error:?}"
    );
    println!("nvml-wrapper: code 23 has no name: {error:?}");
}
