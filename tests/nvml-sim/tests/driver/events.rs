//! Event sets: who is told of what, and when.

use std::path::Path;
use std::time::{Duration, Instant};

use nvml_sim::{EventKind, NodeError, NodeOptions, Permission};
use rstest::rstest;

use crate::client::{Client, Rig, rig, rig_with};
use crate::sharing::start_as;

const XID: u64 = 0x8;
const MIG_CONFIG: u64 = 0x100;
/// What the simulated boards with MIG report.
const ALL: u64 = 0xff0f;
const WHOLE: u32 = u32::MAX;

/// A GPU with one instance, id 2, that has one compute instance.
fn with_instance() -> Rig {
    let rig = rig(&["a100-40gb", "h100-sxm5-80gb"]);
    let gpu = rig.client.gpu(0).unwrap();
    let instance = rig.client.create(gpu, 9).unwrap();
    rig.client.create_compute(instance, 2).unwrap();
    rig
}

#[test]
fn events_come_in_order_from_the_moment_of_registration() {
    let rig = with_instance();
    let (node, client) = (&rig.node, &rig.client);
    let (gpu, other) = (client.gpu(0).unwrap(), client.gpu(1).unwrap());
    node.raise_xid(0, 1, None, None).unwrap();
    let set = client.event_set().unwrap();
    client.register(gpu, XID | 2, set).unwrap();
    client.register(other, XID, set).unwrap();
    assert_eq!(client.next(set), Err(10), "that one came before");
    node.raise_xid(0, 43, Some(2), Some(0)).unwrap();
    node.raise_event(1, EventKind::DoubleBitEcc).unwrap();
    node.raise_event(0, EventKind::DoubleBitEcc).unwrap();
    node.raise_xid(1, 79, None, None).unwrap();
    node.raise_xid(0, 94, Some(2), None).unwrap();
    node.raise_event(0, EventKind::Xid).unwrap();
    let first = client.wait(set, 0).unwrap();
    assert_eq!((first.device, first.eventData), (gpu, 43));
    assert_eq!((first.gpuInstanceId, first.computeInstanceId), (2, 0));
    assert_eq!(client.next(set), Ok((2, 0, WHOLE, WHOLE)));
    let third = client.wait(set, 0).unwrap();
    assert_eq!((third.device, third.eventData), (other, 79));
    assert_eq!(client.next(set), Ok((XID, 94, 2, WHOLE)));
    assert_eq!(client.next(set), Ok((XID, 999, WHOLE, WHOLE)), "unknown");
    assert_eq!(client.next(set), Err(10));
}

#[test]
fn the_first_version_has_no_instances() {
    let rig = with_instance();
    let client = &rig.client;
    let set = client.event_set().unwrap();
    let gpu = client.gpu(0).unwrap();
    client.register(gpu, XID, set).unwrap();
    rig.node.raise_xid(0, 48, Some(2), None).unwrap();
    let bytes = client
        .call_for_bytes("nvmlEventSetWait", &[set.addr()], 0)
        .unwrap();
    let word = |at: usize| u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap());
    assert_eq!(
        (word(0), word(8), word(16)),
        (gpu.addr().try_into().unwrap(), XID, 48)
    );
    assert_eq!(bytes[24..], [0xee; 136], "and ends there");
}

#[rstest]
#[case(Permission::Root, true)]
#[case(Permission::Monitor, true)]
#[case(Permission::Config, false)]
#[case(Permission::None, false)]
fn events_of_instances_are_for_the_privileged(#[case] who: Permission, #[case] all: bool) {
    let rig = with_instance();
    let set = rig.client.event_set().unwrap();
    rig.client
        .register(rig.client.gpu(0).unwrap(), XID, set)
        .unwrap();
    rig.node.set_permission(who).unwrap();
    rig.node.raise_xid(0, 13, Some(2), Some(0)).unwrap();
    rig.node.raise_xid(0, 79, None, None).unwrap();
    if all {
        assert_eq!(rig.client.next(set), Ok((XID, 13, 2, 0)));
    }
    assert_eq!(rig.client.next(set), Ok((XID, 79, WHOLE, WHOLE)));
}

#[test]
fn the_driver_tells_of_mig_changes_by_itself() {
    let rig = rig(&["h100-sxm5-80gb"]);
    let client = &rig.client;
    let (gpu, set) = (client.gpu(0).unwrap(), client.event_set().unwrap());
    client.register(gpu, ALL, set).unwrap();
    let told = |times: usize| {
        let event = Ok((MIG_CONFIG, 0, WHOLE, WHOLE));
        (0..times).all(|_| client.next(set) == event) && client.next(set) == Err(10)
    };
    let instance = client.create(gpu, 9).unwrap();
    let compute = client.create_compute(instance, 2).unwrap();
    assert!(told(2), "a GPU instance and a compute instance");
    rig.node.start_process(0, 2, 7, 0).unwrap();
    assert_eq!(client.destroy_compute(compute), Err(19));
    rig.node.stop_process(7).unwrap();
    assert!(told(0), "nothing changed");
    client.destroy_compute(compute).unwrap();
    client.destroy(instance).unwrap();
    client.set_mig_mode(gpu, 0).unwrap();
    assert!(told(3));
    client.set_mig_mode(gpu, 0).unwrap();
    assert!(told(0), "it was off");
}

