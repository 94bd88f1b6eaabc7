//! What a GPU can be cut into, as the driver tells it.

use std::sync::Arc;

use mica_model::MigMode;
use mica_nvml::{Code, Driver};

use crate::node::{BOARDS, Rig, rig, rig_without_mig};

fn names(rig: &mut Rig, index: usize) -> Vec<String> {
    let board = rig.gpu(index).board.unwrap();
    board
        .profiles
        .iter()
        .map(|profile| profile.name.clone())
        .collect()
}

/// As listed in NVIDIA's MIG User Guide, in order of profile id.
#[test]
fn profiles_are_those_of_the_guide() {
    let mut rig = rig(&["a100-40gb", "a30-24gb"]);
    assert_eq!(
        names(&mut rig, 0),
        [
            "7g.40gb",
            "4g.20gb",
            "3g.20gb",
            "2g.10gb",
            "1g.10gb",
            "1g.5gb",
            "1g.5gb+me"
        ]
    );
    assert_eq!(
        names(&mut rig, 1),
        ["4g.24gb", "2g.12gb", "2g.12gb+me", "1g.6gb", "1g.6gb+me"]
    );
    let board = rig.gpu(0).board.unwrap();
    assert_eq!(board.slots, 8);
    let profile = board.profile_named("3g.20gb").unwrap();
    assert_eq!(
        (profile.id.0, profile.slices, profile.max_instances),
        (9, 3, 2)
    );
    assert_eq!((profile.memory_mib, profile.multiprocessors), (19_968, 42));
    let placements: Vec<_> = profile.placements.iter().map(ToString::to_string).collect();
    assert_eq!(placements, ["0:4", "4:4"]);
}

#[test]
fn a_gpu_says_what_it_is() {
    let mut rig = rig(&BOARDS);
    let gpus = rig.gpus();
    assert_eq!(gpus.len(), BOARDS.len());
    for (index, (gpu, seen)) in gpus.iter().zip(rig.node.gpus()).enumerate() {
        assert_eq!(usize::try_from(gpu.index).unwrap(), index);
        assert_eq!((&gpu.uuid, &gpu.product), (&seen.uuid, &seen.product));
        assert_eq!(gpu.mig_mode, MigMode::Enabled);
        assert!(gpu.memory_mib > 20_000, "{}", gpu.memory_mib);
        assert_eq!(
            (gpu.instances.as_slice(), gpu.in_use.processes.as_slice()),
            (&[][..], &[][..])
        );
        assert_eq!(rig.driver.gpu(&gpu.uuid).unwrap(), *gpu);
    }
}

#[test]
fn equal_gpus_share_their_board_and_it_is_read_once() {
    let mut rig = rig(&["a100-40gb", "h100-sxm5-80gb", "a100-40gb"]);
    let boards: Vec<_> = rig
        .gpus()
        .into_iter()
        .map(|gpu| gpu.board.unwrap())
        .collect();
    assert!(Arc::ptr_eq(&boards[0], &boards[2]));
    assert_ne!(boards[0], boards[1]);
    // From now on the driver refuses to describe profiles, and is not asked to.
    for call in [
        "nvmlDeviceGetGpuInstanceProfileInfoV",
        "nvmlDeviceGetGpuInstancePossiblePlacements_v2",
    ] {
        rig.fail(call, Code::UNKNOWN, 0, None);
    }
    let again = rig.gpu(0).board.unwrap();
    assert!(Arc::ptr_eq(&boards[0], &again));
}

#[test]
fn drivers_that_tell_no_names_give_the_same_ones() {
    for board in BOARDS {
        let mut told = rig(&[board]);
        let mut silent = rig(&[board]);
        silent.fail(
            "nvmlDeviceGetGpuInstanceProfileInfoV",
            Code::FUNCTION_NOT_FOUND,
            0,
            None,
        );
        let (told, silent) = (told.gpu(0), silent.gpu(0));
        assert_eq!(told.board, silent.board, "{board}");
    }
}

#[test]
fn a_board_is_known_without_mig_mode() {
    let mut off = rig_without_mig(&["a100-40gb"]);
    let mut on = rig(&["a100-40gb"]);
    assert_eq!(off.gpu(0).mig_mode, MigMode::Disabled);
    assert_eq!(off.gpu(0).board, on.gpu(0).board);
}

/// Older drivers describe placements in MIG mode only.
#[test]
fn a_board_unknown_without_mig_mode_is_read_later() {
    let mut rig = rig_without_mig(&["h100-sxm5-80gb"]);
    rig.fail(
        "nvmlDeviceGetGpuInstancePossiblePlacements_v2",
        Code::NOT_SUPPORTED,
        0,
        None,
    );
    let gpu = rig.driver.gpus().unwrap().remove(0);
    let fault = gpu.fault.unwrap();
    assert!(
        fault.contains(&format!("nvidia-smi -i {} -mig 1", gpu.uuid)),
        "{fault}"
    );
    assert!(gpu.board.unwrap().profiles.is_empty());
    rig.heal();
    rig.driver.enable_mig(&gpu.uuid).unwrap();
    assert_eq!(rig.gpu(0).board.unwrap().profiles.len(), 7);
}

#[test]
fn a_board_is_read_afresh_when_another_client_changed_the_mode() {
    let mut rig = rig_without_mig(&["h100-sxm5-80gb"]);
    let before = rig.gpu(0);
    let mut other = Driver::open(rig.node.library().as_os_str()).unwrap();
    other.enable_mig(&before.uuid).unwrap();
    let call = "nvmlDeviceGetGpuInstancePossiblePlacements_v2";
    rig.fail(call, Code::TIMEOUT, 0, Some(1));
    let now = rig.driver.gpus().unwrap().remove(0);
    assert_eq!(now.mig_mode, MigMode::Enabled);
    assert_eq!(now.fault.unwrap(), format!("{call}: Timeout (10)"));
    assert_eq!(rig.gpu(0).board, before.board);
}
