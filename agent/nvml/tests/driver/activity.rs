//! Activity by GPM counters.

use std::time::{Duration, Instant};

use mica_nvml::{Activity, Code, Driver};

use crate::node::{Rig, assert_code, rig, slice};

/// Asks once, of GPU 0.
fn activity(rig: &mut Rig, gi: u32) -> Option<Activity> {
    let gpu = rig.gpu(0);
    rig.driver.activities(&gpu).unwrap().remove(&gi)
}

/// Asks until there is an answer. Samples must lie 100 ms apart, so that takes a moment.
fn measured(rig: &mut Rig, gi: u32) -> Activity {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(activity) = activity(rig, gi) {
            return activity;
        }
        assert!(Instant::now() < deadline, "no activity of {gi}");
        std::thread::yield_now();
    }
}

#[test]
fn it_takes_two_samples_and_repeats_itself_when_asked_too_soon() {
    for board in ["h100-sxm5-80gb", "rtx-pro-6000-blackwell-96gb"] {
        let mut rig = rig(&[board]);
        let gpu = rig.gpu(0);
        let one = gpu.board.as_ref().unwrap().slices()[0];
        let gi = rig.make(&gpu, one);
        rig.node.start_process(0, Some(gi), 4, 0).unwrap();
        let start = Instant::now();
        assert_eq!(activity(&mut rig, gi), None);
        let first = measured(&mut rig, gi);
        assert!(start.elapsed() >= Duration::from_millis(100));
        for value in [
            first.graphics,
            first.multiprocessors,
            first.tensor,
            first.memory_bandwidth,
        ] {
            let value = value.unwrap();
            assert!(value > 0.0 && value <= 1.0, "{first:?}");
        }
        // The simulated load has these in fixed proportions: each is itself, not another.
        assert!(first.graphics > first.multiprocessors && first.multiprocessors > first.tensor);
        assert!(first.tensor > first.memory_bandwidth);
        assert_repeats_itself(&mut rig, gi);
    }
}

/// Two answers less than 100 ms apart are one; on a loaded machine it takes a few tries to ask that fast.
fn assert_repeats_itself(rig: &mut Rig, gi: u32) {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let start = Instant::now();
        let answers = [(); 2].map(|()| activity(rig, gi));
        if start.elapsed() < Duration::from_millis(100) {
            assert!(answers[0].is_some());
            return assert_eq!(answers[0], answers[1]);
        }
        assert!(start < deadline, "never fast enough");
    }
}

#[test]
fn an_idle_instance_is_at_zero_whatever_its_neighbour_does() {
    let mut rig = rig(&["h100-sxm5-80gb"]);
    let gpu = rig.gpu(0);
    let busy = rig.make_named(&gpu, "3g.40gb", 0);
    let idle = rig.make_named(&gpu, "3g.40gb", 4);
    rig.node.start_process(0, Some(busy), 4, 0).unwrap();
    assert_eq!(measured(&mut rig, idle).graphics, Some(0.0));
    assert!(measured(&mut rig, busy).graphics > Some(0.0));
}

#[test]
fn an_instance_made_anew_starts_again() {
    let mut rig = rig(&["h100-sxm5-80gb"]);
    let gpu = rig.gpu(0);
    let gi = rig.make_named(&gpu, "1g.10gb", 6);
    measured(&mut rig, gi);
    let instance = rig.gpu(0).instances.remove(0);
    rig.destroy(&gpu, &instance);
    assert_eq!(
        rig.make_named(&gpu, "1g.10gb", 6),
        gi,
        "the driver reuses ids"
    );
    assert_eq!(activity(&mut rig, gi), None);
}

#[test]
fn an_instance_that_another_client_exchanged_starts_again() {
    let mut rig = rig(&["h100-sxm5-80gb"]);
    let gpu = rig.gpu(0);
    let gi = rig.make_named(&gpu, "1g.10gb", 6);
    measured(&mut rig, gi);
    let ci = rig.gpu(0).instances.remove(0).compute.unwrap().id;
    let mut other = Driver::open(rig.node.library().as_os_str()).unwrap();
    other.destroy_compute_instance(&gpu.uuid, gi, ci).unwrap();
    other.destroy_gpu_instance(&gpu.uuid, gi).unwrap();
    let media = slice(&gpu, "1g.10gb+me", 6);
    assert_eq!(other.create_gpu_instance(&gpu.uuid, media).unwrap(), gi);
    other.create_compute_instance(&gpu.uuid, gi).unwrap();
    assert_eq!(activity(&mut rig, gi), None);
    measured(&mut rig, gi);
}

#[test]
fn there_is_none_before_hopper() {
    let mut rig = rig(&["a100-40gb"]);
    let gpu = rig.gpu(0);
    let gi = rig.make_named(&gpu, "3g.20gb", 0);
    rig.fail("nvmlGpmMigSampleGet", Code::UNKNOWN, 0, None);
    assert_eq!(activity(&mut rig, gi), None);
}

#[test]
fn a_driver_without_it_is_no_error_and_a_failing_one_is() {
    let mut rig = rig(&["h100-sxm5-80gb"]);
    let gpu = rig.gpu(0);
    let gi = rig.make_named(&gpu, "3g.40gb", 0);
    let query = "nvmlGpmQueryDeviceSupport";
    for code in [Code::NOT_SUPPORTED, Code::FUNCTION_NOT_FOUND] {
        rig.fail(query, code, 0, Some(1));
        assert_eq!(activity(&mut rig, gi), None);
    }
    rig.fail(query, Code::GPU_IS_LOST, 0, Some(1));
    assert_code(rig.driver.activities(&gpu), Code::GPU_IS_LOST);
    measured(&mut rig, gi);
}

#[test]
fn an_instance_that_cannot_be_measured_does_not_hide_the_others() {
    let mut rig = rig(&["h100-sxm5-80gb"]);
    let gpu = rig.gpu(0);
    let gis = [0, 4].map(|start| rig.make_named(&gpu, "3g.40gb", start));
    for gi in gis {
        measured(&mut rig, gi);
    }
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        // Of the two samples one fails, as long as it is not too soon for either.
        rig.fail("nvmlGpmMigSampleGet", Code::UNKNOWN, 0, Some(1));
        let gpu = rig.gpu(0);
        let known: Vec<_> = rig.driver.activities(&gpu).unwrap().into_keys().collect();
        rig.heal();
        if known == [gis[1]] {
            return;
        }
        assert!(Instant::now() < deadline, "{known:?}");
    }
}
