//! `resources.*`: policies that share pools of workers between groups of users.

use serde_json::{Value, json};

use crate::{
    endpoints::Call,
    error::ApiError,
    feature::Feature,
    policy,
    services::queues,
    store::{
        Store,
        queue::Queue,
        resources::{Connection, Policy, Resources},
    },
};

/// The policies of a company that has the feature.
fn resources<'a>(store: &'a mut Store, call: &Call<'_>) -> Result<&'a mut Resources, ApiError> {
    let company = &call.identity.company;
    store.require(Feature::ResourcePolicy, company)?;
    Ok(&mut store.tenant_mut(company).resources)
}

fn position(resources: &Resources, id: &str) -> Result<usize, ApiError> {
    let mut policies = resources.policies.iter();
    policies
        .position(|policy| policy.id == id)
        .ok_or_else(|| ApiError::object_id("policy", id))
}

/// An amount of resources: not negative.
fn amount(call: &Call<'_>, field: &str) -> Result<Option<f64>, ApiError> {
    let amount = call.body.decimal(field)?;
    if amount.is_some_and(|amount| amount < 0.0) {
        return Err(ApiError::field(field, "must not be negative"));
    }
    Ok(amount)
}

pub(crate) fn create_policy(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    let body = call.body;
    let (name, group) = (body.required("name")?, body.required("user_group")?);
    let (reservation, limit) = (amount(call, "reservation")?, amount(call, "limit")?);
    let reservation = reservation.unwrap_or(0.0);
    if limit.is_some_and(|limit| limit < reservation) {
        return Err(ApiError::field("limit", "is less than the reservation"));
    }
    let description = body.text("description")?.unwrap_or_default();
    let id = store.random.id();
    let resources = resources(store, call)?;
    if resources.policies.iter().any(|policy| policy.name == name) {
        return Err(ApiError::not_unique(&[("name", name)]));
    }
    resources.policies.push(Policy {
        id: id.clone(),
        name: name.to_owned(),
        description: description.to_owned(),
        user_group: group.to_owned(),
        reservation,
        limit,
    });
    Ok(json!({"id": id}))
}

pub(crate) fn get_policies(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    let resources = resources(store, call)?.clone();
    let policies = resources.policies.iter();
    let policies: Vec<Value> = policies
        .map(|policy| show(store, &resources, policy))
        .collect();
    Ok(json!({"policies": policies}))
}

fn show(store: &Store, resources: &Resources, policy: &Policy) -> Value {
    json!({
        "id": policy.id,
        "name": policy.name,
        "description": policy.description,
        "limit": policy.limit,
        "reservation": policy.reservation,
        "usage": policy::usage(store, resources, &policy.id),
        "user_group": policy.user_group,
    })
}

pub(crate) fn get_policy_data(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    let id = call.body.required("policy")?;
    let resources = resources(store, call)?.clone();
    let policy = resources.policies.get(position(&resources, id)?);
    let shown = policy.map(|policy| show(store, &resources, policy));
    let queues = resources.connections.iter();
    let queues: Vec<Value> = queues
        .filter(|connection| connection.policy == id)
        .map(|connection| json!({"id": connection.queue, "profile": connection.profile}))
        .collect();
    Ok(json!({"policy": shown, "queues": queues}))
}

/// Makes the queue through which a policy's users reach a profile.
pub(crate) fn connect_policy_profile(
    store: &mut Store,
    call: &Call<'_>,
) -> Result<Value, ApiError> {
    let body = call.body;
    let (policy, profile) = (body.required("policy")?, body.required("profile")?);
    let name = body.required("queue_name")?;
    let display_name = body.text("display_name")?;
    let known = resources(store, call)?;
    position(known, policy)?;
    let mut profiles = known.published.profiles.iter();
    if !profiles.any(|known| known.id == profile) {
        return Err(ApiError::object_id("profile", profile));
    }
    let mut connections = known.connections.iter();
    if connections.any(|known| known.policy == policy && known.profile == profile) {
        return Err(ApiError::not_unique(&[
            ("policy", policy),
            ("profile", profile),
        ]));
    }
    let company = &call.identity.company;
    queues::check_name(store, company, name)?;
    let queue = store.random.id();
    let mut row = Queue::new(queue.clone(), company.clone(), name.to_owned(), call.date());
    row.display_name = display_name.map(str::to_owned);
    store.queues.insert(&queue, row);
    resources(store, call)?.connections.push(Connection {
        queue: queue.clone(),
        policy: policy.to_owned(),
        profile: profile.to_owned(),
    });
    Ok(json!({"queue": queue}))
}

