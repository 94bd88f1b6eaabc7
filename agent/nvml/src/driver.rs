use std::{collections::BTreeMap, ffi::OsStr, sync::Arc};

use mica_model::{Gpu, Slice, Use};
use nvml_wrapper::{Device, Nvml};

use crate::{
    Activity, Code, Error, Hardware, ModeChange, activity::Activities, boards::Boards,
    call::wrapped, change, gpus, hardware,
};

/// One open NVML. Used from one thread at a time; it may move between threads.
///
/// It stays open until dropped. When an error [is stale](Error::is_stale), drop it and open another.
pub struct Driver {
    nvml: Arc<Nvml>,
    boards: Boards,
    activities: Activities,
    /// By index, what a GPU was when it could last be read: a GPU that is lost keeps its name.
    seen: BTreeMap<u32, Gpu>,
    /// By index, what a GPU that could not be read at the last time has answered.
    codes: BTreeMap<u32, Code>,
}

/// Versions of the installed driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versions {
    /// Kernel driver, e.g. `580.95.05`.
    pub driver: String,
    /// NVML, e.g. `13.580.95.05`.
    pub nvml: String,
}

impl Driver {
    /// Loads and initializes NVML from a library name such as `libnvidia-ml.so.1`, looked up by the dynamic loader, or from a path.
    ///
    /// Errors tell apart: no such file, not a library, a library that is not NVML, and an NVML that does not start.
    pub fn open(library: &OsStr) -> Result<Self, Error> {
        let nvml = Nvml::builder()
            .lib_path(library)
            .init()
            .map_err(|error| Error::open(library, error))?;
        if nvml.lib().nvmlShutdown.is_err() {
            // Dropping it would call what is not there.
            std::mem::forget(nvml);
            return Err(Error::NotNvml {
                path: library.display().to_string(),
                missing: "nvmlShutdown",
            });
        }
        Ok(Self {
            nvml: Arc::new(nvml),
            boards: Boards::default(),
            activities: Activities::default(),
            seen: BTreeMap::new(),
            codes: BTreeMap::new(),
        })
    }

    /// Another one over the same open NVML, for another thread: NVML may be called from several at once. It begins with what this one
    /// knows of the boards.
    #[must_use]
    pub fn another(&self) -> Self {
        Self {
            nvml: Arc::clone(&self.nvml),
            boards: self.boards.clone(),
            activities: Activities::default(),
            seen: self.seen.clone(),
            codes: self.codes.clone(),
        }
    }

    pub(crate) fn nvml(&self) -> &Arc<Nvml> {
        &self.nvml
    }

    /// Forgets what was measured of the instances of a GPU: somebody else has changed them, and ids are reused at once.
    pub fn forget_activity(&mut self, uuid: &str) {
        self.activities.forget_gpu(uuid);
    }

    /// Versions of driver and library.
    pub fn versions(&self) -> Result<Versions, Error> {
        Ok(Versions {
            driver: wrapped("nvmlSystemGetDriverVersion", || {
                self.nvml.sys_driver_version()
            })?,
            nvml: wrapped("nvmlSystemGetNVMLVersion", || self.nvml.sys_nvml_version())?,
        })
    }

    /// Everything on the node, in order of index. Fails when NVML itself does; a GPU that cannot be read has its `fault` set, keeps
    /// the UUID, product and board it was last seen with, and shows no instances.
    ///
    /// A GPU that has never been readable is named after its index, and one whose profiles cannot be read has a board without any.
    pub fn gpus(&mut self) -> Result<Vec<Gpu>, Error> {
        (0..self.count()?).map(|index| self.gpu_at(index)).collect()
    }

    /// How many GPUs there are, lost ones included. Their indexes are those below.
    pub fn count(&mut self) -> Result<u32, Error> {
        let count = wrapped("nvmlDeviceGetCount_v2", || self.nvml.device_count())?;
        self.seen.retain(|&index, _| index < count);
        Ok(count)
    }

    /// The GPU at an index; as in [`Self::gpus`], of which it is a part for those who want to tell how far they are.
    pub fn gpu_at(&mut self, index: u32) -> Result<Gpu, Error> {
        let nvml = Arc::clone(&self.nvml);
        self.read(index, at(&nvml, index))
    }

    /// One GPU. Fails when there is none of this UUID or NVML itself fails; else its `fault` is set, as in [`Self::gpus`].
    pub fn gpu(&mut self, uuid: &str) -> Result<Gpu, Error> {
        let nvml = Arc::clone(&self.nvml);
        let device = device(&nvml, uuid)?;
        let index = wrapped("nvmlDeviceGetIndex", || device.index())?;
        self.read(index, Ok(device))
    }

    fn read(&mut self, index: u32, device: Result<Device<'_>, Error>) -> Result<Gpu, Error> {
        let mut gpu = self
            .seen
            .remove(&index)
            .unwrap_or_else(|| gpus::unseen(index));
        let result = device.and_then(|device| gpus::read(&device, &mut gpu, &mut self.boards));
        self.seen.insert(
            index,
            Gpu {
                instances: Vec::new(),
                in_use: Use::default(),
                ..gpu.clone()
            },
        );
        let code = result.as_ref().err().and_then(Error::code);
        match code {
            Some(code) => self.codes.insert(index, code),
            None => self.codes.remove(&index),
        };
        match result {
            Err(error) if error.is_stale() => return Err(error),
            Err(error) => gpu.fault = Some(error.to_string()),
            Ok(()) => {}
        }
        Ok(gpu)
    }

