//! GPM: activity of GPUs and MIG instances, on Hopper and later.
//!
//! An invented load: each process makes its instance busy by a wave over time of its own, so that curves move, differ, and
//! stop when the process does. A metric between two samples is the mean of both. As on hardware, nothing notices when an
//! instance was created anew between two samples; the client must.

use std::collections::BTreeMap;
use std::f64::consts::TAU;
use std::ffi::{CStr, c_char, c_uint};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use nvml_wrapper_sys::bindings::{nvmlGpmMetric_t, nvmlGpmSupport_t};

use super::call::{Result, export};
use super::handle::{self, OnGpu};
use super::pointer::{Handle, Out};
use crate::boards::Architecture;
use crate::code::Code;
use crate::state::Process;
use crate::store::Store;

/// What a sample remembers: which GPU, and how busy it was, 0 to 1.
#[derive(Clone, Copy, Debug)]
struct Sample {
    gpu: usize,
    busy: f64,
}

/// Samples of this process by number. A sample handle is a number, not an address: a freed one is told from a live one.
static SAMPLES: Mutex<BTreeMap<usize, Option<Sample>>> = Mutex::new(BTreeMap::new());

fn samples() -> MutexGuard<'static, BTreeMap<usize, Option<Sample>>> {
    SAMPLES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Versions of the structs: these calls take plain numbers, without a size.
const STRUCT_VERSION: c_uint = 1;
/// More metrics than any header knows; a larger number is garbage.
const MAX_METRICS: c_uint = 1024;
/// Where the array of metrics starts; its declared length differs between clients, so the struct has no one size.
const METRICS_OFFSET: usize = 24;

export! {
    fn nvmlGpmQueryDeviceSupport(device: Handle, support: Out<nvmlGpmSupport_t>) |store| {
        let on = handle::device(store, device)?.on;
        let version = support.cast().get()?;
        check_version(version)?;
        support.put(nvmlGpmSupport_t { version, isSupportedDevice: has_gpm(&on).into() })
    }
    fn nvmlGpmQueryIfStreamingEnabled(device: Handle, state: Out<c_uint>) |store| {
        with_gpm(handle::whole_gpu(store, device)?)?;
        state.put(1)
    }
    fn nvmlGpmSetStreamingEnabled(device: Handle, _state: c_uint) |store| {
        with_gpm(handle::whole_gpu(store, device)?)?;
        Ok(())
    }
    fn nvmlGpmSampleAlloc(sample: Out<Handle>) |_| {
        let mut samples = samples();
        let number = samples.last_key_value().map_or(1, |(last, _)| last + 1);
        sample.put(Handle::from_bits(number))?;
        samples.insert(number, None);
        Ok(())
    }
    fn nvmlGpmSampleFree(sample: Handle) |_| {
        samples().remove(&sample.bits()).map(|_| ()).ok_or(Code::ERROR_INVALID_ARGUMENT)
    }
    fn nvmlGpmSampleGet(device: Handle, sample: Handle) |store| {
        let device = handle::device(store, device)?;
        let gi = device.mig.map(|seat| seat.gi);
        take(&with_gpm(device.on)?, gi, sample)
    }
    fn nvmlGpmMigSampleGet(device: Handle, gi: c_uint, sample: Handle) |store| { take_mig(store, device, gi, sample) }
    fn nvmlGpmMetricsGet(request: Out<c_uint>) |_| { metrics(request) }
}

fn check_version(version: c_uint) -> Result {
    if version == STRUCT_VERSION {
        Ok(())
    } else {
        Err(Code::ERROR_ARGUMENT_VERSION_MISMATCH)
    }
}

fn has_gpm(on: &OnGpu) -> bool {
    match on.board.architecture {
        Architecture::Ampere | Architecture::Ada => false,
        Architecture::Hopper | Architecture::Blackwell => true,
    }
}

fn with_gpm(on: OnGpu) -> Result<OnGpu> {
    if has_gpm(&on) {
        Ok(on)
    } else {
        Err(Code::ERROR_NOT_SUPPORTED)
    }
}

