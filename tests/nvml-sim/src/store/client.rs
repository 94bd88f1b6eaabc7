//! What a store knows of the client that opened it: since which load of the driver, with what permission, and whether it is gone.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Store, StoreError};
use crate::code::Code;
use crate::permission::Permission;
use crate::state::Driver;

/// A client of the driver.
#[derive(Debug)]
pub(crate) struct Client {
    /// The driver when it opened the node.
    driver: Driver,
    /// What it may do, when that is not the node's setting.
    permission: Option<Permission>,
    /// Treated as if its process had died.
    vanished: AtomicBool,
}

impl Client {
    pub(super) fn vanish(&self) {
        self.vanished.store(true, Ordering::Relaxed);
    }
}

impl Store {
    /// Opens a node as a client of its driver; 9 when that is not loaded.
    pub(crate) fn attach(dir: &Path, permission: Option<Permission>) -> Result<Self, StoreError> {
        let mut store = Self::open(dir)?;
        let driver = store.driver();
        if !driver.is_loaded() {
            return Err(StoreError::Gone(Code::ERROR_DRIVER_NOT_LOADED));
        }
        store.repair_caps()?;
        store.client = Some(Client {
            driver,
            permission,
            vanished: AtomicBool::new(false),
        });
        Ok(store)
    }

    /// Whether the client still has its driver: 9 while that is unloaded; after it was loaded anew 18 when its version is
    /// another one and 15 when it is the same, until the client shuts down and initialises again. (That 18 comes with another
    /// version is known; the rest is modelled.) 999 when the client is gone.
    pub(crate) fn check(&self) -> Result<(), Code> {
        let Some(client) = &self.client else {
            return Ok(());
        };
        if self.has_vanished() {
            return Err(Code::ERROR_UNKNOWN);
        }
        let driver = self.driver();
        if !driver.is_loaded() {
            Err(Code::ERROR_DRIVER_NOT_LOADED)
        } else if driver.load == client.driver.load {
            Ok(())
        } else if driver.version == client.driver.version {
            Err(Code::ERROR_GPU_IS_LOST)
        } else {
            Err(Code::ERROR_LIB_RM_VERSION_MISMATCH)
        }
    }

    /// Number of the load of the driver that the client opened; 0 when this is no client.
    pub(crate) fn load(&self) -> u32 {
        self.client.as_ref().map_or(0, |client| client.driver.load)
    }

    /// What the client may do.
    pub(crate) fn permission(&self) -> Permission {
        let own = self.client.as_ref().and_then(|client| client.permission);
        own.unwrap_or_else(|| self.driver().permission())
    }

    /// Treats the client as if its process had died: all its calls fail.
    pub(crate) fn vanish(&self) {
        if let Some(client) = &self.client {
            client.vanish();
        }
    }

    /// Whether the client is treated as if its process had died.
    pub(crate) fn has_vanished(&self) -> bool {
        let vanished = |client: &Client| client.vanished.load(Ordering::Relaxed);
        self.client.as_ref().is_some_and(vanished)
    }
}
