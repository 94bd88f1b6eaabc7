//! `server.*`

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{
    endpoints::{self, Call},
    error::ApiError,
    store::Store,
    token::{LONGEST_LIFE, USUAL_LIFE},
};

#[expect(clippy::unnecessary_wraps, reason = "all endpoints have one form")]
pub(crate) fn info(store: &mut Store, _: &Call<'_>) -> Result<Value, ApiError> {
    Ok(json!({
        "version": store.mode.server_version(),
        "build": "",
        "commit": "",
        "api_version": store.mode.api_version().to_string(),
    }))
}

/// Every endpoint with its versions, youngest first.
#[expect(clippy::unnecessary_wraps, reason = "all endpoints have one form")]
pub(crate) fn list_endpoints(store: &mut Store, _: &Call<'_>) -> Result<Value, ApiError> {
    let mut all: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut known: Vec<_> = endpoints::all(store.mode).collect();
    known.sort_by_key(|endpoint| std::cmp::Reverse(endpoint.min_version));
    for endpoint in known {
        let versions = all.entry(endpoint.name).or_default();
        versions.push(endpoint.min_version.to_string());
    }
    Ok(json!({"endpoints": all}))
}

/// The part of the server's configuration that clients ask for; the rest is empty.
pub(crate) fn config(_: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    Ok(match call.body.text("path")? {
        Some("apiserver.auth") => json!({
            "verify_user_tokens": false,
            "delete_missing_autocreated_users": true,
            "max_expiration_sec": LONGEST_LIFE,
            "default_expiration_sec": USUAL_LIFE,
            "session_auth_cookie_name": super::auth::COOKIE,
            "cookies": {
                "httponly": true,
                "secure": false,
                "domain": null,
                "samesite": "Lax",
                "max_age": 99_999_999_999_i64,
            },
        }),
        _ => json!({}),
    })
}
