//! A node's files: the shared state, and the log that is written with it.
//!
//! The log file doubles as the lock of all writers. A change first appends its line, then puts the new state in force, which
//! says where the log now ends. A writer that dies between the two leaves a line behind that end; the next one cuts it off.

mod caps;
mod client;
mod events;
mod faults;
mod lock;

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use self::client::Client;
use self::lock::Lock;
use crate::boards;
use crate::code::Code;
use crate::events::Ring;
use crate::identity::hash;
use crate::log::Event;
use crate::shared::{Cache, Cell, Words};
use crate::state::{Driver, Gpu, MAX_GPUS, Node};

/// Why a node's files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file cannot be read or written.
    #[error("{action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The state file is something else.
    #[error("{0} is not the state of a simulated node; create one with `nvml-sim create`")]
    NotANode(PathBuf),
    /// The state file is of another build.
    #[error("{0} was made by another version of nvml-sim; remove the node and create it again")]
    OtherVersion(PathBuf),
    /// The client has no driver any more, and its calls answer this.
    #[error("the driver is not there for this client any more: {0}")]
    Gone(Code),
    /// A line of the log is not an event.
    #[error("line {line} of {path} is no event")]
    Log {
        /// The log.
        path: PathBuf,
        /// Line number, from 1.
        line: usize,
        /// What the parser said.
        source: serde_json::Error,
    },
}

const MAGIC: u64 = u64::from_le_bytes(*b"nvml-sim");
const AT_MAGIC: usize = 0;
const AT_FORMAT: usize = 1;
/// Number of injected faults, so that a call pays one load when there is none.
const AT_FAULTS: usize = 2;
/// Number of GPUs; changes only when the node is made anew.
const AT_GPUS: usize = 3;
/// Number of calls since random faults were set.
const AT_CALLS: usize = 4;
/// Rung whenever who waits for an event has to look again (see [`events`]).
const AT_BELL: usize = 5;
/// Which capability files are there (see [`caps`]).
const AT_CAPS: usize = 6;
const NODE: Cell<Node> = Cell::at(8);
const AT_DRIVER: usize = 8 + Cell::<Node>::WORDS;
const DRIVER: Cell<Driver> = Cell::at(AT_DRIVER);
const FIRST_GPU: usize = AT_DRIVER + Cell::<Driver>::WORDS;
const AT_RING: usize = FIRST_GPU + MAX_GPUS * Cell::<Gpu>::WORDS;
const RING: Cell<Ring> = Cell::at(AT_RING);
const WORDS: usize = AT_RING + Cell::<Ring>::WORDS;

fn gpu_cell(index: usize) -> Cell<Gpu> {
    Cell::at(FIRST_GPU + index * Cell::<Gpu>::WORDS)
}

/// Tells states apart that one build must not read of another: sizes and board tables.
fn format() -> u64 {
    static FORMAT: OnceLock<u64> = OnceLock::new();
    *FORMAT.get_or_init(|| hash(format!("5 {WORDS} {}", boards::TEXT).as_bytes()))
}

/// Nanoseconds since the epoch.
pub(crate) fn now_ns() -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

/// The open files of a node.
#[derive(Debug)]
pub(crate) struct Store {
    words: Words,
    node: Cache<Node>,
    driver: Cache<Driver>,
    gpus: [Cache<Gpu>; MAX_GPUS],
    log: PathBuf,
    /// The client of the driver that this is; `None` for who acts on the node from outside.
    client: Option<Client>,
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io {
        action,
        path,
        source,
    }
}

fn state_path(dir: &Path) -> PathBuf {
    dir.join("state")
}

