//! What the endpoints do, one file for each service.

pub(crate) mod auth;
pub(crate) mod debug;
pub(crate) mod queues;
pub(crate) mod tasks;
pub(crate) mod workers;
