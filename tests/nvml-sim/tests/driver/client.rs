//! A small NVML client over the raw bindings: results are values or raw return codes.
#![allow(unsafe_code, reason = "NVML is a C library")]

use std::ffi::{CStr, CString, c_char};
use std::ptr::null_mut;

use nvml_sim::{GpuSpec, Node, NodeOptions};
use nvml_wrapper_sys::bindings::*;
use tempfile::TempDir;

pub(crate) type Answer<T> = Result<T, u32>;
pub(crate) type Gpu = nvmlDevice_t;
pub(crate) type GpuInstance = nvmlGpuInstance_t;
pub(crate) type ComputeInstance = nvmlComputeInstance_t;

/// A node in a temporary folder, and a client that has its library open.
pub(crate) struct Rig {
    pub(crate) node: Node,
    pub(crate) client: Client,
    _dir: TempDir,
}

/// A node with these boards, MIG mode on.
pub(crate) fn rig(boards: &[&str]) -> Rig {
    rig_with(boards, true, &NodeOptions::default())
}

pub(crate) fn rig_with(boards: &[&str], mig: bool, options: &NodeOptions) -> Rig {
    let dir = TempDir::new().unwrap();
    let gpus: Vec<_> = boards
        .iter()
        .map(|&board| GpuSpec {
            board: board.to_owned(),
            mig,
        })
        .collect();
    let node = Node::create(dir.path(), &gpus, options).unwrap();
    let client = Client::open(&node);
    Rig {
        node,
        client,
        _dir: dir,
    }
}

pub(crate) struct Client {
    pub(crate) lib: NvmlLib,
}

macro_rules! call {
    ($self:ident, $name:ident($($argument:expr),* $(,)?)) => {
        // SAFETY: the library is loaded, and every pointer is to a live local or buffer of the length that is passed.
        match unsafe { ($self.lib.$name.as_ref().unwrap())($($argument),*) } {
            0 => Ok(()),
            code => Err(code),
        }
    };
}

mod events;
mod instances;

/// Lists that the header gives no capacity for, and texts.
pub(crate) const ROOM: usize = 128;

impl Client {
    pub(crate) fn open(node: &Node) -> Self {
        let client = Self::load(node);
        client.init().unwrap();
        client
    }

    pub(crate) fn load(node: &Node) -> Self {
        // SAFETY: loading runs no code of the library.
        let lib = unsafe { NvmlLib::new(node.library()) }.unwrap();
        Self { lib }
    }

    pub(crate) fn init(&self) -> Answer<()> {
        call!(self, nvmlInit_v2())
    }

    pub(crate) fn shutdown(&self) -> Answer<()> {
        call!(self, nvmlShutdown())
    }

    pub(crate) fn error_string(&self, code: u32) -> String {
        let call = self.lib.nvmlErrorString.as_ref().unwrap();
        // SAFETY: the call takes any number and returns a static text.
        let text = unsafe { call(code) };
        // SAFETY: as before.
        let text = unsafe { CStr::from_ptr(text) };
        text.to_str().unwrap().to_owned()
    }

    fn text(get: impl FnOnce(*mut c_char, u32) -> Answer<()>) -> Answer<String> {
        let mut buffer = vec![0_u8; ROOM];
        get(buffer.as_mut_ptr().cast(), u32::try_from(ROOM).unwrap())?;
        Ok(CStr::from_bytes_until_nul(&buffer)
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned())
    }

    pub(crate) fn driver_version(&self) -> Answer<String> {
        Self::text(|buffer, length| call!(self, nvmlSystemGetDriverVersion(buffer, length)))
    }

    pub(crate) fn count(&self) -> Answer<u32> {
        let mut count = 0;
        call!(self, nvmlDeviceGetCount_v2(&raw mut count)).map(|()| count)
    }

    pub(crate) fn gpu(&self, index: u32) -> Answer<Gpu> {
        let mut gpu = null_mut();
        call!(self, nvmlDeviceGetHandleByIndex_v2(index, &raw mut gpu)).map(|()| gpu)
    }

