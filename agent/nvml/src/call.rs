//! Every call to NVML passes through here: timed, logged, and its return code made an [`Error`].

use std::time::{Duration, Instant};

use nvml_wrapper::error::NvmlError;
use nvml_wrapper_sys::bindings::nvmlReturn_t;

use crate::{Code, Error};

/// A call that takes longer is logged at warn level: it holds everything up that waits for the driver.
const SLOW: Duration = Duration::from_secs(1);

/// Makes a call through `nvml-wrapper`.
pub(crate) fn wrapped<T>(
    call: &'static str,
    run: impl FnOnce() -> Result<T, NvmlError>,
) -> Result<T, Error> {
    timed(call, || run().map_err(|error| Error::wrapped(call, error)))
}

/// Makes a call to a function of the library itself.
pub(crate) fn raw(call: &'static str, run: impl FnOnce() -> nvmlReturn_t) -> Result<(), Error> {
    timed(call, || match Code(run()) {
        Code::SUCCESS => Ok(()),
        code => Err(Error::Call { call, code }),
    })
}

/// Makes a call that is there to wait, so that it is not slow when it takes long.
pub(crate) fn waiting(call: &'static str, run: impl FnOnce() -> nvmlReturn_t) -> Result<(), Error> {
    match Code(run()) {
        Code::SUCCESS => Ok(()),
        code => Err(Error::Call { call, code }),
    }
}

/// The function behind a field of `NvmlLib`. Fields, not methods: those panic when the library lacks the function.
pub(crate) fn symbol<T: Copy, E>(call: &'static str, field: &Result<T, E>) -> Result<T, Error> {
    field
        .as_ref()
        .copied()
        .map_err(|_| Error::MissingSymbol { call })
}

fn timed<T>(call: &'static str, run: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    let start = Instant::now();
    let result = run();
    let duration = start.elapsed();
    let code = match &result {
        Ok(_) => Some(Code::SUCCESS),
        Err(error) => error.code(),
    }
    .map(|code| code.0);
    if duration > SLOW {
        tracing::warn!(nvml_call = call, ?duration, code, "slow NVML call");
    } else {
        tracing::trace!(nvml_call = call, ?duration, code, "NVML call");
    }
    result
}
