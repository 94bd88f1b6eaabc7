//! What can happen.

use proptest::prelude::*;

/// Numbers choose among what there is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    /// A gated pod comes, that asks for this.
    Create(usize),
    /// A pod is no more, for the API server.
    End(usize),
    /// The scheduler binds a pod if it can.
    Bind(usize),
    /// The kubelet gives a bound pod its devices: any.
    Admit(usize, usize),
    /// The containers of a pod end.
    Finish(usize),
    /// The kubelet takes the agent's list.
    Learn(usize),
    /// The kubelet writes the node's status.
    Tick(usize),
    /// The agent reports.
    Report(usize),
    /// The agent does what it was told.
    Execute(usize),
    /// The agent's stream ends.
    Leave(usize),
    /// It is opened again, to this coordinator if it lets agents in.
    Join(usize, usize),
    /// A coordinator hears of so many changes at the API server.
    Hear(usize, usize),
    /// It plans.
    Round(usize),
    /// It writes something; what becomes of that.
    Write(usize, usize, Fate),
    /// It is started anew.
    Restart(usize),
    /// It gets the lease.
    Lead(usize),
    /// It gets the lease, the agents follow it, and it plans and writes at once, whatever it has heard.
    TakeOver(usize),
    /// Seconds go by.
    Wait(u64),
}

/// What becomes of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is done, and answered.
    Answered,
    /// It is done, and the answer is lost.
    Lost,
    /// It is not done, which nobody says.
    Dropped,
}

pub(super) fn event() -> impl Strategy<Value = Event> {
    let node = || 0..2_usize;
    let coordinator = || 0..2_usize;
    let any = || 0..64_usize;
    let fate =
        prop_oneof![4 => Just(Fate::Answered), 1 => Just(Fate::Lost), 1 => Just(Fate::Dropped)];
    prop_oneof![
        6 => any().prop_map(Event::Create),
        3 => any().prop_map(Event::End),
        5 => any().prop_map(Event::Bind),
        5 => (any(), any()).prop_map(|(pod, device)| Event::Admit(pod, device)),
        3 => any().prop_map(Event::Finish),
        4 => node().prop_map(Event::Learn),
        2 => node().prop_map(Event::Tick),
        5 => node().prop_map(Event::Report),
        5 => node().prop_map(Event::Execute),
        1 => node().prop_map(Event::Leave),
        3 => (node(), coordinator()).prop_map(|(node, to)| Event::Join(node, to)),
        4 => (coordinator(), 1..6_usize).prop_map(|(who, count)| Event::Hear(who, count)),
        7 => coordinator().prop_map(Event::Round),
        9 => (coordinator(), any(), fate).prop_map(|(who, which, fate)| Event::Write(who, which, fate)),
        1 => coordinator().prop_map(Event::Restart),
        1 => coordinator().prop_map(Event::Lead),
        2 => coordinator().prop_map(Event::TakeOver),
        1 => (0..70_u64).prop_map(Event::Wait),
    ]
}
