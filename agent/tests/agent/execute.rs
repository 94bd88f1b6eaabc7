//! Layouts made true, refused and rolled back.

use mica_agent::{
    execute::{Patience, Recovered, Taken, execute, recover},
    journal::Journal,
    outcome::{Ending, Failure, GpuOutcome, Refusal, StepKind},
    usage::Sources,
};
use mica_model::{Holder, MigMode, Use};
use mica_nvml::{Code, Driver};
use nvml_sim::{EVERY_CALL, GpuSpec};
use rstest::rstest;

use crate::node::{SimNode, first, layout};

const CREATE_GI: &str = "nvmlDeviceCreateGpuInstanceWithPlacement";
const CREATE_CI: &str = "nvmlGpuInstanceCreateComputeInstance";
const DESTROY_GI: &str = "nvmlGpuInstanceDestroy";
const DESTROY_CI: &str = "nvmlComputeInstanceDestroy";

/// Makes a layout on the first GPU.
fn make(driver: &mut Driver, words: &str) -> GpuOutcome {
    make_observed(driver, words, &mut |_| {})
}

fn make_observed(driver: &mut Driver, words: &str, observe: &mut dyn FnMut(&Taken)) -> GpuOutcome {
    let gpu = first(driver);
    execute(
        driver,
        &Sources::default(),
        &gpu.uuid,
        &layout(&gpu, words),
        None,
        Patience::USUAL,
        observe,
    )
}

/// A node on which a layout stands, and its driver.
fn with(words: &str) -> (SimNode, Driver) {
    let node = SimNode::a100();
    let mut driver = node.driver();
    assert_eq!(make(&mut driver, words).ending, Ending::Holds);
    assert_eq!(node.stands(0), words);
    (node, driver)
}

fn failure(outcome: GpuOutcome) -> Failure {
    let Ending::Failed(failure) = outcome.ending else {
        panic!("{outcome:?}");
    };
    failure
}

#[test]
fn what_is_wanted_is_made_and_what_can_stay_stays() {
    let (node, mut driver) = with("1g.5gb@0 1g.5gb@1 2g.10gb@2 3g.20gb@4");
    let stays = node.node.gpus()[0].instances.clone();
    let outcome = make(&mut driver, "2g.10gb@0 2g.10gb@2 3g.20gb@4");
    assert_eq!(
        (outcome.ending, outcome.created, outcome.destroyed),
        (Ending::Holds, 1, 2)
    );
    assert_eq!(node.stands(0), "2g.10gb@0 2g.10gb@2 3g.20gb@4");
    for start in [2, 4] {
        let before = stays.iter().find(|instance| instance.start == start);
        assert!(node.node.gpus()[0].instances.contains(before.unwrap()));
    }
    let outcome = make(&mut driver, "2g.10gb@0 2g.10gb@2 3g.20gb@4");
    assert_eq!(
        (outcome.ending, outcome.created, outcome.destroyed),
        (Ending::Holds, 0, 0)
    );
}

#[test]
fn mig_mode_is_enabled_when_the_layout_needs_it() {
    let node = SimNode::new(&GpuSpec::many("a100-40gb", 1, false));
    let mut driver = node.driver();
    assert_eq!(make(&mut driver, "").ending, Ending::Holds);
    assert_eq!(first(&mut driver).mig_mode, MigMode::Disabled);
    assert_eq!(make(&mut driver, "7g.40gb@0").ending, Ending::Holds);
    assert_eq!(node.stands(0), "7g.40gb@0");
}

#[test]
fn mig_mode_is_not_changed_under_a_process() {
    let node = SimNode::new(&GpuSpec::many("a100-40gb", 1, false));
    node.node.start_process(0, None, 77, 1 << 20).unwrap();
    let outcome = make(&mut node.driver(), "7g.40gb@0");
    assert_eq!(
        outcome.ending,
        Ending::Refused(Refusal::MigModeHeld(vec![Holder::process(77)]))
    );
    assert!(!node.node.gpus()[0].mig_pending);
}

