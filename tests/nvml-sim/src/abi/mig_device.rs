//! MIG devices: one per compute instance.

use std::ffi::c_uint;

use nvml_wrapper_sys::bindings::nvmlDeviceAttributes_t;

use super::call::{Result, export};
use super::handle;
use super::pointer::{Handle, Out};
use crate::code::Code;
use crate::store::Store;

export! {
    fn nvmlDeviceIsMigDeviceHandle(device: Handle, is_mig: Out<c_uint>) |_| {
        is_mig.put(handle::is_mig_device(device)?.into())
    }
    fn nvmlDeviceGetGpuInstanceId(device: Handle, id: Out<c_uint>) |store| {
        id.put(handle::mig(store, device)?.1.gi.into())
    }
    fn nvmlDeviceGetComputeInstanceId(device: Handle, id: Out<c_uint>) |store| {
        id.put(handle::mig(store, device)?.1.ci.into())
    }
    fn nvmlDeviceGetMaxMigDeviceCount(device: Handle, count: Out<c_uint>) |store| {
        let on = handle::whole_gpu(store, device)?;
        count.put(if on.gpu.mig_enabled() { on.board.max_mig_devices } else { 0 })
    }
    fn nvmlDeviceGetMigDeviceHandleByIndex(device: Handle, index: c_uint, mig: Out<Handle>) |store| {
        mig.put(by_index(store, device, index)?)
    }
    fn nvmlDeviceGetDeviceHandleFromMigDeviceHandle(mig: Handle, device: Out<Handle>) |store| {
        device.put(handle::gpu(&handle::mig(store, mig)?.0))
    }
    fn nvmlDeviceGetAttributes(device: Handle, attributes: Out<[c_uint; 6]>) |store| {
        // The first version of the struct ended before the slice counts.
        let all = self::attributes(store, device)?;
        attributes.put([
            all.multiprocessorCount,
            all.sharedCopyEngineCount,
            all.sharedDecoderCount,
            all.sharedEncoderCount,
            all.sharedJpegCount,
            all.sharedOfaCount,
        ])
    }
    fn nvmlDeviceGetAttributes_v2(device: Handle, attributes: Out<nvmlDeviceAttributes_t>) |store| {
        attributes.put(self::attributes(store, device)?)
    }
}

/// 3 when MIG is off, 2 when no board has that many, 6 for a hole. An index stays with its device for the device's life.
fn by_index(store: &Store, device: Handle, index: c_uint) -> Result<Handle> {
    let on = handle::whole_gpu(store, device)?;
    if index >= on.gpu.mig_board()?.max_mig_devices {
        return Err(Code::ERROR_INVALID_ARGUMENT);
    }
    let find = || {
        let (gi, ci) = on.gpu.mig_device(index)?;
        Some(handle::mig_device(
            on.index,
            gi,
            ci,
            *on.gpu.instance(gi)?.compute_instance(ci)?,
        ))
    };
    find().ok_or(Code::ERROR_NOT_FOUND)
}

fn attributes(store: &Store, device: Handle) -> Result<nvmlDeviceAttributes_t> {
    let (on, seat) = handle::mig(store, device)?;
    let profile = on
        .gpu
        .profile_of(&seat.gpu_instance)
        .ok_or(Code::ERROR_UNKNOWN)?;
    let [copy, decoder, encoder, jpeg, ofa] = profile.engines;
    let slices = u32::from(seat.compute_instance.size);
    Ok(nvmlDeviceAttributes_t {
        multiprocessorCount: on.board.compute_multiprocessors(profile, slices),
        sharedCopyEngineCount: copy,
        sharedDecoderCount: decoder,
        sharedEncoderCount: encoder,
        sharedJpegCount: jpeg,
        sharedOfaCount: ofa,
        gpuInstanceSliceCount: profile.slices,
        computeInstanceSliceCount: slices,
        memorySizeMB: profile.memory_mib,
    })
}
