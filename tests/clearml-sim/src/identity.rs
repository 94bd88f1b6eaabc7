//! Who asks, and in whose name.

use axum::http::HeaderMap;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{date::Date, error::ApiError, mode::Mode, services::auth::COOKIE, store::Store, token};

/// What a user may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Role {
    /// The server's own programs.
    System,
    /// The administrator of the server.
    Root,
    /// The administrator of a company.
    Admin,
    /// A member of a company with more rights.
    Superuser,
    /// A member of a company.
    User,
    /// A member who labels data.
    Annotator,
    /// A member who only uses applications (Enterprise).
    Consumer,
}

impl Role {
    /// A role that members of a company may have.
    pub(crate) fn of_company(name: &str, mode: Mode) -> Option<Self> {
        Some(match name {
            "admin" => Self::Admin,
            "superuser" => Self::Superuser,
            "user" => Self::User,
            "annotator" => Self::Annotator,
            "consumer" if mode == Mode::Enterprise => Self::Consumer,
            _ => return None,
        })
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Root => "root",
            Self::Admin => "admin",
            Self::Superuser => "superuser",
            Self::User => "user",
            Self::Annotator => "annotator",
            Self::Consumer => "consumer",
        }
    }
}

/// Who asks.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) user: String,
    pub(crate) company: String,
    pub(crate) role: Role,
    /// Session of the token that was shown; `None`: keys were.
    pub(crate) session: Option<String>,
    /// The public half of the keys that were shown.
    pub(crate) access_key: Option<String>,
}

const REFUSED: &str = "Unauthorized (invalid credentials) (failed to locate provided credentials)";

/// The token in the cookie.
fn cookie(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get("cookie")?.to_str().ok()?;
    cookies.split(';').find_map(|cookie| {
        let (name, value) = cookie.trim().split_once('=')?;
        (name == COOKIE).then_some(value)
    })
}

pub(crate) fn authenticate(
    store: &Store,
    headers: &HeaderMap,
    now: Timestamp,
) -> Result<Identity, ApiError> {
    // The header wins over the cookie.
    let (scheme, proof) = match (headers.get("authorization"), cookie(headers)) {
        (Some(header), _) => {
            let header = header.to_str().unwrap_or_default();
            header.split_once(' ').unwrap_or((header, ""))
        }
        (None, Some(token)) => ("Bearer", token),
        (None, None) => {
            return Err(ApiError::unauthorized(
                20,
                "Unauthorized (missing credentials)",
            ));
        }
    };
    let caller = match scheme {
        "Basic" => by_keys(store, proof, now),
        "Bearer" => {
            let token = token::check(store, proof, now)?;
            let caller = identity(store, &token.user, Some(token.session));
            let caller = caller.map(|caller| Identity {
                company: token.company,
                ..caller
            });
            caller.ok_or_else(|| ApiError::unauthorized(22, REFUSED))
        }
        _ => Err(ApiError::unauthorized(
            10,
            "Unauthorized (bad authentication header type)",
        )),
    };
    caller.and_then(|caller| admit(store, caller))
}

/// Nobody of a company that was softly deleted gets in.
fn admit(store: &Store, identity: Identity) -> Result<Identity, ApiError> {
    if store.is_active(&identity.company) {
        Ok(identity)
    } else {
        Err(store.enterprise.inactive.error(&[]))
    }
}

fn by_keys(store: &Store, proof: &str, now: Timestamp) -> Result<Identity, ApiError> {
    let text = STANDARD
        .decode(proof)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok());
    let user = text.as_deref().and_then(|text| {
        let (access, secret) = text.split_once(':')?;
        let key = store.keys.get(access)?;
        let good = key.secret == secret && !key.has_expired(Date(now));
        good.then(|| (access.to_owned(), key.user.as_str()))
    });
    let caller = user.and_then(|(access, user)| {
        let access_key = Some(access);
        let caller = identity(store, user, None)?;
        Some(Identity {
            access_key,
            ..caller
        })
    });
    caller.ok_or_else(|| ApiError::unauthorized(22, REFUSED))
}

fn identity(store: &Store, user: &str, session: Option<String>) -> Option<Identity> {
    let row = store.users.get(user)?;
    Some(Identity {
        user: user.to_owned(),
        company: row.company.clone(),
        role: row.role,
        session,
        access_key: None,
    })
}

/// Applies the headers that act in another user's name: with that user's role, or with the caller's.
pub(crate) fn impersonate(
    store: &Store,
    headers: &HeaderMap,
    caller: Identity,
) -> Result<Identity, ApiError> {
    let (user, role) = match (header(headers, "impersonate-as"), header(headers, "act-as")) {
        (None, None) => return Ok(caller),
        (Some(user), None) => (user, None),
        (None, Some(user)) => (user, Some(caller.role)),
        (Some(_), Some(_)) => {
            let text = "Invalid headers (only one allowed)";
            let names = "(X-Clearml-Impersonate-As, X-Clearml-Act-As)";
            return Err(ApiError::new(400, 5, text).with(&[("headers", names)]));
        }
    };
    if !matches!(caller.role, Role::System | Role::Root | Role::Admin) {
        let error = ApiError::impersonation("impersonation not allowed");
        return Err(error.with(&[("role", caller.role.name())]));
    }
    let unknown = || ApiError::impersonation("unknown user").with(&[("id", user)]);
    let target = identity(store, user, caller.session);
    // In the open-source server root alone may reach into other companies. The guide of the Enterprise server does it with keys
    // of role system.
    let abroad = match store.mode {
        Mode::Oss => caller.role == Role::Root,
        Mode::Enterprise => {
            caller.role == Role::Root
                || caller.role == Role::System && store.enterprise.system_crosses_companies
        }
    };
    let target = if abroad {
        target.ok_or_else(unknown)?
    } else {
        target
            .filter(|target| target.company == caller.company)
            .ok_or_else(|| {
                let pairs = [("id", user), ("company", caller.company.as_str())];
                ApiError::impersonation("unknown user").with(&pairs)
            })?
    };
    let role = role.unwrap_or(target.role);
    admit(store, Identity { role, ..target })
}

/// Applies the header with which the Enterprise server's users log in to another company that they joined.
pub(crate) fn at_tenant(
    store: &Store,
    headers: &HeaderMap,
    caller: Identity,
) -> Result<Identity, ApiError> {
    let Some(tenant) = header(headers, "tenant").filter(|_| store.mode == Mode::Enterprise) else {
        return Ok(caller);
    };
    let joined = store.users.get(&caller.user).is_some_and(|user| {
        user.company == tenant || user.joined.iter().any(|joined| joined == tenant)
    });
    if !joined {
        let error = ApiError::new(403, 20, "Forbidden (not a member of the tenant)");
        return Err(error.with(&[("user", &caller.user), ("tenant", tenant)]));
    }
    let company = tenant.to_owned();
    admit(store, Identity { company, ..caller })
}

/// `X-Clearml-NAME`, or its elder twin `X-Trains-NAME`.
pub(crate) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    ["x-clearml-", "x-trains-"]
        .iter()
        .find_map(|family| headers.get(format!("{family}{name}"))?.to_str().ok())
}
