//! Reading a GPU.

use std::{collections::BTreeSet, sync::Arc};

use mica_model::{Board, Gpu, MigMode, Use};
use nvml_wrapper::Device;

use crate::{Code, Error, boards::Boards, call::wrapped, instances, raw};

/// How often the instances are read when another client changes them meanwhile.
const TRIES: u32 = 3;

/// A GPU of which nothing is known but its index. The UUID says so: a GPU that was lost before it was ever seen has none to show.
pub(crate) fn unseen(index: u32) -> Gpu {
    Gpu {
        uuid: format!("GPU-unreadable-at-index-{index}"),
        index,
        product: String::new(),
        memory_mib: 0,
        mig_mode: MigMode::Unsupported,
        board: None,
        instances: Vec::new(),
        in_use: Use::default(),
        holders: Vec::new(),
        waits_for: None,
        fault: None,
    }
}

/// Reads a GPU into `gpu`, which holds what was seen of it before. At an error it holds what could be read until then, over what
/// was known of the same GPU.
pub(crate) fn read(device: &Device<'_>, gpu: &mut Gpu, boards: &mut Boards) -> Result<(), Error> {
    let uuid = wrapped("nvmlDeviceGetUUID", || device.uuid())?;
    if uuid != gpu.uuid {
        *gpu = Gpu {
            uuid,
            ..unseen(gpu.index)
        };
    }
    gpu.product = wrapped("nvmlDeviceGetName", || device.name())?;
    let mode = mig_mode(device)?;
    // The board is that of the same GPU, seen before: MIG does not go away. A GPU without it would pass for one without instances.
    if mode == MigMode::Unsupported && gpu.board.is_some() {
        return Err(Error::Call {
            call: "nvmlDeviceGetMigMode",
            code: Code::NOT_SUPPORTED,
        });
    }
    gpu.mig_mode = mode;
    let memory = wrapped("nvmlDeviceGetMemoryInfo_v2", || device.memory_info())?;
    gpu.memory_mib = memory.total >> 20;
    let mig_on = is_on(gpu.mig_mode);
    if gpu.mig_mode == MigMode::Unsupported {
        gpu.board = None;
    } else {
        // Until it is known: a board that can be cut into nothing.
        let unknown = || Arc::new(Board::new(gpu.product.clone(), Vec::new()));
        gpu.board.get_or_insert_with(unknown);
        let known = boards
            .of(device, &gpu.uuid, mig_on)
            .map_err(|error| explain(error, &gpu.uuid, mig_on))?;
        gpu.board = Some(Arc::clone(&known.board));
        if mig_on {
            let mut tries = 1;
            gpu.instances = loop {
                match instances::read(device, known) {
                    Err(error) if error.is_gone() && tries < TRIES => tries += 1,
                    result => break result?,
                }
            };
        }
    }
    if !mig_on {
        let pids: BTreeSet<_> = raw::processes(device)?
            .iter()
            .map(|process| process.pid)
            .collect();
        gpu.in_use = Use::by_processes(pids);
    }
    Ok(())
}

/// Says what "not supported" means when it is only the mode that is missing.
fn explain(error: Error, uuid: &str, mig_on: bool) -> Error {
    match (error.code(), error.call()) {
        (Some(Code::NOT_SUPPORTED), Some(call)) if !mig_on => Error::NeedsMigMode {
            call,
            gpu: uuid.to_owned(),
        },
        _ => error,
    }
}

/// MIG mode of a GPU, in force and pending.
pub(crate) fn mig_mode(device: &Device<'_>) -> Result<MigMode, Error> {
    let mode = match wrapped("nvmlDeviceGetMigMode", || device.mig_mode()) {
        Err(error) if error.code() == Some(Code::NOT_SUPPORTED) => return Ok(MigMode::Unsupported),
        mode => mode?,
    };
    Ok(match (mode.current != 0, mode.pending != 0) {
        (false, false) => MigMode::Disabled,
        (false, true) => MigMode::PendingEnable,
        (true, true) => MigMode::Enabled,
        (true, false) => MigMode::PendingDisable,
    })
}

/// Whether the GPU is in MIG mode now, whatever is pending.
pub(crate) fn is_on(mode: MigMode) -> bool {
    match mode {
        MigMode::Enabled | MigMode::PendingDisable => true,
        MigMode::Unsupported | MigMode::Disabled | MigMode::PendingEnable => false,
    }
}
