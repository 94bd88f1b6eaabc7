use std::collections::BTreeMap;

use mica_model::Generation;
use mica_proto::{
    convert::Invalid,
    v1::{self, RefusalReason},
};

use super::{Held, HeldBy};

/// How a published layout ended, on one GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The layout holds.
    Applied,
    /// Nothing was touched.
    Refused {
        /// Why.
        reason: RefusalReason,
        /// The agent's sentence.
        detail: String,
    },
    /// A step went wrong.
    Failed {
        /// Which one.
        step: v1::FailedStep,
        /// What NVML returned, when it was NVML that refused.
        code: Option<u32>,
        /// The agent's sentence.
        detail: String,
        /// Whether what was there before stands again.
        rolled_back: bool,
    },
    /// The outcome does not mention the GPU.
    Missing,
}

/// A checked [`v1::Outcome`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Of the layout that ended.
    pub(crate) generation: Generation,
    /// The verdict on GPUs that are not in `gpus`.
    pub(crate) others: Verdict,
    /// By UUID.
    pub(crate) gpus: BTreeMap<String, Verdict>,
}

impl Outcome {
    /// The verdict on one GPU.
    pub(crate) fn of(&self, uuid: &str) -> &Verdict {
        self.gpus.get(uuid).unwrap_or(&self.others)
    }
}

impl TryFrom<v1::Outcome> for Outcome {
    type Error = Invalid;

    fn try_from(wire: v1::Outcome) -> Result<Self, Invalid> {
        if wire.generation == 0 {
            return Err(Invalid {
                field: "outcome.generation",
                problem: "0 is the generation of no layout".to_owned(),
            });
        }
        if wire.gpus.iter().any(|gpu| gpu.uuid.is_empty()) {
            return Err(Invalid {
                field: "outcome.gpus.uuid",
                problem: "a GPU has none".to_owned(),
            });
        }
        Ok(Self {
            generation: Generation(wire.generation),
            others: wire.refusal.map_or(Verdict::Missing, Into::into),
            gpus: wire
                .gpus
                .into_iter()
                .map(|gpu| {
                    let verdict = match (gpu.refusal, gpu.failure) {
                        (_, Some(failure)) => failure.into(),
                        (Some(refusal), None) => refusal.into(),
                        (None, None) => Verdict::Applied,
                    };
                    (gpu.uuid, verdict)
                })
                .collect(),
        })
    }
}

impl From<v1::Refusal> for Verdict {
    fn from(refusal: v1::Refusal) -> Self {
        Self::Refused {
            reason: refusal.reason(),
            detail: refusal.detail,
        }
    }
}

impl From<v1::Failure> for Verdict {
    fn from(failure: v1::Failure) -> Self {
        Self::Failed {
            step: failure.step(),
            code: failure.nvml_code,
            rolled_back: failure.rolled_back,
            detail: failure.detail,
        }
    }
}

impl Verdict {
    /// What went wrong: a sentence for people.
    pub(crate) fn problem(&self) -> Option<String> {
        let (words, detail) = match self {
            Self::Applied => return None,
            Self::Missing => return Some("the agent did not say how its layout ended".to_owned()),
            Self::Refused { detail, .. } => ("the agent refused its layout".to_owned(), detail),
            Self::Failed {
                step,
                code: _,
                detail,
                rolled_back,
            } => {
                let stands = if *rolled_back {
                    ", the former layout stands"
                } else {
                    ""
                };
                let step = word(step.as_str_name(), "FAILED_STEP_").replace('_', " ");
                (
                    format!("its last layout failed (step: {step}){stands}"),
                    detail,
                )
            }
        };
        Some(if detail.is_empty() {
            words
        } else {
            format!("{words}: {detail}")
        })
    }

    /// Why the GPU is to be left alone for a while; `None` when all went well.
    pub(crate) fn held(&self) -> Option<Held> {
        let by = match self {
            Self::Applied => return None,
            Self::Refused { .. } => HeldBy::Refused,
            Self::Failed { .. } | Self::Missing => HeldBy::Failed,
        };
        let reason = self.problem()?;
        Some(Held { by, reason })
    }

    /// Whether the agent only knew better than we: nothing ails the GPU. An agent that stops before a destroy of its own accord,
    /// after it has done a part and undone it, has seen a process come; NVML was not asked.
    pub(crate) fn is_misunderstanding(&self) -> bool {
        matches!(
            self,
            Self::Refused {
                reason: RefusalReason::InUse | RefusalReason::StaleGeneration,
                ..
            } | Self::Failed {
                step: v1::FailedStep::Destroy,
                code: None,
                rolled_back: true,
                ..
            }
        )
    }

    /// The metric labels `result` and `reason`.
    pub(crate) fn labels(&self) -> (&'static str, String) {
        match self {
            Self::Applied => ("applied", String::new()),
            Self::Missing => ("failed", "missing".to_owned()),
            Self::Refused { reason, .. } => {
                ("refused", word(reason.as_str_name(), "REFUSAL_REASON_"))
            }
            Self::Failed { step, .. } => ("failed", word(step.as_str_name(), "FAILED_STEP_")),
        }
    }
}

/// `IN_USE` of `REFUSAL_REASON_IN_USE`, in lower case.
fn word(name: &str, prefix: &str) -> String {
    name.trim_start_matches(prefix).to_lowercase()
}
