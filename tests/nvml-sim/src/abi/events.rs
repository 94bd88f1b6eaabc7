//! Event sets: what a client waits for. Only whole GPUs have events; a MIG device answers 3.
//!
//! No thread waits in the background: a wait looks at the shared ring, and sleeps until somebody changes it.

use std::collections::BTreeMap;
use std::ffi::{c_uint, c_ulonglong};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nvml_wrapper_sys::bindings::nvmlEventData_t;

use super::call::{Result, export};
use super::handle::{self, OnGpu};
use super::pointer::{Handle, Out};
use crate::code::Code;
use crate::events::{self, EventSet, NO_INSTANCE, RingEvent};
use crate::store::Store;

/// Event sets of this process by number. A handle is a number, not an address: a freed set is told from a live one.
static SETS: Mutex<BTreeMap<usize, EventSet>> = Mutex::new(BTreeMap::new());

fn sets() -> MutexGuard<'static, BTreeMap<usize, EventSet>> {
    SETS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Does something with a set; 2 when there is none.
fn with_set<T>(set: Handle, act: impl FnOnce(&mut EventSet) -> T) -> Result<T> {
    let mut sets = sets();
    let set = sets
        .get_mut(&set.bits())
        .ok_or(Code::ERROR_INVALID_ARGUMENT)?;
    Ok(act(set))
}

export! {
    fn nvmlEventSetCreate(set: Out<Handle>) |_| {
        let mut sets = sets();
        let number = sets.last_key_value().map_or(1, |(last, _)| last + 1);
        set.put(Handle::from_bits(number))?;
        sets.insert(number, EventSet::default());
        Ok(())
    }
    fn nvmlEventSetFree(set: Handle) |_| {
        sets().remove(&set.bits()).map(|_| ()).ok_or(Code::ERROR_INVALID_ARGUMENT)
    }
    fn nvmlDeviceGetSupportedEventTypes(device: Handle, kinds: Out<c_ulonglong>) |store| {
        kinds.put(events::supported(parent(store, device)?.board))
    }
    fn nvmlDeviceRegisterEvents(device: Handle, kinds: c_ulonglong, set: Handle) |store| {
        register(store, device, kinds, set)
    }
    fn nvmlEventSetWait(set: Handle, data: Out<FirstEventData>, timeout_ms: c_uint) |store| {
        if data.is_null() {
            return Err(Code::ERROR_INVALID_ARGUMENT);
        }
        let event = wait(store, set, timeout_ms)?;
        let device = gpu_handle(store, &event);
        data.put([u64::try_from(device.bits()).unwrap_or(0), event.kind, event.data])
    }
    fn nvmlEventSetWait_v2(set: Handle, data: Out<nvmlEventData_t>, timeout_ms: c_uint) |store| {
        if data.is_null() {
            return Err(Code::ERROR_INVALID_ARGUMENT);
        }
        let event = wait(store, set, timeout_ms)?;
        let id = |id: u8| if id == NO_INSTANCE { c_uint::MAX } else { id.into() };
        data.put(nvmlEventData_t {
            device: gpu_handle(store, &event).pointer(),
            eventType: event.kind,
            eventData: event.data,
            gpuInstanceId: id(event.gi),
            computeInstanceId: id(event.ci),
        })
    }
}

/// The first version of `nvmlEventData_t`: device, kind and data, without instances.
type FirstEventData = [u64; 3];

/// The GPU; 3 when it is a MIG device.
fn parent(store: &Store, device: Handle) -> Result<OnGpu> {
    let device = handle::device(store, device)?;
    match device.mig {
        None => Ok(device.on),
        Some(_) => Err(Code::ERROR_NOT_SUPPORTED),
    }
}

/// 2 for bits that the header does not know, 3 when one of the kinds is not supported; then none is registered.
fn register(store: &Store, device: Handle, kinds: c_ulonglong, set: Handle) -> Result {
    let on = parent(store, device)?;
    if kinds & !events::known() != 0 {
        return Err(Code::ERROR_INVALID_ARGUMENT);
    }
    with_set(set, |_| ())?;
    if kinds & !events::supported(on.board) != 0 {
        return Err(Code::ERROR_NOT_SUPPORTED);
    }
    let now = store.events().count;
    with_set(set, |set| set.register(on.number(), kinds, now))
}

/// The next event of a set. 10 when none comes in time; 15 when a GPU of the set is lost and its events are all told.
fn wait(store: &Store, set: Handle, timeout_ms: c_uint) -> Result<RingEvent> {
    let timeout = Duration::from_millis(timeout_ms.into());
    let started = Instant::now();
    loop {
        // Heard before looking, so that what comes after the look ends the sleep at once.
        let heard = store.bell();
        store.check()?;
        let privileged = store.permission().sees_whole_gpus();
        let ring = store.events();
        if let Some(event) = with_set(set, |set| set.take(&ring, privileged))? {
            return Ok(event);
        }
        if with_set(set, |set| set.gpus().any(|gpu| is_lost(store, gpu)))? {
            return Err(Code::ERROR_GPU_IS_LOST);
        }
        let left = timeout.saturating_sub(started.elapsed());
        if left.is_zero() {
            return Err(Code::ERROR_TIMEOUT);
        }
        store.wait_for_bell(heard, left);
    }
}

fn gpu_of(store: &Store, number: u32) -> Option<(usize, Arc<crate::state::Gpu>)> {
    let index = usize::try_from(number).ok()?;
    Some((index, store.gpu(index)?))
}

fn is_lost(store: &Store, number: u32) -> bool {
    gpu_of(store, number).is_some_and(|(_, gpu)| gpu.lost != 0)
}

/// Handle of the GPU of an event, which may be lost by now.
fn gpu_handle(store: &Store, event: &RingEvent) -> Handle {
    gpu_of(store, event.gpu).map_or(Handle::from_bits(0), |(index, gpu)| {
        handle::gpu_at(index, &gpu)
    })
}
