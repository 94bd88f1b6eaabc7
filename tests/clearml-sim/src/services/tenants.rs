//! `tenants.*`: the newer API of tenants, for the server's own programs and its administrator.

use serde_json::{Value, json};

use crate::{
    date::Date,
    endpoints::Call,
    error::ApiError,
    identity::Role,
    services::{
        login_routing,
        system::{self, known},
    },
    store::{
        Store,
        task::Status,
        user::{NewUser, User},
    },
};

/// The company that every server has from the start.
pub(crate) const DEFAULT_COMPANY: &str = "d1bd92a3b039400cbafc60a7a5b1e52b";
/// Types of tasks that are counted by themselves.
const APPLICATION: &str = "application";
const PIPELINE: &str = "controller";

/// A company, its administrators, their domain and keys, all at once or nothing.
pub(crate) fn create_tenant(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    let body = call.body;
    let name = body.required("name")?;
    let emails = body.list("admin_emails")?;
    let domain = body.text("domain")?;
    let max_users = body.number("max_users")?;
    let max_service_users = body.number("max_service_users")?;
    for (index, email) in emails.iter().enumerate() {
        store.check_email(email)?;
        if emails.iter().take(index).any(|before| before == email) {
            return Err(ApiError::not_unique(&[("email", email)]));
        }
    }
    if let Some(domain) = domain {
        login_routing::check_domain(store, domain, "")?;
    }
    let tenant = system::add_company(store, name)?;
    let row = store.tenant_mut(&tenant);
    row.domains.extend(domain.map(str::to_owned));
    system::add_app_queues(store, &tenant, call);
    for email in emails {
        add_admin(store, &tenant, email, Some(email), call.date())?;
    }
    let keys = admin_keys(store, &tenant, call.date())?;
    // Only now: the administrators are there in any case.
    let settings = &mut store.tenant_mut(&tenant).settings;
    settings.allowed_users = max_users;
    settings.allowed_service_users = max_service_users;
    Ok(json!({"id": tenant, "credentials": keys}))
}

fn add_admin(
    store: &mut Store,
    company: &str,
    name: &str,
    email: Option<&str>,
    now: Date,
) -> Result<String, ApiError> {
    let new = NewUser {
        company,
        name,
        email,
        role: Role::Admin,
        service: false,
    };
    store.enrol(&new, now)
}

/// New keys of the first administrator; a company without one gets one.
fn admin_keys(store: &mut Store, company: &str, now: Date) -> Result<Value, ApiError> {
    let is_admin =
        |user: &User| user.company == company && user.role == Role::Admin && !user.service;
    let first = store.users.pairs().find(|(_, user)| is_admin(user));
    let admin = match first.map(|(id, _)| id.to_owned()) {
        Some(admin) => admin,
        None => add_admin(store, company, "admin", None, now)?,
    };
    let keys = store.add_key(&admin, None, None, now);
    Ok(json!({"access_key": keys.access_key, "secret_key": keys.secret_key}))
}

#[expect(clippy::unnecessary_wraps, reason = "all endpoints have one form")]
pub(crate) fn get_tenants(store: &mut Store, _call: &Call<'_>) -> Result<Value, ApiError> {
    let tenants: Vec<Value> = store
        .companies
        .pairs()
        .filter(|(id, _)| store.is_active(id))
        .map(|(id, company)| {
            let admins = store
                .users
                .iter()
                .filter(|user| user.company == id && user.role == Role::Admin);
            let emails: Vec<&String> = admins.filter_map(|user| user.email.as_ref()).collect();
            json!({
                "id": id,
                "name": company.name,
                "admin_emails": emails,
                "default_company": id == DEFAULT_COMPANY,
            })
        })
        .collect();
    Ok(json!({"tenants": tenants}))
}

/// The tenant that the request names.
pub(crate) fn required(store: &Store, call: &Call<'_>) -> Result<String, ApiError> {
    known(store, "tenant", call.body.required("tenant")?)
}

pub(crate) fn add_tenant_admin_credentials(
    store: &mut Store,
    call: &Call<'_>,
) -> Result<Value, ApiError> {
    let tenant = required(store, call)?;
    let keys = admin_keys(store, &tenant, call.date())?;
    Ok(json!({"credentials": keys}))
}

pub(crate) fn get_tenant_resources(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    let tenant = required(store, call)?;
    Ok(snapshot(store, &tenant, call.date()).0)
}

/// What runs and what there is, and whether anything runs.
fn snapshot(store: &Store, company: &str, now: Date) -> (Value, bool) {
    let tasks = || store.tasks.iter().filter(|task| task.company == company);
    let running = |kind: Option<&str>| {
        let runs = tasks().filter(|task| task.status == Status::InProgress);
        runs.filter(|task| kind.is_none_or(|kind| task.kind == kind))
            .count()
    };
    let workers = store
        .workers
        .iter()
        .filter(|worker| worker.company == company && worker.is_alive(now));
    let (tasks_running, workers) = (running(None), workers.count());
    let snapshot = json!({
        "running": {
            "tasks": tasks_running,
            "app_tasks": running(Some(APPLICATION)),
            "pipeline_tasks": running(Some(PIPELINE)),
            "connected_workers": workers,
            "active_routes": 0,
        },
        "totals": {"tasks": tasks().count(), "datasets": 0},
    });
    (snapshot, tasks_running + workers > 0)
}

/// Softly: everything stays, and nobody of the company gets in.
pub(crate) fn delete_tenant(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    let body = call.body;
    let tenant = required(store, call)?;
    let name = body.required("name")?;
    let force = body.flag("force")?;
    let stored = store.companies.get(&tenant).map(|row| row.name.as_str());
    if stored != Some(name) {
        let pairs = [("tenant", tenant.as_str()), ("name", name)];
        return Err(store.enterprise.name_mismatch.error(&pairs));
    }
    let (snapshot, busy) = snapshot(store, &tenant, call.date());
    if busy && !force {
        return Err(store.enterprise.tenant_in_use.error(&[("tenant", &tenant)]));
    }
    store.tenant_mut(&tenant).active = false;
    Ok(snapshot)
}

pub(crate) fn get_tenant_info(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    let id = required(store, call)?;
    let tenant = store.tenant(&id);
    let name = store.companies.get(&id).map(|row| &row.name);
    let users = |service| {
        let members = store.users.iter().filter(|user| user.company == id);
        members.filter(|user| user.service == service).count()
    };
    Ok(json!({"tenant": {
        "id": id,
        "name": name,
        "active": tenant.active,
        "users": {
            "active": users(false),
            "pending": tenant.whitelist.len(),
            "max_allowed": tenant.settings.allowed_users,
        },
        "service_users": {
            "active": users(true),
            "max_allowed": tenant.settings.allowed_service_users,
        },
    }}))
}
