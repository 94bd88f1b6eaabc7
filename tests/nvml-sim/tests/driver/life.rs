//! The life of instances: MIG devices come and go with compute instances, and say the right things of themselves.

use nvml_sim::{Behaviour, NodeError};
use rstest::rstest;

use crate::client::rig;

#[test]
fn a_mig_device_describes_its_instance() {
    let rig = rig(&["h100-sxm5-80gb"]);
    let (client, gpu) = (&rig.client, rig.client.gpu(0).unwrap());
    let instance = client.create_at(gpu, 9, 4, 4).unwrap();
    assert_eq!(
        client.mig(gpu, 0),
        Err(6),
        "a GPU instance alone has no MIG device"
    );
    let compute = client.create_compute(instance, 2).unwrap();
    let mig = client.mig(gpu, 0).unwrap();
    assert_eq!(client.is_mig(mig), Ok(true));
    assert_eq!(client.is_mig(gpu), Ok(false));
    assert_eq!(client.parent(mig), Ok(gpu));
    assert_eq!(client.ids(mig), Ok((2, 0)));
    assert_eq!(
        client.name(mig).unwrap(),
        "NVIDIA H100 80GB HBM3 MIG 3g.40gb"
    );
    assert_eq!(client.memory(mig).unwrap(), (40_448 << 20, 0));
    let uuid = client.uuid(mig).unwrap();
    assert_eq!(client.by_uuid(&uuid), Ok(mig));
    assert_eq!(
        client.by_uuid(&format!("MIG-{}/2/0", client.uuid(gpu).unwrap())),
        Ok(mig),
        "the old form"
    );
    let attributes = client.attributes(mig).unwrap();
    assert_eq!(
        (
            attributes.multiprocessorCount,
            attributes.gpuInstanceSliceCount
        ),
        (60, 3)
    );
    assert_eq!(
        (
            attributes.computeInstanceSliceCount,
            attributes.memorySizeMB
        ),
        (3, 40_448)
    );
    let info = client.compute_info(compute).unwrap();
    assert_eq!(
        (info.device, info.gpuInstance, info.id, info.profileId),
        (mig, instance, 0, 2)
    );
    let view = &rig.node.gpus()[0].instances[0];
    assert_eq!(
        (view.gi, view.ci, view.uuid.as_deref()),
        (2, Some(0), Some(uuid.as_str()))
    );
    assert_eq!(
        (view.profile_name.as_str(), view.start, view.size),
        ("3g.40gb", 4, 4)
    );
}

#[rstest]
#[case(Behaviour::Strict)]
#[case(Behaviour::Quirks)]
fn a_mig_device_ends_with_its_compute_instance(#[case] behaviour: Behaviour) {
    let rig = rig(&["a100-40gb"]);
    rig.node.set_behaviour(behaviour).unwrap();
    let (client, gpu) = (&rig.client, rig.client.gpu(0).unwrap());
    let instance = client.create(gpu, 9).unwrap();
    let compute = client.create_compute(instance, 2).unwrap();
    let mig = client.mig(gpu, 0).unwrap();
    let uuid = client.uuid(mig).unwrap();
    client.destroy_compute(compute).unwrap();
    assert_eq!(client.name(mig), Err(2), "stale");
    assert_eq!(client.by_uuid(&uuid), Err(6));
    client.create_compute(instance, 2).unwrap();
    let again = client.mig(gpu, 0).unwrap();
    assert_ne!(again, mig);
    assert_eq!(
        client.name(mig),
        Err(2),
        "stale, though the same ids exist again"
    );
    assert_eq!(client.destroy_compute(compute), Err(2), "so is this");
    assert_eq!(client.ids(again), Ok((2, 0)), "ids come again at once");
    assert_eq!(
        client.uuid(again).unwrap() == uuid,
        behaviour == Behaviour::Quirks,
        "its UUID comes again as a quirk"
    );
}