#[test]
fn an_instance_in_use_is_refused_by_name_and_nothing_is_tried() {
    let (node, mut driver) = with("1g.5gb@0 1g.5gb@1 3g.20gb@4");
    node.start_process(1, 77);
    let events = node.node.log().unwrap().len();
    let outcome = make(&mut driver, "4g.20gb@0 3g.20gb@4");
    let Ending::Refused(Refusal::InUse(busy)) = outcome.ending else {
        panic!("{outcome:?}");
    };
    assert_eq!(busy.len(), 1);
    assert_eq!(busy[0].gi, node.gi_at(1));
    assert_eq!(busy[0].in_use, Use::by_processes(vec![77]));
    assert_eq!(
        node.node.log().unwrap().len(),
        events,
        "nothing was attempted"
    );
    // Beside it there is room to work.
    assert_eq!(
        make(&mut driver, "1g.5gb@1 2g.10gb@4").ending,
        Ending::Holds
    );
    assert_eq!(node.stands(0), "1g.5gb@1 2g.10gb@4");
    assert!(node.verdict().is_clean());
}

#[test]
fn a_process_that_starts_in_mid_work_stops_it_and_the_rest_comes_back() {
    let (node, mut driver) = with("1g.5gb@0 1g.5gb@1 3g.20gb@4");
    let mut started = false;
    let outcome = make_observed(&mut driver, "4g.20gb@0 3g.20gb@4", &mut |taken| {
        if taken.step == StepKind::DestroyGpuInstance && !started {
            started = true;
            node.start_process(1, 77);
        }
    });
    let failure = failure(outcome);
    assert_eq!(failure.step, StepKind::DestroyComputeInstance);
    assert!(failure.detail.contains("process 77"), "{}", failure.detail);
    assert!(failure.rolled_back);
    assert_eq!(node.stands(0), "1g.5gb@0 1g.5gb@1 3g.20gb@4");
    let verdict = node.verdict();
    assert!(
        verdict.is_clean() && verdict.lost_races.is_empty(),
        "{verdict:?}"
    );
}

#[test]
fn a_process_on_what_was_just_made_blocks_the_way_back_and_the_rest_is_restored() {
    let (node, mut driver) = with("1g.5gb@0 1g.5gb@1 1g.5gb@4");
    // The 3g at 4 takes the place of a 1g and is used at once; then the 2g at 0 cannot be made.
    node.fail(CREATE_GI, 23, 1, Some(1));
    let mut started = false;
    let outcome = make_observed(&mut driver, "2g.10gb@0 3g.20gb@4", &mut |taken| {
        if taken.step == StepKind::CreateComputeInstance && !started {
            started = true;
            node.start_process(4, 77);
        }
    });
    let failure = failure(outcome);
    assert_eq!(failure.code, Some(Code::INSUFFICIENT_RESOURCES));
    assert!(!failure.rolled_back);
    assert_eq!(node.stands(0), "1g.5gb@0 1g.5gb@1 3g.20gb@4");
    assert!(node.verdict().is_clean());
}

#[rstest]
#[case::create_gpu_instance(CREATE_GI, 23, StepKind::CreateGpuInstance, 2)]
#[case::create_compute_instance(CREATE_CI, 23, StepKind::CreateComputeInstance, 2)]
#[case::destroy_compute_instance(DESTROY_CI, 999, StepKind::DestroyComputeInstance, 3)]
#[case::destroy_gpu_instance(DESTROY_GI, 999, StepKind::DestroyGpuInstance, 3)]
fn a_step_that_fails_is_named_and_undone(
    #[case] call: &str,
    #[case] code: u32,
    #[case] step: StepKind,
    #[case] steps: u32,
) {
    let before = "1g.5gb@0 1g.5gb@1 2g.10gb@2 3g.20gb@4";
    for nth in 0..steps {
        let (node, mut driver) = with(before);
        node.fail(call, code, nth, Some(1));
        let failure = failure(make(
            &mut driver,
            "4g.20gb@0 3g.20gb@4"
                .replace("3g.20gb@4", "2g.10gb@4")
                .as_str(),
        ));
        assert_eq!(
            (failure.step, failure.code),
            (step, Some(Code(code))),
            "{nth}"
        );
        assert!(failure.detail.contains(call), "{}", failure.detail);
        assert!(failure.rolled_back, "{nth}");
        assert_eq!(node.stands(0), before, "{nth}");
        assert!(node.verdict().is_clean());
    }
}

