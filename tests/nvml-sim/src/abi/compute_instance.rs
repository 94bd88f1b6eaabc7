//! Compute instances: profiles, placements, create, destroy, list.

use std::ffi::c_uint;

use nvml_wrapper_sys::bindings::{
    nvmlComputeInstanceInfo_t, nvmlComputeInstancePlacement_t, nvmlComputeInstanceProfileInfo_t,
    nvmlComputeInstanceProfileInfo_v2_t, nvmlComputeInstanceProfileInfo_v3_t,
};

use super::call::{Result, broken, export};
use super::handle::{self, OnGpu};
use super::pointer::{Handle, Out, fixed_text, has_version};
use crate::boards::{self, ComputeProfile, Profile, Span};
use crate::change;
use crate::client;
use crate::code::Code;
use crate::log::{Action, Event};
use crate::rules;
use crate::state::GpuInstance;
use crate::store::Store;

/// Number of compute instance profile enums in the header (`NVML_COMPUTE_INSTANCE_PROFILE_COUNT`).
const PROFILE_ENUMS: c_uint = 9;

export! {
    fn nvmlGpuInstanceGetComputeInstanceProfileInfo(
        instance: Handle, query: c_uint, engines: c_uint, info: Out<nvmlComputeInstanceProfileInfo_t>,
    ) |store| {
        let offer = offer(store, instance, query, engines)?;
        info.put(info_v1(&offer))
    }
    fn nvmlGpuInstanceGetComputeInstanceProfileInfoV(
        instance: Handle, query: c_uint, engines: c_uint, info: Out<c_uint>,
    ) |store| {
        put_versioned(&offer(store, instance, query, engines)?, info)
    }
    fn nvmlGpuInstanceGetComputeInstanceRemainingCapacity(instance: Handle, id: c_uint, count: Out<c_uint>) |store| {
        let (on, _, instance) = handle::open_gpu_instance(store, instance)?;
        let profile = change::compute_profile(slices(&on, &instance), id)?;
        let free = rules::free_compute_placements(&instance, profile.placements()).count();
        count.put(c_uint::try_from(free).unwrap_or(0))
    }
    fn nvmlGpuInstanceGetComputeInstancePossiblePlacements(
        instance: Handle, id: c_uint, buffer: Out<nvmlComputeInstancePlacement_t>, count: Out<c_uint>,
    ) |store| {
        let (on, _, instance) = handle::open_gpu_instance(store, instance)?;
        let profile = change::compute_profile(slices(&on, &instance), id)?;
        let places: Vec<_> = profile.placements().map(placement).collect();
        count.answer_all(buffer, &places)
    }
    fn nvmlGpuInstanceCreateComputeInstance(instance: Handle, id: c_uint, compute: Out<Handle>) |store| {
        create(store, instance, id, None, compute)
    }
    fn nvmlGpuInstanceCreateComputeInstanceWithPlacement(
        instance: Handle, id: c_uint, place: Out<nvmlComputeInstancePlacement_t>, compute: Out<Handle>,
    ) |store| {
        let place = place.get()?;
        create(store, instance, id, Some(Span { start: place.start, size: place.size }), compute)
    }
    fn nvmlComputeInstanceDestroy(compute: Handle) |store| { destroy(store, compute) }
    fn nvmlGpuInstanceGetComputeInstances(
        instance: Handle, id: c_uint, buffer: Out<Handle>, count: Out<c_uint>,
    ) |store| {
        let (on, gi, instance) = handle::open_gpu_instance(store, instance)?;
        change::compute_profile(slices(&on, &instance), id)?;
        let of_profile = instance.compute_instances().filter(|(_, ci)| u32::from(ci.profile) == id);
        let handles: Vec<_> = of_profile.map(|(ci, found)| handle::compute_instance(on.index, gi, ci, *found)).collect();
        if buffer.is_null() {
            return Err(Code::ERROR_INVALID_ARGUMENT);
        }
        count.answer_all(buffer, &handles)
    }
    fn nvmlGpuInstanceGetComputeInstanceById(instance: Handle, id: c_uint, compute: Out<Handle>) |store| {
        let (on, gi, instance) = handle::open_gpu_instance(store, instance)?;
        let ci = u8::try_from(id).map_err(|_| Code::ERROR_NOT_FOUND)?;
        let found = instance.compute_instance(ci).ok_or(Code::ERROR_NOT_FOUND)?;
        compute.put(handle::compute_instance(on.index, gi, ci, *found))
    }
    fn nvmlComputeInstanceGetInfo(compute: Handle, info: Out<InfoV1>) |store| {
        let full = self::info(store, compute)?;
        info.put(InfoV1 {
            device: full.device.addr(),
            gpu_instance: full.gpuInstance.addr(),
            id: full.id,
            profile: full.profileId,
        })
    }
    fn nvmlComputeInstanceGetInfo_v2(compute: Handle, info: Out<nvmlComputeInstanceInfo_t>) |store| {
        info.put(self::info(store, compute)?)
    }
}

