//! Keeps what is offered true to what stands.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use mica_nvml::Pci;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep_until},
};

use super::{
    DevicePlugin, Ledger, cdi,
    ledger::Taken,
    numa,
    offer::{self, Beside, Device, Lists},
    server::{self, Common, Resource},
    watcher,
};
use crate::{inventory::Inventory, usage::Sources};

/// Pause before what could not be offered, or is kept though it is gone, is looked at again.
const AGAIN: Duration = Duration::from_secs(1);

/// Offers what stands. Never returns.
pub(super) async fn run(
    plugin: DevicePlugin,
    inventory: watch::Receiver<Arc<Inventory>>,
    sources: Sources,
) {
    let DevicePlugin { settings, ledger } = plugin;
    let (starts, started) = watch::channel(0);
    let folder = settings.folder.clone();
    server::sweep(&folder);
    let offering = Offering {
        numa: settings.numa,
        places: BTreeMap::new(),
        specs: settings.specs,
        lists: Lists::new(),
        names: BTreeMap::new(),
        servers: JoinSet::new(),
        common: Arc::new(Common {
            folder: settings.folder,
            answers: settings.answers,
            ledger: Arc::clone(&ledger),
            sources,
            inventory,
            starts: started,
        }),
    };
    tokio::join!(
        offering.run(),
        ledger.ask_on(),
        watcher::watch(&folder, &starts)
    );
}

/// What is offered.
struct Offering {
    numa: numa::Nodes,
    /// NUMA nodes by place in the machine: they do not change.
    places: BTreeMap<Pci, Option<i64>>,
    specs: Option<cdi::Specs>,
    lists: Lists,
    /// The names that are registered: they stay when nothing of the name can be offered any more.
    names: BTreeMap<String, watch::Sender<Arc<Vec<Device>>>>,
    servers: JoinSet<()>,
    common: Arc<Common>,
}

impl Offering {
    async fn run(mut self) {
        let mut inventory = self.common.inventory.clone();
        let ledger: Arc<Ledger> = Arc::clone(&self.common.ledger);
        let mut taken = ledger.taken();
        let mut starts = self.common.starts.clone();
        loop {
            let seen = inventory.borrow_and_update().clone();
            let all_offered = self.refresh(&seen, &mut taken);
            let again = Instant::now() + AGAIN;
            tokio::select! {
                changed = inventory.changed() => if changed.is_err() {
                    return;
                },
                changed = taken.changed() => if changed.is_err() {
                    return;
                },
                Ok(()) = starts.changed() => self.common.sources.kubelet_began(),
                () = sleep_until(again), if !all_offered => {}
            }
        }
    }

    /// Offers what stands now. Whether that is all there is to do until something changes.
    fn refresh(&mut self, seen: &Inventory, taken: &mut watch::Receiver<Taken>) -> bool {
        for known in seen.hardware.values() {
            self.places
                .entry(known.pci)
                .or_insert_with(|| self.numa.of(known.pci));
        }
        let in_use = self.common.sources.known();
        let lists = {
            let taken = taken.borrow_and_update();
            let beside = Beside {
                taken: &|device| taken.has(device),
                held: &|device| in_use.is_held(device),
                numa: &|pci| self.places.get(&pci).copied().flatten(),
                before: &self.lists,
            };
            offer::offers(seen, &beside)
        };
        let slices = seen.gpus.iter().flat_map(|gpu| &gpu.instances);
        let slices = slices.filter_map(|known| Some(&*known.compute.as_ref()?.uuid));
        let gpus = seen.gpus.iter().map(|gpu| &*gpu.uuid);
        let standing: BTreeSet<_> = slices.chain(gpus).collect();
        let (lists, all_written) = self.written(lists, &standing);
        for (name, devices) in &lists {
            self.offer(name, devices);
        }
        for (name, list) in &self.names {
            if !lists.contains_key(name) {
                set(list, &[]);
            }
        }
        self.lists = lists;
        let mut offered = self.lists.values().flatten();
        all_written && offered.all(|device| standing.contains(&*device.id))
    }

    /// The devices whose specs are written, where such are needed; whether those are all. Specs of what is gone are removed, not of what
    /// was taken back and still stands.
    fn written(&mut self, mut lists: Lists, standing: &BTreeSet<&str>) -> (Lists, bool) {
        let Some(specs) = &mut self.specs else {
            return (lists, true);
        };
        let mut all = true;
        for devices in lists.values_mut() {
            devices.retain(|device| {
                let written = specs.write(device);
                all &= written;
                written
            });
        }
        let offered = lists.values().flatten().map(|device| &*device.id);
        specs.keep_only(&standing.iter().copied().chain(offered).collect());
        (lists, all)
    }

    fn offer(&mut self, name: &str, devices: &[Device]) {
        if let Some(list) = self.names.get(name) {
            return set(list, devices);
        }
        let (list, watched) = watch::channel(Arc::new(devices.to_vec()));
        self.names.insert(name.to_owned(), list);
        let server = Resource {
            name: name.to_owned(),
            list: watched,
            common: Arc::clone(&self.common),
        };
        self.servers.spawn(server.serve());
    }
}

/// Makes a list this one; who watches it is told only when it is another.
fn set(list: &watch::Sender<Arc<Vec<Device>>>, devices: &[Device]) {
    list.send_if_modified(|current| {
        let news = **current != *devices;
        if news {
            *current = Arc::new(devices.to_vec());
        }
        news
    });
}
