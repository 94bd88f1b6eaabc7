//! The calls on event sets.

use std::ptr::null_mut;

use nvml_wrapper_sys::bindings::*;

use super::{Answer, Client, Gpu};

pub(crate) type EventSet = nvmlEventSet_t;

impl Client {
    pub(crate) fn event_set(&self) -> Answer<EventSet> {
        let mut set = null_mut();
        call!(self, nvmlEventSetCreate(&raw mut set)).map(|()| set)
    }

    pub(crate) fn free_event_set(&self, set: EventSet) -> Answer<()> {
        call!(self, nvmlEventSetFree(set))
    }

    pub(crate) fn event_kinds(&self, gpu: Gpu) -> Answer<u64> {
        let mut kinds = 0;
        call!(self, nvmlDeviceGetSupportedEventTypes(gpu, &raw mut kinds)).map(|()| kinds)
    }

    pub(crate) fn register(&self, gpu: Gpu, kinds: u64, set: EventSet) -> Answer<()> {
        call!(self, nvmlDeviceRegisterEvents(gpu, kinds, set))
    }

    pub(crate) fn wait(&self, set: EventSet, timeout_ms: u32) -> Answer<nvmlEventData_t> {
        // SAFETY: plain numbers and a pointer, for which all zero is valid.
        let mut data: nvmlEventData_t = unsafe { std::mem::zeroed() };
        call!(self, nvmlEventSetWait_v2(set, &raw mut data, timeout_ms)).map(|()| data)
    }

    /// Kind, data, GPU instance and compute instance of the next event.
    pub(crate) fn next(&self, set: EventSet) -> Answer<(u64, u64, u32, u32)> {
        self.wait(set, 0).map(|data| {
            (
                data.eventType,
                data.eventData,
                data.gpuInstanceId,
                data.computeInstanceId,
            )
        })
    }
}