    pub(crate) fn by_uuid(&self, uuid: &str) -> Answer<Gpu> {
        let mut gpu = null_mut();
        let uuid = CString::new(uuid).unwrap();
        call!(self, nvmlDeviceGetHandleByUUID(uuid.as_ptr(), &raw mut gpu)).map(|()| gpu)
    }

    pub(crate) fn by_bus_id(&self, id: &str) -> Answer<Gpu> {
        let mut gpu = null_mut();
        let id = CString::new(id).unwrap();
        call!(
            self,
            nvmlDeviceGetHandleByPciBusId_v2(id.as_ptr(), &raw mut gpu)
        )
        .map(|()| gpu)
    }

    pub(crate) fn bus_id(&self, gpu: Gpu) -> Answer<String> {
        // SAFETY: plain numbers and characters, for which all zero is valid.
        let mut info: nvmlPciInfo_t = unsafe { std::mem::zeroed() };
        call!(self, nvmlDeviceGetPciInfo_v3(gpu, &raw mut info))?;
        // SAFETY: the library terminates the text, and zeroes follow in any case.
        let text = unsafe { CStr::from_ptr(info.busId.as_ptr()) };
        Ok(text.to_str().unwrap().to_owned())
    }

    pub(crate) fn uuid(&self, gpu: Gpu) -> Answer<String> {
        Self::text(|buffer, length| call!(self, nvmlDeviceGetUUID(gpu, buffer, length)))
    }

    pub(crate) fn name(&self, gpu: Gpu) -> Answer<String> {
        Self::text(|buffer, length| call!(self, nvmlDeviceGetName(gpu, buffer, length)))
    }

    pub(crate) fn name_into(&self, gpu: Gpu, length: u32) -> Answer<()> {
        let mut buffer = vec![0; ROOM];
        call!(self, nvmlDeviceGetName(gpu, buffer.as_mut_ptr(), length))
    }

    pub(crate) fn index(&self, gpu: Gpu) -> Answer<u32> {
        let mut index = 0;
        call!(self, nvmlDeviceGetIndex(gpu, &raw mut index)).map(|()| index)
    }

    pub(crate) fn minor(&self, gpu: Gpu) -> Answer<u32> {
        let mut minor = 99;
        call!(self, nvmlDeviceGetMinorNumber(gpu, &raw mut minor)).map(|()| minor)
    }

    /// Current and pending mode.
    pub(crate) fn mig_mode(&self, gpu: Gpu) -> Answer<(u32, u32)> {
        let (mut current, mut pending) = (0, 0);
        call!(
            self,
            nvmlDeviceGetMigMode(gpu, &raw mut current, &raw mut pending)
        )
        .map(|()| (current, pending))
    }

    /// The activation status.
    pub(crate) fn set_mig_mode(&self, gpu: Gpu, mode: u32) -> Answer<u32> {
        let mut status = 99;
        call!(self, nvmlDeviceSetMigMode(gpu, mode, &raw mut status)).map(|()| status)
    }

    pub(crate) fn max_mig(&self, gpu: Gpu) -> Answer<u32> {
        let mut count = 0;
        call!(self, nvmlDeviceGetMaxMigDeviceCount(gpu, &raw mut count)).map(|()| count)
    }

    pub(crate) fn mig(&self, gpu: Gpu, index: u32) -> Answer<Gpu> {
        let mut mig = null_mut();
        call!(
            self,
            nvmlDeviceGetMigDeviceHandleByIndex(gpu, index, &raw mut mig)
        )
        .map(|()| mig)
    }

    pub(crate) fn is_mig(&self, gpu: Gpu) -> Answer<bool> {
        let mut is_mig = 0;
        call!(self, nvmlDeviceIsMigDeviceHandle(gpu, &raw mut is_mig)).map(|()| is_mig == 1)
    }

    pub(crate) fn parent(&self, mig: Gpu) -> Answer<Gpu> {
        let mut gpu = null_mut();
        call!(
            self,
            nvmlDeviceGetDeviceHandleFromMigDeviceHandle(mig, &raw mut gpu)
        )
        .map(|()| gpu)
    }

