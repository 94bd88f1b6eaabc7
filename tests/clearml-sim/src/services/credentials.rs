//! Keys of the user in whose name a call is made. A secret is shown once, when it is made.

use serde_json::{Map, Value, json};

use crate::{
    endpoints::Call,
    error::ApiError,
    mode::Mode,
    services::accounts::expiry,
    store::{
        Store,
        user::{Key, User},
    },
};

/// How many keys a user may have, as the Enterprise server says.
const MOST_KEYS: usize = 64;

/// Adds keys. Calling it twice adds two.
pub(crate) fn create(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    let user = call.identity.user.as_str();
    if store.users.get(user).is_none_or(User::is_protected) {
        let text = "Invalid user id (protected identity)";
        return Err(ApiError::new(400, 301, text));
    }
    let label = call.body.text("label")?;
    let expire = match store.mode {
        Mode::Oss => None,
        Mode::Enterprise => expiry(call.body, "expiration_sec", call.now)?,
    };
    let keys = store.add_key(user, label, expire, call.date());
    let mut shown = Map::new();
    shown.insert("access_key".to_owned(), json!(keys.access_key));
    shown.insert("secret_key".to_owned(), json!(keys.secret_key));
    shown.extend(label.map(|label| ("label".to_owned(), json!(label))));
    if store.mode == Mode::Enterprise {
        shown.insert("expire".to_owned(), json!(expire));
    }
    Ok(json!({"credentials": shown}))
}

#[expect(clippy::unnecessary_wraps, reason = "all endpoints have one form")]
pub(crate) fn get_all(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    let user = &call.identity.user;
    let mut own: Vec<(&String, &Key)> = store
        .keys
        .iter()
        .filter(|(_, key)| key.user == *user)
        .collect();
    own.sort_by_key(|(access, key)| (key.created, *access));
    let shown: Vec<Value> = own
        .into_iter()
        .map(|(access, key)| show(store.mode, access, key))
        .collect();
    Ok(match store.mode {
        Mode::Oss => json!({"credentials": shown}),
        Mode::Enterprise => json!({
            "credentials": shown,
            "additional_credentials": [],
            "max_credentials": MOST_KEYS,
            "default_expiration_sec": null,
            "max_expiration_sec": null,
        }),
    })
}

fn show(mode: Mode, access: &str, key: &Key) -> Value {
    let mut row = Map::new();
    row.insert("access_key".to_owned(), json!(access));
    let fields = [
        ("label", key.label.as_ref().map(|label| json!(label))),
        ("last_used", key.last_used.map(|date| json!(date))),
        (
            "last_used_from",
            key.last_used_from.as_ref().map(|from| json!(from)),
        ),
    ];
    row.extend(
        fields
            .into_iter()
            .filter_map(|(field, value)| Some((field.to_owned(), value?))),
    );
    if mode == Mode::Enterprise {
        row.insert("created".to_owned(), json!(key.created));
        row.insert("expire".to_owned(), json!(key.expire));
    }
    Value::Object(row)
}

pub(crate) fn edit(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    let access = call.body.required("access_key")?;
    let label = call.body.text("label")?.map(str::to_owned);
    let (user, company) = (&call.identity.user, &call.identity.company);
    let own = store.keys.get_mut(access).filter(|key| key.user == *user);
    let Some(key) = own else {
        let pairs = [
            ("user", user.as_str()),
            ("access_key", access),
            ("company", company),
        ];
        return Err(ApiError::access_key(&pairs));
    };
    let updated = i32::from(key.label != label);
    key.label = label;
    Ok(json!({"updated": updated}))
}

pub(crate) fn revoke(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    let access = call.body.required("access_key")?;
    let (user, company) = (&call.identity.user, &call.identity.company);
    if store.keys.get(access).is_none_or(|key| key.user != *user) {
        let text = "Invalid user (invalid user or invalid access key)";
        let pairs = [
            ("id", user.as_str()),
            ("company", company),
            ("credentials__key", access),
        ];
        return Err(ApiError::new(400, 300, text).with(&pairs));
    }
    store.keys.remove(access);
    Ok(json!({"revoked": 1}))
}
