//! `tasks.*` that change what a task is, not where it stands.

use serde_json::{Map, Value, json};

use crate::{
    endpoints::Call,
    error::ApiError,
    store::{Store, task::Status},
};

/// Fields that a change of a task may name.
const EDITABLE: &[&str] = &[
    "name",
    "tags",
    "system_tags",
    "comment",
    "project",
    "parent",
    "type",
    "container",
    "script",
    "configuration",
    "hyperparams",
    "runtime",
    "output_dest",
];

/// Fields that may change at any time.
const ALWAYS: &[&str] = &[
    "name",
    "tags",
    "system_tags",
    "comment",
    "project",
    "status_reason",
    "status_message",
];

/// Changes a task that has not run yet, or with `force` any.
pub(crate) fn edit(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    change(store, call, EDITABLE, call.body.flag("force")?)
}

/// Changes what may change at any time.
pub(crate) fn update(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    change(store, call, ALWAYS, true)
}

fn change(
    store: &mut Store,
    call: &Call<'_>,
    editable: &[&str],
    forced: bool,
) -> Result<Value, ApiError> {
    let id = call.body.required("task")?;
    let task = store.task_mut(id, &call.identity.company)?;
    if !forced && task.status != Status::Created {
        return Err(ApiError::task_status(
            task.status.name(),
            Status::Created.name(),
        ));
    }
    let mut fields: Map<String, Value> = editable
        .iter()
        .filter_map(|field| Some(((*field).to_owned(), call.body.get(field)?.clone())))
        .collect();
    if fields.is_empty() {
        return Ok(json!({"updated": 0, "fields": {}}));
    }
    let mut row = json!(task);
    if let Some(row) = row.as_object_mut() {
        row.extend(fields.clone());
    }
    *task =
        serde_json::from_value(row).map_err(|error| ApiError::data("task", &error.to_string()))?;
    task.touch(&call.identity.user, call.date());
    fields.insert("last_change".to_owned(), json!(call.date()));
    fields.insert("last_changed_by".to_owned(), json!(call.identity.user));
    fields.insert("last_update".to_owned(), json!(call.date()));
    Ok(json!({"updated": 1, "fields": fields}))
}

/// Sets hyper-parameters, by section and name. The section `properties` may change at any time: it is for notes.
pub(crate) fn edit_hyper_params(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    let id = call.body.required("task")?;
    let Some(Value::Array(items)) = call.body.get("hyperparams") else {
        return Err(ApiError::required("hyperparams"));
    };
    let text =
        |item: &Value, field: &str| item.get(field).and_then(Value::as_str).map(str::to_owned);
    let mut wanted = Vec::with_capacity(items.len());
    for item in items {
        let section = text(item, "section").ok_or_else(|| ApiError::required("section"))?;
        let name = text(item, "name").ok_or_else(|| ApiError::required("name"))?;
        wanted.push((section, name, item.clone()));
    }
    let task = store.task_mut(id, &call.identity.company)?;
    let notes = wanted.iter().all(|(section, ..)| section == "properties");
    let open = task.status == Status::Created || notes || call.body.flag("force")?;
    if !open {
        return Err(ApiError::task_status(
            task.status.name(),
            Status::Created.name(),
        ));
    }
    let params = task.other.entry("hyperparams").or_insert_with(|| json!({}));
    for (section, name, item) in wanted {
        if let Some(section) = params
            .as_object_mut()
            .map(|params| params.entry(section).or_insert_with(|| json!({})))
            .and_then(Value::as_object_mut)
        {
            section.insert(name, item);
        }
    }
    task.touch(&call.identity.user, call.date());
    Ok(json!({"updated": 1}))
}

/// Removes a task that does not run, and from its queue.
pub(crate) fn delete(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    let id = call.body.required("task")?;
    let forced = call.body.flag("force")?;
    let task = store.task_mut(id, &call.identity.company)?;
    let busy = matches!(task.status, Status::Queued | Status::InProgress);
    if busy && !forced {
        return Err(ApiError::task_status(
            task.status.name(),
            Status::Created.name(),
        ));
    }
    let queue = task.execution.queue.clone();
    store.leave_queue(id, &call.identity.company, queue.as_deref(), call.date());
    store.tasks.remove(id);
    Ok(json!({"deleted": true}))
}