    /// GPU instance and compute instance id of a MIG device.
    pub(crate) fn ids(&self, mig: Gpu) -> Answer<(u32, u32)> {
        let (mut gi, mut ci) = (99, 99);
        call!(self, nvmlDeviceGetGpuInstanceId(mig, &raw mut gi))?;
        call!(self, nvmlDeviceGetComputeInstanceId(mig, &raw mut ci)).map(|()| (gi, ci))
    }

    pub(crate) fn attributes(&self, mig: Gpu) -> Answer<nvmlDeviceAttributes_t> {
        // SAFETY: plain numbers, for which all zero is valid.
        let mut attributes: nvmlDeviceAttributes_t = unsafe { std::mem::zeroed() };
        call!(self, nvmlDeviceGetAttributes_v2(mig, &raw mut attributes)).map(|()| attributes)
    }

    /// Pid, memory, GPU instance and compute instance of each process.
    pub(crate) fn processes(&self, gpu: Gpu) -> Answer<Vec<(u32, u64, u32, u32)>> {
        let mut buffer = [nvmlProcessInfo_t {
            pid: 0,
            usedGpuMemory: 0,
            gpuInstanceId: 0,
            computeInstanceId: 0,
        }; 64];
        let mut count = 64;
        call!(
            self,
            nvmlDeviceGetComputeRunningProcesses_v3(gpu, &raw mut count, buffer.as_mut_ptr())
        )?;
        let found = buffer.iter().take(usize::try_from(count).unwrap());
        Ok(found
            .map(|one| {
                (
                    one.pid,
                    one.usedGpuMemory,
                    one.gpuInstanceId,
                    one.computeInstanceId,
                )
            })
            .collect())
    }

    /// What a call with no room answers, and the number it needs.
    pub(crate) fn process_count(&self, gpu: Gpu) -> (Answer<()>, u32) {
        let mut count = 0;
        let answer = call!(
            self,
            nvmlDeviceGetComputeRunningProcesses_v3(gpu, &raw mut count, null_mut())
        );
        (answer, count)
    }

    /// What a call with room for one answers, the number it needs, and the process ids in a buffer that is longer than it says.
    pub(crate) fn processes_with_room_for_one(&self, gpu: Gpu) -> (Answer<()>, u32, [u32; 2]) {
        let mut buffer = [nvmlProcessInfo_t {
            pid: 0,
            usedGpuMemory: 0,
            gpuInstanceId: 0,
            computeInstanceId: 0,
        }; 2];
        let mut count = 1;
        let answer = call!(
            self,
            nvmlDeviceGetComputeRunningProcesses_v3(gpu, &raw mut count, buffer.as_mut_ptr())
        );
        (answer, count, buffer.map(|one| one.pid))
    }

    /// Total and used bytes.
    pub(crate) fn memory(&self, gpu: Gpu) -> Answer<(u64, u64)> {
        let mut memory = nvmlMemory_t {
            total: 0,
            free: 0,
            used: 0,
        };
        call!(self, nvmlDeviceGetMemoryInfo(gpu, &raw mut memory))
            .map(|()| (memory.total, memory.used))
    }

    pub(crate) fn memory_v2(&self, gpu: Gpu, version: u32) -> Answer<u64> {
        let mut memory = nvmlMemory_v2_t {
            version,
            total: 0,
            reserved: 0,
            free: 0,
            used: 0,
        };
        call!(self, nvmlDeviceGetMemoryInfo_v2(gpu, &raw mut memory)).map(|()| memory.total)
    }

    pub(crate) fn utilization(&self, gpu: Gpu) -> Answer<u32> {
        let mut rates = nvmlUtilization_t { gpu: 0, memory: 0 };
        call!(self, nvmlDeviceGetUtilizationRates(gpu, &raw mut rates)).map(|()| rates.gpu)
    }

    pub(crate) fn gpm_supported(&self, gpu: Gpu) -> Answer<bool> {
        let mut support = nvmlGpmSupport_t {
            version: 1,
            isSupportedDevice: 9,
        };
        call!(self, nvmlGpmQueryDeviceSupport(gpu, &raw mut support))
            .map(|()| support.isSupportedDevice == 1)
    }

    pub(crate) fn gpm_sample(&self) -> Answer<nvmlGpmSample_t> {
        let mut sample = null_mut();
        call!(self, nvmlGpmSampleAlloc(&raw mut sample)).map(|()| sample)
    }

