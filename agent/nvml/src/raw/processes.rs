use nvml_wrapper::Device;
use nvml_wrapper_sys::bindings::{nvmlDevice_t, nvmlProcessInfo_t, nvmlReturn_t};

use super::{buffer, handle, keep};
use crate::{
    Code, Error,
    call::{raw, symbol},
};

/// A process on a GPU or on an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    /// GPU instance id; `None` when MIG mode is off.
    pub(crate) gi: Option<u32>,
}

/// First guess of the number of processes on a device.
const FEW: u32 = 16;
/// How often a list that grows while it is being read is tried again.
const TRIES: u32 = 4;

type ListProcesses =
    unsafe extern "C" fn(nvmlDevice_t, *mut u32, *mut nvmlProcessInfo_t) -> nvmlReturn_t;

/// The processes with a compute or graphics context on a GPU, or on a MIG device.
///
/// Not through `nvml-wrapper`: its two calls per list take "the buffer is too small, 0 needed" for an empty list, and an instance is
/// destroyed when its list is empty.
pub(crate) fn processes(device: &Device<'_>) -> Result<Vec<Process>, Error> {
    const COMPUTE: &str = "nvmlDeviceGetComputeRunningProcesses_v3";
    const GRAPHICS: &str = "nvmlDeviceGetGraphicsRunningProcesses_v3";
    let lib = device.nvml().lib();
    let compute = symbol(COMPUTE, &lib.nvmlDeviceGetComputeRunningProcesses_v3)?;
    let graphics = symbol(GRAPHICS, &lib.nvmlDeviceGetGraphicsRunningProcesses_v3)?;
    let device = handle(device);
    let mut processes = list(COMPUTE, compute, device)?;
    match list(GRAPHICS, graphics, device) {
        Ok(more) => processes.extend(more),
        // Where there is no graphics there is no graphics process.
        Err(error) if error.code() == Some(Code::NOT_SUPPORTED) => {}
        Err(error) => return Err(error),
    }
    Ok(processes)
}

fn list(
    call: &'static str,
    function: ListProcesses,
    device: nvmlDevice_t,
) -> Result<Vec<Process>, Error> {
    let mut room = FEW;
    let mut tries = 1;
    loop {
        let mut found = buffer(NO_PROCESS, room);
        let mut count = room;
        let result = raw(call, || {
            // SAFETY: library and handle as said at the head of `raw`; the buffer holds the `count` elements it is said to hold.
            unsafe { function(device, &raw mut count, found.as_mut_ptr()) }
        });
        match result {
            Err(error) if error.code() == Some(Code::INSUFFICIENT_SIZE) && tries < TRIES => {
                // More than asked for, since processes come meanwhile.
                room = count.max(room).saturating_add(FEW).min(u32::from(u16::MAX));
                tries += 1;
            }
            Err(error) => return Err(error),
            Ok(()) => {
                keep(&mut found, count);
                return Ok(found.iter().map(Process::from).collect());
            }
        }
    }
}

/// NVML's "no such id".
const NONE: u32 = u32::MAX;

const NO_PROCESS: nvmlProcessInfo_t = nvmlProcessInfo_t {
    pid: 0,
    usedGpuMemory: 0,
    gpuInstanceId: NONE,
    computeInstanceId: NONE,
};

impl From<&nvmlProcessInfo_t> for Process {
    fn from(info: &nvmlProcessInfo_t) -> Self {
        Self {
            pid: info.pid,
            gi: Some(info.gpuInstanceId).filter(|&gi| gi != NONE),
        }
    }
}
