//! A simulated NVIDIA driver: a `libnvidia-ml.so.1` with MIG, at the C ABI.
//!
//! Built as a shared library it *is* NVML to any client; built as a Rust library it makes simulated nodes and acts on them
//! from outside: [`Node`]. Both sides meet in the files of the node:
//!
//! ```text
//!  any NVML client ──dlopen──► abi ──┐                        ┌── Node ◄── tests, demo, `nvml-sim`
//!                                    ▼                        ▼
//!                               change, rules (pure) on state::Gpu
//!                                    └──────► store ◄─────────┘
//!                          DIR/state (mapped, shared)   DIR/log.jsonl ──► judge
//! ```
//!
//! It shares no code with the product it tests, so that an error of one is not also one of the other. The README beside it
//! says what is modelled and what is not.

mod abi;
mod behaviour;
pub mod boards;
mod caps;
mod change;
mod client;
mod code;
mod death;
mod events;
mod identity;
mod inject;
pub mod judge;
mod library;
mod log;
mod node;
mod permission;
mod rules;
mod shared;
mod state;
mod store;

pub use behaviour::{Behaviour, UnknownWord};
pub use code::Code;
pub use events::EventKind;
pub use inject::{EVERY_CALL, Effect, Fault, FaultError, RandomFaults};
pub use library::{LibraryError, SONAME};
pub use log::{Action, Event, Present, Sight};
pub use node::{
    ComputeInstanceView, DriverView, GpuSpec, GpuView, InstanceView, Node, NodeError, NodeOptions,
    ProcessView,
};
pub use permission::{ENVIRONMENT as PERMISSION_ENVIRONMENT, Permission};
pub use store::StoreError;
