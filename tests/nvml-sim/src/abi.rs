//! The C side: every function of `nvml.h`.
//!
//! A function decodes its handles, asks the state, and writes its answer; [`call`] puts the same frame around each: fault
//! injection, "not initialised", and no panic across the border. Rules live elsewhere.
#![expect(
    unsafe_code,
    reason = "symbols of a C library: exported by name, called with raw pointers"
)]

mod call;
mod compute_instance;
mod device;
mod events;
mod fields;
mod gpm;
mod gpu_instance;
mod handle;
mod init;
mod memory;
mod mig_device;
mod mig_mode;
mod monitor;
mod pointer;
mod process;
mod unsupported;
