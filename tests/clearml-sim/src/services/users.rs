//! `users.*`

use serde_json::{Map, Value, json};

use super::accounts::groups;
use crate::{
    endpoints::Call,
    error::ApiError,
    identity::Role,
    list,
    mode::Mode,
    store::{
        Store,
        user::{NewUser, User},
    },
};

/// What everyone of the company may know of a user. Addresses and roles are not in it.
fn show(id: &str, user: &User) -> Value {
    let mut row = json!({
        "id": id,
        "company": user.company,
        "name": user.name,
        "created": user.created,
    });
    if let (Some(version), Some(row)) = (&user.created_in_version, row.as_object_mut()) {
        row.insert("created_in_version".to_owned(), json!(version));
    }
    row
}

/// The users of a company, but those of the server's configuration.
pub(crate) fn of_company<'a>(
    store: &'a Store,
    company: &'a str,
) -> impl Iterator<Item = (&'a str, &'a User)> {
    store
        .users
        .pairs()
        .filter(move |(_, user)| user.company == company && !user.is_protected())
}

/// Address, role and groups too, for administrators of the Enterprise server who ask for them.
fn show_with_auth(id: &str, user: &User) -> Value {
    let mut row = show(id, user);
    if let Some(row) = row.as_object_mut() {
        row.insert("email".to_owned(), json!(user.email));
        row.insert("role".to_owned(), json!(user.role.name()));
        row.insert("groups".to_owned(), json!(groups(user.role)));
    }
    row
}

fn rows(store: &Store, call: &Call<'_>) -> Result<Vec<Value>, ApiError> {
    let name = list::pattern(call.body, "name")?;
    let ids = call.body.list("id")?;
    let is_admin = matches!(call.identity.role, Role::Admin | Role::Root | Role::System);
    let auth = store.mode == Mode::Enterprise && call.body.flag("include_auth")?;
    if auth && !is_admin {
        let error = ApiError::new(403, 20, "Forbidden (include_auth is for administrators)");
        return Err(error.with(&[("role", call.identity.role.name())]));
    }
    let show = if auth { show_with_auth } else { show };
    Ok(of_company(store, &call.identity.company)
        .filter(|(id, _)| ids.is_empty() || ids.contains(id))
        .filter(|(_, user)| name.as_ref().is_none_or(|name| name.is_match(&user.name)))
        .map(|(id, user)| show(id, user))
        .collect())
}

pub(crate) fn get_all(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    let rows = rows(store, call)?;
    list::page(store, call.body, "users", rows)
}

/// Like `get_all`, with the name of the company.
pub(crate) fn get_all_ex(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    let mut rows = rows(store, call)?;
    let company = company(store, &call.identity.company);
    for row in rows.iter_mut().filter_map(Value::as_object_mut) {
        row.insert("company".to_owned(), company.clone());
    }
    // The joined identifier comes whatever was asked for.
    let mut data = list::page(store, call.body, "users", rows)?;
    let users = data.get_mut("users").and_then(Value::as_array_mut);
    for row in users.into_iter().flatten() {
        let trimmed = row.get_mut("company").and_then(Value::as_object_mut);
        if let (Some(trimmed), Some(id)) = (trimmed, company.get("id")) {
            trimmed.insert("id".to_owned(), id.clone());
        }
    }
    Ok(data)
}

pub(crate) fn get_by_id(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    let id = call.body.required("user")?;
    let company = call.identity.company.as_str();
    let user = store.users.get(id);
    let user = user.filter(|user| user.company == company && !user.is_protected());
    let user = user.ok_or_else(|| ApiError::user_id(&[("id", id), ("company", company)]))?;
    let mut row = show(id, user);
    if let Some(row) = row.as_object_mut() {
        row.insert("preferences".to_owned(), json!(""));
    }
    Ok(json!({"user": row}))
}

fn company(store: &Store, id: &str) -> Value {
    let name = store.companies.get(id).map(|company| company.name.as_str());
    json!({"id": id, "name": name})
}

/// Who asks, or in whose name.
pub(crate) fn get_current_user(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    let id = call.identity.user.as_str();
    let user = store.users.get(id);
    let user = user.ok_or_else(|| ApiError::user_id(&[("id", id)]))?;
    let mut row = show(id, user);
    if let Some(row) = row.as_object_mut() {
        row.insert("company".to_owned(), company(store, &call.identity.company));
        row.insert("role".to_owned(), json!(call.identity.role.name()));
    }
    Ok(json!({
        "user": row,
        "getting_started": {
            "agentName": "clearml",
            "configure": "clearml-init",
            "install": "pip install clearml",
            "packageName": "clearml",
        },
        "settings": {"max_download_items": 50_000},
    }))
}

/// Makes a user of an identifier of one's choice, who has neither address nor keys.
pub(crate) fn create(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    let body = call.body;
    let (id, company) = (body.required("id")?, body.required("company")?);
    if store.users.get(id).is_some() {
        return Err(ApiError::new(400, 302, "User id exists").with(&[("id", id)]));
    }
    let new = NewUser {
        company,
        name: body.required("name")?,
        email: None,
        role: Role::User,
        service: false,
    };
    let made = store.enrol(&new, call.date())?;
    if let Some(user) = store.users.remove(&made) {
        store.users.insert(id, user);
    }
    Ok(Value::Object(Map::new()))
}

/// Removes a user and the user's keys.
pub(crate) fn delete(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    let id = call.body.required("user")?;
    let known = store.users.get(id).is_some_and(|user| !user.is_protected());
    if !known {
        return Err(ApiError::user_id(&[("id", id)]));
    }
    store.users.remove(id);
    store.keys.retain(|_, key| key.user != id);
    Ok(Value::Object(Map::new()))
}
