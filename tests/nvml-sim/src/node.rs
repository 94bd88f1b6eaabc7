//! A simulated node: its folder, its GPUs as they are now, and what a test can do to it from outside.

mod driver;
mod events;
mod faults;
mod smi;
mod users;
mod view;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::behaviour::Behaviour;
use crate::boards::{self, Board};
use crate::identity;
use crate::inject::FaultError;
use crate::library;
use crate::log::Event;
use crate::permission::Permission;
use crate::state::{Driver, Gpu, MAX_GPUS};
use crate::store::{Store, StoreError};

pub use driver::DriverView;
pub use view::{ComputeInstanceView, GpuView, InstanceView, ProcessView};

/// Driver 580, the long-term branch. From 580.82 on clients use the current numbering of field values.
const DRIVER_VERSION: &str = "580.95.05";

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
    /// Whether the driver has the quirks that drivers have.
    pub behaviour: Behaviour,
    /// What clients may do that do not say it themselves (see [`crate::PERMISSION_ENVIRONMENT`]).
    pub permission: Permission,
    /// Version of the driver; `None` takes a recent one of the long-term branch.
    pub driver_version: Option<String>,
    /// The GPUs cannot be reset from here, as in a virtual machine that they are passed through to: on Ampere a mode change then
    /// waits for a reboot (activation status 16).
    pub passthrough: bool,
    /// How long an instance stays in use after a process on it ended.
    pub linger: Duration,
    /// Keep capability files, `proc/driver/nvidia-caps`, `proc/driver/nvidia/capabilities` and `dev/nvidia-caps` below the node's
    /// folder, true as instances come and go.
    pub caps: bool,
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
    /// A client has the GPU open.
    #[error(
        "GPU {0} is in use by a process, or held by a client; stop the one and release the other"
    )]
    InUse(u32),
    /// The GPU cannot be reset from here.
    #[error("GPU {0} is passed through to this machine and cannot be reset from it; reboot it")]
    CannotReset(u32),
    /// The client cannot hold the GPU.
    #[error("client {pid} cannot hold GPU {gpu}: {reason}")]
    Hold {
        /// Process id.
        pid: u32,
        /// GPU index.
        gpu: u32,
        /// Why.
        reason: &'static str,
    },
    /// No client with this id holds a GPU.
    #[error("no client {0} holds a GPU of this node")]
    NoHolder(u32),
    /// Not a version.
    #[error(
        "driver version {0:?}: it has numbers and dots, e.g. {DRIVER_VERSION}, and at most 31 of them"
    )]
    Version(String),
    /// The fault makes no sense.
    #[error(transparent)]
    Fault(#[from] FaultError),
    /// The event makes no sense.
    #[error("GPU {gpu} cannot tell of this event: {reason}")]
    Event {
        /// GPU index.
        gpu: u32,
        /// Why.
        reason: &'static str,
    },
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
        for spec in gpus {
            board(&spec.board)?;
        }
        version_bytes(options.driver_version.as_deref())?;
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
        let driver = new_driver(seed, options)?;
        let made = new_gpus(gpus, &driver, options.swapped_halves)?;
        let target = dir.join("lib").join(library::SONAME);
        fs::copy(&library, &target).map_err(io_error("write", &target))?;
        smi::write(&dir)?;
        let store = Store::create(&dir, &made, &driver)?;
        store.repair_caps()?;
        let node = Self { dir, store };
        node.write_boot_id()?;
        Ok(node)
    }

    /// Makes the node anew with these GPUs, at a fraction of the cost of another node: its folder, library, seed and settings stay;
    /// faults and log go. As after a reload of the driver, clients must initialise again.
    pub fn reset_to(&self, gpus: &[GpuSpec]) -> Result<(), NodeError> {
        if !(1..=MAX_GPUS).contains(&gpus.len()) {
            return Err(NodeError::GpuCount(gpus.len()));
        }
        let mut driver = self.store.driver();
        driver.load += 1;
        driver.loaded = 1;
        let old = self.store.gpu(0);
        let swapped = old.is_some_and(|gpu| gpu.swapped_halves != 0);
        let made = new_gpus(gpus, &driver, swapped)?;
        Ok(self.store.replace(&made, &driver)?)
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

    /// Its `nvidia-smi`, which resets GPUs and lists devices and instances.
    #[must_use]
    pub fn nvidia_smi(&self) -> PathBuf {
        smi::path(&self.dir)
    }

    /// Its GPUs as they are now. Each is a consistent picture; two of them may be from different moments.
    #[must_use]
    pub fn gpus(&self) -> Vec<GpuView> {
        let view = |index| {
            let gpu = self.store.gpu(index)?;
            view::gpu(u32::try_from(index).ok()?, &gpu)
        };
        (0..self.store.gpu_count()).filter_map(view).collect()
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

fn new_gpus(
    specs: &[GpuSpec],
    driver: &Driver,
    swapped_halves: bool,
) -> Result<Vec<Gpu>, NodeError> {
    let count = u32::try_from(specs.len()).unwrap_or(u32::MAX);
    let new = |(index, spec): (u32, &GpuSpec)| {
        let mut gpu: Gpu = bytemuck::Zeroable::zeroed();
        gpu.board = board(&spec.board)?;
        gpu.uuid = identity::gpu_uuid(driver.seed, index.into(), &spec.board);
        gpu.swapped_halves = swapped_halves.into();
        let mig = spec.mig && gpu.board().is_some_and(Board::has_mig);
        gpu.mig_current = mig.into();
        gpu.mig_pending = mig.into();
        gpu.load = driver.load;
        gpu.minor = driver.behaviour().minor(index, count);
        Ok(gpu)
    };
    (0..).zip(specs).map(new).collect()
}

fn new_driver(seed: u64, options: &NodeOptions) -> Result<Driver, NodeError> {
    Ok(Driver {
        seed,
        boots: 1,
        version: version_bytes(options.driver_version.as_deref())?,
        load: 1,
        linger_ms: millis(options.linger),
        loaded: 1,
        behaviour: options.behaviour.byte(),
        permission: options.permission.byte(),
        passthrough: options.passthrough.into(),
        caps: options.caps.into(),
        reserved: [0; 3],
    })
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

/// A version of the driver as the state keeps it, of the default one when none is given.
fn version_bytes(version: Option<&str>) -> Result<[u8; 32], NodeError> {
    let version = version.unwrap_or(DRIVER_VERSION);
    let legal = |byte: u8| byte.is_ascii_digit() || byte == b'.';
    if !(1..32).contains(&version.len()) || !version.bytes().all(legal) {
        return Err(NodeError::Version(version.to_owned()));
    }
    let mut bytes = [0; 32];
    for (to, from) in bytes.iter_mut().zip(version.bytes()) {
        *to = from;
    }
    Ok(bytes)
}
