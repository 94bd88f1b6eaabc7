//! MIG mode of a GPU.

use std::ffi::c_uint;

use super::call::{Result, broken, export};
use super::handle::{self, OnGpu};
use super::pointer::{Handle, Out};
use crate::client;
use crate::code::Code;
use crate::log::{Action, Event};
use crate::store::Store;

export! {
    fn nvmlDeviceGetMigMode(device: Handle, current: Out<c_uint>, pending: Out<c_uint>) |store| {
        let gpu = with_mig(store, device)?.gpu;
        current.put(gpu.mig_current.into())?;
        pending.put(gpu.mig_pending.into())
    }
    fn nvmlDeviceSetMigMode(device: Handle, mode: c_uint, activation: Out<c_uint>) |store| {
        set(store, device, mode, activation)
    }
}

/// The GPU; 3 when its board has no MIG.
fn with_mig(store: &Store, device: Handle) -> Result<OnGpu> {
    let on = handle::whole_gpu(store, device)?;
    if on.board.has_mig() {
        Ok(on)
    } else {
        Err(Code::ERROR_NOT_SUPPORTED)
    }
}

fn set(store: &Store, device: Handle, mode: c_uint, activation: Out<c_uint>) -> Result {
    let index = with_mig(store, device)?.index;
    let enable = match mode {
        0 => false,
        1 => true,
        _ => return Err(Code::ERROR_INVALID_ARGUMENT),
    };
    if activation.is_null() {
        return Err(Code::ERROR_INVALID_ARGUMENT);
    }
    let change = store.change_gpu(index, |gpu| {
        let processes = client::present(index, gpu, gpu.processes().iter());
        let changes = gpu.mig_enabled() != enable;
        let status = gpu.set_mig_mode(enable, store.driver().can_reset());
        let event = Event {
            mig: Some(enable),
            activation: Some(status.0),
            processes,
            ..Event::new(Action::SetMigMode)
        };
        // Asking for the mode that is in force touches nobody: no activation is reported of it in the log.
        (
            status,
            Some(Event {
                activation: changes.then_some(status.0),
                ..event
            }),
        )
    });
    activation.put(change.map_err(broken)?.0)
}
