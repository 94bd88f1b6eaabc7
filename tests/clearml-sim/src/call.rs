//! One call, from path to envelope, in the server's order of checks: path, endpoint, who asks, what they may, in whose name, body,
//! and only then the endpoint itself.

use axum::http::HeaderMap;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    body::Body,
    date::Date,
    endpoints::{self, Act, Call, Endpoint, Who},
    error::ApiError,
    identity::{self, Identity},
    path::{self, Version},
    services::auth,
    store::Store,
};

/// What came over the wire.
pub(crate) struct Incoming<'a> {
    pub(crate) path: &'a str,
    pub(crate) query: &'a [(String, String)],
    pub(crate) headers: &'a HeaderMap,
    pub(crate) body: &'a [u8],
    /// Address of the caller.
    pub(crate) ip: &'a str,
    /// Code and subcode with which it is refused on purpose.
    pub(crate) refuse: Option<(u16, u32)>,
}

/// What goes back.
pub(crate) struct Outgoing {
    pub(crate) status: u16,
    pub(crate) envelope: Value,
    /// Header `Set-Cookie`.
    pub(crate) cookie: Option<String>,
}

pub(crate) fn answer(store: &mut Store, incoming: &Incoming<'_>, now: Timestamp) -> Outgoing {
    let id = store.random.id();
    let (endpoint, result) = match path::parse(incoming.path) {
        None => {
            let text = format!("Invalid request path {}", incoming.path);
            let endpoint = json!({"name": "", "requested_version": 1.0, "actual_version": null});
            (endpoint, Err(ApiError::new(400, 0, text)))
        }
        Some((version, name)) => {
            let version = version.unwrap_or(store.mode.api_version());
            let found = endpoints::find(name, version, store.mode)
                .filter(|found| store.enterprise.tenant_api.has(found.name));
            let shown = json!({
                "name": name,
                "requested_version": version.shown_to(version),
                "actual_version": found.map(|found| found.min_version.shown_to(version)),
            });
            let result = match found {
                Some(found) => run(store, found, version, incoming, now),
                None => Err(not_found(name, version)),
            };
            (shown, result)
        }
    };
    let (code, subcode, message, (data, cookie)) = match result {
        Ok(done) => (200, 0, "OK".to_owned(), done),
        Err(error) => (error.code, error.subcode, error.message, (json!({}), None)),
    };
    let trx = identity::header(incoming.headers, "trx").unwrap_or(&id);
    let envelope = json!({
        "meta": {
            "id": id,
            "trx": trx,
            "endpoint": endpoint,
            "result_code": code,
            "result_subcode": subcode,
            "result_msg": message,
            "error_stack": null,
            "error_data": {},
        },
        "data": data,
    });
    Outgoing {
        status: code,
        envelope,
        cookie,
    }
}

fn not_found(name: &str, version: Version) -> ApiError {
    let text = format!("Unable to find endpoint for name {name} and version {version}");
    ApiError::new(404, 0, text)
}

/// Returns the data and the cookie that goes with it.
fn run(
    store: &mut Store,
    endpoint: &Endpoint,
    version: Version,
    incoming: &Incoming<'_>,
    now: Timestamp,
) -> Result<(Value, Option<String>), ApiError> {
    if let Some((code, subcode)) = incoming.refuse {
        return Err(ApiError::new(code, subcode, "Refused on purpose"));
    }
    let handler = match endpoint.act {
        Act::Open(answer) => return Ok((answer(), None)),
        Act::Closed(handler) => handler,
    };
    let who = endpoint.who(store.mode);
    let caller = identity::authenticate(store, incoming.headers, now)?;
    permit(&caller, who)?;
    if let Some(access_key) = &caller.access_key {
        let worker = identity::header(incoming.headers, "worker");
        store.note_use(access_key, worker, Date(now));
    }
    let mut identity = identity::impersonate(store, incoming.headers, caller)?;
    if endpoint.name == "auth.login" {
        identity = identity::at_tenant(store, incoming.headers, identity)?;
    }
    permit(&identity, who)?;
    let kind = incoming.headers.get("content-type");
    let batch = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/json-lines"));
    let parse = if batch {
        Body::parse_lines
    } else {
        Body::parse
    };
    let body = parse(incoming.body, incoming.query)?;
    let call = Call {
        identity: &identity,
        body: &body,
        now,
        version,
        ip: incoming.ip,
    };
    let data = handler(store, &call)?;
    let cookie = auth::cookie(endpoint.name, &body, &data)?;
    Ok((data, cookie))
}

fn permit(identity: &Identity, who: Who) -> Result<(), ApiError> {
    let roles = match who {
        Who::Only(roles) if !roles.contains(&identity.role) => roles,
        Who::Only(_) | Who::Users | Who::Nobody => return Ok(()),
    };
    let allowed: Vec<&str> = roles.iter().map(|role| role.name()).collect();
    let allowed = format!("({})", allowed.join(", "));
    let error = ApiError::new(403, 20, "Forbidden (not allowed for role)");
    Err(error.with(&[("role", identity.role.name()), ("allowed", &allowed)]))
}