/// One failing call anywhere, reads included, leaves either layout whole, and what is said of it is true.
#[test]
fn whichever_single_call_fails_no_layout_is_left_half_made() {
    let (before, after) = ("1g.5gb@0 3g.20gb@4", "2g.10gb@0 2g.10gb@4");
    let (node, mut driver) = with(before);
    let mut calls = 0;
    loop {
        assert_eq!(make(&mut driver, before).ending, Ending::Holds);
        let gpu = first(&mut driver);
        let events = node.node.log().unwrap().len();
        node.fail(EVERY_CALL, 999, calls, Some(1));
        let outcome = execute(
            &mut driver,
            &Sources::default(),
            &gpu.uuid,
            &layout(&gpu, after),
            None,
            Patience::USUAL,
            &mut |_| {},
        );
        node.node.clear_faults().unwrap();
        let stands = node.stands(0);
        match outcome.ending {
            Ending::Holds => assert_eq!(stands, after, "call {calls}"),
            Ending::Refused(refusal) => assert_eq!(stands, before, "call {calls}: {refusal}"),
            Ending::Failed(failure) if failure.rolled_back => {
                assert_eq!(stands, before, "call {calls}: {failure:?}");
            }
            Ending::Failed(failure) => panic!("call {calls}: {failure:?}, and {stands} stands"),
        }
        let log = node.node.log().unwrap();
        if !log[events..].iter().any(|event| event.call.is_some()) {
            break;
        }
        calls += 1;
    }
    assert!(node.verdict().is_clean());
    assert!(calls > 50, "{calls} calls is fewer than this work needs");
}

/// Some calls fail after the last step, and again while it is undone.
#[rstest]
#[case::once_more(&[(StepKind::CreateComputeInstance, 3)], Ok(()), "2g.10gb@0")]
#[case::for_good(&[(StepKind::CreateComputeInstance, 4)], Err(true), "3g.20gb@4")]
#[case::on_the_way_back(
    &[(StepKind::DestroyGpuInstance, 0), (StepKind::CreateGpuInstance, 3)],
    Err(true),
    "3g.20gb@4"
)]
fn a_gpu_that_cannot_be_read_for_a_moment_is_read_again(
    #[case] failing: &[(StepKind, u32)],
    #[case] ending: Result<(), bool>,
    #[case] stands: &str,
) {
    let (node, mut driver) = with("3g.20gb@4");
    let mut failing = failing.iter().copied().peekable();
    let outcome = make_observed(&mut driver, "2g.10gb@0", &mut |taken| {
        if let Some((_, times)) = failing.next_if(|(step, _)| *step == taken.step) {
            if times == 0 {
                node.fail(CREATE_GI, 23, 0, Some(1));
            } else {
                node.fail("nvmlDeviceGetMigMode", 999, 0, Some(times));
            }
        }
    });
    assert_eq!(failing.next(), None);
    match (outcome.ending, ending) {
        (Ending::Holds, Ok(())) => {}
        (Ending::Failed(failure), Err(rolled_back)) => {
            assert_eq!(failure.rolled_back, rolled_back, "{failure:?}");
        }
        (ending, _) => panic!("{ending:?}"),
    }
    assert_eq!(node.stands(0), stands);
}

#[test]
fn in_use_without_a_process_is_tried_again_for_a_while() {
    let (node, mut driver) = with("3g.20gb@4");
    node.fail(DESTROY_CI, 19, 0, Some(2));
    node.fail(DESTROY_GI, 19, 0, Some(1));
    assert_eq!(make(&mut driver, "").ending, Ending::Holds);
    assert_eq!(node.stands(0), "");
}

#[test]
fn in_use_without_a_process_is_not_tried_for_ever() {
    let (node, mut driver) = with("3g.20gb@4");
    node.fail(DESTROY_CI, 19, 0, None);
    let failure = failure(make(&mut driver, ""));
    assert_eq!(
        (failure.step, failure.code),
        (StepKind::DestroyComputeInstance, Some(Code::IN_USE))
    );
    assert!(failure.rolled_back);
    assert_eq!(node.stands(0), "3g.20gb@4");
}

#[test]
fn a_mode_that_cannot_be_enabled_is_a_failure_with_its_code() {
    let node = SimNode::new(&GpuSpec::many("a100-40gb", 1, false));
    node.fail("nvmlDeviceSetMigMode", 4, 0, None);
    let failure = failure(make(&mut node.driver(), "7g.40gb@0"));
    assert_eq!(
        (failure.step, failure.code),
        (StepKind::EnableMig, Some(Code::NO_PERMISSION))
    );
}

