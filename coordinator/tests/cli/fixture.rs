//! A cluster in which everything that can be shown happens.

use mica_proto::v1;

fn profile(id: u32, name: &str, slices: u32, starts: &[u32], size: u32) -> v1::Profile {
    v1::Profile {
        id,
        name: name.to_owned(),
        slices,
        max_instances: u32::try_from(starts.len()).unwrap(),
        memory_mib: 0,
        multiprocessors: 0,
        engines: None,
        placements: starts
            .iter()
            .map(|&start| v1::Placement { start, size })
            .collect(),
    }
}

fn a100() -> v1::Board {
    v1::Board {
        product: "NVIDIA A100-SXM4-40GB".to_owned(),
        profiles: vec![
            profile(0, "7g.40gb", 7, &[0], 8),
            profile(9, "3g.20gb", 3, &[0, 4], 4),
            profile(19, "1g.5gb", 1, &[0, 1, 2, 3, 4, 5, 6], 1),
        ],
        ..v1::Board::default()
    }
}

fn instance(gi: u32, profile: u32, start: u32, size: u32) -> v1::Instance {
    v1::Instance {
        gi,
        profile,
        placement: Some(v1::Placement { start, size }),
        ci: Some(0),
        uuid: format!("MIG-{gi}"),
        memory_total_bytes: 4864 << 20,
        ..v1::Instance::default()
    }
}

fn gpu(index: u32, mode: v1::MigMode, product: &str) -> v1::Gpu {
    v1::Gpu {
        uuid: format!("GPU-{index}"),
        index,
        product: product.to_owned(),
        memory_mib: 40_960,
        mig_mode: mode.into(),
        ..v1::Gpu::default()
    }
}

fn pod(name: &str) -> v1::Pod {
    v1::Pod {
        namespace: "acme".to_owned(),
        name: name.to_owned(),
    }
}

fn report() -> v1::Report {
    let a100_name = "NVIDIA A100-SXM4-40GB";
    let mut cut = gpu(0, v1::MigMode::Enabled, a100_name);
    cut.instances = vec![
        instance(1, 9, 4, 4),
        v1::Instance {
            pids: vec![41, 42],
            containers: vec![v1::Container {
                pod: Some(pod("train")),
                name: "main".to_owned(),
            }],
            reservations: vec![v1::Reservation {
                pod: Some(pod("next")),
                generation: 7,
            }],
            memory_used_bytes: 700 << 20,
            ..instance(7, 19, 0, 1)
        },
        v1::Instance {
            silences: vec![v1::Silence {
                source: v1::UseSource::Kubelet.into(),
                why: "connection refused".to_owned(),
            }],
            ..instance(8, 19, 1, 1)
        },
        v1::Instance {
            ci: None,
            uuid: String::new(),
            ..instance(9, 19, 2, 1)
        },
    ];
    let mut held = gpu(1, v1::MigMode::PendingEnable, a100_name);
    held.uuid = "GPU-held".to_owned();
    let mut sick = gpu(2, v1::MigMode::Unsupported, "Tesla T4");
    sick.fault = "fell off the bus".to_owned();
    v1::Report {
        driver_version: "580.95.05".to_owned(),
        nvml_version: "13.580.95.05".to_owned(),
        boards: vec![a100()],
        gpus: vec![held, sick, cut],
        generation: 7,
        kubelet: None,
    }
}

pub(crate) fn queue(name: &str) -> v1::Queue {
    v1::Queue {
        tenant: "acme".to_owned(),
        name: name.to_owned(),
        id: format!("id-of-{name}"),
        profiles: vec!["3g.20gb".to_owned(), "3g.40gb".to_owned()],
        ..v1::Queue::default()
    }
}

pub(crate) fn cluster() -> v1::Cluster {
    let busy = v1::Queue {
        waiting: 5,
        running: Some(2),
        max_running: Some(4),
        oldest_wait_seconds: 130.0,
        unmet: vec![
            v1::Unmet {
                reason: v1::UnmetReason::NoRoom.into(),
                count: 2,
                detail: "every A100 is full".to_owned(),
            },
            v1::Unmet {
                reason: v1::UnmetReason::Limit.into(),
                count: 1,
                detail: "maxRunning is 4".to_owned(),
            },
        ],
        ..queue("half")
    };
    let failed = v1::Queue {
        error: "ClearML refused the keys".to_owned(),
        ..queue("eighth")
    };
    let unknown = v1::Queue {
        tenant: "zeta".to_owned(),
        id: String::new(),
        ..queue("half")
    };
    v1::Cluster {
        generation: 8,
        nodes: vec![
            v1::Node {
                name: "node-b".to_owned(),
                state: v1::NodeState::Starting.into(),
                ..v1::Node::default()
            },
            v1::Node {
                name: "node-a".to_owned(),
                state: v1::NodeState::Applying.into(),
                agent_version: "0.1.0".to_owned(),
                desired_generation: 8,
                observed_generation: 7,
                last_seen_seconds: 0.4,
                report: Some(report()),
                holds: vec![v1::GpuHold {
                    uuid: "GPU-held".to_owned(),
                    reason: "MIG mode waits for a reset".to_owned(),
                }],
            },
        ],
        queues: vec![unknown, busy, failed],
    }
}

fn named(profile: &str, start: u32, size: u32) -> v1::NamedSlice {
    v1::NamedSlice {
        profile: profile.to_owned(),
        placement: Some(v1::Placement { start, size }),
    }
}

pub(crate) fn plan() -> v1::PlanReply {
    let change = |index: u32| v1::GpuChange {
        node: "node-a".to_owned(),
        uuid: format!("GPU-{index}"),
        index,
        product: "NVIDIA H100 80GB HBM3".to_owned(),
        ..v1::GpuChange::default()
    };
    v1::PlanReply {
        changes: vec![
            v1::GpuChange {
                destroy: vec![named("7g.80gb", 0, 8)],
                create: vec![named("3g.40gb", 0, 4), named("3g.40gb", 4, 4)],
                ..change(0)
            },
            v1::GpuChange {
                enable_mig: true,
                create: vec![named("1g.10gb", 0, 1)],
                ..change(1)
            },
        ],
        queues: vec![v1::QueuePlan {
            tenant: "acme".to_owned(),
            name: "half".to_owned(),
            wanted: 5,
            served_idle: 1,
            served_new: 2,
            unmet: vec![v1::Unmet {
                reason: v1::UnmetReason::Fragmented.into(),
                count: 2,
                detail: "4 slots are free, but not side by side".to_owned(),
            }],
        }],
    }
}
