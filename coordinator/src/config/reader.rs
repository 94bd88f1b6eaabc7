//! Takes the fields out of the tree, and notes what is wrong on the way instead of stopping at it.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use serde_saphyr::{Location, Spanned};

use super::yaml::Node;
use super::{ClearMl, Config, Credentials, Mistake, Queue, Tenant, credentials, rules};
use crate::names::edits;

/// When the file does not say.
const DEFAULT_POLL_INTERVAL: Duration = Duration::from_secs(5);

/// Priorities of a queue.
const PRIORITY: RangeInclusive<u8> = 0..=3;

/// The remedy when a name comes a second time.
const OWN_NAME: &str = "give each its own name";

/// Reads the whole tree: a configuration, or all that is wrong with it.
pub(super) fn read(tree: &Spanned<Node>, folder: &Path) -> Result<Config, Vec<Mistake>> {
    let mut reader = Reader {
        folder,
        mistakes: Vec::new(),
    };
    let root = Field {
        path: String::new(),
        at: tree.referenced,
        node: &tree.value,
    };
    let config = reader.config(&root);
    reader.mistakes.sort();
    match config {
        Some(config) if reader.mistakes.is_empty() => Ok(config),
        _ => Err(reader.mistakes),
    }
}

/// A value and where it stands.
struct Field<'a> {
    path: String,
    at: Location,
    node: &'a Node,
}

/// The fields of a mapping.
struct Mapping<'a> {
    path: String,
    at: Location,
    fields: BTreeMap<&'a str, Field<'a>>,
}

struct Reader<'a> {
    folder: &'a Path,
    mistakes: Vec<Mistake>,
}

/// The file: one method for each mapping in it.
impl Reader<'_> {
    fn config(&mut self, root: &Field) -> Option<Config> {
        let mut fields = self.fields(root, &["clearml", "tenants"])?;
        let clearml = self
            .required(&mut fields, "clearml")
            .and_then(|field| self.clearml(&field));
        let tenants = self.items(&mut fields, "tenants", Self::tenant);
        self.unique(&tenants, OWN_NAME, |tenant| &tenant.name);
        let tenants = tenants.into_iter().map(|(_, tenant)| tenant).collect();
        Some(Config {
            clearml: clearml?,
            tenants,
        })
    }

    fn clearml(&mut self, field: &Field) -> Option<ClearMl> {
        let mut fields = self.fields(field, &["url", "pollInterval"])?;
        let url = self.required_text(&mut fields, "url", rules::url);
        let poll_interval = match fields.take("pollInterval") {
            Some(field) => self.text(&field, rules::poll_interval),
            None => Some(DEFAULT_POLL_INTERVAL),
        };
        Some(ClearMl {
            url: url?,
            poll_interval: poll_interval?,
        })
    }

    fn tenant(&mut self, field: &Field) -> Option<Tenant> {
        let mut fields = self.fields(field, &["name", "credentials", "queues"])?;
        let name = self.required_text(&mut fields, "name", rules::tenant_name);
        let credentials = self
            .required(&mut fields, "credentials")
            .and_then(|field| self.credentials(&field));
        let queues = self.items(&mut fields, "queues", Self::queue);
        self.unique(&queues, OWN_NAME, |queue| &queue.name);
        Some(Tenant {
            name: name?,
            credentials: credentials?,
            queues: queues.into_iter().map(|(_, queue)| queue).collect(),
        })
    }

    fn credentials(&mut self, field: &Field) -> Option<Credentials> {
        let mut fields = self.fields(field, &["accessKeyFile", "secretKeyFile"])?;
        let folder = self.folder;
        let access_key = self.required_text(&mut fields, "accessKeyFile", |path| {
            credentials::read_key(&folder.join(path))
        });
        let secret_key = self.required_text(&mut fields, "secretKeyFile", |path| {
            credentials::read_secret(&folder.join(path))
        });
        Some(Credentials {
            access_key: access_key?,
            secret_key: secret_key?,
        })
    }

    fn queue(&mut self, field: &Field) -> Option<Queue> {
        let mut fields = self.fields(field, &["name", "profiles", "maxRunning", "priority"])?;
        let name = self.required_text(&mut fields, "name", rules::queue_name);
        let profiles = self.items(&mut fields, "profiles", |reader, field| {
            reader.text(field, rules::profile)
        });
        self.unique(&profiles, "leave one out", |profile| profile);
        let max_running = match fields.take("maxRunning") {
            Some(field) => self
                .integer(&field, 1..=u32::MAX, "leave it out for no limit")
                .map(Some),
            None => Some(None),
        };
        let priority = match fields.take("priority") {
            Some(field) => self.integer(&field, PRIORITY, "a higher one is served first"),
            None => Some(*PRIORITY.start()),
        };
        Some(Queue {
            name: name?,
            profiles: profiles.into_iter().map(|(_, profile)| profile).collect(),
            max_running: max_running?,
            priority: priority?,
        })
    }
}

