//! A simulated node: its folder, its GPUs as they are now, and what a test can do to it from outside.

mod view;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::boards::{self, Board};
use crate::code::Code;
use crate::identity;
use crate::inject::{Fault, FaultError};
use crate::library;
use crate::log::{Action, Event};
use crate::state::{Gpu, MAX_GPUS, Process, WHOLE_GPU};
use crate::store::{Store, StoreError};

pub use view::{ComputeInstanceView, GpuView, InstanceView, ProcessView};

/// A GPU to put into a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GpuSpec {
    /// Key of its board, e.g. `a100-40gb`.
    pub board: String,
    /// Whether MIG mode is on at the start; it never is on a board without MIG.
    pub mig: bool,
}

impl GpuSpec {
    /// `count` GPUs of one board.
    #[must_use]
    pub fn many(board: &str, count: usize, mig: bool) -> Vec<Self> {
        vec![
            Self {
                board: board.to_owned(),
                mig
            };
            count
        ]
    }
}

/// How to make a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeOptions {
    /// The built library to copy into the node; `None` looks for it beside the running program.
    pub library: Option<PathBuf>,
    /// What UUIDs and serial numbers are computed from; `None` takes the folder's path, so that nodes differ.
    pub seed: Option<u64>,
    /// Number GPU instances as those boards do whose upper half has the lower id.
    pub swapped_halves: bool,
}

