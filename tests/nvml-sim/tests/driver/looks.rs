//! What the log knows of a client's looks, and what the judge makes of it.

use std::process::Command;

use nvml_sim::judge::{Touch, Verdict, judge};
use nvml_sim::{Action, Node};

use crate::client::{Client, ComputeInstance, Gpu, Rig, rig};

/// A rig with one instance; its GPU instance id, compute instance and MIG device.
fn one() -> (Rig, u32, ComputeInstance, Gpu) {
    let rig = rig(&["a100-40gb"]);
    let gpu = rig.client.gpu(0).unwrap();
    let instance = rig.client.create(gpu, 9).unwrap();
    let compute = rig.client.create_compute(instance, 2).unwrap();
    let (gi, ..) = rig.client.info(instance).unwrap();
    let mig = rig.client.mig(gpu, 0).unwrap();
    (rig, gi, compute, mig)
}

fn verdict(node: &Node) -> Verdict {
    judge(&node.log().unwrap())
}

fn touches(verdict: &Verdict) -> Vec<Option<Touch>> {
    verdict
        .touched
        .iter()
        .map(|finding| finding.touch)
        .collect()
}

#[test]
fn a_careful_client_is_clean() {
    let (rig, gi, compute, mig) = one();
    rig.node.start_process(0, Some(gi), 7, 0).unwrap();
    assert_eq!(rig.client.processes(mig).unwrap().len(), 1);
    rig.node.stop_process(7).unwrap();
    assert_eq!(rig.client.processes(mig), Ok(vec![]));
    rig.client.destroy_compute(compute).unwrap();
    let verdict = verdict(&rig.node);
    assert!(
        verdict.is_clean() && verdict.lost_races.is_empty(),
        "{verdict:?}"
    );
    assert_eq!(
        (
            verdict.created,
            verdict.started,
            verdict.stopped,
            verdict.refused
        ),
        (1, 1, 1, 0)
    );
}

#[test]
fn asking_for_the_mode_in_force_touches_nobody() {
    let (rig, gi, ..) = one();
    rig.node.start_process(0, Some(gi), 7, 0).unwrap();
    let gpu = rig.client.gpu(0).unwrap();
    assert_eq!(rig.client.set_mig_mode(gpu, 1), Ok(0));
    let verdict = verdict(&rig.node);
    assert_eq!((touches(&verdict), verdict.mode_changes), (vec![], 0));
}

/// The second check goes by the places of processes: the same instance ids on another GPU are another place.
#[test]
fn a_process_on_another_gpu_is_not_hit() {
    let rig = rig(&["a100-40gb", "a100-40gb"]);
    let client = &rig.client;
    let [mine, _] = [0, 1].map(|index| {
        let instance = client.create(client.gpu(index).unwrap(), 9).unwrap();
        let compute = client.create_compute(instance, 2).unwrap();
        (instance, compute)
    });
    rig.node.start_process(1, Some(2), 7, 0).unwrap();
    client.destroy_compute(mine.1).unwrap();
    client.destroy(mine.0).unwrap();
    assert_eq!(touches(&verdict(&rig.node)), []);
}

#[test]
fn trying_without_a_look_is_a_touch() {
    let (rig, gi, compute, _) = one();
    rig.node.start_process(0, Some(gi), 7, 0).unwrap();
    assert_eq!(rig.client.destroy_compute(compute), Err(19));
    let verdict = verdict(&rig.node);
    assert_eq!(touches(&verdict), [Some(Touch::TriedWithoutLooking)]);
    assert_eq!(
        (verdict.touched[0].pid, verdict.touched[0].gi),
        (7, Some(gi))
    );
    let mut program = Command::new(env!("CARGO_BIN_EXE_nvml-sim"));
    let output = program.arg("judge").arg(rig.node.dir()).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "the program says so too");
}

#[test]
fn trying_in_spite_of_a_look_is_a_touch() {
    let (rig, gi, compute, mig) = one();
    rig.node.start_process(0, Some(gi), 7, 0).unwrap();
    assert_eq!(
        rig.client.process_count(mig).1,
        1,
        "asking for the number is a look"
    );
    assert_eq!(rig.client.destroy_compute(compute), Err(19));
    assert_eq!(touches(&verdict(&rig.node)), [Some(Touch::TriedThoughSeen)]);
}

