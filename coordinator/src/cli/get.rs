//! `mica get`: nodes, GPUs, slices or queues, once or as they change.

use std::collections::BTreeMap;

use clap::{Args, ValueEnum};
use mica_proto::v1;

use super::connect::Connection;
use super::fail::Fail;
use super::format::Format;
use super::output;
use super::table::Table;
use super::view::{Gpu, Item, List, Node, Queue, Slice};
use crate::names::near;

/// What to show.
#[derive(Debug, Args)]
pub struct Get {
    /// What to show
    resource: Resource,
    /// Only these: by name or UUID; of GPUs and slices also by NODE or NODE/INDEX, of queues by TENANT or TENANT/QUEUE
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Print for programs, or more columns
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<GetFormat>,
    /// Go on, and print again what has changed
    #[arg(short, long)]
    watch: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Resource {
    #[value(alias = "node", alias = "no")]
    Nodes,
    #[value(alias = "gpu")]
    Gpus,
    #[value(alias = "slice", alias = "sl")]
    Slices,
    #[value(alias = "queue", alias = "q")]
    Queues,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum GetFormat {
    /// JSON
    Json,
    /// YAML
    Yaml,
    /// A table with more columns
    Wide,
}

impl Get {
    /// Prints what was asked for.
    pub(super) async fn run(self, connection: &Connection) -> Result<(), Fail> {
        match self.resource {
            Resource::Nodes => self.show::<Node>(connection).await,
            Resource::Gpus => self.show::<Gpu>(connection).await,
            Resource::Slices => self.show::<Slice>(connection).await,
            Resource::Queues => self.show::<Queue>(connection).await,
        }
    }

    async fn show<T: Item>(self, connection: &Connection) -> Result<(), Fail> {
        let (mut cluster, mut clusters) = connection.watch(self.watch).await?;
        let mut screen = Screen::new(self.output, self.watch);
        let mut names = self.names.as_slice();
        loop {
            let items = select::<T>(&cluster, names, &self.names)?;
            names = &[]; // what was there once may go
            if items.is_empty() && !self.watch {
                output::tell(&format!("no {}", T::PLURAL));
            }
            output::print(&screen.next(&items)?)?;
            if !self.watch {
                return Ok(());
            }
            cluster = clusters.next().await?;
        }
    }
}

/// The items that go by one of the `wanted` names, or all. Each of the `needed` names must be known.
fn select<T: Item>(
    cluster: &v1::Cluster,
    needed: &[String],
    wanted: &[String],
) -> Result<Vec<T>, Fail> {
    let mut items = T::all(cluster).map_err(Fail::Nonsense)?;
    if !needed.is_empty() {
        let mut known = T::scopes(cluster).map_err(Fail::Nonsense)?;
        known.extend(items.iter().flat_map(Item::names));
        if let Some(name) = needed.iter().find(|name| !known.contains(name)) {
            return Err(Fail::NotFound(unknown::<T>(name, known)));
        }
    }
    if !wanted.is_empty() {
        items.retain(|item| item.names().iter().any(|name| wanted.contains(name)));
    }
    Ok(items)
}

/// That nothing has this name, and what has one like it.
fn unknown<T: Item>(name: &str, known: Vec<String>) -> String {
    let (plural, near) = (T::PLURAL, near(name, known).join(", "));
    if near.is_empty() {
        let get = plural.to_lowercase();
        format!("no {plural} by the name of {name:?}; `mica get {get}` shows all")
    } else {
        format!("no {plural} by the name of {name:?}; did you mean {near}?")
    }
}

/// What has been printed, and in which form.
struct Screen {
    output: Option<GetFormat>,
    watch: bool,
    /// Made by the first items.
    table: Option<Table>,
    /// The rows last shown, by key of the item.
    shown: BTreeMap<String, Vec<String>>,
}

impl Screen {
    fn new(output: Option<GetFormat>, watch: bool) -> Self {
        Self {
            output,
            watch,
            table: None,
            shown: BTreeMap::new(),
        }
    }

    /// What to print for the items of this moment: everything first, then rows that changed and, with `gone` as their state, those
    /// that are no more. Programs get the whole list again when anything changed.
    fn next<T: Item>(&mut self, items: &[T]) -> Result<String, Fail> {
        let first = self.table.is_none();
        // Programs are told of changes in any column.
        let wide = self.output.is_some();
        let table = self
            .table
            .get_or_insert_with(|| Table::new(T::COLUMNS, wide));
        let now: BTreeMap<String, Vec<String>> =
            items.iter().map(|item| (item.key(), item.row())).collect();
        let is_new = |key: &String, row: &Vec<String>| {
            self.shown
                .get(key)
                .is_none_or(|old| table.telling(old) != table.telling(row))
        };
        // In the order of the items, which is not that of their keys.
        let mut rows: Vec<Vec<String>> = items
            .iter()
            .map(|item| (item.key(), item.row()))
            .filter(|(key, row)| is_new(key, row))
            .map(|(_, row)| row)
            .collect();
        let gone = self.shown.iter().filter(|(key, _)| !now.contains_key(*key));
        let mut gone: Vec<_> = gone.map(|(_, row)| gone_row::<T>(row)).collect();
        gone.sort();
        rows.extend(gone);
        self.shown = now;
        let format = match self.output {
            None | Some(GetFormat::Wide) => return Ok(table.rows(&rows)),
            Some(GetFormat::Json) => Format::Json,
            Some(GetFormat::Yaml) => Format::Yaml,
        };
        let list = List { items };
        if !self.watch {
            format.object(T::LIST, &list)
        } else if first || !rows.is_empty() {
            format.document(T::LIST, &list)
        } else {
            Ok(String::new())
        }
    }
}

/// A row of something that is no more: it says so as its state, or as the reason when it has no state.
fn gone_row<T: Item>(row: &[String]) -> Vec<String> {
    let has_state = T::COLUMNS.iter().any(|column| column.header == "STATE");
    let state = |(cell, column): (&String, &super::table::Column)| match column.header {
        "REASON" if has_state => String::new(),
        "STATE" | "REASON" => "gone".to_owned(),
        _ => cell.clone(),
    };
    row.iter().zip(T::COLUMNS).map(state).collect()
}
