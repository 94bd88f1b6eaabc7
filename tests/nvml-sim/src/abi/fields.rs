//! Field values, by number: the few that MIG clients ask for. The rest answer 3, each by itself.

use std::ffi::{c_int, c_uint};

use nvml_wrapper_sys::bindings::{nvmlFieldValue_t, nvmlValue_t};

use super::call::{Result, export};
use super::handle::{self, OnGpu};
use super::pointer::{Handle, Out};
use crate::code::Code;

/// `NVML_FI_DEV_IS_RESETLESS_MIG_SUPPORTED`: the MIG mode changes without a GPU reset.
const RESETLESS_MIG: c_uint = 184;
/// `NVML_FI_DEV_IS_MIG_MODE_INDEPENDENT_MIG_QUERY_CAPABLE`: profiles and placements can be read with MIG mode off.
const MODE_INDEPENDENT_QUERY: c_uint = 199;
/// `NVML_VALUE_TYPE_UNSIGNED_INT`.
const UNSIGNED_INT: c_uint = 1;

export! {
    fn nvmlDeviceGetFieldValues(device: Handle, count: c_int, values: Out<nvmlFieldValue_t>) |store| {
        let on = handle::device(store, device)?.on;
        if values.is_null() {
            return Err(Code::ERROR_INVALID_ARGUMENT);
        }
        let count = usize::try_from(count).map_err(|_| Code::ERROR_INVALID_ARGUMENT)?;
        (0..count).try_for_each(|index| answer(&on, values.offset(index * size_of::<nvmlFieldValue_t>())?))
    }
    fn nvmlDeviceGetAddressingMode(device: Handle, mode: Out<[c_uint; 2]>) |store| {
        handle::device(store, device)?;
        let [version, _] = mode.get()?;
        // NVML_DEVICE_ADDRESSING_MODE_NONE.
        mode.put([version, 0])
    }
}

fn answer(on: &OnGpu, place: Out<nvmlFieldValue_t>) -> Result {
    let mut field = place.get()?;
    let value = match field.fieldId {
        _ if !on.board.has_mig() => None,
        RESETLESS_MIG => Some(c_uint::from(!on.board.mode_needs_reset())),
        MODE_INDEPENDENT_QUERY => Some(1),
        _ => None,
    };
    field.nvmlReturn = if value.is_some() {
        Code::SUCCESS.0
    } else {
        Code::ERROR_NOT_SUPPORTED.0
    };
    field.valueType = UNSIGNED_INT;
    field.value = nvmlValue_t {
        ullVal: value.unwrap_or(0).into(),
    };
    place.put(field)
}
