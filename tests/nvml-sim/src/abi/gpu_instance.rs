//! GPU instances: profiles, placements, create, destroy, list.

use std::ffi::c_uint;

use nvml_wrapper_sys::bindings::{
    nvmlGpuInstanceInfo_t, nvmlGpuInstancePlacement_t, nvmlGpuInstanceProfileInfo_t,
    nvmlGpuInstanceProfileInfo_v2_t, nvmlGpuInstanceProfileInfo_v3_t,
};

use super::call::{Result, broken, export};
use super::handle::{self, OnGpu};
use super::pointer::{Handle, Out, fixed_text, has_version};
use crate::boards::{Profile, Span};
use crate::change;
use crate::client;
use crate::code::Code;
use crate::log::{Action, Event};
use crate::rules;
use crate::store::Store;

/// Number of GPU instance profile enums in the header (`NVML_GPU_INSTANCE_PROFILE_COUNT`).
const PROFILE_ENUMS: c_uint = 0x12;
/// `NVML_GPU_INSTANCE_PROFILE_CAPS_GFX`.
const CAPABILITY_GRAPHICS: c_uint = 2;

export! {
    fn nvmlDeviceGetGpuInstanceProfileInfo(device: Handle, query: c_uint, info: Out<nvmlGpuInstanceProfileInfo_t>) |store| {
        info.put(info_v1(profile_by_enum(&handle::whole_gpu(store, device)?, query)?))
    }
    fn nvmlDeviceGetGpuInstanceProfileInfoV(device: Handle, query: c_uint, info: Out<c_uint>) |store| {
        put_versioned(profile_by_enum(&handle::whole_gpu(store, device)?, query)?, info)
    }
    fn nvmlDeviceGetGpuInstanceProfileInfoByIdV(device: Handle, id: c_uint, info: Out<c_uint>) |store| {
        put_versioned(change::profile(handle::whole_gpu(store, device)?.board, id)?, info)
    }
    fn nvmlDeviceGetGpuInstancePossiblePlacements(
        device: Handle, id: c_uint, buffer: Out<nvmlGpuInstancePlacement_t>, count: Out<c_uint>,
    ) |store| {
        count.answer_all(buffer, &placements(&handle::whole_gpu(store, device)?, id)?)
    }
    fn nvmlDeviceGetGpuInstancePossiblePlacements_v2(
        device: Handle, id: c_uint, buffer: Out<nvmlGpuInstancePlacement_t>, count: Out<c_uint>,
    ) |store| {
        count.answer_all(buffer, &placements(&handle::whole_gpu(store, device)?, id)?)
    }
    fn nvmlDeviceGetGpuInstanceRemainingCapacity(device: Handle, id: c_uint, count: Out<c_uint>) |store| {
        let on = handle::whole_gpu(store, device)?;
        let board = on.gpu.mig_board()?;
        count.put(rules::remaining_capacity(&on.gpu, board, change::profile(board, id)?))
    }
    fn nvmlDeviceCreateGpuInstance(device: Handle, id: c_uint, instance: Out<Handle>) |store| {
        create(store, device, id, None, instance)
    }
    fn nvmlDeviceCreateGpuInstanceWithPlacement(
        device: Handle, id: c_uint, place: Out<nvmlGpuInstancePlacement_t>, instance: Out<Handle>,
    ) |store| {
        let place = place.get()?;
        create(store, device, id, Some(Span { start: place.start, size: place.size }), instance)
    }
    fn nvmlGpuInstanceDestroy(instance: Handle) |store| { destroy(store, instance) }
    fn nvmlDeviceGetGpuInstances(device: Handle, id: c_uint, buffer: Out<Handle>, count: Out<c_uint>) |store| {
        let on = handle::whole_gpu(store, device)?;
        change::profile(on.gpu.mig_board()?, id)?;
        let of_profile = on.gpu.instances().filter(|(_, gi)| u32::from(gi.profile) == id);
        let handles: Vec<_> = of_profile.map(|(gi, instance)| handle::gpu_instance(on.index, gi, instance)).collect();
        if buffer.is_null() {
            return Err(Code::ERROR_INVALID_ARGUMENT);
        }
        count.answer_all(buffer, &handles)
    }
    fn nvmlDeviceGetGpuInstanceById(device: Handle, id: c_uint, instance: Out<Handle>) |store| {
        let on = handle::whole_gpu(store, device)?;
        on.gpu.mig_board()?;
        let gi = u8::try_from(id).map_err(|_| Code::ERROR_NOT_FOUND)?;
        let found = on.gpu.instance(gi).ok_or(Code::ERROR_NOT_FOUND)?;
        instance.put(handle::gpu_instance(on.index, gi, found))
    }
    fn nvmlGpuInstanceGetInfo(instance: Handle, info: Out<nvmlGpuInstanceInfo_t>) |store| {
        let (on, gi, instance) = handle::open_gpu_instance(store, instance)?;
        info.put(nvmlGpuInstanceInfo_t {
            device: handle::gpu(&on).pointer(),
            id: gi.into(),
            profileId: instance.profile.into(),
            placement: placement(instance.span()),
        })
    }
}

