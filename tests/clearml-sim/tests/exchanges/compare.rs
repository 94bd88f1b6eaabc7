//! Comparing answers.

use std::collections::BTreeMap;

use serde_json::Value;

/// What differs in shape: keys of objects, lengths of lists, kinds of values.
pub(crate) fn shapes(place: &str, expected: &Value, found: &Value, problems: &mut Vec<String>) {
    match (expected, found) {
        (Value::Object(expected), Value::Object(found)) => {
            for key in expected.keys().filter(|key| !found.contains_key(*key)) {
                problems.push(format!("{place} has no {key}"));
            }
            for (key, found) in found {
                match expected.get(key) {
                    Some(expected) => shapes(&format!("{place}.{key}"), expected, found, problems),
                    None => problems.push(format!("{place} has {key}")),
                }
            }
        }
        (Value::Array(expected), Value::Array(found)) => {
            if expected.len() != found.len() {
                problems.push(format!(
                    "{place} has {} items instead of {}",
                    found.len(),
                    expected.len()
                ));
            }
            for (index, (expected, found)) in expected.iter().zip(found).enumerate() {
                shapes(&format!("{place}[{index}]"), expected, found, problems);
            }
        }
        _ if kind(expected) == kind(found) => {}
        _ => problems.push(format!("{place} is {found} instead of {expected}")),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "flag",
        Value::Number(_) => "number",
        Value::String(_) => "text",
        Value::Array(_) => "list",
        Value::Object(_) => "object",
    }
}

/// Learns which identifiers and keys stand for those of the real server.
pub(crate) fn learn(expected: &Value, found: &Value, known: &mut BTreeMap<String, String>) {
    match (expected, found) {
        (Value::Object(expected), Value::Object(found)) => {
            for (key, expected) in expected {
                if let Some(found) = found.get(key) {
                    learn(expected, found, known);
                }
            }
        }
        (Value::Array(expected), Value::Array(found)) => {
            for (expected, found) in expected.iter().zip(found) {
                learn(expected, found, known);
            }
        }
        (Value::String(expected), Value::String(found)) if is_opaque(expected) => {
            known
                .entry(expected.clone())
                .or_insert_with(|| found.clone());
        }
        _ => {}
    }
}

/// Identifiers, access keys and secrets.
fn is_opaque(text: &str) -> bool {
    let id = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let key = text.len() == 30 && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    id || key || (text.len() > 60 && !text.contains(' '))
}
