use std::sync::Arc;

use nvml_wrapper::{Device, Nvml};
use nvml_wrapper_sys::bindings::{nvmlDevice_t, nvmlEventData_t, nvmlEventSet_t};

use super::handle;
use crate::{
    Error,
    call::{raw, symbol, waiting},
};

/// NVML's "no such id".
const NONE: u32 = u32::MAX;

/// A set of events that NVML is to tell of. Not through `nvml-wrapper`: its event drops the ids of the instance.
pub(crate) struct EventSet {
    nvml: Arc<Nvml>,
    set: nvmlEventSet_t,
    /// UUIDs of the registered GPUs by their handle, which is all that an event has.
    gpus: Vec<(nvmlDevice_t, String)>,
}

// SAFETY: NVML demands that one set is not used by two threads at once, not that it stays on one; it is not `Sync`.
unsafe impl Send for EventSet {}

/// An event as NVML tells it.
pub(crate) struct RawEvent {
    /// UUID of the GPU; `None` when it is none of those registered.
    pub(crate) gpu: Option<String>,
    pub(crate) kind: u64,
    pub(crate) data: u64,
    pub(crate) gi: Option<u32>,
    pub(crate) ci: Option<u32>,
}

impl EventSet {
    /// An empty set.
    pub(crate) fn create(nvml: &Arc<Nvml>) -> Result<Self, Error> {
        const CALL: &str = "nvmlEventSetCreate";
        let lib = nvml.lib();
        let create = symbol(CALL, &lib.nvmlEventSetCreate)?;
        // Without these the set could be made and neither asked nor freed.
        symbol("nvmlEventSetFree", &lib.nvmlEventSetFree)?;
        symbol("nvmlEventSetWait_v2", &lib.nvmlEventSetWait_v2)?;
        let mut set: nvmlEventSet_t = std::ptr::null_mut();
        // SAFETY: library and out pointer as said at the head of `raw`.
        raw(CALL, || unsafe { create(&raw mut set) })?;
        Ok(Self {
            nvml: Arc::clone(nvml),
            set,
            gpus: Vec::new(),
        })
    }

    /// Has NVML tell of those of `kinds` that the GPU supports, from now on.
    pub(crate) fn register(
        &mut self,
        device: &Device<'_>,
        uuid: &str,
        kinds: u64,
    ) -> Result<(), Error> {
        const SUPPORTED: &str = "nvmlDeviceGetSupportedEventTypes";
        const REGISTER: &str = "nvmlDeviceRegisterEvents";
        let lib = self.nvml.lib();
        let supported = symbol(SUPPORTED, &lib.nvmlDeviceGetSupportedEventTypes)?;
        let register = symbol(REGISTER, &lib.nvmlDeviceRegisterEvents)?;
        let device = handle(device);
        let mut offered = 0;
        // SAFETY: library, handle and out pointer as said at the head of `raw`.
        raw(SUPPORTED, || unsafe { supported(device, &raw mut offered) })?;
        // SAFETY: library and handle as said at the head of `raw`; the set is freed by `drop` alone.
        raw(REGISTER, || unsafe {
            register(device, offered & kinds, self.set)
        })?;
        self.gpus.push((device, uuid.to_owned()));
        Ok(())
    }

    /// Blocks until there is an event, for at most as long as said: then the error is `TIMEOUT`.
    pub(crate) fn wait(&mut self, timeout_ms: u32) -> Result<RawEvent, Error> {
        const CALL: &str = "nvmlEventSetWait_v2";
        let wait = symbol(CALL, &self.nvml.lib().nvmlEventSetWait_v2)?;
        let mut data = nvmlEventData_t {
            device: std::ptr::null_mut(),
            eventType: 0,
            eventData: 0,
            gpuInstanceId: NONE,
            computeInstanceId: NONE,
        };
        // SAFETY: library and out pointer as said at the head of `raw`; the set is freed by `drop` alone.
        waiting(CALL, || unsafe {
            wait(self.set, &raw mut data, timeout_ms)
        })?;
        let known = |(device, _): &&(nvmlDevice_t, String)| *device == data.device;
        let id = |id: u32| Some(id).filter(|&id| id != NONE);
        Ok(RawEvent {
            gpu: self.gpus.iter().find(known).map(|(_, uuid)| uuid.clone()),
            kind: data.eventType,
            data: data.eventData,
            gi: id(data.gpuInstanceId),
            ci: id(data.computeInstanceId),
        })
    }
}

impl Drop for EventSet {
    fn drop(&mut self) {
        const CALL: &str = "nvmlEventSetFree";
        let freed = symbol(CALL, &self.nvml.lib().nvmlEventSetFree).and_then(|free| {
            // SAFETY: library as said at the head of `raw`; nothing uses the set after this.
            raw(CALL, || unsafe { free(self.set) })
        });
        if let Err(error) = freed {
            tracing::debug!(%error, "a set of events is not freed");
        }
    }
}
