//! `users.*` and `organization.*` of the Enterprise edition: service accounts, roles, the name of the company.

use serde_json::{Value, json};

use crate::{
    endpoints::Call,
    error::ApiError,
    feature::Feature,
    identity::Role,
    services::{accounts, system},
    store::{Store, user::User},
};

/// A user of the caller's company.
fn member<'a>(store: &'a mut Store, call: &Call<'_>) -> Result<&'a mut User, ApiError> {
    let (id, company) = (call.body.required("user")?, &call.identity.company);
    let user = store
        .users
        .get_mut(id)
        .filter(|user| user.company == *company);
    user.ok_or_else(|| ApiError::user_id(&[("id", id), ("company", company)]))
}

pub(crate) fn get_service_users(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    let company = &call.identity.company;
    store.require(Feature::ServiceUsers, company)?;
    let users: Vec<Value> = store
        .users
        .pairs()
        .filter(|(_, user)| user.company == *company && user.service)
        .map(|(id, user)| {
            json!({
                "id": id,
                "name": user.name,
                "role": user.role.name(),
                "created": user.created,
                "allow_running_as_owner": user.runs_as_owner,
            })
        })
        .collect();
    Ok(json!({"users": users}))
}

pub(crate) fn update_service_user(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    store.require(Feature::ServiceUsers, &call.identity.company)?;
    let body = call.body;
    let name = body.text("name")?;
    let as_owner = body.loose_flag("allow_running_as_owner")?;
    let id = body.required("user")?;
    let user = member(store, call)?;
    if !user.service {
        return Err(ApiError::user_id(&[("id", id)]));
    }
    let before = (user.name.clone(), user.runs_as_owner);
    if let Some(name) = name {
        name.clone_into(&mut user.name);
    }
    user.runs_as_owner = as_owner.unwrap_or(user.runs_as_owner);
    let changed = before != (user.name.clone(), user.runs_as_owner);
    Ok(json!({"updated": i32::from(changed)}))
}

pub(crate) fn set_role(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    call.body.required("role")?;
    let role = accounts::role(store, call.body)?;
    assign(store, call, role)
}

pub(crate) fn set_admin(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    let is_admin = call.body.loose_flag("is_admin")?.unwrap_or(true);
    let role = if is_admin { Role::Admin } else { Role::User };
    assign(store, call, role)
}

fn assign(store: &mut Store, call: &Call<'_>, role: Role) -> Result<Value, ApiError> {
    let user = member(store, call)?;
    let updated = i32::from(user.role != role);
    user.role = role;
    Ok(json!({"updated": updated, "fields": {"role": role.name()}}))
}

pub(crate) fn update_company_name(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    let name = call.body.required("new_name")?;
    let own = call.identity.company.as_str();
    let company = call.body.text("company")?.unwrap_or(own);
    if company != own && call.identity.role == Role::Admin {
        return Err(ApiError::object_id("company", company));
    }
    let company = system::known(store, "company", company)?;
    system::check_name(store, name, &company)?;
    let row = store.companies.get_mut(&company);
    let updated = row.is_some_and(|row| {
        let changed = row.name != name;
        name.clone_into(&mut row.name);
        changed
    });
    Ok(json!({"updated": i32::from(updated)}))
}
