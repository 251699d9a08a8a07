//! How a command fails: which exit code, and how the chain of causes is printed.
//!
//! There is one place that prints errors, so that every command answers alike: one line that says what went wrong and what to do,
//! then one indented line per cause. Exit codes are part of the machine contract: 1 when the work failed, 2 when what was asked
//! for makes no sense (usage, configuration or input data), 0 otherwise. A reader that closes its end of our output early
//! (`foreshadow forecast .. | head`) is not a failure.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

/// Why a command ended early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// What was asked for cannot be done as it stands: usage, configuration or input. Exit code 2.
    Usage(anyhow::Error),
    /// It was a sensible thing to ask, and it failed. Exit code 1.
    Failed(anyhow::Error),
    /// A command that was run for somebody else ended with this code. Nothing printed.
    Ended(u8),
    /// The reader of our output went away. Exit code 0, nothing printed.
    OutputClosed,
}

impl Failure {
    /// A usage error from a sentence.
    pub(crate) fn usage(message: impl Display) -> Failure {
        Failure::Usage(anyhow::anyhow!("{message}"))
    }

    /// A failure of the work from a sentence.
    pub(crate) fn failed(message: impl Display) -> Failure {
        Failure::Failed(anyhow::anyhow!("{message}"))
    }

    /// Prints the chain on stderr and returns the exit code.
    pub(crate) fn report(self) -> ExitCode {
        let (error, code) = match self {
            Failure::Usage(error) => (error, 2),
            Failure::Failed(error) => (error, 1),
            Failure::Ended(code) => return ExitCode::from(code),
            Failure::OutputClosed => return ExitCode::SUCCESS,
        };
        let mut text = format!("error: {error}\n");
        let mut last = error.to_string();
        for cause in error.chain().skip(1) {
            let line = cause.to_string();
            if line != last {
                text.push_str(&format!("  because: {}\n", line.replace('\n', "\n           ")));
                last = line;
            }
        }
        // When stderr itself is closed there is nobody left to tell.
        let _ = io::stderr().write_all(text.as_bytes());
        ExitCode::from(code)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Failure {
        match error.downcast_ref::<io::Error>() {
            Some(cause) if cause.kind() == io::ErrorKind::BrokenPipe => Failure::OutputClosed,
            Some(_) | None => Failure::Failed(error),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::from(anyhow::Error::new(error))
    }
}

/// Turns any error into a [`Failure`] of the wanted kind, with a sentence of context.
pub(crate) trait OrFail<T> {
    /// The input or the configuration is at fault: exit code 2.
    fn or_usage(self, context: impl Display) -> Result<T, Failure>;
    /// The work failed: exit code 1.
    fn or_failed(self, context: impl Display) -> Result<T, Failure>;
}

impl<T, E: Into<anyhow::Error>> OrFail<T> for Result<T, E> {
    fn or_usage(self, context: impl Display) -> Result<T, Failure> {
        self.map_err(|error| Failure::Usage(error.into().context(context.to_string())))
    }

    fn or_failed(self, context: impl Display) -> Result<T, Failure> {
        self.map_err(|error| Failure::Failed(error.into().context(context.to_string())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_output_is_not_a_failure() {
        let failure = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert!(matches!(failure, Failure::OutputClosed));
    }

    #[test]
    fn other_io_errors_are_failures_of_the_work() {
        let failure = Failure::from(io::Error::from(io::ErrorKind::PermissionDenied));
        assert!(matches!(failure, Failure::Failed(_)));
    }
}
