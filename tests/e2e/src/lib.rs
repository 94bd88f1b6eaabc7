//! The demo, and what the tests of the whole are made of.
//!
//! [`cluster`] starts real agents and a real coordinator on simulated GPUs and a simulated ClearML; [`workers`] stand in for
//! ClearML's agents; [`demo`] replays a published [`trace`] on them and [`summary`] says, from the simulated drivers' own logs,
//! whether anything went wrong.

pub mod clearml;
pub mod cluster;
pub mod demo;
pub mod draw;
pub mod programs;
mod screen;
pub mod summary;
pub mod supervisor;
pub mod trace;
pub mod workers;
