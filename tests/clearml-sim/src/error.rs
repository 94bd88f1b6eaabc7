//! Refusals, with ClearML's codes and words.

use std::fmt::Write as _;

/// Why a call is refused. Texts and numbers are the server's own.
#[derive(Debug)]
pub(crate) struct ApiError {
    pub(crate) code: u16,
    pub(crate) subcode: u32,
    pub(crate) message: String,
}

impl ApiError {
    pub(crate) fn new(code: u16, subcode: u32, message: impl Into<String>) -> Self {
        let message = message.into();
        Self {
            code,
            subcode,
            message,
        }
    }

    fn bad_request(subcode: u32, message: impl Into<String>) -> Self {
        Self::new(400, subcode, message)
    }

    /// Adds `key=value` pairs, the way the server reports them.
    pub(crate) fn with(mut self, pairs: &[(&str, &str)]) -> Self {
        for (index, (key, value)) in pairs.iter().enumerate() {
            let before = if index == 0 { ": " } else { ", " };
            // Writing to a string does not fail.
            write!(self.message, "{before}{key}={value}").ok();
        }
        self
    }

    pub(crate) fn unauthorized(subcode: u32, message: &str) -> Self {
        Self::new(401, subcode, message)
    }

    /// A field that is missing.
    pub(crate) fn required(field: &str) -> Self {
        Self::bad_request(
            12,
            format!("Validation error (error for field '{field}'. field is required!)"),
        )
    }

    /// A field of the wrong form.
    pub(crate) fn field(field: &str, problem: &str) -> Self {
        Self::bad_request(
            12,
            format!("Validation error (error for field '{field}': {problem})"),
        )
    }

    /// A field that the endpoint's schema requires, in the words of the library that checks schemas.
    pub(crate) fn schema(missing: &str, required: &[&str], present: &[&str]) -> Self {
        let list = |fields: &[&str]| format!("({})", fields.join(", "));
        Self::bad_request(12, "Validation error").with(&[
            ("message", &format!("'{missing}' is a required property")),
            ("path", "()"),
            ("context", "()"),
            ("cause", "None"),
            ("validator", "required"),
            ("validator_value", &list(required)),
            ("instance", &list(present)),
            ("parent", "None"),
        ])
    }

    /// A paging field out of range.
    pub(crate) fn paging(field: &str, problem: &str) -> Self {
        Self::bad_request(12, format!("Validation error ({problem})")).with(&[("field", field)])
    }

    /// Something the database model does not take.
    pub(crate) fn data(field: &str, problem: &str) -> Self {
        Self::bad_request(800, "Data validation error").with(&[(field, problem)])
    }

    /// No such thing.
    pub(crate) fn object_id(kind: &str, id: &str) -> Self {
        Self::bad_request(10, "Invalid object id").with(&[(kind, id)])
    }

    /// No such user.
    pub(crate) fn user_id(pairs: &[(&str, &str)]) -> Self {
        Self::bad_request(301, "Invalid user id").with(pairs)
    }

    /// No such keys.
    pub(crate) fn access_key(pairs: &[(&str, &str)]) -> Self {
        let text = "Access key not found (invalid user or invalid access key)";
        Self::bad_request(75, text).with(pairs)
    }

    pub(crate) fn impersonation(extra: &str) -> Self {
        Self::bad_request(6, format!("Impersonation error ({extra})"))
    }

    pub(crate) fn task_id(task: &str, company: &str) -> Self {
        Self::bad_request(101, "Invalid task id").with(&[("id", task), ("company", company)])
    }

    pub(crate) fn task_status(current: &str, new: &str) -> Self {
        Self::bad_request(110, "Invalid task status (Invalid status change)")
            .with(&[("current_status", current), ("new_status", new)])
    }

    pub(crate) fn queue_id(pairs: &[(&str, &str)]) -> Self {
        Self::bad_request(701, "Invalid queue id").with(pairs)
    }

    pub(crate) fn queue_not_empty(queue: &str) -> Self {
        Self::bad_request(702, "Queue is not empty (use force=true to delete)")
            .with(&[("id", queue)])
    }

    pub(crate) fn not_queued(task: &str, queue: &str, company: &str) -> Self {
        Self::bad_request(703, "Invalid queue id or task not in queue").with(&[
            ("task", task),
            ("id", queue),
            ("company", company),
        ])
    }

    pub(crate) fn already_queued(task: &str) -> Self {
        Self::bad_request(
            706,
            "Failed adding task to queue since task is already queued",
        )
        .with(&[("task", task)])
    }

    pub(crate) fn no_default_queue() -> Self {
        Self::bad_request(
            707,
            "No queue is tagged as the default queue for this company",
        )
    }

    pub(crate) fn many_default_queues(queues: &str) -> Self {
        Self::bad_request(
            708,
            "More than one queue is tagged as the default queue for this company",
        )
        .with(&[("queues", queues)])
    }

    pub(crate) fn not_unique(pairs: &[(&str, &str)]) -> Self {
        Self::bad_request(
            801,
            "Value combination already exists (unique field already contains this value)",
        )
        .with(pairs)
    }

    pub(crate) fn worker_not_registered(worker: &str) -> Self {
        Self::bad_request(1003, "Worker is not registered").with(&[("worker", worker)])
    }

    pub(crate) fn scroll_id(scroll: &str) -> Self {
        Self::bad_request(1104, "Invalid scroll id").with(&[("scroll_id", scroll)])
    }
}
