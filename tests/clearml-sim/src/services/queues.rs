//! `queues.*`

use serde_json::{Value, json};

use crate::{
    date::Date,
    endpoints::Call,
    error::ApiError,
    list::{self, Filter},
    path::Version,
    policy,
    store::{
        Store,
        queue::{DEFAULT, Queue},
        task::Status,
    },
};

/// Shortest name of a queue or task, in characters.
pub(crate) const SHORTEST_NAME: usize = 3;
/// Since this version metadata is an object.
const METADATA_BY_KEY: Version = Version(2, 13);

pub(crate) fn create(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    let (body, company) = (call.body, &call.identity.company);
    let name = body.required("name")?;
    check_name(store, company, name)?;
    let id = store.random.id();
    let mut queue = Queue::new(id.clone(), company.clone(), name.to_owned(), call.date());
    queue.display_name = body.text("display_name")?.map(str::to_owned);
    queue.tags = body.owned_list("tags")?;
    queue.system_tags = body.owned_list("system_tags")?;
    if let Some(metadata) = body.get("metadata").and_then(Value::as_object) {
        queue.metadata.clone_from(metadata);
    }
    store.queues.insert(&id, queue);
    Ok(json!({"id": id}))
}

/// Names are long enough, and unique in the company.
pub(crate) fn check_name(store: &Store, company: &str, name: &str) -> Result<(), ApiError> {
    if name.chars().count() < SHORTEST_NAME {
        return Err(ApiError::data("name", "String value is too short"));
    }
    let same = |queue: &Queue| queue.company == company && queue.name == name;
    if store.queues.iter().any(same) {
        return Err(ApiError::not_unique(&[
            ("name", name),
            ("company", company),
        ]));
    }
    Ok(())
}

/// The queues of a listing, whole.
fn select(store: &Store, call: &Call<'_>) -> Result<Vec<Queue>, ApiError> {
    let body = call.body;
    let filter = Filter::parse(body, &call.identity.company, &["id"])?;
    // Hidden queues are shown to those who ask for them in any way.
    let hidden =
        body.flag("search_hidden")? || body.get("id").is_some() || body.get("name").is_some();
    let mut queues: Vec<Queue> = store
        .queues
        .iter()
        .filter(|queue| filter.admits(*queue) && (hidden || !queue.is_hidden()))
        .cloned()
        .collect();
    if let Some(most) = most_entries(call)? {
        for queue in &mut queues {
            queue.entries.truncate(most);
        }
    }
    Ok(queues)
}

fn most_entries(call: &Call<'_>) -> Result<Option<usize>, ApiError> {
    let most = call.body.number("max_task_entries")?;
    Ok(most.and_then(|most| usize::try_from(most).ok()))
}

/// A queue as the version of the API shows it: metadata was a list once.
fn show(queue: &Queue, call: &Call<'_>) -> Value {
    let mut row = json!(queue);
    if call.version < METADATA_BY_KEY
        && let Some(metadata) = row.get_mut("metadata")
    {
        *metadata = queue.metadata.values().cloned().collect();
    }
    row
}

pub(crate) fn get_all(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    let rows = select(store, call)?;
    let rows = rows.iter().map(|queue| show(queue, call));
    list::page(store, call.body, "queues", rows.collect())
}

/// Like `get_all`, with names of tasks and the workers that listen. It ignores `only_fields`.
pub(crate) fn get_all_ex(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    let rows = select(store, call)?;
    let rows = rows.iter().map(|queue| join(store, queue, call.date()));
    let rows = rows.collect();
    list::page(store, &call.body.without("only_fields"), "queues", rows)
}

fn join(store: &Store, queue: &Queue, now: Date) -> Value {
    let entries: Vec<Value> = queue
        .entries
        .iter()
        .map(|entry| {
            let name = store.tasks.get(&entry.task).map(|task| task.name.as_str());
            json!({"task": {"id": entry.task, "name": name}, "added": entry.added})
        })
        .collect();
    let workers: Vec<Value> = store
        .workers
        .iter()
        .filter(|worker| worker.is_alive(now) && worker.queues.contains(&queue.id))
        .map(|worker| {
            let task = worker.task.as_ref().map(|task| json!({"id": task}));
            json!({"name": worker.name, "ip": worker.ip, "key": worker.key, "task": task})
        })
        .collect();
    let mut row = json!(queue);
    if let Some(row) = row.as_object_mut() {
        row.insert("company".to_owned(), json!({"id": queue.company}));
        row.insert("entries".to_owned(), Value::Array(entries));
        row.insert("workers".to_owned(), Value::Array(workers));
    }
    row
}

pub(crate) fn get_by_id(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    let queue = call.body.required("queue")?;
    let mut queue = store.queue_mut(queue, &call.identity.company)?.clone();
    if let Some(most) = most_entries(call)? {
        queue.entries.truncate(most);
    }
    Ok(json!({"queue": show(&queue, call)}))
}

