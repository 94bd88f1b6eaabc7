//! What the program starts with, as a file says it.

use serde::Deserialize;

use crate::{
    identity::Role,
    mode::Mode,
    services::tenants::DEFAULT_COMPANY,
    state::{Credentials, State},
    store::{enterprise::Enterprise, queue::DEFAULT},
};

/// The content of a world, as JSON.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seed {
    /// How the Enterprise server behaves where its reference leaves it open.
    #[serde(default)]
    pub enterprise: Enterprise,
    /// Companies ("workspaces").
    pub companies: Vec<SeedCompany>,
}

/// A company.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SeedCompany {
    /// Identifier; made up unless given.
    pub id: Option<String>,
    /// Name.
    pub name: String,
    /// Users.
    #[serde(default)]
    pub users: Vec<SeedUser>,
    /// Names of queues; one called `default` is the default queue.
    #[serde(default)]
    pub queues: Vec<String>,
    /// Tasks.
    #[serde(default)]
    pub tasks: Vec<SeedTask>,
}

/// A user of a company.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SeedUser {
    /// Name.
    pub name: String,
    /// Role; ordinary user unless given.
    pub role: Option<Role>,
    /// Public half of the keys; made up unless both halves are given.
    pub access_key: Option<String>,
    /// Secret half of the keys.
    pub secret_key: Option<String>,
}

/// A task of a company.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeedTask {
    /// Name.
    pub name: String,
    /// Name of the queue it waits in; merely created unless given.
    pub queue: Option<String>,
}

impl Seed {
    /// The server's default company "clearml" with user "admin" and an empty queue "default"; in the Enterprise edition also with
    /// user "supervisor" of role system, whose keys set up tenants.
    #[must_use]
    pub fn small(mode: Mode) -> Self {
        let user = |name: &str, role| SeedUser {
            name: name.to_owned(),
            role: Some(role),
            access_key: None,
            secret_key: None,
        };
        let mut users = vec![user("admin", Role::Admin)];
        if mode == Mode::Enterprise {
            users.push(user("supervisor", Role::System));
        }
        let company = SeedCompany {
            id: Some(DEFAULT_COMPANY.to_owned()),
            name: "clearml".to_owned(),
            users,
            queues: vec!["default".to_owned()],
            tasks: Vec::new(),
        };
        Self {
            enterprise: Enterprise::default(),
            companies: vec![company],
        }
    }

    /// Fills a world and returns its users: company, name and keys.
    #[must_use]
    pub fn plant(self, state: &State) -> Vec<(String, String, Credentials)> {
        state.set_enterprise(|enterprise| *enterprise = self.enterprise);
        let mut users = Vec::new();
        for company in self.companies {
            let id = company.id.unwrap_or_else(|| state.store().random.id());
            state.add_company_as(&id, &company.name);
            for user in company.users {
                let role = user.role.unwrap_or(Role::User);
                let keys = match (user.access_key, user.secret_key) {
                    (Some(access_key), Some(secret_key)) => {
                        let keys = Credentials {
                            access_key,
                            secret_key,
                        };
                        state.add_user_with_keys(&id, &user.name, role, &keys);
                        keys
                    }
                    _ => state.add_user_as(&id, &user.name, role),
                };
                users.push((company.name.clone(), user.name, keys));
            }
            let queues: Vec<(String, String)> = company
                .queues
                .into_iter()
                .map(|name| {
                    let tags: &[&str] = if name == DEFAULT { &[DEFAULT] } else { &[] };
                    (state.add_queue_with_tags(&id, &name, tags), name)
                })
                .collect();
            for task in company.tasks {
                let queue = queues
                    .iter()
                    .find(|(_, name)| Some(name) == task.queue.as_ref());
                state.add_task(&id, &task.name, queue.map(|(id, _)| id.as_str()));
            }
        }
        users
    }
}
