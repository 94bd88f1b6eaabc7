//! Injected faults.

use std::time::{Duration, Instant};

use nvml_sim::{Action, Code, EVERY_CALL, Effect, Fault, NodeError};

use crate::client::rig;

#[test]
fn a_call_fails_as_often_as_asked() {
    let rig = rig(&["a100-40gb"]);
    let (client, gpu) = (&rig.client, rig.client.gpu(0).unwrap());
    let fault = Fault {
        after: 1,
        times: Some(2),
        ..Fault::once("nvmlDeviceCreateGpuInstance", Code(999))
    };
    rig.node.inject(&fault).unwrap();
    let results: Vec<_> = (0..4).map(|_| client.create(gpu, 19).err()).collect();
    assert_eq!(results, [None, Some(999), Some(999), None]);
    assert_eq!(
        client.instances(gpu, 19).unwrap().len(),
        2,
        "a call that was hit did nothing"
    );
    let hits = rig
        .node
        .log()
        .unwrap()
        .into_iter()
        .filter(|event| event.action == Action::Fault)
        .count();
    assert_eq!(hits, 2);
}

#[test]
fn every_call_can_be_hit_until_cleared() {
    let rig = rig(&["a100-40gb"]);
    rig.node
        .inject(&Fault {
            times: None,
            ..Fault::once(EVERY_CALL, Code::ERROR_GPU_IS_LOST)
        })
        .unwrap();
    for _ in 0..3 {
        assert_eq!(rig.client.count(), Err(15));
    }
    assert_eq!(rig.node.log().unwrap(), [], "however often somebody polls");
    rig.node.clear_faults().unwrap();
    assert_eq!(rig.client.count(), Ok(1));
}

#[test]
fn init_can_fail() {
    let rig = rig(&["a100-40gb"]);
    rig.client.shutdown().unwrap();
    rig.node
        .inject(&Fault::once(
            "nvmlInit_v2",
            Code::ERROR_LIB_RM_VERSION_MISMATCH,
        ))
        .unwrap();
    assert_eq!(rig.client.init(), Err(18));
    assert_eq!(rig.client.count(), Err(1), "a failed init is none");
    rig.client.init().unwrap();
}

#[test]
fn a_call_takes_longer() {
    let rig = rig(&["a100-40gb"]);
    let delay = Duration::from_millis(60);
    rig.node
        .inject(&Fault::delay("nvmlDeviceGetCount_v2", delay))
        .unwrap();
    let start = Instant::now();
    rig.client.count().unwrap();
    assert!(start.elapsed() >= delay);
    assert_eq!(rig.node.log().unwrap(), [], "a delay is no event");
}

#[test]
fn faults_are_limited_and_must_name_a_call() {
    let rig = rig(&["a100-40gb"]);
    let fault = Fault {
        call: "nvmlNoSuchCall".to_owned(),
        effect: Effect::Kill,
        after: 0,
        times: None,
    };
    assert!(matches!(rig.node.inject(&fault), Err(NodeError::Fault(_))));
    let fault = Fault {
        call: "nvmlInit".to_owned(),
        ..fault
    };
    for _ in 0..32 {
        rig.node.inject(&fault).unwrap();
    }
    assert!(matches!(
        rig.node.inject(&fault),
        Err(NodeError::TooManyFaults)
    ));
}
