#![expect(
    unsafe_code,
    reason = "nvml-wrapper has no safe calls for instances, placements, exact process lists and events of instances"
)]
//! The calls that `nvml-wrapper` lacks or gets wrong. All of the crate's `unsafe` is below.
//!
//! Each call is sound for the same reasons, which its SAFETY comment refers to:
//!
//! - *the library is loaded*: the function pointer comes from the [`Nvml`] that the device or instance borrows, which keeps the
//!   library mapped and initialized for as long as it lives;
//! - *handles*: they come from that same library, are opaque to us, and are not used once a call of ours has ended what they name;
//!   of one that another process has ended meanwhile NVML says that it is invalid;
//! - *out pointers*: they point to live locals of the very types of NVIDIA's header, or to buffers whose length is passed with them.

mod compute_instance;
mod events;
mod gpm;
mod gpu_instance;
mod mig_device;
mod processes;
mod profiles;

pub(crate) use compute_instance::ComputeProfile;
pub(crate) use events::EventSet;
pub(crate) use gpm::StoredSample;
pub(crate) use gpu_instance::{GpuInstance, GpuInstanceInfo};
pub(crate) use mig_device::ids;
use nvml_wrapper::{Device, Nvml};
use nvml_wrapper_sys::bindings::nvmlDevice_t;
pub(crate) use processes::processes;
pub(crate) use profiles::{placements, profile};

/// The handle of a device.
fn handle(device: &Device<'_>) -> nvmlDevice_t {
    // SAFETY: the handle goes into NVML calls only, made while the `Nvml` that the device borrows lives.
    unsafe { device.handle() }
}

/// A device handle that NVML returned, as a device. It may be null or of another kind; NVML answers that with an error.
fn device(nvml: &Nvml, handle: nvmlDevice_t) -> Device<'_> {
    // SAFETY: the handle comes from this library, see *handles* above.
    unsafe { Device::new(handle, nvml) }
}

/// `count` as a length, no longer than what `buffer` holds.
fn keep<T>(buffer: &mut Vec<T>, count: u32) {
    buffer.truncate(usize::try_from(count).unwrap_or(usize::MAX));
}

/// An array of `count` elements to be filled by NVML.
fn buffer<T: Clone>(element: T, count: u32) -> Vec<T> {
    vec![element; usize::try_from(count).unwrap_or_default()]
}
