//! What the library keeps for the process that loaded it: the open node, and what the process has looked at.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::code::Code;
use crate::log::{Present, Sight};
use crate::state::{Gpu, Process, WHOLE_GPU};
use crate::store::{Store, StoreError};

struct Session {
    /// Calls of init that no shutdown has answered yet.
    count: u64,
    store: Arc<Store>,
}

static SESSION: RwLock<Option<Session>> = RwLock::new(None);

/// Opens the node in `dir`, or counts one more user of the open one.
pub(crate) fn init(dir: &Path) -> Result<(), StoreError> {
    let mut session = SESSION.write().unwrap_or_else(PoisonError::into_inner);
    if let Some(session) = session.as_mut() {
        session.count += 1;
        return Ok(());
    }
    let store = Arc::new(Store::open(dir)?);
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

/// By GPU, GPU instance and compute instance: the GPU's clock when this process last read the list of processes there.
static LOOKS: Mutex<BTreeMap<(usize, u8, u8), u64>> = Mutex::new(BTreeMap::new());

/// Remembers that this process has read the process list of one compute instance, or of the whole GPU.
pub(crate) fn looked(index: usize, gpu: &Gpu, instance: Option<(u8, u8)>) {
    let mut looks = LOOKS.lock().unwrap_or_else(PoisonError::into_inner);
    let mut look = |gi, ci| {
        looks.insert((index, gi, ci), gpu.clock);
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
            let look = looks.get(&(index, process.gi, process.ci));
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
