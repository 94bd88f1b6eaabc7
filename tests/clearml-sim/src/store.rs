//! Everything the server knows.

pub(crate) mod enterprise;
pub(crate) mod queue;
pub(crate) mod resources;
pub(crate) mod task;
pub(crate) mod user;
pub(crate) mod worker;

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use self::{
    enterprise::{Enterprise, Tenant},
    queue::Queue,
    task::Task,
    user::{Key, User},
    worker::Worker,
};
use crate::{error::ApiError, feature::Feature, mode::Mode, random::Random, token};

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Store {
    pub(crate) mode: Mode,
    pub(crate) random: Random,
    /// Signs tokens.
    pub(crate) signing_key: String,
    /// How long a token lasts unless asked otherwise, in seconds.
    pub(crate) token_life: i64,
    pub(crate) companies: Table<Company>,
    pub(crate) users: Table<User>,
    /// By access key.
    pub(crate) keys: BTreeMap<String, Key>,
    /// What became of the tokens, by their session.
    pub(crate) sessions: BTreeMap<String, Session>,
    pub(crate) queues: Table<Queue>,
    pub(crate) tasks: Table<Task>,
    /// By key of the worker: company, user and name.
    pub(crate) workers: Table<Worker>,
    /// Listings in progress: how many rows were sent.
    pub(crate) scrolls: BTreeMap<String, usize>,
    /// How the Enterprise edition behaves where its reference leaves it open.
    pub(crate) enterprise: Enterprise,
    /// What only the Enterprise edition knows of companies, by company.
    pub(crate) tenants: BTreeMap<String, Tenant>,
}

/// A workspace.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Company {
    pub(crate) name: String,
}

/// What became of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Session {
    /// Good until it expires.
    Live,
    Expired,
    Revoked,
}

impl Store {
    pub(crate) fn new(mode: Mode) -> Self {
        let mut random = Random::new();
        Self {
            mode,
            signing_key: random.id(),
            token_life: token::USUAL_LIFE,
            random,
            companies: Table::new(),
            users: Table::new(),
            keys: BTreeMap::new(),
            sessions: BTreeMap::new(),
            queues: Table::new(),
            tasks: Table::new(),
            workers: Table::new(),
            scrolls: BTreeMap::new(),
            enterprise: Enterprise::default(),
            tenants: BTreeMap::new(),
        }
    }

    /// A company as the tenant API sees it.
    pub(crate) fn tenant_mut(&mut self, company: &str) -> &mut Tenant {
        self.tenants.entry(company.to_owned()).or_default()
    }

    /// The same to look at.
    pub(crate) fn tenant(&self, company: &str) -> Tenant {
        self.tenants.get(company).cloned().unwrap_or_default()
    }

    /// Refused when the company lacks a feature.
    pub(crate) fn require(&self, feature: Feature, company: &str) -> Result<(), ApiError> {
        if self.tenant(company).has(feature, &self.enterprise.features) {
            return Ok(());
        }
        let pairs = [("feature", feature.name()), ("company", company)];
        Err(self.enterprise.feature_off.error(&pairs))
    }

    /// Whether the company was not softly deleted.
    pub(crate) fn is_active(&self, company: &str) -> bool {
        self.tenants.get(company).is_none_or(|tenant| tenant.active)
    }

    /// A queue of the company; of others it does not even say that they exist.
    pub(crate) fn queue_mut(&mut self, queue: &str, company: &str) -> Result<&mut Queue, ApiError> {
        self.queues
            .get_mut(queue)
            .filter(|row| row.company == company)
            .ok_or_else(|| ApiError::queue_id(&[("id", queue), ("company", company)]))
    }

    /// A task of the company.
    pub(crate) fn task_mut(&mut self, task: &str, company: &str) -> Result<&mut Task, ApiError> {
        self.tasks
            .get_mut(task)
            .filter(|row| row.company == company)
            .ok_or_else(|| ApiError::task_id(task, company))
    }
}

/// Rows by identifier, in the order in which they came.
#[derive(Debug)]
pub(crate) struct Table<T> {
    rows: BTreeMap<u64, T>,
    places: BTreeMap<String, u64>,
    next: u64,
}

impl<T> Table<T> {
    fn new() -> Self {
        Self {
            rows: BTreeMap::new(),
            places: BTreeMap::new(),
            next: 0,
        }
    }

    /// Adds a row, or replaces it where it is.
    pub(crate) fn insert(&mut self, id: &str, row: T) {
        let place = *self.places.entry(id.to_owned()).or_insert_with(|| {
            self.next += 1;
            self.next
        });
        self.rows.insert(place, row);
    }

    pub(crate) fn get(&self, id: &str) -> Option<&T> {
        self.rows.get(self.places.get(id)?)
    }

    pub(crate) fn get_mut(&mut self, id: &str) -> Option<&mut T> {
        self.rows.get_mut(self.places.get(id)?)
    }

    pub(crate) fn remove(&mut self, id: &str) -> Option<T> {
        self.rows.remove(&self.places.remove(id)?)
    }

    /// Rows with their identifiers, in the order in which they came.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&str, &T)> {
        let mut ids: Vec<(u64, &str)> = self
            .places
            .iter()
            .map(|(id, place)| (*place, id.as_str()))
            .collect();
        ids.sort_unstable();
        ids.into_iter()
            .filter_map(|(place, id)| Some((id, self.rows.get(&place)?)))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.rows.values()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.rows.values_mut()
    }
}

/// A list of pairs, identifier and row, because the order of rows counts.
impl<T: Serialize> Serialize for Table<T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.pairs())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Table<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let rows: Vec<(String, T)> = Vec::deserialize(from)?;
        let mut table = Self::new();
        for (id, row) in rows {
            table.insert(&id, row);
        }
        Ok(table)
    }
}
