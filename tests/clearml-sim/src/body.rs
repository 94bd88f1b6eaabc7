//! The fields of a request. A field that is null counts as absent; fields that nobody asks for are ignored.

use serde_json::{Map, Value, json};

use crate::error::ApiError;

#[derive(Debug, Default)]
pub(crate) struct Body(Map<String, Value>, Vec<Value>);

impl Body {
    /// Reads a batch: one JSON object a line. The fields are those of the first.
    pub(crate) fn parse_lines(lines: &[u8], query: &[(String, String)]) -> Result<Self, ApiError> {
        let lines = lines.split(|&byte| byte == b'\n');
        let mut lines = lines.filter(|line| !line.trim_ascii().is_empty());
        let mut first = Self::parse(lines.next().unwrap_or_default(), query)?;
        for line in lines {
            let Self(fields, _) = Self::parse(line, &[])?;
            first.1.push(Value::Object(fields));
        }
        Ok(first)
    }

    /// What came, a batch line by line.
    pub(crate) fn lines(&self) -> impl Iterator<Item = Value> {
        std::iter::once(Value::Object(self.0.clone())).chain(self.1.iter().cloned())
    }

    /// Reads the JSON body, whatever the content type says, and adds the query string.
    pub(crate) fn parse(json: &[u8], query: &[(String, String)]) -> Result<Self, ApiError> {
        let body = if json.trim_ascii().is_empty() {
            Value::Object(Map::new())
        } else {
            serde_json::from_slice(json).map_err(|_| {
                let text =
                    "The browser (or proxy) sent a request that this server could not understand.";
                ApiError::new(400, 0, text)
            })?
        };
        let Value::Object(mut fields) = body else {
            return Err(ApiError::new(500, 0, "Data should be a dict"));
        };
        for (key, value) in query {
            add(&mut fields, key, value);
        }
        Ok(Self(fields, Vec::new()))
    }

    /// The same without a field.
    pub(crate) fn without(&self, field: &str) -> Self {
        let mut fields = self.0.clone();
        fields.remove(field);
        Self(fields, Vec::new())
    }

    pub(crate) fn get(&self, field: &str) -> Option<&Value> {
        self.0.get(field).filter(|value| !value.is_null())
    }

    /// Whether the field was sent at all, if only as null.
    pub(crate) fn has(&self, field: &str) -> bool {
        self.0.contains_key(field)
    }

    pub(crate) fn text(&self, field: &str) -> Result<Option<&str>, ApiError> {
        self.get(field)
            .map(|value| value.as_str().ok_or_else(|| wrong(field, "str", value)))
            .transpose()
    }

    pub(crate) fn required(&self, field: &str) -> Result<&str, ApiError> {
        self.text(field)?.ok_or_else(|| ApiError::required(field))
    }

    pub(crate) fn flag(&self, field: &str) -> Result<bool, ApiError> {
        let value = self.get(field);
        let flag = value.map(|value| value.as_bool().ok_or_else(|| wrong(field, "bool", value)));
        Ok(flag.transpose()?.unwrap_or(false))
    }

    pub(crate) fn number(&self, field: &str) -> Result<Option<i64>, ApiError> {
        self.get(field)
            .map(|value| value.as_i64().ok_or_else(|| wrong(field, "int", value)))
            .transpose()
    }

