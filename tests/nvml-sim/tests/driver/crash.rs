//! Clients that die right after a change, or vanish; faults of one GPU; faults at random.

use std::os::unix::process::ExitStatusExt as _;

use nvml_sim::judge::{Touch, judge};
use nvml_sim::{Action, Code, EVERY_CALL, Effect, Fault, GpuSpec, Node, RandomFaults};
use rstest::rstest;

use crate::client::{Client, rig};
use crate::sharing::start_as;

/// GPU instances, and how many of them have a compute instance.
fn standing(node: &Node) -> (usize, usize) {
    let instances = &node.gpus()[0].instances;
    let whole = instances.iter().filter(|instance| instance.ci.is_some());
    (instances.len(), whole.count())
}

/// The other process creates a GPU instance and then a compute instance.
#[rstest]
#[case(1, (1, 0))]
#[case(2, (1, 1))]
fn a_client_is_killed_right_after_a_change(#[case] change: u32, #[case] want: (usize, usize)) {
    let rig = rig(&["a100-40gb"]);
    rig.node.inject(&Fault::crash(change)).unwrap();
    let status = start_as(None, "once", rig.node.dir()).wait().unwrap();
    assert_eq!(status.signal(), Some(9));
    assert_eq!(standing(&rig.node), want);
    let log = rig.node.log().unwrap();
    let faults = log.iter().filter(|event| event.action == Action::Fault);
    assert_eq!(faults.count(), 1);
    assert_eq!(log.len(), usize::try_from(change).unwrap() + 1, "{log:?}");
}

#[test]
fn a_change_is_what_changes_something() {
    let rig = rig(&["a100-40gb"]);
    let (client, gpu) = (&rig.client, rig.client.gpu(0).unwrap());
    rig.node.inject(&Fault::vanish(1)).unwrap();
    assert_eq!(client.set_mig_mode(gpu, 1), Ok(0), "it is on already");
    assert_eq!(client.create(gpu, 999), Err(2));
    assert_eq!(client.create_at(gpu, 9, 4, 4), Err(999), "this one did");
    assert_eq!(standing(&rig.node), (1, 0));
}

/// Each kind of change counts, by whichever call; the client then is gone until its next process initialises.
#[rstest]
#[case(1, (1, 0), 1)]
#[case(2, (1, 1), 1)]
#[case(3, (1, 0), 1)]
#[case(4, (0, 0), 1)]
#[case(5, (0, 0), 0)]
fn a_client_vanishes_right_after_a_change(
    #[case] change: u32,
    #[case] want: (usize, usize),
    #[case] mode: u32,
) {
    let rig = rig(&["a100-40gb"]);
    let client = &rig.client;
    rig.node.inject(&Fault::vanish(change)).unwrap();
    let life = || -> Result<(), u32> {
        let gpu = client.gpu(0)?;
        let instance = client.create(gpu, 9)?;
        let compute = client.create_compute(instance, 2)?;
        client.destroy_compute(compute)?;
        client.destroy(instance)?;
        client.set_mig_mode(gpu, 0).map(|_| ())
    };
    assert_eq!(life(), Err(999));
    assert_eq!(standing(&rig.node), want);
    for _ in 0..2 {
        assert_eq!(client.count(), Err(999));
        assert_eq!(client.shutdown(), Err(999));
    }
    client.init().unwrap();
    let gpu = client.gpu(0).unwrap();
    assert_eq!(client.mig_mode(gpu), Ok((mode, mode)));
    client.shutdown().unwrap();
    assert_eq!(client.count(), Err(1), "the next process initialised once");
}

#[test]
fn a_client_vanishes_at_a_call_and_forgets_what_it_saw() {
    let rig = rig(&["a100-40gb"]);
    let (client, gpu) = (&rig.client, rig.client.gpu(0).unwrap());
    let instance = client.create(gpu, 9).unwrap();
    client.create_compute(instance, 2).unwrap();
    client.processes(gpu).unwrap();
    let call = "nvmlComputeInstanceDestroy";
    let fault = Fault {
        effect: Effect::Vanish,
        ..Fault::once(call, Code(0))
    };
    rig.node.inject(&fault).unwrap();
    let compute = client.compute_instance(instance, 0).unwrap();
    assert_eq!(client.destroy_compute(compute), Err(999));
    assert_eq!(standing(&rig.node), (1, 1), "before it did anything");
    client.init().unwrap();
    rig.node.start_process(0, 2, 7, 0).unwrap();
    assert_eq!(client.destroy_compute(compute), Err(19));
    let touched = judge(&rig.node.log().unwrap()).touched;
    assert_eq!(touched[0].touch, Some(Touch::TriedWithoutLooking));
}

