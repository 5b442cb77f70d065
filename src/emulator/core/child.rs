//! Short-lived child processes whose output is wanted.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

use super::Core;

/// More of each stream is not kept.
pub(in crate::emulator) const MOST: u64 = 8 << 20;

/// How a child ended.
pub(in crate::emulator) struct Ended {
    /// None after a signal.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Runs a command to its end, at most for `limit` of real time.
///
/// # Errors
/// In a sentence, when it cannot be started or takes longer.
pub(in crate::emulator) async fn output(
    core: &Core,
    command: &mut Command,
    limit: Duration,
) -> Result<Ended, String> {
    let program = command.as_std().get_program().to_owned();
    let program = program.to_string_lossy();
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut group = core
        .groups
        .spawn(command)
        .map_err(|e| format!("{program} cannot be started: {e}"))?;
    let (stdout, stderr) = (group.stdout(), group.stderr());
    let all = async {
        let (stdout, stderr) = tokio::join!(text(stdout), text(stderr));
        (group.wait().await, stdout, stderr)
    };
    match tokio::time::timeout(limit, all).await {
        Ok((Ok(status), stdout, stderr)) => Ok(Ended {
            code: status.code(),
            stdout,
            stderr,
        }),
        Ok((Err(e), ..)) => Err(format!("{program} cannot be waited for: {e}")),
        Err(_) => Err(format!(
            "{program} did not end within {} seconds",
            limit.as_secs()
        )),
    }
}

async fn text(stream: Option<impl AsyncRead + Unpin>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut stream) = stream {
        let _read = (&mut stream).take(MOST).read_to_end(&mut bytes).await;
        // The rest is let pass, so that the child does not wait for a reader.
        let _rest = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
