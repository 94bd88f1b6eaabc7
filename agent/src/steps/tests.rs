use std::{sync::Arc, time::Duration};

use mica_model::{
    Board, ComputeInstance, Container, Engines, Generation, Placement, Pod, Profile, ProfileId,
    Reservation, Silence, Source, Use,
};
use mica_proto::v1;
use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::{kubelet::Holdings, usage::Reservations};

/// By NVML alone.
fn nvml() -> InUse {
    InUse::default()
}

fn pod(name: &str) -> Pod {
    Pod {
        namespace: "acme".to_owned(),
        name: name.to_owned(),
    }
}

fn container() -> Container {
    Container {
        pod: pod("train"),
        name: "main".to_owned(),
    }
}

/// A device is held, slices are kept for a pod, and sources are silent.
fn by(held: &[&str], kept_slices: &[Slice], silent: &[Source]) -> InUse {
    let mut holdings = Holdings::default();
    for uuid in held {
        holdings.add(uuid, container());
    }
    let reservation = || Reservation {
        pod: pod("next"),
        generation: Generation(5),
    };
    let kept = |&slice: &Slice| v1::ReservedSlice::new("GPU-1".to_owned(), slice, reservation());
    let said = v1::Reservations {
        slices: kept_slices.iter().map(kept).collect(),
    };
    let silences = silent.iter().map(|&source| Silence {
        source,
        age: Some(Duration::from_secs(12)),
        why: "connection refused".to_owned(),
    });
    let kept = Reservations::try_from(&said).unwrap();
    InUse::new(Arc::new(holdings), Arc::new(kept), silences.collect())
}

/// The A100's profiles, media engines reduced to the one that makes `+me` unique.
fn board() -> Board {
    let profile = |id, name: &str, slices, max_instances, starts: &[u32], size, ofa| Profile {
        id: ProfileId(id),
        name: name.to_owned(),
        slices,
        max_instances,
        memory_mib: 4_864 * u64::from(size),
        multiprocessors: 14 * slices,
        engines: Engines {
            ofa,
            ..Engines::default()
        },
        placements: starts
            .iter()
            .map(|&start| Placement { start, size })
            .collect(),
    };
    let ones: Vec<u32> = (0..7).collect();
    Board::new(
        "NVIDIA A100-SXM4-40GB".to_owned(),
        vec![
            profile(19, "1g.5gb", 1, 7, &ones, 1, 0),
            profile(20, "1g.5gb+me", 1, 1, &ones, 1, 1),
            profile(15, "1g.10gb", 1, 4, &[0, 2, 4, 6], 2, 0),
            profile(14, "2g.10gb", 2, 3, &[0, 2, 4], 2, 0),
            profile(9, "3g.20gb", 3, 2, &[0, 4], 4, 0),
            profile(5, "4g.20gb", 4, 1, &[0], 4, 0),
            profile(0, "7g.40gb", 7, 1, &[0], 8, 1),
        ],
    )
}

fn slice(profile: u32, start: u32, size: u32) -> Slice {
    Slice {
        profile: ProfileId(profile),
        placement: Placement { start, size },
    }
}

fn instance(gi: u32, slice: Slice) -> Instance {
    Instance {
        gi,
        slice,
        compute: Some(ComputeInstance {
            id: 0,
            uuid: format!("MIG-{gi}"),
        }),
        in_use: Use::default(),
        memory_used_bytes: 0,
        memory_total_bytes: 0,
        fault: None,
    }
}

fn gpu(instances: Vec<Instance>) -> Gpu {
    Gpu {
        uuid: "GPU-1".to_owned(),
        index: 0,
        product: "NVIDIA A100-SXM4-40GB".to_owned(),
        memory_mib: 40_960,
        mig_mode: MigMode::Enabled,
        board: Some(Arc::new(board())),
        instances,
        in_use: Use::default(),
        holders: Vec::new(),
        waits_for: None,
        fault: None,
    }
}

fn layout(slices: &[Slice]) -> Layout {
    slices.iter().copied().collect()
}

