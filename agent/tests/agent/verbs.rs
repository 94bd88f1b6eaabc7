//! `mica-agent export`, `assert` and `apply` as people and scripts run them.

mod apply;

use std::{
    fs,
    io::Write as _,
    process::{Output, Stdio},
};

use nvml_sim::{GpuSpec, Permission};
use rstest::rstest;

use crate::{
    node::{SimNode, layout},
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
