//! The last good list on disk, for clients that start while their registry is away. What a registry says is judged by
//! the publisher's rule as always, beginning with what the disk says.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until};

use super::record::Record;
use super::{Discover, Endpoint, Publisher, Snapshot};

const FILE_LEN_MAX: usize = 32 * 1024 * 1024;

/// Another back-end, with a file that keeps its last good list.
///
/// A client that starts while the back-end cannot be reached has that list, and is told that it is stale. The file
/// is replaced as a whole, is readable by its owner alone, and never keeps a call waiting; one that cannot be read or
/// written costs a line in the log.
///
/// ```
/// use farcall::discover::Remembered;
/// use farcall::registry::HttpRegistry;
/// let registry = HttpRegistry::new("http://127.0.0.1:9998/_tinyrpc_/registry")?;
/// let servers = Remembered::new(registry, "/var/lib/shop/servers.json");
/// # Ok::<(), farcall::AddressError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Remembered<D> {
    inner: D,
    path: PathBuf,
}

impl<D: Discover> Remembered<D> {
    /// What `inner` knows, kept in the file at this path.
    pub fn new(inner: D, path: impl Into<PathBuf>) -> Remembered<D> {
        Remembered {
            inner,
            path: path.into(),
        }
    }
}

impl<D: Discover> Discover for Remembered<D> {
    fn watch(&self) -> watch::Receiver<Arc<Snapshot>> {
        let (publisher, snapshots) = Publisher::new(self.path.display().to_string());
        tokio::spawn(follow(self.inner.watch(), self.path.clone(), publisher));
        snapshots
    }
}

async fn follow(mut told: watch::Receiver<Arc<Snapshot>>, path: PathBuf, mut publisher: Publisher) {
    let mut written = load(&path).await;
    if !written.is_empty() {
        publisher.update(written.iter().cloned());
        publisher.failed(format!(
            "the list is the one in {}; nobody confirmed it yet",
            path.display()
        ));
    }
    let mut before: Arc<Snapshot> = Arc::default();
    loop {
        let now = Arc::clone(&told.borrow_and_update());
        if now.known {
            // Whom the back-end let go before us, it had its reasons to: they are not weighed twice.
            let here: BTreeSet<String> = now
                .endpoints
                .iter()
                .map(|e| e.address.to_string())
                .collect();
            for endpoint in &before.endpoints {
                if !here.contains(&endpoint.address.to_string()) {
                    publisher.withdrawn(&endpoint.address);
                }
            }
            publisher.update(now.endpoints.iter().cloned());
        }
        match &now.stale {
            Some(stale) => publisher.failed(&stale.reason),
            None if now.known && !now.endpoints.is_empty() && now.endpoints != written => {
                written.clone_from(&now.endpoints);
                store(&path, &written).await;
            }
            None => {}
        }
        before = now;
        let confirm_at = publisher.confirm_in().map(|wait| Instant::now() + wait);
        tokio::select! {
            changed = told.changed() => if changed.is_err() {
                // The back-end is gone, and will say nothing any more.
                return publisher.closed().await;
            },
            () = sleep_until(confirm_at.unwrap_or_else(Instant::now)), if confirm_at.is_some() => {}
            () = publisher.closed() => return,
        }
    }
}

async fn load(path: &Path) -> Vec<Endpoint> {
    let place = path.to_owned();
    let read = spawn_blocking(move || read(&place)).await;
    let read = read.unwrap_or_else(|error| Err(error.to_string()));
    read.unwrap_or_else(|error| {
        tracing::warn!(path = %path.display(), error, "the remembered list cannot be read");
        Vec::new()
    })
}

fn read(path: &Path) -> Result<Vec<Endpoint>, String> {
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error.to_string()),
    };
    let mut bytes = Vec::new();
    let read = file.take(FILE_LEN_MAX as u64).read_to_end(&mut bytes);
    read.map_err(|error| error.to_string())?;
    let records: Vec<Record> = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    records.into_iter().map(Record::into_endpoint).collect()
}

async fn store(path: &Path, endpoints: &[Endpoint]) {
    let records: Vec<Record> = endpoints.iter().map(Record::from).collect();
    let place = path.to_owned();
    let written = spawn_blocking(move || write(&place, &records)).await;
    let error = match written {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error.to_string(),
        Err(error) => error.to_string(),
    };
    tracing::warn!(path = %path.display(), error, "the list cannot be remembered");
}

fn write(path: &Path, records: &[Record]) -> io::Result<()> {
    // Beside it, so that the rename stays within one file system; of this process, so that two do not meet.
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}-{:x}", std::process::id(), fastrand::u32(..)));
    let beside = PathBuf::from(beside);
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(&beside).and_then(|mut file| {
        let json = serde_json::to_vec(records)?;
        file.write_all(&json)?;
        file.sync_all()?;
        std::fs::rename(&beside, path)
    });
    if written.is_err() {
        // What is left of it is of no use; that it may stay is the smaller worry.
        let _ = std::fs::remove_file(&beside);
    }
    written
}