    /// A flag that some send as text; `None`: absent.
    pub(crate) fn loose_flag(&self, field: &str) -> Result<Option<bool>, ApiError> {
        match self.get(field) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(Value::String(text)) if text == "true" || text == "false" => {
                Ok(Some(text == "true"))
            }
            Some(value) => Err(wrong(field, "bool", value)),
        }
    }

    /// A number that some send as text.
    pub(crate) fn loose_number(&self, field: &str) -> Result<Option<i64>, ApiError> {
        match self.get(field) {
            Some(Value::String(text)) => {
                let number = text.parse().ok();
                number
                    .map(Some)
                    .ok_or_else(|| wrong(field, "int", &json!(text)))
            }
            _ => self.number(field),
        }
    }

    /// A number of any kind.
    pub(crate) fn decimal(&self, field: &str) -> Result<Option<f64>, ApiError> {
        self.get(field)
            .map(|value| value.as_f64().ok_or_else(|| wrong(field, "float", value)))
            .transpose()
    }

    /// The fields of a field.
    pub(crate) fn nested(&self, field: &str) -> Result<Option<Self>, ApiError> {
        match self.get(field) {
            None => Ok(None),
            Some(Value::Object(fields)) => Ok(Some(Self(fields.clone(), Vec::new()))),
            Some(value) => Err(wrong(field, "dict", value)),
        }
    }

    /// One of some texts.
    pub(crate) fn choice(&self, field: &str, choices: &[&str]) -> Result<Option<&str>, ApiError> {
        let Some(text) = self.text(field)? else {
            return Ok(None);
        };
        if choices.contains(&text) {
            return Ok(Some(text));
        }
        let problem = format!("value '{text}' is not a valid choice..");
        Err(ApiError::field(field, &problem))
    }

    /// The fields themselves.
    pub(crate) fn fields(self) -> Map<String, Value> {
        self.0
    }

    /// A list of texts; one text counts as a list of one, an absent field as empty.
    pub(crate) fn list(&self, field: &str) -> Result<Vec<&str>, ApiError> {
        match self.get(field) {
            None => Ok(Vec::new()),
            Some(Value::String(text)) => Ok(vec![text]),
            Some(Value::Array(items)) => items
                .iter()
                .map(|item| item.as_str().ok_or_else(|| wrong(field, "str", item)))
                .collect(),
            Some(value) => Err(wrong(field, "list", value)),
        }
    }

    pub(crate) fn owned_list(&self, field: &str) -> Result<Vec<String>, ApiError> {
        Ok(self.list(field)?.into_iter().map(str::to_owned).collect())
    }
}

fn wrong(field: &str, expected: &str, value: &Value) -> ApiError {
    let problem = format!("Value is wrong, expected type \"{expected}\", received {value}.");
    ApiError::field(field, &problem)
}

/// `a[]=x` and repeats make lists, `a.b=x` nests, digits are numbers and true and false what they say.
fn add(fields: &mut Map<String, Value>, key: &str, text: &str) {
    if let Some((outer, inner)) = key.split_once('.') {
        let nested = fields
            .entry(outer)
            .or_insert_with(|| Value::Object(Map::new()));
        if let Value::Object(nested) = nested {
            add(nested, inner, text);
        }
        return;
    }
    let value = match text {
        "true" | "True" => Value::Bool(true),
        "false" | "False" => Value::Bool(false),
        _ => text
            .parse::<i64>()
            .map_or_else(|_| Value::from(text), Value::from),
    };
    if let Some(key) = key.strip_suffix("[]") {
        match fields.get_mut(key) {
            Some(Value::Array(items)) => items.push(value),
            _ => drop(fields.insert(key.to_owned(), Value::Array(vec![value]))),
        }
    } else if let Some(present) = fields.get_mut(key) {
        if let Value::Array(items) = present {
            items.push(value);
        } else {
            *present = Value::Array(vec![present.take(), value]);
        }
    } else {
        fields.insert(key.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::list(&[("only_fields[]", "name")], json!({"only_fields": ["name"]}))]
    #[case::longer_list(&[("id[]", "a"), ("id[]", "b")], json!({"id": ["a", "b"]}))]
    #[case::repeats(&[("id", "a"), ("id", "b")], json!({"id": ["a", "b"]}))]
    #[case::number(&[("page", "0")], json!({"page": 0}))]
    #[case::flags(&[("force", "true"), ("all", "False")], json!({"force": true, "all": false}))]
    #[case::nested(&[("a.b", "1"), ("a.c", "x")], json!({"a": {"b": 1, "c": "x"}}))]
    fn reads_a_query_string(#[case] query: &[(&str, &str)], #[case] fields: Value) {
        let query: Vec<(String, String)> = query
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        let body = Body::parse(b"", &query).unwrap();
        assert_eq!(Value::Object(body.0), fields);
    }
}
