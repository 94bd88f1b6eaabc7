//! What `apply` does, and what it leaves alone.

use std::{fs, os::unix::process::ExitStatusExt as _};

use mica_agent::{
    execute::{Patience, Taken, switch},
    generation::Newest,
    journal::Journal,
    outcome::{Ending, StepKind},
    usage::Sources,
};
use mica_model::MigMode;
use nvml_sim::{EVERY_CALL, Effect, Fault, GpuSpec};
use rstest::rstest;

use super::{events, make, mixed, said, verb};
use crate::{
    node::{SimNode, first, layout},
    running::program,
};

#[test]
fn a_config_is_applied_once_and_then_holds() {
    let node = mixed();
    make(&node, 0, "1g.5gb@3 2g.10gb@0");
    let kept = node.node.gpus()[0]
        .instances
        .iter()
        .find(|instance| instance.start == 3)
        .cloned();
    let (code, differences) = said(&verb(&node, "assert", "mixed", &[]));
    assert_eq!(code, 1, "{differences}");
    let uuids: Vec<_> = node.node.gpus().into_iter().map(|gpu| gpu.uuid).collect();
    let expected = format!(
        "config mixed does not hold:\n\
         \x20 GPU 0 ({0}): 1g.5gb: 1 there, 2 wanted\n\
         \x20 GPU 0 ({0}): 2g.10gb: 1 there, 0 wanted\n\
         \x20 GPU 0 ({0}): 3g.20gb: 0 there, 1 wanted\n\
         \x20 GPU 1 ({1}): 1g.5gb: 0 there, 2 wanted\n\
         \x20 GPU 1 ({1}): 3g.20gb: 0 there, 1 wanted\n\
         \x20 GPU 2 ({2}): 1g.6gb+me: 0 there, 1 wanted\n\
         \x20 GPU 2 ({2}): 2g.12gb: 0 there, 1 wanted\n",
        uuids[0], uuids[1], uuids[2]
    );
    assert_eq!(differences, expected);

    let (code, done) = said(&verb(&node, "apply", "mixed", &[]));
    assert_eq!(code, 0, "{done}");
    let expected = format!(
        "GPU 0 ({}): 1 destroyed, 2 created\nGPU 1 ({}): 3 created\nGPU 2 ({}): 2 created\n",
        uuids[0], uuids[1], uuids[2]
    );
    assert_eq!(done, expected);
    assert!(node.node.gpus()[0].instances.contains(&kept.unwrap()));
    assert_eq!(
        said(&verb(&node, "assert", "mixed", &[])),
        (0, "config mixed holds\n".to_owned())
    );

    let before = events(&node);
    let (code, done) = said(&verb(&node, "apply", "mixed", &[]));
    assert_eq!((code, done.matches("nothing to do").count()), (0, 3));
    assert_eq!(events(&node), before);
    let state = node.directory.path().join("state");
    let journal = Journal::open(&state, "boot").unwrap();
    let record = journal.of(&uuids[0]).unwrap().record().clone();
    assert_eq!(record.work, None);
    assert_eq!(
        record.layout,
        Some(first(&mut node.driver()).layout()),
        "what a reboot takes away is made again by an agent"
    );
}

#[test]
fn a_dry_run_prints_the_steps_and_changes_nothing() {
    let node = SimNode::a100();
    make(&node, 0, "1g.5gb@3 1g.5gb@4");
    let (before, uuid) = (events(&node), node.node.gpus()[0].uuid.clone());
    let gone = node.gi_at(4);
    let file = "{version: v1, mig-configs: {a: [{devices: [0], mig-enabled: true, mig-devices: {1g.5gb: 1, 3g.20gb: 1}}]}}";
    let path = node.directory.path().join("a.yaml");
    fs::write(&path, file).unwrap();
    let output = program()
        .args(["apply", "--dry-run", "--state-dir", "/proc/none", "-f"])
        .arg(path)
        .arg("--nvml-library")
        .arg(node.node.library())
        .output()
        .unwrap();
    let expected = format!(
        "GPU 0 ({uuid}):\n\
         \x20 destroy compute instance 0 of GPU instance {gone} (1g.5gb at 4:1)\n\
         \x20 destroy GPU instance {gone} (1g.5gb at 4:1)\n\
         \x20 create GPU instance 3g.20gb at 4:4\n\
         \x20 create the compute instance of 3g.20gb at 4:4\n"
    );
    assert_eq!(said(&output), (0, expected));
    assert_eq!(events(&node), before);
    assert_eq!(node.stands(0), "1g.5gb@3 1g.5gb@4");
}

