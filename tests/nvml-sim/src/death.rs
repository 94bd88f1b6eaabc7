//! The sudden death of the process that loaded the library.
#![expect(
    unsafe_code,
    reason = "a process that kills itself calls into C to do so"
)]

/// Kills the calling process as `kill -9` does; it does not outlive the call.
pub(crate) fn kill_this_process() {
    // SAFETY: `getpid` has no precondition.
    let pid = unsafe { libc::getpid() };
    // SAFETY: `kill` with our own process id.
    unsafe { libc::kill(pid, libc::SIGKILL) };
}