#[test]
fn a_crash_can_wait_for_a_call() {
    let rig = rig(&["a100-40gb"]);
    let (client, gpu) = (&rig.client, rig.client.gpu(0).unwrap());
    let fault = Fault {
        call: "nvmlGpuInstanceDestroy".to_owned(),
        ..Fault::vanish(1)
    };
    rig.node.inject(&fault).unwrap();
    let instance = client.create(gpu, 9).unwrap();
    assert_eq!(client.destroy(instance), Err(999));
    assert_eq!(standing(&rig.node), (0, 0));
}

#[test]
fn what_is_done_from_outside_crashes_nobody() {
    let rig = rig(&["a100-40gb"]);
    rig.node.inject(&Fault::vanish(1)).unwrap();
    rig.node.reset_gpu(0).unwrap();
    assert_eq!(rig.client.count(), Ok(1));
}

#[test]
fn faults_of_one_gpu_spare_the_other() {
    let rig = rig(&["a100-40gb", "a100-40gb"]);
    let (client, gpus) = (
        &rig.client,
        [0, 1].map(|index| rig.client.gpu(index).unwrap()),
    );
    let instances = gpus.map(|gpu| client.create(gpu, 9).unwrap());
    let fault = Fault {
        times: None,
        ..Fault::once(EVERY_CALL, Code(15))
    };
    rig.node.inject_on_gpu(1, &fault).unwrap();
    assert_eq!(client.count(), Ok(2), "a call on no GPU");
    assert_eq!(gpus.map(|gpu| client.mig_mode(gpu)), [Ok((1, 1)), Err(15)]);
    assert_eq!(client.info(instances[0]), Ok((2, 4, 4)));
    assert_eq!(
        client.info(instances[1]),
        Err(15),
        "handles of instances too"
    );
    assert!(rig.node.inject_on_gpu(2, &fault).is_err(), "no such GPU");
}

/// What a client meets that makes the same calls again.
fn fortune(node: &Node, client: &Client, faults: &RandomFaults) -> Vec<u32> {
    node.reset_to(&GpuSpec::many("a100-40gb", 1, true)).unwrap();
    client.shutdown().unwrap();
    client.init().unwrap();
    let gpu = client.gpu(0).unwrap();
    node.inject_random(faults).unwrap();
    let met = (0..400)
        .map(|i| match i % 4 {
            0 => client.set_mig_mode(gpu, 1).map(|_| ()),
            _ => client.mig_mode(gpu).map(|_| ()),
        })
        .map(|answer| answer.err().unwrap_or(0))
        .collect();
    node.clear_faults().unwrap();
    met
}

#[test]
fn random_faults_come_again_with_their_seed() {
    let rig = rig(&["a100-40gb"]);
    let faults = RandomFaults {
        seed: 3,
        init_ppm: 0,
        change_ppm: 500_000,
        read_ppm: 20_000,
        codes: vec![Code(19), Code(10)],
    };
    let met = fortune(&rig.node, &rig.client, &faults);
    let log = rig.node.log().unwrap();
    let logged = log.iter().filter(|event| event.action == Action::Fault);
    let hits = met.iter().filter(|&&code| code != 0);
    assert_eq!(logged.count(), hits.count());
    let hits = |changes: bool| {
        let of_kind = (0..).zip(&met).filter(|(i, _)| (i % 4 == 0) == changes);
        of_kind
            .filter(|&(_, &code)| code == 19 || code == 10)
            .count()
    };
    assert!(
        (30..70).contains(&hits(true)),
        "{} of 100 changes",
        hits(true)
    );
    assert!(
        (1..25).contains(&hits(false)),
        "{} of 300 reads",
        hits(false)
    );
    assert_eq!(fortune(&rig.node, &rig.client, &faults), met);
    let other = RandomFaults { seed: 4, ..faults };
    assert_ne!(fortune(&rig.node, &rig.client, &other), met);
    assert_eq!(rig.client.count(), Ok(1), "cleared");
}

#[test]
fn init_fails_at_random_too() {
    let rig = rig(&["a100-40gb"]);
    rig.client.shutdown().unwrap();
    let faults = RandomFaults {
        seed: 1,
        init_ppm: 1_000_000,
        change_ppm: 0,
        read_ppm: 0,
        codes: vec![Code(9)],
    };
    rig.node.inject_random(&faults).unwrap();
    assert_eq!(rig.client.init(), Err(9));
    rig.node.clear_faults().unwrap();
    rig.client.init().unwrap();
}