#[test]
fn what_is_in_use_stays_or_nothing_is_touched() {
    let node = mixed();
    make(&node, 1, "1g.5gb@1 1g.5gb@4");
    let gi = |start: u32| {
        let instances = node.node.gpus().remove(1).instances;
        instances
            .iter()
            .find(|known| known.start == start)
            .unwrap()
            .gi
    };
    node.node
        .start_process(1, Some(gi(4)), 77, 1 << 20)
        .unwrap();
    // The other half is free.
    assert_eq!(said(&verb(&node, "apply", "mixed", &[])).0, 0);
    assert!(node.stands(1).contains("1g.5gb@4"), "{}", node.stands(1));
    let before = (events(&node), node.stands(0));
    for (config, more) in [
        ("halves", None),
        ("off", None),
        ("off", Some("--mode-only")),
        ("on", None),
        ("halves", Some("--dry-run")),
    ] {
        let more: Vec<_> = more.into_iter().collect();
        let (code, words) = said(&verb(&node, "apply", config, &more));
        assert_eq!(code, 4, "{config}: {words}");
        let expected = format!(
            "GPU instance {} (1g.5gb at 4:1) is in use: process 77 is on it",
            gi(4)
        );
        assert!(words.contains(&expected), "{words}");
        assert!(words.contains("nothing was touched"), "{words}");
        assert_eq!(
            (events(&node), node.stands(0)),
            before,
            "no GPU is touched, the idle one neither"
        );
    }
    assert!(node.verdict().is_clean());
}

#[test]
fn mig_mode_goes_and_comes_with_and_without_instances() {
    let node = mixed();
    make(&node, 0, "3g.20gb@4");
    let modes = || {
        node.node
            .gpus()
            .iter()
            .map(|gpu| gpu.mig)
            .collect::<Vec<_>>()
    };
    assert_eq!(said(&verb(&node, "assert", "on", &["--mode-only"])).0, 0);
    let (code, words) = said(&verb(&node, "assert", "on", &[]));
    assert_eq!(code, 1);
    assert!(words.contains("3g.20gb: 1 there, 0 wanted"), "{words}");
    let (code, words) = said(&verb(&node, "assert", "off", &[]));
    assert_eq!(code, 1);
    assert_eq!(
        words.matches("MIG mode is enabled, not disabled").count(),
        3,
        "{words}"
    );

    let (code, words) = said(&verb(&node, "apply", "off", &[]));
    assert_eq!(code, 0, "{words}");
    assert!(words.contains("MIG mode disabled, 1 destroyed"), "{words}");
    assert_eq!(modes(), [false; 4]);
    assert_eq!(said(&verb(&node, "assert", "off", &[])).0, 0);
    assert_eq!(said(&verb(&node, "apply", "off", &[])).0, 0, "again");

    let (code, words) = said(&verb(&node, "apply", "on", &[]));
    assert_eq!(code, 0, "{words}");
    assert_eq!(words.matches("MIG mode enabled").count(), 3, "{words}");
    assert_eq!(modes(), [true, true, true, false]);
    assert_eq!(said(&verb(&node, "assert", "on", &[])).0, 0);

    let (code, _) = said(&verb(&node, "apply", "off", &[]));
    assert_eq!(code, 0);
    let (code, words) = said(&verb(&node, "apply", "mixed", &["-m"]));
    assert_eq!(code, 0, "{words}");
    assert_eq!(node.stands(0), "", "the mode only");
    assert_eq!(said(&verb(&node, "assert", "mixed", &["-m"])).0, 0);
}

