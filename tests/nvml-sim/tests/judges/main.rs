//! Programs that we did not write believe the simulated driver. Each test prints what it checked (`-- --nocapture` shows it).
//!
//! `nvml_wrapper` is a crate; the Python programs are installed by `tests/run`, which turns on the feature `external` for them.

#[cfg(test)]
mod nvml_wrapper;
#[cfg(test)]
#[cfg(feature = "external")]
mod python;
