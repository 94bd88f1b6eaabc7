//! The frame around every exported function.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::client;
use crate::code::Code;
use crate::store::{Store, StoreError};

pub(super) type Result<T = ()> = std::result::Result<T, Code>;

/// Defines exported functions: name, parameters, and a body that gets the open node and answers `Result<()>`.
macro_rules! export {
    ($(fn $name:ident($($parameter:ident: $type:ty),* $(,)?) |$store:pat_param| $body:block)*) => { $(
        #[unsafe(no_mangle)]
        extern "C" fn $name($($parameter: $type),*) -> std::ffi::c_uint {
            $crate::abi::call::call(stringify!($name), |$store: &std::sync::Arc<$crate::store::Store>| $body)
        }
    )* };
}
pub(super) use export;

/// Runs the body of a function against the open node and turns its outcome into a return code.
pub(super) fn call(name: &str, body: impl FnOnce(&Arc<Store>) -> Result) -> u32 {
    guard(|| {
        let store = client::store()?;
        suffer(&store, name)?;
        body(&store)
    })
}

/// Keeps a panic from crossing into C: undefined there, "unknown error" here.
pub(super) fn guard(body: impl FnOnce() -> Result) -> u32 {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => Code::SUCCESS.0,
        Ok(Err(code)) => code.0,
        Err(_) => Code::ERROR_UNKNOWN.0,
    }
}

/// What injected faults do to a call.
pub(super) fn suffer(store: &Store, name: &str) -> Result {
    let suffering = store.suffer(name).map_err(broken)?;
    if !suffering.delay.is_zero() {
        #[expect(clippy::disallowed_methods, reason = "the delay is what was asked for")]
        std::thread::sleep(suffering.delay);
    }
    if suffering.kill {
        kill_client();
    }
    suffering.code.map_or(Ok(()), Err)
}

fn kill_client() {
    // SAFETY: `getpid` has no precondition.
    let pid = unsafe { libc::getpid() };
    // SAFETY: `kill` with our own process id; the process does not outlive it.
    unsafe { libc::kill(pid, libc::SIGKILL) };
}

/// The node's files cannot be used (full disk, node removed): told on stderr, since a return code cannot say it.
#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
pub(super) fn broken(error: StoreError) -> Code {
    let source =
        std::error::Error::source(&error).map_or_else(String::new, |source| format!(": {source}"));
    eprintln!("nvml-sim: {error}{source}");
    Code::ERROR_UNKNOWN
}
