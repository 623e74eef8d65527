// SPDX-License-Identifier: Apache-2.0
//
// The same work in tokio: its current-thread runtime at w=1, the multi-threaded one with w workers above (the body
// runs as a task, so that it is on a worker). Tasks are stackless; channels are tokio's mpsc, with a capacity of 1
// where ours is unbuffered, because it has nothing closer. Same rows, command line and output as ../../*_bench.cpp.
mod turns;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, Mutex, Notify};
use tokio::task::yield_now;

#[derive(Clone)]
struct Context {
    row: String,
    w: usize,
    quick: bool,
}

impl Context {
    fn scale(&self, full: usize) -> usize {
        if self.quick { (full / 10).max(1) } else { full }
    }

    fn report(&self, row: &str, value: f64, unit: &str) {
        println!("{} {} {:.6} {}", row, self.w, value, unit);
    }

    async fn median_ns<F: Future<Output = ()>>(&self, mut work: impl FnMut() -> F) -> f64 {
        work().await;
        let mut times = Vec::new();
        for _ in 0..5 {
            let start = Instant::now();
            work().await;
            times.push(start.elapsed().as_nanos() as f64);
        }
        times.sort_by(f64::total_cmp);
        times[2]
    }

    async fn measure<F: Future<Output = ()>>(&self, operations: usize, work: impl FnMut() -> F) {
        let ns = self.median_ns(work).await;
        self.report(&self.row, ns / operations as f64, "ns");
    }

    async fn measure_ms<F: Future<Output = ()>>(&self, work: impl FnMut() -> F) {
        let ns = self.median_ns(work).await;
        self.report(&self.row, ns / 1e6, "ms");
    }
}

// The recursion rows want the multi-threaded runtime also with one worker: its slot for the newest task keeps them
// depth-first, which makes them four times as fast.
fn runtime_for(row: &str, w: usize) -> Runtime {
    if row.starts_with("fib") {
        Builder::new_multi_thread().worker_threads(w).enable_all().build().unwrap()
    } else if row.starts_with("burst") {
        Builder::new_multi_thread().worker_threads(w).max_blocking_threads(10_000).enable_all().build().unwrap()
    } else {
        runtime(w)
    }
}

fn runtime(w: usize) -> Runtime {
    if w == 1 {
        Builder::new_current_thread().enable_all().build().unwrap()
    } else {
        Builder::new_multi_thread().worker_threads(w).enable_all().build().unwrap()
    }
}

async fn yield_among(c: Context, tasks: usize) {
    let each = c.scale(4_000_000) / tasks;
    c.measure(each * tasks, || async move {
        let mut all = Vec::new();
        for _ in 0..tasks {
            all.push(tokio::spawn(async move {
                for _ in 0..each {
                    yield_now().await;
                }
            }));
        }
        for task in all {
            task.await.unwrap();
        }
    })
    .await;
}

async fn spawn(c: Context) {
    let batches = c.scale(1000);
    c.measure(batches * 1000, || async move {
        for _ in 0..batches {
            let mut all = Vec::with_capacity(1000);
            for _ in 0..1000 {
                all.push(tokio::spawn(async {}));
            }
            for task in all {
                task.await.unwrap();
            }
        }
    })
    .await;
}

type Boxed = Pin<Box<dyn Future<Output = usize> + Send>>;

fn skynet_node(first: usize, size: usize) -> Boxed {
    Box::pin(async move {
        if size == 1 {
            return first;
        }
        let mut children = Vec::with_capacity(10);
        for i in 0..10 {
            children.push(tokio::spawn(skynet_node(first + i * (size / 10), size / 10)));
        }
        let mut sum = 0;
        for child in children {
            sum += child.await.unwrap();
        }
        sum
    })
}

async fn skynet(c: Context) {
    let leaves = c.scale(1_000_000);
    c.measure_ms(|| async move { assert_eq!(skynet_node(0, leaves).await, leaves * (leaves - 1) / 2) }).await;
}

fn fib_sequential(n: usize) -> usize {
    if n < 2 { n } else { fib_sequential(n - 1) + fib_sequential(n - 2) }
}

fn fib_forked(n: usize, cutoff: usize) -> Boxed {
    Box::pin(async move {
        if n <= cutoff + 1 {
            return fib_sequential(n);
        }
        let left = tokio::spawn(fib_forked(n - 1, cutoff));
        let right = fib_forked(n - 2, cutoff).await;
        left.await.unwrap() + right
    })
}

