//! `events.*`: what programs report of a task. It is counted and not kept.

use serde_json::{Value, json};

use crate::{endpoints::Call, error::ApiError, store::Store};

/// Takes events: one, or a list of lines each of which is one. Those of tasks that the company does not have are errors.
pub(crate) fn add_batch(store: &mut Store, call: &Call<'_>) -> Result<Value, ApiError> {
    let company = call.identity.company.as_str();
    let mut errors = serde_json::Map::new();
    let (mut added, mut failed) = (0, 0);
    for event in call.body.lines() {
        let task = event.get("task").and_then(Value::as_str);
        let Some(task) = task else {
            return Err(ApiError::required("task"));
        };
        if let Ok(task) = store.task_mut(task, company) {
            added += 1;
            task.report(&event, call.date());
        } else {
            failed += 1;
            errors.insert("Invalid task id".to_owned(), json!(failed));
        }
    }
    if added == 0 && failed > 0 {
        return Err(ApiError::task_id(
            call.body.text("task")?.unwrap_or_default(),
            company,
        ));
    }
    Ok(json!({"added": added, "errors": failed, "errors_info": errors}))
}
