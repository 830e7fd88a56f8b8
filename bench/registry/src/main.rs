//! How far one registry goes: 10,000 servers, 10,000 clients that watch, one change to all of them, 1,000 heartbeats
//! a second. Prints what it measured. It ends with an error only when a client was told what is not so.
//!
//! registry-scale                measures a registry that it starts in a process of its own
//! registry-scale return         how evenly 10,000 clients come back to one that was killed
//! registry-scale serve [PORT]   is that process
//!
//! All need 11,000 file descriptors: `ulimit -n 20000`.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use farcall::Registry;
use farcall::discover::Discover;
use farcall::registry::HttpRegistry;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::sync::watch;

const SERVERS: usize = 10_000;
const WATCHERS: usize = 10_000;
const CHANGES: usize = 20;
const BEATS_PER_S: u64 = 1_000;
const BEATS_FOR: Duration = Duration::from_secs(10);

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[tokio::main(worker_threads = 2)]
async fn main() -> Outcome<()> {
    match std::env::args().nth(1).as_deref() {
        Some("serve") => serve(std::env::args().nth(2).as_deref().unwrap_or("0")).await,
        Some("return") => come_back().await,
        _ => {
            measure().await?;
            all_changes_in_order().await
        }
    }
}

async fn serve(port: &str) -> Outcome<()> {
    let registry = Registry::builder().ttl(Duration::from_secs(300)).entries_max(2 * SERVERS).build();
    let server = registry.serve(format!("127.0.0.1:{port}")).await?;
    println!("{}", server.local_addr());
    // Ends with whoever started it.
    let _ = tokio::io::stdin().read_to_end(&mut Vec::new()).await;
    Ok(())
}

/// A registry in a process of its own, at this port, and where it listens.
async fn start(port: &str) -> Outcome<(Child, Arc<str>)> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["serve", port]).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn()?;
    let mut place = String::new();
    BufReader::new(child.stdout.take().ok_or("no output")?).read_line(&mut place).await?;
    Ok((child, place.trim().into()))
}

/// 10^5 changes, as fast as the registry takes them, to clients that look whether anything is lost or out of order.
async fn all_changes_in_order() -> Outcome<()> {
    const CHANGES: u64 = 100_000;
    const ADDRESSES: u64 = 1_000;
    const LOOKING: usize = 100;
    let (mut child, place) = start("0").await?;
    let mut looking = Vec::new();
    for _ in 0..LOOKING {
        let stream = watcher(&place, "").await?;
        looking.push(tokio::spawn(look(stream, CHANGES)));
    }
    let began = Instant::now();
    let mut changing = Vec::new();
    // One connection for an address: its changes are in order.
    for connection in 0..50 {
        let place = Arc::clone(&place);
        changing.push(tokio::spawn(async move {
            let mut stream = TcpStream::connect(&*place).await?;
            for weight in 1..=CHANGES / ADDRESSES {
                for number in (connection..ADDRESSES).step_by(50) {
                    post_weight(&mut stream, &place, &address(number as usize), weight).await?;
                }
            }
            Outcome::Ok(())
        }));
    }
    for task in changing {
        task.await??;
    }
    let changed = began.elapsed();
    let (mut lines, mut lists) = (0, 0);
    let expected: BTreeMap<String, u64> =
        (0..ADDRESSES).map(|number| (address(number as usize), CHANGES / ADDRESSES)).collect();
    for task in looking {
        let (known, told, whole) = tokio::time::timeout(Duration::from_secs(30), task).await???;
        if known != expected {
            return Err("a client knows another list than the registry".into());
        }
        (lines, lists) = (lines + told, lists + whole);
    }
    println!(
        "{CHANGES} changes in {changed:?} to {LOOKING} watchers: none lost, none out of order, in {lines} lines, {lists} of \
         them whole lists; all knew after {:?}",
        began.elapsed()
    );
    child.kill().await?;
    Ok(())
}

