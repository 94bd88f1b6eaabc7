//! `tasks.*`

use serde_json::{Map, Value, json};

use super::queues::{self, SHORTEST_NAME};
use crate::{
    date::Date,
    endpoints::Call,
    error::ApiError,
    list::{self, Filter},
    mode::Mode,
    store::{
        Store,
        task::{Status, Task},
    },
};

const KINDS: &[&str] = &[
    "training",
    "testing",
    "inference",
    "data_processing",
    "application",
    "monitor",
    "controller",
    "report",
    "optimizer",
    "service",
    "qc",
    "custom",
];

pub(crate) fn create(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    let body = call.body;
    let name = body.required("name")?;
    let kind = body.required("type")?;
    if !KINDS.contains(&kind) {
        let problem = format!("value '{kind}' is not a valid choice..");
        return Err(ApiError::field("type", &problem));
    }
    if name.chars().count() < SHORTEST_NAME {
        return Err(ApiError::data("name", "String value is too short"));
    }
    let id = store.random.id();
    let mut task = Task::new(
        id.clone(),
        call.identity.company.clone(),
        call.identity.user.clone(),
        name.to_owned(),
        kind.to_owned(),
        call.date(),
    );
    task.tags = body.owned_list("tags")?;
    task.system_tags = body.owned_list("system_tags")?;
    for field in ["comment", "parent", "project"] {
        if let Some(value) = body.get(field) {
            task.other.insert(field.to_owned(), value.clone());
        }
    }
    for field in [
        "configuration",
        "container",
        "hyperparams",
        "runtime",
        "script",
    ] {
        let value = body.get(field).cloned().unwrap_or_else(|| json!({}));
        task.other.insert(field.to_owned(), value);
    }
    store.tasks.insert(&id, task);
    Ok(json!({"id": id}))
}

pub(crate) fn get_all(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    let fields = &["id", "user", "type", "status", "project", "parent"];
    let filter = Filter::parse(call.body, &call.identity.company, fields)?;
    let rows = store.tasks.iter().filter(|task| filter.admits(*task));
    let rows = rows.map(show).collect();
    list::page(store, call.body, "tasks", rows)
}

pub(crate) fn get_by_id(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    let task = call.body.required("task")?;
    let task = store.task_mut(task, &call.identity.company)?;
    Ok(json!({"task": show(task)}))
}

/// A task as listings show it: what it was before it waited is the server's own business.
fn show(task: &Task) -> Value {
    let mut row = json!(task);
    if let Some(row) = row.as_object_mut() {
        row.remove("enqueue_status");
    }
    row
}

/// Puts a task into a queue: of a name, an id, or the default one.
pub(crate) fn enqueue(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    let (body, company) = (call.body, &call.identity.company);
    let id = body.required("task")?;
    let queue = match (body.text("queue")?, body.text("queue_name")?) {
        (Some(queue), _) => queue.to_owned(),
        (None, Some(name)) => store
            .queues
            .iter()
            .find(|queue| queue.company == *company && queue.name == name)
            .map(|queue| queue.id.clone())
            .ok_or_else(|| ApiError::queue_id(&[("name", name), ("company", company)]))?,
        (None, None) => queues::default(store, company)?.id.clone(),
    };
    store.queue_mut(&queue, company)?;
    let task = store.task_mut(id, company)?;
    let before = task.status;
    let waits = before == Status::Queued && !may_wait_again(store, id, company);
    let task = store.task_mut(id, company)?;
    if waits {
        // The real server has changed the task before it looks into the queue, and takes back all but the reason.
        "failed enqueueing".clone_into(&mut task.status_reason);
        return Err(ApiError::already_queued(id));
    }
    let mut fields = change(store, call, Status::Queued)?;
    let queued = store.queue_mut(&queue, company)?.push(id, call.date());
    let task = store.task_mut(id, company)?;
    if before != Status::Queued {
        task.enqueue_status = Some(before);
    }
    fields.insert("enqueue_status".to_owned(), json!(task.enqueue_status));
    // A mere `false` keeps the queue that the task came from.
    if body.get("update_execution_queue") != Some(&json!(false)) {
        task.execution.queue = Some(queue.clone());
        fields.insert("execution.queue".to_owned(), json!(queue));
    }
    Ok(json!({"queued": u8::from(queued), "updated": 1, "fields": fields}))
}

/// Whether a task that counts as waiting may be put into a queue all the same. The Enterprise server allows that, since 3.22.3, to
/// one that was taken out of its queue and not started.
fn may_wait_again(store: &Store, task: &str, company: &str) -> bool {
    store.mode == Mode::Enterprise
        && !store.queues.iter().any(|queue| {
            queue.company == company && queue.entries.iter().any(|entry| entry.task == task)
        })
}

