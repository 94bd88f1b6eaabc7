//! A driver that fails: what is lost, and what goes on.

use mica_model::{Gpu, MigMode};
use mica_nvml::{Code, Driver};

use crate::node::{assert_code, rig, slice};

#[test]
fn a_lost_gpu_has_a_fault_and_the_others_go_on() {
    let mut rig = rig(&["a100-40gb", "a100-40gb", "a30-24gb"]);
    let before = rig.gpus();
    rig.make_named(&before[0], "3g.20gb", 0);
    rig.make_named(&before[1], "3g.20gb", 0);
    rig.gpus();
    rig.node.lose_gpu(1).unwrap();
    let now = rig.driver.gpus().unwrap();
    let lost = &now[1];
    assert_eq!(
        lost.fault.as_deref().unwrap(),
        "nvmlDeviceGetHandleByIndex_v2: GPU is lost (15); drain the node, then reset the GPU or reboot"
    );
    assert_eq!(
        (&lost.uuid, &lost.product, &lost.board),
        (&before[1].uuid, &before[1].product, &before[1].board)
    );
    assert_eq!(
        (lost.mig_mode, lost.memory_mib),
        (MigMode::Enabled, before[1].memory_mib)
    );
    assert_eq!(lost.instances, []);
    assert_eq!((now[0].fault.as_ref(), now[0].instances.len()), (None, 1));
    assert_eq!(now[2], before[2]);
    let error = rig.driver.gpu(&before[1].uuid).unwrap_err();
    assert!(!error.is_stale(), "{error}");
}

#[test]
fn a_gpu_lost_from_the_start_still_has_a_name() {
    let mut rig = rig(&["a100-40gb", "a100-40gb"]);
    rig.node.lose_gpu(0).unwrap();
    let now = rig.driver.gpus().unwrap();
    assert_eq!(now[0].uuid, "GPU-unreadable-at-index-0");
    assert_eq!(
        (now[0].mig_mode, now[0].board.as_ref()),
        (MigMode::Unsupported, None)
    );
    assert!(now[0].fault.is_some());
    assert_eq!(now[1].fault, None);
}

/// Each single call of a reading fails once with each of these codes: one GPU has a fault that names the call, or one instance is of unknown
/// use; everything else is as it was.
#[test]
fn any_failing_call_is_a_fault_of_its_gpu_or_instance_only() {
    let calls = [
        "nvmlDeviceGetHandleByIndex_v2",
        "nvmlDeviceGetUUID",
        "nvmlDeviceGetName",
        "nvmlDeviceGetMigMode",
        "nvmlDeviceGetMemoryInfo_v2",
        "nvmlDeviceGetComputeRunningProcesses_v3",
        "nvmlDeviceGetGraphicsRunningProcesses_v3",
        "nvmlDeviceGetGpuInstances",
        "nvmlGpuInstanceGetInfo",
        "nvmlGpuInstanceGetComputeInstances",
        "nvmlComputeInstanceGetInfo_v2",
    ];
    let mut rig = rig(&["a100-40gb", "a30-24gb"]);
    for gpu in rig.gpus() {
        for profile in ["1g.5gb", "1g.6gb", "2g.10gb", "2g.12gb"] {
            if let Some(profile) = gpu.board.as_ref().unwrap().profile_named(profile) {
                let placement = *profile.placements.last().unwrap();
                let start = if profile.slices == 1 {
                    0
                } else {
                    placement.start
                };
                rig.make_named(&gpu, &profile.name, start);
            }
        }
    }
    let before = rig.gpus();
    for call in calls {
        for code in [
            Code::GPU_IS_LOST,
            Code::RESET_REQUIRED,
            Code::UNKNOWN,
            Code::NO_PERMISSION,
        ] {
            let mut hits = 0;
            loop {
                rig.fail(call, code, hits, Some(1));
                let now = rig.driver.gpus().unwrap();
                rig.heal();
                if now == before {
                    break;
                }
                assert_only_one_suffers(&before, &now, &format!("{call}: {code}"));
                hits += 1;
            }
            assert!(
                hits >= 2,
                "{call} {code}: {hits} calls failed and were noticed"
            );
        }
    }
}

fn assert_only_one_suffers(before: &[Gpu], now: &[Gpu], cause: &str) {
    let mut suffering = 0;
    for (before, now) in before.iter().zip(now) {
        if let Some(fault) = &now.fault {
            suffering += 1;
            assert!(fault.starts_with(cause), "{fault}");
            assert_eq!(
                (&now.uuid, &now.board),
                (&before.uuid, &before.board),
                "{cause}"
            );
            assert_eq!(now.instances, []);
            continue;
        }
        assert_eq!(before.instances.len(), now.instances.len(), "{cause}");
        for (before, now) in before.instances.iter().zip(&now.instances) {
            if let [silence] = &*now.in_use.unknown {
                suffering += 1;
                let why = &silence.why;
                assert!(
                    why.ends_with(cause) || why.contains(&format!("{cause} (")),
                    "{why}"
                );
                assert_eq!((now.slice, &now.compute), (before.slice, &before.compute));
            } else {
                assert_eq!(before, now, "{cause}");
            }
        }
    }
    assert_eq!(suffering, 1, "{cause}");
}

