//! Reset, reload of the driver, reboot: what stays and what goes.

use std::time::{Duration, Instant};

use nvml_sim::{Behaviour, GpuSpec, NodeError, NodeOptions, judge};
use rstest::rstest;

use crate::client::{Client, Rig, rig, rig_with};

/// A full instance on the upper half of GPU 0 with a process; its MIG mode is on.
fn busy(board: &str) -> Rig {
    let rig = rig(&[board]);
    let gpu = rig.client.gpu(0).unwrap();
    let instance = rig.client.create(gpu, 9).unwrap();
    rig.client.create_compute(instance, 2).unwrap();
    rig.node.start_process(0, 2, 7, 1 << 20).unwrap();
    rig
}

fn again(client: &Client) {
    client.shutdown().unwrap();
    client.init().unwrap();
}

#[rstest]
#[case("a100-40gb", 1)]
#[case("h100-sxm5-80gb", 0)]
fn a_reboot_keeps_the_mode_on_ampere_only(#[case] board: &str, #[case] mode: u32) {
    let rig = busy(board);
    let (client, gpu) = (&rig.client, rig.client.gpu(0).unwrap());
    let (uuid, boot_id) = (client.uuid(gpu).unwrap(), rig.node.boot_id());
    rig.node.hold(0, 50).unwrap();
    rig.node.lose_gpu(0).unwrap();
    rig.node.reboot().unwrap();
    assert_ne!(rig.node.boot_id(), boot_id);
    let file = std::fs::read_to_string(rig.node.dir().join("boot_id")).unwrap();
    assert_eq!(file.trim_end(), rig.node.boot_id());
    let view = &rig.node.gpus()[0];
    assert!(!view.lost && view.holders.is_empty() && view.instances.is_empty());
    assert_eq!(view.all_processes().count(), 0);
    assert!(client.count().is_err(), "the old client is none any more");
    again(client);
    let now = client.gpu(0).unwrap();
    assert_eq!(client.uuid(now).unwrap(), uuid);
    assert_eq!(client.mig_mode(now), Ok((mode, mode)));
    let verdict = judge::judge(&rig.node.log().unwrap());
    assert!(verdict.is_clean(), "no client did that: {verdict:?}");
}

#[rstest]
#[case("a100-40gb", 0)]
#[case("h100-sxm5-80gb", 0)]
fn a_reboot_applies_a_pending_mode_on_ampere(#[case] board: &str, #[case] off: u32) {
    let rig = rig_with(&[board], false, &NodeOptions::default());
    rig.node.start_process(0, None, 7, 0).unwrap();
    let gpu = rig.client.gpu(0).unwrap();
    assert_eq!(rig.client.set_mig_mode(gpu, 1), Ok(19));
    rig.node.reboot().unwrap();
    again(&rig.client);
    let mode = if board.starts_with("a100") { 1 } else { off };
    let gpu = rig.client.gpu(0).unwrap();
    assert_eq!(rig.client.mig_mode(gpu), Ok((mode, mode)));
}

#[test]
fn a_reset_is_of_one_gpu() {
    let rig = rig(&["a100-40gb", "a100-40gb"]);
    let gpus = [0, 1].map(|index| rig.client.gpu(index).unwrap());
    let made = gpus.map(|gpu| rig.client.create(gpu, 9).unwrap());
    rig.node.reset_gpu(0).unwrap();
    assert_eq!(rig.client.info(made[0]), Err(2));
    assert_eq!(
        rig.client.instances(gpus[0], 9),
        Ok(vec![]),
        "mode and handle stay"
    );
    assert_eq!(rig.client.info(made[1]), Ok((2, 4, 4)));
}

/// What an initialised client hears: 9 while there is no driver, then 15, or 18 when the version is another one.
#[rstest]
#[case(None, 15)]
#[case(Some("580.95.05"), 15)]
#[case(Some("590.44.01"), 18)]
fn a_reload_leaves_clients_behind(#[case] version: Option<&str>, #[case] code: u32) {
    let rig = rig(&["h100-sxm5-80gb"]);
    let (client, old) = (&rig.client, rig.client.gpu(0).unwrap());
    let instance = client.create(old, 9).unwrap();
    let boot_id = rig.node.boot_id();
    rig.node.unload_driver().unwrap();
    assert_eq!(client.count(), Err(9));
    assert_eq!(
        client.init(),
        Err(9),
        "one more user of a driver that is gone"
    );
    let other = Client::load(&rig.node);
    assert_eq!(other.init(), Err(9));
    assert!(
        rig.node.start_process(0, None, 7, 0).is_err(),
        "nothing starts"
    );
    rig.node.reload_driver(version).unwrap();
    assert_eq!(client.count(), Err(code));
    assert_eq!(client.destroy(instance), Err(code));
    assert_eq!(client.init(), Err(code));
    again(client);
    assert_eq!(
        client.driver_version().unwrap(),
        version.unwrap_or("580.95.05")
    );
    assert_eq!(client.name(old), Err(2), "all handles are stale");
    assert_eq!(client.info(instance), Err(2));
    let gpu = client.gpu(0).unwrap();
    assert_eq!(
        client.mig_mode(gpu),
        Ok((0, 0)),
        "the mode goes with the driver"
    );
    assert_eq!(rig.node.boot_id(), boot_id);
}

