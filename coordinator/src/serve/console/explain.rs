//! Why a queue waits, and what holds a GPU: sentences for people, most important first.

use jiff::SignedDuration;
use mica_model::{Board, Instance, Slice, WaitsFor};
use mica_planner::{Availability, GpuChange, GpuId};
use mica_proto::v1;

use super::{Now, withheld};
use crate::{
    names,
    serve::{
        index::{Index, Node, NodeGpu, Queue, QueueKey},
        round::{Round, round},
    },
};

/// How many idle slices are named one by one.
const NAMED_SLICES: usize = 4;

/// Nothing has this name.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotFound {
    /// And nothing has a name like it.
    #[error("no queue or GPU is called {0:?}; `mica get queues` and `mica get gpus` list them")]
    Nothing(String),
    /// But there are others.
    #[error("no queue or GPU is called {subject:?}; did you mean {}?", near.join(", "))]
    Near {
        /// What was asked for.
        subject: String,
        /// What it may have meant, nearest first.
        near: Vec<String>,
    },
}

/// Explains a queue (`QUEUE`, `TENANT/QUEUE`) or a GPU (its UUID, `NODE/INDEX`). A name of several queues explains each.
pub(super) fn explain(index: &Index, subject: &str, now: Now) -> Result<Vec<String>, NotFound> {
    let (round, withheld) = match round(index) {
        Ok(round) => (Some(round), None),
        Err(violations) => (None, Some(withheld(&violations))),
    };
    let queues = index
        .queues()
        .iter()
        .filter(|(key, _)| key.name == subject || key.to_string() == subject)
        .flat_map(|(key, queue)| explain_queue(index, key, queue, round.as_ref(), now));
    let gpus = index
        .gpus()
        .filter(|(id, _, gpu)| gpu.gpu.uuid == subject || id.to_string() == subject)
        .flat_map(|(id, node, gpu)| explain_gpu(index, &id, node, gpu, round.as_ref(), now));
    let lines: Vec<_> = queues.chain(gpus).collect();
    if lines.is_empty() {
        Err(not_found(index, subject))
    } else {
        Ok(lines.into_iter().chain(withheld).collect())
    }
}

fn explain_queue(
    index: &Index,
    key: &QueueKey,
    queue: &Queue,
    round: Option<&Round>,
    now: Now,
) -> Vec<String> {
    let mut lines = vec![waiting(key, queue, now)];
    if let Some(error) = queue.error() {
        lines.push(format!("the queue cannot be seen now: {error}"));
    } else if !queue.polled {
        lines.push("ClearML has not been asked yet".to_owned());
    }
    lines.push(format!(
        "each task needs one slice of {}",
        queue.config.profiles.join(" or ")
    ));
    lines.push(idle_slices(index, queue));
    if let Some(plan) = round.and_then(|round| round.queues.get(key)) {
        if plan.wanted > 0 {
            lines.push(format!(
                "the plan of this moment: {} wanted, {} served by slices that are there or under way, {} by new ones",
                plan.wanted, plan.served_idle, plan.served_new
            ));
        }
        lines.extend(plan.unmet.iter().map(unmet));
    }
    lines
}

fn waiting(key: &QueueKey, queue: &Queue, now: Now) -> String {
    let backlog = queue.backlog();
    let oldest = SignedDuration::from_secs(backlog.oldest_wait(now.wall).as_secs());
    let waiting = match backlog.waiting {
        0 => "no task waits".to_owned(),
        1 => format!("1 task waits, for {oldest:#}"),
        count => format!("{count} tasks wait, the oldest for {oldest:#}"),
    };
    let limit = match (backlog.running, queue.config.max_running) {
        (Some(running), Some(limit)) => format!("; {running} of at most {limit} run"),
        (None, Some(limit)) => format!("; at most {limit} may run, how many do is not known"),
        (_, None) => String::new(),
    };
    format!("queue {key}: {waiting}{limit}")
}

fn idle_slices(index: &Index, queue: &Queue) -> String {
    let mut idle = Vec::new();
    for (id, node, gpu) in index.gpus() {
        let (Some(board), true) = (&gpu.gpu.board, node.is_connected()) else {
            continue;
        };
        for slice in &gpu.view.idle.0 {
            let name = board.profile_name(slice.profile);
            if queue.config.profiles.contains(&name) {
                idle.push(format!("{name} at {} on {id}", slice.placement));
            }
        }
    }
    let more = idle.len().saturating_sub(NAMED_SLICES);
    idle.truncate(NAMED_SLICES);
    match (idle.join(", "), more) {
        (idle, _) if idle.is_empty() => "no idle slice fits".to_owned(),
        (idle, 0) => format!("idle slices that fit: {idle}"),
        (idle, more) => format!("idle slices that fit: {idle} and {more} more"),
    }
}

