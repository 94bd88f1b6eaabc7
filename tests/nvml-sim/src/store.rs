//! A node's files: the shared state, and the log that is written with it.
//!
//! The log file doubles as the lock of all writers. A change first appends its line, then puts the new state in force, which
//! says where the log now ends. A writer that dies between the two leaves a line behind that end; the next one cuts it off.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::boards;
use crate::identity::hash;
use crate::inject::Suffering;
use crate::log::{Action, Event};
use crate::shared::{Cache, Cell, Words};
use crate::state::{FaultSlot, Gpu, MAX_GPUS, Node};

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
/// Number of GPUs; never changes.
const AT_GPUS: usize = 3;
/// Number of injected faults, so that a call pays one load when there is none.
const AT_FAULTS: usize = 2;
const NODE: Cell<Node> = Cell::at(8);
const FIRST_GPU: usize = 8 + Cell::<Node>::WORDS;
const WORDS: usize = FIRST_GPU + MAX_GPUS * Cell::<Gpu>::WORDS;

fn gpu_cell(index: usize) -> Cell<Gpu> {
    Cell::at(FIRST_GPU + index * Cell::<Gpu>::WORDS)
}

/// Tells states apart that one build must not read of another: sizes and board tables.
fn format() -> u64 {
    hash(format!("3 {WORDS} {}", boards::TEXT).as_bytes())
}

/// The open files of a node.
#[derive(Debug)]
pub(crate) struct Store {
    words: Words,
    node: Cache<Node>,
    gpus: [Cache<Gpu>; MAX_GPUS],
    log: PathBuf,
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
    pub(crate) fn create(dir: &Path, gpus: &[Gpu]) -> Result<Self, StoreError> {
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
            gpus: Default::default(),
            log,
        }
    }

    pub(crate) fn node(&self) -> Node {
        NODE.read_through(&self.words, &self.node)
    }

    pub(crate) fn gpu_count(&self) -> usize {
        usize::try_from(self.words.load(AT_GPUS))
            .unwrap_or(0)
            .min(MAX_GPUS)
    }

    /// A GPU, as it is now.
    pub(crate) fn gpu(&self, index: usize) -> Option<Gpu> {
        let cache = self.gpus.get(index)?;
        let gpu = gpu_cell(index).read_through(&self.words, cache);
        gpu.board().is_some().then_some(gpu)
    }

    /// Changes a GPU and logs what was done, or tried, as one step; nothing happens when there is no event.
    pub(crate) fn change_gpu<R>(
        &self,
        index: usize,
        change: impl FnOnce(&mut Gpu) -> (R, Option<Event>),
    ) -> Result<R, StoreError> {
        let lock = Lock::take(self)?;
        let cell = gpu_cell(index);
        let mut gpu = cell.read(&self.words);
        let (result, event) = change(&mut gpu);
        if let Some(mut event) = event {
            event.gpu = u32::try_from(index).ok();
            gpu.log_end = lock.append(event)?;
            cell.write(&self.words, &gpu);
        }
        Ok(result)
    }

    /// Changes the node as one step, with an event or without.
    pub(crate) fn change_node<R>(
        &self,
        change: impl FnOnce(&mut Node) -> (R, Option<Event>),
    ) -> Result<R, StoreError> {
        let lock = Lock::take(self)?;
        let mut node = self.node();
        let (result, event) = change(&mut node);
        if let Some(event) = event {
            node.log_end = lock.append(event)?;
        }
        NODE.write(&self.words, &node);
        let faults = node.faults.iter().filter(|fault| fault.left > 0).count();
        self.words
            .store(AT_FAULTS, u64::try_from(faults).unwrap_or(u64::MAX));
        Ok(result)
    }

    /// What injected faults do to a call; counts the call and logs a hit, unless every call is hit.
    pub(crate) fn suffer(&self, call: &str) -> Result<Suffering, StoreError> {
        let mut suffering = Suffering::default();
        if self.words.load(AT_FAULTS) == 0 {
            return Ok(suffering);
        }
        let node = self.node();
        let hits = || node.faults.iter().filter(|fault| fault.matches(call));
        if hits().all(FaultSlot::is_steady) {
            hits().for_each(|fault| suffering.add(fault.effect()));
            return Ok(suffering);
        }
        self.change_node(|node| {
            for fault in node.faults.iter_mut().filter(|fault| fault.matches(call)) {
                let effect = fault.effect();
                if fault.count_down() {
                    suffering.add(effect);
                }
            }
            let event = (suffering.kill || suffering.code.is_some()).then(|| Event {
                result: suffering.code.map_or(0, |code| code.0),
                call: Some(call.to_owned()),
                ..Event::new(Action::Fault)
            });
            (suffering, event)
        })
    }

    /// Adds a fault; `false` when there is no room for one more.
    pub(crate) fn add_fault(&self, fault: FaultSlot) -> Result<bool, StoreError> {
        self.change_node(|node| {
            let slot = node.faults.iter_mut().find(|slot| slot.left == 0);
            (slot.map(|slot| *slot = fault).is_some(), None)
        })
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

/// The right to change a node, held by one thread of one process. The system takes it back from a process that dies.
struct Lock<'store> {
    file: File,
    end: u64,
    store: &'store Store,
}

impl<'store> Lock<'store> {
    fn take(store: &'store Store) -> Result<Self, StoreError> {
        let path = &store.log;
        // Opened anew each time, so that the lock also holds between threads and after a fork.
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .map_err(io_error("open", path))?;
        file.lock().map_err(io_error("lock", path))?;
        let end = store.log_end();
        let length = file.metadata().map_err(io_error("read", path))?.len();
        if length > end {
            file.set_len(end).map_err(io_error("cut", path))?;
        }
        Ok(Self { file, end, store })
    }

    /// Appends an event and returns where the log ends then.
    fn append(&self, mut event: Event) -> Result<u64, StoreError> {
        let path = &self.store.log;
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        event.time_ns = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        let mut line =
            serde_json::to_vec(&event).map_err(|error| io_error("write", path)(error.into()))?;
        line.push(b'\n');
        self.file
            .write_all_at(&line, self.end)
            .map_err(io_error("write", path))?;
        Ok(self
            .end
            .saturating_add(u64::try_from(line.len()).unwrap_or(u64::MAX)))
    }
}

impl Drop for Lock<'_> {
    fn drop(&mut self) {
        // Closing would do, but not while a forked child still has the file open. A failure leaves just that to closing.
        drop(self.file.unlock());
    }
}