fn profile_by_enum(on: &OnGpu, query: c_uint) -> Result<&'static Profile> {
    if query >= PROFILE_ENUMS {
        return Err(Code::ERROR_INVALID_ARGUMENT);
    }
    on.board
        .profiles
        .iter()
        .find(|profile| profile.query == query)
        .ok_or(Code::ERROR_NOT_SUPPORTED)
}

fn placement(span: Span) -> nvmlGpuInstancePlacement_t {
    nvmlGpuInstancePlacement_t {
        start: span.start,
        size: span.size,
    }
}

fn placements(on: &OnGpu, id: c_uint) -> Result<Vec<nvmlGpuInstancePlacement_t>> {
    Ok(change::profile(on.board, id)?
        .placements()
        .map(placement)
        .collect())
}

fn info_v1(profile: &Profile) -> nvmlGpuInstanceProfileInfo_t {
    let [copy, decoder, encoder, jpeg, ofa] = profile.engines;
    nvmlGpuInstanceProfileInfo_t {
        id: profile.id,
        isP2pSupported: 0,
        sliceCount: profile.slices,
        instanceCount: profile.instances,
        multiprocessorCount: profile.sm,
        copyEngineCount: copy,
        decoderCount: decoder,
        encoderCount: encoder,
        jpegCount: jpeg,
        ofaCount: ofa,
        memorySizeMB: profile.memory_mib,
    }
}

/// Writes the version of the struct that its first word asks for; 2 when that is neither 2 nor 3.
fn put_versioned(profile: &Profile, info: Out<c_uint>) -> Result {
    let version = info.get()?;
    let v1 = info_v1(profile);
    let name = fixed_text(&format!("MIG {}", profile.name));
    if has_version::<nvmlGpuInstanceProfileInfo_v2_t>(version, 2) {
        info.cast().put(nvmlGpuInstanceProfileInfo_v2_t {
            version,
            id: v1.id,
            isP2pSupported: v1.isP2pSupported,
            sliceCount: v1.sliceCount,
            instanceCount: v1.instanceCount,
            multiprocessorCount: v1.multiprocessorCount,
            copyEngineCount: v1.copyEngineCount,
            decoderCount: v1.decoderCount,
            encoderCount: v1.encoderCount,
            jpegCount: v1.jpegCount,
            ofaCount: v1.ofaCount,
            memorySizeMB: v1.memorySizeMB,
            name,
        })
    } else if has_version::<nvmlGpuInstanceProfileInfo_v3_t>(version, 3) {
        info.cast().put(nvmlGpuInstanceProfileInfo_v3_t {
            version,
            id: v1.id,
            sliceCount: v1.sliceCount,
            instanceCount: v1.instanceCount,
            multiprocessorCount: v1.multiprocessorCount,
            copyEngineCount: v1.copyEngineCount,
            decoderCount: v1.decoderCount,
            encoderCount: v1.encoderCount,
            jpegCount: v1.jpegCount,
            ofaCount: v1.ofaCount,
            memorySizeMB: v1.memorySizeMB,
            name,
            capabilities: if profile.name.ends_with("+gfx") {
                CAPABILITY_GRAPHICS
            } else {
                0
            },
        })
    } else {
        Err(Code::ERROR_INVALID_ARGUMENT)
    }
}

fn create(
    store: &Store,
    device: Handle,
    id: c_uint,
    place: Option<Span>,
    instance: Out<Handle>,
) -> Result {
    let index = handle::whole_gpu(store, device)?.index;
    if instance.is_null() {
        return Err(Code::ERROR_INVALID_ARGUMENT);
    }
    let created = store.change_gpu(index, |gpu| {
        let result = gpu.create_gpu_instance(id, place, store.driver().behaviour());
        let found = result.ok().and_then(|gi| Some((gi, *gpu.instance(gi)?)));
        let event = Event {
            result: result.err().unwrap_or(Code::SUCCESS).0,
            gi: found.map(|(gi, _)| gi.into()),
            profile: Some(id),
            placement: found.map(|(_, instance)| instance.span()).or(place),
            ..Event::new(Action::CreateGpuInstance)
        };
        let handle = result.and_then(|_| {
            let (gi, instance) = found.ok_or(Code::ERROR_UNKNOWN)?;
            Ok(handle::gpu_instance(index, gi, &instance))
        });
        (handle, Some(event))
    });
    instance.put(created.map_err(broken)??)
}

fn destroy(store: &Store, instance: Handle) -> Result {
    let (index, gi, generation) = handle::gpu_instance_parts(instance)?;
    OnGpu::open(store, index)?;
    let destroyed = store.change_gpu(index, |gpu| {
        let live = match handle::live_gpu_instance(gpu, gi, generation) {
            Ok(live) => live,
            // Nothing was touched: the handle names what is already gone.
            Err(code) => return (Err(code), None),
        };
        let processes = client::present(index, gpu, gpu.processes_on(gi, None));
        let result = gpu.destroy_gpu_instance(gi);
        let event = Event {
            result: result.err().unwrap_or(Code::SUCCESS).0,
            gi: Some(gi.into()),
            profile: Some(live.profile.into()),
            placement: Some(live.span()),
            processes,
            ..Event::new(Action::DestroyGpuInstance)
        };
        (result, Some(event))
    });
    destroyed.map_err(broken)?
}
