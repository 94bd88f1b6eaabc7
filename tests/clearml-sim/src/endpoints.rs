//! The endpoints: name, oldest version of the API that has it, who may call it, and what it does.

mod enterprise;

use jiff::Timestamp;
use serde_json::Value;

use crate::{
    body::Body,
    date::Date,
    error::ApiError,
    identity::{Identity, Role},
    mode::Mode,
    path::Version,
    services::{
        accounts, auth, credentials, debug, events, login, organization, queue_order, queues,
        server, task_edits, tasks, users, workers,
    },
    store::Store,
};

/// What an endpoint is given.
pub(crate) struct Call<'a> {
    pub(crate) identity: &'a Identity,
    pub(crate) body: &'a Body,
    pub(crate) now: Timestamp,
    /// The version of the API that was asked for.
    pub(crate) version: Version,
    /// Address of the caller.
    pub(crate) ip: &'a str,
}

impl Call<'_> {
    pub(crate) fn date(&self) -> Date {
        Date(self.now)
    }
}

/// Returns `data`.
type Handler = fn(&mut Store, &Call<'_>) -> Result<Value, ApiError>;

pub(crate) struct Endpoint {
    pub(crate) name: &'static str,
    pub(crate) min_version: Version,
    /// Who may call it on the open-source server.
    oss: Who,
    /// Who may call it on the Enterprise server.
    enterprise: Who,
    pub(crate) act: Act,
}

/// Who may call an endpoint.
#[derive(Clone, Copy)]
pub(crate) enum Who {
    /// The server does not know the endpoint at all.
    Nobody,
    /// Every user.
    Users,
    /// Users with one of these roles.
    Only(&'static [Role]),
}

pub(crate) enum Act {
    /// For everyone, known or not.
    Open(fn() -> Value),
    /// For users.
    Closed(Handler),
}

impl Endpoint {
    pub(crate) fn who(&self, mode: Mode) -> Who {
        match mode {
            Mode::Oss => self.oss,
            Mode::Enterprise => self.enterprise,
        }
    }

    /// The same with other callers on the Enterprise server.
    const fn enterprise(mut self, roles: &'static [Role]) -> Self {
        self.enterprise = Who::Only(roles);
        self
    }
}

/// The youngest form of an endpoint that the version has.
pub(crate) fn find(name: &str, version: Version, mode: Mode) -> Option<&'static Endpoint> {
    ENDPOINTS
        .iter()
        .chain(enterprise::ENDPOINTS)
        .filter(|endpoint| endpoint.name == name && endpoint.min_version <= version)
        .filter(|endpoint| !matches!(endpoint.who(mode), Who::Nobody))
        .max_by_key(|endpoint| endpoint.min_version)
}

/// Every endpoint that the edition has, in all its versions.
pub(crate) fn all(mode: Mode) -> impl Iterator<Item = &'static Endpoint> {
    ENDPOINTS
        .iter()
        .chain(enterprise::ENDPOINTS)
        .filter(move |endpoint| !matches!(endpoint.who(mode), Who::Nobody))
}

const fn open(name: &'static str, min_version: Version, answer: fn() -> Value) -> Endpoint {
    Endpoint {
        name,
        min_version,
        oss: Who::Users,
        enterprise: Who::Users,
        act: Act::Open(answer),
    }
}

const fn user(name: &'static str, min_version: Version, handler: Handler) -> Endpoint {
    Endpoint {
        name,
        min_version,
        oss: Who::Users,
        enterprise: Who::Users,
        act: Act::Closed(handler),
    }
}

const fn only(
    roles: &'static [Role],
    name: &'static str,
    min_version: Version,
    handler: Handler,
) -> Endpoint {
    Endpoint {
        name,
        min_version,
        oss: Who::Only(roles),
        enterprise: Who::Only(roles),
        act: Act::Closed(handler),
    }
}

const V1_0: Version = Version(1, 0);
const V2_2: Version = Version(2, 2);
const V2_4: Version = Version(2, 4);
const V2_8: Version = Version(2, 8);
const V2_12: Version = Version(2, 12);
const V2_13: Version = Version(2, 13);
const V2_15: Version = Version(2, 15);

