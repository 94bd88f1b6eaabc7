//! The coordinator and its command line.
//!
//! [`serve`] is the coordinator: it sees demand through [`clearml`], plans with [`mica_planner`] and tells the agents; [`config`]
//! says which queues it serves; `admission` is the webhook that gates pods where the API server cannot. [`cli`] is what people type: `mica serve`, and the commands that ask a running coordinator.

mod admission;
pub mod clearml;
pub mod cli;
pub mod config;
mod names;
pub mod serve;
