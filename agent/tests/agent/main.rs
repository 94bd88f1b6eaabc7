//! The agent against the simulated driver: the same library, loaded the same way, as on hardware.

mod coordinator;
mod execute;
mod node;
mod program;
mod uplink;