/// Takes a task out of its queue again; `new_status` is what it is then, unless what it was before.
pub(crate) fn dequeue(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    let company = &call.identity.company;
    let id = call.body.required("task")?;
    let task = store.task_mut(id, company)?;
    if task.status != Status::Queued {
        return Err(ApiError::task_status(
            task.status.name(),
            Status::Created.name(),
        ));
    }
    let new = match call.body.text("new_status")? {
        None => None,
        Some(name) => Some(Status::named(name).ok_or_else(|| {
            ApiError::field(
                "new_status",
                &format!("value '{name}' is not a valid choice.."),
            )
        })?),
    };
    let before = task.enqueue_status.take().unwrap_or(Status::Created);
    let origin = task.execution.queue.take();
    let everywhere = call.body.flag("remove_from_all_queues")?;
    let origin = origin.as_deref().filter(|_| !everywhere);
    let dequeued = store.leave_queue(id, company, origin, call.date());
    let mut fields = force(store, call, new.unwrap_or(before))?;
    fields.insert("enqueue_status".to_owned(), Value::Null);
    Ok(json!({"dequeued": u8::from(dequeued), "updated": 1, "fields": fields}))
}

pub(crate) fn started(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    let mut fields = change(store, call, Status::InProgress)?;
    let task = store.task_mut(call.body.required("task")?, &call.identity.company)?;
    // The first start counts.
    let date = *task.started.get_or_insert(call.date().stored());
    fields.insert("started".to_owned(), json!(date));
    Ok(json!({"updated": 1, "started": 1, "fields": fields}))
}

/// Asks for an end: at once when the task waits or nobody works on it, else by telling its worker.
pub(crate) fn stop(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    let id = call.body.required("task")?;
    let company = &call.identity.company;
    let user = store
        .users
        .get(&call.identity.user)
        .map_or("", |user| &user.name);
    let message = format!("Stopped by {user}");
    let now = call.date();
    let at_work = store
        .workers
        .iter()
        .any(|worker| worker.task.as_deref() == Some(id) && worker.is_alive(now));
    let task = store.task_mut(id, company)?;
    let (status, message) = if task.status == Status::InProgress && at_work {
        (Status::InProgress, "stopping")
    } else {
        (Status::Stopped, message.as_str())
    };
    let waits = task.status == Status::Queued;
    let queue = task.execution.queue.clone();
    let fields = set(store, call, status, message)?;
    if waits {
        store.leave_queue(id, company, queue.as_deref(), now);
    }
    Ok(json!({"updated": 1, "fields": fields}))
}

pub(crate) fn stopped(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    end(store, call, Status::Stopped)
}

pub(crate) fn completed(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    end(store, call, Status::Completed)
}

pub(crate) fn failed(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    end(store, call, Status::Failed)
}

fn end(store: &mut Store, call: &Call<'_>, status: Status) -> Result<Value, ApiError> {
    let mut fields = change(store, call, status)?;
    let task = store.task_mut(call.body.required("task")?, &call.identity.company)?;
    task.completed = Some(call.date().stored());
    fields.insert("completed".to_owned(), json!(call.date()));
    Ok(json!({"updated": 1, "fields": fields}))
}

/// Changes the status as the request says; returns the changed fields.
fn change(
    store: &mut Store,
    call: &Call<'_>,
    status: Status,
) -> Result<Map<String, Value>, ApiError> {
    let message = call.body.text("status_message")?.unwrap_or("");
    set(store, call, status, message)
}

/// Changes the status if the life of a task allows it or the request forces it.
fn set(
    store: &mut Store,
    call: &Call<'_>,
    status: Status,
    message: &str,
) -> Result<Map<String, Value>, ApiError> {
    let body = call.body;
    let forced = body.flag("force")?;
    let task = store.task_mut(body.required("task")?, &call.identity.company)?;
    if !forced && !task.status.may_become(status) {
        return Err(ApiError::task_status(task.status.name(), status.name()));
    }
    let reason = body.text("status_reason")?.unwrap_or("");
    Ok(task.set_status(status, reason, message, &call.identity.user, call.date()))
}

/// Changes the status whatever it is.
fn force(
    store: &mut Store,
    call: &Call<'_>,
    status: Status,
) -> Result<Map<String, Value>, ApiError> {
    let body = call.body;
    let task = store.task_mut(body.required("task")?, &call.identity.company)?;
    let reason = body.text("status_reason")?.unwrap_or("");
    let message = body.text("status_message")?.unwrap_or("");
    Ok(task.set_status(status, reason, message, &call.identity.user, call.date()))
}

impl Task {
    /// Changes the status and what goes with it; returns the changed fields.
    pub(crate) fn set_status(
        &mut self,
        status: Status,
        reason: &str,
        message: &str,
        user: &str,
        now: Date,
    ) -> Map<String, Value> {
        self.status = status;
        reason.clone_into(&mut self.status_reason);
        message.clone_into(&mut self.status_message);
        self.status_changed = now.stored();
        self.last_update = now.stored();
        self.last_change = now.stored();
        user.clone_into(&mut self.last_changed_by);
        let fields = [
            ("status", json!(status)),
            ("status_reason", json!(reason)),
            ("status_message", json!(message)),
            ("status_changed", json!(now)),
            ("last_update", json!(now)),
            ("last_change", json!(now)),
            ("last_changed_by", json!(user)),
        ];
        fields
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect()
    }
}
