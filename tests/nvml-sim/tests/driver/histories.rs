//! Random histories of creates and destroys against a model that shares nothing with the driver: its own table of profiles,
//! slots as a row of boxes, and the rule for media extensions in words ("at most one") instead of sums of engines.

use nvml_sim::judge::{Touch, judge};
use proptest::prelude::*;

use crate::client::{Client, Gpu, GpuInstance, Rig, rig};
use crate::sharing::{replay, standing};

mod model;

use model::{BOARDS, COMPUTE, Compute, Instance, Kind, Model, compute_starts};

struct Play<'rig> {
    client: &'rig Client,
    rig: &'rig Rig,
    gpu: Gpu,
    model: Model,
}

/// What to do, and two numbers that choose with what.
type Op = (u8, u8, u8);

impl Play<'_> {
    fn step(&mut self, (what, a, b): Op) {
        let (a, b) = (usize::from(a), usize::from(b));
        match what {
            0..=2 => self.create_at(a, b),
            3..=4 => self.create(a),
            5..=7 => self.create_compute(a, b),
            8..=9 => self.destroy(a),
            10..=11 => self.destroy_compute(a, b),
            12 => self.start_or_stop(a),
            13 => self.use_dead_handles(a),
            _ => self.change_mode(),
        }
        self.compare();
    }

    fn kind(&self, a: usize) -> Kind {
        self.model.kinds[a % self.model.kinds.len()]
    }

    fn created(&mut self, kind: Kind, handle: GpuInstance) {
        let (gi, start, size) = self.client.info(handle).unwrap();
        assert_eq!(size, kind.size);
        assert!(
            kind.starts.contains(&start) && self.model.is_free(kind, start),
            "{kind:?} at {start}"
        );
        let instance = Instance {
            handle,
            gi,
            kind,
            start,
            computes: Vec::new(),
        };
        self.model.instances.push(instance);
    }

    fn create_at(&mut self, a: usize, b: usize) {
        let kind = self.kind(a);
        let start = u32::try_from(b).unwrap() % self.model.slots;
        let want = if !kind.starts.contains(&start) {
            Err(2)
        } else if self.model.is_free(kind, start) && self.model.allowed(kind) > 0 {
            Ok(())
        } else {
            Err(23)
        };
        let answer = self.client.create_at(self.gpu, kind.id, start, kind.size);
        assert_eq!(answer.map(|_| ()), want, "{kind:?} at {start}");
        if let Ok(handle) = answer {
            self.created(kind, handle);
            assert_eq!(self.model.instances.last().unwrap().start, start);
        }
    }

    fn create(&mut self, a: usize) {
        let kind = self.kind(a);
        let want = if self.model.remaining(kind) > 0 {
            Ok(())
        } else {
            Err(23)
        };
        let answer = self.client.create(self.gpu, kind.id);
        assert_eq!(answer.map(|_| ()), want, "{kind:?}");
        if let Ok(handle) = answer {
            self.created(kind, handle);
        }
    }

    fn create_compute(&mut self, a: usize, b: usize) {
        let count = self.model.instances.len();
        let Some(instance) = self.model.instances.get_mut(a % count.max(1)) else {
            return;
        };
        let (id, slices) = COMPUTE[b % COMPUTE.len()];
        let starts = compute_starts(instance.kind.slices, slices);
        let free = |start: &u32| {
            let apart =
                |one: &Compute| one.start + one.slices <= *start || start + slices <= one.start;
            instance.computes.iter().all(apart)
        };
        let place = starts.iter().copied().find(free);
        let answer = self.client.create_compute(instance.handle, id);
        match (starts, place) {
            ([], _) => assert_eq!(answer, Err(3)),
            (_, None) => assert_eq!(answer, Err(23)),
            (_, Some(start)) => {
                let handle = answer.unwrap();
                let info = self.client.compute_info(handle).unwrap();
                assert_eq!((info.placement.start, info.placement.size), (start, slices));
                instance.computes.push(Compute {
                    handle,
                    start,
                    slices,
                    process: None,
                });
            }
        }
    }

    fn destroy(&mut self, a: usize) {
        let count = self.model.instances.len();
        let Some(instance) = self.model.instances.get(a % count.max(1)) else {
            return;
        };
        let answer = self.client.destroy(instance.handle);
        if instance.computes.is_empty() {
            assert_eq!(answer, Ok(()));
            let gone = self.model.instances.remove(a % count);
            self.model.dead.push(gone.handle);
        } else {
            let busy = instance.computes.iter().filter(|one| one.process.is_some());
            self.model.tried += busy.count();
            assert_eq!(answer, Err(19));
        }
    }

    fn destroy_compute(&mut self, a: usize, b: usize) {
        let count = self.model.instances.len();
        let Some(instance) = self.model.instances.get_mut(a % count.max(1)) else {
            return;
        };
        let count = instance.computes.len();
        let Some(compute) = instance.computes.get(b % count.max(1)) else {
            return;
        };
        let answer = self.client.destroy_compute(compute.handle);
        if compute.process.is_some() {
            self.model.tried += 1;
            assert_eq!(answer, Err(19));
        } else {
            assert_eq!(answer, Ok(()));
            let gone = instance.computes.remove(b % count);
            self.model.dead_computes.push(gone.handle);
        }
    }

    /// A process starts on the compute instance with the lowest id.
    fn start_or_stop(&mut self, a: usize) {
        let count = self.model.instances.len();
        let Some(instance) = self.model.instances.get_mut(a % count.max(1)) else {
            return;
        };
        let ci = |compute: &Compute| self.client.compute_info(compute.handle).unwrap().id;
        let first = instance
            .computes
            .iter_mut()
            .min_by_key(|compute| ci(compute));
        match first {
            None => assert!(self.rig.node.start_process(0, instance.gi, 1, 0).is_err()),
            Some(Compute {
                process: process @ None,
                ..
            }) => {
                self.model.last_pid += 1;
                self.rig
                    .node
                    .start_process(0, instance.gi, self.model.last_pid, 0)
                    .unwrap();
                *process = Some(self.model.last_pid);
            }
            Some(Compute { process, .. }) => {
                let pid = process.take().unwrap();
                self.rig.node.stop_process(pid).unwrap();
            }
        }
    }

    fn use_dead_handles(&mut self, a: usize) {
        let pick = |count: usize| a % count.max(1);
        if let Some(&dead) = self.model.dead.get(pick(self.model.dead.len())) {
            assert_eq!(self.client.info(dead), Err(2));
            assert_eq!(self.client.destroy(dead), Err(2));
            assert_eq!(self.client.create_compute(dead, 0), Err(2));
        }
        if let Some(&dead) = self
            .model
            .dead_computes
            .get(pick(self.model.dead_computes.len()))
        {
            assert_eq!(self.client.destroy_compute(dead), Err(2));
        }
    }

    /// Off and on again, when nobody is there.
    fn change_mode(&mut self) {
        let mut computes = self.model.instances.iter().flat_map(|one| &one.computes);
        if computes.any(|compute| compute.process.is_some()) {
            return;
        }
        for mode in [0, 1] {
            assert_eq!(self.client.set_mig_mode(self.gpu, mode), Ok(0));
        }
        for instance in self.model.instances.drain(..) {
            self.model.dead.push(instance.handle);
            self.model
                .dead_computes
                .extend(instance.computes.iter().map(|one| one.handle));
        }
    }

    /// Everything that a client can read is as the model has it.
    fn compare(&self) {
        for &kind in self.model.kinds {
            let room = self.client.remaining(self.gpu, kind.id).unwrap();
            assert_eq!(
                usize::try_from(room).unwrap(),
                self.model.remaining(kind),
                "room for {kind:?}"
            );
            let of_kind = self
                .model
                .instances
                .iter()
                .filter(|one| one.kind.id == kind.id);
            let mut want: Vec<_> = of_kind.map(|one| one.gi).collect();
            want.sort_unstable();
            let handles = self.client.instances(self.gpu, kind.id).unwrap();
            let seen: Vec<_> = handles
                .iter()
                .map(|&one| self.client.info(one).unwrap().0)
                .collect();
            assert_eq!(seen, want, "instances of {kind:?}");
        }
        let computes = self.model.instances.iter().map(|one| one.computes.len());
        let migs = (0..7).filter(|&index| self.client.mig(self.gpu, index).is_ok());
        assert_eq!(migs.count(), computes.sum::<usize>(), "MIG devices");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn the_driver_does_what_an_independent_model_says(
        board in 0..BOARDS.len(),
        ops in prop::collection::vec((0..15_u8, 0..=255_u8, 0..=255_u8), 1..80),
    ) {
        let (board, slots, kinds) = BOARDS[board];
        let rig = rig(&[board]);
        let model = Model {
            slots,
            kinds,
            instances: Vec::new(),
            dead: Vec::new(),
            dead_computes: Vec::new(),
            last_pid: 0,
            tried: 0,
        };
        let gpu = rig.client.gpu(0).unwrap();
        let mut play = Play { client: &rig.client, rig: &rig, gpu, model };
        for op in ops {
            play.step(op);
        }
        let log = rig.node.log().unwrap();
        let touched = judge(&log).touched;
        prop_assert!(touched.iter().all(|one| one.touch == Some(Touch::TriedWithoutLooking)));
        prop_assert_eq!(touched.len(), play.model.tried);
        prop_assert_eq!(replay(&log), standing(&rig.node.gpus()[0]));
    }
}