/// Removes connections and their queues; the waiting tasks are what they were before they waited.
fn disconnect(store: &mut Store, call: &Call<'_>, queues: &[String]) -> Result<(), ApiError> {
    let connections = &mut resources(store, call)?.connections;
    connections.retain(|connection| !queues.contains(&connection.queue));
    for queue in queues {
        queues::remove(store, queue, call);
    }
    Ok(())
}

pub(crate) fn disconnect_policy_profile(
    store: &mut Store,
    call: &Call<'_>,
) -> Result<Value, ApiError> {
    let queue = call.body.required("queue")?;
    let mut connections = resources(store, call)?.connections.iter();
    if !connections.any(|connection| connection.queue == queue) {
        let company = call.identity.company.as_str();
        return Err(ApiError::queue_id(&[("id", queue), ("company", company)]));
    }
    disconnect(store, call, &[queue.to_owned()])?;
    Ok(json!({}))
}

pub(crate) fn delete_policy(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    let id = call.body.required("id")?;
    let resources = resources(store, call)?;
    let position = position(resources, id)?;
    resources.policies.remove(position);
    let connections = resources.connections.iter();
    let queues: Vec<String> = connections
        .filter(|connection| connection.policy == id)
        .map(|connection| connection.queue.clone())
        .collect();
    disconnect(store, call, &queues)?;
    Ok(json!({"deleted": 1, "deleted_queues": queues}))
}

/// Policies are served in their order.
pub(crate) fn move_policy(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    let id = call.body.required("policy")?;
    let Some(place) = call.body.number("position")? else {
        return Err(ApiError::required("position"));
    };
    let resources = resources(store, call)?;
    let policy = resources.policies.remove(position(resources, id)?);
    let last = resources.policies.len();
    let place = usize::try_from(place).unwrap_or(0).min(last);
    resources.policies.insert(place, policy);
    Ok(json!({"position": place}))
}

pub(crate) fn enable_policy_manager(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    if !call.body.has("enable") {
        return Err(ApiError::required("enable"));
    }
    let enable = call.body.flag("enable")?;
    let resources = resources(store, call)?;
    let updated = i32::from(resources.enabled != enable);
    resources.enabled = enable;
    Ok(json!({"updated": updated}))
}

/// What was changed and does not count yet.
pub(crate) fn get_resource_configuration(
    store: &mut Store,
    call: &Call<'_>,
) -> Result<Value, ApiError> {
    let resources = resources(store, call)?;
    let published = resources.draft == resources.published;
    Ok(json!({
        "pools": resources.draft.pools,
        "profiles": resources.draft.profiles,
        "published": published,
        "enabled": resources.enabled,
    }))
}

pub(crate) fn publish_resource_configuration(
    store: &mut Store,
    call: &Call<'_>,
) -> Result<Value, ApiError> {
    let resources = resources(store, call)?;
    resources.published = resources.draft.clone();
    Ok(json!({}))
}

pub(crate) fn reset_resource_configuration(
    store: &mut Store,
    call: &Call<'_>,
) -> Result<Value, ApiError> {
    let resources = resources(store, call)?;
    resources.draft = resources.published.clone();
    Ok(json!({}))
}

pub(crate) fn get_resource_pools(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    let resources = resources(store, call)?.clone();
    let pools = resources.published.pools.iter();
    let pools: Vec<Value> = pools
        .map(|pool| {
            json!({
                "id": pool.id,
                "name": pool.name,
                "resources": pool.resources,
                "usage": policy::pool_usage(store, &resources, &pool.id),
            })
        })
        .collect();
    Ok(json!({"pools": pools}))
}

pub(crate) fn get_resource_profiles(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    let resources = resources(store, call)?.clone();
    let profiles = resources.published.profiles.iter();
    let profiles: Vec<Value> = profiles
        .map(|profile| {
            let connections = resources.connections.iter();
            let own: Vec<&Connection> = connections
                .filter(|connection| connection.profile == profile.id)
                .collect();
            let sum = |count: fn(&Store, &str) -> usize| {
                own.iter()
                    .map(|own| count(store, &own.queue))
                    .sum::<usize>()
            };
            let (queued, running) = (sum(policy::waiting), sum(policy::running));
            let connected = own
                .iter()
                .map(|own| json!({"policy": own.policy, "queue": own.queue}));
            json!({
                "id": profile.id,
                "name": profile.name,
                "profile_cost": profile.cost,
                "queued_jobs": queued,
                "running_jobs": running,
                "pool_links": profile.pool_links,
                "policy_connections": connected.collect::<Vec<_>>(),
            })
        })
        .collect();
    Ok(json!({"profiles": profiles}))
}
