//! The world behind the server, as tests see it.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;

use crate::{
    date::Date,
    faults::{Fault, FaultRule, Faults, Request},
    identity::Role,
    mode::Mode,
    store::{
        Company, Session, Store, enterprise::Enterprise, queue::Queue, resources::Configuration,
        task::Status, task::Task, user::Key, user::User,
    },
};

/// A handle on everything the server knows; clones are handles on the same.
///
/// Companies, queues and tasks are named by the identifiers that `add_…` returns.
#[derive(Clone, Debug)]
pub struct State {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    store: Mutex<Store>,
    faults: Mutex<Faults>,
}

/// API keys of a user.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The public half.
    pub access_key: String,
    /// The secret half.
    pub secret_key: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("access_key", &self.access_key)
            .finish_non_exhaustive()
    }
}

impl Default for State {
    fn default() -> Self {
        Self::new()
    }
}

/// Filling the world.
#[expect(
    clippy::must_use_candidate,
    reason = "called for what they do; the identifier is not always wanted"
)]
impl State {
    /// An empty one, of the open-source server.
    #[must_use]
    pub fn new() -> Self {
        Self::with_mode(Mode::Oss)
    }

    /// An empty one.
    #[must_use]
    pub fn with_mode(mode: Mode) -> Self {
        let (store, faults) = (Mutex::new(Store::new(mode)), Mutex::new(Faults::default()));
        let shared = Arc::new(Shared { store, faults });
        Self { shared }
    }

    /// Adds a company ("workspace") and returns its identifier.
    pub fn add_company(&self, name: &str) -> String {
        let id = self.store().random.id();
        self.add_company_as(&id, name);
        id
    }

    /// Adds a company with an identifier of the caller's choice.
    pub fn add_company_as(&self, id: &str, name: &str) {
        let name = name.to_owned();
        self.store().companies.insert(id, Company { name });
    }

    /// Adds an ordinary user of a company.
    pub fn add_user(&self, company: &str, name: &str) -> Credentials {
        self.add_user_as(company, name, Role::User)
    }

    /// Adds a user with a role.
    pub fn add_user_as(&self, company: &str, name: &str, role: Role) -> Credentials {
        let mut store = self.store();
        let credentials = Credentials {
            access_key: store.random.access_key(),
            secret_key: store.random.secret_key(),
        };
        drop(store);
        self.add_user_with_keys(company, name, role, &credentials);
        credentials
    }

    /// Adds a user with keys of the caller's choice, and returns the user's identifier.
    pub fn add_user_with_keys(
        &self,
        company: &str,
        name: &str,
        role: Role,
        keys: &Credentials,
    ) -> String {
        let mut store = self.store();
        let id = store.random.id();
        let user = User::new(company, name, role, now());
        store.users.insert(&id, user);
        let key = Key::new(&keys.secret_key, &id, now());
        store.keys.insert(keys.access_key.clone(), key);
        id
    }

    /// Makes a user one of the server's configuration: in no listing, and without further keys.
    pub fn set_configured(&self, user: &str) {
        if let Some(user) = self.store().users.get_mut(user) {
            user.configured = true;
        }
    }

    /// Adds an empty queue and returns its identifier.
    pub fn add_queue(&self, company: &str, name: &str) -> String {
        self.add_queue_with_tags(company, name, &[])
    }

    /// Adds an empty queue with system tags, e.g. `default` or `k8s-glue`, and returns its identifier.
    pub fn add_queue_with_tags(&self, company: &str, name: &str, system_tags: &[&str]) -> String {
        let mut store = self.store();
        let id = store.random.id();
        let mut queue = Queue::new(id.clone(), company.to_owned(), name.to_owned(), now());
        queue.system_tags = system_tags.iter().map(|tag| (*tag).to_owned()).collect();
        store.queues.insert(&id, queue);
        id
    }

    /// Adds a task, waiting in a queue or merely created, and returns its identifier.
    pub fn add_task(&self, company: &str, name: &str, queue: Option<&str>) -> String {
        let mut store = self.store();
        let id = store.random.id();
        let (company, kind) = (company.to_owned(), "training".to_owned());
        let user = String::new();
        let mut task = Task::new(id.clone(), company, user, name.to_owned(), kind, now());
        if let Some(queue) = queue.and_then(|queue| store.queues.get_mut(queue)) {
            queue.push(&id, now());
            task.status = Status::Queued;
            task.enqueue_status = Some(Status::Created);
            task.execution.queue = Some(queue.id.clone());
        }
        store.tasks.insert(&id, task);
        id
    }
}

