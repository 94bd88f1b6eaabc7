//! GPM: activity counters of GPUs and MIG instances, on Hopper and later.

use std::ffi::c_uint;

use nvml_wrapper_sys::bindings::nvmlGpmSupport_t;

use super::call::export;
use super::handle;
use super::pointer::{Handle, Out};
use crate::boards::Architecture;

export! {
    fn nvmlGpmQueryDeviceSupport(device: Handle, support: Out<nvmlGpmSupport_t>) |store| {
        let board = handle::device(store, device)?.on.board;
        let supported = c_uint::from(board.architecture != Architecture::Ampere);
        let version = support.cast().get()?;
        support.put(nvmlGpmSupport_t { version, isSupportedDevice: supported })
    }
}
