//! A running `gopeer`: its lines, its address, its end. Not here: building it.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    Error,
    toolchain::{cannot, gopeer},
};

/// How long a server may take until it listens. Building is not part of it.
const START_WITHIN: Duration = Duration::from_secs(30);

/// Runs a subcommand that ends by itself, such as a client's scenario, and answers the lines it printed.
///
/// # Errors
///
/// [`Error::Failed`] with the failed checks if any failed, [`Error::Late`] if it did not end within that time.
pub fn run(args: &[&str], within: Duration) -> Result<Vec<Value>, Error> {
    Peer::start(args)?.finish(within)
}

/// A subcommand of `gopeer` that runs. It is killed when this is dropped.
#[derive(Debug)]
pub struct Peer {
    command: String,
    child: Child,
    /// Held open: a server ends when its standard input does.
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    /// Reads standard error to its end; taken when somebody wants to know.
    stderr: Option<JoinHandle<String>>,
    first: Value,
}

impl Peer {
    /// Starts a server and waits until it listens.
    ///
    /// # Errors
    ///
    /// [`Error::Ended`] with what it wrote if it could not listen, and those of [`gopeer`].
    pub fn serve(args: &[&str]) -> Result<Peer, Error> {
        let mut peer = Peer::start(args)?;
        peer.first = peer.next_line(START_WITHIN)?;
        if peer.first["listening"].is_string() {
            Ok(peer)
        } else {
            Err(Error::Unexpected {
                line: peer.first.to_string(),
                command: peer.command.clone(),
            })
        }
    }

    /// Starts a subcommand and waits for nothing.
    ///
    /// # Errors
    ///
    /// Those of [`gopeer`], and [`Error::Io`] if the system starts no process.
    pub fn start(args: &[&str]) -> Result<Peer, Error> {
        let command = format!("gopeer {}", args.join(" "));
        let mut child = Command::new(gopeer()?)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(cannot(&format!("start {command}")))?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().expect("stdout is piped");
        let mut stderr = child.stderr.take().expect("stderr is piped");

        // Both pipes are always read, so that the program never waits for a slow test.
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let stderr = thread::spawn(move || {
            let mut said = Vec::new();
            // Of a pipe that breaks, what came before is still worth showing.
            let _ = stderr.read_to_end(&mut said);
            String::from_utf8_lossy(&said).into_owned()
        });
        Ok(Peer {
            command,
            child,
            stdin,
            lines,
            stderr: Some(stderr),
            first: Value::Null,
        })
    }

    /// Where the server listens: `host:port`, or a socket's path.
    ///
    /// # Panics
    ///
    /// If this was not started by [`Peer::serve`].
    pub fn address(&self) -> &str {
        self.first["listening"]
            .as_str()
            .expect("only a server has an address")
    }

    /// The first line of a server: its address, and whatever else it tells, such as a registry's `url`.
    pub fn first_line(&self) -> &Value {
        &self.first
    }

    /// The next line it prints.
    ///
    /// # Errors
    ///
    /// [`Error::Late`], [`Error::Ended`], or [`Error::Unexpected`] if the line is not JSON.
    pub fn next_line(&mut self, within: Duration) -> Result<Value, Error> {
        match self.line_or_end(within)? {
            Some(line) => Ok(line),
            None => Err(Error::Ended {
                command: self.command.clone(),
                stderr: self.end(),
            }),
        }
    }

    /// Waits for its end, and answers the lines it printed since.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`] if it did not end well, [`Error::Late`] if it did not end in time.
    pub fn finish(mut self, within: Duration) -> Result<Vec<Value>, Error> {
        let end = Instant::now() + within;
        let mut lines = Vec::new();
        loop {
            match self.line_or_end(end.saturating_duration_since(Instant::now())) {
                Ok(Some(line)) => lines.push(line),
                Ok(None) => break,
                Err(Error::Late {
                    command, stderr, ..
                }) => {
                    return Err(Error::Late {
                        command,
                        within,
                        stderr,
                    });
                }
                Err(other) => return Err(other),
            }
        }
        // It closes its standard output by ending, so this takes no time.
        let status = self
            .child
            .wait()
            .map_err(cannot(&format!("wait for {}", self.command)))?;
        if status.success() {
            return Ok(lines);
        }
        let checks = lines
            .iter()
            .filter(|line| line["ok"] == Value::Bool(false))
            .map(Value::to_string)
            .collect();
        Err(Error::Failed {
            command: self.command.clone(),
            status,
            checks,
            stderr: self.end(),
        })
    }

    /// Asks a server to end, waits until it has, and answers the lines it printed since.
    ///
    /// # Errors
    ///
    /// Those of [`Peer::finish`].
    pub fn stop(mut self, within: Duration) -> Result<Vec<Value>, Error> {
        self.stdin = None;
        self.finish(within)
    }

    /// The next line, or `None` after the last.
    fn line_or_end(&mut self, within: Duration) -> Result<Option<Value>, Error> {
        match self.lines.recv_timeout(within) {
            Ok(line) => match serde_json::from_str(&line) {
                Ok(value) => Ok(Some(value)),
                Err(_) => Err(Error::Unexpected {
                    command: self.command.clone(),
                    line,
                }),
            },
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => Err(Error::Late {
                command: self.command.clone(),
                within,
                stderr: self.end(),
            }),
        }
    }

    /// Ends the process, if it has not ended yet, and answers what it wrote to its standard error.
    fn end(&mut self) -> String {
        // Neither can fail but for a process that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.stderr
            .take()
            .and_then(|reader| reader.join().ok())
            .unwrap_or_default()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.end();
    }
}
