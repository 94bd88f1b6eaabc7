//! `auth.*`

use serde_json::{Value, json};

use crate::{
    body::Body,
    endpoints::Call,
    error::ApiError,
    identity::Role,
    store::{Session, Store},
    token::{self, LONGEST_LIFE},
};

/// Name of the cookie that may stand in for the header.
pub(crate) const COOKIE: &str = "clearml_token_basic";

pub(crate) fn login(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    let life = life(store, call)?;
    let token = token::issue(store, call.identity, life, call.now);
    Ok(json!({"token": token}))
}

/// The header with which an answer gives browsers a token, or takes it away.
pub(crate) fn cookie(
    endpoint: &str,
    body: &Body,
    data: &Value,
) -> Result<Option<String>, ApiError> {
    let wanted = body.loose_flag("set_cookie")?.unwrap_or(true);
    let (token, age) = match (endpoint, data.get("token").and_then(Value::as_str)) {
        ("auth.login", Some(token)) if wanted => (token, 99_999_999_999_i64),
        ("auth.logout" | "login.logout", _) => ("", 0),
        _ => return Ok(None),
    };
    let cookie = format!("{COOKIE}={token}; Max-Age={age}; HttpOnly; Path=/; SameSite=Lax");
    Ok(Some(cookie))
}

/// How long a token is to last, in seconds; `None`: for ever.
pub(crate) fn life(store: &Store, call: &Call<'_>) -> Result<Option<i64>, ApiError> {
    let field = "expiration_sec";
    let life = match call.body.number(field)? {
        Some(life) if life > LONGEST_LIFE => {
            let problem = format!("'{life}' is bigger than maximum ('{LONGEST_LIFE}')..");
            return Err(ApiError::field(field, &problem));
        }
        Some(life) => Some(life),
        // The server's own programs are not asked to log in again.
        None if call.identity.role == Role::System => None,
        None => Some(store.token_life),
    };
    Ok(life)
}

#[expect(clippy::unnecessary_wraps, reason = "all endpoints have one form")]
pub(crate) fn logout(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    if let Some(session) = &call.identity.session {
        store.sessions.insert(session.clone(), Session::Revoked);
    }
    Ok(json!({}))
}

pub(crate) fn validate_token(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    let token = call.body.required("token")?;
    let found = token::check(store, token, call.now).ok();
    let user = found.and_then(|found| Some((store.users.get(&found.user)?, found.user)));
    Ok(match user {
        Some((row, user)) => json!({"valid": true, "user": user, "company": row.company}),
        None => json!({"valid": false}),
    })
}
