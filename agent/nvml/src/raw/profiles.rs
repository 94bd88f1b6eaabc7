use std::mem::size_of;

use mica_model::{Engines, Placement, ProfileId};
use nvml_wrapper::Device;
use nvml_wrapper_sys::bindings::{nvmlGpuInstancePlacement_t, nvmlGpuInstanceProfileInfo_v2_t};

use super::{buffer, handle, keep};
use crate::{
    Error,
    call::{raw, symbol, wrapped},
};

/// A GPU instance profile as NVML describes it, without its placements.
pub(crate) struct ProfileInfo {
    pub(crate) id: ProfileId,
    /// As the driver spells it, e.g. `MIG 1g.5gb`; `None` from drivers that do not tell.
    pub(crate) name: Option<String>,
    pub(crate) slices: u32,
    pub(crate) max_instances: u32,
    pub(crate) multiprocessors: u32,
    pub(crate) engines: Engines,
    pub(crate) memory_mib: u64,
}

/// The profile with this number in the header's enumeration, which is not its id.
///
/// Asks with version 2 of the structure, the oldest with a name, then with the one that every driver knows.
pub(crate) fn profile(device: &Device<'_>, index: u32) -> Result<ProfileInfo, Error> {
    match named_profile(device, index) {
        Err(error) if error.is_missing() => nameless_profile(device, index),
        result => result,
    }
}

fn named_profile(device: &Device<'_>, index: u32) -> Result<ProfileInfo, Error> {
    const CALL: &str = "nvmlDeviceGetGpuInstanceProfileInfoV";
    /// `NVML_STRUCT_VERSION(GpuInstanceProfileInfo, 2)` of the header: size, and version in the top byte.
    const VERSION: usize = size_of::<nvmlGpuInstanceProfileInfo_v2_t>() | 2 << 24;
    let function = symbol(
        CALL,
        &device.nvml().lib().nvmlDeviceGetGpuInstanceProfileInfoV,
    )?;
    let device = handle(device);
    let mut info = nvmlGpuInstanceProfileInfo_v2_t {
        version: u32::try_from(VERSION).unwrap_or_default(),
        id: 0,
        isP2pSupported: 0,
        sliceCount: 0,
        instanceCount: 0,
        multiprocessorCount: 0,
        copyEngineCount: 0,
        decoderCount: 0,
        encoderCount: 0,
        jpegCount: 0,
        ofaCount: 0,
        memorySizeMB: 0,
        name: [0; 96],
    };
    // SAFETY: library, handle and out pointer as said at the head of `raw`; the version word tells NVML the structure's size.
    raw(CALL, || unsafe { function(device, index, &raw mut info) })?;
    let name: Vec<u8> = info
        .name
        .iter()
        .map(|byte| u8::from_ne_bytes(byte.to_ne_bytes()))
        .take_while(|&byte| byte != 0)
        .collect();
    Ok(ProfileInfo {
        id: ProfileId(info.id),
        name: Some(String::from_utf8_lossy(&name).into_owned()),
        slices: info.sliceCount,
        max_instances: info.instanceCount,
        multiprocessors: info.multiprocessorCount,
        engines: Engines {
            copy: info.copyEngineCount,
            decoders: info.decoderCount,
            encoders: info.encoderCount,
            jpeg: info.jpegCount,
            ofa: info.ofaCount,
        },
        memory_mib: info.memorySizeMB,
    })
}

fn nameless_profile(device: &Device<'_>, index: u32) -> Result<ProfileInfo, Error> {
    let info = wrapped("nvmlDeviceGetGpuInstanceProfileInfo", || {
        device.profile_info(index)
    })?;
    Ok(ProfileInfo {
        id: ProfileId(info.id),
        name: None,
        slices: info.slice_count,
        max_instances: info.instance_count,
        multiprocessors: info.multiprocessor_count,
        engines: Engines {
            copy: info.copy_engine_count,
            decoders: info.decoder_count,
            encoders: info.encoder_count,
            jpeg: info.jpeg_count,
            ofa: info.ofa_count,
        },
        memory_mib: info.memory_size_mb,
    })
}

/// Where instances of a profile may stand on an empty GPU, in ascending order of start.
pub(crate) fn placements(device: &Device<'_>, profile: ProfileId) -> Result<Vec<Placement>, Error> {
    const CALL: &str = "nvmlDeviceGetGpuInstancePossiblePlacements_v2";
    let function = symbol(
        CALL,
        &device
            .nvml()
            .lib()
            .nvmlDeviceGetGpuInstancePossiblePlacements_v2,
    )?;
    let device = handle(device);
    let mut count = 0;
    raw(CALL, || {
        // SAFETY: library, handle and out pointer as said at the head of `raw`; NULL asks for the number alone.
        unsafe { function(device, profile.0, std::ptr::null_mut(), &raw mut count) }
    })?;
    let mut found = buffer(nvmlGpuInstancePlacement_t { start: 0, size: 0 }, count);
    raw(CALL, || {
        // SAFETY: library and handle as said at the head of `raw`; the buffer holds the `count` elements that NVML asked for.
        unsafe { function(device, profile.0, found.as_mut_ptr(), &raw mut count) }
    })?;
    keep(&mut found, count);
    let mut placements: Vec<_> = found
        .into_iter()
        .map(|place| Placement {
            start: place.start,
            size: place.size,
        })
        .collect();
    placements.sort_by_key(|place| (place.start, place.size));
    placements.dedup();
    Ok(placements)
}
