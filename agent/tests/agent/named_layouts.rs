//! The layouts that NVIDIA publishes by name for mig-parted, applied from a GPU without MIG mode and from each other, on every simulated
//! board that has them.

use std::{collections::BTreeMap, fmt};

use mica_agent::{
    execute::Patience,
    mig_parted::{File, PciId, Seen, Wanted, select, write},
    outcome::Ending,
    placements::{Impossible, place},
    usage::{InUse, Sources},
    verbs::{carry_out, plan},
};
use mica_nvml::Driver;
use nvml_sim::{Action, GpuSpec};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::node::SimNode;

const BOARDS: [&str; 7] = [
    "a100-40gb",
    "a100-80gb",
    "a30-24gb",
    "h100-sxm5-80gb",
    "h100-nvl-94gb",
    "h200-141gb",
    "rtx-pro-6000-blackwell-96gb",
];

#[derive(Deserialize)]
struct Published {
    layouts: Vec<Named>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
    parts: Vec<Part>,
}

#[derive(Deserialize)]
struct Part {
    boards: Option<Vec<String>>,
    profiles: Option<BTreeMap<String, u32>>,
}

/// As the file that operators have.
fn file() -> File {
    let published: Published = serde_json::from_str(include_str!("named-layouts.json")).unwrap();
    let entry = |part: &Part| {
        let mut entry = json!({ "devices": "all", "mig-enabled": part.profiles.is_some() });
        if let Some(boards) = &part.boards {
            entry["device-filter"] = json!(boards);
        }
        if let Some(profiles) = &part.profiles {
            entry["mig-devices"] = json!(profiles);
        }
        entry
    };
    let configs: serde_json::Map<String, Value> = published
        .layouts
        .iter()
        .map(|named| (named.name.clone(), named.parts.iter().map(entry).collect()))
        .collect();
    let text = json!({ "version": "v1", "mig-configs": configs }).to_string();
    File::read(&text, "named-layouts.json").unwrap()
}

/// What the transitions of a board cost.
#[derive(Default)]
struct Tally {
    layouts: usize,
    transitions: usize,
    operations: usize,
    clear_and_create: usize,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            layouts,
            transitions,
            operations,
            clear_and_create,
        } = self;
        write!(
            f,
            "{layouts:3} layouts, {transitions:4} transitions, {operations:5} creates and destroys, clear-and-create {clear_and_create:5}"
        )
    }
}

/// One simulated GPU.
struct Rig<'a> {
    node: &'a SimNode,
    driver: Driver,
}

impl<'a> Rig<'a> {
    /// Without MIG mode, and with an empty log, which keeps the reading of it short.
    fn new(node: &'a SimNode, board: &str) -> Self {
        let gpus = GpuSpec::many(board, 1, false);
        node.node.reset_to(&gpus).unwrap();
        let driver = node.driver();
        Self { node, driver }
    }

    fn seen(&mut self) -> Vec<Seen> {
        let pci = self.driver.pci_device_id(0).map(PciId).unwrap();
        let gpu = self.driver.gpu_at(0).unwrap();
        vec![Seen {
            gpu,
            pci: Some(pci),
        }]
    }

    fn stands(&mut self) -> Wanted {
        write::stands(&self.driver.gpu_at(0).unwrap())
    }

    /// Applies it and counts the GPU instances created and destroyed, by the driver's own log.
    fn apply(&mut self, wanted: &Wanted) -> usize {
        let before = self.node.node.log().unwrap().len();
        let gpu = self.driver.gpu_at(0).unwrap();
        let plan = plan(&gpu, &InUse::default(), wanted, false).unwrap();
        let outcome = carry_out(
            &mut self.driver,
            &Sources::default(),
            &gpu.uuid,
            &plan,
            None,
            Patience::NONE,
        );
        assert_eq!(outcome.ending, Ending::Holds, "{wanted:?}");
        assert_eq!(self.stands(), *wanted);
        let log = self.node.node.log().unwrap().split_off(before);
        let failed: Vec<_> = log.iter().filter(|event| event.result != 0).collect();
        assert!(failed.is_empty(), "no 23, nor any other code: {failed:?}");
        let operations = log.iter().filter(|event| {
            matches!(
                event.action,
                Action::CreateGpuInstance | Action::DestroyGpuInstance
            )
        });
        operations.count()
    }
}

fn instances(wanted: &Wanted) -> usize {
    match wanted {
        Wanted::Off => 0,
        Wanted::On(counts) => usize::try_from(counts.values().sum::<u32>()).unwrap(),
    }
}

/// All transitions of one board.
fn board(board: &str, file: &File) -> Tally {
    let node = SimNode::new(&GpuSpec::many(board, 1, false));
    let seen = Rig::new(&node, board).seen();
    let kind = seen[0].gpu.board.as_deref().unwrap();
    let published = file.configs.values();
    let wanted: Vec<_> = published
        .filter_map(|entries| Some(select(entries, &seen).ok()?[0].wanted))
        .filter(|wanted| match wanted {
            Wanted::Off => true,
            Wanted::On(counts) => match place(kind, counts, &[], |_| true) {
                Ok(_) => true,
                // What is for any board is published for those that have the profile; there it must fit.
                Err(Impossible::UnknownProfile { .. }) => false,
                Err(impossible) => panic!("{impossible}"),
            },
        })
        .collect();
    let mut tally = Tally {
        layouts: wanted.len(),
        ..Tally::default()
    };
    let mut count = |from: &Wanted, to: &Wanted, operations: usize| {
        // It clears all and creates all, unless the layout stands already.
        let clear_and_create = if from == to {
            0
        } else {
            instances(from) + instances(to)
        };
        assert!(
            operations <= clear_and_create,
            "{board}, {from:?} to {to:?}: {operations} of {clear_and_create}"
        );
        tally.transitions += 1;
        tally.operations += operations;
        tally.clear_and_create += clear_and_create;
    };
    for to in &wanted {
        let mut rig = Rig::new(&node, board);
        let operations = rig.apply(to);
        count(&Wanted::Off, to, operations);
        for from in &wanted {
            rig.apply(from);
            let operations = rig.apply(to);
            count(from, to, operations);
        }
        assert!(node.verdict().is_clean());
    }
    tally
}

#[test]
fn they_are_reached_from_each_other_with_no_more_operations_than_clear_and_create() {
    let file = file();
    let mut sum = Tally::default();
    for name in BOARDS {
        let tally = board(name, &file);
        println!("{name:28} {tally}");
        assert!(tally.layouts >= 7, "{name} has {} of them", tally.layouts);
        sum.layouts += tally.layouts;
        sum.transitions += tally.transitions;
        sum.operations += tally.operations;
        sum.clear_and_create += tally.clear_and_create;
    }
    println!("{:28} {sum}", "all");
    assert!(sum.operations < sum.clear_and_create);
}