const ENDPOINTS: &[Endpoint] = &[
    open("debug.ping", V1_0, debug::ping),
    user("auth.login", V1_0, auth::login),
    user("auth.logout", V2_2, auth::logout),
    only(
        &[Role::System, Role::Root],
        "auth.validate_token",
        V1_0,
        auth::validate_token,
    ),
    only(
        &[Role::System, Role::Root],
        "auth.create_user",
        V1_0,
        accounts::create_user,
    )
    .enterprise(&[Role::System, Role::Root, Role::Admin]),
    only(
        &[Role::System, Role::Root, Role::Admin],
        "auth.edit_user",
        V1_0,
        accounts::edit_user,
    ),
    only(
        &[Role::System, Role::Root],
        "auth.get_token_for_user",
        V1_0,
        accounts::get_token_for_user,
    ),
    user("auth.create_credentials", V1_0, credentials::create),
    user("auth.get_credentials", V1_0, credentials::get_all),
    user("auth.edit_credentials", V1_0, credentials::edit),
    user("auth.revoke_credentials", V1_0, credentials::revoke),
    open("auth.fixed_users_mode", V1_0, login::fixed_users_mode),
    open("login.supported_modes", V1_0, login::supported_modes),
    user("login.logout", V2_13, auth::logout),
    only(
        &[Role::System, Role::Root],
        "users.create",
        V1_0,
        users::create,
    ),
    only(
        &[Role::System, Role::Root],
        "users.delete",
        V1_0,
        users::delete,
    ),
    user("users.get_all", V1_0, users::get_all),
    user("users.get_all_ex", V1_0, users::get_all_ex),
    user("users.get_all_ex", V2_8, users::get_all_ex),
    user("users.get_by_id", V1_0, users::get_by_id),
    user("users.get_current_user", V1_0, users::get_current_user),
    user(
        "organization.get_user_companies",
        V1_0,
        organization::get_user_companies,
    ),
    user("server.info", V1_0, server::info),
    user("server.info", V2_8, server::info),
    user("server.info", V2_12, server::info),
    user("server.endpoints", V1_0, server::list_endpoints),
    user("server.config", V1_0, server::config),
    user("events.add_batch", V1_0, events::add_batch),
    user("queues.create", V2_4, queues::create),
    user("queues.get_all", V2_4, queues::get_all),
    user("queues.get_all_ex", V2_4, queues::get_all_ex),
    user("queues.get_by_id", V2_4, queues::get_by_id),
    user("queues.get_default", V2_4, queues::get_default),
    user("queues.delete", V2_4, queues::delete),
    user("queues.update", V2_4, queue_order::update),
    user("queues.clear_queue", V1_0, queue_order::clear),
    user("queues.get_queue_metrics", V2_4, queue_order::metrics),
    user("queues.move_task_to_front", V2_4, queue_order::to_front),
    user("queues.move_task_to_back", V2_4, queue_order::to_back),
    user("queues.move_task_forward", V2_4, queue_order::forward),
    user("queues.move_task_backward", V2_4, queue_order::backward),
    user("queues.get_num_entries", V2_15, queues::get_num_entries),
    user("queues.peek_task", V2_15, queues::peek_task),
    user("queues.get_next_task", V1_0, queues::get_next_task),
    user("queues.add_task", V2_4, queues::add_task),
    user("queues.remove_task", V2_4, queues::remove_task),
    user("tasks.create", V1_0, tasks::create),
    user("tasks.get_all", V1_0, tasks::get_all),
    user("tasks.get_by_id", V1_0, tasks::get_by_id),
    user("tasks.edit", V1_0, task_edits::edit),
    user("tasks.update", V1_0, task_edits::update),
    user(
        "tasks.edit_hyper_params",
        V1_0,
        task_edits::edit_hyper_params,
    ),
    user("tasks.delete", V1_0, task_edits::delete),
    user("tasks.enqueue", V1_0, tasks::enqueue),
    user("tasks.dequeue", V1_0, tasks::dequeue),
    user("tasks.started", V1_0, tasks::started),
    user("tasks.stop", V1_0, tasks::stop),
    user("tasks.stopped", V1_0, tasks::stopped),
    user("tasks.completed", V2_2, tasks::completed),
    user("tasks.failed", V1_0, tasks::failed),
    user("workers.register", V2_4, workers::register),
    user("workers.unregister", V2_4, workers::unregister),
    user("workers.status_report", V2_4, workers::status_report),
    user("workers.get_all", V2_4, workers::get_all),
    user("workers.get_count", V1_0, workers::get_count),
    user("workers.get_stats", V2_4, workers::get_stats),
];
