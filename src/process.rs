//! Child processes that never outlive this one, however it ends.
//!
//! Each child leads a process group, so that what it starts is ended with it. A signal can be
//! handled, but `kill -9` cannot: therefore a watchdog, this same binary as `serin watchdog`, holds
//! the other end of a pipe. It is told of each group, and when the pipe closes because this process
//! is gone, it kills the groups that are left. Between a child's start and its being told of, a kill
//! would leave it behind; a child that is serin itself can wait for a word first ([`Groups::spawn_serin`]).

use std::collections::BTreeSet;
use std::io::{self, BufRead, Read, Write};
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};

/// Set for a child that waits for a word on its standard input before it does anything.
const WAITS: &str = "SERIN_WAITS";

/// Starts children in groups of their own and reports them to the watchdog.
#[derive(Clone)]
pub(crate) struct Groups(Arc<Mutex<std::process::ChildStdin>>);

impl Groups {
    /// Starts the watchdog; `serin` is this program's own file.
    ///
    /// # Errors
    /// When the watchdog cannot be started.
    pub(crate) fn new(serin: &Path) -> io::Result<Self> {
        let mut command = std::process::Command::new(serin);
        command.arg("watchdog").env_clear();
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        // A group of its own: a Ctrl-C at the terminal must not reach the watchdog.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut watchdog = command.spawn()?;
        let lifeline = watchdog
            .stdin
            .take()
            .ok_or_else(|| io::Error::other("the watchdog has no standard input"))?;
        Ok(Self(Arc::new(Mutex::new(lifeline))))
    }

    /// Starts a command as the leader of a new group.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub(crate) fn spawn(&self, command: &mut Command) -> io::Result<Group> {
        let child = command.process_group(0).spawn()?;
        let id = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw);
        let id = id.ok_or_else(|| io::Error::other("the process has no id"))?;
        let group = Group {
            child,
            id,
            groups: self.clone(),
        };
        self.tell('+', id)?;
        Ok(group)
    }

    /// The same for a command that is serin itself: it does nothing before the watchdog knows of it, so that
    /// not even a kill between its start and that leaves it behind. It sees one variable more than it was given.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub(crate) fn spawn_serin(&self, command: &mut Command) -> io::Result<Group> {
        let mut group = self.spawn(command.env(WAITS, "1").stdin(Stdio::piped()))?;
        if let Some(word) = group.child.stdin.take() {
            // A child that has ended meanwhile is waited for as any other.
            let _heard = std::fs::File::from(word.into_owned_fd()?).write_all(b"\n");
        }
        Ok(group)
    }

    fn tell(&self, sign: char, id: Pid) -> io::Result<()> {
        let mut lifeline = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lifeline.write_all(format!("{sign}{}\n", id.as_raw_nonzero()).as_bytes())
    }
}

/// A child and all that it started. Dropping it kills the group.
pub(crate) struct Group {
    child: Child,
    id: Pid,
    groups: Groups,
}

impl Group {
    pub(crate) fn stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    pub(crate) fn stderr(&mut self) -> Option<ChildStderr> {
        self.child.stderr.take()
    }

    /// Waits for the leader to end, then ends what it left behind, as a container's end does.
    ///
    /// # Errors
    /// When the operating system cannot tell.
    pub(crate) async fn wait(&mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait().await?;
        self.signal(Signal::KILL);
        Ok(status)
    }

    /// Asks the group to end (SIGTERM), and ends it (SIGKILL) after `grace`, in real time.
    ///
    /// # Errors
    /// When the operating system cannot tell.
    pub(crate) async fn stop(&mut self, grace: Duration) -> io::Result<ExitStatus> {
        self.signal(Signal::TERM);
        self.stop_after(grace).await
    }

    /// Waits for the leader to end, and ends the group (SIGKILL) after `patience`, in real time.
    ///
    /// # Errors
    /// When the operating system cannot tell.
    pub(crate) async fn stop_after(&mut self, patience: Duration) -> io::Result<ExitStatus> {
        if let Ok(status) = tokio::time::timeout(patience, self.wait()).await {
            return status;
        }
        self.signal(Signal::KILL);
        self.wait().await
    }

    /// Sends a signal to every process of the group; a group that has ended is no error.
    pub(crate) fn signal(&self, signal: Signal) {
        let _ended = kill_process_group(self.id, signal);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        // The watchdog may be gone only if somebody ended it; there is nobody left to tell.
        let _told = self.groups.tell('-', self.id);
    }
}

/// Waits until the parent has told the watchdog of this process, where the parent is a serin that does;
/// false where it is gone before, and this process has to end.
#[must_use]
pub(crate) fn wait_for_word() -> bool {
    let waits = std::env::var_os(WAITS).is_some();
    !waits || io::stdin().read_exact(&mut [0]).is_ok()
}

/// The watchdog's whole life: reads `+GROUP` and `-GROUP` lines, and when they end, kills what is left.
///
/// # Errors
/// When standard input cannot be read.
pub(crate) fn watchdog(input: impl BufRead) -> io::Result<()> {
    let mut groups = BTreeSet::new();
    for line in input.lines() {
        let Ok(line) = line else { break };
        let Some(id) = line
            .get(1..)
            .and_then(|id| id.parse().ok())
            .and_then(Pid::from_raw)
        else {
            continue;
        };
        match line.as_bytes().first() {
            Some(b'+') => groups.insert(id.as_raw_nonzero()),
            Some(b'-') => groups.remove(&id.as_raw_nonzero()),
            _ => false,
        };
    }
    for id in groups {
        if let Some(id) = Pid::from_raw(id.get()) {
            let _ended = kill_process_group(id, Signal::KILL);
        }
    }
    Ok(())
}
