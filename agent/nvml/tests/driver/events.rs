//! What the driver tells by itself.

use std::time::{Duration, Instant};

use mica_nvml::{Code, Event, EventKind, Events};
use nvml_sim::EventKind as Raised;

use crate::node::{assert_code, rig, slice};

/// Longest wait for what must come; what is there already comes at once.
const DEADLINE: Duration = Duration::from_secs(20);

fn next(events: &mut Events) -> Event {
    events.wait(DEADLINE).unwrap().expect("no event comes")
}

#[test]
fn an_xid_names_gpu_and_instance() {
    let mut rig = rig(&["a100-40gb", "h100-sxm5-80gb"]);
    let gpu = rig.gpu(1);
    let two = slice(&gpu, "2g.20gb", 0);
    rig.make(&gpu, two);
    let gi = rig.gpu(1).instances[0].gi;
    let mut events = rig.driver.events().unwrap();
    rig.node.raise_xid(1, 94, Some(gi), Some(0)).unwrap();
    rig.node.raise_xid(0, 48, None, None).unwrap();
    let of_instance = Event {
        gpu: Some(gpu.uuid),
        kind: EventKind::Xid(94),
        gi: Some(gi),
        ci: Some(0),
    };
    assert_eq!(next(&mut events), of_instance);
    let of_gpu = Event {
        gpu: Some(rig.gpu(0).uuid),
        kind: EventKind::Xid(48),
        gi: None,
        ci: None,
    };
    assert_eq!(next(&mut events), of_gpu);
    assert_eq!(events.wait(Duration::from_millis(1)).unwrap(), None);
}

#[test]
fn other_kinds_are_told_apart_and_what_makes_nothing_sick_is_not_asked_for() {
    let rig = rig(&["a100-40gb"]);
    let mut events = rig.driver.events().unwrap();
    for kind in [
        Raised::SingleBitEcc,
        Raised::PerformanceState,
        Raised::Xid,
        Raised::DoubleBitEcc,
        Raised::DramRetirementFailure,
        Raised::RecoveryAction,
    ] {
        rig.node.raise_event(0, kind).unwrap();
    }
    for kind in [
        EventKind::Xid(999),
        EventKind::DoubleBitEcc,
        EventKind::DramRetirementFailure,
        EventKind::RecoveryAction,
    ] {
        assert_eq!(next(&mut events).kind, kind);
    }
}

#[test]
fn a_lost_gpu_is_left_out_until_it_is_back() {
    let rig = rig(&["a100-40gb", "a100-40gb"]);
    let mut events = rig.driver.events().unwrap();
    assert!(events.register().unwrap(), "all are registered");
    rig.node.lose_gpu(0).unwrap();
    assert_code(events.wait(DEADLINE), Code::GPU_IS_LOST);
    let mut events = rig.driver.events().unwrap();
    assert!(!events.register().unwrap(), "one is lost");
    rig.node.raise_xid(1, 48, None, None).unwrap();
    assert_eq!(next(&mut events).kind, EventKind::Xid(48));
    rig.node.reset_gpu(0).unwrap();
    assert!(events.register().unwrap(), "it is back");
    rig.node.raise_xid(0, 79, None, None).unwrap();
    assert_eq!(next(&mut events).kind, EventKind::Xid(79));
}

#[test]
fn a_gpu_without_events_is_no_error() {
    let rig = rig(&["a100-40gb"]);
    rig.fail("nvmlDeviceRegisterEvents", Code::NOT_SUPPORTED, 0, None);
    let mut events = rig.driver.events().unwrap();
    assert!(events.register().unwrap());
    let began = Instant::now();
    assert_eq!(events.wait(Duration::from_millis(20)).unwrap(), None);
    assert!(began.elapsed() >= Duration::from_millis(20), "it blocks");
}

#[test]
fn a_driver_loaded_anew_makes_it_stale() {
    let rig = rig(&["a100-40gb"]);
    let mut events = rig.driver.events().unwrap();
    rig.node.reload_driver(None).unwrap();
    let error = events.wait(DEADLINE).unwrap_err();
    assert_eq!(error.code(), Some(Code::GPU_IS_LOST), "{error}");
    assert!(rig.driver.events().is_err_and(|error| error.is_stale()));
}

#[test]
fn the_hardware_says_how_its_mode_changes() {
    let rig = rig(&["a100-40gb", "h100-sxm5-80gb"]);
    let mut driver = rig.driver.another();
    for (index, resetless) in [(0, false), (1, true)] {
        let gpu = driver.gpu_at(index).unwrap();
        let hardware = rig.driver.hardware(&gpu.uuid).unwrap();
        assert_eq!((hardware.minor, hardware.resetless), (index, resetless));
    }
    // An older driver does not say; its architecture does.
    rig.fail(
        "nvmlDeviceGetFieldValues",
        Code::FUNCTION_NOT_FOUND,
        0,
        None,
    );
    for (index, resetless) in [(0, false), (1, true)] {
        let gpu = driver.gpu_at(index).unwrap();
        assert_eq!(rig.driver.hardware(&gpu.uuid).unwrap().resetless, resetless);
    }
}
