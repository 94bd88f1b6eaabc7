//! Listings: which rows, in which order, how many, and which fields of them.

use std::cmp::Ordering;

use regex::Regex;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::{body::Body, error::ApiError, store::Store};

/// The server never sends more rows at once, and does not say that there are more.
const MOST_ROWS: usize = 500;

/// Something that can be listed.
pub(crate) trait Row: Serialize {
    fn company(&self) -> &str;
    /// A field that can be filtered by.
    fn text(&self, field: &str) -> Option<&str>;
    fn tags(&self) -> &[String];
    fn system_tags(&self) -> &[String];
}

/// Which rows are wanted.
pub(crate) struct Filter<'a> {
    company: &'a str,
    name: Option<Regex>,
    /// Field and the values it may have.
    fields: Vec<(&'static str, Vec<&'a str>)>,
    tags: Tags<'a>,
    system_tags: Tags<'a>,
}

impl<'a> Filter<'a> {
    /// `fields` are the ones that the listing can be filtered by, beside name and tags.
    pub(crate) fn parse(
        body: &'a Body,
        company: &'a str,
        fields: &[&'static str],
    ) -> Result<Self, ApiError> {
        let name = pattern(body, "name")?;
        let mut wanted = Vec::new();
        for field in fields {
            let values = body.list(field)?;
            if !values.is_empty() {
                wanted.push((*field, values));
            }
        }
        Ok(Self {
            company,
            name,
            fields: wanted,
            tags: Tags::parse(body.list("tags")?),
            system_tags: Tags::parse(body.list("system_tags")?),
        })
    }

    pub(crate) fn admits(&self, row: &impl Row) -> bool {
        let named = |name: &Regex| row.text("name").is_some_and(|text| name.is_match(text));
        row.company() == self.company
            && self.name.as_ref().is_none_or(named)
            && self
                .fields
                .iter()
                .all(|(field, values)| row.text(field).is_some_and(|text| values.contains(&text)))
            && self.tags.admit(row.tags())
            && self.system_tags.admit(row.system_tags())
    }
}

/// A field that is a regular expression.
pub(crate) fn pattern(body: &Body, field: &str) -> Result<Option<Regex>, ApiError> {
    let pattern = body.text(field)?.map(Regex::new).transpose();
    pattern.map_err(|_| ApiError::field(field, "invalid regular expression"))
}

/// A filter by tags: any of some, none of others.
pub(crate) struct Tags<'a> {
    any: Vec<&'a str>,
    none: Vec<&'a str>,
}

impl<'a> Tags<'a> {
    /// `-x` leaves out x; so does `x` after `__$not`.
    pub(crate) fn parse(list: Vec<&'a str>) -> Self {
        let (mut any, mut none) = (Vec::new(), Vec::new());
        let mut not = false;
        for tag in list {
            match tag.strip_prefix('-') {
                _ if tag == "__$not" => {
                    not = true;
                    continue;
                }
                Some(tag) => none.push(tag),
                None if not => none.push(tag),
                None => any.push(tag),
            }
            not = false;
        }
        Self { any, none }
    }

    pub(crate) fn admit(&self, tags: &[String]) -> bool {
        let has = |tag: &&str| tags.iter().any(|own| own == tag);
        (self.any.is_empty() || self.any.iter().any(has)) && !self.none.iter().any(has)
    }
}

/// Orders, cuts and trims rows, and returns them under `key`, with a scroll id when scrolling.
pub(crate) fn page(
    store: &mut Store,
    body: &Body,
    key: &str,
    mut rows: Vec<Value>,
) -> Result<Value, ApiError> {
    order(&mut rows, &body.list("order_by")?);
    let (first, size, scroll) = window(store, body)?;
    let rows: Vec<Value> = rows.into_iter().skip(first).take(size).collect();
    let mut data = Map::new();
    if let Some(scroll) = scroll {
        store.scrolls.insert(scroll.clone(), first + rows.len());
        data.insert("scroll_id".to_owned(), json!(scroll));
    }
    let fields = body.list("only_fields")?;
    let rows = if fields.is_empty() {
        rows
    } else {
        rows.iter().map(|row| project(row, &fields)).collect()
    };
    data.insert(key.to_owned(), Value::Array(rows));
    Ok(Value::Object(data))
}