/// Takes a step on a model of a GPU, and minds what the driver would mind.
fn take(gpu: &mut Gpu, step: Step) {
    let position = |gpu: &Gpu, wanted: Slice| {
        gpu.instances
            .iter()
            .position(|instance| instance.slice == wanted)
            .expect("a step names an instance that stands")
    };
    if step != Step::EnableMig {
        assert_eq!(gpu.mig_mode, MigMode::Enabled, "{step:?} without MIG mode");
    }
    match step {
        Step::EnableMig => gpu.mig_mode = MigMode::Enabled,
        Step::DisableMig => {
            assert_eq!(gpu.instances, [], "{step:?} would take them along");
            gpu.mig_mode = MigMode::Disabled;
        }
        Step::DestroyComputeInstance { gi, ci, slice } => {
            let at = position(gpu, slice);
            let instance = &mut gpu.instances[at];
            assert!(instance.in_use.is_idle(), "{step:?} on one in use");
            assert_eq!(instance.gi, gi);
            assert_eq!(instance.compute.take().map(|compute| compute.id), Some(ci));
        }
        Step::DestroyGpuInstance { gi, slice } => {
            let instance = gpu.instances.remove(position(gpu, slice));
            assert!(instance.in_use.is_idle(), "{step:?} on one in use");
            assert_eq!((instance.gi, instance.compute), (gi, None));
        }
        Step::CreateGpuInstance { slice } => {
            let gi = gpu.instances.iter().map(|known| known.gi + 1).max();
            let mut made = instance(gi.unwrap_or(0), slice);
            made.compute = None;
            gpu.instances.push(made);
            let board = gpu.board.as_ref().unwrap();
            assert_eq!(board.check(&gpu.layout()), Ok(()), "{step:?}");
        }
        Step::CreateComputeInstance { slice } => {
            let at = position(gpu, slice);
            let compute = ComputeInstance {
                id: 0,
                uuid: String::new(),
            };
            assert_eq!(gpu.instances[at].compute.replace(compute), None);
        }
    }
}

/// A legal layout: slices are tried in the order of the picks and kept when they fit.
fn any_layout() -> impl Strategy<Value = Layout> {
    let slices = board().slices();
    let picks = prop::collection::vec(0..slices.len(), 0..12);
    picks.prop_map(move |picks| {
        let board = board();
        picks.into_iter().fold(Layout::default(), |kept, pick| {
            let mut more = kept.clone();
            more.0.insert(slices[pick]);
            if board.check(&more).is_ok() {
                more
            } else {
                kept
            }
        })
    })
}

/// How an instance is found: with its compute instance or not, and in use or not.
fn any_state() -> impl Strategy<Value = (bool, Use)> {
    prop_oneof![
        6 => Just((true, Use::default())),
        2 => Just((false, Use::default())),
        1 => Just((true, Use::by_processes([7, 8]))),
        1 => Just((true, Use::untold(Source::Nvml, "it is silent".to_owned()))),
    ]
}

/// Some device is held, some slice is kept, some source is silent.
fn any_use() -> impl Strategy<Value = InUse> {
    let device = prop::option::weighted(0.3, 1..8_u32);
    let kept = prop::option::weighted(0.3, prop::sample::select(board().slices()));
    let silent = prop::option::weighted(0.1, Just(Source::Kubelet));
    (device, kept, silent).prop_map(|(device, kept, silent)| {
        let device = device.map(|gi| format!("MIG-{gi}"));
        let held: Vec<_> = device.iter().map(String::as_str).collect();
        by(&held, &Vec::from_iter(kept), &Vec::from_iter(silent))
    })
}

fn any_gpu() -> impl Strategy<Value = Gpu> {
    (any_layout(), prop::collection::vec(any_state(), 8)).prop_map(|(layout, states)| {
        let instances = layout.0.into_iter().zip(states).zip(1..);
        let instances = instances.map(|((slice, (made, in_use)), gi)| {
            let mut found = instance(gi, slice);
            found.in_use = in_use;
            found.compute = found.compute.filter(|_| made);
            found
        });
        gpu(instances.collect())
    })
}

#[rstest]
#[case::off(MigMode::Disabled, &[Step::EnableMig], &[])]
#[case::on(MigMode::Enabled, &[], &[Step::DisableMig])]
#[case::not_yet_on(MigMode::PendingEnable, &[Step::EnableMig], &[Step::DisableMig])]
#[case::not_yet_off(MigMode::PendingDisable, &[Step::EnableMig], &[Step::DisableMig])]
fn the_mode_is_switched_for_itself(
    #[case] mode: MigMode,
    #[case] to_on: &[Step],
    #[case] to_off: &[Step],
) {
    let mut gpu = gpu(Vec::new());
    gpu.mig_mode = mode;
    assert_eq!(on(&gpu, &nvml()).unwrap(), to_on);
    assert_eq!(off(&gpu, &nvml()).unwrap(), to_off);
}

