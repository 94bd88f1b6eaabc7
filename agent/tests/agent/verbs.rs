//! `mica-agent export`, `assert` and `apply` as people and scripts run them.

use std::{
    fs,
    io::Write as _,
    process::{Output, Stdio},
};

use mica_agent::{generation::Newest, journal::Journal};
use nvml_sim::{GpuSpec, Permission};
use rstest::rstest;

use crate::{
    node::{SimNode, first, layout},
    running::program,
};

/// Two A100, an A30 and an L4, which has no MIG; MIG mode is on where there is one.
fn mixed() -> SimNode {
    let gpus = [
        GpuSpec::many("a100-40gb", 2, true),
        GpuSpec::many("a30-24gb", 1, true),
        GpuSpec::many("l4-24gb", 1, false),
    ];
    SimNode::new(&gpus.concat())
}

const FILE: &str = r#"
version: v1
mig-configs:
  halves:
    - {devices: all, device-filter: "0x20B010DE", mig-enabled: true, mig-devices: {3g.20gb: 2}}
  mixed:
    - {devices: [0, 1], mig-enabled: true, mig-devices: {3g.20gb: 1, 1g.5gb: 2}}
    - {devices: [2], mig-enabled: true, mig-devices: {2g.12gb: 1, 1g.6gb+me: 1}}
  second-only:
    - {devices: [1], mig-enabled: true, mig-devices: {7g.40gb: 1}}
  off: [{devices: all, mig-enabled: false}]
  on: [{devices: all, mig-enabled: true, mig-devices: {}}]
  impossible: [{devices: [0, 1], mig-enabled: true, mig-devices: {3g.20gb: 2, 1g.5gb: 1}}]
  unknown: [{devices: all, mig-enabled: true, mig-devices: {2g.12gb: 1}}]
  elsewhere: [{devices: all, device-filter: "0x233010DE", mig-enabled: true, mig-devices: {}}]
  ninth: [{devices: [8], mig-enabled: true, mig-devices: {}}]
"#;

/// Runs a verb on a config of the file above.
fn verb(node: &SimNode, verb: &str, config: &str, more: &[&str]) -> Output {
    let file = node.directory.path().join("file.yaml");
    fs::write(&file, FILE).unwrap();
    let mut command = program();
    command.args(["--log-level", "warn", verb, "-c", config, "-f"]);
    command.arg(file).args(more);
    command.arg("--nvml-library").arg(node.node.library());
    if verb == "apply" {
        command
            .arg("--state-dir")
            .arg(node.directory.path().join("state"));
    }
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Exit code and standard output; that of errors, when there is any, behind it.
fn said(output: &Output) -> (i32, String) {
    let said = text(&output.stdout) + &text(&output.stderr);
    (output.status.code().unwrap(), said)
}

/// Makes slices on a GPU.
fn make(node: &SimNode, gpu: usize, words: &str) {
    let mut driver = node.driver();
    let gpu = driver.gpus().unwrap().remove(gpu);
    for slice in layout(&gpu, words).0 {
        let gi = driver.create_gpu_instance(&gpu.uuid, slice).unwrap();
        driver.create_compute_instance(&gpu.uuid, gi).unwrap();
    }
}

/// What was done to the driver, or attempted.
fn events(node: &SimNode) -> usize {
    node.node.log().unwrap().len()
}

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

#[rstest]
#[case::yaml("yaml")]
#[case::json("json")]
fn what_is_exported_holds_and_is_made_again(#[case] form: &str) {
    let node = mixed();
    make(&node, 0, "1g.5gb@3 3g.20gb@4 1g.5gb+me@0");
    make(&node, 2, "2g.12gb@2");
    let export = program()
        .args(["export", "-o", form, "-l", "mine", "--nvml-library"])
        .arg(node.node.library())
        .output()
        .unwrap();
    assert_eq!(export.status.code(), Some(0), "{}", text(&export.stderr));
    assert!(text(&export.stderr).is_empty());
    let piped = |verb: &[&str]| {
        let mut child = program()
            .args(["--log-level", "warn"])
            .args(verb)
            .args(["-f", "-", "--nvml-library"])
            .arg(node.node.library())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(&export.stdout).unwrap();
        drop(stdin);
        said(&child.wait_with_output().unwrap())
    };
    assert_eq!(piped(&["assert"]), (0, "config mine holds\n".to_owned()));
    let before: Vec<_> = (0..3).map(|gpu| node.stands(gpu)).collect();
    assert_eq!(said(&verb(&node, "apply", "off", &[])).0, 0);
    assert_eq!(piped(&["assert"]).0, 1);
    let state = node.directory.path().join("state");
    let (code, done) = piped(&["apply", "--state-dir", state.to_str().unwrap()]);
    assert_eq!(code, 0, "{done}");
    assert_eq!(piped(&["assert"]).0, 0);
    let profiles = |stands: &str| {
        let words = stands.split_whitespace();
        let mut names: Vec<_> = words
            .map(|word| word.split('@').next().unwrap().to_owned())
            .collect();
        names.sort();
        names
    };
    for (gpu, before) in before.iter().enumerate() {
        assert_eq!(profiles(&node.stands(gpu)), profiles(before));
    }
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
    assert!(words.contains("what stood before stands again"), "{words}");
    assert_eq!(node.stands(0), "1g.5gb@3 3g.20gb@4");
}

#[rstest]
#[case::impossible(
    "impossible",
    "1 × 1g.5gb, 2 × 3g.20gb do not fit on NVIDIA A100-SXM4-40GB together"
)]
#[case::unknown("unknown", "NVIDIA A100-SXM4-40GB has no profile 2g.12gb; it has")]
#[case::elsewhere(
    "elsewhere",
    "it is for no GPU of this node; compare devices and device-filter with 0x20B010DE"
)]
#[case::ninth("ninth", "there is no GPU 8 on this node")]
fn what_the_node_cannot_be_is_refused_and_does_not_hold(#[case] config: &str, #[case] words: &str) {
    let node = mixed();
    let before = events(&node);
    let (code, refused) = said(&verb(&node, "apply", config, &[]));
    assert!(code == 4 && refused.contains(words), "{code} {refused}");
    assert!(
        refused.contains(&format!(
            "config {config} is not applied, and nothing was touched"
        )),
        "{refused}"
    );
    let (code, differs) = said(&verb(&node, "assert", config, &[]));
    assert!(code == 1 && differs.contains(words), "{code} {differs}");
    assert_eq!(events(&node), before);
}