#[test]
fn a_process_that_came_after_the_look_is_a_lost_race() {
    let (rig, gi, compute, mig) = one();
    assert_eq!(rig.client.processes(mig), Ok(vec![]));
    rig.node.start_process(0, Some(gi), 7, 0).unwrap();
    assert_eq!(rig.client.destroy_compute(compute), Err(19));
    let verdict = verdict(&rig.node);
    assert!(verdict.is_clean(), "{verdict:?}");
    assert_eq!(verdict.lost_races.len(), 1);
}

#[test]
fn a_look_at_an_earlier_instance_of_the_same_ids_is_none() {
    let (rig, gi, compute, mig) = one();
    let gpu = rig.client.parent(mig).unwrap();
    assert_eq!(rig.client.processes(mig), Ok(vec![]));
    rig.client.destroy_compute(compute).unwrap();
    let instance = rig.client.instance(gpu, gi).unwrap();
    let again = rig.client.create_compute(instance, 2).unwrap();
    rig.node.start_process(0, Some(gi), 7, 0).unwrap();
    assert_eq!(rig.client.destroy_compute(again), Err(19));
    assert_eq!(
        touches(&verdict(&rig.node)),
        [Some(Touch::TriedWithoutLooking)]
    );
}

#[test]
fn a_look_at_the_gpu_is_a_look_at_all_its_instances() {
    let (rig, gi, compute, mig) = one();
    assert_eq!(
        rig.client.processes(rig.client.parent(mig).unwrap()),
        Ok(vec![])
    );
    rig.node.start_process(0, Some(gi), 7, 0).unwrap();
    assert_eq!(rig.client.destroy_compute(compute), Err(19));
    assert!(verdict(&rig.node).is_clean());
}

/// Looks are of a process, and other nodes' libraries are other clients: a second node with the same ids proves nothing.
#[test]
fn looks_at_another_node_do_not_count() {
    let (rig, gi, compute, _) = one();
    let (other, ..) = one();
    let client = Client::open(&other.node);
    assert_eq!(client.processes(client.gpu(0).unwrap()), Ok(vec![]));
    rig.node.start_process(0, Some(gi), 7, 0).unwrap();
    assert_eq!(rig.client.destroy_compute(compute), Err(19));
    assert_eq!(
        touches(&verdict(&rig.node)),
        [Some(Touch::TriedWithoutLooking)]
    );
}

/// The driver refuses such a thing; the second check finds it by the processes' lives alone.
#[test]
fn a_destroy_within_a_life_is_found() {
    let (rig, gi, compute, mig) = one();
    rig.client.processes(mig).unwrap();
    rig.client.destroy_compute(compute).unwrap();
    let instance = rig
        .client
        .instance(
            rig.client.parent(mig).unwrap_or(rig.client.gpu(0).unwrap()),
            gi,
        )
        .unwrap();
    rig.client.create_compute(instance, 2).unwrap();
    rig.node.start_process(0, Some(gi), 7, 0).unwrap();
    rig.node.stop_process(7).unwrap();
    let mut log = rig.node.log().unwrap();
    assert!(judge(&log).is_clean());
    let destroy = log
        .iter()
        .position(|event| event.action == Action::DestroyComputeInstance)
        .unwrap();
    let destroy = log.remove(destroy);
    let stop = log
        .iter()
        .position(|event| event.action == Action::StopProcess)
        .unwrap();
    log.insert(stop, destroy);
    assert_eq!(touches(&judge(&log)), [Some(Touch::WithinLife)]);
}

#[test]
fn a_mode_change_within_a_life_is_found() {
    let rig = rig(&["a100-40gb"]);
    let (client, gpu) = (&rig.client, rig.client.gpu(0).unwrap());
    client.set_mig_mode(gpu, 0).unwrap();
    rig.node.start_process(0, None, 7, 0).unwrap();
    let mut log = rig.node.log().unwrap();
    assert!(judge(&log).is_clean());
    log.reverse();
    assert_eq!(touches(&judge(&log)), [Some(Touch::WithinLife)]);
}