#[test]
fn without_mig_the_mode_is_off_and_stays_so() {
    let mut gpu = gpu(Vec::new());
    gpu.mig_mode = MigMode::Unsupported;
    assert_eq!(off(&gpu, &nvml()), Ok(Vec::new()));
    assert!(matches!(
        on(&gpu, &nvml()),
        Err(Refusal::MigUnsupported { .. })
    ));
    gpu.fault = Some("lost".to_owned());
    assert_eq!(off(&gpu, &nvml()), Err(Refusal::Faulted("lost".to_owned())));
}

#[test]
fn the_mode_goes_with_idle_instances_and_not_with_one_in_use() {
    let mut gpu = gpu(vec![
        instance(1, slice(9, 4, 4)),
        instance(2, slice(19, 0, 1)),
    ]);
    let steps = off(&gpu, &nvml()).unwrap();
    assert_eq!(steps.last(), Some(&Step::DisableMig));
    for step in steps {
        take(&mut gpu, step);
    }
    assert_eq!(gpu.mig_mode, MigMode::Disabled);

    let mut used = instance(1, slice(9, 4, 4));
    used.in_use = Use::by_processes([7]);
    let mut gpu = super::tests::gpu(vec![used, instance(2, slice(19, 0, 1))]);
    assert!(matches!(off(&gpu, &nvml()), Err(Refusal::InUse(busy)) if busy.len() == 1));
    assert_eq!(on(&gpu, &nvml()), Ok(Vec::new()));
    gpu.mig_mode = MigMode::PendingDisable;
    assert!(matches!(on(&gpu, &nvml()), Err(Refusal::InUse(_))));
}

proptest! {
    #[test]
    fn the_steps_lead_to_the_layout_and_spare_what_is_in_use(actual in any_gpu(), desired in any_layout(), in_use in any_use()) {
        let mut used = actual.clone();
        in_use.mark(&mut used);
        let actual_use = used;
        match steps(&actual, &desired, &in_use) {
            Ok(steps) => {
                let mut model = actual_use;
                for &step in &steps {
                    take(&mut model, step);
                }
                prop_assert!(is_made(&model, &desired));
                // Minimal: what is wanted and stands is in no step but the one that finishes it.
                for known in actual.instances.iter().filter(|known| desired.0.contains(&known.slice)) {
                    prop_assert!(model.instances.iter().any(|now| (now.gi, now.slice) == (known.gi, known.slice)));
                }
            }
            Err(Refusal::InUse(busy)) => {
                prop_assert!(!busy.is_empty());
                for busy in busy {
                    prop_assert!(!busy.in_use.is_idle());
                    let named = actual.instances.iter().find(|known| known.gi == busy.gi).unwrap();
                    prop_assert!(!desired.0.contains(&named.slice));
                }
            }
            Err(Refusal::PlaceKept(kept)) => {
                prop_assert!(!kept.is_empty());
            }
            Err(other) => prop_assert!(false, "{other}"),
        }
    }

    #[test]
    fn destroys_come_first_and_creates_come_largest_first(actual in any_gpu(), desired in any_layout()) {
        let steps = steps(&actual, &desired, &nvml()).unwrap_or_default();
        let kinds: Vec<_> = steps.iter().map(|step| step.kind()).collect();
        let is_destroy = |kind: &StepKind| matches!(kind, StepKind::DestroyComputeInstance | StepKind::DestroyGpuInstance);
        prop_assert!(kinds.is_sorted_by_key(|kind| !is_destroy(kind)));
        let sizes = steps.iter().filter_map(|step| {
            if let Step::CreateGpuInstance { slice } = step { Some(slice.placement.size) } else { None }
        });
        prop_assert!(sizes.rev().is_sorted());
    }

    #[test]
    fn what_can_be_restored_never_touches_what_is_in_use(now in any_gpu(), former in any_layout(), in_use in any_use()) {
        let target = restorable(&now, &former, &in_use);
        prop_assert!(steps(&now, &target, &in_use).is_ok());
        let mut used = now.clone();
        in_use.mark(&mut used);
        let free = |slice: &Slice| in_use.place_kept(&now, *slice).is_none();
        if used.instances.iter().all(|instance| instance.in_use.is_idle()) && former.0.iter().all(free) {
            prop_assert_eq!(target, former);
        }
    }
}

