//! The table of failures of the reference, call by call.

use std::ptr::null_mut;

use nvml_sim::NodeOptions;
use rstest::rstest;

use crate::client::{Client, GpuInstance, Rig, rig, rig_with};

fn a100() -> Rig {
    rig(&["a100-40gb"])
}

#[test]
fn nothing_works_before_init() {
    let rig = a100();
    rig.client.shutdown().unwrap();
    assert_eq!(rig.client.count(), Err(1));
    assert_eq!(rig.client.gpu(0), Err(1));
    assert_eq!(rig.client.shutdown(), Err(1));
    assert_eq!(rig.client.call_with("nvmlUnitGetCount", 0), 1);
    assert_eq!(
        rig.client.error_string(1),
        "Uninitialized",
        "the texts are there always"
    );
}

#[test]
fn init_is_counted() {
    let rig = a100();
    rig.client.init().unwrap();
    rig.client.shutdown().unwrap();
    assert_eq!(rig.client.count(), Ok(1), "one init is left");
    rig.client.shutdown().unwrap();
    assert_eq!(rig.client.count(), Err(1));
}

#[test]
fn a_folder_without_a_node_has_no_driver() {
    let rig = a100();
    rig.client.shutdown().unwrap();
    std::fs::write(rig.node.dir().join("state"), [7; 4096]).unwrap();
    assert_eq!(rig.client.init(), Err(9));
    std::fs::remove_file(rig.node.dir().join("state")).unwrap();
    assert_eq!(rig.client.init(), Err(9));
}

#[rstest]
#[case(23, "Insufficient Resources")]
#[case(19, "In use by another client")]
#[case(4, "Insufficient Permissions")]
#[case(3, "Not Supported")]
#[case(12345, "Unknown Error")]
fn error_texts_are_what_scripts_grep(#[case] code: u32, #[case] words: &str) {
    assert_eq!(a100().client.error_string(code), words);
}

#[test]
fn lookups_of_devices() {
    let rig = rig(&["a100-40gb", "a30-24gb"]);
    let client = &rig.client;
    assert_eq!(client.gpu(2), Err(2));
    let second = client.gpu(1).unwrap();
    assert_eq!(client.by_uuid(&client.uuid(second).unwrap()), Ok(second));
    assert_eq!(
        client.by_uuid("GPU-00000000-0000-0000-0000-000000000000"),
        Err(6)
    );
    assert_eq!(
        client.by_uuid("MIG-00000000-0000-0000-0000-000000000000"),
        Err(6)
    );
    assert_eq!(client.by_uuid("nonsense"), Err(2));
    let bus_id = client.bus_id(second).unwrap();
    assert_eq!(client.by_bus_id(&bus_id), Ok(second));
    assert_eq!(
        client.by_bus_id(bus_id.strip_prefix("0000").unwrap()),
        Ok(second),
        "short domain"
    );
    assert_eq!(client.by_bus_id("00000000:FF:00.0"), Err(6));
    assert_eq!(client.by_bus_id("nonsense"), Err(2));
    assert_eq!(client.name(null_mut()), Err(2));
    assert_eq!(
        client.name_into(second, 11),
        Ok(()),
        "NVIDIA A30 and its end"
    );
    assert_eq!(client.name_into(second, 10), Err(7));
}

#[test]
fn with_mig_off() {
    let rig = rig_with(&["a100-40gb"], false, &NodeOptions::default());
    let gpu = rig.client.gpu(0).unwrap();
    assert_eq!(rig.client.max_mig(gpu), Ok(0));
    assert_eq!(rig.client.create(gpu, 19), Err(3));
    assert_eq!(rig.client.create_at(gpu, 19, 0, 1), Err(3));
    assert_eq!(rig.client.instances(gpu, 19), Err(3));
    assert_eq!(rig.client.instance(gpu, 7), Err(3));
    assert_eq!(rig.client.remaining(gpu, 19), Err(3));
    assert_eq!(rig.client.mig(gpu, 0), Err(3));
    assert_eq!(
        rig.client.profile(gpu, 0).unwrap().id,
        19,
        "profiles can be read with MIG off"
    );
    assert_eq!(
        rig.client.placements(gpu, 9),
        Ok(vec![(0, 4), (4, 4)]),
        "so can placements"
    );
}