/// Follows a watch to this revision; gives the weights that it knows then, and how many lines and whole lists it took.
async fn look(mut stream: Watching, until: u64) -> Outcome<(BTreeMap<String, u64>, u64, u64)> {
    let mut known: BTreeMap<String, u64> = BTreeMap::new();
    let (mut at, mut lines, mut lists) = (0, 0, 0);
    while at < until {
        let line: serde_json::Value = serde_json::from_str(&line(&mut stream).await?)?;
        let revision = line["revision"].as_u64().ok_or("no revision")?;
        lines += 1;
        let puts: Vec<&serde_json::Value> = match line["servers"].as_array() {
            Some(servers) => {
                lists += 1;
                servers.iter().collect()
            }
            None => {
                if line["after"].as_u64().unwrap_or(revision) != at {
                    return Err(format!("after {at} came {line}").into());
                }
                let changes = line["changes"].as_array().map(Vec::as_slice).unwrap_or_default();
                if changes.len() as u64 != revision - at {
                    return Err(format!("from {at} to {revision} there are {} changes", changes.len()).into());
                }
                changes.iter().map(|change| &change["put"]).collect()
            }
        };
        for put in puts {
            let address = put["address"].as_str().ok_or("no address")?;
            let weight = put["weight"].as_u64().ok_or("no weight")?;
            let before = known.insert(address.to_owned(), weight).unwrap_or(0);
            if weight < before {
                return Err(format!("{address} went from {before} back to {weight}").into());
            }
        }
        at = revision;
    }
    Ok((known, lines, lists))
}

/// Kills a registry that 10,000 clients watch, starts it again, and looks how fast they come back.
async fn come_back() -> Outcome<()> {
    const STEP: Duration = Duration::from_millis(500);
    for away in [0, 2, 10, 60] {
        let (mut child, place) = start("0").await?;
        let port = place.rsplit(':').next().unwrap_or_default().to_owned();
        for number in 0..100 {
            post(&mut TcpStream::connect(&*place).await?, &place, &address(number)).await?;
        }
        let clients = HttpRegistry::new(&format!("http://{place}/_tinyrpc_/registry"))?;
        let mut watching: Vec<watch::Receiver<_>> = Vec::new();
        for _ in 0..WATCHERS {
            watching.push(clients.watch());
        }
        let mut id = child.id().ok_or("the registry ended")?;
        while sockets(id)? < WATCHERS {
            tokio::time::sleep(STEP).await;
        }
        // The first line since all are there tells all how many they are.
        tokio::time::sleep(Duration::from_secs(20)).await;
        child.kill().await?;
        tokio::time::sleep(Duration::from_secs(away)).await;
        (child, _) = start(&port).await?;
        id = child.id().ok_or("the registry ended")?;
        let began = Instant::now();
        let mut counts = vec![(Duration::ZERO, 0)];
        let mut next = began;
        while counts.last().is_some_and(|(_, count)| *count < WATCHERS) && began.elapsed() < Duration::from_secs(60) {
            next += STEP;
            tokio::time::sleep_until(next.into()).await;
            counts.push((began.elapsed(), sockets(id)?));
        }
        let rates: Vec<f64> = counts
            .windows(2)
            .map(|pair| (pair[1].1 as f64 - pair[0].1 as f64) / (pair[1].0 - pair[0].0).as_secs_f64())
            .collect();
        let nearly_all = counts.iter().find(|(_, count)| *count >= WATCHERS / 100 * 99);
        let took = nearly_all.ok_or("they do not come back")?.0.as_secs_f64();
        let peak = rates.iter().copied().fold(0.0, f64::max);
        let even = WATCHERS as f64 / took;
        println!(
            "away for {away} s: 99 of 100 back in {took:.1} s; at most {peak:.0}/s in half a second, {:.1} times the even rate \
             of {even:.0}/s: {}",
            peak / even,
            rates.iter().map(|rate| format!("{rate:.0}")).collect::<Vec<_>>().join(" ")
        );
        drop(watching);
        child.kill().await?;
    }
    Ok(())
}