#[test]
fn a_mode_that_is_off_is_switched_on_only_for_slices() {
    let off = Gpu {
        mig_mode: MigMode::Disabled,
        ..gpu(vec![])
    };
    assert_eq!(steps(&off, &layout(&[]), &nvml()), Ok(vec![]));
    let wanted = slice(9, 4, 4);
    assert_eq!(
        steps(&off, &layout(&[wanted]), &nvml()),
        Ok(vec![
            Step::EnableMig,
            Step::CreateGpuInstance { slice: wanted },
            Step::CreateComputeInstance { slice: wanted }
        ])
    );
}

#[test]
fn a_half_made_instance_is_finished_or_goes() {
    let half = slice(9, 0, 4);
    let mut found = instance(3, half);
    found.compute = None;
    let found = gpu(vec![found]);
    assert_eq!(
        steps(&found, &layout(&[half]), &nvml()),
        Ok(vec![Step::CreateComputeInstance { slice: half }])
    );
    assert_eq!(
        steps(&found, &layout(&[]), &nvml()),
        Ok(vec![Step::DestroyGpuInstance { gi: 3, slice: half }])
    );
}

#[rstest]
#[case::in_use(
    |gpu: &mut Gpu| gpu.instances[0].in_use = Use::by_processes([7, 8]),
    "GPU instance 1 (1g.5gb at 0:1) is in use: processes 7, 8 are on it"
)]
#[case::use_unknown(
    |gpu: &mut Gpu| gpu.instances[0].in_use = Use::untold(Source::Nvml, "the process list is silent".to_owned()),
    "GPU instance 1 (1g.5gb at 0:1) may be in use: NVML does not tell: the process list is silent"
)]
#[case::unsupported(
    |gpu: &mut Gpu| { gpu.mig_mode = MigMode::Unsupported; gpu.board = None; },
    "NVIDIA A100-SXM4-40GB has no MIG"
)]
#[case::held(
    |gpu: &mut Gpu| { gpu.mig_mode = MigMode::Disabled; gpu.instances.clear(); gpu.in_use = Use::by_processes([9]); },
    "MIG mode is off and cannot be enabled while the GPU is held by pid 9: stop what holds it"
)]
#[case::pending_enable_and_held(
    |gpu: &mut Gpu| { gpu.mig_mode = MigMode::PendingEnable; gpu.instances.clear(); gpu.in_use = Use::by_processes([9]); },
    "MIG mode is off and cannot be enabled while the GPU is held by pid 9: stop what holds it"
)]
#[case::pending_disable(
    |gpu: &mut Gpu| gpu.mig_mode = MigMode::PendingDisable,
    "MIG mode is pending-disable: reset the GPU or reboot the node"
)]
#[case::faulted(
    |gpu: &mut Gpu| gpu.fault = Some("it fell off the bus".to_owned()),
    "the GPU cannot be used: it fell off the bus"
)]
fn refusals_say_what_holds_the_gpu_up(#[case] change: fn(&mut Gpu), #[case] words: &str) {
    let mut actual = gpu(vec![instance(1, slice(19, 0, 1))]);
    change(&mut actual);
    let refusal = steps(&actual, &layout(&[slice(9, 0, 4)]), &nvml()).unwrap_err();
    assert_eq!(refusal.to_string(), words);
}

#[rstest]
#[case::overlap(&[slice(9, 0, 4), slice(19, 3, 1)], "the layout is not legal: profile 1g.5gb at 3:1 overlaps another slice")]
#[case::place(&[slice(9, 1, 4)], "the layout is not legal: profile 3g.20gb cannot be placed at 1:4")]
#[case::profile(&[slice(77, 0, 1)], "the layout is not legal: NVIDIA A100-SXM4-40GB has no GPU instance profile 77")]
fn an_illegal_layout_is_refused(#[case] wanted: &[Slice], #[case] words: &str) {
    let refusal = steps(&gpu(vec![]), &layout(wanted), &nvml()).unwrap_err();
    assert_eq!(refusal.to_string(), words);
}

