//! What monitors ask besides: mostly constants, so that they do not stumble. Nothing here depends on load.

use std::ffi::{c_char, c_uint, c_ulonglong};

use super::call::{Result, export};
use super::handle;
use super::pointer::{Handle, Out};
use crate::code::Code;
use crate::store::Store;

/// Answers a constant for a GPU; 3 for a MIG device, which has no such thing of its own.
fn constant<T: Copy>(store: &Store, device: Handle, out: Out<T>, value: T) -> Result {
    match handle::device(store, device)?.mig {
        None => out.put(value),
        Some(_) => Err(Code::ERROR_NOT_SUPPORTED),
    }
}

/// Utilisation: 3 with MIG on and on MIG devices, else whether a process is there.
fn busy(store: &Store, device: Handle) -> Result<c_uint> {
    let device = handle::device(store, device)?;
    if device.on.gpu.mig_enabled() {
        return Err(Code::ERROR_NOT_SUPPORTED);
    }
    Ok(if device.on.gpu.processes().is_empty() {
        0
    } else {
        87
    })
}

/// Time over which a utilisation was measured, microseconds.
const SAMPLING_US: c_uint = 166_667;

export! {
    fn nvmlDeviceGetUtilizationRates(device: Handle, rates: Out<[c_uint; 2]>) |store| {
        let busy = busy(store, device)?;
        rates.put([busy, busy / 2])
    }
    fn nvmlDeviceGetEncoderUtilization(device: Handle, rate: Out<c_uint>, period: Out<c_uint>) |store| {
        engine(store, device, rate, period)
    }
    fn nvmlDeviceGetDecoderUtilization(device: Handle, rate: Out<c_uint>, period: Out<c_uint>) |store| {
        engine(store, device, rate, period)
    }
    fn nvmlDeviceGetJpgUtilization(device: Handle, rate: Out<c_uint>, period: Out<c_uint>) |store| {
        engine(store, device, rate, period)
    }
    fn nvmlDeviceGetOfaUtilization(device: Handle, rate: Out<c_uint>, period: Out<c_uint>) |store| {
        engine(store, device, rate, period)
    }

    fn nvmlDeviceGetTemperature(device: Handle, _sensor: c_uint, celsius: Out<c_uint>) |store| {
        constant(store, device, celsius, 41)
    }
    fn nvmlDeviceGetTemperatureV(device: Handle, reading: Out<[c_uint; 3]>) |store| {
        let [version, sensor, _] = reading.get()?;
        constant(store, device, reading, [version, sensor, 41])
    }
    fn nvmlDeviceGetTemperatureThreshold(device: Handle, _kind: c_uint, celsius: Out<c_uint>) |store| {
        constant(store, device, celsius, 90)
    }
    fn nvmlDeviceGetPowerUsage(device: Handle, milliwatts: Out<c_uint>) |store| {
        constant(store, device, milliwatts, 68_000)
    }
    fn nvmlDeviceGetPowerManagementLimit(device: Handle, milliwatts: Out<c_uint>) |store| {
        constant(store, device, milliwatts, 400_000)
    }
    fn nvmlDeviceGetEnforcedPowerLimit(device: Handle, milliwatts: Out<c_uint>) |store| {
        constant(store, device, milliwatts, 400_000)
    }
    fn nvmlDeviceGetPowerManagementDefaultLimit(device: Handle, milliwatts: Out<c_uint>) |store| {
        constant(store, device, milliwatts, 400_000)
    }
    fn nvmlDeviceGetPerformanceState(device: Handle, state: Out<c_uint>) |store| { constant(store, device, state, 0) }
    fn nvmlDeviceGetPowerState(device: Handle, state: Out<c_uint>) |store| { constant(store, device, state, 0) }
    fn nvmlDeviceGetPersistenceMode(device: Handle, mode: Out<c_uint>) |store| { constant(store, device, mode, 1) }
    fn nvmlDeviceGetComputeMode(device: Handle, mode: Out<c_uint>) |store| { constant(store, device, mode, 0) }
    fn nvmlDeviceGetDisplayActive(device: Handle, active: Out<c_uint>) |store| { constant(store, device, active, 0) }
    fn nvmlDeviceGetDisplayMode(device: Handle, mode: Out<c_uint>) |store| { constant(store, device, mode, 0) }
    fn nvmlDeviceGetMultiGpuBoard(device: Handle, multi: Out<c_uint>) |store| { constant(store, device, multi, 0) }
    fn nvmlDeviceGetClockInfo(device: Handle, kind: c_uint, mhz: Out<c_uint>) |store| {
        constant(store, device, mhz, clock(kind)?)
    }
    fn nvmlDeviceGetMaxClockInfo(device: Handle, kind: c_uint, mhz: Out<c_uint>) |store| {
        constant(store, device, mhz, clock(kind)?)
    }
    fn nvmlDeviceGetEccMode(device: Handle, current: Out<c_uint>, pending: Out<c_uint>) |store| {
        constant(store, device, current, 1)?;
        pending.put(1)
    }
    fn nvmlDeviceGetTotalEccErrors(
        device: Handle, _kind: c_uint, _counter: c_uint, count: Out<c_ulonglong>,
    ) |store| { constant(store, device, count, 0) }
    fn nvmlDeviceGetVbiosVersion(device: Handle, version: Out<c_char>, length: c_uint) |store| {
        handle::whole_gpu(store, device)?;
        version.put_text(length, "92.00.45.00.03")
    }
    fn nvmlDeviceGetCurrPcieLinkGeneration(device: Handle, generation: Out<c_uint>) |store| {
        constant(store, device, generation, 4)
    }
    fn nvmlDeviceGetMaxPcieLinkGeneration(device: Handle, generation: Out<c_uint>) |store| {
        constant(store, device, generation, 4)
    }
    fn nvmlDeviceGetCurrPcieLinkWidth(device: Handle, width: Out<c_uint>) |store| { constant(store, device, width, 16) }
    fn nvmlDeviceGetMaxPcieLinkWidth(device: Handle, width: Out<c_uint>) |store| { constant(store, device, width, 16) }
}

/// Data-centre boards have no fan: `nvmlDeviceGetFanSpeed` and its like are among the unsupported.
fn engine(store: &Store, device: Handle, rate: Out<c_uint>, period: Out<c_uint>) -> Result {
    busy(store, device)?;
    rate.put(0)?;
    period.put(SAMPLING_US)
}

/// Clock by `nvmlClockType_t`: graphics, SM, memory, video; MHz.
fn clock(kind: c_uint) -> Result<c_uint> {
    match kind {
        0 | 1 => Ok(1410),
        2 => Ok(1593),
        3 => Ok(1275),
        _ => Err(Code::ERROR_INVALID_ARGUMENT),
    }
}