/// The struct of the first version of the info call, which knew no placement.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct InfoV1 {
    device: usize,
    gpu_instance: usize,
    id: c_uint,
    profile: c_uint,
}

fn slices(on: &OnGpu, instance: &GpuInstance) -> u32 {
    on.gpu
        .profile_of(instance)
        .map_or(0, |profile| profile.slices)
}

fn placement(span: Span) -> nvmlComputeInstancePlacement_t {
    nvmlComputeInstancePlacement_t {
        start: span.start,
        size: span.size,
    }
}

/// A compute instance profile as a certain GPU instance offers it.
struct Offer {
    profile: ComputeProfile,
    within: &'static Profile,
    /// Streaming multiprocessors.
    sm: u32,
}

/// 2 for an enum that no header knows or an engine profile other than shared; 3 when this GPU instance does not offer it.
fn offer(store: &Store, instance: Handle, query: c_uint, engines: c_uint) -> Result<Offer> {
    let (on, _, instance) = handle::open_gpu_instance(store, instance)?;
    if query >= PROFILE_ENUMS || engines != 0 {
        return Err(Code::ERROR_INVALID_ARGUMENT);
    }
    let within = on.gpu.profile_of(&instance).ok_or(Code::ERROR_UNKNOWN)?;
    // Enum and id of compute instance profiles are the same number on every listed board.
    let profile = boards::compute_profiles(within.slices).find(|profile| profile.id == query);
    let profile = profile.ok_or(Code::ERROR_NOT_SUPPORTED)?;
    let sm = on.board.compute_multiprocessors(within, profile.slices);
    Ok(Offer {
        profile,
        within,
        sm,
    })
}

fn info_v1(offer: &Offer) -> nvmlComputeInstanceProfileInfo_t {
    let [copy, decoder, encoder, jpeg, ofa] = offer.within.engines;
    nvmlComputeInstanceProfileInfo_t {
        id: offer.profile.id,
        sliceCount: offer.profile.slices,
        instanceCount: offer.profile.count,
        multiprocessorCount: offer.sm,
        sharedCopyEngineCount: copy,
        sharedDecoderCount: decoder,
        sharedEncoderCount: encoder,
        sharedJpegCount: jpeg,
        sharedOfaCount: ofa,
    }
}

