//! What the library keeps for the process that loaded it: the open node, and what the process has looked at.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::code::Code;
use crate::log::{Present, Sight};
use crate::permission::Permission;
use crate::state::{Gpu, Process, WHOLE_GPU};
use crate::store::{Store, StoreError};

struct Session {
    /// Calls of init that no shutdown has answered yet.
    count: u64,
    store: Arc<Store>,
}

static SESSION: RwLock<Option<Session>> = RwLock::new(None);

/// Opens the node in `dir`, or counts one more user of the open one. A client that had vanished starts anew, as the next process
/// would that takes its place.
pub(crate) fn init(dir: &Path, permission: Option<Permission>) -> Result<(), StoreError> {
    let mut session = SESSION.write().unwrap_or_else(PoisonError::into_inner);
    if let Some(open) = session.as_mut().filter(|open| !open.store.has_vanished()) {
        open.count += 1;
        return Ok(());
    }
    let store = Arc::new(Store::attach(dir, permission)?);
    forget_looks(session.is_some(), store.load());
    *session = Some(Session { count: 1, store });
    Ok(())
}

/// Ends one use; the last one closes the node.
pub(crate) fn shutdown() -> Result<(), Code> {
    let mut session = SESSION.write().unwrap_or_else(PoisonError::into_inner);
    let open = session.as_mut().ok_or(Code::ERROR_UNINITIALIZED)?;
    open.count -= 1;
    if open.count == 0 {
        *session = None;
    }
    Ok(())
}

/// The open node.
pub(crate) fn store() -> Result<Arc<Store>, Code> {
    let session = SESSION.read().unwrap_or_else(PoisonError::into_inner);
    session
        .as_ref()
        .map(|session| Arc::clone(&session.store))
        .ok_or(Code::ERROR_UNINITIALIZED)
}

/// What this process has looked at.
struct Looks {
    /// Load of the driver that they are of.
    load: u32,
    /// By GPU, GPU instance and compute instance: the GPU's clock when this process last read the list of processes there.
    clocks: BTreeMap<(usize, u8, u8), u64>,
}

static LOOKS: Mutex<Looks> = Mutex::new(Looks {
    load: 0,
    clocks: BTreeMap::new(),
});

/// Forgets what was seen by a client that vanished, or under another load of the driver.
fn forget_looks(vanished: bool, load: u32) {
    let mut looks = LOOKS.lock().unwrap_or_else(PoisonError::into_inner);
    if vanished || looks.load != load {
        looks.clocks.clear();
    }
    looks.load = load;
}

/// Remembers that this process has read the process list of one compute instance, or of the whole GPU.
pub(crate) fn looked(index: usize, gpu: &Gpu, instance: Option<(u8, u8)>) {
    let mut looks = LOOKS.lock().unwrap_or_else(PoisonError::into_inner);
    let mut look = |gi, ci| {
        looks.clocks.insert((index, gi, ci), gpu.clock);
    };
    if let Some((gi, ci)) = instance {
        return look(gi, ci);
    }
    look(WHOLE_GPU, WHOLE_GPU);
    for (gi, instance) in gpu.instances() {
        for (ci, _) in instance.compute_instances() {
            look(gi, ci);
        }
    }
}

/// What this process knows of processes that are there. A look at an earlier instance of the same ids is none at this one.
pub(crate) fn present<'a>(
    index: usize,
    gpu: &Gpu,
    processes: impl Iterator<Item = &'a Process>,
) -> Vec<Present> {
    let looks = LOOKS.lock().unwrap_or_else(PoisonError::into_inner);
    processes
        .map(|process| {
            let instance = (process.gi != WHOLE_GPU).then_some((process.gi, process.ci));
            let compute = gpu
                .instance(process.gi)
                .and_then(|gi| gi.compute_instance(process.ci));
            let made = compute.map_or(0, |compute| compute.generation.into());
            let look = looks.clocks.get(&(index, process.gi, process.ci));
            let sight = match look.filter(|&&clock| clock >= made) {
                None => Sight::NeverLooked,
                Some(&clock) if clock >= process.started => Sight::Seen,
                Some(_) => Sight::Newer,
            };
            Present {
                pid: process.pid,
                gi: instance.map(|(gi, _)| gi.into()),
                ci: instance.map(|(_, ci)| ci.into()),
                sight,
            }
        })
        .collect()
}