async fn fib(c: Context, cutoff: usize) {
    c.measure_ms(|| async move { assert_eq!(fib_forked(30, cutoff).await, 832040) }).await;
}

async fn ping(mut back: mpsc::Receiver<usize>, there: mpsc::Sender<usize>, trips: usize) {
    for i in 0..trips {
        there.send(i).await.unwrap();
        assert_eq!(back.recv().await, Some(i));
    }
}

async fn pong(mut there: mpsc::Receiver<usize>, back: mpsc::Sender<usize>) {
    while let Some(v) = there.recv().await {
        back.send(v).await.unwrap();
    }
}

async fn pingpong(c: Context) {
    let trips = c.scale(1_000_000);
    c.measure(trips, || async move {
        let (there_in, there_out) = mpsc::channel(1);
        let (back_in, back_out) = mpsc::channel(1);
        let partner = tokio::spawn(pong(there_out, back_in));
        ping(back_out, there_in, trips).await;
        partner.await.unwrap();
    })
    .await;
}

async fn pingpong_threads(c: Context) {
    let trips = c.scale(20_000);
    c.measure(trips, || async move {
        let (there_in, there_out) = mpsc::channel(1);
        let (back_in, back_out) = mpsc::channel(1);
        let partner = std::thread::spawn(move || runtime(1).block_on(pong(there_out, back_in)));
        std::thread::spawn(move || runtime(1).block_on(ping(back_out, there_in, trips))).join().unwrap();
        partner.join().unwrap();
    })
    .await;
}

async fn ring(c: Context) {
    const MEMBERS: usize = 1000;
    let (first, mut input) = mpsc::channel::<usize>(1);
    for _ in 0..MEMBERS - 1 {
        let (output, next) = mpsc::channel(1);
        let mut from = std::mem::replace(&mut input, next);
        tokio::spawn(async move {
            while let Some(v) = from.recv().await {
                output.send(v + 1).await.unwrap();
            }
        });
    }
    let laps = c.scale(1000);
    let last = Arc::new(Mutex::new(input));
    c.measure(laps * MEMBERS, || {
        let (first, last) = (first.clone(), last.clone());
        async move {
            let mut last = last.lock().await;
            let mut token = 0;
            for _ in 0..laps {
                first.send(token + 1).await.unwrap();
                token = last.recv().await.unwrap();
            }
            assert_eq!(token, laps * MEMBERS);
        }
    })
    .await;
}

async fn buffered(c: Context) {
    let items = c.scale(4_000_000);
    c.measure(items, || async move {
        let (input, mut output) = mpsc::channel(128);
        tokio::spawn(async move {
            for i in 0..items {
                input.send(i).await.unwrap();
            }
        });
        let receiver = tokio::spawn(async move {
            let mut count = 0;
            while output.recv().await.is_some() {
                count += 1;
            }
            count
        });
        assert_eq!(receiver.await.unwrap(), items);
    })
    .await;
}

fn sleep_us(number: u64, range_us: u64) -> u64 {
    let mut x = number.wrapping_mul(0x9E3779B97F4A7C15);
    x ^= x >> 29;
    x = x.wrapping_mul(0xBF58476D1CE4E5B9);
    x ^= x >> 32;
    1000 + x % range_us
}

fn cpu_ms() -> f64 {
    // The scheduler's own nanoseconds of each thread: utime and stime come in ticks of 10 ms.
    let mut ns = 0.0;
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let text = std::fs::read_to_string(task.unwrap().path().join("schedstat")).unwrap();
        ns += text.split_whitespace().next().unwrap().parse::<f64>().unwrap();
    }
    ns / 1e6
}

async fn sleepers(c: Context, full: usize, full_range_us: usize) {
    const SLEEPS: usize = 5;
    let count = c.scale(full);
    let range_us = c.scale(full_range_us) as u64;
    let mut late = Vec::new();
    let mut cpu = 0.0;
    for _ in 0..2 {
        late.clear();
        let before = cpu_ms();
        let mut all = Vec::with_capacity(count);
        for i in 0..count {
            all.push(tokio::spawn(async move {
                let mut mine = [0u64; SLEEPS];
                for (k, slot) in mine.iter_mut().enumerate() {
                    let wait = Duration::from_micros(sleep_us((i * SLEEPS + k) as u64, range_us));
                    let start = Instant::now();
                    tokio::time::sleep(wait).await;
                    *slot = start.elapsed().saturating_sub(wait).as_nanos() as u64;
                }
                mine
            }));
        }
        for task in all {
            late.extend(task.await.unwrap());
        }
        cpu = cpu_ms() - before;
    }
    late.sort();
    c.report(&format!("{}_cpu", c.row), cpu, "ms");
    c.report(&format!("{}_p50", c.row), late[late.len() / 2] as f64 / 1e3, "us");
    c.report(&format!("{}_p99", c.row), late[late.len() * 99 / 100] as f64 / 1e3, "us");
}