/// How fields are taken, whatever they mean.
impl Reader<'_> {
    fn note(&mut self, at: Location, path: &str, problem: String) {
        self.mistakes.push(Mistake {
            line: at.line().max(1),
            column: at.column().max(1),
            field: path.to_owned(),
            problem,
        });
    }

    /// The fields of a mapping; notes unknown and repeated ones.
    fn fields<'a>(&mut self, field: &Field<'a>, known: &[&str]) -> Option<Mapping<'a>> {
        let Node::Map(entries) = field.node else {
            let problem = format!(
                "{}; write a mapping with the fields {}",
                field.node.kind(),
                known.join(", ")
            );
            self.note(field.at, &field.path, problem);
            return None;
        };
        let mut fields = BTreeMap::new();
        for (key, value) in entries {
            let name = key.value.as_str();
            let path = join(&field.path, name);
            if !known.contains(&name) {
                let hint = match nearest(name, known) {
                    Some(near) => format!("did you mean {near}?"),
                    None => format!("the fields here are {}", known.join(", ")),
                };
                self.note(key.referenced, &path, format!("unknown field; {hint}"));
            } else if fields.contains_key(name) {
                let problem = "given twice; leave one out".to_owned();
                self.note(key.referenced, &path, problem);
            } else {
                let field = Field {
                    path,
                    at: value.referenced,
                    node: &value.value,
                };
                fields.insert(name, field);
            }
        }
        Some(Mapping {
            path: field.path.clone(),
            at: field.at,
            fields,
        })
    }

    fn required<'a>(&mut self, fields: &mut Mapping<'a>, name: &str) -> Option<Field<'a>> {
        let field = fields.take(name);
        if field.is_none() {
            let problem = "missing; this field is required".to_owned();
            self.note(fields.at, &join(&fields.path, name), problem);
        }
        field
    }

    fn required_text<T>(
        &mut self,
        fields: &mut Mapping,
        name: &str,
        rule: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        self.required(fields, name)
            .and_then(|field| self.text(&field, rule))
    }

    fn text<T>(
        &mut self,
        field: &Field,
        rule: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let result = match field.node {
            Node::Text(text) => rule(text),
            // Said by the rule, which knows what the text should look like: `pollInterval: 5` lacks its unit.
            Node::Integer(number) => match rule(&number.to_string()) {
                Ok(_) => Err(format!("a number; put it in quotes: \"{number}\"")),
                Err(problem) => Err(problem),
            },
            Node::Null | Node::Bool(_) | Node::Float(_) | Node::List(_) | Node::Map(_) => {
                Err(format!(
                    "{}; write a text here, in quotes if need be",
                    field.node.kind()
                ))
            }
        };
        result
            .map_err(|problem| self.note(field.at, &field.path, problem))
            .ok()
    }

    fn integer<T>(&mut self, field: &Field, range: RangeInclusive<T>, hint: &str) -> Option<T>
    where
        T: TryFrom<i128> + PartialOrd + Copy + Into<u64> + Debug,
    {
        let number = match field.node {
            Node::Integer(number) => T::try_from(*number).ok(),
            Node::Null
            | Node::Bool(_)
            | Node::Float(_)
            | Node::Text(_)
            | Node::List(_)
            | Node::Map(_) => None,
        };
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            let problem = format!(
                "{}; write a whole number from {} to {} ({hint})",
                shown(field.node),
                (*range.start()).into(),
                (*range.end()).into(),
            );
            self.note(field.at, &field.path, problem);
        }
        number
    }

    /// The items of a required list that are right, with the places they stand at.
    fn items<'a, T>(
        &mut self,
        fields: &mut Mapping<'a>,
        name: &str,
        mut read: impl FnMut(&mut Self, &Field<'a>) -> Option<T>,
    ) -> Vec<((Location, String), T)> {
        let Some(field) = self.required(fields, name) else {
            return Vec::new();
        };
        let items = match field.node {
            Node::List(items) => items,
            Node::Null
            | Node::Bool(_)
            | Node::Integer(_)
            | Node::Float(_)
            | Node::Text(_)
            | Node::Map(_) => {
                let problem = format!(
                    "{}; write a list: [A, B] or one \"- A\" a line",
                    field.node.kind()
                );
                self.note(field.at, &field.path, problem);
                return Vec::new();
            }
        };
        if items.is_empty() {
            let problem = "an empty list; name at least one".to_owned();
            self.note(field.at, &field.path, problem);
        }
        let mut all = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let item = Field {
                path: format!("{}[{index}]", field.path),
                at: item.referenced,
                node: &item.value,
            };
            if let Some(value) = read(self, &item) {
                all.push(((item.at, item.path), value));
            }
        }
        all
    }

    /// Notes names that come a second time.
    fn unique<T>(
        &mut self,
        items: &[((Location, String), T)],
        remedy: &str,
        name: impl Fn(&T) -> &String,
    ) {
        let mut seen = BTreeMap::new();
        for ((at, path), item) in items {
            if let Some(first) = seen.get(name(item)) {
                let problem = format!("{:?} is there already as {first}; {remedy}", name(item));
                self.note(*at, path, problem);
            } else {
                seen.insert(name(item), path);
            }
        }
    }
}

impl<'a> Mapping<'a> {
    /// A field that is there and not empty.
    fn take(&mut self, name: &str) -> Option<Field<'a>> {
        self.fields
            .remove(name)
            .filter(|field| !matches!(field.node, Node::Null))
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

/// A value as people wrote it, or what it is when that would be long.
fn shown(node: &Node) -> String {
    match node {
        Node::Integer(number) => number.to_string(),
        Node::Float(number) => number.to_string(),
        Node::Bool(value) => value.to_string(),
        Node::Text(text) => format!("{text:?}"),
        Node::Null | Node::List(_) | Node::Map(_) => node.kind().to_owned(),
    }
}

/// The known name that was probably meant: the same but for capitals and '_', or at most two letters off.
fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let plain = |name: &str| name.to_ascii_lowercase().replace(['_', '-'], "");
    known
        .iter()
        .map(|&known| (edits(&plain(name), &plain(known)), known))
        .min()
        .filter(|&(edits, _)| edits <= 2)
        .map(|(_, known)| known)
}
