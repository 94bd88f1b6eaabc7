//! Programs that we did not write judge the server: ClearML's own Python client, the commands of ClearML's guide through curl, and
//! ClearML's agent for Kubernetes. Each test prints what it checked.
//!
//! They need bash, curl and the Python packages of `tests/requirements.txt`: `make test` installs them, names the Python in
//! `MICA_TEST_PYTHON` and turns the feature `external` on.

#![cfg(test)]

mod agent;
mod guide;
mod programs;
mod sdk;
