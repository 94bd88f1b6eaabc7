//! Mica on a real Kubernetes. `MICA_TEST_CLUSTER` names the folder of a cluster that `tests/cluster/up --mica` brought up; `tests/run` does that.

#![cfg(test)]

mod admission;
mod adopt;
mod api;
mod chart;
mod clearml;
mod identity;
mod slices;
mod tenant;
