//! Handles: kind, GPU, instance ids and generation packed into a pointer that is never NULL and never followed.
//!
//! A handle whose generation is not that of the instance is stale and answers 2, also when the same id exists again. The generation
//! of a GPU is the driver's load.

use std::sync::Arc;

use super::call::Result;
use super::pointer::Handle;
use crate::boards::Board;
use crate::code::Code;
use crate::state::{ComputeInstance, Gpu, GpuInstance};
use crate::store::Store;

/// In the low byte of every handle, so that garbage is told from a handle.
const GPU: u8 = 0xa1;
const MIG_DEVICE: u8 = 0xa2;
const GPU_INSTANCE: u8 = 0xa3;
const COMPUTE_INSTANCE: u8 = 0xa4;

fn pack(kind: u8, gpu: usize, gi: u8, ci: u8, generation: u32) -> Handle {
    let [g0, g1, g2, g3] = generation.to_le_bytes();
    let gpu = u8::try_from(gpu).unwrap_or(u8::MAX);
    Handle::from_bits(usize::from_le_bytes([kind, gpu, gi, ci, g0, g1, g2, g3]))
}

pub(super) fn gpu(on: &OnGpu) -> Handle {
    gpu_at(on.index, &on.gpu)
}

/// As [`gpu`], of a GPU that may be lost.
pub(super) fn gpu_at(index: usize, gpu: &Gpu) -> Handle {
    pack(GPU, index, 0, 0, gpu.load)
}

pub(super) fn mig_device(index: usize, gi: u8, ci: u8, instance: ComputeInstance) -> Handle {
    pack(MIG_DEVICE, index, gi, ci, instance.generation)
}

pub(super) fn gpu_instance(index: usize, gi: u8, instance: &GpuInstance) -> Handle {
    pack(GPU_INSTANCE, index, gi, 0, instance.generation)
}

pub(super) fn compute_instance(index: usize, gi: u8, ci: u8, instance: ComputeInstance) -> Handle {
    pack(COMPUTE_INSTANCE, index, gi, ci, instance.generation)
}

/// A GPU as a call finds it.
#[derive(Debug)]
pub(super) struct OnGpu {
    pub(super) index: usize,
    pub(super) gpu: Arc<Gpu>,
    pub(super) board: &'static Board,
}

impl OnGpu {
    /// GPU number `index`; 15 when it is lost, 2 when there is none.
    pub(super) fn open(store: &Store, index: usize) -> Result<Self> {
        let gpu = store.gpu(index).ok_or(Code::ERROR_INVALID_ARGUMENT)?;
        let board = gpu.board().ok_or(Code::ERROR_INVALID_ARGUMENT)?;
        if gpu.lost != 0 {
            return Err(Code::ERROR_GPU_IS_LOST);
        }
        Ok(Self { index, gpu, board })
    }

    /// The GPU's number as NVML passes it.
    pub(super) fn number(&self) -> u32 {
        u32::try_from(self.index).unwrap_or(u32::MAX)
    }
}

/// What a device handle names.
#[derive(Debug)]
pub(super) struct Device {
    pub(super) on: OnGpu,
    /// The instance, when it is a MIG device.
    pub(super) mig: Option<Seat>,
}

impl Device {
    /// 4 when it is a whole GPU in MIG mode whose processes and memory the caller may not see. A MIG device it may.
    pub(super) fn require_sight(&self, store: &Store) -> Result {
        let whole = self.mig.is_none() && self.on.gpu.mig_enabled();
        if whole && !store.permission().sees_whole_gpus() {
            return Err(Code::ERROR_NO_PERMISSION);
        }
        Ok(())
    }
}

/// A compute instance and where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seat {
    pub(super) gi: u8,
    pub(super) ci: u8,
    pub(super) gpu_instance: GpuInstance,
    pub(super) compute_instance: ComputeInstance,
}

struct Parts {
    kind: u8,
    gpu: u8,
    gi: u8,
    ci: u8,
    generation: u32,
}

fn unpack(handle: Handle) -> Parts {
    let [kind, gpu, gi, ci, g0, g1, g2, g3] = handle.bits().to_le_bytes();
    Parts {
        kind,
        gpu,
        gi,
        ci,
        generation: u32::from_le_bytes([g0, g1, g2, g3]),
    }
}

