//! What goes wrong on purpose, and the log of what was asked.

use std::{collections::VecDeque, time::Duration};

/// Lines of the log that are kept.
const LOG_LINES: usize = 10_000;

/// What happens to a request instead of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// An error page, as a proxy before the server sends it.
    Status {
        /// HTTP status.
        code: u16,
        /// Header `Retry-After`, in seconds.
        retry_after: Option<u32>,
    },
    /// A web page with status 200, as when the address is that of the web server.
    WebPage,
    /// The connection ends without an answer; nothing was done.
    Drop,
    /// What was asked for is done, and the connection ends without an answer.
    DropAfterwards,
}

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Request {
    /// What was asked, e.g. `queues.get_all`; the path when it names no endpoint.
    pub endpoint: String,
    /// HTTP status of the answer; 0 when the connection was cut.
    pub status: u16,
}

#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// Next one first, each with how often it still happens.
    pub(crate) next: VecDeque<(u32, Fault)>,
    /// Before each answer.
    pub(crate) delay: Duration,
    pub(crate) log: VecDeque<Request>,
}

impl Faults {
    /// What happens to the next request.
    pub(crate) fn take(&mut self) -> Option<Fault> {
        while let Some((times, fault)) = self.next.front_mut() {
            let fault = *fault;
            match times.checked_sub(1) {
                Some(left) => {
                    *times = left;
                    return Some(fault);
                }
                None => drop(self.next.pop_front()),
            }
        }
        None
    }

    pub(crate) fn log(&mut self, request: Request) {
        if self.log.len() >= LOG_LINES {
            self.log.pop_front();
        }
        self.log.push_back(request);
    }
}
