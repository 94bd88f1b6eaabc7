//! The part of `tenants.*` that measures: usage, its history and prices, and the feed of the metering service.
//!
//! Nothing is used here: requests are checked and answered with the empty forms, and what is fed is kept.

use jiff::civil::Date as Day;
use serde_json::{Value, json};

use crate::{
    body::Body,
    endpoints::Call,
    error::ApiError,
    identity::Role,
    services::{system::known, tenants::required},
    store::Store,
};

/// A day such as `2026-11-24`.
fn day(body: &Body, field: &str) -> Result<Option<Day>, ApiError> {
    let day = body.text(field)?.map(|text| {
        let is_day = text.len() == "YYYY-MM-DD".len();
        let day = text.parse().ok().filter(|_| is_day);
        day.ok_or_else(|| ApiError::field(field, "expected a date such as 2026-11-24"))
    });
    day.transpose()
}

/// The days from and to which a request asks.
fn period(body: &Body) -> Result<(), ApiError> {
    let (from, to) = (day(body, "from_date")?, day(body, "to_date")?);
    match (from, to) {
        (Some(from), Some(to)) if from > to => {
            Err(ApiError::field("to_date", "is before from_date"))
        }
        _ => Ok(()),
    }
}

pub(crate) fn get_tenant_usages(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    let tenant = required(store, call)?;
    period(call.body)?;
    Ok(json!({"tenant": tenant, "usages": []}))
}

pub(crate) fn get_multitenant_usages(
    store: &mut Store,
    call: &Call<'_>,
) -> Result<Value, ApiError> {
    for tenant in call.body.list("tenants")? {
        known(store, "tenants", tenant)?;
    }
    period(call.body)?;
    Ok(json!({"usages": []}))
}

pub(crate) fn get_resource_usages(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    get_multitenant_usages(store, call)
}

pub(crate) fn get_resource_history(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    for tenant in call.body.list("tenants")? {
        known(store, "tenants", tenant)?;
    }
    period(call.body)?;
    Ok(json!({"history": []}))
}

pub(crate) fn get_usage_configuration(
    store: &mut Store,
    call: &Call<'_>,
) -> Result<Value, ApiError> {
    let tenant = required(store, call)?;
    let configuration = store.tenant(&tenant).usage_configuration;
    Ok(json!({"configuration": configuration}))
}

pub(crate) fn edit_usage_configuration(
    store: &mut Store,
    call: &Call<'_>,
) -> Result<Value, ApiError> {
    let tenant = required(store, call)?;
    let Some(configuration) = call.body.nested("configuration")? else {
        return Err(ApiError::required("configuration"));
    };
    let (old, new) = (
        &mut store.tenant_mut(&tenant).usage_configuration,
        configuration.fields(),
    );
    let updated = i32::from(*old != new);
    *old = new;
    Ok(json!({"updated": updated}))
}

/// Events of programs that meter. Administrators may only report on their own company.
pub(crate) fn custom_events(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    let template = call.body.required("template_key")?;
    let Some(events) = call.body.get("events").and_then(Value::as_array) else {
        return Err(ApiError::required("events"));
    };
    let (mut succeeded, mut errors) = (0, Vec::new());
    for event in events {
        match accept(store, call, event) {
            Ok(tenant) => {
                let mut event = event.clone();
                if let Some(event) = event.as_object_mut() {
                    event.insert("template_key".to_owned(), json!(template));
                }
                store.tenant_mut(&tenant).events.push(event);
                succeeded += 1;
            }
            Err(problem) => errors.push(json!({"id": event.get("id"), "error": problem})),
        }
    }
    Ok(json!({"succeeded": succeeded, "errors": errors}))
}

/// The company that an event is about.
fn accept(store: &Store, call: &Call<'_>, event: &Value) -> Result<String, &'static str> {
    let text = |field| event.get(field).and_then(Value::as_str);
    text("id").ok_or("id is required")?;
    let tenant = text("clearml_tenant").ok_or("clearml_tenant is required")?;
    let millis = event.get("timestamp_millis").and_then(Value::as_i64);
    millis.ok_or("timestamp_millis is required")?;
    store
        .companies
        .get(tenant)
        .ok_or("unknown clearml_tenant")?;
    let abroad = tenant != call.identity.company;
    if abroad && call.identity.role == Role::Admin {
        return Err("clearml_tenant is another company");
    }
    Ok(tenant.to_owned())
}
