//! The vocabulary of MIG that agent and coordinator share.
//!
//! Pure Rust: no I/O, no async, no clock. A [`Board`] says what the driver offers on one kind of GPU: [`Profile`]s with their
//! [`Placement`]s, memory slots and [`Engines`]. A [`Layout`] is a set of [`Slice`]s on one GPU; [`Board::check`] tells whether
//! it is legal. A [`Gpu`] is what an agent saw: its mode, and its [`Instance`]s with their [`Use`]. A [`Generation`] orders the
//! layouts that a node is told to make true. [`resource_name`] is what slices are called in Kubernetes.

mod board;
mod engines;
mod generation;
mod gpu;
mod holder;
mod layout;
mod placement;
mod profile;
mod resource;
pub mod testing;
mod usage;

pub use board::{Board, LayoutError};
pub use engines::Engines;
pub use generation::Generation;
pub use gpu::{ComputeInstance, Gpu, Instance, MigMode, WaitsFor};
pub use holder::Holder;
pub use layout::{Layout, Slice};
pub use placement::{Placement, SlotMask};
pub use profile::{Profile, ProfileId};
pub use resource::{SLICE_PREFIX, WHOLE_GPU, resource_name};
pub use usage::{Container, Pod, Reservation, Silence, Source, Use};
