//! Who uses an instance, and how much memory.

use mica_model::{Instance, Source, Use};
use mica_nvml::Code;

use crate::node::{Rig, assert_code, rig, rig_without_mig};

const COMPUTE: &str = "nvmlDeviceGetComputeRunningProcesses_v3";
const GRAPHICS: &str = "nvmlDeviceGetGraphicsRunningProcesses_v3";

fn only_instance(rig: &mut Rig) -> Instance {
    let mut gpu = rig.gpu(0);
    assert_eq!(gpu.instances.len(), 1);
    gpu.instances.remove(0)
}

fn unknown(why: String) -> Use {
    Use::untold(Source::Nvml, why)
}

#[test]
fn processes_belong_to_their_instance() {
    let mut rig = rig(&["a100-40gb"]);
    let gpu = rig.gpu(0);
    let busy = rig.make_named(&gpu, "3g.20gb", 0);
    let idle = rig.make_named(&gpu, "3g.20gb", 4);
    rig.node
        .start_process(0, Some(busy), 4_242, 1 << 30)
        .unwrap();
    rig.node.start_process(0, Some(busy), 17, 2 << 30).unwrap();
    let now = rig.gpu(0);
    let find = |gi| {
        now.instances
            .iter()
            .find(|instance| instance.gi == gi)
            .unwrap()
    };
    assert_eq!(find(busy).in_use, Use::by_processes(vec![17, 4_242]));
    assert_eq!(find(busy).memory_used_bytes, 3 << 30);
    assert_eq!(find(idle).in_use, Use::default());
    assert_eq!(find(idle).memory_used_bytes, 0);
    assert_eq!(
        now.in_use,
        Use::default(),
        "in MIG mode there are none outside instances"
    );
    rig.node.stop_process(17).unwrap();
    rig.node.stop_process(4_242).unwrap();
    assert!(
        rig.gpu(0)
            .instances
            .iter()
            .all(|instance| instance.in_use.is_idle())
    );
}

#[test]
fn an_instance_in_use_is_refused_and_stays() {
    let mut rig = rig(&["h100-sxm5-80gb"]);
    let gpu = rig.gpu(0);
    let gi = rig.make_named(&gpu, "7g.80gb", 0);
    rig.node.start_process(0, Some(gi), 1, 0).unwrap();
    let ci = only_instance(&mut rig).compute.unwrap().id;
    assert_code(
        rig.driver.destroy_compute_instance(&gpu.uuid, gi, ci),
        Code::IN_USE,
    );
    assert_eq!(only_instance(&mut rig).in_use, Use::by_processes(vec![1]));
    rig.node.stop_process(1).unwrap();
    rig.driver
        .destroy_compute_instance(&gpu.uuid, gi, ci)
        .unwrap();
}

#[test]
fn a_long_list_is_read_whole_while_it_grows() {
    let mut rig = rig(&["a100-40gb"]);
    let gpu = rig.gpu(0);
    let gi = rig.make_named(&gpu, "7g.40gb", 0);
    let mut expected = Vec::new();
    for pid in 1..=64 {
        rig.node.start_process(0, Some(gi), pid, 1 << 20).unwrap();
        expected.push(pid);
        assert_eq!(
            only_instance(&mut rig).in_use,
            Use::by_processes(expected.clone())
        );
    }
}

#[test]
fn one_wrong_size_is_tried_again_and_many_make_the_use_unknown() {
    let mut rig = rig(&["a100-40gb"]);
    let gpu = rig.gpu(0);
    let gi = rig.make_named(&gpu, "7g.40gb", 0);
    rig.node.start_process(0, Some(gi), 5, 0).unwrap();
    rig.fail(COMPUTE, Code::INSUFFICIENT_SIZE, 0, Some(1));
    assert_eq!(only_instance(&mut rig).in_use, Use::by_processes(vec![5]));
    rig.fail(COMPUTE, Code::INSUFFICIENT_SIZE, 0, None);
    assert_eq!(
        only_instance(&mut rig).in_use,
        unknown(format!("process list: {COMPUTE}: Insufficient Size (7)"))
    );
    rig.heal();
    assert_eq!(only_instance(&mut rig).in_use, Use::by_processes(vec![5]));
}

#[test]
fn a_list_that_cannot_be_read_never_looks_idle() {
    let mut rig = rig(&["a100-40gb"]);
    let gpu = rig.gpu(0);
    rig.make_named(&gpu, "7g.40gb", 0);
    for call in [COMPUTE, GRAPHICS] {
        for code in [
            Code::NO_PERMISSION,
            Code::TIMEOUT,
            Code::FUNCTION_NOT_FOUND,
            Code::UNKNOWN,
        ] {
            rig.fail(call, code, 0, None);
            let in_use = only_instance(&mut rig).in_use;
            let [silence] = &*in_use.unknown else {
                panic!("{call} {code}: {in_use:?}")
            };
            let why = &silence.why;
            assert!(
                why.starts_with(&format!("process list: {call}: {code}")),
                "{why}"
            );
            rig.heal();
        }
    }
    // No compute list: unknown. No graphics list: there is no graphics.
    rig.fail(COMPUTE, Code::NOT_SUPPORTED, 0, None);
    assert!(!only_instance(&mut rig).in_use.is_idle());
    rig.heal();
    rig.fail(GRAPHICS, Code::NOT_SUPPORTED, 0, None);
    assert_eq!(only_instance(&mut rig).in_use, Use::default());
}

#[test]
fn unreadable_memory_makes_the_use_unknown_but_does_not_hide_a_process() {
    let mut rig = rig(&["a100-40gb"]);
    let gpu = rig.gpu(0);
    let gi = rig.make_named(&gpu, "7g.40gb", 0);
    // The first memory query of a reading is that of the whole GPU.
    rig.fail("nvmlDeviceGetMemoryInfo_v2", Code::UNKNOWN, 1, Some(1));
    let instance = only_instance(&mut rig);
    assert_eq!(
        instance.in_use,
        unknown("memory: nvmlDeviceGetMemoryInfo_v2: Unknown Error (999)".to_owned())
    );
    assert_eq!(
        instance.memory_total_bytes,
        40_192 << 20,
        "what the profile says"
    );
    rig.node.start_process(0, Some(gi), 9, 0).unwrap();
    rig.fail("nvmlDeviceGetMemoryInfo_v2", Code::UNKNOWN, 1, Some(1));
    assert_eq!(only_instance(&mut rig).in_use, Use::by_processes(vec![9]));
}

#[test]
fn processes_of_a_gpu_without_mig_are_its_own() {
    let mut rig = rig_without_mig(&["a100-40gb"]);
    assert_eq!(rig.gpu(0).in_use, Use::default());
    rig.node.start_process(0, None, 31, 0).unwrap();
    rig.node.start_process(0, None, 7, 0).unwrap();
    assert_eq!(rig.gpu(0).in_use, Use::by_processes([7, 31]));
    rig.fail(COMPUTE, Code::TIMEOUT, 0, None);
    let gpu = rig.driver.gpus().unwrap().remove(0);
    assert_eq!(
        gpu.fault.unwrap(),
        format!("{COMPUTE}: Timeout (10)"),
        "else it would look free"
    );
}
