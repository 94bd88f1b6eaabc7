//! Programs that we did not write believe the simulated driver. Each test prints what it checked (`-- --nocapture` shows it).
//!
//! `nvml_wrapper` is a crate; the Python programs are installed by `tests/run`, which runs those tests too: they are ignored otherwise.

#[cfg(test)]
mod nvml_wrapper;
#[cfg(test)]
mod python;