#[test]
fn what_is_found_half_made_is_finished_or_destroyed() {
    let node = SimNode::a100();
    let mut driver = node.driver();
    assert_eq!(make(&mut driver, "1g.5gb@0").ending, Ending::Holds);
    let gpu = first(&mut driver);
    for slice in layout(&gpu, "3g.20gb@4 2g.10gb@2").0 {
        driver.create_gpu_instance(&gpu.uuid, slice).unwrap();
    }
    assert_eq!(node.stands(0), "1g.5gb@0 2g.10gb@2! 3g.20gb@4!");
    // The first is finished, the other cannot be.
    node.fail(CREATE_CI, 23, 1, Some(1));
    let found = first(&mut driver);
    let mut steps = Vec::new();
    let state = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(state.path(), "boot-1")
        .and_then(|journal| journal.of(&found.uuid))
        .unwrap();
    let recovered = recover(
        &mut driver,
        &Sources::default(),
        &found.uuid,
        &mut journal,
        false,
        Patience::USUAL,
        &mut |taken| {
            steps.push(taken.step);
        },
    );
    assert!(matches!(recovered, Recovered::Done(_)), "{recovered:?}");
    assert_eq!(
        steps,
        [
            StepKind::CreateComputeInstance,
            StepKind::CreateComputeInstance,
            StepKind::DestroyGpuInstance
        ]
    );
    let left = node.stands(0);
    assert!(
        ["1g.5gb@0 2g.10gb@2", "1g.5gb@0 3g.20gb@4"].contains(&&*left),
        "{left}"
    );
}

#[test]
fn a_layout_repairs_what_is_half_made() {
    let node = SimNode::a100();
    let mut driver = node.driver();
    let gpu = first(&mut driver);
    for slice in layout(&gpu, "3g.20gb@4 2g.10gb@2").0 {
        driver.create_gpu_instance(&gpu.uuid, slice).unwrap();
    }
    assert_eq!(
        make(&mut driver, "1g.5gb@0 3g.20gb@4").ending,
        Ending::Holds
    );
    assert_eq!(node.stands(0), "1g.5gb@0 3g.20gb@4");
}

#[test]
fn unknown_and_lost_gpus_are_refused() {
    let (node, mut driver) = with("3g.20gb@4");
    let gpu = first(&mut driver);
    let wanted = layout(&gpu, "1g.5gb@0");
    let unknown = execute(
        &mut driver,
        &Sources::default(),
        "GPU-none",
        &wanted,
        None,
        Patience::USUAL,
        &mut |_| {},
    );
    assert_eq!(
        unknown.ending,
        Ending::Refused(Refusal::UnknownGpu("GPU-none".to_owned()))
    );
    node.node.lose_gpu(0).unwrap();
    let lost = execute(
        &mut driver,
        &Sources::default(),
        &gpu.uuid,
        &wanted,
        None,
        Patience::USUAL,
        &mut |_| {},
    );
    let Ending::Refused(Refusal::Faulted(fault)) = lost.ending else {
        panic!("{lost:?}");
    };
    assert!(fault.contains("lost"), "{fault}");
}

#[test]
fn a_gpu_without_mig_is_refused_and_not_touched() {
    let boards = ["l4-24gb", "a100-40gb"].map(|board| GpuSpec::many(board, 1, true));
    let node = SimNode::new(&boards.concat());
    let mut driver = node.driver();
    let gpus = driver.gpus().unwrap();
    assert_eq!(gpus[0].mig_mode, MigMode::Unsupported);
    let wanted = layout(&gpus[1], "3g.20gb@4");
    let outcome = execute(
        &mut driver,
        &Sources::default(),
        &gpus[0].uuid,
        &wanted,
        None,
        Patience::USUAL,
        &mut |_| {},
    );
    let product = "NVIDIA L4".to_owned();
    assert_eq!(
        outcome.ending,
        Ending::Refused(Refusal::MigUnsupported { product })
    );
    assert_eq!(node.node.log().unwrap(), [], "nothing was attempted");
    let nothing = layout(&gpus[1], "");
    let outcome = execute(
        &mut driver,
        &Sources::default(),
        &gpus[0].uuid,
        &nothing,
        None,
        Patience::USUAL,
        &mut |_| {},
    );
    assert_eq!(outcome.ending, Ending::Holds);
}
