//! What can happen.

use mica_model::{Board, Layout, Slice};
use nvml_sim::{Code, EVERY_CALL, Effect, Fault};

use crate::random::Random;

/// Every NVML call that the agent makes while it works on a GPU.
pub(crate) const CALLS: [&str; 24] = [
    "nvmlInit_v2",
    "nvmlSystemGetDriverVersion",
    "nvmlDeviceGetCount_v2",
    "nvmlDeviceGetHandleByIndex_v2",
    "nvmlDeviceGetHandleByUUID",
    "nvmlDeviceGetIndex",
    "nvmlDeviceGetUUID",
    "nvmlDeviceGetName",
    "nvmlDeviceGetMemoryInfo_v2",
    "nvmlDeviceGetMigMode",
    "nvmlDeviceSetMigMode",
    "nvmlDeviceGetGpuInstanceProfileInfoV",
    "nvmlDeviceGetGpuInstancePossiblePlacements_v2",
    "nvmlDeviceGetGpuInstances",
    "nvmlDeviceGetGpuInstanceById",
    "nvmlGpuInstanceGetInfo",
    "nvmlGpuInstanceGetComputeInstances",
    "nvmlComputeInstanceGetInfo_v2",
    "nvmlDeviceGetComputeRunningProcesses_v3",
    "nvmlDeviceCreateGpuInstanceWithPlacement",
    "nvmlGpuInstanceCreateComputeInstance",
    "nvmlComputeInstanceDestroy",
    "nvmlGpuInstanceDestroy",
    EVERY_CALL,
];

/// Every return code of the header.
const CODES: [u32; 31] = [
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26,
    27, 28, 29, 30, 999,
];

/// A layout that the coordinator asks for, and what comes between.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) layout: Layout,
    /// Its generation is one that the agent has seen.
    pub(crate) stale: bool,
    pub(crate) fault: Option<Fault>,
    /// Something comes between after this many steps.
    pub(crate) intruder: Option<(u32, Intruder)>,
    /// The agent dies right after this change of the driver's state.
    pub(crate) crash: Option<u32>,
    /// And the machine with it.
    pub(crate) reboot: bool,
}

/// What comes between the steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Intruder {
    /// A process starts.
    Process,
    /// A pod is given a slice.
    Pod,
    /// The coordinator keeps slices.
    Keep,
    /// The kubelet falls silent.
    Mute,
}

#[derive(Clone, Debug)]
pub(crate) enum Event {
    Layout(Asked),
    /// A process starts on some instance.
    Start,
    /// Some process ends.
    Stop,
    /// A pod is given some instance, or the whole GPU.
    Admit,
    /// All pods end.
    EndPods,
    /// The coordinator keeps other slices than before, and says so.
    Keep,
    /// The kubelet falls silent, or speaks again.
    Mute(bool),
    /// Another kubelet begins, which does not know its pods at once.
    Begin,
    /// The agent hears of the kubelet while it has nothing to do.
    Poll,
    /// The agent is stopped and started; a fault may strike while it recovers.
    Restart(Option<Fault>),
    /// The machine.
    Reboot,
    /// The driver is loaded anew, when nothing uses it.
    Reload,
    /// The GPU falls off the bus, a layout is asked for, and the GPU is reset.
    Lose(Layout),
}

/// An event; of pods only where there are any.
pub(crate) fn draw(random: &mut Random, board: &Board, pods: bool) -> Event {
    match random.below(if pods { 30 } else { 20 }) {
        20..23 => Event::Admit,
        23 => Event::EndPods,
        24 => Event::Keep,
        25 => Event::Mute(random.once_in(2)),
        26..28 => Event::Poll,
        28..30 => Event::Begin,
        0..10 => Event::Layout(asked(random, board, pods)),
        10..13 => Event::Start,
        13..15 => Event::Stop,
        15..17 => Event::Restart(random.once_in(2).then(|| fault(random))),
        17 => Event::Reboot,
        18 => Event::Reload,
        _ => Event::Lose(layout(random, board)),
    }
}

fn asked(random: &mut Random, board: &Board, pods: bool) -> Asked {
    let step = |random: &mut Random| u32::try_from(random.below(12)).unwrap();
    let mut asked = Asked {
        layout: layout(random, board),
        stale: random.once_in(16),
        fault: None,
        intruder: None,
        crash: None,
        reboot: false,
    };
    if !asked.stale {
        match random.below(6) {
            0 | 1 => asked.fault = Some(fault(random)),
            2 => asked.intruder = Some((step(random), intruder(random, pods))),
            3 | 4 => {
                asked.crash = Some(step(random) + 1);
                asked.reboot = random.once_in(5);
            }
            _ => {}
        }
    }
    asked
}

fn intruder(random: &mut Random, pods: bool) -> Intruder {
    let all = [
        Intruder::Process,
        Intruder::Pod,
        Intruder::Keep,
        Intruder::Mute,
    ];
    let among = if pods { &all[..] } else { &all[..1] };
    *random.pick(among).unwrap()
}

fn fault(random: &mut Random) -> Fault {
    let call = random.pick(&CALLS).copied().unwrap();
    let code = random.pick(&CODES).copied().unwrap();
    // Rare calls seldom come often.
    let most = if random.once_in(2) { 4 } else { 80 };
    Fault {
        call: call.to_owned(),
        effect: Effect::Return(Code(code)),
        after: u32::try_from(random.below(most)).unwrap(),
        times: Some(u32::try_from(1 + random.below(3)).unwrap()),
    }
}

/// A legal layout of the board: slices in random order, each if it still fits.
fn layout(random: &mut Random, board: &Board) -> Layout {
    let mut slices: Vec<Slice> = board.slices();
    let most = random.below(8);
    let mut layout = Layout::default();
    while layout.0.len() < most && !slices.is_empty() {
        let slice = slices.swap_remove(random.below(slices.len()));
        let mut more = layout.clone();
        more.0.insert(slice);
        if board.check(&more).is_ok() {
            layout = more;
        }
    }
    layout
}
