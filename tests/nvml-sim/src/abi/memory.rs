//! Memory of a GPU or a MIG device: what its processes use, of what it has.

use nvml_wrapper_sys::bindings::{nvmlBAR1Memory_t, nvmlMemory_t, nvmlMemory_v2_t};

use super::call::{Result, export};
use super::handle::{self, Device};
use super::pointer::{Handle, Out, has_version};
use crate::code::Code;
use crate::state::{Process, WHOLE_GPU};
use crate::store::Store;

/// PCI BAR 1 of a data-centre board.
const BAR1_BYTES: u64 = 128 << 30;

export! {
    fn nvmlDeviceGetMemoryInfo(device: Handle, memory: Out<nvmlMemory_t>) |store| {
        let (total, used) = usage(store, &handle::device(store, device)?)?;
        memory.put(nvmlMemory_t { total, free: total.saturating_sub(used), used })
    }
    fn nvmlDeviceGetMemoryInfo_v2(device: Handle, memory: Out<nvmlMemory_v2_t>) |store| {
        let (total, used) = usage(store, &handle::device(store, device)?)?;
        put_v2(memory, total, used)
    }
    fn nvmlDeviceGetBAR1MemoryInfo(device: Handle, memory: Out<nvmlBAR1Memory_t>) |store| {
        let device = handle::device(store, device)?;
        // A MIG device has its share, by memory slots.
        let (size, slots) = device.mig.map_or((1, 1), |seat| (seat.gpu_instance.size.into(), device.on.board.slots));
        let total = BAR1_BYTES / u64::from(slots) * size;
        memory.put(nvmlBAR1Memory_t { bar1Total: total, bar1Free: total, bar1Used: 0 })
    }
}

/// Total and used bytes. A compute instance shares the memory of its GPU instance.
fn usage(store: &Store, device: &Device) -> Result<(u64, u64)> {
    device.require_sight(store)?;
    let Device { on, mig } = device;
    let sum = |processes: &mut dyn Iterator<Item = &Process>| {
        processes.map(|process| process.memory_bytes).sum()
    };
    Ok(match mig {
        None => (
            on.gpu.memory_bytes(WHOLE_GPU),
            sum(&mut on.gpu.processes().iter()),
        ),
        Some(seat) => (
            on.gpu.memory_bytes(seat.gi),
            sum(&mut on.gpu.processes_on(seat.gi, None)),
        ),
    })
}

fn put_v2(memory: Out<nvmlMemory_v2_t>, total: u64, used: u64) -> Result {
    let version = memory.cast().get()?;
    if !has_version::<nvmlMemory_v2_t>(version, 2) {
        return Err(Code::ERROR_ARGUMENT_VERSION_MISMATCH);
    }
    memory.put(nvmlMemory_v2_t {
        version,
        total,
        reserved: 0,
        free: total.saturating_sub(used),
        used,
    })
}
