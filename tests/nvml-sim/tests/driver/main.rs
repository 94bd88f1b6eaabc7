//! The library as its clients see it: loaded from a node's folder and called through the C ABI. And the
//! program that makes nodes.

#[cfg(test)]
mod boot;
#[cfg(test)]
mod caps;
#[cfg(test)]
mod client;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod errors;
#[cfg(test)]
mod events;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod histories;
#[cfg(test)]
mod layouts;
#[cfg(test)]
mod life;
#[cfg(test)]
mod looks;
#[cfg(test)]
mod mode;
#[cfg(test)]
mod monitor;
#[cfg(test)]
mod permission;
#[cfg(test)]
mod program;
#[cfg(test)]
mod sharing;
#[cfg(test)]
mod smi;
#[cfg(test)]
mod symbols;
#[cfg(test)]
mod table;
