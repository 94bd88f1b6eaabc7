//! The calls that change a GPU.

use mica_model::{MigMode, Slice};
use nvml_wrapper::Device;

use crate::{Code, Error, boards::Boards, call::wrapped, gpus, raw::GpuInstance};

/// What became of a change of MIG mode that the driver accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModeChange {
    /// In force.
    Active,
    /// Not yet in force.
    Pending {
        /// Why: [`Code::IN_USE`], somebody holds the GPU; [`Code::RESET_REQUIRED`], it must be reset and the driver cannot do that here.
        activation: Code,
    },
}

/// Turns MIG mode on or off. On a GPU that has the mode already nothing is called that could touch it.
pub(crate) fn set_mig(device: &Device<'_>, on: bool) -> Result<ModeChange, Error> {
    let settled = if on {
        MigMode::Enabled
    } else {
        MigMode::Disabled
    };
    if gpus::mig_mode(device)? == settled {
        return Ok(ModeChange::Active);
    }
    let activation = Code(wrapped("nvmlDeviceSetMigMode", || device.set_mig_mode(on))?);
    Ok(if activation == Code::SUCCESS {
        ModeChange::Active
    } else {
        ModeChange::Pending { activation }
    })
}

/// Makes a GPU instance and gives its id.
pub(crate) fn create_gpu_instance(device: &Device<'_>, slice: Slice) -> Result<u32, Error> {
    let instance = GpuInstance::create(device, slice)?;
    match instance.info() {
        Ok(info) => Ok(info.id),
        Err(error) => {
            // Nobody knows its id: it must not stay behind.
            if let Err(left) = instance.destroy() {
                tracing::warn!(profile = %slice.profile, placement = %slice.placement, error = %left, "a GPU instance without known id stays behind");
            }
            Err(error)
        }
    }
}

/// Makes the compute instance that fills a GPU instance and gives its id.
pub(crate) fn create_compute_instance(
    device: &Device<'_>,
    boards: &mut Boards,
    uuid: &str,
    gi: u32,
) -> Result<u32, Error> {
    let instance = GpuInstance::by_id(device, gi)?;
    let profile = instance.info()?.slice.profile;
    let mig_on = gpus::is_on(gpus::mig_mode(device)?);
    let known = boards.of(device, uuid, mig_on)?;
    let full = known
        .full_compute_profile(profile, instance)?
        .ok_or_else(|| Error::NoFullComputeInstance {
            gpu: uuid.to_owned(),
            gi,
            slices: known.slices(profile),
        })?;
    let compute = instance.create_compute_instance(full)?;
    match compute.info() {
        Ok(info) => Ok(info.id),
        Err(error) => {
            if let Err(left) = compute.destroy() {
                tracing::warn!(gi, error = %left, "a compute instance without known id stays behind");
            }
            Err(error)
        }
    }
}

/// Destroys a compute instance.
pub(crate) fn destroy_compute_instance(device: &Device<'_>, gi: u32, ci: u32) -> Result<(), Error> {
    GpuInstance::by_id(device, gi)?
        .compute_instance(ci)?
        .destroy()
}

/// Destroys a GPU instance.
pub(crate) fn destroy_gpu_instance(device: &Device<'_>, gi: u32) -> Result<(), Error> {
    GpuInstance::by_id(device, gi)?.destroy()
}
