//! Tokens: JSON web tokens signed with HS256.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use ring::hmac;
use serde_json::{Value, json};

use crate::{error::ApiError, identity::Identity, mode::Mode, store::Session, store::Store};

const DAY: i64 = 24 * 60 * 60;
/// How long a token lasts at first, in seconds.
pub(crate) const USUAL_LIFE: i64 = 30 * DAY;
/// Longest life that can be asked for, in seconds.
pub(crate) const LONGEST_LIFE: i64 = 365 * DAY;

/// A new token; `life` in seconds, `None`: for ever.
pub(crate) fn issue(
    store: &mut Store,
    identity: &Identity,
    life: Option<i64>,
    now: Timestamp,
) -> String {
    let session = store.random.id();
    let company = store
        .companies
        .get(&identity.company)
        .map(|row| row.name.clone());
    let user = store.users.get(&identity.user).map(|row| row.name.clone());
    let mut claims = json!({
        "auth_type": "Bearer",
        "identity": {
            "user": identity.user,
            "company": identity.company,
            "role": identity.role.name(),
            "user_name": user,
            "company_name": company,
        },
        "iat": now.as_second(),
        "env": "<unknown>",
        "session_id": session,
        "api_version": store.mode.api_version().to_string(),
        "server_version": store.mode.server_version(),
        "server_build": "",
        "feature_set": match store.mode {
            Mode::Oss => "basic",
            Mode::Enterprise => "advanced",
        },
    });
    if let (Mode::Enterprise, Some(claims)) = (store.mode, claims.as_object_mut()) {
        claims.insert("tenant".to_owned(), json!(identity.company));
    }
    if let (Some(life), Some(claims)) = (life, claims.as_object_mut()) {
        claims.insert("exp".to_owned(), json!(now.as_second() + life));
    }
    store.sessions.insert(session, Session::Live);
    let header = json!({"alg": "HS256", "typ": "JWT"});
    let signed = format!("{}.{}", encode(&header), encode(&claims));
    let signature = hmac::sign(&key(store), signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
}

fn encode(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn key(store: &Store) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, store.signing_key.as_bytes())
}

/// A token that was found good.
pub(crate) struct Checked {
    pub(crate) user: String,
    /// The company that it was given for: one that the user belongs to or joined.
    pub(crate) company: String,
    pub(crate) session: String,
}

pub(crate) fn check(store: &Store, token: &str, now: Timestamp) -> Result<Checked, ApiError> {
    let refuse = |reason: &str| {
        let text = format!("Invalid token (invalid jwt token): reason={reason}");
        ApiError::unauthorized(30, &text)
    };
    let Some((signed, signature)) = token
        .rsplit_once('.')
        .filter(|(signed, _)| signed.contains('.'))
    else {
        return Err(refuse("Not enough segments"));
    };
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap_or_default();
    if hmac::verify(&key(store), signed.as_bytes(), &signature).is_err() {
        return Err(refuse("Signature verification failed"));
    }
    let claims = signed.split('.').nth(1).unwrap_or_default();
    let claims = URL_SAFE_NO_PAD.decode(claims).unwrap_or_default();
    let claims: Value = serde_json::from_slice(&claims).unwrap_or_default();
    let text = |path| claims.pointer(path).and_then(Value::as_str);
    let (Some(user), Some(company), Some(session)) = (
        text("/identity/user"),
        text("/identity/company"),
        text("/session_id"),
    ) else {
        return Err(refuse("Invalid payload string"));
    };
    let expired = claims
        .get("exp")
        .and_then(Value::as_i64)
        .is_some_and(|exp| exp <= now.as_second());
    match store.sessions.get(session) {
        Some(Session::Live) if !expired => Ok(Checked {
            user: user.to_owned(),
            company: company.to_owned(),
            session: session.to_owned(),
        }),
        Some(Session::Live | Session::Expired) => Err(refuse("Signature has expired")),
        Some(Session::Revoked) | None => {
            Err(ApiError::unauthorized(30, "Invalid token (revoked token)"))
        }
    }
}
