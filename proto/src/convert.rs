//! Wire messages into the vocabulary of [`mica_model`], and back.
//!
//! Reading checks: whatever a peer sends, it becomes a value that makes sense or an [`Invalid`] that names the field.

mod board;
mod gpu;
mod holder;
mod report;
mod usage;

/// A message that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct Invalid {
    /// Path of the field, e.g. `gpus.placement`.
    pub field: &'static str,
    /// What is wrong with its value.
    pub problem: String,
}

fn invalid(field: &'static str, problem: impl Into<String>) -> Invalid {
    Invalid {
        field,
        problem: problem.into(),
    }
}

/// Converts a list, and stops at the first that makes no sense.
fn each<Wire, T: TryFrom<Wire, Error = Invalid>>(wire: Vec<Wire>) -> Result<Vec<T>, Invalid> {
    wire.into_iter().map(T::try_from).collect()
}

fn wire_of<T: Clone + Into<Wire>, Wire>(list: &[T]) -> Vec<Wire> {
    list.iter().cloned().map(Into::into).collect()
}

/// A text of the wire that may be missing, which it says by being empty.
fn given(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests;
