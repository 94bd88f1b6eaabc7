//! The driver API against the simulated driver, by the same `dlopen` that finds NVIDIA's.

#[cfg(test)]
mod activity;
#[cfg(test)]
mod boards;
#[cfg(test)]
mod events;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod layouts;
#[cfg(test)]
mod life_cycle;
#[cfg(test)]
mod mig_mode;
#[cfg(test)]
mod node;
#[cfg(test)]
mod open;
#[cfg(test)]
mod partial;
#[cfg(test)]
mod processes;
