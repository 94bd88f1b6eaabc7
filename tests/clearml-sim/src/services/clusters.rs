//! `workers.cluster_…`: what a cluster has, as an agent reports it to the dashboard of the Enterprise edition.

use serde_json::{Map, Value, json};

use crate::{
    endpoints::Call,
    error::ApiError,
    store::{Store, enterprise::Cluster},
};

/// How long a report counts unless it says otherwise, in seconds.
const TIMEOUT_SECONDS: i64 = 600;

/// A whole report replaces the last one; a partial one only the groups of resources that it names.
pub(crate) fn cluster_report(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    let body = call.body;
    let key = body.required("key")?;
    let Some(timestamp) = body.number("timestamp")? else {
        return Err(ApiError::required("timestamp"));
    };
    let partial = body.flag("partial")?;
    let groups = match body.get("resource_groups") {
        None => Vec::new(),
        Some(Value::Array(groups)) => groups.clone(),
        Some(_) => return Err(ApiError::field("resource_groups", "expected a list")),
    };
    let properties = body.nested("properties")?;
    if let Some(properties) = &properties {
        properties.decimal("max_gpus")?;
        properties.decimal("max_cpus")?;
    }
    let worker = body.text("worker")?.map(str::to_owned);
    let timeout = body.number("timeout")?.unwrap_or(TIMEOUT_SECONDS);
    let clusters = &mut store.tenant_mut(&call.identity.company).clusters;
    let before = clusters.remove(key).filter(|_| partial);
    let mut cluster = Cluster {
        worker,
        timestamp,
        timeout,
        reported: call.date().stored(),
        resource_groups: groups,
        properties: properties.map_or_else(Map::new, crate::body::Body::fields),
    };
    if let Some(before) = before {
        let named = |group: &Value| {
            let name = group.get("name");
            let mut new = cluster.resource_groups.iter();
            name.is_some() && new.any(|new| new.get("name") == name)
        };
        let old = before.resource_groups.into_iter();
        let mut kept: Vec<Value> = old.filter(|group| !named(group)).collect();
        kept.append(&mut cluster.resource_groups);
        cluster.resource_groups = kept;
        let mut properties = before.properties;
        properties.append(&mut cluster.properties);
        cluster.properties = properties;
    }
    clusters.insert(key.to_owned(), cluster);
    Ok(json!({}))
}

pub(crate) fn cluster_unregister(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    let key = call.body.required("key")?;
    let clusters = &mut store.tenant_mut(&call.identity.company).clusters;
    match clusters.remove(key) {
        Some(_) => Ok(json!({})),
        None => Err(ApiError::worker_not_registered(key)),
    }
}
