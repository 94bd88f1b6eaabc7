use std::ptr::null_mut;

use mica_model::{Placement, ProfileId, Slice};
use nvml_wrapper::{Device, Nvml};
use nvml_wrapper_sys::bindings::{
    nvmlDevice_t, nvmlGpuInstance_t, nvmlGpuInstanceInfo_t, nvmlGpuInstancePlacement_t,
};

use super::{buffer, handle, keep};
use crate::{
    Error,
    call::{raw, symbol},
};

/// A GPU instance, for the length of one operation.
#[derive(Clone, Copy)]
pub(crate) struct GpuInstance<'nvml> {
    pub(super) nvml: &'nvml Nvml,
    pub(super) handle: nvmlGpuInstance_t,
}

/// Id and slice of a GPU instance.
pub(crate) struct GpuInstanceInfo {
    pub(crate) id: u32,
    pub(crate) slice: Slice,
}

impl<'nvml> GpuInstance<'nvml> {
    /// The GPU instances of a profile; `max_instances` is what the profile says.
    pub(crate) fn all(
        device: &Device<'nvml>,
        profile: ProfileId,
        max_instances: u32,
    ) -> Result<Vec<Self>, Error> {
        const CALL: &str = "nvmlDeviceGetGpuInstances";
        let nvml = device.nvml();
        let function = symbol(CALL, &nvml.lib().nvmlDeviceGetGpuInstances)?;
        let device = handle(device);
        let mut handles = buffer(null_mut(), max_instances);
        let mut count = max_instances;
        raw(CALL, || {
            // SAFETY: library and handle as said at the head of `raw`; the header asks for a buffer of as many elements as the profile
            // has instances at most, which this is.
            unsafe { function(device, profile.0, handles.as_mut_ptr(), &raw mut count) }
        })?;
        keep(&mut handles, count);
        Ok(handles
            .into_iter()
            .map(|handle| Self { nvml, handle })
            .collect())
    }

    /// The GPU instance with this id.
    pub(crate) fn by_id(device: &Device<'nvml>, id: u32) -> Result<Self, Error> {
        const CALL: &str = "nvmlDeviceGetGpuInstanceById";
        let nvml = device.nvml();
        let function = symbol(CALL, &nvml.lib().nvmlDeviceGetGpuInstanceById)?;
        let device: nvmlDevice_t = handle(device);
        let mut instance = null_mut();
        // SAFETY: library, handle and out pointer as said at the head of `raw`.
        raw(CALL, || unsafe { function(device, id, &raw mut instance) })?;
        Ok(Self {
            nvml,
            handle: instance,
        })
    }

    /// Makes a GPU instance at an explicit place.
    pub(crate) fn create(device: &Device<'nvml>, slice: Slice) -> Result<Self, Error> {
        const CALL: &str = "nvmlDeviceCreateGpuInstanceWithPlacement";
        let nvml = device.nvml();
        let function = symbol(CALL, &nvml.lib().nvmlDeviceCreateGpuInstanceWithPlacement)?;
        let device = handle(device);
        let placement = nvmlGpuInstancePlacement_t {
            start: slice.placement.start,
            size: slice.placement.size,
        };
        let mut instance = null_mut();
        raw(CALL, || {
            // SAFETY: library, handle and out pointer as said at the head of `raw`; the placement is read during the call only.
            unsafe {
                function(
                    device,
                    slice.profile.0,
                    &raw const placement,
                    &raw mut instance,
                )
            }
        })?;
        Ok(Self {
            nvml,
            handle: instance,
        })
    }

    /// What and where it is.
    pub(crate) fn info(self) -> Result<GpuInstanceInfo, Error> {
        const CALL: &str = "nvmlGpuInstanceGetInfo";
        let function = symbol(CALL, &self.nvml.lib().nvmlGpuInstanceGetInfo)?;
        let mut info = nvmlGpuInstanceInfo_t {
            device: null_mut(),
            id: 0,
            profileId: 0,
            placement: nvmlGpuInstancePlacement_t { start: 0, size: 0 },
        };
        // SAFETY: library, handle and out pointer as said at the head of `raw`.
        raw(CALL, || unsafe { function(self.handle, &raw mut info) })?;
        Ok(GpuInstanceInfo {
            id: info.id,
            slice: Slice {
                placement: Placement {
                    start: info.placement.start,
                    size: info.placement.size,
                },
                profile: ProfileId(info.profileId),
            },
        })
    }

    /// Destroys it. The driver refuses while a compute instance is on it.
    pub(crate) fn destroy(self) -> Result<(), Error> {
        const CALL: &str = "nvmlGpuInstanceDestroy";
        let function = symbol(CALL, &self.nvml.lib().nvmlGpuInstanceDestroy)?;
        // SAFETY: library and handle as said at the head of `raw`.
        raw(CALL, || unsafe { function(self.handle) })
    }
}