/// Writes the version of the struct that its first word asks for; 2 when that is neither 2 nor 3.
fn put_versioned(offer: &Offer, info: Out<c_uint>) -> Result {
    let version = info.get()?;
    let v1 = info_v1(offer);
    let name = &offer.within.name;
    let name = fixed_text(&if offer.profile.slices == offer.within.slices {
        format!("MIG {name}")
    } else {
        format!("MIG {}c.{name}", offer.profile.slices)
    });
    let v2 = nvmlComputeInstanceProfileInfo_v2_t {
        version,
        id: v1.id,
        sliceCount: v1.sliceCount,
        instanceCount: v1.instanceCount,
        multiprocessorCount: v1.multiprocessorCount,
        sharedCopyEngineCount: v1.sharedCopyEngineCount,
        sharedDecoderCount: v1.sharedDecoderCount,
        sharedEncoderCount: v1.sharedEncoderCount,
        sharedJpegCount: v1.sharedJpegCount,
        sharedOfaCount: v1.sharedOfaCount,
        name,
    };
    if has_version::<nvmlComputeInstanceProfileInfo_v2_t>(version, 2) {
        return info.cast().put(v2);
    }
    if !has_version::<nvmlComputeInstanceProfileInfo_v3_t>(version, 3) {
        return Err(Code::ERROR_INVALID_ARGUMENT);
    }
    // Version 3 is version 2 with one word more.
    info.cast().put(v2)?;
    info.offset::<c_uint>(size_of::<nvmlComputeInstanceProfileInfo_v2_t>())?
        .put(0)
}

fn info(store: &Store, compute: Handle) -> Result<nvmlComputeInstanceInfo_t> {
    let on = OnGpu::open(store, handle::compute_instance_gpu(compute)?)?;
    let seat = handle::live_compute_instance(&on.gpu, compute)?;
    Ok(nvmlComputeInstanceInfo_t {
        // The header says parent device; drivers give the MIG device, and the DRA driver reads its UUID from here.
        device: handle::mig_device(on.index, seat.gi, seat.ci, seat.compute_instance).pointer(),
        gpuInstance: handle::gpu_instance(on.index, seat.gi, &seat.gpu_instance).pointer(),
        id: seat.ci.into(),
        profileId: seat.compute_instance.profile.into(),
        placement: placement(seat.compute_instance.span()),
    })
}

fn create(
    store: &Store,
    instance: Handle,
    id: c_uint,
    place: Option<Span>,
    compute: Out<Handle>,
) -> Result {
    let (index, gi, generation) = handle::gpu_instance_parts(instance)?;
    OnGpu::open(store, index)?;
    if compute.is_null() {
        return Err(Code::ERROR_INVALID_ARGUMENT);
    }
    let created = store.change_gpu(index, |gpu| {
        if let Err(code) = handle::live_gpu_instance(gpu, gi, generation) {
            return (Err(code), None);
        }
        let result = gpu.create_compute_instance(gi, id, place, store.driver().behaviour());
        let found = result
            .ok()
            .and_then(|ci| Some((ci, *gpu.instance(gi)?.compute_instance(ci)?)));
        let event = Event {
            result: result.err().unwrap_or(Code::SUCCESS).0,
            gi: Some(gi.into()),
            ci: found.map(|(ci, _)| ci.into()),
            profile: Some(id),
            placement: found.map(|(_, compute)| compute.span()).or(place),
            ..Event::new(Action::CreateComputeInstance)
        };
        let handle = result.and_then(|_| {
            let (ci, compute) = found.ok_or(Code::ERROR_UNKNOWN)?;
            Ok(handle::compute_instance(index, gi, ci, compute))
        });
        (handle, Some(event))
    });
    compute.put(created.map_err(broken)??)
}

fn destroy(store: &Store, compute: Handle) -> Result {
    let index = handle::compute_instance_gpu(compute)?;
    OnGpu::open(store, index)?;
    let destroyed = store.change_gpu(index, |gpu| {
        let seat = match handle::live_compute_instance(gpu, compute) {
            Ok(seat) => seat,
            // Nothing was touched: the handle names what is already gone.
            Err(code) => return (Err(code), None),
        };
        let processes = client::present(index, gpu, gpu.processes_on(seat.gi, Some(seat.ci)));
        let result = gpu.destroy_compute_instance(seat.gi, seat.ci);
        let event = Event {
            result: result.err().unwrap_or(Code::SUCCESS).0,
            gi: Some(seat.gi.into()),
            ci: Some(seat.ci.into()),
            profile: Some(seat.compute_instance.profile.into()),
            placement: Some(seat.compute_instance.span()),
            processes,
            ..Event::new(Action::DestroyComputeInstance)
        };
        (result, Some(event))
    });
    destroyed.map_err(broken)?
}
