//! `system.*`: the older API of tenants, for the server's own programs and its administrator.
//!
//! There is no call that deletes a company.

use regex::RegexBuilder;
use serde_json::{Map, Value, json};

use crate::{
    body::Body,
    endpoints::Call,
    error::ApiError,
    feature::Feature,
    services::queues::SHORTEST_NAME,
    store::{
        Company, Store,
        enterprise::Settings,
        queue::{DEFAULT, Queue},
    },
};

/// Settings that the server keeps and that mean nothing here: name, and what its value must be.
const OTHER_SETTINGS: &[(&str, Kind)] = &[
    ("admin_access_all_apps", Kind::Flag),
    ("app_access_by_owners", Kind::List),
    ("max_running_apps", Kind::Number),
    ("supported_application_ids", Kind::List),
    ("supported_application_categories", Kind::List),
    ("excluded_application_categories", Kind::List),
    ("cookie_options", Kind::Object),
];

/// What a value must be.
#[derive(Clone, Copy)]
enum Kind {
    Flag,
    List,
    Number,
    Object,
}

pub(crate) fn create_company(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    let body = call.body;
    let name = body.required("name")?;
    let mut settings = Settings::default();
    let mut kept = Map::new();
    if let Some(defaults) = body.nested("defaults")? {
        settings.allowed_users = defaults.loose_number("allowed_users")?;
        if store.enterprise.features_in_defaults {
            change_features(&mut settings, &defaults)?;
        }
        defaults.text("cluster")?;
        defaults.text("kibana_space")?;
        defaults.nested("sso")?;
        kept = defaults.fields();
        kept.retain(|field, _| ["cluster", "kibana_space", "sso"].contains(&field.as_str()));
    }
    let company = add_company(store, name)?;
    let tenant = store.tenant_mut(&company);
    tenant.settings = settings;
    tenant.defaults = kept;
    let queues = add_app_queues(store, &company, call);
    Ok(json!({"id": company, "app_queues": queues}))
}

/// Adds a company with a name that is long enough and, where the server wants that, unique.
pub(crate) fn add_company(store: &mut Store, name: &str) -> Result<String, ApiError> {
    check_name(store, name, "")?;
    let id = store.random.id();
    let company = Company {
        name: name.to_owned(),
    };
    store.companies.insert(&id, company);
    Ok(id)
}

/// Names are long enough and, where the server wants that, unique, also among those that were softly deleted.
pub(crate) fn check_name(store: &Store, name: &str, own: &str) -> Result<(), ApiError> {
    if name.chars().count() < SHORTEST_NAME {
        return Err(ApiError::data("name", "String value is too short"));
    }
    let others = store.companies.pairs().filter(|(id, _)| *id != own);
    let taken = others
        .map(|(_, company)| company)
        .any(|company| company.name == name);
    if store.enterprise.unique_names && taken {
        return Err(store.enterprise.name_taken.error(&[("name", name)]));
    }
    Ok(())
}

/// The queues that the server makes itself.
pub(crate) fn add_app_queues(store: &mut Store, company: &str, call: &Call<'_>) -> Vec<Value> {
    let names = store.enterprise.app_queues.clone();
    names
        .into_iter()
        .map(|name| {
            let id = store.random.id();
            let mut queue = Queue::new(id.clone(), company.to_owned(), name.clone(), call.date());
            if name == DEFAULT {
                queue.system_tags.push(DEFAULT.to_owned());
            }
            store.queues.insert(&id, queue);
            json!({"id": id, "name": name})
        })
        .collect()
}

pub(crate) fn get_companies(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    let body = call.body;
    let name = body.text("name")?.map(str::to_lowercase);
    let pattern = body.text("name_pattern")?.map(|pattern| {
        let pattern = RegexBuilder::new(pattern).build();
        pattern.map_err(|_| ApiError::field("name_pattern", "invalid regular expression"))
    });
    let pattern = pattern.transpose()?;
    let events = body.flag("custom_events")?;
    let users = match body.nested("custom_data")? {
        None => false,
        Some(data) if data.has("users") => data.flag("users")?,
        Some(_) => return Err(ApiError::required("custom_data.users")),
    };
    let companies: Vec<Value> = store
        .companies
        .pairs()
        .filter(|(_, company)| {
            name.as_ref()
                .is_none_or(|name| company.name.to_lowercase() == *name)
                && pattern
                    .as_ref()
                    .is_none_or(|pattern| pattern.is_match(&company.name))
        })
        .map(|(id, company)| {
            let mut row = json!({"id": id, "name": company.name, "active": store.is_active(id)});
            if let Some(row) = row.as_object_mut() {
                if users {
                    let count = store.users.iter().filter(|user| user.company == id);
                    row.insert("users".to_owned(), json!(count.count()));
                }
                if events {
                    let fields = store.tenant(id).custom_events;
                    row.insert("custom_events".to_owned(), fields);
                }
            }
            row
        })
        .collect();
    Ok(json!({"companies": companies}))
}

/// The company that the request names, or that of the caller.
fn named(store: &Store, call: &Call<'_>) -> Result<String, ApiError> {
    let company = call.body.text("company")?;
    let company = company.unwrap_or(&call.identity.company);
    known(store, "company", company)
}

