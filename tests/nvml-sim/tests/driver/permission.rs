//! Who may do what.

use nvml_sim::Permission::{Config, Monitor, None, Root};
use nvml_sim::{NodeOptions, Permission};
use rstest::rstest;

use crate::client::{Rig, rig, rig_with};
use crate::sharing::start_as;

/// A node whose clients may do this.
fn rig_for(permission: Permission) -> Rig {
    let options = NodeOptions {
        permission,
        ..NodeOptions::default()
    };
    rig_with(&["a100-40gb"], true, &options)
}

/// Of which calls the header says that they need a privileged user.
const PRIVILEGED: [&str; 14] = [
    "nvmlDeviceGetGpuInstancePossiblePlacements_v2",
    "nvmlDeviceGetGpuInstanceRemainingCapacity",
    "nvmlDeviceCreateGpuInstance",
    "nvmlDeviceCreateGpuInstanceWithPlacement",
    "nvmlGpuInstanceDestroy",
    "nvmlDeviceGetGpuInstances",
    "nvmlDeviceGetGpuInstanceById",
    "nvmlGpuInstanceGetComputeInstancePossiblePlacements",
    "nvmlGpuInstanceGetComputeInstanceRemainingCapacity",
    "nvmlGpuInstanceCreateComputeInstance",
    "nvmlGpuInstanceCreateComputeInstanceWithPlacement",
    "nvmlComputeInstanceDestroy",
    "nvmlGpuInstanceGetComputeInstances",
    "nvmlGpuInstanceGetComputeInstanceById",
];

/// Calls that anybody may make.
const FREE: [&str; 11] = [
    "nvmlDeviceGetMigMode",
    "nvmlDeviceGetGpuInstanceProfileInfo",
    "nvmlDeviceGetGpuInstanceProfileInfoV",
    "nvmlGpuInstanceGetInfo",
    "nvmlGpuInstanceGetComputeInstanceProfileInfo",
    "nvmlComputeInstanceGetInfo_v2",
    "nvmlDeviceGetMaxMigDeviceCount",
    "nvmlDeviceGetMigDeviceHandleByIndex",
    "nvmlDeviceGetDeviceHandleFromMigDeviceHandle",
    "nvmlDeviceGetAttributes_v2",
    "nvmlDeviceGetComputeRunningProcesses_v3",
];

/// With NULL for a handle a call answers 2 when it may be made at all.
#[rstest]
#[case(Root, 2, 2)]
#[case(Config, 4, 2)]
#[case(Monitor, 4, 4)]
#[case(None, 4, 4)]
fn calls_by_permission(#[case] who: Permission, #[case] set_mode: u32, #[case] privileged: u32) {
    let rig = rig_for(who);
    let answer = |call: &str| rig.client.call_with(call, 0);
    assert_eq!(answer("nvmlDeviceSetMigMode"), set_mode);
    for call in PRIVILEGED {
        assert_eq!(answer(call), privileged, "{call}");
    }
    for call in FREE {
        assert_eq!(answer(call), 2, "{call}");
    }
}

/// Processes and memory of a whole GPU in MIG mode are for root and for monitors; those of a MIG device, and of a GPU without MIG,
/// for all.
#[rstest]
#[case(Root, true)]
#[case(Config, false)]
#[case(Monitor, true)]
#[case(None, false)]
fn whole_gpus_by_permission(#[case] who: Permission, #[case] sees: bool) {
    let rig = rig(&["a100-40gb"]);
    let (client, gpu) = (&rig.client, rig.client.gpu(0).unwrap());
    let instance = client.create(gpu, 9).unwrap();
    client.create_compute(instance, 2).unwrap();
    let mig = client.mig(gpu, 0).unwrap();
    rig.node.start_process(0, 2, 7, 1 << 20).unwrap();
    rig.node.set_permission(who).unwrap();
    assert_eq!(client.processes(mig), Ok(vec![(7, 1 << 20, 2, 0)]));
    assert_eq!(client.memory(mig).unwrap().1, 1 << 20);
    let seen = client.processes(gpu).map(|list| list.len());
    assert_eq!(seen, if sees { Ok(1) } else { Err(4) });
    let used = client.memory(gpu).map(|(_, used)| used);
    assert_eq!(used, if sees { Ok(1 << 20) } else { Err(4) });
    rig.node.stop_process(7).unwrap();
    rig.node.set_permission(Root).unwrap();
    assert_eq!(client.set_mig_mode(gpu, 0), Ok(0));
    rig.node.set_permission(who).unwrap();
    assert_eq!(client.processes(gpu), Ok(vec![]), "MIG is off");
}

#[test]
fn a_process_may_have_a_permission_of_its_own() {
    let rig = rig(&["a100-40gb"]);
    let succeeds = |permission, part| {
        let mut child = start_as(permission, part, rig.node.dir());
        assert!(child.wait().unwrap().success(), "{permission:?} {part}");
    };
    succeeds(Some("none"), "denied");
    succeeds(Some("config"), "once");
    succeeds(Some("admin"), "mistake");
    rig.node.set_permission(None).unwrap();
    succeeds(Option::None, "denied");
    succeeds(Some("root"), "once");
}