#[test]
fn a_mode_that_is_held_is_left_pending_and_said() {
    let node = SimNode::new(&GpuSpec::many("a100-40gb", 2, true));
    make(&node, 1, "3g.20gb@4");
    node.node.hold(0, 77).unwrap();
    let (code, words) = said(&verb(&node, "apply", "off", &[]));
    assert_eq!(code, 1, "{words}");
    assert!(
        words.contains("disable mig: MIG mode is off only after a reset"),
        "{words}"
    );
    assert!(words.contains("1 behind it were not begun"), "{words}");
    assert_eq!(node.stands(1), "3g.20gb@4");
    let (code, words) = said(&verb(&node, "assert", "off", &[]));
    assert_eq!(code, 1);
    assert!(
        words.contains("MIG mode is pending-disable, not disabled"),
        "{words}"
    );
    node.node.release(77).unwrap();
    let (code, words) = said(&verb(&node, "apply", "off", &[]));
    assert_eq!(code, 0, "{words}");
    // One that is pending is taken back as well.
    let (code, words) = said(&verb(&node, "apply", "on", &[]));
    assert_eq!(code, 0, "{words}");
    node.node.hold(0, 78).unwrap();
    assert_eq!(said(&verb(&node, "apply", "off", &[])).0, 1);
    assert_eq!(said(&verb(&node, "apply", "on", &[])).0, 0);
    let gpu = node.node.gpus().remove(0);
    assert_eq!((gpu.mig, gpu.mig_pending), (true, true));
}

#[test]
fn what_was_destroyed_for_the_mode_stands_again_when_the_mode_fails() {
    let node = SimNode::a100();
    make(&node, 0, "1g.5gb@3 3g.20gb@4");
    node.fail("nvmlDeviceSetMigMode", 999, 0, None);
    let (code, words) = said(&verb(&node, "apply", "off", &[]));
    assert_eq!(code, 1, "{words}");
    assert!(
        words.contains("the instances are those that stood before"),
        "{words}"
    );
    assert_eq!(node.stands(0), "1g.5gb@3 3g.20gb@4");
}

#[test]
fn apply_leaves_the_node_to_an_agent_that_runs() {
    let node = mixed();
    let state = node.directory.path().join("state");
    let agent = Newest::open(&state).unwrap();
    let before = events(&node);
    let (code, words) = said(&verb(&node, "apply", "halves", &[]));
    assert_eq!(code, 4, "{words}");
    assert!(
        words.contains("an agent runs on this node") && words.contains("stop the agent"),
        "{words}"
    );
    assert_eq!(events(&node), before);
    assert_eq!(said(&verb(&node, "apply", "halves", &["--dry-run"])).0, 0);
    assert_eq!(
        said(&verb(&node, "assert", "halves", &[])).0,
        1,
        "these only look"
    );
    drop(agent);
    assert_eq!(said(&verb(&node, "apply", "halves", &[])).0, 0);
}

#[test]
fn a_gpu_that_fails_is_restored_and_those_behind_it_are_not_begun() {
    let node = mixed();
    make(&node, 1, "2g.10gb@0");
    // The first GPU takes two creates; the second one's first fails.
    node.fail("nvmlDeviceCreateGpuInstanceWithPlacement", 20, 3, Some(1));
    let (code, words) = said(&verb(&node, "apply", "mixed", &[]));
    assert_eq!(code, 1, "{words}");
    assert!(words.contains("create gpu instance:"), "{words}");
    assert!(
        words.contains("the instances are those that stood before; the 1 before it are as wanted, 1 behind it were not begun"),
        "{words}"
    );
    assert_eq!(node.stands(1), "2g.10gb@0");
    assert_eq!(node.stands(2), "");
    assert_eq!(
        said(&verb(&node, "apply", "mixed", &[])).0,
        0,
        "again, and it goes on"
    );
}

