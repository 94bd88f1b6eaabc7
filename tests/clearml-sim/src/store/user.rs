//! Users and their keys.

use serde::{Deserialize, Serialize};

use crate::{date::Date, error::ApiError, identity::Role, state::Credentials, store::Store};

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "properties that do not exclude each other"
)]
pub(crate) struct User {
    pub(crate) company: String,
    pub(crate) name: String,
    pub(crate) role: Role,
    /// Unique in the server.
    pub(crate) email: Option<String>,
    pub(crate) created: Date,
    /// The server's release by which the API made the user.
    pub(crate) created_in_version: Option<String>,
    /// From the server's configuration: with the keys that are written there, and in no listing.
    pub(crate) configured: bool,
    /// Enterprise: other companies that the user may log in to.
    pub(crate) joined: Vec<String>,
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
    pub(crate) last_used: Option<Date>,
    /// The worker that used it last.
    pub(crate) last_used_from: Option<String>,
}

impl User {
    pub(crate) fn new(company: &str, name: &str, role: Role, now: Date) -> Self {
        Self {
            company: company.to_owned(),
            name: name.to_owned(),
            role,
            email: None,
            created: now.stored(),
            created_in_version: None,
            configured: false,
            joined: Vec::new(),
            service: false,
            internal: false,
            runs_as_owner: false,
        }
    }
}

impl User {
    /// Whether it is one of the server's own, which have their keys from its configuration.
    pub(crate) fn is_protected(&self) -> bool {
        self.configured || matches!(self.role, Role::System | Role::Root)
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
            last_used: None,
            last_used_from: None,
        }
    }

    pub(crate) fn has_expired(&self, now: Date) -> bool {
        self.expire.is_some_and(|expire| expire <= now)
    }
}

/// A user to be.
pub(crate) struct NewUser<'a> {
    pub(crate) company: &'a str,
    pub(crate) name: &'a str,
    pub(crate) email: Option<&'a str>,
    pub(crate) role: Role,
    pub(crate) service: bool,
}

impl Store {
    /// Adds a user if the company may have one more and nobody has the address.
    pub(crate) fn enrol(&mut self, new: &NewUser<'_>, now: Date) -> Result<String, ApiError> {
        if self.companies.get(new.company).is_none() {
            return Err(ApiError::object_id("company", new.company));
        }
        if let Some(email) = new.email {
            self.check_email(email)?;
        }
        self.check_limit(new)?;
        let mut user = User::new(new.company, new.name, new.role, now);
        user.email = new.email.map(str::to_owned);
        user.created_in_version = Some(self.mode.server_version().to_owned());
        user.service = new.service;
        let id = self.random.id();
        self.users.insert(&id, user);
        Ok(id)
    }

    /// Addresses are unique in the server.
    pub(crate) fn check_email(&self, email: &str) -> Result<(), ApiError> {
        if !is_email(email) {
            let problem = format!("Invalid email address: {email}");
            return Err(ApiError::data("email", &problem));
        }
        let has = |user: &User| user.email.as_deref() == Some(email);
        if self.users.iter().any(has) {
            return Err(ApiError::not_unique(&[("email", email)]));
        }
        Ok(())
    }

    /// Companies have no limits in the open-source server: nothing sets them.
    fn check_limit(&self, new: &NewUser<'_>) -> Result<(), ApiError> {
        let settings = self.tenants.get(new.company).map(|tenant| &tenant.settings);
        let most = settings.and_then(|settings| {
            if new.service {
                settings.allowed_service_users
            } else {
                settings.allowed_users
            }
        });
        let same = |user: &&User| user.company == new.company && user.service == new.service;
        let present = i64::try_from(self.users.iter().filter(same).count()).unwrap_or(i64::MAX);
        match most {
            Some(most) if present >= most => {
                let pairs = [("company", new.company), ("limit", &most.to_string())];
                Err(self.enterprise.user_limit.error(&pairs))
            }
            _ => Ok(()),
        }
    }

    /// Notes that keys were shown.
    pub(crate) fn note_use(&mut self, access_key: &str, worker: Option<&str>, now: Date) {
        if let Some(key) = self.keys.get_mut(access_key) {
            key.last_used = Some(now.stored());
            key.last_used_from = worker.map(str::to_owned);
        }
    }

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

/// The shape `local@domain.tld`, with no spaces.
pub(crate) fn is_email(text: &str) -> bool {
    let (local, domain) = text.split_once('@').unwrap_or_default();
    !local.is_empty() && is_domain(domain) && !text.contains(char::is_whitespace)
}

/// The shape `name.tld`.
pub(crate) fn is_domain(text: &str) -> bool {
    let of_letters = |label: &str| {
        !label.is_empty()
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    text.contains('.') && text.split('.').all(of_letters)
}
