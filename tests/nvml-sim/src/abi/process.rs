//! Lists of processes. Simulated processes are compute processes; nobody runs graphics here.

use std::ffi::c_uint;

use nvml_wrapper_sys::bindings::{nvmlProcessInfo_t, nvmlProcessInfo_v1_t};

use super::call::{Result, export};
use super::handle;
use super::pointer::{Handle, Out};
use crate::client;
use crate::state::{Process, WHOLE_GPU};
use crate::store::Store;

export! {
    fn nvmlDeviceGetComputeRunningProcesses(
        device: Handle, count: Out<c_uint>, buffer: Out<nvmlProcessInfo_v1_t>,
    ) |store| {
        let first = |process: &Process| nvmlProcessInfo_v1_t { pid: process.pid, usedGpuMemory: process.memory_bytes };
        count.answer_list(buffer, &list(store, device, first)?)
    }
    fn nvmlDeviceGetComputeRunningProcesses_v2(
        device: Handle, count: Out<c_uint>, buffer: Out<nvmlProcessInfo_t>,
    ) |store| {
        count.answer_list(buffer, &list(store, device, info)?)
    }
    fn nvmlDeviceGetComputeRunningProcesses_v3(
        device: Handle, count: Out<c_uint>, buffer: Out<nvmlProcessInfo_t>,
    ) |store| {
        count.answer_list(buffer, &list(store, device, info)?)
    }
    fn nvmlDeviceGetGraphicsRunningProcesses(device: Handle, count: Out<c_uint>) |store| { none(store, device, count) }
    fn nvmlDeviceGetGraphicsRunningProcesses_v2(device: Handle, count: Out<c_uint>) |store| { none(store, device, count) }
    fn nvmlDeviceGetGraphicsRunningProcesses_v3(device: Handle, count: Out<c_uint>) |store| { none(store, device, count) }
    fn nvmlDeviceGetMPSComputeRunningProcesses(device: Handle, count: Out<c_uint>) |store| { none(store, device, count) }
    fn nvmlDeviceGetMPSComputeRunningProcesses_v2(device: Handle, count: Out<c_uint>) |store| {
        none(store, device, count)
    }
    fn nvmlDeviceGetMPSComputeRunningProcesses_v3(device: Handle, count: Out<c_uint>) |store| {
        none(store, device, count)
    }
}

/// The processes of a device: on a MIG device those of its compute instance, on a GPU all. This is the look by which a client
/// knows whom it would hit; asking only for the number counts, since it tells whether somebody is there.
fn list<T>(store: &Store, device: Handle, info: impl Fn(&Process) -> T) -> Result<Vec<T>> {
    let device = handle::device(store, device)?;
    device.require_sight(store)?;
    let gpu = &device.on.gpu;
    client::looked(
        device.on.index,
        gpu,
        device.mig.map(|seat| (seat.gi, seat.ci)),
    );
    Ok(match device.mig {
        None => gpu.processes().iter().map(info).collect(),
        Some(seat) => gpu.processes_on(seat.gi, Some(seat.ci)).map(info).collect(),
    })
}

fn info(process: &Process) -> nvmlProcessInfo_t {
    let id = |id: u8| {
        if id == WHOLE_GPU {
            c_uint::MAX
        } else {
            id.into()
        }
    };
    nvmlProcessInfo_t {
        pid: process.pid,
        usedGpuMemory: process.memory_bytes,
        gpuInstanceId: id(process.gi),
        computeInstanceId: id(process.ci),
    }
}

fn none(store: &Store, device: Handle, count: Out<c_uint>) -> Result {
    handle::device(store, device)?.require_sight(store)?;
    count.put(0)
}