#[test]
fn partial_compute_instances_are_devices_of_their_own() {
    let rig = rig(&["a100-40gb"]);
    let (client, gpu) = (&rig.client, rig.client.gpu(0).unwrap());
    let instance = client.create(gpu, 0).unwrap();
    let parts: Vec<_> = (0..7)
        .map(|_| client.create_compute(instance, 0).unwrap())
        .collect();
    assert_eq!(client.max_mig(gpu), Ok(7));
    let migs: Vec<_> = (0..7)
        .map(|index| client.mig(gpu, index).unwrap())
        .collect();
    assert_eq!(
        client.name(migs[3]).unwrap(),
        "NVIDIA A100-SXM4-40GB MIG 1c.7g.40gb"
    );
    assert_eq!(client.index(migs[3]), Ok(3));
    client.destroy_compute(parts[3]).unwrap();
    assert_eq!(client.mig(gpu, 3), Err(6), "a hole");
    assert_eq!(
        client.mig(gpu, 6),
        Ok(migs[6]),
        "the others keep their index"
    );
}

#[test]
fn processes_show_on_instance_and_gpu() {
    let rig = rig(&["a100-40gb"]);
    let (client, gpu) = (&rig.client, rig.client.gpu(0).unwrap());
    for _ in 0..2 {
        let instance = client.create(gpu, 9).unwrap();
        client.create_compute(instance, 2).unwrap();
    }
    rig.node.start_process(0, Some(1), 100, 3 << 30).unwrap();
    rig.node.start_process(0, Some(2), 200, 1 << 30).unwrap();
    rig.node.start_process(0, Some(2), 201, 2 << 30).unwrap();
    let on_second = [(200, 1 << 30, 2, 0), (201, 2 << 30, 2, 0)];
    let second = (0..2)
        .map(|index| client.mig(gpu, index).unwrap())
        .find(|&mig| client.ids(mig) == Ok((2, 0)));
    let second = second.unwrap();
    assert_eq!(client.processes(second).unwrap(), on_second);
    assert_eq!(client.processes(gpu).unwrap().len(), 3);
    assert_eq!(client.process_count(second), (Err(7), 2));
    assert_eq!(
        client.processes_with_room_for_one(second),
        (Err(7), 2, [0, 0]),
        "nothing is written to too small a buffer"
    );
    assert_eq!(client.memory(second).unwrap().1, 3 << 30);
    assert_eq!(client.memory(gpu).unwrap().1, 6 << 30);
    rig.node.stop_process(200).unwrap();
    assert_eq!(client.processes(second).unwrap(), [on_second[1]]);
    rig.node.stop_process(201).unwrap();
    assert_eq!(client.process_count(second), (Ok(()), 0));
}

#[test]
fn a_process_starts_on_what_is_there_and_whole() {
    let rig = rig(&["a100-40gb"]);
    let (client, gpu) = (&rig.client, rig.client.gpu(0).unwrap());
    let refused = |gi, pid, memory| {
        matches!(
            rig.node.start_process(0, gi, pid, memory),
            Err(NodeError::Start { .. })
        )
    };
    assert!(refused(Some(9), 1, 0), "no instance");
    assert!(refused(None, 1, 0), "MIG is on");
    assert!(refused(Some(300), 1, 0), "no such id at all");
    assert!(matches!(
        rig.node.start_process(1, None, 1, 0),
        Err(NodeError::NoGpu(1))
    ));
    let instance = client.create(gpu, 19).unwrap();
    let (gi, ..) = client.info(instance).unwrap();
    assert!(refused(Some(gi), 1, 0), "half made");
    client.create_compute(instance, 0).unwrap();
    assert!(refused(Some(gi), 1, 5 << 30), "more memory than it has");
    rig.node.start_process(0, Some(gi), 1, 4 << 30).unwrap();
    assert!(refused(Some(gi), 2, 1 << 30), "more memory than is left");
    assert!(refused(Some(gi), 1, 0), "twice the same");
    assert!(matches!(
        rig.node.stop_process(2),
        Err(NodeError::NoProcess(2))
    ));
}

#[test]
fn two_nodes_in_one_process_are_strangers() {
    let (one, other) = (rig(&["a100-40gb"]), rig(&["a100-40gb"]));
    one.client.create(one.client.gpu(0).unwrap(), 19).unwrap();
    let gpu = other.client.gpu(0).unwrap();
    assert_eq!(other.client.instances(gpu, 19), Ok(vec![]));
    assert_ne!(
        one.client.uuid(one.client.gpu(0).unwrap()),
        other.client.uuid(gpu)
    );
}
