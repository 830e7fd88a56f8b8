//! What the tests share: the built program, started, read and ended. No claim is proved here.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use serde_json::Value;

/// No step of a test takes longer, on a busy machine either.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The program, running. It does not outlive the test.
pub(crate) struct Farcall {
    child: Child,
    lines: Receiver<String>,
    stderr: Receiver<String>,
}

/// How it ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Farcall {
    pub(crate) fn start(args: &[&str]) -> Farcall {
        Farcall::start_with(args, Stdio::null())
    }

    /// Starts it with a standard input of the test's.
    pub(crate) fn start_with(args: &[&str], stdin: Stdio) -> Farcall {
        let mut child = Command::new(env!("CARGO_BIN_EXE_farcall"))
            .args(args)
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let (line, lines) = channel();
        std::thread::spawn(move || {
            for read in BufReader::new(stdout).lines() {
                // A test that ended reads no more.
                let _ = line.send(read.unwrap());
            }
        });
        let (all, stderr_read) = channel();
        std::thread::spawn(move || {
            let mut text = String::new();
            let _ = BufReader::new(stderr).read_to_string(&mut text);
            let _ = all.send(text);
        });
        Farcall {
            child,
            lines,
            stderr: stderr_read,
        }
    }

    /// Where to write what the program reads.
    pub(crate) fn stdin(&mut self) -> ChildStdin {
        self.child.stdin.take().expect("it was started with a pipe")
    }

    /// Starts a server, and gives what its first line says it listens on.
    pub(crate) fn serve(args: &[&str]) -> (Farcall, String) {
        let server = Farcall::start(args);
        let first = server.line();
        let at = first.strip_prefix("listening on ");
        let at = at.unwrap_or_else(|| panic!("the first line is {first:?}"));
        (server, at.to_owned())
    }

    pub(crate) fn line(&self) -> String {
        self.lines
            .recv_timeout(PATIENCE)
            .expect("a line of output in time")
    }

    #[cfg(unix)]
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args([name, &pid])
                .status()
                .unwrap()
                .success()
        );
    }

    /// Waits for the end. What was read by lines before is not in it.
    pub(crate) fn end(mut self) -> Ended {
        let mut stdout = String::new();
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => stdout.extend([&line, "\n"]),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("no end in time; so far {stdout:?}"),
            }
        }
        Ended {
            stderr: self.stderr.recv_timeout(PATIENCE).unwrap(),
            code: self.child.wait().unwrap().code(),
            stdout,
        }
    }
}

impl Drop for Farcall {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn farcall(args: &[&str]) -> Ended {
    Farcall::start(args).end()
}

pub(crate) fn demo_server() -> (Farcall, String) {
    Farcall::serve(&["demo-server", "--listen", "127.0.0.1:0"])
}

/// The one line of JSON that a command prints.
pub(crate) fn json_of(ended: &Ended) -> Value {
    assert_eq!(ended.stdout.lines().count(), 1, "{ended:?}");
    serde_json::from_str(&ended.stdout).unwrap()
}

/// An address where nobody listens.
pub(crate) fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

/// An etcd of one member with nothing in it, ended with its handle.
pub(crate) struct Etcd {
    process: Child,
    _data: tempfile::TempDir,
}

impl Etcd {
    /// Also gives its address, `127.0.0.1:PORT`. It may not answer yet.
    pub(crate) fn start() -> (Etcd, String) {
        let data = tempfile::tempdir().unwrap();
        let client = nobody();
        let peer = format!("http://{}", nobody());
        let url = format!("http://{client}");
        let process = Command::new("etcd")
            .arg("--data-dir")
            .arg(data.path())
            .args([
                "--listen-client-urls",
                &url,
                "--advertise-client-urls",
                &url,
            ])
            .args([
                "--listen-peer-urls",
                &peer,
                "--initial-advertise-peer-urls",
                &peer,
            ])
            .args(["--initial-cluster", &format!("default={peer}")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("etcd is installed: ./test does it, or apt-get install etcd-server");
        let etcd = Etcd {
            process,
            _data: data,
        };
        (etcd, client)
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