/// How many sockets a process has open.
fn sockets(id: u32) -> Outcome<usize> {
    let open = std::fs::read_dir(format!("/proc/{id}/fd"))?;
    let sockets = open.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    // One is the listener's.
    Ok(sockets.filter(|link| link.to_string_lossy().starts_with("socket:")).count().saturating_sub(1))
}

async fn measure() -> Outcome<()> {
    let (mut child, place) = start("0").await?;
    let id = child.id().ok_or("the registry ended")?;

    let began = Instant::now();
    enter(&place).await?;
    println!("{SERVERS} servers entered: {:.0}/s", SERVERS as f64 / began.elapsed().as_secs_f64());

    // One that knows nothing says from where the others may go on.
    let began = Instant::now();
    let mut first = watcher(&place, "").await?;
    let list = line(&mut first).await?;
    println!("the whole list: {} bytes in {:?}", list.len(), began.elapsed());
    let known = format!("&epoch={}&revision={}", text(&list, "\"epoch\":\"")?, number(&list, "\"revision\":")?);

    let before = memory_kib(id)?;
    let (mark, marks) = watch::channel(0usize);
    let seen: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let ready = Arc::new(AtomicUsize::new(0));
    let began = Instant::now();
    for _ in 0..WATCHERS {
        let mut stream = watcher(&place, &known).await?;
        let (seen, ready, marks) = (Arc::clone(&seen), Arc::clone(&ready), marks.clone());
        tokio::spawn(async move {
            let mut is_ready = false;
            while let Ok(line) = line(&mut stream).await {
                if !std::mem::replace(&mut is_ready, true) {
                    ready.fetch_add(1, Ordering::Relaxed);
                }
                let sought = format!("tcp@mark:{}\"", *marks.borrow());
                if line.contains(&sought) {
                    seen.lock().unwrap().push(Instant::now());
                }
            }
        });
    }
    while ready.load(Ordering::Relaxed) < WATCHERS {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    println!("{WATCHERS} watchers came in {:?}", began.elapsed());
    let after = memory_kib(id)?;
    println!(
        "memory of the registry: {before} KiB, then {after} KiB: {:.1} KiB a watcher",
        (after - before) as f64 / WATCHERS as f64
    );

    let mut delays = Vec::new();
    for change in 1..=CHANGES {
        mark.send_replace(change);
        seen.lock().unwrap().clear();
        let said = Instant::now();
        let mut stream = TcpStream::connect(&*place).await?;
        post(&mut stream, &place, &format!("tcp@mark:{change}")).await?;
        while seen.lock().unwrap().len() < WATCHERS {
            tokio::time::sleep(Duration::from_millis(5)).await;
            if said.elapsed() > Duration::from_secs(30) {
                return Err(format!("after 30 s only {} know", seen.lock().unwrap().len()).into());
            }
        }
        delays.extend(seen.lock().unwrap().iter().map(|at| *at - said));
    }
    delays.sort_unstable();
    let at = |part: f64| delays[((delays.len() - 1) as f64 * part) as usize];
    println!("{CHANGES} changes, each to all watchers: p50 {:?}, p99 {:?}, last {:?}", at(0.5), at(0.99), at(1.0));
    println!("memory of the registry after that: {} KiB", memory_kib(id)?);

    for (way, is_kept) in [("a connection each, as farcall's servers do", false), ("50 connections that are kept", true)] {
        let (before, began) = (ticks(id)?, Instant::now());
        beat(&place, is_kept).await?;
        let used = (ticks(id)? - before) as f64 / 100.0;
        let seconds = began.elapsed().as_secs_f64();
        println!(
            "{:.0} heartbeats/s with {WATCHERS} watchers, {way}: {:.1} % of a core",
            BEATS_PER_S as f64 * BEATS_FOR.as_secs_f64() / seconds,
            100.0 * used / seconds
        );
    }
    drop(child.stdin.take());
    child.wait().await?;
    Ok(())
}

async fn enter(place: &Arc<str>) -> Outcome<()> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut entering = Vec::new();
    for _ in 0..50 {
        let (place, next) = (Arc::clone(place), Arc::clone(&next));
        entering.push(tokio::spawn(async move {
            let mut stream = TcpStream::connect(&*place).await?;
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= SERVERS {
                    return Outcome::Ok(());
                }
                post(&mut stream, &place, &address(number)).await?;
            }
        }));
    }
    for task in entering {
        task.await??;
    }
    Ok(())
}