#[test]
fn profiles_are_asked_for_by_enum_and_named_by_id() {
    let rig = a100();
    let gpu = rig.client.gpu(0).unwrap();
    assert_eq!(rig.client.profile(gpu, 2).unwrap().id, 9);
    assert_eq!(
        rig.client.profile(gpu, 0x0b).map(|info| info.id),
        Err(3),
        "known, not offered"
    );
    assert_eq!(
        rig.client.profile(gpu, 0x11).map(|info| info.id),
        Err(3),
        "known, not offered"
    );
    assert_eq!(
        rig.client.profile(gpu, 0x12).map(|info| info.id),
        Err(2),
        "unknown"
    );
    assert_eq!(
        rig.client.profile_v2(gpu, 2, 0x0200_0098),
        Ok((9, "MIG 3g.20gb".to_owned()))
    );
    assert_eq!(
        rig.client.profile_v2(gpu, 2, 0x0200_0097),
        Err(2),
        "wrong size in the version"
    );
    assert_eq!(rig.client.profile_v2(gpu, 2, 0), Err(2), "no version");
}

#[test]
fn gpu_instances() {
    let rig = a100();
    let (client, gpu) = (&rig.client, rig.client.gpu(0).unwrap());
    assert_eq!(client.create(gpu, 1), Err(2), "an enum is no id");
    assert_eq!(client.create(gpu, 47), Err(3), "other boards offer it");
    assert_eq!(client.create_at(gpu, 9, 2, 4), Err(2), "illegal start");
    assert_eq!(client.create_at(gpu, 9, 0, 3), Err(2), "illegal size");
    let half = client.create_at(gpu, 9, 0, 4).unwrap();
    assert_eq!(client.create_at(gpu, 9, 0, 4), Err(23), "occupied");
    assert_eq!(client.create_at(gpu, 19, 3, 1), Err(23), "occupied");
    assert_eq!(client.create(gpu, 5), Err(23), "no room");
    assert_eq!(client.remaining(gpu, 9), Ok(1));
    assert_eq!(client.remaining(gpu, 0), Ok(0));
    assert_eq!(client.instance(gpu, 1), Ok(half));
    assert_eq!(client.instance(gpu, 2), Err(6));
    assert_eq!(client.instance(gpu, 999), Err(6));
    assert_eq!(client.instances(gpu, 9), Ok(vec![half]));
    assert_eq!(client.instances(gpu, 19), Ok(vec![]));
    assert_eq!(client.instances(gpu, 1), Err(2));
    assert_eq!(client.destroy(null_mut()), Err(2));
    client.destroy(half).unwrap();
    assert_eq!(client.destroy(half), Err(2), "stale");
    assert_eq!(client.info(half), Err(2), "stale");
    let again = client.create_at(gpu, 9, 0, 4).unwrap();
    assert_eq!(client.info(again), Ok((1, 0, 4)), "the same id again");
    assert_eq!(
        client.info(half),
        Err(2),
        "and the old handle is stale still"
    );
    assert_eq!(client.destroy(half), Err(2));
}

#[test]
fn in_use() {
    let rig = a100();
    let (client, gpu) = (&rig.client, rig.client.gpu(0).unwrap());
    let instance = client.create(gpu, 9).unwrap();
    let compute = client.create_compute(instance, 2).unwrap();
    let (gi, ..) = client.info(instance).unwrap();
    assert_eq!(
        client.destroy(instance),
        Err(19),
        "it has a compute instance"
    );
    rig.node.start_process(0, Some(gi), 77, 1 << 20).unwrap();
    assert_eq!(client.destroy_compute(compute), Err(19), "it has a process");
    assert_eq!(client.destroy(instance), Err(19));
    rig.node.stop_process(77).unwrap();
    client.destroy_compute(compute).unwrap();
    client.destroy(instance).unwrap();
}

