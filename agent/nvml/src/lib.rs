//! MIG through NVML: what a node's driver offers, what stands on its GPUs, and the five calls that change it.
//!
//! [`Driver`] is one open NVML. It reads [`mica_model::Gpu`]s and makes and destroys GPU instances and compute instances. This is
//! the product's only crate with `unsafe`: `nvml-wrapper` covers loading, enumeration, MIG mode, memory and GPM; the calls on
//! instances, placements, process lists and events are made through `nvml-wrapper-sys`, in `raw`.
//!
//! - **Nothing is taken from tables.** Profiles, their names and placements are what the driver reports.
//! - **No handle survives a call.** Handles die with instance, mode change and reset, and the driver reuses them; every operation
//!   looks GPU and instance up again by UUID and id.
//! - **Placements are always explicit.** What the driver would choose fragments GPUs.
//! - **A slice is a GPU instance with one compute instance that fills it.** Others, made by hand, are read as well as the vocabulary
//!   allows: of several compute instances the one with the lowest id is reported, with the processes of all; a GPU instance whose
//!   compute instance does not fill it looks like a whole slice.
//! - **Return codes stay visible.** [`Error::code`] gives the raw [`Code`], also those that `nvml-wrapper`'s enum lacks, such as
//!   [`Code::INSUFFICIENT_RESOURCES`].
//!
//! Calls block, some for seconds on a loaded node: run them on a thread of their own. Each is logged at trace level with its duration and
//! code, and at warn level when it took longer than a second.

mod activity;
mod boards;
mod call;
mod change;
mod code;
mod driver;
mod error;
mod events;
mod gpus;
mod hardware;
mod instances;
mod raw;

pub use activity::Activity;
pub use change::ModeChange;
pub use code::Code;
pub use driver::{Driver, Versions};
pub use error::Error;
pub use events::{Event, EventKind, Events};
pub use hardware::{Hardware, Pci};