#[rstest]
#[case::off(MigMode::Disabled)]
#[case::pending(MigMode::PendingEnable)]
fn a_mode_that_is_off_or_pending_is_asked_for(#[case] mode: MigMode) {
    let mut actual = gpu(vec![]);
    actual.mig_mode = mode;
    let steps = steps(&actual, &layout(&[slice(9, 0, 4)]), &nvml()).unwrap();
    assert_eq!(steps[0], Step::EnableMig);
}

#[rstest]
#[case::held(
    by(&["MIG-1"], &[], &[]),
    "GPU instance 1 (1g.5gb at 0:1) is in use: container main of pod acme/train holds it"
)]
#[case::kept(
    by(&[], &[slice(19, 0, 1)], &[]),
    "GPU instance 1 (1g.5gb at 0:1) is in use: it is kept for pod acme/next (generation 5)"
)]
#[case::silent(
    by(&[], &[], &[Source::Kubelet]),
    "GPU instance 1 (1g.5gb at 0:1) may be in use: the kubelet has not answered for 12 s: connection refused"
)]
#[case::place_kept(
    by(&[], &[slice(19, 3, 1)], &[]),
    "3g.20gb at 0:4 is in the place of 1g.5gb at 3:1, which is kept for pod acme/next (generation 5)"
)]
fn every_source_can_hold_a_layout_up(#[case] in_use: InUse, #[case] words: &str) {
    let actual = gpu(vec![instance(1, slice(19, 0, 1))]);
    let wanted = layout(&[slice(9, 0, 4)]);
    let refusal = steps(&actual, &wanted, &in_use).unwrap_err();
    assert_eq!(refusal.to_string(), words);
    let silent = words.contains("may be");
    assert_eq!(refusal.is_for_silence(), silent);
    let elsewhere = layout(&[slice(19, 0, 1), slice(9, 4, 4)]);
    assert!(
        steps(&actual, &elsewhere, &in_use).is_ok(),
        "what stays or is free is nobody's concern"
    );
}

#[rstest]
#[case::held(by(&["GPU-1"], &[], &[]), "is in use: container main of pod acme/train holds it")]
#[case::silent(
    by(&[], &[], &[Source::Coordinator]),
    "may be in use: the coordinator has not answered for 12 s: connection refused"
)]
fn the_mode_is_not_changed_under_a_container(#[case] in_use: InUse, #[case] words: &str) {
    let off = Gpu {
        mig_mode: MigMode::Disabled,
        ..gpu(vec![])
    };
    let refusal = steps(&off, &layout(&[slice(9, 0, 4)]), &in_use).unwrap_err();
    let expected = format!(
        "MIG mode is off and cannot be enabled while the GPU {words}; it is tried again with the next layout"
    );
    assert_eq!(refusal.to_string(), expected);
    assert!(steps(&off, &layout(&[]), &in_use).is_ok());
    assert_eq!(on(&off, &in_use), Err(refusal));
}

#[rstest]
#[case::held(by(&["MIG-1"], &[], &[]))]
#[case::kept(by(&[], &[slice(19, 0, 1)], &[]))]
#[case::silent(by(&[], &[], &[Source::Kubelet]))]
fn the_mode_is_not_switched_off_under_anybody(#[case] in_use: InUse) {
    let on = gpu(vec![instance(1, slice(19, 0, 1))]);
    assert!(matches!(off(&on, &in_use), Err(Refusal::InUse(_))));
    assert_eq!(off(&on, &nvml()).map(|steps| steps.len()), Ok(3));
}

#[test]
fn what_is_half_made_is_finished_or_goes_while_sources_are_silent() {
    let half = slice(9, 0, 4);
    let mut found = instance(3, half);
    found.compute = None;
    let found = gpu(vec![found]);
    let silent = by(&[], &[], &[Source::Kubelet, Source::Coordinator]);
    for wanted in [layout(&[half]), layout(&[])] {
        assert_eq!(
            steps(&found, &wanted, &silent).map(|steps| steps.len()),
            Ok(1)
        );
    }
    let kept = by(&[], &[half], &[]);
    assert!(steps(&found, &layout(&[]), &kept).is_err());
}