async fn beat(place: &Arc<str>, is_kept: bool) -> Outcome<()> {
    let began = Instant::now();
    let beats = BEATS_PER_S * BEATS_FOR.as_secs();
    let next = Arc::new(AtomicUsize::new(0));
    let mut beating = Vec::new();
    for _ in 0..50 {
        let (place, next) = (Arc::clone(place), Arc::clone(&next));
        beating.push(tokio::spawn(async move {
            let mut stream = TcpStream::connect(&*place).await?;
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed) as u64;
                if number >= beats {
                    return Outcome::Ok(());
                }
                let due = began + Duration::from_micros(1_000_000 / BEATS_PER_S * number);
                tokio::time::sleep_until(due.into()).await;
                if !is_kept {
                    stream = TcpStream::connect(&*place).await?;
                }
                post(&mut stream, &place, &address(number as usize % SERVERS)).await?;
            }
        }));
    }
    for task in beating {
        task.await??;
    }
    Ok(())
}

fn address(number: usize) -> String {
    format!("tcp@10.0.{}.{}:9999", number / 250, number % 250 + 1)
}

async fn post(stream: &mut TcpStream, place: &str, address: &str) -> Outcome<()> {
    post_weight(stream, place, address, 1).await
}

async fn post_weight(stream: &mut TcpStream, place: &str, address: &str, weight: u64) -> Outcome<()> {
    let body = format!(
        "{{\"address\":\"{address}\",\"state\":\"up\",\"weight\":{weight},\"zone\":\"eu-1\",\"services\":[\"Arith\"],\"owner\":\"{address}\"}}"
    );
    let request = format!(
        "POST /_tinyrpc_/registry HTTP/1.1\r\nHost: {place}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await?;
    let mut reply = Vec::new();
    // The reply ends with the newline behind its JSON.
    while !reply.ends_with(b"}\n") {
        if stream.read_buf(&mut reply).await? == 0 {
            return Err(format!("{address}: {}", String::from_utf8_lossy(&reply)).into());
        }
    }
    match reply.starts_with(b"HTTP/1.1 200") {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&reply).into()),
    }
}

type Watching = BufReader<TcpStream>;

async fn watcher(place: &str, known: &str) -> Outcome<Watching> {
    let mut stream = TcpStream::connect(place).await?;
    let request = format!("GET /_tinyrpc_/registry?watch=1{known} HTTP/1.1\r\nHost: {place}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    Ok(BufReader::with_capacity(1024, stream))
}

/// The next line of JSON, past the head of the reply and the lengths of its chunks.
async fn line(stream: &mut Watching) -> Outcome<String> {
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Err("the watch ended".into());
        }
        if line.starts_with('{') {
            return Ok(line);
        }
    }
}

fn text<'a>(json: &'a str, name: &str) -> Outcome<&'a str> {
    let (_, rest) = json.split_once(name).ok_or("it is not there")?;
    Ok(rest.split('"').next().unwrap_or_default())
}

fn number<'a>(json: &'a str, name: &str) -> Outcome<&'a str> {
    let (_, rest) = json.split_once(name).ok_or("it is not there")?;
    Ok(rest.split([',', '}']).next().unwrap_or_default())
}

fn memory_kib(id: u32) -> Outcome<u64> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
    let (_, rest) = status.split_once("VmRSS:").ok_or("no VmRSS")?;
    Ok(rest.split_whitespace().next().unwrap_or_default().parse()?)
}

/// Hundredths of a second that the process worked.
fn ticks(id: u32) -> Outcome<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat"))?;
    let (_, rest) = stat.rsplit_once(") ").ok_or("no stat")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    Ok(fields[11].parse::<u64>()? + fields[12].parse::<u64>()?)
}
