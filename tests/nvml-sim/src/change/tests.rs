//! Random histories of one GPU.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Copy, Debug)]
enum Step {
    Create(usize),
    CreateAt(usize, usize),
    Destroy(u8),
    CreateCompute(u8, u32),
    DestroyCompute(u8, u8),
    Start(u8),
    Stop(u32),
    Mode(bool),
    Hold(u32),
    Release(u32),
    Reset,
    StartAnew(Start),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..11_usize).prop_map(Step::Create),
        4 => (0..11_usize, 0..7_usize).prop_map(|(profile, place)| Step::CreateAt(profile, place)),
        3 => (0..15_u8).prop_map(Step::Destroy),
        6 => (0..15_u8, 0..5_u32).prop_map(|(gi, profile)| Step::CreateCompute(gi, profile)),
        3 => (0..15_u8, 0..8_u8).prop_map(|(gi, ci)| Step::DestroyCompute(gi, ci)),
        3 => (0..15_u8).prop_map(Step::Start),
        2 => (0..60_u32).prop_map(Step::Stop),
        1 => any::<bool>().prop_map(Step::Mode),
        1 => (1..3_u32).prop_map(Step::Hold),
        1 => (1..3_u32).prop_map(Step::Release),
        1 => Just(Step::Reset),
        1 => prop_oneof![Just(Start::Reload), Just(Start::Boot)].prop_map(Step::StartAnew),
    ]
}

fn apply(gpu: &mut Gpu, board: &'static Board, pid: u32, step: Step) {
    let profile = |index: usize| &board.profiles[index % board.profiles.len()];
    let before = *gpu;
    let refused = match step {
        Step::Create(index) => gpu
            .create_gpu_instance(profile(index).id, None, Behaviour::Strict)
            .is_err(),
        Step::CreateAt(index, place) => {
            let places: Vec<_> = profile(index).placements().collect();
            gpu.create_gpu_instance(
                profile(index).id,
                Some(places[place % places.len()]),
                Behaviour::Strict,
            )
            .is_err()
        }
        Step::Destroy(gi) => gpu.destroy_gpu_instance(gi).is_err(),
        Step::CreateCompute(gi, id) => gpu
            .create_compute_instance(gi, id, None, Behaviour::Strict)
            .is_err(),
        Step::DestroyCompute(gi, ci) => gpu.destroy_compute_instance(gi, ci).is_err(),
        Step::Start(gi) => gpu.start_process(Some(gi), pid, 1 << 20).is_err(),
        Step::Stop(pid) => gpu.stop_process(pid, None).is_none(),
        Step::Mode(enable) => {
            gpu.set_mig_mode(enable, true);
            false
        }
        Step::Hold(pid) => gpu.hold(pid).is_err(),
        Step::Release(pid) => !gpu.release(pid),
        Step::Reset => gpu.reset(true).is_err(),
        Step::StartAnew(start) => {
            gpu.start_anew(start, pid);
            assert!(gpu.instances().next().is_none() && !gpu.is_held());
            assert_eq!(gpu.mig_current, gpu.mig_pending);
            false
        }
    };
    if refused {
        assert_eq!(*gpu, before, "{step:?} was refused and changed something");
    }
}

/// Slots, engines and compute slices are not taken twice, and ids name their spans.
fn check_resources(gpu: &Gpu, board: &'static Board) {
    let mut slots = 0;
    let mut engines = [0; 5];
    for (id, gi) in gpu.instances() {
        assert_eq!(slots & gi.span().mask(), 0, "slots taken twice");
        slots |= gi.span().mask();
        assert_eq!(rules::span_of(id, board.slots, false), Some(gi.span()));
        let profile = gpu.profile_of(gi).unwrap();
        for (sum, one) in engines.iter_mut().zip(profile.engines) {
            *sum += one;
        }
        let slices: u32 = gi
            .compute_instances()
            .map(|(_, ci)| u32::from(ci.size))
            .sum();
        assert!(
            slices <= profile.slices,
            "more compute slices than the GPU instance has"
        );
    }
    assert!(
        engines
            .iter()
            .zip(board.engines())
            .all(|(sum, all)| *sum <= all),
        "{engines:?}"
    );
}

/// MIG devices have indexes of their own, processes stand on what is there, and the capacity is what can be created.
fn check_users(gpu: &Gpu, board: &'static Board) {
    let compute = gpu.instances().flat_map(|(_, gi)| gi.compute_instances());
    let mut indexes: Vec<_> = compute.map(|(_, ci)| u32::from(ci.mig_index)).collect();
    let devices = indexes.len();
    indexes.sort_unstable();
    indexes.dedup();
    assert_eq!(indexes.len(), devices, "an index of two devices");
    assert!(
        indexes.iter().all(|&index| index < board.max_mig_devices),
        "{indexes:?}"
    );
    for process in gpu.processes() {
        let gi = gpu
            .instance(process.gi)
            .expect("the GPU instance of a process stands");
        assert!(
            gi.compute_instance(process.ci).is_some(),
            "so does its compute instance"
        );
    }
    for profile in board.profiles.iter().filter(|_| gpu.mig_enabled()) {
        let mut copy = *gpu;
        let can = copy
            .create_gpu_instance(profile.id, None, Behaviour::Strict)
            .is_ok();
        assert_eq!(
            can,
            rules::remaining_capacity(gpu, board, profile) > 0,
            "{}",
            profile.name
        );
    }
}

/// Indexes of the boards with MIG.
fn with_mig() -> Vec<usize> {
    let boards = boards::all().iter().enumerate();
    boards
        .filter(|(_, board)| board.has_mig())
        .map(|(index, _)| index)
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever is done: nothing overlaps, nothing is left without what it stands on, and what is refused changes nothing.
    #[test]
    fn the_state_stays_sound(board in prop::sample::select(with_mig()), steps in prop::collection::vec(step(), 1..60)) {
        let mut gpu: Gpu = bytemuck::Zeroable::zeroed();
        gpu.board = u32::try_from(board).unwrap();
        gpu.mig_current = 1;
        let board = gpu.board().unwrap();
        for (pid, step) in (0..).zip(steps) {
            apply(&mut gpu, board, pid, step);
            check_resources(&gpu, board);
            check_users(&gpu, board);
        }
    }
}

/// With more ended processes than there is room for, the one that would go first goes.
#[test]
fn ended_processes_linger_until_their_moment() {
    let mut gpu: Gpu = bytemuck::Zeroable::zeroed();
    for pid in 1..=9 {
        gpu.start_process(None, pid, 0).unwrap();
        gpu.stop_process(pid, Some(u64::from(pid) * 10)).unwrap();
    }
    let moments = |gpu: &Gpu| {
        let mut left: Vec<_> = gpu.lingering.iter().map(|slot| slot.until_ns).collect();
        left.sort_unstable();
        left
    };
    assert_eq!(moments(&gpu), [20, 30, 40, 50, 60, 70, 80, 90]);
    gpu.forget_ended(50);
    assert_eq!(moments(&gpu), [0, 0, 0, 0, 60, 70, 80, 90]);
    assert!(gpu.is_busy());
    gpu.forget_ended(90);
    assert!(!gpu.is_busy(), "over at the moment itself");
}