/// First row, number of rows and the scroll they belong to.
fn window(store: &mut Store, body: &Body) -> Result<(usize, usize, Option<String>), ApiError> {
    let size_of = |field| match body.number(field)? {
        None => Ok(MOST_ROWS),
        Some(size) => match usize::try_from(size) {
            Ok(size @ 1..) => Ok(size.min(MOST_ROWS)),
            _ => Err(ApiError::paging(field, &format!("{field} must be >0"))),
        },
    };
    if body.has("scroll_id") {
        let size = size_of("size")?;
        return match body.text("scroll_id")? {
            None => Ok((0, size, Some(store.random.id()))),
            Some(scroll) => match store.scrolls.get(scroll) {
                Some(first) if !body.flag("refresh_scroll")? => {
                    Ok((*first, size, Some(scroll.to_owned())))
                }
                Some(_) => Ok((0, size, Some(scroll.to_owned()))),
                None => Err(ApiError::scroll_id(scroll)),
            },
        };
    }
    let size = size_of("page_size")?;
    let page = usize::try_from(body.number("page")?.unwrap_or(0))
        .map_err(|_| ApiError::paging("page", "page must be >=0"))?;
    Ok((page.saturating_mul(size), size, None))
}

fn order(rows: &mut [Value], fields: &[&str]) {
    rows.sort_by(|one, other| {
        let mut orders = fields.iter().map(|field| {
            let (field, descending) = match field.strip_prefix('-') {
                Some(field) => (field, true),
                None => (*field, false),
            };
            let order = compare(at(one, field), at(other, field));
            if descending { order.reverse() } else { order }
        });
        orders
            .find(|order| order.is_ne())
            .unwrap_or(Ordering::Equal)
    });
}

fn at<'a>(row: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(row, |value, key| value.get(key))
}

/// Absent before present, numbers by value, texts (and so dates) by letters.
fn compare(one: Option<&Value>, other: Option<&Value>) -> Ordering {
    match (one, other) {
        (Some(Value::String(one)), Some(Value::String(other))) => one.cmp(other),
        (Some(Value::Number(one)), Some(Value::Number(other))) => one
            .as_f64()
            .partial_cmp(&other.as_f64())
            .unwrap_or(Ordering::Equal),
        (one, other) => one.is_some().cmp(&other.is_some()),
    }
}

/// Only the named fields, of lists the named fields of each element; absent ones stay absent.
fn project(row: &Value, fields: &[&str]) -> Value {
    match row {
        Value::Array(items) => items.iter().map(|item| project(item, fields)).collect(),
        Value::Object(fields_of_row) => {
            let mut trimmed = Map::new();
            for (key, value) in fields_of_row {
                let whole = fields.contains(&key.as_str());
                let inner: Vec<&str> = fields
                    .iter()
                    .filter_map(|field| field.strip_prefix(key.as_str())?.strip_prefix('.'))
                    .collect();
                if whole {
                    trimmed.insert(key.clone(), value.clone());
                } else if !inner.is_empty() {
                    trimmed.insert(key.clone(), project(value, &inner));
                }
            }
            Value::Object(trimmed)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => row.clone(),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::whole(&["id", "execution"], json!({"id": "a", "execution": {"queue": "q", "x": 1}}))]
    #[case::nested(&["execution.queue"], json!({"execution": {"queue": "q"}}))]
    #[case::in_lists(&["entries.added"], json!({"entries": [{"added": 1}, {"added": 2}]}))]
    #[case::unknown(&["nope", "id.nope"], json!({"id": "a"}))]
    #[case::no_prefix(&["exec"], json!({}))]
    fn trims_rows(#[case] fields: &[&str], #[case] trimmed: Value) {
        let row = json!({
            "id": "a",
            "execution": {"queue": "q", "x": 1},
            "entries": [{"task": "t", "added": 1}, {"task": "u", "added": 2}],
        });
        assert_eq!(project(&row, fields), trimmed);
    }

    #[rstest]
    #[case(&["n"], &["b", "c", "a"])]
    #[case(&["-n"], &["a", "b", "c"])]
    #[case(&["n", "-id"], &["c", "b", "a"])]
    #[case(&["x.y"], &["a", "c", "b"])]
    fn orders_rows(#[case] fields: &[&str], #[case] ids: &[&str]) {
        let mut rows = vec![
            json!({"id": "a", "n": 10}),
            json!({"id": "b", "n": 9, "x": {"y": "z"}}),
            json!({"id": "c", "n": 9, "x": {"y": "y"}}),
        ];
        order(&mut rows, fields);
        let ordered: Vec<&str> = rows.iter().filter_map(|row| row["id"].as_str()).collect();
        assert_eq!(ordered, ids);
    }

    #[rstest]
    #[case(&[], true)]
    #[case(&["a"], true)]
    #[case(&["x", "a"], true)]
    #[case(&["x"], false)]
    #[case(&["-a"], false)]
    #[case(&["__$not", "a"], false)]
    #[case(&["__$not", "x", "b"], true)]
    fn filters_by_tags(#[case] wanted: &[&str], #[case] admitted: bool) {
        let tags = ["a".to_owned(), "b".to_owned()];
        assert_eq!(Tags::parse(wanted.to_vec()).admit(&tags), admitted);
    }
}