#[test]
fn compute_instances() {
    let rig = a100();
    let (client, gpu) = (&rig.client, rig.client.gpu(0).unwrap());
    let instance = client.create(gpu, 9).unwrap();
    assert_eq!(client.compute_profile(instance, 2, 0), Ok((2, 1, 42)));
    assert_eq!(client.compute_profile(instance, 0, 0), Ok((0, 3, 14)));
    assert_eq!(
        client.compute_profile(instance, 3, 0),
        Err(3),
        "not in this GPU instance"
    );
    assert_eq!(
        client.compute_profile(instance, 9, 0),
        Err(2),
        "unknown enum"
    );
    assert_eq!(
        client.compute_profile(instance, 2, 1),
        Err(2),
        "unknown engine profile"
    );
    assert_eq!(client.create_compute(instance, 4), Err(3));
    assert_eq!(client.create_compute(instance, 99), Err(2));
    assert_eq!(client.create_compute_at(instance, 0, 3, 1), Err(2));
    let one = client.create_compute_at(instance, 0, 2, 1).unwrap();
    assert_eq!(
        client.create_compute_at(instance, 0, 2, 1),
        Err(23),
        "occupied"
    );
    assert_eq!(
        client.create_compute(instance, 2),
        Err(23),
        "no room for all of it"
    );
    assert_eq!(client.compute_remaining(instance, 0), Ok(2));
    assert_eq!(client.compute_remaining(instance, 2), Ok(0));
    assert_eq!(client.compute_instances(instance, 0), Ok(vec![one]));
    assert_eq!(client.compute_instance(instance, 0), Ok(one));
    assert_eq!(client.compute_instance(instance, 1), Err(6));
    client.destroy_compute(one).unwrap();
    assert_eq!(client.destroy_compute(one), Err(2), "stale");
    client.destroy(instance).unwrap();
    assert_eq!(
        client.create_compute(instance, 2),
        Err(2),
        "its GPU instance is gone"
    );
}

/// Every compute instance profile that fills its GPU instance can be created, on every board: what an agent relies on.
#[test]
fn a_full_compute_instance_fits_everywhere() {
    let boards: Vec<_> = nvml_sim::boards::all()
        .iter()
        .map(|board| board.key.as_str())
        .collect();
    let rig = rig(&boards);
    for index in 0..rig.client.count().unwrap() {
        let gpu = rig.client.gpu(index).unwrap();
        for id in rig.client.profile_ids(gpu) {
            let instance = rig.client.create(gpu, id).unwrap();
            let slices = (0..0x12)
                .filter_map(|query| rig.client.profile(gpu, query).ok())
                .find(|info| info.id == id);
            let slices = slices.unwrap().sliceCount;
            let full = (0..9)
                .filter_map(|query| rig.client.compute_profile(instance, query, 0).ok())
                .next_back()
                .unwrap();
            let compute = rig.client.create_compute(instance, full.0).unwrap();
            let mig = rig.client.mig(gpu, 0).unwrap();
            assert_eq!(
                rig.client
                    .attributes(mig)
                    .unwrap()
                    .computeInstanceSliceCount,
                slices
            );
            assert_eq!(rig.client.mig(gpu, 1), Err(6));
            rig.client.destroy_compute(compute).unwrap();
            rig.client.destroy(instance).unwrap();
        }
    }
}

fn one_mig_device(client: &Client) -> (GpuInstance, nvml_wrapper_sys::bindings::nvmlDevice_t) {
    let gpu = client.gpu(0).unwrap();
    let instance = client.create(gpu, 19).unwrap();
    client.create_compute(instance, 0).unwrap();
    (instance, client.mig(gpu, 0).unwrap())
}

#[test]
fn handles_of_the_wrong_kind() {
    let rig = a100();
    let (client, gpu) = (&rig.client, rig.client.gpu(0).unwrap());
    let (instance, mig) = one_mig_device(client);
    assert_eq!(client.ids(gpu), Err(2));
    assert_eq!(client.parent(gpu), Err(2));
    assert_eq!(client.attributes(gpu).map(|_| ()), Err(2));
    assert_eq!(client.mig_mode(mig), Err(2));
    assert_eq!(client.create(mig, 19), Err(2));
    assert_eq!(client.info(mig.cast()), Err(2));
    assert_eq!(client.destroy(mig.cast()), Err(2));
    assert_eq!(client.name(instance.cast()), Err(2));
    assert_eq!(client.is_mig(instance.cast()), Err(2));
    assert_eq!(client.mig(gpu, 7), Err(2), "no board has that many");
    let garbage: *mut u8 = std::ptr::without_provenance_mut(0xdead_beef);
    assert_eq!(client.name(garbage.cast()), Err(2));
}

#[test]
fn a_lost_gpu_answers_15_and_its_neighbour_does_not() {
    let rig = rig(&["a100-40gb", "a100-40gb"]);
    let client = &rig.client;
    let (gpu, other) = (client.gpu(0).unwrap(), client.gpu(1).unwrap());
    rig.node.lose_gpu(0).unwrap();
    assert_eq!(client.mig_mode(gpu), Err(15));
    assert_eq!(client.create(gpu, 19), Err(15));
    assert_eq!(client.gpu(0), Err(15));
    assert_eq!(client.mig_mode(other), Ok((1, 1)));
    rig.node.reset_gpu(0).unwrap();
    assert_eq!(client.mig_mode(gpu), Ok((1, 1)));
}