pub(crate) fn get_default(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    let queue = default(store, &call.identity.company)?;
    Ok(json!({"id": queue.id, "name": queue.name}))
}

/// The queue that is meant when none is named.
pub(crate) fn default<'a>(store: &'a Store, company: &str) -> Result<&'a Queue, ApiError> {
    let is_default = |queue: &&Queue| {
        queue.company == company && queue.system_tags.iter().any(|tag| tag == DEFAULT)
    };
    let found: Vec<&Queue> = store.queues.iter().filter(is_default).collect();
    match found.as_slice() {
        [queue] => Ok(queue),
        [] => Err(ApiError::no_default_queue()),
        queues => {
            let ids: Vec<&str> = queues.iter().map(|queue| queue.id.as_str()).collect();
            Err(ApiError::many_default_queues(&format!(
                "({})",
                ids.join(", ")
            )))
        }
    }
}

pub(crate) fn delete(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    let id = call.body.required("queue")?;
    let force = call.body.flag("force")?;
    let queue = store.queue_mut(id, &call.identity.company)?;
    if !queue.entries.is_empty() && !force {
        return Err(ApiError::queue_not_empty(id));
    }
    remove(store, id, call);
    Ok(json!({"deleted": 1}))
}

/// Removes a queue; what waited in it is what it was before.
pub(crate) fn remove(store: &mut Store, id: &str, call: &Call<'_>) {
    let entries = store.queues.remove(id).map(|queue| queue.entries);
    for entry in entries.unwrap_or_default() {
        let reason = format!("Queue {id} was deleted");
        put_back(store, &entry.task, id, &reason, call);
    }
}

/// A task that lost its place in a queue is what it was before it got it.
pub(super) fn put_back(store: &mut Store, task: &str, queue: &str, reason: &str, call: &Call<'_>) {
    if let Some(task) = store.tasks.get_mut(task)
        && task.execution.queue.as_deref() == Some(queue)
    {
        let status = task.enqueue_status.take().unwrap_or(Status::Created);
        task.execution.queue = None;
        task.set_status(status, reason, "", &call.identity.user, call.date());
    }
}

pub(crate) fn get_num_entries(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    let queue = call.body.required("queue")?;
    match store.queue_mut(queue, &call.identity.company) {
        Ok(queue) => Ok(json!({"num": queue.entries.len()})),
        Err(_) => Err(ApiError::queue_id(&[("queue_id", queue)])),
    }
}

pub(crate) fn peek_task(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    let queue = call.body.required("queue")?;
    let queue = store.queue_mut(queue, &call.identity.company)?;
    Ok(json!({"task": queue.entries.first().map(|entry| &entry.task)}))
}

/// Takes a task out of the queue. The task itself stays `queued` until somebody starts it.
pub(crate) fn get_next_task(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    let (body, company) = (call.body, &call.identity.company);
    let id = body.required("queue")?;
    store.queue_mut(id, company)?;
    if !policy::admits(store, company, id, call.date()) {
        return Ok(json!({}));
    }
    let queue = store.queue_mut(id, company)?;
    let Some(entry) = queue.pop(body.text("task")?, call.date()) else {
        return Ok(json!({}));
    };
    let mut data = json!({"entry": entry});
    if let Some(task) = store.tasks.get_mut(&entry.task) {
        // The real server's answer to a race between a stop and a take.
        if task.status == Status::Stopped {
            task.status = Status::Queued;
        }
        if let Some(data) = data.as_object_mut()
            && body.flag("get_task_info")?
        {
            let info = json!({"company": task.company, "user": task.user});
            data.insert("task_info".to_owned(), info);
        }
    }
    Ok(data)
}

pub(crate) fn add_task(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    let (body, company) = (call.body, &call.identity.company);
    let (id, task) = (body.required("queue")?, body.required("task")?);
    let queue = store.queue_mut(id, company)?;
    if !queue.push(task, call.date()) {
        return Err(ApiError::already_queued(task));
    }
    if body.flag("update_execution_queue")?
        && let Ok(task) = store.task_mut(task, company)
    {
        task.execution.queue = Some(id.to_owned());
    }
    Ok(json!({"added": 1}))
}

pub(crate) fn remove_task(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    let (body, company) = (call.body, &call.identity.company);
    let (id, task) = (body.required("queue")?, body.required("task")?);
    let removed = store
        .queue_mut(id, company)
        .is_ok_and(|queue| queue.remove(task, call.date()));
    if !removed {
        return Err(ApiError::not_queued(task, id, company));
    }
    if body.flag("update_task_status")? {
        let reason = format!("Task was removed from the queue {id}");
        put_back(store, task, id, &reason, call);
    }
    Ok(json!({"removed": 1}))
}