/// Why something cannot be done to a node.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The folder has a node already.
    #[error("{0} already holds a node; remove it or choose another folder")]
    Exists(PathBuf),
    /// No such board.
    #[error("board {name:?} is unknown; there are {known}")]
    UnknownBoard {
        /// The key asked for.
        name: String,
        /// The keys that there are.
        known: String,
    },
    /// Too many GPUs, or none.
    #[error("{0} GPUs: a node has 1 to {MAX_GPUS}")]
    GpuCount(usize),
    /// A file cannot be written.
    #[error("{action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The library to copy is not there.
    #[error(transparent)]
    Library(#[from] library::LibraryError),
    /// The node's files cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The node has no GPU of this number.
    #[error("no GPU {0} on this node")]
    NoGpu(u32),
    /// The process cannot start.
    #[error("process {pid} cannot start on GPU {gpu}: {reason}")]
    Start {
        /// Process id.
        pid: u32,
        /// GPU index.
        gpu: u32,
        /// Why.
        reason: &'static str,
    },
    /// No process has this id.
    #[error("no process {0} on this node")]
    NoProcess(u32),
    /// The GPU has processes.
    #[error("GPU {0} is in use by a process")]
    InUse(u32),
    /// The fault makes no sense.
    #[error(transparent)]
    Fault(#[from] FaultError),
    /// No room for one more fault.
    #[error("no room for one more fault; clear the old ones")]
    TooManyFaults,
}

/// A simulated node, open.
#[derive(Debug)]
pub struct Node {
    dir: PathBuf,
    store: Store,
}

impl Node {
    /// Makes a node in a folder, which is created when missing.
    pub fn create(dir: &Path, gpus: &[GpuSpec], options: &NodeOptions) -> Result<Self, NodeError> {
        if !(1..=MAX_GPUS).contains(&gpus.len()) {
            return Err(NodeError::GpuCount(gpus.len()));
        }
        let boards = gpus
            .iter()
            .map(|spec| board(&spec.board))
            .collect::<Result<Vec<_>, _>>()?;
        let library = library::find(options.library.as_deref())?;
        if dir.join("state").exists() {
            return Err(NodeError::Exists(dir.to_owned()));
        }
        let lib = dir.join("lib");
        fs::create_dir_all(&lib).map_err(io_error("create", &lib))?;
        let dir = dir.canonicalize().map_err(io_error("resolve", dir))?;
        let seed = options
            .seed
            .unwrap_or_else(|| identity::hash(dir.as_os_str().as_encoded_bytes()));
        let made: Vec<_> = (0..)
            .zip(gpus.iter().zip(boards))
            .map(|(index, (spec, board))| {
                new_gpu(
                    spec.mig,
                    board,
                    identity::gpu_uuid(seed, index, &spec.board),
                    options,
                )
            })
            .collect();
        let target = dir.join("lib").join(library::SONAME);
        fs::copy(&library, &target).map_err(io_error("write", &target))?;
        let store = Store::create(&dir, &made)?;
        Ok(Self { dir, store })
    }

    /// Opens a node that was made before.
    pub fn open(dir: &Path) -> Result<Self, NodeError> {
        let store = Store::open(dir)?;
        let dir = dir.canonicalize().map_err(io_error("resolve", dir))?;
        Ok(Self { dir, store })
    }

    /// Its folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its `libnvidia-ml.so.1`.
    #[must_use]
    pub fn library(&self) -> PathBuf {
        self.dir.join("lib").join(library::SONAME)
    }

    /// Its GPUs as they are now. Each is a consistent picture; two of them may be from different moments.
    #[must_use]
    pub fn gpus(&self) -> Vec<GpuView> {
        let view = |index| view::gpu(u32::try_from(index).ok()?, &self.store.gpu(index)?);
        (0..self.store.gpu_count()).filter_map(view).collect()
    }

    /// Starts a process on the first compute instance of a GPU instance, or on a whole GPU whose MIG mode is off.
    ///
    /// Fails, and starts nothing, when the instance is gone, half made, or has not that much memory left.
    pub fn start_process(
        &self,
        gpu: u32,
        gi: impl Into<Option<u32>>,
        pid: u32,
        memory_bytes: u64,
    ) -> Result<(), NodeError> {
        let gi = gi.into();
        let index = self.index(gpu)?;
        let reason = |code: Code| match code {
            Code::ERROR_INVALID_STATE if gi.is_some() => "its MIG mode is off",
            Code::ERROR_INVALID_STATE => "its MIG mode is on; name a GPU instance",
            Code::ERROR_NOT_FOUND => "there is no such GPU instance, or it has no compute instance",
            Code::ERROR_ALREADY_INITIALIZED => "this process is there already",
            Code::ERROR_MEMORY => "not enough memory left",
            _ => "its process table is full",
        };
        let result = self.store.change_gpu(index, |state| {
            let started = gi.map_or(Ok(None), |gi| {
                u8::try_from(gi)
                    .map(Some)
                    .map_err(|_| Code::ERROR_NOT_FOUND)
            });
            let started = started.and_then(|gi| state.start_process(gi, pid, memory_bytes));
            let event = process_event(Action::StartProcess, pid, started.as_ref().ok());
            let result = started.as_ref().err().copied().unwrap_or(Code::SUCCESS).0;
            let gi = event.gi.or(gi);
            (
                started,
                Some(Event {
                    result,
                    gi,
                    ..event
                }),
            )
        })?;
        result.map(|_| ()).map_err(|code| NodeError::Start {
            pid,
            gpu,
            reason: reason(code),
        })
    }

    /// Ends a process on all GPUs.
    pub fn stop_process(&self, pid: u32) -> Result<(), NodeError> {
        let mut found = false;
        for index in 0..self.store.gpu_count() {
            let stop = |state: &mut Gpu| {
                let stopped = state.stop_process(pid);
                (
                    stopped,
                    stopped.map(|process| process_event(Action::StopProcess, pid, Some(&process))),
                )
            };
            while self.store.change_gpu(index, stop)?.is_some() {
                found = true;
            }
        }
        if found {
            Ok(())
        } else {
            Err(NodeError::NoProcess(pid))
        }
    }

    /// Resets a GPU as `nvidia-smi -r` does: its instances go, a pending MIG mode comes into force, a lost GPU comes back.
    pub fn reset_gpu(&self, gpu: u32) -> Result<(), NodeError> {
        let result = self.store.change_gpu(self.index(gpu)?, |state| {
            let result = state.reset();
            let result_code = result.err().unwrap_or(Code::SUCCESS).0;
            (
                result,
                Some(Event {
                    result: result_code,
                    ..Event::new(Action::Reset)
                }),
            )
        })?;
        result.map_err(|_| NodeError::InUse(gpu))
    }

    /// Injects a fault; it comes on top of those that are there.
    pub fn inject(&self, fault: &Fault) -> Result<(), NodeError> {
        if self.store.add_fault(fault.slot()?)? {
            Ok(())
        } else {
            Err(NodeError::TooManyFaults)
        }
    }

    /// Removes all faults.
    pub fn clear_faults(&self) -> Result<(), NodeError> {
        Ok(self.store.change_node(|node| {
            node.faults = bytemuck::Zeroable::zeroed();
            ((), None)
        })?)
    }

    /// Makes a GPU fall off the bus: every call on it answers 15 until it is reset.
    pub fn lose_gpu(&self, gpu: u32) -> Result<(), NodeError> {
        let event = Event {
            result: Code::ERROR_GPU_IS_LOST.0,
            ..Event::new(Action::Fault)
        };
        Ok(self.store.change_gpu(self.index(gpu)?, |state| {
            state.lost = 1;
            ((), Some(event))
        })?)
    }

    /// The driver's own log so far.
    pub fn log(&self) -> Result<Vec<Event>, NodeError> {
        Ok(self.store.log()?)
    }

    fn index(&self, gpu: u32) -> Result<usize, NodeError> {
        usize::try_from(gpu)
            .ok()
            .filter(|&index| index < self.store.gpu_count())
            .ok_or(NodeError::NoGpu(gpu))
    }
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> NodeError {
    let path = path.to_owned();
    move |source| NodeError::Io {
        action,
        path,
        source,
    }
}

/// Index of a board in the table.
fn board(key: &str) -> Result<u32, NodeError> {
    let all = boards::all();
    let index = (0..)
        .zip(all)
        .find(|(_, board)| board.key == key)
        .map(|(index, _)| index);
    index.ok_or_else(|| NodeError::UnknownBoard {
        name: key.to_owned(),
        known: all
            .iter()
            .map(|board| board.key.as_str())
            .collect::<Vec<_>>()
            .join(", "),
    })
}

fn new_gpu(mig: bool, board: u32, uuid: [u8; 16], options: &NodeOptions) -> Gpu {
    let mut gpu: Gpu = bytemuck::Zeroable::zeroed();
    gpu.board = board;
    gpu.uuid = uuid;
    gpu.swapped_halves = options.swapped_halves.into();
    let mig = mig && gpu.board().is_some_and(Board::has_mig);
    gpu.mig_current = mig.into();
    gpu.mig_pending = mig.into();
    gpu
}

fn process_event(action: Action, pid: u32, process: Option<&Process>) -> Event {
    let instance = process.filter(|process| process.gi != WHOLE_GPU);
    Event {
        gi: instance.map(|process| process.gi.into()),
        ci: instance.map(|process| process.ci.into()),
        pid: Some(pid),
        ..Event::new(action)
    }
}
