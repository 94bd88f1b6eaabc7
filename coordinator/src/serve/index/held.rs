/// Why the planner leaves a GPU alone for now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    /// What kind of reason it is.
    pub(crate) by: HeldBy,
    /// A sentence for people.
    pub(crate) reason: String,
}

/// Kinds of reasons to leave a GPU alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeldBy {
    /// The agent of its node is not connected.
    NodeLost,
    /// The agent of its node has connected and not reported yet.
    NodeStarting,
    /// The agent has not said in time how the last layout ended.
    Overdue,
    /// It cannot be read or used.
    Fault,
    /// MIG mode waits for a reset.
    ResetRequired,
    /// MIG mode is off and processes hold it.
    ModeHeld,
    /// What stands on it is not a layout of its board.
    IllegalLayout,
    /// The agent refused its last layout.
    Refused,
    /// Its last layout failed.
    Failed,
    /// The plan for it broke a rule.
    BrokenPlan,
}

impl HeldBy {
    /// All of them.
    pub(crate) const ALL: [Self; 10] = [
        Self::NodeLost,
        Self::NodeStarting,
        Self::Overdue,
        Self::Fault,
        Self::ResetRequired,
        Self::ModeHeld,
        Self::IllegalLayout,
        Self::Refused,
        Self::Failed,
        Self::BrokenPlan,
    ];

    /// The value of the metric label `reason`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::NodeLost => "node_lost",
            Self::NodeStarting => "node_starting",
            Self::Overdue => "overdue",
            Self::Fault => "fault",
            Self::ResetRequired => "reset_required",
            Self::ModeHeld => "mode_held",
            Self::IllegalLayout => "illegal_layout",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::BrokenPlan => "broken_plan",
        }
    }
}
