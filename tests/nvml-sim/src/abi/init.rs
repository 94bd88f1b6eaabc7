//! Initialisation, versions and error texts.

use std::ffi::{CStr, OsStr, c_char, c_int, c_uint, c_void};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::call::{Result, broken, export, guard, suffer};
use super::pointer::Out;
use crate::client;
use crate::code::Code;
use crate::permission::{self, Permission};

/// CUDA 13.0, whatever the driver: it is what the header is of.
const CUDA_VERSION: c_int = 13_000;

/// `DIR` of `DIR/lib/libnvidia-ml.so.1`, found from where this code was loaded from.
fn own_dir() -> Option<PathBuf> {
    // SAFETY: all zero is a valid `Dl_info`: null pointers.
    let mut info: libc::Dl_info = unsafe { std::mem::zeroed() };
    let here: extern "C" fn() -> c_uint = nvmlInit_v2;
    let address: *const c_void = std::ptr::with_exposed_provenance(fn_address(here));
    // SAFETY: any address may be asked about; `info` is valid for writing.
    let found = unsafe { libc::dladdr(address, &raw mut info) };
    if found == 0 || info.dli_fname.is_null() {
        return None;
    }
    // SAFETY: not NULL after success, and it lives as long as the library is loaded, which is longer than this call.
    let file = unsafe { CStr::from_ptr(info.dli_fname) };
    let file = Path::new(OsStr::from_bytes(file.to_bytes()))
        .canonicalize()
        .ok()?;
    Some(file.parent()?.parent()?.to_owned())
}

fn fn_address(function: extern "C" fn() -> c_uint) -> usize {
    #[expect(
        clippy::as_conversions,
        reason = "a function pointer has no other way to become an address"
    )]
    {
        function as usize
    }
}

fn init(name: &str) -> c_uint {
    guard(|| {
        let dir = std::env::var_os("NVML_SIM_DIR")
            .map(PathBuf::from)
            .or_else(own_dir);
        let dir = dir.ok_or(Code::ERROR_DRIVER_NOT_LOADED)?;
        client::init(&dir, permission()?).map_err(|error| {
            let _ = broken(error);
            Code::ERROR_DRIVER_NOT_LOADED
        })?;
        let store = client::store()?;
        let outcome = store.check().and_then(|()| suffer(&store, name, None));
        if outcome.is_err() && !store.has_vanished() {
            client::shutdown()?;
        }
        outcome
    })
}

/// What this process may do, when its environment says so.
fn permission() -> Result<Option<Permission>> {
    let Some(word) = std::env::var_os(permission::ENVIRONMENT) else {
        return Ok(None);
    };
    word.to_string_lossy().parse().map(Some).map_err(|error| {
        eprintln!("nvml-sim: {}: {error}", permission::ENVIRONMENT);
        Code::ERROR_INVALID_ARGUMENT
    })
}

/// A client may always shut down, also when its driver is gone, unless it is itself.
fn shutdown() -> Result {
    let store = client::store()?;
    if store.has_vanished() {
        return Err(Code::ERROR_UNKNOWN);
    }
    suffer(&store, "nvmlShutdown", None)?;
    client::shutdown()
}

#[unsafe(no_mangle)]
extern "C" fn nvmlInit() -> c_uint {
    init("nvmlInit")
}

#[unsafe(no_mangle)]
extern "C" fn nvmlInit_v2() -> c_uint {
    init("nvmlInit_v2")
}

#[unsafe(no_mangle)]
extern "C" fn nvmlInitWithFlags(_flags: c_uint) -> c_uint {
    init("nvmlInitWithFlags")
}

#[unsafe(no_mangle)]
extern "C" fn nvmlShutdown() -> c_uint {
    guard(shutdown)
}

#[unsafe(no_mangle)]
extern "C" fn nvmlErrorString(result: c_uint) -> *const c_char {
    Code(result).words().as_ptr()
}

export! {
    fn nvmlSystemGetDriverVersion(buffer: Out<c_char>, length: c_uint) |store| {
        buffer.put_text(length, &store.driver().version())
    }
    fn nvmlSystemGetNVMLVersion(buffer: Out<c_char>, length: c_uint) |store| {
        // CUDA major version of NVML, then the driver's.
        buffer.put_text(length, &format!("13.{}", store.driver().version()))
    }
    fn nvmlSystemGetCudaDriverVersion(version: Out<c_int>) |_| { version.put(CUDA_VERSION) }
    fn nvmlSystemGetCudaDriverVersion_v2(version: Out<c_int>) |_| { version.put(CUDA_VERSION) }
    fn nvmlSystemGetProcessName(pid: c_uint, name: Out<c_char>, length: c_uint) |_| { process_name(pid, name, length) }
}

/// Name of a real process when there is one with this id, else a made-up one: simulated processes need not exist.
fn process_name(pid: c_uint, name: Out<c_char>, length: c_uint) -> Result {
    let text = std::fs::read_to_string(format!("/proc/{pid}/comm"))
        .unwrap_or_else(|_| format!("process-{pid}"));
    name.put_text(length, text.trim_end())
}
