//! Instances from making to destroying, on every board.

use mica_model::{ComputeInstance, Layout, Placement, ProfileId, Slice, Use};
use mica_nvml::Code;

use crate::node::{BOARDS, assert_code, rig, slice};

#[test]
fn every_slice_of_every_board_can_be_made_and_destroyed() {
    let mut rig = rig(&BOARDS);
    for gpu in rig.gpus() {
        let board = gpu.board.clone().unwrap();
        for slice in board.slices() {
            let gi = rig.make(&gpu, slice);
            let now = rig.driver.gpu(&gpu.uuid).unwrap();
            let [instance] = now.instances.as_slice() else {
                panic!("{now:?}")
            };
            assert_eq!((instance.gi, instance.slice), (gi, slice));
            assert_eq!(instance.in_use, Use::default());
            let profile = board.profile(slice.profile).unwrap();
            assert_eq!(instance.memory_total_bytes, profile.memory_mib << 20);
            assert_eq!(instance.memory_used_bytes, 0);
            let compute = instance.compute.as_ref().unwrap();
            let seen = &rig.node.gpus()[usize::try_from(gpu.index).unwrap()].instances[0];
            assert_eq!(Some(&compute.uuid), seen.uuid.as_ref());
            // A compute instance that does not fill it would say so in its name: 1c.3g.20gb.
            assert_eq!(seen.compute_instances[0].name, profile.name);
            rig.destroy(&gpu, instance);
        }
        assert!(rig.driver.gpu(&gpu.uuid).unwrap().instances.is_empty());
    }
}

#[test]
fn a_gpu_instance_that_nothing_fills_is_left_half_made() {
    let mut rig = rig(&["a100-40gb"]);
    let gpu = rig.gpu(0);
    let one = slice(&gpu, "1g.5gb", 0);
    let gi = rig.driver.create_gpu_instance(&gpu.uuid, one).unwrap();
    let call = "nvmlGpuInstanceGetComputeInstanceProfileInfo";
    // Said twice, as the profiles are read twice: nine numbers each time, the first of which is the one that fits.
    rig.fail(call, Code::NOT_SUPPORTED, 0, Some(1));
    rig.fail(call, Code::NOT_SUPPORTED, 9, Some(1));
    let error = rig
        .driver
        .create_compute_instance(&gpu.uuid, gi)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "GPU instance {gi} of {} offers no compute instance profile of 1 slices, which would fill it",
            gpu.uuid
        )
    );
    assert_eq!(rig.gpu(0).instances.remove(0).compute, None);
}

/// "Not supported" is what a driver in trouble may say too, and what is taken for missing would stay so.
#[test]
fn profiles_that_differ_between_two_answers_are_not_believed() {
    let mut rig = rig(&["a100-40gb"]);
    rig.fail(
        "nvmlDeviceGetGpuInstanceProfileInfoV",
        Code::NOT_SUPPORTED,
        2,
        Some(1),
    );
    let fault = rig.driver.gpus().unwrap().remove(0).fault.unwrap();
    assert!(fault.contains("others than a moment ago"), "{fault}");
    let gpu = rig.driver.gpus().unwrap().remove(0);
    assert_eq!(gpu.fault, None);
    let names: Vec<_> = gpu.board.iter().flat_map(|board| &board.profiles).collect();
    assert!(names.iter().any(|profile| profile.name == "3g.20gb"));
}

#[test]
fn several_instances_are_told_apart_and_sorted() {
    let mut rig = rig(&["a100-40gb"]);
    let gpu = rig.gpu(0);
    let slices = [
        slice(&gpu, "1g.5gb", 6),
        slice(&gpu, "3g.20gb", 0),
        slice(&gpu, "2g.10gb", 4),
    ];
    let mut made: Vec<_> = slices.map(|slice| (rig.make(&gpu, slice), slice)).into();
    made.sort_unstable_by_key(|&(gi, _)| gi);
    let now = rig.gpu(0);
    let found: Vec<_> = now
        .instances
        .iter()
        .map(|instance| (instance.gi, instance.slice))
        .collect();
    assert_eq!(found, made);
    assert_eq!(now.layout(), slices.into_iter().collect::<Layout>());
    let mut uuids: Vec<_> = now
        .instances
        .iter()
        .map(|instance| &instance.compute.as_ref().unwrap().uuid)
        .collect();
    uuids.sort();
    uuids.dedup();
    assert_eq!(uuids.len(), 3);
}

