//! `debug.*`

use serde_json::{Value, json};

pub(crate) fn ping() -> Value {
    json!({"msg": "ClearML server"})
}