fn unmet(unmet: &v1::Unmet) -> String {
    let why = match unmet.reason() {
        v1::UnmetReason::NoRoom => "there is no room",
        v1::UnmetReason::Fragmented => "there is room, but not in one piece",
        v1::UnmetReason::NoSuchProfile => "no GPU offers such a profile",
        v1::UnmetReason::Limit => "the queue's limit is reached",
        v1::UnmetReason::GpuUnavailable => "the GPUs that could serve cannot be changed now",
        v1::UnmetReason::Unspecified => "the reason is not known",
    };
    format!(
        "{} not served, because: {why} ({})",
        unmet.count, unmet.detail
    )
}

fn explain_gpu(
    index: &Index,
    id: &GpuId,
    node: &Node,
    gpu: &NodeGpu,
    round: Option<&Round>,
    now: Now,
) -> Vec<String> {
    let seen = &gpu.gpu;
    let mut lines = vec![format!(
        "GPU {id} {} {}: MIG mode {}; {}",
        seen.uuid,
        seen.product,
        seen.mig_mode.as_str(),
        state(node)
    )];
    if let Some(waits_for) = seen.waits_for {
        lines.push(format!("it waits for {}", describe_wait(waits_for)));
    }
    lines.extend(
        seen.holders
            .iter()
            .map(|holder| format!("held by {holder}")),
    );
    let Some(board) = &seen.board else {
        lines.push("the GPU has no MIG".to_owned());
        return lines;
    };
    let left_out = round.and_then(|round| round.left_out.get(id));
    let held = index.held(id, node, gpu).map(|held| held.reason);
    if let Some(reason) = held.as_ref().or(left_out) {
        lines.push(format!("left alone for now: {reason}"));
    }
    if let Some(until) = gpu.held_until() {
        let wait = until.saturating_duration_since(now.clock).as_secs() + 1;
        lines.push(format!(
            "tried again within {wait} s, or as soon as something changes on it"
        ));
    }
    let availability = match node.standing(gpu).availability {
        Availability::Free if left_out.is_some() => "the planner does not count on it",
        Availability::Free => "the planner may change it",
        Availability::Settling => {
            "the planner counts on its idle slices, and does not change it now"
        }
        Availability::Unavailable => "the planner does not count on it",
    };
    lines.push(availability.to_owned());
    let slices = seen.instances.iter();
    lines.extend(slices.map(|instance| describe(board, instance)));
    if seen.fault.is_none() {
        let free = board.slots.saturating_sub(seen.layout().mask().count());
        lines.push(format!("{free} of {} slots are free", board.slots));
    }
    let change = round.and_then(|round| round.changes.iter().find(|change| change.gpu == *id));
    lines.extend(change.into_iter().flat_map(|change| planned(board, change)));
    lines
}

fn state(node: &Node) -> &'static str {
    match node.state() {
        v1::NodeState::Ready => "its agent is connected",
        v1::NodeState::Applying => "its agent applies a layout",
        v1::NodeState::Starting => "its agent has connected and not reported yet",
        v1::NodeState::Lost => "its agent is not connected; this is what it last reported",
        v1::NodeState::Unspecified => "the state of its agent is not known",
    }
}

fn planned(board: &Board, change: &GpuChange) -> impl Iterator<Item = String> {
    let line = |verb, slices: &[Slice]| {
        let names: Vec<_> = slices
            .iter()
            .map(|slice| {
                let name = board.profile_name(slice.profile);
                format!("{name} at {}", slice.placement)
            })
            .collect();
        let names = names.join(", ");
        (!names.is_empty()).then(|| format!("the plan of this moment {verb} {names}"))
    };
    let lines = [
        line("destroys", &change.destroy),
        line("creates", &change.create),
    ];
    lines.into_iter().flatten()
}

fn describe_wait(waits_for: WaitsFor) -> &'static str {
    match waits_for {
        WaitsFor::Agent => "its agent, which works on it",
        WaitsFor::Release => "its users to let go of it",
        WaitsFor::Reset => "a reset",
        WaitsFor::Reboot => "a reboot of its node",
    }
}

fn describe(board: &Board, instance: &Instance) -> String {
    let state = match &instance.compute {
        None if instance.in_use.is_idle() => "is half made: it has no compute instance".to_owned(),
        _ => instance.in_use.to_string(),
    };
    let state = match &instance.fault {
        Some(fault) => format!("is sick, and left alone: {fault}; it {state}"),
        None => state,
    };
    format!(
        "slice {} at {} (GPU instance {}) {state}",
        board.profile_name(instance.slice.profile),
        instance.slice.placement,
        instance.gi
    )
}

fn not_found(index: &Index, subject: &str) -> NotFound {
    let queues = index
        .queues()
        .keys()
        .flat_map(|key| [key.name.clone(), key.to_string()]);
    let gpus = index
        .gpus()
        .flat_map(|(id, _, gpu)| [id.to_string(), gpu.gpu.uuid.clone()]);
    let near = names::near(subject, queues.chain(gpus));
    let subject = subject.to_owned();
    if near.is_empty() {
        NotFound::Nothing(subject)
    } else {
        NotFound::Near { subject, near }
    }
}