/// Looking at it.
impl State {
    /// All queues, in the order in which they were made.
    #[must_use]
    pub fn queues(&self) -> Vec<Queue> {
        self.store().queues.iter().cloned().collect()
    }

    /// A queue.
    #[must_use]
    pub fn queue(&self, id: &str) -> Option<Queue> {
        self.store().queues.get(id).cloned()
    }

    /// All tasks, in the order in which they were made.
    #[must_use]
    pub fn tasks(&self) -> Vec<Task> {
        self.store().tasks.iter().cloned().collect()
    }

    /// A task.
    #[must_use]
    pub fn task(&self, id: &str) -> Option<Task> {
        self.store().tasks.get(id).cloned()
    }

    /// What was asked, oldest first; the last ten thousand requests.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.faults().log.iter().cloned().collect()
    }

    /// Empties the log.
    pub fn forget_requests(&self) {
        self.faults().log.clear();
    }
}

/// What only the Enterprise server has.
impl State {
    /// Changes how the Enterprise server behaves where its reference leaves it open.
    pub fn set_enterprise(&self, change: impl FnOnce(&mut Enterprise)) {
        change(&mut self.store().enterprise);
    }

    /// Lets a user join another company: the user may log in there too.
    pub fn join(&self, user: &str, company: &str) {
        if let Some(user) = self.store().users.get_mut(user) {
            user.joined.push(company.to_owned());
        }
    }

    /// Changes a company's pools and profiles, as its administrators do in the web application. They count once published.
    pub fn draft_resources(&self, company: &str, draft: Configuration) {
        self.store().tenant_mut(company).resources.draft = draft;
    }
}

/// Making it fail.
impl State {
    /// Answers the next `times` requests with an HTTP status, in the form of a proxy's error page.
    pub fn fail_next(&self, times: u32, code: u16) {
        let retry_after = None;
        self.inject(times, Fault::Status { code, retry_after });
    }

    /// Lets a fault happen to the next `times` requests, after those that are waiting already.
    pub fn inject(&self, times: u32, fault: Fault) {
        self.add_fault(FaultRule::new(fault).times(times));
    }

    /// Lets a fault happen to the requests that the rule says.
    pub fn add_fault(&self, rule: FaultRule) {
        self.faults().rules.push_back(rule);
    }

    /// No more faults.
    pub fn heal(&self) {
        self.faults().rules.clear();
    }

    /// Waits this long before each answer.
    pub fn set_delay(&self, delay: Duration) {
        self.faults().delay = delay;
    }

    /// How long tokens last from now on, in seconds, unless the caller asks otherwise; thirty days at the start.
    pub fn set_token_life(&self, seconds: u32) {
        self.store().token_life = seconds.into();
    }

    /// All tokens given so far count as expired.
    pub fn expire_tokens(&self) {
        self.end_sessions(Session::Expired);
    }

    /// All tokens given so far count as revoked.
    pub fn revoke_tokens(&self) {
        self.end_sessions(Session::Revoked);
    }

    fn end_sessions(&self, end: Session) {
        for session in self.store().sessions.values_mut() {
            *session = end;
        }
    }

    /// Deletes a company softly, as `tenants.delete_tenant` does: it stays, with `active: false`, and nobody of it gets in.
    pub fn deactivate_company(&self, company: &str) {
        self.store().tenant_mut(company).active = false;
    }

    /// Takes keys away from their user.
    pub fn revoke_keys(&self, access_key: &str) {
        self.store().keys.remove(access_key);
    }
}

impl State {
    pub(crate) fn store(&self) -> MutexGuard<'_, Store> {
        let lock = self.shared.store.lock();
        lock.unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn faults(&self) -> MutexGuard<'_, Faults> {
        let lock = self.shared.faults.lock();
        lock.unwrap_or_else(PoisonError::into_inner)
    }
}

fn now() -> Date {
    Date(Timestamp::now())
}
