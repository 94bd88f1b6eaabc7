//! The Enterprise edition: tenants, accounts, log-in routing, resource policies, reports of clusters.
//!
//! No answer of the real server could be recorded: these tests hold the simulator to its published reference and, where that says
//! nothing, to what `docs/simulated-clearml.md` says that it assumes.

#![cfg(test)]

mod accounts;
mod clusters;
mod companies;
mod identity;
mod login_routing;
mod policies;
mod tasks;
mod tenants;
mod usages;
mod world;
