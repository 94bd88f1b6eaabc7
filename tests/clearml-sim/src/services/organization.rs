//! `organization.*`

use serde_json::{Value, json};

use super::users;
use crate::{endpoints::Call, error::ApiError, store::Store};

/// The companies of whoever asks: in this server always one.
#[expect(clippy::unnecessary_wraps, reason = "all endpoints have one form")]
pub(crate) fn get_user_companies(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    let id = call.identity.company.as_str();
    let mut owners: Vec<_> = users::of_company(store, id)
        .map(|(user, row)| (row.name.as_str(), user))
        .collect();
    owners.sort_unstable();
    let owners: Vec<Value> = owners
        .into_iter()
        .map(|(name, user)| json!({"id": user, "name": name, "avatar": null}))
        .collect();
    let name = store.companies.get(id).map(|company| company.name.as_str());
    Ok(json!({
        "companies": [{"id": id, "name": name, "allocated": owners.len(), "owners": owners}],
    }))
}
