use nvml_wrapper::Device;

use super::handle;
use crate::{
    Error,
    call::{raw, symbol},
};

/// GPU instance id and compute instance id of a MIG device.
pub(crate) fn ids(device: &Device<'_>) -> Result<(u32, u32), Error> {
    const GI: &str = "nvmlDeviceGetGpuInstanceId";
    const CI: &str = "nvmlDeviceGetComputeInstanceId";
    let lib = device.nvml().lib();
    let gi_of = symbol(GI, &lib.nvmlDeviceGetGpuInstanceId)?;
    let ci_of = symbol(CI, &lib.nvmlDeviceGetComputeInstanceId)?;
    let device = handle(device);
    let (mut gi, mut ci) = (0, 0);
    // SAFETY: library, handle and out pointer as said at the head of `raw`.
    raw(GI, || unsafe { gi_of(device, &raw mut gi) })?;
    // SAFETY: library, handle and out pointer as said at the head of `raw`.
    raw(CI, || unsafe { ci_of(device, &raw mut ci) })?;
    Ok((gi, ci))
}
