//! `auth.*` of the Enterprise edition: accounts of people and of programs.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use crate::{
    body::Body,
    date::Date,
    endpoints::Call,
    error::ApiError,
    feature::Feature,
    identity::{Identity, Role},
    services::auth,
    store::{Store, user::NewUser},
    token,
};

/// The role that a request asks for; user unless it does.
pub(crate) fn role(store: &Store, body: &Body) -> Result<Role, ApiError> {
    let Some(name) = body.text("role")? else {
        return Ok(Role::User);
    };
    Role::of_company(name, store.mode)
        .ok_or_else(|| ApiError::field("role", &format!("value '{name}' is not a valid choice..")))
}

/// Only the server's own programs and its administrator reach into other companies.
fn check_company(call: &Call<'_>, company: &str) -> Result<(), ApiError> {
    let own = company == call.identity.company;
    if own || matches!(call.identity.role, Role::System | Role::Root) {
        return Ok(());
    }
    Err(ApiError::object_id("company", company))
}

/// Makes the user that the request describes.
pub(crate) fn create(
    store: &mut Store,
    call: &Call<'_>,
    company: &str,
) -> Result<String, ApiError> {
    let body = call.body;
    check_company(call, company)?;
    let new = NewUser {
        company,
        name: body.required("name")?,
        email: Some(body.required("email")?),
        role: role(store, body)?,
        service: false,
    };
    // The open-source server does not know the field.
    let internal = store.mode == crate::mode::Mode::Enterprise
        && body.loose_flag("internal")?.unwrap_or(false);
    if internal && call.identity.role != Role::System {
        let error = ApiError::new(
            403,
            20,
            "Forbidden (only system users may create internal users)",
        );
        return Err(error.with(&[("role", call.identity.role.name())]));
    }
    let user = store.enrol(&new, call.date())?;
    if let Some(row) = store.users.get_mut(&user) {
        row.internal = internal;
    }
    Ok(user)
}

/// The open-source server's name for it; `company` is required.
pub(crate) fn create_user(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    call.body.required("name")?;
    let company = call.body.required("company")?;
    let user = create(store, call, company)?;
    Ok(json!({"id": user}))
}

/// Changes the role.
pub(crate) fn edit_user(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    let user = call.body.required("user")?;
    let role = call.body.text("role")?.map(|_| role(store, call.body));
    let role = role.transpose()?;
    let row = store.users.get_mut(user).filter(|row| !row.is_protected());
    let row = row.filter(|row| check_company(call, &row.company).is_ok());
    let row = row.ok_or_else(|| ApiError::user_id(&[]))?;
    let Some(role) = role else {
        return Ok(json!({"updated": 0, "fields": {}}));
    };
    let updated = i32::from(row.role != role);
    row.role = role;
    Ok(json!({"updated": updated, "fields": {"role": role.name()}}))
}

/// A token without a login, in place of the headers that act in another's name.
pub(crate) fn get_token_for_user(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    let user = call.body.required("user")?;
    let company = call.body.text("company")?;
    let life = auth::life(store, call)?;
    let row = store.users.get(user);
    let row = row.filter(|row| company.is_none_or(|company| row.company == company));
    let row = row.ok_or_else(|| ApiError::user_id(&[("id", user)]))?;
    let identity = Identity {
        user: user.to_owned(),
        company: row.company.clone(),
        role: row.role,
        session: None,
        access_key: None,
    };
    let token = token::issue(store, &identity, life, call.now);
    Ok(json!({"token": token}))
}

pub(crate) fn add_user(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    let company = call.body.text("company")?;
    let company = company.unwrap_or(&call.identity.company).to_owned();
    let secret = call.body.text("secret_key")?;
    let user = create(store, call, &company)?;
    let secret = secret.map_or_else(|| store.random.secret_key(), str::to_owned);
    // The user's identifier is the public half.
    let key = crate::store::user::Key::new(&secret, &user, call.date());
    store.keys.insert(user.clone(), key);
    Ok(json!({"id": user, "secret": secret}))
}

/// When keys expire that live so many seconds from now on.
pub(crate) fn expiry(body: &Body, field: &str, now: Timestamp) -> Result<Option<Date>, ApiError> {
    let Some(seconds) = body.number(field)? else {
        return Ok(None);
    };
    if seconds <= 0 {
        return Err(ApiError::field(field, "must be greater than 0"));
    }
    let date = now.checked_add(SignedDuration::from_secs(seconds));
    let date = date.map_err(|_| ApiError::field(field, "is too long"))?;
    Ok(Some(Date(date).stored()))
}

pub(crate) fn create_service_user(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    let body = call.body;
    let company = call.identity.company.as_str();
    store.require(Feature::ServiceUsers, company)?;
    let role = role(store, body)?;
    let admins = store.tenant(company).settings.allow_service_user_admins;
    if role == Role::Admin && !admins {
        let problem = "the company does not allow service users to be administrators";
        return Err(ApiError::field("role", problem));
    }
    let expire = expiry(body, "credentials_expiration_sec", call.now)?;
    let as_owner = body.flag("allow_running_as_owner")?;
    let new = NewUser {
        company,
        name: body.required("name")?,
        email: None,
        role,
        service: true,
    };
    let user = store.enrol(&new, call.date())?;
    if let Some(row) = store.users.get_mut(&user) {
        row.runs_as_owner = as_owner;
    }
    let label = body.required("name")?;
    let keys = store.add_key(&user, Some(label), expire, call.date());
    Ok(json!({"id": user, "credentials": {
        "access_key": keys.access_key,
        "secret_key": keys.secret_key,
        "label": label,
        "expire": expire,
    }}))
}

/// Removes the account and its keys. What the user made stays.
pub(crate) fn delete_user(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    let user = call.body.required("user")?;
    let company = store.users.get(user).map(|row| row.company.clone());
    let deleted = company.is_some_and(|company| check_company(call, &company).is_ok());
    if deleted {
        store.users.remove(user);
        store.keys.retain(|_, key| key.user != user);
    }
    Ok(json!({"deleted": deleted}))
}

/// Users by address or identifier, in whatever company they are.
pub(crate) fn get_users_info(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    let (emails, ids) = (call.body.list("emails")?, call.body.list("users")?);
    let found = store.users.pairs().filter(|(id, user)| {
        ids.contains(id)
            || user
                .email
                .as_deref()
                .is_some_and(|email| emails.contains(&email))
    });
    let users: Map<String, Value> = found
        .map(|(id, user)| {
            let row = json!({
                "id": id,
                "name": user.name,
                "company": user.company,
                "email": user.email,
                "role": user.role.name(),
                "created": user.created,
                "sec_groups": groups(user.role),
            });
            (id.to_owned(), row)
        })
        .collect();
    Ok(json!({"users": users}))
}

/// The groups that every server has.
pub(crate) fn groups(role: Role) -> &'static [&'static str] {
    match role {
        Role::Admin | Role::Root | Role::System => &["users", "admins"],
        Role::Superuser | Role::User | Role::Annotator | Role::Consumer => &["users"],
    }
}

/// Whose keys these are, without the secret.
pub(crate) fn locate_credentials(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    let access = call.body.required("access_key")?;
    let found = store.keys.get(access).and_then(|key| {
        let user = store.users.get(&key.user)?;
        check_company(call, &user.company).ok()?;
        Some((key, user))
    });
    let (key, user) = found.ok_or_else(|| ApiError::access_key(&[("access_key", access)]))?;
    Ok(json!({
        "user": key.user,
        "name": user.name,
        "label": key.label,
        "expire": key.expire,
        "last_used": key.last_used,
    }))
}