fn required(store: &Store, call: &Call<'_>) -> Result<String, ApiError> {
    known(store, "company", call.body.required("company")?)
}

/// The company if there is one; `field` is what the request calls it.
pub(crate) fn known(store: &Store, field: &str, company: &str) -> Result<String, ApiError> {
    match store.companies.get(company) {
        Some(_) => Ok(company.to_owned()),
        None => Err(ApiError::object_id(field, company)),
    }
}

pub(crate) fn company_info(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    let company = named(store, call)?;
    let tenant = store.tenant(&company);
    let settings = &tenant.settings;
    let mut defaults = tenant.defaults.clone();
    let values = [
        ("features", json!(settings.features)),
        ("exclude_features", json!(settings.exclude_features)),
        ("allowed_users", json!(settings.allowed_users)),
        (
            "allowed_service_users",
            json!(settings.allowed_service_users),
        ),
        (
            "allow_service_user_admins",
            json!(settings.allow_service_user_admins),
        ),
    ];
    defaults.extend(values.map(|(key, value)| (key.to_owned(), value)));
    defaults.extend(settings.other.clone());
    let name = store.companies.get(&company).map(|row| &row.name);
    Ok(json!({
        "id": company,
        "name": name,
        "active": tenant.active,
        "defaults": defaults,
        "services": [],
    }))
}

pub(crate) fn update_company_settings(
    store: &mut Store,
    call: &Call<'_>,
) -> Result<Value, ApiError> {
    let company = required(store, call)?;
    let mut settings = store.tenant(&company).settings;
    change(&mut settings, call.body)?;
    let tenant = store.tenant_mut(&company);
    let updated = i32::from(tenant.settings != settings);
    tenant.settings = settings;
    Ok(json!({"updated": updated}))
}

fn change(settings: &mut Settings, body: &Body) -> Result<(), ApiError> {
    change_features(settings, body)?;
    if let Some(most) = body.loose_number("allowed_users")? {
        settings.allowed_users = Some(most);
    }
    if let Some(most) = body.loose_number("allowed_service_users")? {
        settings.allowed_service_users = Some(most);
    }
    if body.has("allow_service_user_admins") {
        settings.allow_service_user_admins = body.flag("allow_service_user_admins")?;
    }
    if let Some(set) = body.choice("feature_set", &["basic", "advanced"])? {
        settings.other.insert("feature_set".to_owned(), json!(set));
    }
    for (field, kind) in OTHER_SETTINGS {
        let value = match kind {
            _ if body.get(field).is_none() => continue,
            Kind::Flag => json!(body.flag(field)?),
            Kind::List => json!(body.list(field)?),
            Kind::Number => json!(body.number(field)?),
            Kind::Object => json!(body.nested(field)?.map(Body::fields)),
        };
        settings.other.insert((*field).to_owned(), value);
    }
    Ok(())
}

fn change_features(settings: &mut Settings, body: &Body) -> Result<(), ApiError> {
    if let Some(features) = Feature::list(body, "features")? {
        settings.features = features;
    }
    if let Some(features) = Feature::list(body, "exclude_features")? {
        settings.exclude_features = features;
    }
    Ok(())
}

pub(crate) fn update_company_sso_config(
    store: &mut Store,
    call: &Call<'_>,
) -> Result<Value, ApiError> {
    let company = required(store, call)?;
    let Some(sso) = call.body.nested("sso")? else {
        return Err(ApiError::required("sso"));
    };
    sso.text("tenant")?;
    sso.nested("group_mapping")?;
    sso.list("admin_groups")?;
    let sso = Value::Object(sso.fields());
    let defaults = &mut store.tenant_mut(&company).defaults;
    defaults.insert("sso".to_owned(), sso);
    Ok(json!({}))
}

pub(crate) fn get_company_app_instance_access(
    store: &mut Store,
    call: &Call<'_>,
) -> Result<Value, ApiError> {
    let company = required(store, call)?;
    Ok(json!({"app_instance_access": store.tenant(&company).app_instance_access}))
}

pub(crate) fn update_company_app_instance_access(
    store: &mut Store,
    call: &Call<'_>,
) -> Result<Value, ApiError> {
    let company = required(store, call)?;
    let Some(access) = call.body.nested("app_instance_access")? else {
        return Err(ApiError::required("app_instance_access"));
    };
    access.flag("admin_access_all")?;
    access.choice("allowed", &["all", "owner", "groups"])?;
    access.nested("applications")?;
    access.nested("categories")?;
    store.tenant_mut(&company).app_instance_access = Value::Object(access.fields());
    Ok(json!({}))
}

pub(crate) fn get_company_custom_events_config(
    store: &mut Store,
    call: &Call<'_>,
) -> Result<Value, ApiError> {
    let company = required(store, call)?;
    Ok(json!({"fields": store.tenant(&company).custom_events}))
}

pub(crate) fn update_company_custom_events_config(
    store: &mut Store,
    call: &Call<'_>,
) -> Result<Value, ApiError> {
    let company = required(store, call)?;
    let Some(fields) = call.body.nested("fields")? else {
        return Err(ApiError::required("fields"));
    };
    store.tenant_mut(&company).custom_events = Value::Object(fields.fields());
    Ok(json!({}))
}