#[test]
fn kinds_by_board() {
    let rig = rig(&["a100-40gb", "l4-24gb"]);
    let client = &rig.client;
    let (gpu, l4, set) = (
        client.gpu(0).unwrap(),
        client.gpu(1).unwrap(),
        client.event_set().unwrap(),
    );
    assert_eq!(client.event_kinds(gpu), Ok(ALL));
    assert_eq!(client.event_kinds(l4), Ok(ALL & !MIG_CONFIG));
    assert_eq!(client.register(gpu, XID | 0x10, set), Err(3), "only Kepler");
    assert_eq!(client.register(gpu, XID | 0x20, set), Err(2), "no such bit");
    rig.node.raise_xid(0, 79, None, None).unwrap();
    assert_eq!(client.next(set), Err(10), "none of them was registered");
    let refused = rig.node.raise_event(1, EventKind::MigConfig);
    assert!(
        matches!(refused, Err(NodeError::Event { gpu: 1, .. })),
        "{refused:?}"
    );
}

#[test]
fn mig_devices_have_no_events() {
    let rig = with_instance();
    let client = &rig.client;
    let mig = client.mig(client.gpu(0).unwrap(), 0).unwrap();
    let set = client.event_set().unwrap();
    assert_eq!(client.event_kinds(mig), Err(3));
    assert_eq!(client.register(mig, XID, set), Err(3));
    for (gi, ci) in [
        (Some(3), None),
        (Some(2), Some(1)),
        (None, Some(0)),
        (Some(256 + 2), None),
    ] {
        assert!(
            rig.node.raise_xid(0, 43, gi, ci).is_err(),
            "there is no {gi:?} {ci:?}"
        );
    }
}

#[test]
fn a_freed_set_is_none() {
    let rig = rig(&["a100-40gb"]);
    let client = &rig.client;
    let (gpu, set) = (client.gpu(0).unwrap(), client.event_set().unwrap());
    let other = client.event_set().unwrap();
    assert_ne!(set, other);
    client.free_event_set(set).unwrap();
    assert_eq!(client.free_event_set(set), Err(2));
    assert_eq!(client.register(gpu, XID, set), Err(2));
    assert_eq!(client.next(set), Err(2));
    assert_eq!(client.next(other), Err(10));
}

#[test]
fn a_lost_gpu_ends_the_wait_after_its_events() {
    let rig = rig(&["a100-40gb"]);
    let client = &rig.client;
    let (gpu, set) = (client.gpu(0).unwrap(), client.event_set().unwrap());
    client.register(gpu, XID, set).unwrap();
    rig.node.raise_xid(0, 79, None, None).unwrap();
    rig.node.lose_gpu(0).unwrap();
    assert_eq!(
        client
            .wait(set, 0)
            .map(|data| (data.device, data.eventData)),
        Ok((gpu, 79))
    );
    assert_eq!(client.next(set), Err(15));
    assert_eq!(client.register(gpu, XID, set), Err(15));
    rig.node.reset_gpu(0).unwrap();
    assert_eq!(client.next(set), Err(10));
}

/// Waits in another thread, and once that sleeps does something that must end the wait.
fn woken_by(act: impl FnOnce(&Rig)) -> Result<u64, u32> {
    let rig = &rig_with(&["a100-40gb"], true, &NodeOptions::default());
    let set = rig.client.event_set().unwrap();
    rig.client
        .register(rig.client.gpu(0).unwrap(), XID, set)
        .unwrap();
    let set = set.expose_provenance();
    std::thread::scope(|scope| {
        let (tell, told) = std::sync::mpsc::channel();
        let waits = scope.spawn(move || {
            let set = std::ptr::with_exposed_provenance_mut(set);
            tell.send(std::fs::read_link("/proc/thread-self").unwrap())
                .unwrap();
            // Longer than the deadline below, but not for ever: a failed test ends.
            rig.client.wait(set, 60_000).map(|data| data.eventData)
        });
        let thread = Path::new("/proc").join(told.recv().unwrap());
        let deadline = Instant::now() + Duration::from_secs(30);
        let wait_until = |done: &dyn Fn() -> bool, otherwise: &str| {
            while !done() {
                assert!(Instant::now() < deadline, "{otherwise}");
                std::thread::yield_now();
            }
        };
        let sleeps = || {
            let stat = std::fs::read_to_string(thread.join("stat")).unwrap();
            stat.rsplit_once(')').unwrap().1.starts_with(" S")
        };
        wait_until(&sleeps, "it does not sleep");
        act(rig);
        wait_until(&|| waits.is_finished(), "it sleeps on");
        waits.join().unwrap()
    })
}

#[test]
fn a_wait_ends_when_something_happens() {
    assert_eq!(
        woken_by(|rig| rig.node.raise_xid(0, 31, None, None).unwrap()),
        Ok(31)
    );
    assert_eq!(woken_by(|rig| rig.node.lose_gpu(0).unwrap()), Err(15));
    assert_eq!(woken_by(|rig| rig.node.unload_driver().unwrap()), Err(9));
}

/// Part of another process: wants XID errors, shows that it does by a GPU instance, and waits without end for number 79.
pub(crate) fn wait_for_79(client: &Client) {
    let (gpu, set) = (client.gpu(0).unwrap(), client.event_set().unwrap());
    client.register(gpu, XID, set).unwrap();
    client.create(gpu, 9).unwrap();
    assert_eq!(client.wait(set, u32::MAX).unwrap().eventData, 79);
}

#[test]
fn every_process_that_waits_is_told() {
    let rig = rig(&["a100-40gb"]);
    let mut children = [(); 2].map(|()| start_as(None, "wait", rig.node.dir()));
    let deadline = Instant::now() + Duration::from_secs(30);
    while rig.node.gpus()[0].instances.len() < children.len() {
        assert!(Instant::now() < deadline, "they do not wait");
        std::thread::yield_now();
    }
    rig.node.raise_xid(0, 79, None, None).unwrap();
    for child in &mut children {
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if Instant::now() > deadline {
                child.kill().unwrap();
            }
            std::thread::yield_now();
        };
        assert!(status.success(), "{status}");
    }
}