    pub(crate) fn gpm_take(&self, gpu: Gpu, gi: u32, sample: nvmlGpmSample_t) -> Answer<()> {
        call!(self, nvmlGpmMigSampleGet(gpu, gi, sample))
    }

    pub(crate) fn gpm_free(&self, sample: nvmlGpmSample_t) -> Answer<()> {
        call!(self, nvmlGpmSampleFree(sample))
    }

    /// Code and value of each metric between two samples.
    pub(crate) fn gpm_metrics(
        &self,
        samples: [nvmlGpmSample_t; 2],
        ids: &[u32],
    ) -> Answer<Vec<(u32, f64)>> {
        // SAFETY: plain numbers and pointers, for which all zero is valid.
        let mut request: Box<nvmlGpmMetricsGet_t> = Box::new(unsafe { std::mem::zeroed() });
        request.version = 1;
        request.numMetrics = u32::try_from(ids.len()).unwrap();
        [request.sample1, request.sample2] = samples;
        for (metric, &id) in request.metrics.iter_mut().zip(ids) {
            metric.metricId = id;
        }
        call!(self, nvmlGpmMetricsGet(&raw mut *request))?;
        Ok(request
            .metrics
            .iter()
            .take(ids.len())
            .map(|metric| (metric.nvmlReturn, metric.value))
            .collect())
    }

    pub(crate) fn field(&self, gpu: Gpu, id: u32) -> Answer<(u32, u32)> {
        // SAFETY: plain numbers, for which all zero is valid.
        let mut field: nvmlFieldValue_t = unsafe { std::mem::zeroed() };
        field.fieldId = id;
        call!(self, nvmlDeviceGetFieldValues(gpu, 1, &raw mut field))?;
        // SAFETY: every bit pattern is a valid number.
        Ok((field.nvmlReturn, unsafe { field.value.uiVal }))
    }

    /// Whether the library has a symbol.
    pub(crate) fn has(&self, symbol: &str) -> bool {
        let symbol = CString::new(symbol).unwrap();
        // SAFETY: the symbol is looked up and not called.
        unsafe {
            self.lib
                .__library
                .get::<unsafe extern "C" fn()>(symbol.as_bytes_with_nul())
        }
        .is_ok()
    }

    /// Calls a function that fills a struct of 160 bytes or less, given by its version word; `arguments` come before it.
    pub(crate) fn call_for_bytes(
        &self,
        symbol: &str,
        arguments: &[usize],
        version: u32,
    ) -> Answer<[u8; 160]> {
        type Any = unsafe extern "C" fn(usize, usize, usize, usize) -> u32;
        let symbol = CString::new(symbol).unwrap();
        // SAFETY: as in `call_with`.
        let call = unsafe { self.lib.__library.get::<Any>(symbol.as_bytes_with_nul()) }.unwrap();
        let mut bytes = [0xee_u8; 160];
        bytes[..4].copy_from_slice(&version.to_ne_bytes());
        let buffer = bytes.as_mut_ptr().expose_provenance();
        let mut all = [0; 4];
        all[..arguments.len()].copy_from_slice(arguments);
        all[arguments.len()] = buffer;
        // SAFETY: the buffer is larger than every struct that the version words of these tests name.
        match unsafe { call(all[0], all[1], all[2], all[3]) } {
            0 => Ok(bytes),
            code => Err(code),
        }
    }

    /// Calls any function with this first argument and nothing but NULL and zero behind it.
    pub(crate) fn call_with(&self, symbol: &str, first: usize) -> u32 {
        type Any = unsafe extern "C" fn(usize, usize, usize, usize, usize, usize) -> u32;
        let symbol = CString::new(symbol).unwrap();
        // SAFETY: only the calling convention matters: every parameter of NVML is passed like one of these, and what a
        // function does not take it does not read.
        let call = unsafe { self.lib.__library.get::<Any>(symbol.as_bytes_with_nul()) }.unwrap();
        // SAFETY: NVML takes NULL for any pointer, and handles are not followed.
        unsafe { call(first, 0, 0, 0, 0, 0) }
    }
}
