//! How people may log in.

use serde_json::{Value, json};

/// `login.supported_modes`: neither passwords nor single sign-on.
pub(crate) fn supported_modes() -> Value {
    json!({
        "authenticated": false,
        "basic": {"enabled": false, "guest": {"enabled": false}},
        "server_errors": {"es_connection_error": false, "missed_es_upgrade": false},
        "sso": {},
        "sso_providers": [],
    })
}

/// `auth.fixed_users_mode`: the configuration has no users with passwords.
pub(crate) fn fixed_users_mode() -> Value {
    json!({"enabled": false, "guest": {"enabled": false}, "server_errors": {}})
}
