//! The driver and the machine of a node: settings, reset, reload, reboot.

use std::fs;
use std::time::Duration;

use serde::Serialize;

use super::{Node, NodeError, io_error, millis, version_bytes};
use crate::behaviour::Behaviour;
use crate::change::Start;
use crate::code::Code;
use crate::identity;
use crate::log::{Action, Event};
use crate::permission::Permission;

/// The driver of a node as it is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DriverView {
    /// Whether it is loaded; every call answers 9 while it is not.
    pub loaded: bool,
    /// Its version.
    pub version: String,
    /// As in `/proc/sys/kernel/random/boot_id`; also in the file `boot_id` of the node's folder.
    pub boot_id: String,
    /// `strict` or `quirks`.
    pub behaviour: String,
    /// `root`, `config`, `monitor` or `none`.
    pub permission: String,
    /// Whether GPUs cannot be reset from here.
    pub passthrough: bool,
    /// How long an instance stays in use after a process on it ended, milliseconds.
    pub linger_ms: u32,
    /// Whether it keeps capability files.
    pub caps: bool,
}

impl Node {
    /// Its driver as it is now.
    #[must_use]
    pub fn driver(&self) -> DriverView {
        let driver = self.store.driver();
        DriverView {
            loaded: driver.is_loaded(),
            version: driver.version(),
            boot_id: self.boot_id(),
            behaviour: driver.behaviour().to_string(),
            permission: driver.permission().to_string(),
            passthrough: !driver.can_reset(),
            linger_ms: driver.linger_ms,
            caps: driver.has_caps(),
        }
    }

    /// The id of the machine's present run.
    #[must_use]
    pub fn boot_id(&self) -> String {
        let driver = self.store.driver();
        identity::boot_id(driver.seed, driver.boots)
    }

    pub(super) fn write_boot_id(&self) -> Result<(), NodeError> {
        let (path, unfinished) = (self.dir.join("boot_id"), self.dir.join("boot_id.new"));
        fs::write(&unfinished, format!("{}\n", self.boot_id()))
            .map_err(io_error("write", &unfinished))?;
        fs::rename(&unfinished, &path).map_err(io_error("rename to", &path))
    }

    /// Sets whether the driver has quirks. UUIDs of MIG devices that are there stay as they are.
    pub fn set_behaviour(&self, behaviour: Behaviour) -> Result<(), NodeError> {
        let set = |byte: &mut u8| *byte = behaviour.byte();
        Ok(self
            .store
            .change_driver(|driver| set(&mut driver.behaviour))?)
    }

    /// Sets what clients may do that do not say it themselves; it holds from their next call on.
    pub fn set_permission(&self, permission: Permission) -> Result<(), NodeError> {
        let set = |byte: &mut u8| *byte = permission.byte();
        Ok(self
            .store
            .change_driver(|driver| set(&mut driver.permission))?)
    }

    /// Sets whether GPUs cannot be reset from here.
    pub fn set_passthrough(&self, passthrough: bool) -> Result<(), NodeError> {
        Ok(self
            .store
            .change_driver(|driver| driver.passthrough = passthrough.into())?)
    }

    /// Sets how long an instance stays in use after a process on it ended; of those that end from now on.
    pub fn set_linger(&self, linger: Duration) -> Result<(), NodeError> {
        Ok(self
            .store
            .change_driver(|driver| driver.linger_ms = millis(linger))?)
    }

    /// Resets a GPU as `nvidia-smi -r` does: its instances go, a pending MIG mode comes into force, a lost GPU comes back.
    pub fn reset_gpu(&self, gpu: u32) -> Result<(), NodeError> {
        let can_reset = self.store.driver().can_reset();
        let result = self.store.change_gpu(self.index(gpu)?, |state| {
            let result = state.reset(can_reset);
            let event = Event {
                result: result.err().unwrap_or(Code::SUCCESS).0,
                ..Event::new(Action::Reset)
            };
            (result, Some(event))
        })?;
        result.map_err(|code| match code {
            Code::ERROR_RESET_REQUIRED => NodeError::CannotReset(gpu),
            _ => NodeError::InUse(gpu),
        })
    }

    /// Reboots the machine. Processes and holders end, instances go, lost GPUs come back, the boot id is another. Ampere keeps its
    /// MIG mode, and a pending one comes into force; later GPUs come up with MIG off. Clients must initialise again.
    pub fn reboot(&self) -> Result<(), NodeError> {
        self.store.change_driver(|driver| driver.loaded = 0)?;
        self.stop_all()?;
        self.start(Start::Boot, None)?;
        self.write_boot_id()
    }

    /// Unloads the driver, as `modprobe -r nvidia` does: until it is loaded again every call answers 9. Refused while a process is on
    /// a GPU or a client holds one; a client that has merely initialised does not count.
    pub fn unload_driver(&self) -> Result<(), NodeError> {
        let mut used = None;
        self.store.change_driver(|driver| {
            let gpus =
                (0..).zip((0..self.store.gpu_count()).filter_map(|index| self.store.gpu(index)));
            let held = |gpu: &crate::state::Gpu| {
                !gpu.processes().is_empty() || gpu.holders().next().is_some()
            };
            used = gpus
                .into_iter()
                .find(|(_, gpu)| held(gpu))
                .map(|(index, _)| index);
            if used.is_none() {
                driver.loaded = 0;
            }
        })?;
        used.map_or(Ok(()), |gpu| Err(NodeError::InUse(gpu)))
    }

    /// Loads the driver anew, as this version or as the one before; unloads it first when it is loaded. Instances are gone and all
    /// handles stale. The MIG mode stays on Ampere only. A client that was initialised answers 18 when the version changed and 15
    /// when not, until it shuts down and initialises again.
    pub fn reload_driver(&self, version: Option<&str>) -> Result<(), NodeError> {
        let version = version
            .map(|version| version_bytes(Some(version)))
            .transpose()?;
        if self.store.driver().is_loaded() {
            self.unload_driver()?;
        }
        self.start(Start::Reload, version)
    }

    fn start(&self, start: Start, version: Option<[u8; 32]>) -> Result<(), NodeError> {
        let load = self.store.driver().load.wrapping_add(1);
        let action = match start {
            Start::Reload => Action::Reload,
            Start::Boot => Action::Boot,
        };
        for index in 0..self.store.gpu_count() {
            self.store.change_gpu(index, |gpu| {
                gpu.start_anew(start, load);
                ((), Some(Event::new(action)))
            })?;
        }
        Ok(self.store.change_driver(|driver| {
            driver.load = load;
            driver.loaded = 1;
            driver.boots += u64::from(start == Start::Boot);
            driver.version = version.unwrap_or(driver.version);
        })?)
    }
}
