//! GPU instances that others have cut up, as Mica never does: several compute instances, or one that does not fill it.
#![expect(
    unsafe_code,
    reason = "the driver API makes whole slices only, so this is made by hand"
)]

use mica_model::{Gpu, Use};
use nvml_wrapper::Nvml;

use crate::node::{Rig, rig, slice};

/// Compute instance profile ids of A100.
const ONE_SLICE: u32 = 0;
const TWO_SLICES: u32 = 1;

/// Makes a 3g.20gb with these compute instances; gives its id.
fn cut_up(rig: &mut Rig, gpu: &Gpu, profiles: &[u32]) -> u32 {
    let gi = rig
        .driver
        .create_gpu_instance(&gpu.uuid, slice(gpu, "3g.20gb", 4))
        .unwrap();
    let library = rig.node.library();
    let nvml = Nvml::builder()
        .lib_path(library.as_os_str())
        .init()
        .unwrap();
    let device = nvml.device_by_uuid(gpu.uuid.as_str()).unwrap();
    let lib = nvml.lib();
    // SAFETY: used while `nvml` lives.
    let device = unsafe { device.handle() };
    let mut instance = std::ptr::null_mut();
    // SAFETY: `nvml` lives, and the pointer is that of a local.
    let code = unsafe { lib.nvmlDeviceGetGpuInstanceById(device, gi, &raw mut instance) };
    assert_eq!(code, 0);
    for &profile in profiles {
        let mut compute = std::ptr::null_mut();
        // SAFETY: `nvml` lives, and the pointer is that of a local.
        let code = unsafe {
            lib.nvmlGpuInstanceCreateComputeInstance(instance, profile, &raw mut compute)
        };
        assert_eq!(code, 0);
    }
    gi
}

#[test]
fn of_several_compute_instances_the_first_is_reported_with_the_processes_of_all() {
    let mut rig = rig(&["a100-40gb"]);
    let gpu = rig.gpu(0);
    let gi = cut_up(&mut rig, &gpu, &[TWO_SLICES, ONE_SLICE]);
    rig.node.start_process(0, Some(gi), 8, 1 << 20).unwrap();
    let now = rig.gpu(0);
    let [instance] = now.instances.as_slice() else {
        panic!("{now:?}")
    };
    let seen = rig.node.gpus().remove(0).instances.remove(0);
    assert_eq!(seen.compute_instances.len(), 2);
    let compute = instance.compute.as_ref().unwrap();
    assert_eq!(
        (Some(compute.id), Some(&compute.uuid)),
        (seen.ci, seen.uuid.as_ref())
    );
    assert_eq!(instance.in_use, Use::by_processes(vec![8]));
    assert_eq!(instance.memory_used_bytes, 1 << 20);
    // Taking one away uncovers the other, and at last the GPU instance without any.
    rig.node.stop_process(8).unwrap();
    let mut uuids = Vec::new();
    for _ in 0..2 {
        let compute = rig.gpu(0).instances.remove(0).compute.unwrap();
        uuids.push(compute.uuid);
        rig.driver
            .destroy_compute_instance(&gpu.uuid, gi, compute.id)
            .unwrap();
    }
    assert_ne!(uuids[0], uuids[1]);
    assert_eq!(rig.gpu(0).instances.remove(0).compute, None);
}

#[test]
fn a_compute_instance_that_does_not_fill_its_gpu_instance_is_reported_all_the_same() {
    let mut rig = rig(&["a100-40gb"]);
    let gpu = rig.gpu(0);
    cut_up(&mut rig, &gpu, &[TWO_SLICES]);
    let instance = rig.gpu(0).instances.remove(0);
    let seen = rig.node.gpus().remove(0).instances.remove(0);
    assert_eq!(seen.compute_instances[0].name, "2c.3g.20gb");
    assert_eq!(
        instance.compute.unwrap().uuid,
        seen.compute_instances[0].uuid
    );
}