    /// The code because of which the GPU at an index could not be read at the last time; `None` when it could, or NVML gave none.
    #[must_use]
    pub fn code_at(&self, index: u32) -> Option<Code> {
        self.codes.get(&index).copied()
    }

    /// What the kind of the GPU and its place in the machine say about changes of its MIG mode.
    pub fn hardware(&self, uuid: &str) -> Result<Hardware, Error> {
        hardware::read(&device(&self.nvml, uuid)?)
    }

    /// Turns MIG mode of a GPU on. The GPU must be free of processes; on Ampere this resets it.
    ///
    /// A change that the driver accepts and cannot make now is [`ModeChange::Pending`]. `NOT_SUPPORTED` and `NO_PERMISSION` are errors.
    pub fn enable_mig(&mut self, uuid: &str) -> Result<ModeChange, Error> {
        let device = device(&self.nvml, uuid)?;
        self.boards.forget(uuid);
        change::set_mig(&device, true)
    }

    /// Turns MIG mode of a GPU off; as [`Self::enable_mig`] otherwise. Instances that are left do not outlive it: whether one is in
    /// use is the caller's to mind.
    pub fn disable_mig(&mut self, uuid: &str) -> Result<ModeChange, Error> {
        let device = device(&self.nvml, uuid)?;
        self.boards.forget(uuid);
        change::set_mig(&device, false)
    }

    /// What PCI calls the model of the GPU at an index: device id above, vendor id (NVIDIA: 0x10DE) below, 16 bits each.
    pub fn pci_device_id(&mut self, index: u32) -> Result<u32, Error> {
        let device = at(&self.nvml, index)?;
        Ok(wrapped("nvmlDeviceGetPciInfo_v3", || device.pci_info())?.pci_device_id)
    }

    /// Makes a GPU instance at an explicit place and gives its id. It is half made until it has a compute instance.
    ///
    /// [`Code::INSUFFICIENT_RESOURCES`](crate::Code::INSUFFICIENT_RESOURCES): the place is taken, so the caller's view of the GPU is stale.
    /// [`Code::INVALID_ARGUMENT`](crate::Code::INVALID_ARGUMENT): the board has no such profile or place.
    /// [`Code::NOT_SUPPORTED`](crate::Code::NOT_SUPPORTED): MIG mode is off.
    pub fn create_gpu_instance(&mut self, uuid: &str, slice: Slice) -> Result<u32, Error> {
        let gi = change::create_gpu_instance(&device(&self.nvml, uuid)?, slice)?;
        self.activities.forget(uuid, gi);
        Ok(gi)
    }

    /// Makes the compute instance that fills a GPU instance, and gives its id.
    ///
    /// The profile is the one with as many slices as the GPU instance and shared engines, and not a `REV1` one; it is looked up in what
    /// the driver offers for this GPU instance.
    pub fn create_compute_instance(&mut self, uuid: &str, gi: u32) -> Result<u32, Error> {
        self.activities.forget(uuid, gi);
        let device = device(&self.nvml, uuid)?;
        change::create_compute_instance(&device, &mut self.boards, uuid, gi)
    }

    /// Destroys a compute instance. [`Code::IN_USE`](crate::Code::IN_USE): a process is on it, or was a moment ago.
    pub fn destroy_compute_instance(&mut self, uuid: &str, gi: u32, ci: u32) -> Result<(), Error> {
        self.activities.forget(uuid, gi);
        change::destroy_compute_instance(&device(&self.nvml, uuid)?, gi, ci)
    }

    /// Destroys a GPU instance. [`Code::IN_USE`](crate::Code::IN_USE): it still has a compute instance.
    pub fn destroy_gpu_instance(&mut self, uuid: &str, gi: u32) -> Result<(), Error> {
        self.activities.forget(uuid, gi);
        change::destroy_gpu_instance(&device(&self.nvml, uuid)?, gi)
    }

    /// How busy the instances of a GPU were since this was last asked, by GPU instance id; never waits. `gpu` is what was just read.
    ///
    /// Without an entry: all of them where the architecture has no counters (before Hopper), an instance at the first time and when it
    /// was made anew in between, and one that cannot be measured. Asked again within 100 ms, it repeats its answer.
    pub fn activities(&mut self, gpu: &Gpu) -> Result<BTreeMap<u32, Activity>, Error> {
        // Not by UUID: that look-up is the slow one on a loaded node.
        let device = at(&self.nvml, gpu.index)?;
        if wrapped("nvmlDeviceGetUUID", || device.uuid())? != gpu.uuid {
            return Ok(BTreeMap::new());
        }
        self.activities.of(&self.nvml, &device, gpu)
    }
}

/// The GPU with this UUID. NVML would find MIG devices too.
fn device<'nvml>(nvml: &'nvml Nvml, uuid: &str) -> Result<Device<'nvml>, Error> {
    if uuid.starts_with("MIG-") {
        return Err(Error::NotAGpu {
            uuid: uuid.to_owned(),
        });
    }
    wrapped("nvmlDeviceGetHandleByUUID", || nvml.device_by_uuid(uuid))
}

/// The GPU at this index.
pub(crate) fn at(nvml: &Nvml, index: u32) -> Result<Device<'_>, Error> {
    wrapped("nvmlDeviceGetHandleByIndex_v2", || {
        nvml.device_by_index(index)
    })
}
