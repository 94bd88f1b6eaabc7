//! `login.*` of the Enterprise edition: who gets into which company by e-mail address.

use serde_json::{Value, json};

use crate::{
    endpoints::Call,
    error::ApiError,
    identity::Role,
    store::{
        Store,
        enterprise::Invitation,
        user::{is_domain, is_email},
    },
};

/// Replaces the domains of the company.
pub(crate) fn set_domains(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    if !call.body.has("domains") {
        return Err(ApiError::required("domains"));
    }
    let company = &call.identity.company;
    let mut domains: Vec<String> = Vec::new();
    for domain in call.body.list("domains")? {
        let domain = domain.to_lowercase();
        check_domain(store, &domain, company)?;
        if !domains.contains(&domain) {
            domains.push(domain);
        }
    }
    store.tenant_mut(company).domains = domains;
    Ok(json!({}))
}

/// Whether a domain is one, and free where domains have one owner.
pub(crate) fn check_domain(store: &Store, domain: &str, company: &str) -> Result<(), ApiError> {
    if !is_domain(domain) {
        let problem = format!("Invalid domain: {domain}");
        return Err(ApiError::data("domains", &problem));
    }
    let taken = owners(store, domain).any(|owner| owner != company);
    if taken && !store.enterprise.shared_domains {
        return Err(store.enterprise.domain_taken.error(&[("domain", domain)]));
    }
    Ok(())
}

fn owners<'a>(store: &'a Store, domain: &'a str) -> impl Iterator<Item = &'a str> {
    let has = move |domains: &[String]| domains.iter().any(|own| own == domain);
    let companies = store.companies.pairs().map(|(id, _)| id);
    companies.filter(move |id| {
        let tenant = store.tenants.get(*id);
        tenant.is_some_and(|tenant| tenant.active && has(&tenant.domains))
    })
}

fn shown(invitation: &Invitation) -> Value {
    json!({
        "email": invitation.email,
        "role": invitation.role.name(),
        "is_admin": invitation.role == Role::Admin,
        "created": invitation.created,
    })
}

#[expect(clippy::unnecessary_wraps, reason = "all endpoints have one form")]
pub(crate) fn get_settings(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    let tenant = store.tenant(&call.identity.company);
    let entries: Vec<Value> = tenant.whitelist.iter().map(shown).collect();
    Ok(json!({"domains": tenant.domains, "whitelist_entries": entries}))
}

pub(crate) fn add_whitelist_entries(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    let body = call.body;
    if !body.has("emails") {
        return Err(ApiError::required("emails"));
    }
    let role = match body.text("role")? {
        None if body.flag("is_admin")? => Role::Admin,
        None => Role::User,
        Some(name) => Role::of_company(name, store.mode).ok_or_else(|| {
            ApiError::field("role", &format!("value '{name}' is not a valid choice.."))
        })?,
    };
    let mut added = Vec::new();
    for email in body.owned_list("emails")? {
        if !is_email(&email) {
            let problem = format!("Invalid email address: {email}");
            return Err(ApiError::data("emails", &problem));
        }
        let listed = store.tenant(&call.identity.company).whitelist;
        let waits = listed
            .iter()
            .chain(&added)
            .any(|entry: &Invitation| entry.email == email);
        let is_user = store
            .users
            .iter()
            .any(|user| user.email.as_ref() == Some(&email));
        if !waits && !is_user {
            let created = call.date().stored();
            added.push(Invitation {
                email,
                role,
                created,
            });
        }
    }
    let emails: Vec<String> = added.iter().map(|entry| entry.email.clone()).collect();
    store
        .tenant_mut(&call.identity.company)
        .whitelist
        .extend(added);
    Ok(json!({"added": emails}))
}

/// Only those who have not come yet are on the list.
pub(crate) fn remove_whitelist_entries(
    store: &mut Store,
    call: &Call<'_>,
) -> Result<Value, ApiError> {
    if !call.body.has("emails") {
        return Err(ApiError::required("emails"));
    }
    let emails = call.body.owned_list("emails")?;
    let whitelist = &mut store.tenant_mut(&call.identity.company).whitelist;
    let gone: Vec<Invitation> = whitelist
        .extract_if(.., |entry| emails.contains(&entry.email))
        .collect();
    let removed: Vec<String> = gone.into_iter().map(|entry| entry.email).collect();
    Ok(json!({"removed": removed}))
}

/// Which companies a domain, or an address, leads to.
pub(crate) fn get_whitelist(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    let (domain, email) = (call.body.text("domain")?, call.body.text("email")?);
    let of_email = email.and_then(|email| Some(email.split_once('@')?.1));
    let domain = match (domain, email) {
        (None, None) => return Err(ApiError::required("domain")),
        (domain, _) => domain.or(of_email).unwrap_or_default().to_lowercase(),
    };
    let mut companies: Vec<&str> = owners(store, &domain).collect();
    for (id, _) in store.companies.pairs() {
        let tenant = store.tenants.get(id).filter(|tenant| tenant.active);
        let listed = tenant.is_some_and(|tenant| {
            let mut entries = tenant.whitelist.iter();
            entries.any(|entry| Some(entry.email.as_str()) == email)
        });
        if listed && !companies.contains(&id) {
            companies.push(id);
        }
    }
    let found: Vec<Value> = companies
        .into_iter()
        .map(|id| {
            let name = store.companies.get(id).map(|company| &company.name);
            json!({"id": id, "name": name})
        })
        .collect();
    Ok(json!({"companies": found}))
}
