//! What the endpoints do, one file for each service.

pub(crate) mod accounts;
pub(crate) mod auth;
pub(crate) mod clusters;
pub(crate) mod credentials;
pub(crate) mod debug;
pub(crate) mod login_routing;
pub(crate) mod queues;
pub(crate) mod resources;
pub(crate) mod service_users;
pub(crate) mod system;
pub(crate) mod tasks;
pub(crate) mod tenants;
pub(crate) mod usages;
pub(crate) mod workers;