#[test]
fn a_half_made_instance_keeps_a_config_from_holding_and_is_finished() {
    let node = SimNode::a100();
    make(&node, 0, "3g.20gb@0");
    let mut driver = node.driver();
    let gpu = first(&mut driver);
    let slice = *layout(&gpu, "3g.20gb@4").0.first().unwrap();
    let gi = driver.create_gpu_instance(&gpu.uuid, slice).unwrap();
    let (code, words) = said(&verb(&node, "assert", "halves", &[]));
    assert_eq!(code, 1);
    assert!(
        words.contains(&format!("GPU instance {gi} at 4:4 has no compute instance")),
        "{words}"
    );
    assert_eq!(said(&verb(&node, "apply", "halves", &[])).0, 0);
    assert_eq!(node.stands(0), "3g.20gb@0 3g.20gb@4");
    assert_eq!(node.gi_at(4), gi, "it is adopted");
}

/// `kill -9` right after each change of the driver in turn: the next `apply` reaches the config, and leaves nothing half made.
#[rstest]
#[case::layout("mixed", "1g.5gb@0 1g.5gb@1 3g.20gb@4", 8)]
#[case::off("off", "", 3)]
fn what_was_killed_is_finished_by_the_next(
    #[case] config: &str,
    #[case] expected: &str,
    #[case] changes: u32,
) {
    for after in 0..=changes {
        let node = SimNode::a100();
        make(&node, 0, "2g.10gb@0");
        let fault = Fault {
            call: EVERY_CALL.to_owned(),
            effect: Effect::KillAfterChange,
            after,
            times: Some(1),
        };
        node.node.inject(&fault).unwrap();
        let file = node.directory.path().join("one.yaml");
        let text = "{version: v1, mig-configs: {\
            mixed: [{devices: all, mig-enabled: true, mig-devices: {3g.20gb: 1, 1g.5gb: 2}}], \
            off: [{devices: all, mig-enabled: false}]}}";
        fs::write(&file, text).unwrap();
        let apply = || {
            let mut command = program();
            command.args(["apply", "-c", config, "-f"]).arg(&file);
            command.arg("--nvml-library").arg(node.node.library());
            let state = node.directory.path().join("state");
            command.arg("--state-dir").arg(state).output().unwrap()
        };
        let killed = apply().status.signal() == Some(9);
        assert_eq!(killed, after < changes, "{config}, after {after} changes");
        node.node.clear_faults().unwrap();
        let (code, words) = said(&apply());
        assert_eq!(code, 0, "{words}");
        assert_eq!(node.stands(0), expected);
        assert_eq!(node.node.gpus()[0].mig, config != "off");
        assert!(node.verdict().is_clean());
    }
}

/// Another program that makes an instance at the last moment keeps it.
#[test]
fn what_comes_before_the_mode_goes_is_left_alone() {
    let node = SimNode::a100();
    let mut driver = node.driver();
    let uuid = first(&mut driver).uuid;
    let mut interfere = |taken: &Taken| {
        if taken.step == StepKind::Read {
            make(&node, 0, "1g.5gb@0");
        }
    };
    let patience = Patience::NONE;
    let outcome = switch(
        &mut driver,
        &Sources::default(),
        &uuid,
        false,
        None,
        patience,
        &mut interfere,
    );
    let Ending::Failed(failure) = outcome.ending else {
        panic!("{outcome:?}");
    };
    assert_eq!(failure.step, StepKind::DisableMig);
    assert_eq!(node.stands(0), "1g.5gb@0");
    assert_eq!(first(&mut driver).mig_mode, MigMode::Enabled);
}