#[test]
fn a_gpu_instance_without_compute_instance_is_seen() {
    let mut rig = rig(&["a100-40gb"]);
    let gpu = rig.gpu(0);
    let half = slice(&gpu, "3g.20gb", 4);
    let gi = rig.driver.create_gpu_instance(&gpu.uuid, half).unwrap();
    let instance = rig.gpu(0).instances.remove(0);
    assert_eq!(
        (instance.gi, instance.slice, instance.compute),
        (gi, half, None)
    );
    assert_eq!(instance.in_use, Use::default());
    assert_eq!(instance.memory_total_bytes, 19_968 << 20);
    let ci = rig.driver.create_compute_instance(&gpu.uuid, gi).unwrap();
    let compute = rig.gpu(0).instances.remove(0).compute.unwrap();
    assert_eq!(compute.id, ci);
    assert!(compute.uuid.starts_with("MIG-"), "{compute:?}");
    rig.driver
        .destroy_compute_instance(&gpu.uuid, gi, ci)
        .unwrap();
    assert_eq!(
        rig.gpu(0).instances.remove(0).compute,
        None::<ComputeInstance>
    );
    rig.driver.destroy_gpu_instance(&gpu.uuid, gi).unwrap();
    assert_eq!(rig.gpu(0).instances, []);
}

#[test]
fn refusals_carry_nvidias_codes() {
    let mut rig = rig(&["a100-40gb"]);
    let gpu = rig.gpu(0);
    let uuid = gpu.uuid.as_str();
    let gi = rig.make_named(&gpu, "3g.20gb", 0);
    // Taken, misplaced, unknown.
    assert_code(
        rig.driver
            .create_gpu_instance(uuid, slice(&gpu, "3g.20gb", 0)),
        Code::INSUFFICIENT_RESOURCES,
    );
    assert_code(
        rig.driver
            .create_gpu_instance(uuid, slice(&gpu, "3g.20gb", 1)),
        Code::INVALID_ARGUMENT,
    );
    let unknown = Slice {
        placement: Placement { start: 4, size: 1 },
        profile: ProfileId(77),
    };
    assert_code(
        rig.driver.create_gpu_instance(uuid, unknown),
        Code::INVALID_ARGUMENT,
    );
    // A second compute instance does not fit; a GPU instance with one does not go; what is not there cannot go.
    assert_code(
        rig.driver.create_compute_instance(uuid, gi),
        Code::INSUFFICIENT_RESOURCES,
    );
    assert_code(rig.driver.destroy_gpu_instance(uuid, gi), Code::IN_USE);
    assert_code(
        rig.driver.destroy_compute_instance(uuid, gi, 7),
        Code::NOT_FOUND,
    );
    assert_code(rig.driver.destroy_gpu_instance(uuid, 14), Code::NOT_FOUND);
    assert_code(
        rig.driver.create_compute_instance(uuid, 14),
        Code::NOT_FOUND,
    );
    for stranger in ["GPU-00000000-0000-0000-0000-000000000000", "no UUID at all"] {
        let error = rig.driver.gpu(stranger).unwrap_err();
        assert_eq!(error.call(), Some("nvmlDeviceGetHandleByUUID"), "{error}");
        assert!(!error.is_stale(), "{error}");
    }
    assert_code(
        rig.driver
            .destroy_gpu_instance("GPU-00000000-0000-0000-0000-000000000000", 1),
        Code::NOT_FOUND,
    );
    assert_eq!(rig.gpu(0).layout().0.len(), 1, "nothing was touched");
}

#[test]
fn the_uuid_of_an_instance_is_not_that_of_a_gpu() {
    let mut rig = rig(&["a100-40gb"]);
    let gpu = rig.gpu(0);
    let gi = rig.make_named(&gpu, "3g.20gb", 0);
    let uuid = rig.gpu(0).instances.remove(0).compute.unwrap().uuid;
    for error in [
        rig.driver.gpu(&uuid).unwrap_err(),
        rig.driver.destroy_gpu_instance(&uuid, gi).unwrap_err(),
    ] {
        assert_eq!(
            error.to_string(),
            format!("{uuid} is a MIG device, not a GPU; give the UUID of its GPU")
        );
    }
}

#[test]
fn a_uuid_with_a_nul_is_an_error() {
    let mut rig = rig(&["a100-40gb"]);
    let error = rig.driver.gpu("GPU-\0").unwrap_err();
    assert_eq!(error.code(), None, "{error}");
}

#[test]
fn another_clients_instances_are_seen() {
    let mut mine = rig(&["a100-40gb"]);
    let mut theirs = mica_nvml::Driver::open(mine.node.library().as_os_str()).unwrap();
    let gpu = mine.gpu(0);
    let gi = theirs
        .create_gpu_instance(&gpu.uuid, slice(&gpu, "2g.10gb", 2))
        .unwrap();
    assert_eq!(mine.gpu(0).instances.remove(0).gi, gi);
    theirs.destroy_gpu_instance(&gpu.uuid, gi).unwrap();
    assert_eq!(mine.gpu(0).instances, []);
}
