//! Several processes on one node: they race, and they die.
//!
//! The other processes are this test program, started again for one ignored test that takes its part from the environment.

use std::collections::BTreeSet;
use std::env;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nvml_sim::{Action, Effect, Event, Fault, GpuView, Node, judge};

use crate::client::{Client, rig};

const NODE: &str = "NVML_SIM_TEST_NODE";
const PART: &str = "NVML_SIM_TEST_PART";

fn start(part: &str, dir: &Path) -> Child {
    start_as(None, part, dir)
}

/// Starts another process, with a permission of its own or with the node's.
pub(crate) fn start_as(permission: Option<&str>, part: &str, dir: &Path) -> Child {
    let own = permission.map(|word| (nvml_sim::PERMISSION_ENVIRONMENT, word));
    Command::new(env::current_exe().unwrap())
        .args(["--exact", "sharing::other_process", "--ignored"])
        .env(NODE, dir)
        .env(PART, part)
        .envs(own)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// By when other processes must have done something, however busy the machine is.
pub(crate) fn deadline() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

/// Not a test: what the other processes do.
#[test]
#[ignore = "the part of another process, see `start`"]
fn other_process() {
    let Some(dir) = env::var_os(NODE).map(PathBuf::from) else {
        return;
    };
    let part = env::var_os(PART).unwrap();
    let client = Client::load(&Node::open(&dir).unwrap());
    let init = client.init();
    if part == "mistake" {
        return assert_eq!(init, Err(2), "no such permission");
    }
    init.unwrap();
    let gpu = client.gpu(0).unwrap();
    match part.to_str() {
        Some("fill") => while client.create(gpu, 19).is_ok() {},
        Some("churn") => loop {
            for (id, full) in [(19, 0), (14, 1), (9, 2)] {
                let Ok(instance) = client.create(gpu, id) else {
                    continue;
                };
                let compute = client.create_compute(instance, full).unwrap();
                client.destroy_compute(compute).unwrap();
                client.destroy(instance).unwrap();
            }
        },
        Some("denied") => assert_eq!(client.create(gpu, 9), Err(4)),
        Some("wait") => crate::events::wait_for_79(&client),
        Some("once") => {
            let instance = client.create(gpu, 9).unwrap();
            client.create_compute(instance, 2).unwrap();
        }
        part => panic!("no such part: {part:?}"),
    }
}

/// GPU instances with placement and compute instances (in order), as the log tells and as the state is.
pub(crate) type Instances = BTreeSet<(u32, u32, u32, Vec<u32>)>;

pub(crate) fn replay(log: &[Event]) -> Instances {
    let mut instances: Vec<(u32, u32, u32, Vec<u32>)> = Vec::new();
    for event in log.iter().filter(|event| event.result == 0) {
        let known = instances
            .iter_mut()
            .find(|instance| Some(instance.0) == event.gi);
        match event.action {
            Action::CreateGpuInstance => {
                let place = event.placement.unwrap();
                assert!(known.is_none(), "created twice: {event:?}");
                instances.push((event.gi.unwrap(), place.start, place.size, Vec::new()));
            }
            Action::CreateComputeInstance => {
                let computes = &mut known.unwrap().3;
                computes.push(event.ci.unwrap());
                computes.sort_unstable();
            }
            Action::DestroyComputeInstance => known.unwrap().3.retain(|&ci| Some(ci) != event.ci),
            Action::DestroyGpuInstance => instances.retain(|instance| Some(instance.0) != event.gi),
            Action::SetMigMode if event.activation != Some(0) => {}
            Action::SetMigMode | Action::Reset | Action::Reload | Action::Boot => instances.clear(),
            Action::Hold
            | Action::Release
            | Action::StartProcess
            | Action::StopProcess
            | Action::Fault => {}
        }
    }
    instances.into_iter().collect()
}

pub(crate) fn standing(gpu: &GpuView) -> Instances {
    let compute = |instance: &nvml_sim::InstanceView| {
        instance
            .compute_instances
            .iter()
            .map(|one| one.ci)
            .collect()
    };
    gpu.instances
        .iter()
        .map(|one| (one.gi, one.start, one.size, compute(one)))
        .collect()
}

#[test]
fn two_processes_share_the_room_without_overlap() {
    let rig = rig(&["a100-40gb"]);
    let children = [(); 2].map(|()| start("fill", rig.node.dir()));
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let log = rig.node.log().unwrap();
    let created = |event: &&Event| event.action == Action::CreateGpuInstance && event.result == 0;
    assert_eq!(log.iter().filter(created).count(), 7);
    assert_eq!(
        log.len(),
        9,
        "and each was told once that there is no more room"
    );
    let standing = standing(&rig.node.gpus()[0]);
    assert_eq!(standing, replay(&log));
    let starts: BTreeSet<_> = standing.iter().map(|instance| instance.1).collect();
    assert_eq!(starts, (0..7).collect());
}

/// Whatever moment the writers die at, state and log agree, and the next one goes on.
#[test]
fn killed_writers_leave_nothing_half_written() {
    let rig = rig(&["a100-40gb"]);
    let log_file = rig.node.dir().join("log.jsonl");
    let length = || std::fs::metadata(&log_file).unwrap().len();
    for round in 0..25 {
        let mut children = [(); 2].map(|()| start("churn", rig.node.dir()));
        let (before, deadline) = (length(), deadline());
        while length() < before + 4_000 + 170 * round {
            assert!(Instant::now() < deadline, "the others do nothing");
            std::thread::yield_now();
        }
        for child in &mut children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let log = rig.node.log().unwrap();
        assert_eq!(standing(&rig.node.gpus()[0]), replay(&log), "round {round}");
        assert!(judge::judge(&log).is_clean());
        rig.client.clear(rig.client.gpu(0).unwrap());
    }
    assert_eq!(standing(&rig.node.gpus()[0]), Instances::new());
}

#[test]
fn a_client_can_be_killed_between_two_calls() {
    let rig = rig(&["a100-40gb"]);
    let call = "nvmlGpuInstanceCreateComputeInstance".to_owned();
    rig.node
        .inject(&Fault {
            call,
            effect: Effect::Kill,
            after: 0,
            times: Some(1),
        })
        .unwrap();
    let status = start("once", rig.node.dir()).wait().unwrap();
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&status),
        Some(9)
    );
    let instances = standing(&rig.node.gpus()[0]);
    assert_eq!(
        instances.into_iter().collect::<Vec<_>>(),
        [(2, 4, 4, vec![])],
        "the GPU instance leaked"
    );
    assert!(
        start("once", rig.node.dir()).wait().unwrap().success(),
        "the fault was for once"
    );
}

#[test]
fn other_processes_see_a_change_at_once() {
    let rig = rig(&["a100-40gb"]);
    assert!(start("once", rig.node.dir()).wait().unwrap().success());
    let gpu = rig.client.gpu(0).unwrap();
    let mig = rig.client.mig(gpu, 0).unwrap();
    rig.node.start_process(0, Some(2), 7, 0).unwrap();
    assert_eq!(rig.client.processes(mig).unwrap(), [(7, 0, 2, 0)]);
}
