use std::ptr::null_mut;

use nvml_wrapper::{Device, Nvml};
use nvml_wrapper_sys::bindings::{
    NVML_COMPUTE_INSTANCE_ENGINE_PROFILE_SHARED, nvmlComputeInstance_t, nvmlComputeInstanceInfo_t,
    nvmlComputeInstancePlacement_t, nvmlComputeInstanceProfileInfo_t,
};

use super::{GpuInstance, buffer, device, keep};
use crate::{
    Error,
    call::{raw, symbol},
};

/// A compute instance, for the length of one operation.
#[derive(Clone, Copy)]
pub(crate) struct ComputeInstance<'nvml> {
    nvml: &'nvml Nvml,
    handle: nvmlComputeInstance_t,
}

/// What a compute instance is.
pub(crate) struct ComputeInstanceInfo<'nvml> {
    pub(crate) id: u32,
    /// In practice the MIG device, though the header calls it the parent: ask it.
    pub(crate) device: Device<'nvml>,
}

/// A compute instance profile of a GPU instance, with the default (shared) engines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ComputeProfile {
    /// What create calls take.
    pub(crate) id: u32,
    /// Compute slices.
    pub(crate) slices: u32,
    /// How many may exist in one GPU instance.
    pub(crate) max_instances: u32,
}

impl<'nvml> GpuInstance<'nvml> {
    /// The compute instance profile with this number in the header's enumeration, which is not its id.
    pub(crate) fn compute_profile(self, index: u32) -> Result<ComputeProfile, Error> {
        const CALL: &str = "nvmlGpuInstanceGetComputeInstanceProfileInfo";
        let function = symbol(
            CALL,
            &self.nvml.lib().nvmlGpuInstanceGetComputeInstanceProfileInfo,
        )?;
        let mut info = nvmlComputeInstanceProfileInfo_t {
            id: 0,
            sliceCount: 0,
            instanceCount: 0,
            multiprocessorCount: 0,
            sharedCopyEngineCount: 0,
            sharedDecoderCount: 0,
            sharedEncoderCount: 0,
            sharedJpegCount: 0,
            sharedOfaCount: 0,
        };
        let engines = NVML_COMPUTE_INSTANCE_ENGINE_PROFILE_SHARED;
        raw(CALL, || {
            // SAFETY: library, handle and out pointer as said at the head of `raw`.
            unsafe { function(self.handle, index, engines, &raw mut info) }
        })?;
        Ok(ComputeProfile {
            id: info.id,
            slices: info.sliceCount,
            max_instances: info.instanceCount,
        })
    }

    /// The compute instances of a profile.
    pub(crate) fn compute_instances(
        self,
        profile: ComputeProfile,
    ) -> Result<Vec<ComputeInstance<'nvml>>, Error> {
        const CALL: &str = "nvmlGpuInstanceGetComputeInstances";
        let function = symbol(CALL, &self.nvml.lib().nvmlGpuInstanceGetComputeInstances)?;
        let mut handles = buffer(null_mut(), profile.max_instances);
        let mut count = profile.max_instances;
        raw(CALL, || {
            // SAFETY: library and handle as said at the head of `raw`; the header asks for a buffer of as many elements as the profile
            // has instances at most, which this is.
            unsafe {
                function(
                    self.handle,
                    profile.id,
                    handles.as_mut_ptr(),
                    &raw mut count,
                )
            }
        })?;
        keep(&mut handles, count);
        Ok(handles
            .into_iter()
            .map(|handle| ComputeInstance {
                nvml: self.nvml,
                handle,
            })
            .collect())
    }

    /// The compute instance with this id.
    pub(crate) fn compute_instance(self, id: u32) -> Result<ComputeInstance<'nvml>, Error> {
        const CALL: &str = "nvmlGpuInstanceGetComputeInstanceById";
        let function = symbol(CALL, &self.nvml.lib().nvmlGpuInstanceGetComputeInstanceById)?;
        let mut handle = null_mut();
        raw(CALL, || {
            // SAFETY: library, handle and out pointer as said at the head of `raw`.
            unsafe { function(self.handle, id, &raw mut handle) }
        })?;
        Ok(ComputeInstance {
            nvml: self.nvml,
            handle,
        })
    }

    /// Makes a compute instance.
    pub(crate) fn create_compute_instance(
        self,
        profile: ComputeProfile,
    ) -> Result<ComputeInstance<'nvml>, Error> {
        const CALL: &str = "nvmlGpuInstanceCreateComputeInstance";
        let function = symbol(CALL, &self.nvml.lib().nvmlGpuInstanceCreateComputeInstance)?;
        let mut handle = null_mut();
        raw(CALL, || {
            // SAFETY: library, handle and out pointer as said at the head of `raw`.
            unsafe { function(self.handle, profile.id, &raw mut handle) }
        })?;
        Ok(ComputeInstance {
            nvml: self.nvml,
            handle,
        })
    }
}

impl<'nvml> ComputeInstance<'nvml> {
    /// What it is, and its MIG device.
    pub(crate) fn info(self) -> Result<ComputeInstanceInfo<'nvml>, Error> {
        const CALL: &str = "nvmlComputeInstanceGetInfo_v2";
        let function = symbol(CALL, &self.nvml.lib().nvmlComputeInstanceGetInfo_v2)?;
        let mut info = nvmlComputeInstanceInfo_t {
            device: null_mut(),
            gpuInstance: null_mut(),
            id: 0,
            profileId: 0,
            placement: nvmlComputeInstancePlacement_t { start: 0, size: 0 },
        };
        // SAFETY: library, handle and out pointer as said at the head of `raw`.
        raw(CALL, || unsafe { function(self.handle, &raw mut info) })?;
        Ok(ComputeInstanceInfo {
            id: info.id,
            device: device(self.nvml, info.device),
        })
    }

    /// Destroys it. The driver refuses while a process is on it.
    pub(crate) fn destroy(self) -> Result<(), Error> {
        const CALL: &str = "nvmlComputeInstanceDestroy";
        let function = symbol(CALL, &self.nvml.lib().nvmlComputeInstanceDestroy)?;
        // SAFETY: library and handle as said at the head of `raw`.
        raw(CALL, || unsafe { function(self.handle) })
    }
}
