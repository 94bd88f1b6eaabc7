//! Capability files: they are as the instances are, also after a client was killed.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Instant;

use nvml_sim::{Behaviour, Fault, GpuSpec, Node, NodeOptions};
use rstest::rstest;

use crate::client::{Rig, rig_with};
use crate::sharing::{deadline, start_as};

/// Path below the node's folder, permission bits, and the minor number that a file names.
type Files = BTreeMap<String, (u32, Option<u32>)>;

fn with_caps(behaviour: Behaviour) -> Rig {
    let options = NodeOptions {
        caps: true,
        behaviour,
        ..NodeOptions::default()
    };
    rig_with(&["a100-40gb"; 2], true, &options)
}

fn walk(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            let before = found.len();
            walk(&path, found);
            let of_instance = path.components().any(|part| part.as_os_str() == "mig");
            assert!(
                found.len() > before || !of_instance,
                "empty: {}",
                path.display()
            );
        } else {
            found.push(path.to_str().unwrap().to_owned());
        }
    }
}

/// What lies there.
fn seen(node: &Node) -> Files {
    let mut paths = Vec::new();
    for folder in ["proc", "dev"] {
        walk(&node.dir().join(folder), &mut paths);
    }
    let file = |path: String| {
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        let text = fs::read_to_string(&path).unwrap();
        let minor = text.strip_prefix("DeviceFileMinor: ");
        let minor = minor.map(|rest| rest.lines().next().unwrap().parse().unwrap());
        let below = path.strip_prefix(node.dir().to_str().unwrap()).unwrap();
        (below[1..].to_owned(), (mode, minor))
    };
    paths.into_iter().map(file).collect()
}

/// What should lie there, by NVIDIA's formula: a GPU has 15 GPU instances, each of which has 8 compute instances.
fn wanted(node: &Node) -> Files {
    let mut files = Files::new();
    files.insert(
        "proc/driver/nvidia-caps/mig-minors".to_owned(),
        (0o444, None),
    );
    let mut add = |path: &str, minor: u32, mode| {
        files.insert(
            format!("proc/driver/nvidia/capabilities/{path}"),
            (0o444, Some(minor)),
        );
        files.insert(format!("dev/nvidia-caps/nvidia-cap{minor}"), (mode, None));
    };
    add("mig/config", 1, 0o400);
    add("mig/monitor", 2, 0o444);
    for gpu in node.gpus() {
        for instance in gpu.instances {
            let folder = format!("gpu{}/mig/gi{}", gpu.minor, instance.gi);
            let minor = 3 + 9 * (15 * gpu.minor + instance.gi);
            add(&format!("{folder}/access"), minor, 0o444);
            for compute in instance.compute_instances {
                let path = format!("{folder}/ci{}/access", compute.ci);
                add(&path, minor + 1 + compute.ci, 0o444);
            }
        }
    }
    files
}

#[rstest]
#[case(Behaviour::Strict)]
#[case(Behaviour::Quirks)]
fn files_come_and_go_with_instances(#[case] behaviour: Behaviour) {
    let rig = with_caps(behaviour);
    let (client, node) = (&rig.client, &rig.node);
    let agree = || assert_eq!(seen(node), wanted(node));
    agree();
    let gpu = client.gpu(1).unwrap();
    let instance = client.create(gpu, 9).unwrap();
    agree();
    let computes = [0, 0].map(|id| client.create_compute(instance, id).unwrap());
    agree();
    let capabilities = node.dir().join("proc/driver/nvidia/capabilities");
    let minor = client.minor(gpu).unwrap();
    let access = capabilities.join(format!("gpu{minor}/mig/gi2/ci1/access"));
    let want = format!(
        "DeviceFileMinor: {}\nDeviceFileMode: 292\nDeviceFileModify: 1\n",
        3 + 9 * (15 * minor + 2) + 2
    );
    assert_eq!(fs::read_to_string(&access).unwrap(), want);
    client.destroy_compute(computes[0]).unwrap();
    agree();
    assert!(access.exists(), "the other one stays");
    client.destroy_compute(computes[1]).unwrap();
    client.destroy(instance).unwrap();
    agree();
    client.create(gpu, 9).unwrap();
    client.create(gpu, 19).unwrap();
    node.reset_gpu(1).unwrap();
    agree();
    client.create(gpu, 9).unwrap();
    client.set_mig_mode(gpu, 0).unwrap();
    agree();
    node.reset_to(&GpuSpec::many("a30-24gb", 1, true)).unwrap();
    agree();
}

#[test]
fn there_are_none_without_a_driver_and_none_unless_asked_for() {
    let rig = with_caps(Behaviour::Strict);
    rig.client.create(rig.client.gpu(0).unwrap(), 9).unwrap();
    rig.node.unload_driver().unwrap();
    assert_eq!(seen(&rig.node), Files::new());
    rig.node.reload_driver(None).unwrap();
    assert_eq!(seen(&rig.node), wanted(&rig.node));
    rig.node.reboot().unwrap();
    assert_eq!(seen(&rig.node), wanted(&rig.node));
    let plain = rig_with(&["a100-40gb"], true, &NodeOptions::default());
    plain
        .client
        .create(plain.client.gpu(0).unwrap(), 9)
        .unwrap();
    assert_eq!(seen(&plain.node), Files::new());
}

/// Killed between a change and its files, a client leaves them wrong; the next one makes them true when it starts.
#[test]
fn killed_clients_leave_files_that_the_next_one_repairs() {
    let rig = with_caps(Behaviour::Strict);
    let client = &rig.client;
    let log_file = rig.node.dir().join("log.jsonl");
    let length = || fs::metadata(&log_file).unwrap().len();
    for round in 0..12 {
        let mut children = [(); 2].map(|()| start_as(None, "churn", rig.node.dir()));
        let (before, deadline) = (length(), deadline());
        while length() < before + 4_000 + 170 * round {
            assert!(Instant::now() < deadline, "the others do nothing");
            std::thread::yield_now();
        }
        for child in &mut children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        client.shutdown().unwrap();
        client.init().unwrap();
        assert_eq!(seen(&rig.node), wanted(&rig.node), "round {round}");
        client.clear(client.gpu(0).unwrap());
        assert_eq!(seen(&rig.node), wanted(&rig.node), "round {round}");
    }
}

#[test]
fn a_crash_point_is_after_the_files() {
    let rig = with_caps(Behaviour::Strict);
    rig.node.inject(&Fault::crash(1)).unwrap();
    let status = start_as(None, "once", rig.node.dir()).wait().unwrap();
    assert!(!status.success(), "killed after its change");
    assert_eq!(seen(&rig.node), wanted(&rig.node));
}

#[test]
fn the_list_of_all_is_the_kernel_s() {
    let rig = with_caps(Behaviour::Strict);
    let path = rig.node.dir().join("proc/driver/nvidia-caps/mig-minors");
    let text = fs::read_to_string(path).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[..3], ["config 1", "monitor 2", "gpu0/gi0/access 3"]);
    assert_eq!(lines.last(), Some(&"gpu31/gi14/ci7/access 4322"));
    assert_eq!(lines.len(), 4322);
}