#[test]
fn ampere_keeps_its_mode_over_a_reload_but_not_its_instances() {
    let rig = rig(&["a100-40gb"]);
    rig.client.create(rig.client.gpu(0).unwrap(), 9).unwrap();
    rig.node.lose_gpu(0).unwrap();
    rig.node.reload_driver(None).unwrap();
    again(&rig.client);
    assert_eq!(rig.client.gpu(0), Err(15), "a reload brings no GPU back");
    rig.node.reset_gpu(0).unwrap();
    let gpu = rig.client.gpu(0).unwrap();
    assert_eq!(rig.client.mig_mode(gpu), Ok((1, 1)));
    assert_eq!(rig.client.instances(gpu, 9), Ok(vec![]));
}

#[test]
fn a_driver_in_use_is_not_unloaded() {
    let rig = busy("a100-40gb");
    for attempt in [rig.node.unload_driver(), rig.node.reload_driver(None)] {
        assert!(matches!(attempt, Err(NodeError::InUse(0))), "{attempt:?}");
    }
    rig.node.stop_process(7).unwrap();
    rig.node.hold(0, 50).unwrap();
    let attempt = rig.node.unload_driver();
    assert!(matches!(attempt, Err(NodeError::InUse(0))), "{attempt:?}");
    assert_eq!(rig.client.count(), Ok(1), "and nobody noticed");
    rig.node.release(50).unwrap();
    rig.node.unload_driver().unwrap();
}

#[test]
fn driver_versions_are_checked() {
    let rig = rig(&["a100-40gb"]);
    for wrong in ["", "five", "580.95.05.580.95.05.580.95.05.58"] {
        let answer = rig.node.reload_driver(Some(wrong));
        assert!(
            matches!(answer, Err(NodeError::Version(_))),
            "{wrong}: {answer:?}"
        );
    }
    assert_eq!(rig.client.count(), Ok(1), "nothing was unloaded");
}

/// On Ampere a mode change is a reset, which a client that holds the GPU prevents; later GPUs need none.
#[rstest]
#[case("a100-40gb", 19)]
#[case("h100-sxm5-80gb", 0)]
fn holders_hold_the_mode_on_ampere(#[case] board: &str, #[case] activation: u32) {
    let rig = rig_with(&[board], false, &NodeOptions::default());
    let (client, gpu) = (&rig.client, rig.client.gpu(0).unwrap());
    rig.node.hold(0, 50).unwrap();
    assert_eq!(client.processes(gpu), Ok(vec![]), "it runs nothing there");
    assert_eq!(client.set_mig_mode(gpu, 1), Ok(activation));
    assert_eq!(client.mig_mode(gpu).unwrap().1, 1);
    let reset = rig.node.reset_gpu(0);
    assert!(matches!(reset, Err(NodeError::InUse(0))), "{reset:?}");
    rig.node.release(50).unwrap();
    assert_eq!(client.set_mig_mode(gpu, 1), Ok(0));
    assert_eq!(client.mig_mode(gpu), Ok((1, 1)));
}

