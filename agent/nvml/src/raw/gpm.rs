use std::{mem::ManuallyDrop, sync::Arc};

use nvml_wrapper::{Device, GpmSample, Nvml};
use nvml_wrapper_sys::bindings::nvmlGpmSample_t;

use crate::{Error, call::wrapped};

/// A GPM sample that outlives the operation that took it, for the next one to be compared with.
pub(crate) struct StoredSample {
    nvml: Arc<Nvml>,
    handle: nvmlGpmSample_t,
}

// SAFETY: a sample is memory of NVML without ties to a thread; like `GpmSample` itself it may move, and is not shared.
unsafe impl Send for StoredSample {}

impl StoredSample {
    /// Takes a sample of a GPU instance of a device that belongs to `nvml`.
    pub(crate) fn take(nvml: &Arc<Nvml>, device: &Device<'_>, gi: u32) -> Result<Self, Error> {
        let sample = wrapped("nvmlGpmMigSampleGet", || device.gpm_mig_sample(gi))?;
        Ok(Self {
            handle: sample.into_handle(),
            nvml: Arc::clone(nvml),
        })
    }

    /// The sample, for a comparison. It stays ours to free.
    pub(crate) fn get(&self) -> ManuallyDrop<GpmSample<'_>> {
        // SAFETY: the handle was allocated by the library of this very `nvml`, and only `drop` below frees it.
        ManuallyDrop::new(unsafe { GpmSample::from_handle(&self.nvml, self.handle) })
    }
}

impl Drop for StoredSample {
    fn drop(&mut self) {
        drop(ManuallyDrop::into_inner(self.get()));
    }
}