fn take_mig(store: &Store, device: Handle, gi: c_uint, sample: Handle) -> Result {
    let on = with_gpm(handle::whole_gpu(store, device)?)?;
    on.gpu.mig_board()?;
    let gi = u8::try_from(gi).map_err(|_| Code::ERROR_INVALID_ARGUMENT)?;
    on.gpu.instance(gi).ok_or(Code::ERROR_INVALID_ARGUMENT)?;
    take(&on, Some(gi), sample)
}

fn take(on: &OnGpu, gi: Option<u8>, sample: Handle) -> Result {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64();
    let busy = match gi {
        Some(gi) => busy(on.gpu.processes_on(gi, None), now),
        None => busy(on.gpu.processes().iter(), now),
    };
    let mut samples = samples();
    let slot = samples
        .get_mut(&sample.bits())
        .ok_or(Code::ERROR_INVALID_ARGUMENT)?;
    *slot = Some(Sample {
        gpu: on.index,
        busy,
    });
    Ok(())
}

/// How busy processes together make what they run on: 0 without any, never quite 1.
fn busy<'a>(processes: impl Iterator<Item = &'a Process>, now: f64) -> f64 {
    let idle = processes.fold(1.0, |idle, process| {
        // A wave of its own length, 40 to 56 s, between 30 and 95 %.
        let period = 40.0 + f64::from(process.pid % 17);
        let wave = 0.625 + 0.325 * (TAU * (now % period) / period).sin();
        idle * (1.0 - wave)
    });
    1.0 - idle
}

/// Short name, unit and value at full load of a metric; `None` for those that are not simulated.
fn metric(id: c_uint) -> Option<(&'static CStr, &'static CStr, f64)> {
    Some(match id {
        1 => (c"graphics_util", c"%", 100.0),
        2 => (c"sm_util", c"%", 92.0),
        3 => (c"sm_occupancy", c"%", 44.0),
        4 => (c"integer_util", c"%", 18.0),
        5 => (c"any_tensor_util", c"%", 61.0),
        6 => (c"dfma_tensor_util", c"%", 2.0),
        7 => (c"hmma_tensor_util", c"%", 58.0),
        9 => (c"imma_tensor_util", c"%", 1.0),
        10 => (c"dram_bw_util", c"%", 48.0),
        11 => (c"fp64_util", c"%", 1.0),
        12 => (c"fp32_util", c"%", 27.0),
        13 => (c"fp16_util", c"%", 12.0),
        20 => (c"pcie_tx_per_sec", c"MiB/s", 900.0),
        21 => (c"pcie_rx_per_sec", c"MiB/s", 2400.0),
        _ => return None,
    })
}

fn metrics(request: Out<c_uint>) -> Result {
    check_version(request.get()?)?;
    let count = request.offset::<c_uint>(4)?.get()?;
    if count > MAX_METRICS {
        return Err(Code::ERROR_INVALID_ARGUMENT);
    }
    let first = sample(request.offset(8)?.get()?)?;
    let second = sample(request.offset(16)?.get()?)?;
    if first.gpu != second.gpu {
        return Err(Code::ERROR_INVALID_ARGUMENT);
    }
    let busy = f64::midpoint(first.busy, second.busy);
    let count = usize::try_from(count).unwrap_or(0);
    (0..count).try_for_each(|index| {
        let place = request
            .offset::<nvmlGpmMetric_t>(METRICS_OFFSET + index * size_of::<nvmlGpmMetric_t>())?;
        answer(place, busy)
    })
}

fn sample(handle: Handle) -> Result<Sample> {
    let taken = samples()
        .get(&handle.bits())
        .copied()
        .ok_or(Code::ERROR_INVALID_ARGUMENT)?;
    taken.ok_or(Code::ERROR_INVALID_ARGUMENT)
}

fn answer(place: Out<nvmlGpmMetric_t>, busy: f64) -> Result {
    let mut answer = place.get()?;
    let text = |text: &'static CStr| -> *mut c_char { text.as_ptr().cast_mut() };
    if let Some((name, unit, full)) = metric(answer.metricId) {
        answer.nvmlReturn = Code::SUCCESS.0;
        answer.value = full * busy;
        answer.metricInfo.shortName = text(name);
        answer.metricInfo.longName = text(name);
        answer.metricInfo.unit = text(unit);
    } else {
        answer.nvmlReturn = Code::ERROR_NOT_SUPPORTED.0;
        answer.value = 0.0;
    }
    place.put(answer)
}