#[test]
fn holders_are_counted() {
    let rig = rig(&["a100-40gb", "a100-40gb"]);
    for pid in 1..=8 {
        rig.node.hold(0, pid).unwrap();
    }
    rig.node.hold(1, 8).unwrap();
    for (pid, why) in [(0, "no process id"), (8, "already"), (9, "too many")] {
        let error = rig.node.hold(0, pid).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
    rig.node.release(8).unwrap();
    let left: Vec<_> = rig
        .node
        .gpus()
        .iter()
        .map(|gpu| gpu.holders.len())
        .collect();
    assert_eq!(left, [7, 0]);
    assert!(matches!(rig.node.release(8), Err(NodeError::NoHolder(8))));
}

/// In a virtual machine Ampere answers 16 and waits for a reboot; a later GPU does not need the reset.
#[rstest]
#[case("a100-40gb", 16, (0, 1))]
#[case("h100-sxm5-80gb", 0, (1, 1))]
fn without_a_reset_ampere_waits_for_a_reboot(
    #[case] board: &str,
    #[case] activation: u32,
    #[case] mode: (u32, u32),
) {
    let options = NodeOptions {
        passthrough: true,
        ..NodeOptions::default()
    };
    let rig = rig_with(&[board], false, &options);
    let (client, gpu) = (&rig.client, rig.client.gpu(0).unwrap());
    assert_eq!(client.set_mig_mode(gpu, 1), Ok(activation));
    assert_eq!(client.mig_mode(gpu), Ok(mode));
    let reset = rig.node.reset_gpu(0);
    assert!(matches!(reset, Err(NodeError::CannotReset(0))), "{reset:?}");
    if board.starts_with("a100") {
        rig.node.start_process(0, None, 7, 0).unwrap();
        assert_eq!(
            client.set_mig_mode(gpu, 1),
            Ok(16),
            "waiting would not help"
        );
        rig.node.reboot().unwrap();
        again(client);
        assert_eq!(client.mig_mode(client.gpu(0).unwrap()), Ok((1, 1)));
    }
}

/// The undocumented one: the first GPU instance needs a GPU that nobody holds.
#[test]
fn the_first_instance_needs_an_idle_gpu_as_a_quirk() {
    let rig = rig(&["a100-40gb"]);
    let (client, gpu) = (&rig.client, rig.client.gpu(0).unwrap());
    rig.node.hold(0, 50).unwrap();
    rig.node.set_behaviour(Behaviour::Quirks).unwrap();
    assert_eq!(client.create(gpu, 19), Err(19));
    assert_eq!(client.create_at(gpu, 19, 0, 1), Err(19));
    assert_eq!(
        client.create_at(gpu, 19, 9, 1),
        Err(2),
        "a wrong argument is told first"
    );
    rig.node.release(50).unwrap();
    let first = client.create(gpu, 19).unwrap();
    rig.node.hold(0, 50).unwrap();
    client.create(gpu, 19).unwrap();
    client.clear(gpu);
    assert_eq!(client.info(first), Err(2));
    assert_eq!(client.create(gpu, 19), Err(19), "the first again");
    rig.node.set_behaviour(Behaviour::Strict).unwrap();
    client.create(gpu, 19).unwrap();
}

#[test]
fn an_instance_stays_in_use_after_its_process() {
    let rig = rig(&["a100-40gb"]);
    let (client, gpu) = (&rig.client, rig.client.gpu(0).unwrap());
    let instance = client.create(gpu, 9).unwrap();
    let parts = [0, 1].map(|_| client.create_compute(instance, 0).unwrap());
    rig.node.set_linger(Duration::from_secs(3_600)).unwrap();
    rig.node.start_process(0, 2, 7, 1 << 20).unwrap();
    rig.node.stop_process(7).unwrap();
    assert_eq!(
        client.processes(gpu),
        Ok(vec![]),
        "it is gone for all to see"
    );
    assert_eq!(client.destroy_compute(parts[0]), Err(19));
    client.destroy_compute(parts[1]).unwrap();
    assert_eq!(client.set_mig_mode(gpu, 0), Ok(19));
    assert!(matches!(rig.node.reset_gpu(0), Err(NodeError::InUse(0))));
}

#[test]
fn an_instance_does_not_stay_in_use_for_ever() {
    let rig = busy("a100-40gb");
    let linger = Duration::from_millis(40);
    rig.node.set_linger(linger).unwrap();
    let gpu = rig.client.gpu(0).unwrap();
    let compute = rig
        .client
        .compute_instance(rig.client.instance(gpu, 2).unwrap(), 0);
    let start = Instant::now();
    rig.node.stop_process(7).unwrap();
    while let Err(code) = rig.client.destroy_compute(compute.unwrap()) {
        assert_eq!(code, 19);
        assert!(start.elapsed() < Duration::from_secs(20), "it never ends");
        std::thread::yield_now();
    }
    assert!(start.elapsed() >= linger, "{:?}", start.elapsed());
}

#[test]
fn a_node_made_anew_is_as_at_first() {
    let rig = busy("a100-40gb");
    let uuid = rig.client.uuid(rig.client.gpu(0).unwrap());
    rig.node.lose_gpu(0).unwrap();
    rig.node
        .inject(&nvml_sim::Fault::once("*", nvml_sim::Code(999)))
        .unwrap();
    let gpus = [
        GpuSpec::many("a100-40gb", 1, true),
        GpuSpec::many("h100-sxm5-80gb", 2, false),
    ]
    .concat();
    rig.node.reset_to(&gpus).unwrap();
    assert_eq!(rig.client.count(), Err(15), "clients must begin again");
    again(&rig.client);
    assert_eq!(rig.client.count(), Ok(3));
    let gpu = rig.client.gpu(0).unwrap();
    assert_eq!(rig.client.uuid(gpu), uuid);
    assert_eq!(rig.client.instances(gpu, 9), Ok(vec![]));
    assert_eq!(rig.node.log().unwrap(), []);
    rig.client.create(gpu, 9).unwrap();
    assert_eq!(rig.node.log().unwrap().len(), 1);
    rig.node.reset_to(&gpus[..1]).unwrap();
    again(&rig.client);
    assert_eq!(rig.client.gpu(1), Err(2));
    assert!(matches!(
        rig.node.reset_to(&[]),
        Err(NodeError::GpuCount(0))
    ));
    let other = rig.node.reset_to(&GpuSpec::many("a100", 1, true));
    assert!(matches!(other, Err(NodeError::UnknownBoard { .. })));
    assert_eq!(rig.client.count(), Ok(1), "and nothing changed");
}