/// Index of the GPU that a handle belongs to, live or not.
pub(super) fn gpu_index(handle: Handle) -> Option<u32> {
    let parts = unpack(handle);
    matches!(
        parts.kind,
        GPU | MIG_DEVICE | GPU_INSTANCE | COMPUTE_INSTANCE
    )
    .then_some(parts.gpu.into())
}

/// Whether a handle names a MIG device; 2 when it names no device at all. Says nothing about staleness.
pub(super) fn is_mig_device(handle: Handle) -> Result<bool> {
    match unpack(handle).kind {
        GPU => Ok(false),
        MIG_DEVICE => Ok(true),
        _ => Err(Code::ERROR_INVALID_ARGUMENT),
    }
}

/// The device behind a handle, GPU or MIG device.
pub(super) fn device(store: &Store, handle: Handle) -> Result<Device> {
    let is_mig = is_mig_device(handle)?;
    let parts = unpack(handle);
    let on = OnGpu::open(store, parts.gpu.into())?;
    let mig = if is_mig {
        Some(seat(&on.gpu, &parts)?)
    } else if parts.generation == on.gpu.load {
        None
    } else {
        return Err(Code::ERROR_INVALID_ARGUMENT);
    };
    Ok(Device { on, mig })
}

fn seat(gpu: &Gpu, parts: &Parts) -> Result<Seat> {
    let find = || {
        let gpu_instance = *gpu.instance(parts.gi)?;
        let compute_instance = *gpu_instance.compute_instance(parts.ci)?;
        (compute_instance.generation == parts.generation).then_some(Seat {
            gi: parts.gi,
            ci: parts.ci,
            gpu_instance,
            compute_instance,
        })
    };
    find().ok_or(Code::ERROR_INVALID_ARGUMENT)
}

/// The GPU behind a handle; 2 when it names a MIG device.
pub(super) fn whole_gpu(store: &Store, handle: Handle) -> Result<OnGpu> {
    match device(store, handle)? {
        Device { on, mig: None } => Ok(on),
        Device { .. } => Err(Code::ERROR_INVALID_ARGUMENT),
    }
}

/// The MIG device behind a handle; 2 when it names a GPU (the header allows 2 or 3).
pub(super) fn mig(store: &Store, handle: Handle) -> Result<(OnGpu, Seat)> {
    match device(store, handle)? {
        Device {
            on,
            mig: Some(seat),
        } => Ok((on, seat)),
        Device { .. } => Err(Code::ERROR_INVALID_ARGUMENT),
    }
}

/// A GPU instance handle without a look at the state: index of its GPU, id and generation.
pub(super) fn gpu_instance_parts(handle: Handle) -> Result<(usize, u8, u32)> {
    let parts = unpack(handle);
    if parts.kind == GPU_INSTANCE {
        Ok((parts.gpu.into(), parts.gi, parts.generation))
    } else {
        Err(Code::ERROR_INVALID_ARGUMENT)
    }
}

/// The GPU instance of this id and generation; 2 when it is gone.
pub(super) fn live_gpu_instance(gpu: &Gpu, gi: u8, generation: u32) -> Result<GpuInstance> {
    gpu.instance(gi)
        .filter(|instance| instance.generation == generation)
        .copied()
        .ok_or(Code::ERROR_INVALID_ARGUMENT)
}

/// The GPU instance behind a handle.
pub(super) fn open_gpu_instance(store: &Store, handle: Handle) -> Result<(OnGpu, u8, GpuInstance)> {
    let (index, gi, generation) = gpu_instance_parts(handle)?;
    let on = OnGpu::open(store, index)?;
    let instance = live_gpu_instance(&on.gpu, gi, generation)?;
    Ok((on, gi, instance))
}

/// The index of the GPU behind a compute instance handle.
pub(super) fn compute_instance_gpu(handle: Handle) -> Result<usize> {
    let parts = unpack(handle);
    if parts.kind == COMPUTE_INSTANCE {
        Ok(parts.gpu.into())
    } else {
        Err(Code::ERROR_INVALID_ARGUMENT)
    }
}

/// The compute instance behind a handle, on a GPU that was read or locked before.
pub(super) fn live_compute_instance(gpu: &Gpu, handle: Handle) -> Result<Seat> {
    seat(gpu, &unpack(handle))
}
