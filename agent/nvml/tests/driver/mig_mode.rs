//! MIG mode.

use mica_model::MigMode;
use mica_nvml::{Code, ModeChange};

use crate::node::{assert_code, rig, rig_without_mig, slice};

#[test]
fn a_free_gpu_takes_it_at_once() {
    for board in ["a100-40gb", "h100-sxm5-80gb"] {
        let mut rig = rig_without_mig(&[board, board]);
        let gpu = rig.gpu(1);
        let one = gpu.board.as_ref().unwrap().slices().remove(0);
        assert_eq!(gpu.mig_mode, MigMode::Disabled);
        assert_code(
            rig.driver.create_gpu_instance(&gpu.uuid, one),
            Code::NOT_SUPPORTED,
        );
        assert_eq!(
            rig.driver.enable_mig(&gpu.uuid).unwrap(),
            ModeChange::Active
        );
        assert_eq!(rig.gpu(1).mig_mode, MigMode::Enabled);
        assert_eq!(
            rig.gpu(0).mig_mode,
            MigMode::Disabled,
            "the other one is left alone"
        );
        rig.make(&gpu, one);
    }
}

#[test]
fn a_gpu_that_has_it_is_not_touched() {
    let mut rig = rig(&["a100-40gb"]);
    let gpu = rig.gpu(0);
    let one = slice(&gpu, "2g.10gb", 0);
    rig.make(&gpu, one);
    rig.fail("nvmlDeviceSetMigMode", Code::UNKNOWN, 0, None);
    assert_eq!(
        rig.driver.enable_mig(&gpu.uuid).unwrap(),
        ModeChange::Active
    );
    assert_eq!(rig.gpu(0).layout(), [one].into_iter().collect());
}

#[test]
fn a_gpu_in_use_has_it_pending() {
    for board in ["a100-40gb", "h100-sxm5-80gb"] {
        let mut rig = rig_without_mig(&[board]);
        let gpu = rig.gpu(0);
        rig.node.start_process(0, None, 77, 0).unwrap();
        assert_eq!(
            rig.driver.enable_mig(&gpu.uuid).unwrap(),
            ModeChange::Pending {
                activation: Code::IN_USE
            },
            "{board}"
        );
        let now = rig.gpu(0);
        assert_eq!(
            (now.mig_mode, now.in_use.processes.as_slice()),
            (MigMode::PendingEnable, &[77][..])
        );
    }
}

#[test]
fn refusals_are_errors() {
    let mut rig = rig_without_mig(&["a100-40gb"]);
    let gpu = rig.gpu(0);
    for code in [Code::NOT_SUPPORTED, Code::NO_PERMISSION] {
        rig.fail("nvmlDeviceSetMigMode", code, 0, Some(1));
        assert_code(rig.driver.enable_mig(&gpu.uuid), code);
    }
    assert_eq!(rig.gpu(0).mig_mode, MigMode::Disabled);
}

#[test]
fn a_gpu_without_mig_says_so_beside_one_that_has_it() {
    let mut rig = rig(&["l4-24gb", "a100-40gb"]);
    let gpu = rig.gpu(0);
    assert_eq!(
        (&*gpu.product, gpu.mig_mode, gpu.board, gpu.fault),
        ("NVIDIA L4", MigMode::Unsupported, None, None)
    );
    rig.node.start_process(0, None, 3, 0).unwrap();
    assert_eq!(rig.gpu(0).in_use.processes, [3]);
    assert_eq!(rig.gpu(1).mig_mode, MigMode::Enabled);
    assert_code(rig.driver.enable_mig(&gpu.uuid), Code::NOT_SUPPORTED);
    let gpu = rig.gpu(0);
    assert!(rig.driver.activities(&gpu).unwrap().is_empty());
}

#[test]
fn it_is_switched_off_again() {
    for board in ["a100-40gb", "h100-sxm5-80gb"] {
        let mut rig = rig(&[board]);
        let gpu = rig.gpu(0);
        let off = |rig: &mut crate::node::Rig| rig.driver.disable_mig(&gpu.uuid).unwrap();
        assert_eq!(off(&mut rig), ModeChange::Active);
        assert_eq!(rig.gpu(0).mig_mode, MigMode::Disabled);
        rig.fail("nvmlDeviceSetMigMode", Code::UNKNOWN, 0, None);
        assert_eq!(off(&mut rig), ModeChange::Active, "it is off already");
    }
}

#[test]
fn what_pci_calls_a_board_is_told() {
    let mut rig = rig_without_mig(&["a100-40gb", "a30-24gb"]);
    assert_eq!(rig.driver.pci_device_id(0).unwrap(), 0x20B0_10DE);
    assert_eq!(rig.driver.pci_device_id(1).unwrap(), 0x20B7_10DE);
    assert_code(rig.driver.pci_device_id(2), Code::INVALID_ARGUMENT);
}
