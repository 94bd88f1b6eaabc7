//! Users and their keys.

use serde::{Deserialize, Serialize};

use crate::{date::Date, identity::Role, state::Credentials, store::Store};

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct User {
    pub(crate) company: String,
    pub(crate) name: String,
    pub(crate) role: Role,
    /// Unique in the server.
    pub(crate) email: Option<String>,
    pub(crate) created: Date,
    /// Enterprise: an account for programs.
    pub(crate) service: bool,
    /// Enterprise: made by the server's own programs for themselves.
    pub(crate) internal: bool,
    /// Enterprise: whether a service account may run tasks in the name of their owners.
    pub(crate) runs_as_owner: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Key {
    pub(crate) secret: String,
    pub(crate) user: String,
    pub(crate) label: Option<String>,
    pub(crate) created: Date,
    /// Enterprise: from when on it is refused.
    pub(crate) expire: Option<Date>,
}

impl User {
    pub(crate) fn new(company: &str, name: &str, role: Role, now: Date) -> Self {
        Self {
            company: company.to_owned(),
            name: name.to_owned(),
            role,
            email: None,
            created: now.stored(),
            service: false,
            internal: false,
            runs_as_owner: false,
        }
    }
}

impl Key {
    pub(crate) fn new(secret: &str, user: &str, now: Date) -> Self {
        Self {
            secret: secret.to_owned(),
            user: user.to_owned(),
            label: None,
            created: now.stored(),
            expire: None,
        }
    }

    pub(crate) fn has_expired(&self, now: Date) -> bool {
        self.expire.is_some_and(|expire| expire <= now)
    }
}

impl Store {
    /// Makes keys for a user. The secret is in the result and nowhere else to be read.
    pub(crate) fn add_key(
        &mut self,
        user: &str,
        label: Option<&str>,
        expire: Option<Date>,
        now: Date,
    ) -> Credentials {
        let keys = Credentials {
            access_key: self.random.access_key(),
            secret_key: self.random.secret_key(),
        };
        let mut key = Key::new(&keys.secret_key, user, now);
        key.label = label.map(str::to_owned);
        key.expire = expire;
        self.keys.insert(keys.access_key.clone(), key);
        keys
    }
}
