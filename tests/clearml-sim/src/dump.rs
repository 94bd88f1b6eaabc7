//! Everything the server knows as one JSON value, and back.

use std::fmt;

use serde_json::Value;

use crate::{state::State, store::Store};

/// A value that is no dump of a [`State`]; says which field is wrong.
#[derive(Debug)]
pub struct NoDump(serde_json::Error);

impl fmt::Display for NoDump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a state of clearml-sim, as GET /_sim/state returns one")
    }
}

impl std::error::Error for NoDump {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

impl State {
    /// Everything the server knows, **secrets too**: they open nothing but a simulator.
    ///
    /// Not in it: faults that wait, the delay, and the log of requests. Two servers that load the same dump give the same answers to
    /// the same requests, down to the identifiers that they make up.
    #[must_use]
    pub fn dump(&self) -> Value {
        // A store holds nothing that JSON cannot: texts, numbers and maps with texts as keys.
        serde_json::to_value(&*self.store()).unwrap_or_default()
    }

    /// A new world from a dump.
    ///
    /// # Errors
    /// When the value is none.
    pub fn load(dump: &Value) -> Result<Self, NoDump> {
        let state = Self::new();
        state.restore(dump)?;
        Ok(state)
    }

    /// Replaces everything the server knows by what a dump says. The world stays as it is when the value is none.
    ///
    /// # Errors
    /// When the value is none.
    pub fn restore(&self, dump: &Value) -> Result<(), NoDump> {
        use serde::Deserialize as _;
        let store = Store::deserialize(dump).map_err(NoDump)?;
        *self.store() = store;
        Ok(())
    }
}