#[rstest]
#[case::no_file(&["assert", "-f", "/no/such/file"], "cannot read /no/such/file; name the file with -f")]
#[case::no_flag(&["apply"], "--config-file")]
#[case::several(&["assert", "-f", "FILE"], "choose one with -c: elsewhere, halves")]
#[case::none(&["apply", "-f", "FILE", "-c", "half"], "has no config \"half\"; it has elsewhere, halves")]
#[case::mistake(&["apply", "-f", "BAD"], "BAD:2:")]
#[case::form(&["export", "-o", "xml"], "yaml, json")]
fn a_file_that_cannot_be_used_is_wrong_usage(#[case] arguments: &[&str], #[case] words: &str) {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("FILE"), FILE).unwrap();
    fs::write(
        directory.path().join("BAD"),
        "version: v1\nmig-configs: {a: [{devices: all}]}\n",
    )
    .unwrap();
    let output = program()
        .args(arguments)
        .current_dir(directory.path())
        .output()
        .unwrap();
    let (code, said) = said(&output);
    assert!(code == 2 && said.contains(words), "{code} {said}");
}

#[test]
fn a_file_is_checked_without_a_gpu() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file.yaml");
    fs::write(&file, FILE).unwrap();
    let check = |config: &str| {
        let mut command = program();
        command.args([
            "assert",
            "--valid-config",
            "--nvml-library",
            "/no/such/library",
            "-c",
        ]);
        said(&command.arg(config).arg("-f").arg(&file).output().unwrap())
    };
    assert_eq!(
        check("halves"),
        (0, "config halves can be used\n".to_owned())
    );
    assert_eq!(check("half").0, 2);
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
        words.contains("what stood before stands again; the 1 before it are as wanted, 1 behind it were not begun"),
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
fn a_gpu_that_is_lost_is_named_before_another_is_touched() {
    let node = mixed();
    node.node.lose_gpu(1).unwrap();
    let before = events(&node);
    for (name, expected) in [("apply", 4), ("assert", 1)] {
        let (code, words) = said(&verb(&node, name, "mixed", &[]));
        assert!(
            code == expected && words.contains("GPU 1 "),
            "{code} {words}"
        );
    }
    assert_eq!(events(&node), before);
    let export = program()
        .args(["export", "--nvml-library"])
        .arg(node.node.library())
        .output()
        .unwrap();
    assert_eq!(export.status.code(), Some(1));
    assert!(export.stdout.is_empty());
    assert!(text(&export.stderr).contains("GPU 1 "));
}

#[test]
fn what_may_not_be_read_is_not_said_to_hold() {
    let node = SimNode::a100();
    make(&node, 0, "3g.20gb@0 3g.20gb@4");
    assert_eq!(said(&verb(&node, "assert", "halves", &[])).0, 0);
    for permission in [Permission::Config, Permission::Monitor, Permission::None] {
        node.node.set_permission(permission).unwrap();
        let (code, words) = said(&verb(&node, "assert", "halves", &[]));
        assert_eq!(code, 1, "{words}");
        assert!(
            words.contains("cannot be read") && words.contains("run as root"),
            "{words}"
        );
    }
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
