use rstest::rstest;

use super::*;
use crate::device_plugin::offer::State;

fn device(id: &str) -> Device {
    Device {
        id: id.to_owned(),
        gpu: "GPU-1".to_owned(),
        state: State::Healthy,
        minor: Some(0),
        mig: None,
        numa: None,
    }
}

/// The answer for two devices, as words.
fn words(strategies: &[Strategy]) -> String {
    let answers = Answers {
        strategies: strategies.to_vec(),
        nodes: None,
    };
    let devices = [device("MIG-1"), device("MIG-2")];
    let answer = answers.to(&[&devices[0], &devices[1]]).unwrap();
    let environment = answer
        .envs
        .iter()
        .map(|(name, value)| format!("{name}={value}"));
    let mounts = answer.mounts.iter().map(|mount| {
        assert!(!mount.read_only);
        format!("{}:{}", mount.host_path, mount.container_path)
    });
    let annotations = answer
        .annotations
        .iter()
        .map(|(name, value)| format!("{name}: {value}"));
    let fields = answer.cdi_devices.iter().map(|device| device.name.clone());
    let all = environment.chain(mounts).chain(annotations).chain(fields);
    all.collect::<Vec<_>>().join(" ")
}

#[rstest]
#[case(&[Strategy::Envvar], "NVIDIA_VISIBLE_DEVICES=MIG-1,MIG-2")]
#[case(
    &[Strategy::VolumeMounts],
    "NVIDIA_VISIBLE_DEVICES=/var/run/nvidia-container-devices /dev/null:/var/run/nvidia-container-devices/MIG-1 /dev/null:/var/run/nvidia-container-devices/MIG-2"
)]
#[case(&[Strategy::CdiCri], "mica.dev/gpu=MIG-1 mica.dev/gpu=MIG-2")]
#[case(&[Strategy::CdiAnnotations], "cdi.k8s.io/mica_MIG-1: mica.dev/gpu=MIG-1,mica.dev/gpu=MIG-2")]
#[case(
    &[Strategy::Envvar, Strategy::CdiCri],
    "NVIDIA_VISIBLE_DEVICES=MIG-1,MIG-2 mica.dev/gpu=MIG-1 mica.dev/gpu=MIG-2"
)]
fn each_strategy_answers_as_nvidias_plugin(
    #[case] strategies: &[Strategy],
    #[case] expected: &str,
) {
    assert_eq!(words(strategies), expected);
}

#[test]
fn a_device_whose_node_is_not_known_is_not_given() {
    let directory = tempfile::tempdir().unwrap();
    let nodes = nodes::Source {
        proc: directory.path().to_owned(),
        dev_root: directory.path().to_owned(),
    };
    let answers = Answers {
        strategies: vec![Strategy::Envvar],
        nodes: Some(nodes),
    };
    let whole = device("GPU-1");
    let answer = answers.to(&[&whole]).unwrap();
    assert_eq!(answer.devices.len(), 1);
    let slice = Device {
        mig: Some((1, 0)),
        ..device("MIG-1")
    };
    let missing = answers.to(&[&slice]).unwrap_err();
    assert!(missing.contains("mig-minors"), "{missing}");
    let unknown = Device {
        minor: None,
        ..device("GPU-1")
    };
    assert!(answers.to(&[&unknown]).is_err());
}
