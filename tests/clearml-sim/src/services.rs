//! What the endpoints do, one file for each service.

pub(crate) mod accounts;
pub(crate) mod auth;
pub(crate) mod clusters;
pub(crate) mod credentials;
pub(crate) mod debug;
pub(crate) mod events;
pub(crate) mod login;
pub(crate) mod login_routing;
pub(crate) mod organization;
pub(crate) mod queue_order;
pub(crate) mod queues;
pub(crate) mod resources;
pub(crate) mod server;
pub(crate) mod service_users;
pub(crate) mod system;
pub(crate) mod task_edits;
pub(crate) mod tasks;
pub(crate) mod tenants;
pub(crate) mod usages;
pub(crate) mod users;
pub(crate) mod workers;