fn field_kib(path: &str, key: &str) -> f64 {
    let text = std::fs::read_to_string(path).unwrap();
    let line = text.lines().find(|line| line.starts_with(key)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn memory_now() -> f64 {
    1024.0 * (field_kib("/proc/self/smaps_rollup", "Rss:") + field_kib("/proc/self/status", "VmPTE:"))
}

async fn parked(c: Context) {
    let count = c.scale(1_000_000);
    let gate = Arc::new(Notify::new());
    let (started, mut all_started) = mpsc::channel::<()>(1);
    let before = memory_now();
    let start = Instant::now();
    for _ in 0..count {
        let (gate, started) = (gate.clone(), started.clone());
        tokio::spawn(async move {
            let opened = gate.notified();
            drop(started);
            opened.await;
        });
    }
    drop(started);
    all_started.recv().await;
    let elapsed = start.elapsed();
    c.report(&format!("{}_bytes", c.row), (memory_now() - before) / count as f64, "B");
    c.report(&format!("{}_spawn", c.row), elapsed.as_nanos() as f64 / count as f64, "ns");
    gate.notify_waiters();
}

async fn listen() -> TcpListener {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("port {}", listener.local_addr().unwrap().port());
    listener
}

async fn echo_connection(mut stream: TcpStream) -> std::io::Result<()> {
    let mut buffer = [0u8; 4096];
    loop {
        let n = stream.read(&mut buffer).await?;
        if n == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..n]).await?;
    }
}

async fn echo() {
    let listener = listen().await;
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        tokio::spawn(echo_connection(stream));
    }
}

async fn http_connection(mut stream: TcpStream) -> std::io::Result<()> {
    const RESPONSE: &[u8] =
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, World!";
    let mut buffer = [0u8; 8192];
    let mut held = 0;
    let mut out = Vec::new();
    loop {
        let n = stream.read(&mut buffer[held..]).await?;
        if n == 0 {
            return Ok(());
        }
        held += n;
        let mut used = 0;
        out.clear();
        while let Some(end) = buffer[used..held].windows(4).position(|four| four == b"\r\n\r\n") {
            used += end + 4;
            out.extend_from_slice(RESPONSE);
        }
        if !out.is_empty() {
            stream.write_all(&out).await?;
        }
        buffer.copy_within(used..held, 0);
        held -= used;
    }
}

async fn http() {
    let listener = listen().await;
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        tokio::spawn(http_connection(stream));
    }
}

async fn run_row(c: Context) {
    match c.row.as_str() {
        "yield_2" => yield_among(c, 2).await,
        "yield_1000" => yield_among(c, 1000).await,
        "spawn" => spawn(c).await,
        "skynet" | "skynet_join" => skynet(c).await,
        "fib30_cut12" => fib(c, 12).await,
        "fib30_cut2" => fib(c, 2).await,
        "pingpong" => pingpong(c).await,
        "pingpong_threads" => pingpong_threads(c).await,
        "ring_1000" => ring(c).await,
        "chan128_1_1" => buffered(c).await,
        "timers_10k" => sleepers(c, 10_000, 99_000).await,
        "timers_100k" => sleepers(c, 100_000, 999_000).await,
        "parked" => parked(c).await,
        "echo" => echo().await,
        "http" => http().await,
        _ => turns::run_row(c).await,
    }
}

fn main() {
    let mut c = Context { row: String::new(), w: 1, quick: false };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--w" => c.w = arguments.next().unwrap().parse().unwrap(),
            "--quick" => c.quick = true,
            row => c.row = row.to_string(),
        }
    }
    let runtime = runtime_for(&c.row, c.w);
    runtime.block_on(async move { tokio::spawn(run_row(c)).await.unwrap() });
}