#[test]
fn a_stale_session_fails_as_a_whole_and_a_new_one_works() {
    let mut rig = rig(&["a100-40gb"]);
    rig.gpus();
    for code in [
        Code::UNINITIALIZED,
        Code::DRIVER_NOT_LOADED,
        Code::LIB_RM_VERSION_MISMATCH,
    ] {
        for call in ["nvmlDeviceGetCount_v2", "nvmlDeviceGetMigMode"] {
            rig.fail(call, code, 0, None);
            let error = rig.driver.gpus().unwrap_err();
            assert_eq!((error.code(), error.call()), (Some(code), Some(call)));
            assert!(error.is_stale(), "{error}");
            rig.heal();
        }
    }
    rig.driver = Driver::open(rig.node.library().as_os_str()).unwrap();
    rig.gpus();
}

/// The driver made it and then fails: nothing may stay behind that nobody knows of.
#[test]
fn what_was_made_and_cannot_be_named_goes_again() {
    let mut rig = rig(&["a100-40gb"]);
    let gpu = rig.gpu(0);
    let one = slice(&gpu, "3g.20gb", 0);
    rig.fail("nvmlGpuInstanceGetInfo", Code::UNKNOWN, 0, Some(1));
    assert_code(
        rig.driver.create_gpu_instance(&gpu.uuid, one),
        Code::UNKNOWN,
    );
    assert_eq!(rig.gpu(0).instances, []);
    let gi = rig.driver.create_gpu_instance(&gpu.uuid, one).unwrap();
    rig.fail("nvmlComputeInstanceGetInfo_v2", Code::UNKNOWN, 0, Some(1));
    assert_code(
        rig.driver.create_compute_instance(&gpu.uuid, gi),
        Code::UNKNOWN,
    );
    assert_eq!(rig.gpu(0).instances.remove(0).compute, None);
    rig.driver.create_compute_instance(&gpu.uuid, gi).unwrap();
}

/// Another client destroys an instance while it is being read.
#[test]
fn an_instance_that_vanishes_meanwhile_is_read_again() {
    let mut rig = rig(&["a100-40gb"]);
    let gpu = rig.gpu(0);
    rig.make_named(&gpu, "3g.20gb", 0);
    for code in [Code::INVALID_ARGUMENT, Code::NOT_FOUND] {
        rig.fail("nvmlGpuInstanceGetInfo", code, 0, Some(1));
        assert_eq!(rig.gpu(0).instances.len(), 1);
    }
    rig.fail("nvmlGpuInstanceGetInfo", Code::NOT_FOUND, 0, None);
    assert!(
        rig.driver.gpus().unwrap()[0].fault.is_some(),
        "but not for ever"
    );
}

/// Should the device that comes with a compute instance be the whole GPU, as the header says, its MIG device is looked up by ids.
#[test]
fn a_mig_device_is_found_by_its_ids() {
    let mut rig = rig(&["a100-40gb"]);
    let gpu = rig.gpu(0);
    for (profile, start) in [("1g.5gb", 6), ("2g.10gb", 4), ("3g.20gb", 0)] {
        rig.make_named(&gpu, profile, start);
    }
    let before = rig.gpus();
    rig.fail("nvmlDeviceIsMigDeviceHandle", Code::NOT_SUPPORTED, 0, None);
    assert_eq!(rig.gpus(), before);
}

#[test]
fn every_error_of_the_changing_calls_comes_through() {
    let mut rig = rig(&["a100-40gb"]);
    let gpu = rig.gpu(0);
    let one = slice(&gpu, "3g.20gb", 0);
    for code in (1..=30).chain([999]).map(Code) {
        rig.fail("nvmlDeviceCreateGpuInstanceWithPlacement", code, 0, Some(1));
        assert_code(rig.driver.create_gpu_instance(&gpu.uuid, one), code);
    }
    let gi = rig.driver.create_gpu_instance(&gpu.uuid, one).unwrap();
    for code in (1..=30).chain([999]).map(Code) {
        rig.fail("nvmlGpuInstanceCreateComputeInstance", code, 0, Some(1));
        assert_code(rig.driver.create_compute_instance(&gpu.uuid, gi), code);
    }
    let ci = rig.driver.create_compute_instance(&gpu.uuid, gi).unwrap();
    for code in (1..=30).chain([999]).map(Code) {
        rig.fail("nvmlComputeInstanceDestroy", code, 0, Some(1));
        assert_code(rig.driver.destroy_compute_instance(&gpu.uuid, gi, ci), code);
        rig.fail("nvmlGpuInstanceDestroy", code, 0, Some(1));
        assert_code(rig.driver.destroy_gpu_instance(&gpu.uuid, gi), code);
    }
    assert_eq!(rig.gpu(0).layout(), [one].into_iter().collect());
}
