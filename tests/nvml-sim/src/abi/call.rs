//! The frame around every exported function.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::handle;
use super::pointer::{Handle, Out, Text};
use crate::client;
use crate::code::Code;
use crate::death;
use crate::inject;
use crate::store::{Store, StoreError};

pub(super) type Result<T = ()> = std::result::Result<T, Code>;

/// Defines exported functions: name, parameters, and a body that gets the open node and answers `Result<()>`.
macro_rules! export {
    ($(fn $name:ident($($parameter:ident: $type:ty),* $(,)?) |$store:pat_param| $body:block)*) => { $(
        #[unsafe(no_mangle)]
        extern "C" fn $name($($parameter: $type),*) -> std::ffi::c_uint {
            let gpu = None$(.or_else(|| $crate::abi::call::Argument::gpu(&$parameter)))*;
            let body = |$store: &std::sync::Arc<$crate::store::Store>| $body;
            $crate::abi::call::call(stringify!($name), gpu, body)
        }
    )* };
}
pub(super) use export;

/// An argument of a call; it may say which GPU the call is on.
pub(super) trait Argument {
    /// Index of the GPU that a handle belongs to.
    fn gpu(&self) -> Option<u32> {
        None
    }
}

impl Argument for Handle {
    fn gpu(&self) -> Option<u32> {
        handle::gpu_index(*self)
    }
}

impl<T> Argument for Out<T> {}
impl Argument for Text {}
impl Argument for u32 {}
impl Argument for i32 {}
impl Argument for u64 {}

/// Runs the body of a function against the open node and turns its outcome into a return code. `gpu` is the GPU that it is on.
pub(super) fn call(
    name: &'static str,
    gpu: Option<u32>,
    body: impl FnOnce(&Arc<Store>) -> Result,
) -> u32 {
    guard(|| {
        let store = client::store()?;
        store.check()?;
        suffer(&store, name, gpu)?;
        if !store.permission().allows(name) {
            return Err(Code::ERROR_NO_PERMISSION);
        }
        inject::enter_call(name);
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
pub(super) fn suffer(store: &Store, name: &str, gpu: Option<u32>) -> Result {
    let suffering = store.suffer(name, gpu).map_err(broken)?;
    if !suffering.delay.is_zero() {
        #[expect(clippy::disallowed_methods, reason = "the delay is what was asked for")]
        std::thread::sleep(suffering.delay);
    }
    if suffering.kill {
        death::kill_this_process();
    }
    if suffering.vanish {
        store.vanish();
        return Err(Code::ERROR_UNKNOWN);
    }
    suffering.code.map_or(Ok(()), Err)
}

/// The node's files cannot be used (full disk, node removed): told on stderr, since a return code cannot say it. A driver that went
/// away has a code.
#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
pub(super) fn broken(error: StoreError) -> Code {
    if let StoreError::Gone(code) = error {
        return code;
    }
    let source =
        std::error::Error::source(&error).map_or_else(String::new, |source| format!(": {source}"));
    eprintln!("nvml-sim: {error}{source}");
    Code::ERROR_UNKNOWN
}
