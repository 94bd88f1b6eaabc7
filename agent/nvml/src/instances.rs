//! Reading the instances of a GPU.

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use mica_model::{ComputeInstance, Instance, Source, Use};
use nvml_wrapper::Device;

use crate::{
    Code, Error,
    boards::Known,
    call::wrapped,
    raw::{self, GpuInstance, GpuInstanceInfo},
};

/// The GPU instances of a GPU in MIG mode, in ascending order of id.
///
/// Listed by profile: a GPU instance without compute instance has no MIG device, so a walk over MIG devices would not see it.
pub(crate) fn read(device: &Device<'_>, known: &mut Known) -> Result<Vec<Instance>, Error> {
    let board = known.board.clone();
    let mut instances = BTreeMap::new();
    for profile in &board.profiles {
        for instance in GpuInstance::all(device, profile.id, profile.max_instances)? {
            let info = instance.info()?;
            if let Entry::Vacant(entry) = instances.entry(info.id) {
                let parts = parts(device, known, instance, &info)?;
                let total = profile.memory_mib.saturating_mul(1 << 20);
                let mut whole = Instance {
                    gi: info.id,
                    slice: info.slice,
                    compute: None,
                    in_use: Use::default(),
                    memory_used_bytes: 0,
                    memory_total_bytes: total,
                    fault: None,
                };
                if parts.is_empty() {
                    whole.in_use = use_without_compute_instance(device, info.id);
                } else {
                    fill(&mut whole, &parts)?;
                }
                entry.insert(whole);
            }
        }
    }
    Ok(instances.into_values().collect())
}

/// A compute instance with its MIG device.
pub(crate) struct Part<'nvml> {
    pub(crate) id: u32,
    device: Device<'nvml>,
}

/// The compute instances of a GPU instance, in ascending order of id. One that fills it is alone.
pub(crate) fn parts<'nvml>(
    device: &Device<'nvml>,
    known: &mut Known,
    instance: GpuInstance<'nvml>,
    info: &GpuInstanceInfo,
) -> Result<Vec<Part<'nvml>>, Error> {
    let mut parts = BTreeMap::new();
    for profile in known.compute_profiles(info.slice.profile, instance)? {
        for compute in instance.compute_instances(profile)? {
            let compute = compute.info()?;
            if let Entry::Vacant(part) = parts.entry(compute.id) {
                part.insert(Part {
                    id: compute.id,
                    device: mig_device(device, info.id, compute.id, compute.device)?,
                });
            }
        }
    }
    Ok(parts.into_values().collect())
}

impl Part<'_> {
    /// UUID of the MIG device.
    pub(crate) fn uuid(&self) -> Result<String, Error> {
        wrapped("nvmlDeviceGetUUID", || self.device.uuid())
    }
}

/// The MIG device of a compute instance: the one that came with it, or, should that be something else, the one with its ids.
fn mig_device<'nvml>(
    parent: &Device<'nvml>,
    gi: u32,
    ci: u32,
    candidate: Device<'nvml>,
) -> Result<Device<'nvml>, Error> {
    let is_mig = wrapped("nvmlDeviceIsMigDeviceHandle", || {
        candidate.mig_is_mig_device_handle()
    });
    if matches!(is_mig, Ok(true)) {
        return Ok(candidate);
    }
    let count = wrapped("nvmlDeviceGetMaxMigDeviceCount", || {
        parent.mig_device_count()
    })?;
    for index in 0..count {
        let device = match wrapped("nvmlDeviceGetMigDeviceHandleByIndex", || {
            parent.mig_device_by_index(index)
        }) {
            // The indices have holes.
            Err(error) if error.code() == Some(Code::NOT_FOUND) => continue,
            device => device?,
        };
        if raw::ids(&device)? == (gi, ci) {
            return Ok(device);
        }
    }
    Err(Error::Call {
        call: "nvmlDeviceGetMigDeviceHandleByIndex",
        code: Code::NOT_FOUND,
    })
}

/// Fills in what the MIG devices of an instance tell. What cannot be read makes its use unknown, so that nobody takes it for idle.
fn fill(whole: &mut Instance, parts: &[Part<'_>]) -> Result<(), Error> {
    let Some(first) = parts.first() else {
        return Ok(());
    };
    whole.compute = Some(ComputeInstance {
        id: first.id,
        uuid: first.uuid()?,
    });
    whole.in_use = match processes(parts) {
        Ok(pids) => Use::by_processes(pids),
        Err(error) => unknown("process list", error)?,
    };
    match wrapped("nvmlDeviceGetMemoryInfo_v2", || first.device.memory_info()) {
        Ok(memory) => {
            whole.memory_used_bytes = memory.used;
            whole.memory_total_bytes = memory.total;
        }
        Err(error) if whole.in_use.is_idle() => whole.in_use = unknown("memory", error)?,
        Err(error) => {
            unknown("memory", error)?;
        }
    }
    Ok(())
}

fn processes(parts: &[Part<'_>]) -> Result<BTreeSet<u32>, Error> {
    let mut pids = BTreeSet::new();
    for part in parts {
        pids.extend(
            raw::processes(&part.device)?
                .iter()
                .map(|process| process.pid),
        );
    }
    Ok(pids)
}

/// Why the use of one instance is unknown; or the error itself when it says more than that.
fn unknown(what: &str, error: Error) -> Result<Use, Error> {
    if error.is_stale() || error.is_gone() || error.code() == Some(Code::GPU_IS_LOST) {
        return Err(error);
    }
    Ok(Use::untold(Source::Nvml, format!("{what}: {error}")))
}

/// A process needs a compute instance to run on; the list of the whole GPU is asked all the same, where the driver gives it.
fn use_without_compute_instance(device: &Device<'_>, gi: u32) -> Use {
    let pids: BTreeSet<_> = raw::processes(device)
        .unwrap_or_default()
        .into_iter()
        .filter(|process| process.gi == Some(gi))
        .map(|process| process.pid)
        .collect();
    Use::by_processes(pids)
}
