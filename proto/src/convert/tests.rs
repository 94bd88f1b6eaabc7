use std::sync::Arc;

use mica_model::{
    Board, ComputeInstance, Container, Engines, Generation, Gpu, Instance, MigMode, Placement, Pod,
    Profile, ProfileId, Reservation, Slice, Source, Use,
};

use crate::v1;

fn pod(name: &str) -> Pod {
    Pod {
        namespace: "acme".to_owned(),
        name: name.to_owned(),
    }
}

fn reservation() -> Reservation {
    Reservation {
        pod: pod("next"),
        generation: Generation(5),
    }
}

fn gpu() -> Gpu {
    let profile = Profile {
        id: ProfileId(9),
        name: "3g.20gb".to_owned(),
        slices: 3,
        max_instances: 2,
        memory_mib: 19_968,
        multiprocessors: 42,
        engines: Engines {
            copy: 3,
            decoders: 2,
            ..Engines::default()
        },
        placements: vec![
            Placement { start: 0, size: 4 },
            Placement { start: 4, size: 4 },
        ],
    };
    let slice = Slice {
        profile: ProfileId(9),
        placement: Placement { start: 4, size: 4 },
    };
    Gpu {
        uuid: "GPU-1".to_owned(),
        index: 0,
        product: "A100".to_owned(),
        memory_mib: 40_960,
        mig_mode: MigMode::Enabled,
        board: Some(Arc::new(Board::new("A100".to_owned(), vec![profile]))),
        instances: vec![
            Instance {
                gi: 2,
                slice,
                compute: Some(ComputeInstance {
                    id: 0,
                    uuid: "MIG-1".to_owned(),
                }),
                in_use: Use {
                    processes: vec![7, 8],
                    containers: vec![Container {
                        pod: pod("train"),
                        name: "main".to_owned(),
                    }],
                    reservations: vec![reservation()],
                    unknown: Vec::new(),
                },
                memory_used_bytes: 1,
                memory_total_bytes: 2,
                fault: Some("XID 94".to_owned()),
            },
            Instance {
                gi: 1,
                slice: Slice {
                    placement: Placement { start: 0, size: 4 },
                    ..slice
                },
                compute: None,
                in_use: Use::untold(Source::Kubelet, "silent".to_owned()),
                memory_used_bytes: 0,
                memory_total_bytes: 0,
                fault: None,
            },
        ],
        in_use: Use::untold(Source::Kubelet, "silent".to_owned()),
        holders: vec![mica_model::Holder {
            pid: 9,
            command: "nv-hostengine".to_owned(),
            pod_uid: Some("8f".to_owned()),
            container_id: None,
        }],
        waits_for: Some(mica_model::WaitsFor::Release),
        fault: None,
    }
}

#[test]
fn a_report_comes_back_as_it_went() {
    let without_mig = Gpu {
        mig_mode: MigMode::Unsupported,
        board: None,
        instances: Vec::new(),
        fault: Some("fell off the bus".to_owned()),
        ..gpu()
    };
    let gpus = vec![gpu(), gpu(), without_mig];
    let report = v1::Report::of_gpus(&gpus);
    assert_eq!(report.boards.len(), 1, "equal boards are sent once");
    assert_eq!(report.to_gpus().unwrap(), gpus);
}

#[test]
fn nonsense_is_named() {
    let broken = |change: fn(&mut v1::Gpu)| {
        let mut report = v1::Report::of_gpus(&[gpu()]);
        change(&mut report.gpus[0]);
        report.to_gpus().unwrap_err().field
    };
    assert_eq!(broken(|gpu| gpu.uuid.clear()), "gpus.uuid");
    assert_eq!(broken(|gpu| gpu.board = 7), "gpus.board");
    assert_eq!(broken(|gpu| gpu.mig_mode = 99), "gpus.mig_mode");
    assert_eq!(broken(|gpu| gpu.waits_for = 99), "gpus.waits_for");
    assert_eq!(
        broken(|gpu| gpu.instances[0].placement = None),
        "gpus.instances.placement"
    );
    assert_eq!(
        broken(|gpu| gpu.instances[0].placement = Some(v1::Placement {
            start: u32::MAX,
            size: 9
        })),
        "placement"
    );
    assert_eq!(
        broken(|gpu| gpu.instances[0].containers[0].pod = None),
        "containers.pod"
    );
    assert_eq!(
        broken(|gpu| gpu.instances[0].reservations[0].pod = Some(v1::Pod::default())),
        "reservations.pod"
    );
    assert_eq!(
        broken(|gpu| gpu.instances[1].silences[0].source = 0),
        "silences.source"
    );
}

#[test]
fn a_reserved_slice_comes_back_as_it_went_or_is_named() {
    let slice = Slice {
        profile: ProfileId(9),
        placement: Placement { start: 0, size: 4 },
    };
    let wire = v1::ReservedSlice::new("GPU-1".to_owned(), slice, reservation());
    assert_eq!(wire.unpack().unwrap(), ("GPU-1", slice, reservation()));
    let broken = |change: fn(&mut v1::ReservedSlice)| {
        let mut wire = wire.clone();
        change(&mut wire);
        wire.unpack().unwrap_err().field
    };
    assert_eq!(broken(|wire| wire.gpu.clear()), "reservations.slices.gpu");
    assert_eq!(
        broken(|wire| wire.slice = None),
        "reservations.slices.slice"
    );
    assert_eq!(
        broken(|wire| wire.slice.as_mut().unwrap().placement = None),
        "slices.placement"
    );
    assert_eq!(
        broken(|wire| wire.reservation = None),
        "reservations.slices.reservation"
    );
    assert_eq!(
        broken(|wire| wire.reservation.as_mut().unwrap().pod = None),
        "reservations.pod"
    );
}

#[test]
fn a_layout_that_names_a_slice_twice_is_refused() {
    let slice = v1::Slice {
        profile: 9,
        placement: Some(v1::Placement { start: 0, size: 4 }),
    };
    let layout = v1::GpuLayout {
        uuid: "GPU-1".to_owned(),
        slices: vec![slice, slice],
    };
    assert_eq!(layout.layout().unwrap_err().field, "slices");
}
