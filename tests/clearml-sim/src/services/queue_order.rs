//! `queues.*` that move tasks within a queue, and those that change or empty one.

use serde_json::{Map, Value, json};

use super::queues::{SHORTEST_NAME, put_back};
use crate::{
    endpoints::Call,
    error::ApiError,
    store::{Store, queue::Queue},
};

/// Where a task goes.
enum Move {
    Front,
    Back,
    /// So many places.
    By(i64),
}

pub(crate) fn to_front(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    go(store, call, &Move::Front)
}

pub(crate) fn to_back(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    go(store, call, &Move::Back)
}

pub(crate) fn forward(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    let count = call.body.number("count")?.unwrap_or(1);
    go(store, call, &Move::By(-count))
}

pub(crate) fn backward(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    let count = call.body.number("count")?.unwrap_or(1);
    go(store, call, &Move::By(count))
}

fn go(store: &mut Store, call: &Call<'_>, to: &Move) -> Result<Value, ApiError> {
    let (id, task) = (call.body.required("queue")?, call.body.required("task")?);
    let company = call.identity.company.as_str();
    let not_queued = || ApiError::not_queued(task, id, company);
    let queue = store.queue_mut(id, company)?;
    let from = queue.entries.iter().position(|entry| entry.task == task);
    let from = from.ok_or_else(not_queued)?;
    let entry = queue.entries.remove(from);
    let last = queue.entries.len();
    let position = match to {
        Move::Front => 0,
        Move::Back => last,
        Move::By(places) => {
            let from = i64::try_from(from).unwrap_or(i64::MAX);
            let wanted = from.saturating_add(*places).max(0);
            usize::try_from(wanted).unwrap_or(last).min(last)
        }
    };
    queue.entries.insert(position, entry);
    queue.last_update = call.date().stored();
    Ok(json!({"position": position}))
}

/// Takes all tasks out; each is what it was before it was queued.
pub(crate) fn clear(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    let id = call.body.required("queue")?;
    let queue = store.queue_mut(id, &call.identity.company)?;
    let entries = std::mem::take(&mut queue.entries);
    queue.last_update = call.date().stored();
    let tasks: Vec<&str> = entries.iter().map(|entry| entry.task.as_str()).collect();
    for task in &tasks {
        let reason = format!("Queue {id} was cleared");
        put_back(store, task, id, &reason, call);
    }
    Ok(json!({"removed_tasks": tasks}))
}

/// Changes name, display name, tags or metadata.
pub(crate) fn update(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    let (body, company) = (call.body, call.identity.company.as_str());
    let id = body.required("queue")?;
    store.queue_mut(id, company)?;
    let mut fields = Map::new();
    if let Some(name) = body.text("name")? {
        if name.chars().count() < SHORTEST_NAME {
            return Err(ApiError::data("name", "String value is too short"));
        }
        let same = |queue: &Queue| queue.company == company && queue.name == name && queue.id != id;
        if store.queues.iter().any(same) {
            return Err(ApiError::not_unique(&[
                ("name", name),
                ("company", company),
            ]));
        }
        fields.insert("name".to_owned(), json!(name));
    }
    if let Some(name) = body.text("display_name")? {
        fields.insert("display_name".to_owned(), json!(name));
    }
    for field in ["tags", "system_tags"] {
        if body.get(field).is_some() {
            // The server keeps tags in order and once.
            let mut tags = body.owned_list(field)?;
            tags.sort_unstable();
            tags.dedup();
            fields.insert(field.to_owned(), json!(tags));
        }
    }
    if let Some(metadata) = body.get("metadata").filter(|value| value.is_object()) {
        fields.insert("metadata".to_owned(), metadata.clone());
    }
    let queue = store.queue_mut(id, company)?;
    let before = json!(queue);
    let mut after = before.clone();
    if let Some(after) = after.as_object_mut() {
        after.extend(fields.clone());
    }
    let updated = after != before;
    if updated {
        *queue = serde_json::from_value(after)
            .map_err(|error| ApiError::data("metadata", &error.to_string()))?;
        queue.last_update = call.date().stored();
    }
    Ok(json!({"updated": u8::from(updated), "fields": fields}))
}

/// Nothing measures how queues fare, so that there is nothing to tell.
pub(crate) fn metrics(_: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    for field in ["from_date", "to_date", "interval"] {
        if call.body.get(field).is_none() {
            return Err(ApiError::required(field));
        }
    }
    Ok(json!({"queues": []}))
}
