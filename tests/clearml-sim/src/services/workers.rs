//! `workers.*`

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    endpoints::Call,
    error::ApiError,
    list::{self, Tags},
    store::{Store, worker::Worker},
};

/// How long a worker may be silent unless it says otherwise, in seconds.
const TIMEOUT_SECONDS: u64 = 600;
/// Workers that were silent for longer are not listed, unless the request says otherwise, in seconds.
const LAST_SEEN_SECONDS: i64 = 3600;

pub(crate) fn register(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    let body = call.body;
    let name = body.required("worker")?;
    let queues = known_queues(store, call)?;
    let timeout = body
        .number("timeout")?
        .and_then(|timeout| u64::try_from(timeout).ok());
    let mut worker = new(call, name);
    worker.queues = queues;
    worker.timeout = Duration::from_secs(timeout.unwrap_or(TIMEOUT_SECONDS));
    worker.tags = body.owned_list("tags")?;
    worker.system_tags = body.owned_list("system_tags")?;
    store.workers.insert(&key(call, name), worker);
    Ok(json!({}))
}

fn key(call: &Call<'_>, worker: &str) -> String {
    format!(
        "worker_{}_{}_{worker}",
        call.identity.company, call.identity.user
    )
}

fn new(call: &Call<'_>, name: &str) -> Worker {
    Worker {
        key: key(call, name),
        name: name.to_owned(),
        company: call.identity.company.clone(),
        user: call.identity.user.clone(),
        ip: call.ip.to_owned(),
        queues: Vec::new(),
        task: None,
        tags: Vec::new(),
        system_tags: Vec::new(),
        registered: call.date(),
        timeout: Duration::from_secs(TIMEOUT_SECONDS),
        last_activity: call.date(),
    }
}

fn known_queues(store: &Store, call: &Call<'_>) -> Result<Vec<String>, ApiError> {
    let queues = call.body.owned_list("queues")?;
    let unknown: Vec<&str> = queues
        .iter()
        .filter(|queue| {
            let row = store.queues.get(queue);
            row.is_none_or(|row| row.company != call.identity.company)
        })
        .map(String::as_str)
        .collect();
    if unknown.is_empty() {
        return Ok(queues);
    }
    let unknown = format!("({})", unknown.join(", "));
    Err(ApiError::queue_id(&[("ids", &unknown)]))
}

pub(crate) fn unregister(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    let name = call.body.required("worker")?;
    match store.workers.remove(&key(call, name)) {
        Some(_) => Ok(json!({})),
        None => Err(ApiError::worker_not_registered(name)),
    }
}

/// A sign of life. It also registers a worker that is not known.
pub(crate) fn status_report(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    let body = call.body;
    let name = body.required("worker")?;
    if body.number("timestamp")?.is_none() {
        return Err(ApiError::required("timestamp"));
    }
    let queues = known_queues(store, call)?;
    let task = body.text("task")?.map(str::to_owned);
    let tags = body.owned_list("tags")?;
    let key = key(call, name);
    if store.workers.get(&key).is_none() {
        store.workers.insert(&key, new(call, name));
    }
    if let Some(worker) = store.workers.get_mut(&key) {
        worker.last_activity = call.date();
        worker.task.clone_from(&task);
        // Also those of the registration, when the report has none.
        worker.tags = tags;
        if !queues.is_empty() {
            worker.queues = queues;
        }
    }
    if let Some(task) = task.and_then(|task| store.tasks.get_mut(&task))
        && task.company == call.identity.company
    {
        let date = call.date().stored();
        task.last_worker = Some(name.to_owned());
        task.last_worker_report = Some(date);
        task.last_update = date;
    }
    Ok(json!({}))
}

pub(crate) fn get_all(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    let (now, body) = (call.date(), call.body);
    let seen = body.number("last_seen")?.unwrap_or(LAST_SEEN_SECONDS);
    // Zero: however long ago.
    let seen = u64::try_from(seen).ok().filter(|seconds| *seconds > 0);
    let seen = seen.map(Duration::from_secs);
    let tags = Tags::parse(body.list("tags")?);
    let system_tags = Tags::parse(body.list("system_tags")?);
    let name = list::pattern(body, "worker_pattern")?;
    let workers: Vec<Value> = store
        .workers
        .iter()
        .filter(|worker| worker.company == call.identity.company && worker.is_alive(now))
        .filter(|worker| seen.is_none_or(|seen| worker.silence(now) <= seen))
        .filter(|worker| tags.admit(&worker.tags) && system_tags.admit(&worker.system_tags))
        .filter(|worker| name.as_ref().is_none_or(|name| name.is_match(&worker.name)))
        .map(|worker| show(store, worker))
        .collect();
    Ok(json!({"workers": workers}))
}

/// How many workers there are.
pub(crate) fn get_count(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    let workers = get_all(store, call)?;
    let count = workers
        .get("workers")
        .and_then(Value::as_array)
        .map_or(0, Vec::len);
    Ok(json!({"count": count}))
}

/// Nothing measures how workers fare, so that there is nothing to tell.
pub(crate) fn get_stats(_: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    const NEEDED: [&str; 4] = ["from_date", "to_date", "interval", "items"];
    let missing = NEEDED.iter().find(|field| call.body.get(field).is_none());
    let Some(missing) = missing else {
        return Ok(json!({"workers": []}));
    };
    let present: Vec<&str> = NEEDED
        .into_iter()
        .filter(|field| call.body.get(field).is_some())
        .collect();
    Err(ApiError::schema(missing, &NEEDED, &present))
}

fn show(store: &Store, worker: &Worker) -> Value {
    let queues: Vec<Value> = worker
        .queues
        .iter()
        .filter_map(|queue| store.queues.get(queue))
        .map(|queue| {
            let mut row = json!({
                "id": queue.id,
                "name": queue.name,
                "num_tasks": queue.entries.len(),
            });
            if let Some(row) = row.as_object_mut() {
                if let Some(name) = &queue.display_name {
                    row.insert("display_name".to_owned(), json!(name));
                }
                if let Some(next) = queue.entries.first() {
                    row.insert("next_task".to_owned(), named_task(store, &next.task));
                }
            }
            row
        })
        .collect();
    let company = store
        .companies
        .get(&worker.company)
        .map(|company| &company.name);
    let user = store.users.get(&worker.user).map(|user| &user.name);
    let mut row = json!({
        "id": worker.name,
        "key": worker.key,
        "company": {"id": worker.company, "name": company},
        "user": {"id": worker.user, "name": user},
        "ip": worker.ip,
        "queues": queues,
        "register_time": worker.registered,
        "register_timeout": worker.timeout.as_secs(),
        "last_activity_time": worker.last_activity,
        "last_report_time": worker.last_activity,
        "tags": worker.tags,
        "system_tags": worker.system_tags,
    });
    if let (Some(task), Some(row)) = (&worker.task, row.as_object_mut()) {
        row.insert("task".to_owned(), named_task(store, task));
    }
    row
}

fn named_task(store: &Store, task: &str) -> Value {
    let name = store.tasks.get(task).map(|task| &task.name);
    json!({"id": task, "name": name})
}
