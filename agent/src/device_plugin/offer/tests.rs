use std::sync::Arc;

use mica_model::{ComputeInstance, Placement, ProfileId, Slice, Use, testing::a100_40gb};
use mica_nvml::{Hardware, Versions};
use rstest::rstest;

use super::*;
use crate::inventory::Inventory;

fn gpu(mig_mode: MigMode) -> Gpu {
    Gpu {
        uuid: "GPU-1".to_owned(),
        index: 0,
        product: "A100".to_owned(),
        memory_mib: 40960,
        mig_mode,
        board: Some(Arc::new(a100_40gb())),
        instances: Vec::new(),
        in_use: Use::default(),
        holders: Vec::new(),
        waits_for: None,
        fault: None,
    }
}

/// With one slice, `MIG-1`.
fn cut() -> Gpu {
    let instance = Instance {
        gi: 7,
        slice: Slice {
            placement: Placement { start: 0, size: 1 },
            profile: ProfileId(19),
        },
        compute: Some(ComputeInstance {
            id: 0,
            uuid: "MIG-1".to_owned(),
        }),
        in_use: Use::default(),
        memory_used_bytes: 0,
        memory_total_bytes: 0,
        fault: None,
    };
    Gpu {
        instances: vec![instance],
        ..gpu(MigMode::Enabled)
    }
}

fn inventory(gpu: Gpu) -> Inventory {
    let hardware = Hardware {
        minor: 3,
        pci: Pci {
            domain: 0,
            bus: 7,
            device: 0,
        },
        resetless: false,
    };
    Inventory {
        versions: Versions {
            driver: String::new(),
            nvml: String::new(),
        },
        hardware: [(gpu.uuid.clone(), hardware)].into_iter().collect(),
        gpus: vec![gpu],
        activity: BTreeMap::new(),
        fault: None,
        silences: Vec::new(),
        seen: mica_model::Generation::default(),
        finished: mica_model::Generation::default(),
    }
}

/// What is offered, as words: `name=device`, with `!` when it is unhealthy.
fn words(gpu: Gpu, taken: &[&str], held: &[&str], before: &Lists) -> String {
    let lists = offers(
        &inventory(gpu),
        &Beside {
            taken: &|device| taken.contains(&device),
            held: &|device| held.contains(&device),
            numa: &|_| Some(1),
            before,
        },
    );
    let words = named(&lists).map(|(name, device)| {
        assert_eq!((device.minor, device.numa), (Some(3), Some(1)));
        let mark = match device.state {
            State::Healthy => "",
            State::Unhealthy => "!",
        };
        format!("{name}={}{mark}", device.id)
    });
    words.collect::<Vec<_>>().join(" ")
}

#[rstest]
#[case::outside_mig(MigMode::Disabled, &[], "nvidia.com/gpu=GPU-1")]
#[case::without_mig(MigMode::Unsupported, &[], "nvidia.com/gpu=GPU-1")]
#[case::pending(MigMode::PendingEnable, &[], "")]
#[case::pending_and_held(MigMode::PendingEnable, &["GPU-1"], "nvidia.com/gpu=GPU-1!")]
#[case::in_mig(MigMode::Enabled, &[], "")]
fn whole_gpus_are_those_outside_mig(
    #[case] mode: MigMode,
    #[case] held: &[&str],
    #[case] expected: &str,
) {
    assert_eq!(words(gpu(mode), &[], held, &Lists::new()), expected);
}

#[rstest]
#[case::free(&[], &[], "nvidia.com/mig-1g.5gb=MIG-1")]
#[case::held(&[], &["MIG-1"], "nvidia.com/mig-1g.5gb=MIG-1")]
#[case::taken_back(&["MIG-1"], &[], "nvidia.com/mig-1g.5gb=MIG-1!")]
#[case::taken_back_and_held(&["MIG-1"], &["MIG-1"], "nvidia.com/mig-1g.5gb=MIG-1!")]
fn what_is_taken_back_is_out_of_the_list_unless_it_is_held(
    #[case] taken: &[&str],
    #[case] held: &[&str],
    #[case] expected: &str,
) {
    assert_eq!(words(cut(), taken, held, &Lists::new()), expected);
}

#[test]
fn half_made_and_unknown_slices_are_not_offered_and_sick_ones_not_healthy() {
    let mut half = cut();
    half.instances[0].compute = None;
    assert_eq!(words(half, &[], &[], &Lists::new()), "");
    let mut unknown = cut();
    unknown.instances[0].slice.profile = ProfileId(99);
    assert_eq!(words(unknown, &[], &[], &Lists::new()), "");
    let mut sick = cut();
    sick.instances[0].fault = Some("XID 48".to_owned());
    assert_eq!(
        words(sick, &[], &[], &Lists::new()),
        "nvidia.com/mig-1g.5gb=MIG-1!"
    );
    let mut off_the_bus = gpu(MigMode::Disabled);
    off_the_bus.fault = Some("lost".to_owned());
    assert_eq!(
        words(off_the_bus, &[], &[], &Lists::new()),
        "nvidia.com/gpu=GPU-1!"
    );
}

#[test]
fn what_is_not_seen_stays_while_the_gpu_cannot_be_read_or_somebody_holds_it() {
    let beside = Beside {
        taken: &|_| false,
        held: &|_| false,
        numa: &|_| Some(1),
        before: &Lists::new(),
    };
    let before = offers(&inventory(cut()), &beside);
    let gone = || gpu(MigMode::Enabled);
    let unreadable = || Gpu {
        fault: Some("lost".to_owned()),
        ..gone()
    };
    let slice = "nvidia.com/mig-1g.5gb=MIG-1!";
    assert_eq!(words(unreadable(), &[], &[], &before), slice);
    assert_eq!(words(unreadable(), &["MIG-1"], &[], &before), "");
    assert_eq!(words(gone(), &[], &["MIG-1"], &before), slice);
    assert_eq!(words(gone(), &[], &[], &before), "");
}