impl Store {
    /// Writes the files of a new node.
    pub(crate) fn create(dir: &Path, gpus: &[Gpu], driver: &Driver) -> Result<Self, StoreError> {
        let log = dir.join("log.jsonl");
        File::create_new(&log).map_err(io_error("create", &log))?;
        let unfinished = dir.join("state.new");
        let mut file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&unfinished)
            .map_err(io_error("create", &unfinished))?;
        file.write_all(&vec![0; WORDS * size_of::<u64>()])
            .map_err(io_error("write", &unfinished))?;
        let words = Words::map(&file, WORDS).map_err(io_error("map", &unfinished))?;
        words.store(AT_MAGIC, MAGIC);
        words.store(AT_FORMAT, format());
        words.store(AT_GPUS, u64::try_from(gpus.len()).unwrap_or(0));
        DRIVER.write(&words, driver);
        for (index, gpu) in gpus.iter().enumerate().take(MAX_GPUS) {
            gpu_cell(index).write(&words, gpu);
        }
        let path = state_path(dir);
        std::fs::rename(&unfinished, &path).map_err(io_error("rename to", &path))?;
        Ok(Self::of(words, log))
    }

    /// Opens a node.
    pub(crate) fn open(dir: &Path) -> Result<Self, StoreError> {
        let path = state_path(dir);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .map_err(io_error("open", &path))?;
        let length = file.metadata().map_err(io_error("read", &path))?.len();
        let head = Words::map(&file, 8).map_err(io_error("map", &path));
        if length < 64 || head?.load(AT_MAGIC) != MAGIC {
            return Err(StoreError::NotANode(path));
        }
        let words = Words::map(&file, WORDS).map_err(io_error("map", &path))?;
        let want = u64::try_from(WORDS * size_of::<u64>()).unwrap_or(u64::MAX);
        if length != want || words.load(AT_FORMAT) != format() {
            return Err(StoreError::OtherVersion(path));
        }
        Ok(Self::of(words, dir.join("log.jsonl")))
    }

    fn of(words: Words, log: PathBuf) -> Self {
        Self {
            words,
            node: Cache::default(),
            driver: Cache::default(),
            gpus: Default::default(),
            log,
            client: None,
        }
    }

    pub(crate) fn node(&self) -> Node {
        *NODE.read_through(&self.words, &self.node)
    }

    /// The driver, as it is now.
    pub(crate) fn driver(&self) -> Driver {
        *DRIVER.read_through(&self.words, &self.driver)
    }

    pub(crate) fn gpu_count(&self) -> usize {
        usize::try_from(self.words.load(AT_GPUS))
            .unwrap_or(0)
            .min(MAX_GPUS)
    }

    /// A GPU, as it is now.
    pub(crate) fn gpu(&self, index: usize) -> Option<Arc<Gpu>> {
        let cache = self.gpus.get(..self.gpu_count())?.get(index)?;
        let gpu = gpu_cell(index).read_through(&self.words, cache);
        gpu.board().is_some().then_some(gpu)
    }

    /// Changes a GPU and logs what was done, or tried, as one step; nothing happens when there is no event.
    pub(crate) fn change_gpu<R>(
        &self,
        index: usize,
        change: impl FnOnce(&mut Gpu) -> (R, Option<Event>),
    ) -> Result<R, StoreError> {
        let mut lock = Lock::take(self)?;
        self.check().map_err(StoreError::Gone)?;
        let cell = gpu_cell(index);
        let mut gpu = cell.read(&self.words);
        gpu.forget_ended(now_ns());
        let before = gpu;
        let (result, event) = change(&mut gpu);
        if let Some(mut event) = event {
            let number = u32::try_from(index).ok();
            event.gpu = number;
            let changed = event.result == Code::SUCCESS.0 && gpu != before;
            gpu.log_end = lock.append(event)?;
            cell.write(&self.words, &gpu);
            self.show_caps(&lock)?;
            self.tell_of_change(&lock, number.unwrap_or(u32::MAX), &before, &gpu);
            if changed {
                self.after_change(&mut lock, number)?;
            }
        }
        Ok(result)
    }

    /// Changes the faults as one step, with an event or without.
    pub(crate) fn change_node<R>(
        &self,
        change: impl FnOnce(&mut Node) -> (R, Option<Event>),
    ) -> Result<R, StoreError> {
        let mut lock = Lock::take(self)?;
        let mut node = self.node();
        let (result, event) = change(&mut node);
        if let Some(event) = event {
            node.log_end = lock.append(event)?;
        }
        self.write_node(&node);
        Ok(result)
    }

    /// Changes the driver as one step.
    pub(crate) fn change_driver(&self, change: impl FnOnce(&mut Driver)) -> Result<(), StoreError> {
        let lock = Lock::take(self)?;
        let mut driver = self.driver();
        change(&mut driver);
        DRIVER.write(&self.words, &driver);
        self.ring_bell();
        self.show_caps(&lock)
    }

    /// Makes the node anew: other GPUs, no faults, an empty log.
    pub(crate) fn replace(&self, gpus: &[Gpu], driver: &Driver) -> Result<(), StoreError> {
        let mut lock = Lock::take(self)?;
        for (index, gpu) in gpus.iter().enumerate().take(MAX_GPUS) {
            gpu_cell(index).write(&self.words, gpu);
        }
        self.words
            .store(AT_GPUS, u64::try_from(gpus.len()).unwrap_or(0));
        self.write_node(&bytemuck::Zeroable::zeroed());
        DRIVER.write(&self.words, driver);
        self.ring_bell();
        lock.clear_log()?;
        self.show_caps(&lock)
    }

    /// The log so far.
    pub(crate) fn log(&self) -> Result<Vec<Event>, StoreError> {
        let lock = Lock::take(self)?;
        let text = std::fs::read_to_string(&self.log).map_err(io_error("read", &self.log))?;
        drop(lock);
        let parse = |(line, text)| {
            serde_json::from_str(text).map_err(|source| StoreError::Log {
                path: self.log.clone(),
                line,
                source,
            })
        };
        (1..).zip(text.lines()).map(parse).collect()
    }

    fn log_end(&self) -> u64 {
        (0..self.gpu_count())
            .filter_map(|index| self.gpu(index))
            .map(|gpu| gpu.log_end)
            .fold(self.node().log_end, u64::max)
    }
}

#[cfg(test)]
mod tests;
