//! A simulated ClearML API server, for tests and the demo.
//!
//! It is one of two editions ([`Mode`]): the open-source server 2.3.0 (API 2.34), whose recorded answers are replayed against it in
//! `tests/`, or the Enterprise server after its published reference. Everything lives in memory. What is certain, what is modelled
//! and what is unknown: `docs/simulated-clearml.md`.
//!
//! ```text
//!   socket ── http (faults, compression, log) ── call (path, version, who, body) ── endpoints ── services ── store
//! ```
//!
//! [`State`] is the world behind the server: tests fill it, look into it and make it fail while [`Server`] serves it.
//!
//! To add an endpoint: a function in the file of its service, and a line in `endpoints`.

mod body;
mod call;
mod control;
mod date;
mod dump;
mod endpoints;
mod error;
mod faults;
mod feature;
mod http;
mod identity;
mod list;
mod mode;
mod path;
mod policy;
mod random;
mod seed;
mod server;
mod services;
mod state;
mod store;
mod token;

pub use self::{
    date::Date,
    dump::NoDump,
    faults::{Fault, FaultRule, Request},
    feature::Feature,
    identity::Role,
    mode::Mode,
    seed::{Seed, SeedCompany, SeedTask, SeedUser},
    server::Server,
    state::{Credentials, State},
    store::{
        enterprise::{Enterprise, Refusal, TenantApi},
        queue::{Entry, Queue},
        resources::{Configuration, Pool, Profile},
        task::{Execution, Status, Task},
    },
};
