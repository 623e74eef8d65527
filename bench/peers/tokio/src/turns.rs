// SPDX-License-Identifier: Apache-2.0
//
// Rows under load: ../../../turns_bench.cpp and ../../../stalls_bench.cpp say what they are. What differs: a task that
// never awaits keeps its worker, so that the pure and timer hogs starve the sleeper until a plain thread stops them,
// and the row reports the whole span; the timers count whole milliseconds; channels are as in main.rs.
use crate::Context;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, Mutex};
use tokio::task::{spawn_blocking, yield_now, JoinHandle};
use tokio::time::sleep;

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn as_ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn report_all(c: &Context, mut values: Vec<f64>, unit: &str) {
    if values.is_empty() {
        values.push(0.0);
    }
    values.sort_by(f64::total_cmp);
    let at = |fraction: f64| values[(fraction * (values.len() - 1) as f64) as usize];
    c.report(&format!("{}_mean", c.row), values.iter().sum::<f64>() / values.len() as f64, unit);
    c.report(&format!("{}_p50", c.row), at(0.5), unit);
    c.report(&format!("{}_p99", c.row), at(0.99), unit);
    c.report(&format!("{}_p999", c.row), at(0.999), unit);
    c.report(&format!("{}_worst", c.row), at(1.0), unit);
}

/// The time that a row, or a part of it, lasts.
#[derive(Clone)]
struct Span(Arc<AtomicBool>);

impl Span {
    fn new(c: &Context, length: Duration) -> Span {
        let span = Span(Arc::new(AtomicBool::new(false)));
        let (c, theirs) = (c.clone(), Arc::downgrade(&span.0));
        // Ends with the process.
        std::thread::spawn(move || {
            std::thread::sleep(length);
            if let Some(over) = theirs.upgrade() {
                over.store(true, Ordering::Relaxed);
            }
            std::thread::sleep(ms(10_000));
            if theirs.upgrade().is_some() {
                eprintln!("{} at w={}: still runs 10 s after all were told to end", c.row, c.w);
                report_all(&c, vec![as_ms(length)], "ms");
                std::process::exit(1);
            }
        });
        span
    }

    fn over(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn end(&self) {
        self.0.store(true, Ordering::Relaxed)
    }
}

fn scale_ms(c: &Context, full: usize) -> Duration {
    ms(c.scale(full) as u64)
}

fn burn(how_long: Duration) {
    let start = Instant::now();
    while start.elapsed() < how_long {}
}

fn spin(steps: u64) {
    let mut x = 1u64;
    for _ in 0..steps {
        x = x.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
    }
    std::hint::black_box(x);
}

fn steps_in(how_long: Duration) -> u64 {
    const SAMPLE: u64 = 1_000_000;
    let best = (0..5)
        .map(|_| {
            let start = Instant::now();
            spin(std::hint::black_box(SAMPLE));
            start.elapsed()
        })
        .min()
        .unwrap();
    how_long.as_nanos() as u64 * SAMPLE / best.as_nanos() as u64
}

async fn all_of<T>(tasks: Vec<JoinHandle<T>>) -> Vec<T> {
    let mut results = Vec::new();
    for task in tasks {
        results.push(task.await.unwrap());
    }
    results
}

fn start<F: Future<Output = ()> + Send + 'static>(count: usize, body: impl Fn() -> F) -> Vec<JoinHandle<()>> {
    (0..count).map(|_| tokio::spawn(body())).collect()
}

async fn lateness(row: &Span, how_long: Duration) -> Vec<f64> {
    let mut late = Vec::new();
    while !row.over() {
        let start = Instant::now();
        sleep(how_long).await;
        late.push(as_ms(start.elapsed()) - as_ms(how_long));
    }
    late
}

async fn hog(kind: String, row: Span) {
    match kind.as_str() {
        "pure" => while !row.over() {},
        "mutex" => {
            let mine = Mutex::new(());
            while !row.over() {
                drop(mine.lock().await);
            }
        }
        "chan" => {
            let (input, mut output) = mpsc::channel(1);
            while !row.over() {
                input.send(1).await.unwrap();
                output.recv().await;
            }
        }
        "select" => {
            // Its macro wants one more crate: the two are polled by hand, one of them never ready.
            let (input, mut output) = mpsc::channel(1);
            let (_kept, mut never) = mpsc::channel::<i32>(1);
            while !row.over() {
                let _ = input.try_send(1);
                std::future::poll_fn(|context| match never.poll_recv(context) {
                    Poll::Pending => output.poll_recv(context),
                    ready => ready,
                })
                .await;
            }
        }
        "timer" => {
            while !row.over() {
                drop(sleep(ms(3_600_000)));
            }
        }
        other => panic!("{}: no such hog", other),
    }
}

async fn hogs(c: Context, kind: &str, per_p: &str) {
    let per_p = per_p.strip_suffix('P').unwrap().parse().unwrap_or(1);
    let row = Span::new(&c, scale_ms(&c, 2000));
    let all = start(per_p * c.w, || hog(kind.to_string(), row.clone()));
    let late = lateness(&row, ms(5)).await;
    all_of(all).await;
    report_all(&c, late, "ms");
}

async fn slices(c: Context, slice: Duration) {
    let row = Span::new(&c, scale_ms(&c, 2000));
    let all = start(2, || {
        let row = row.clone();
        async move {
            while !row.over() {
                burn(slice);
                yield_now().await;
            }
        }
    });
    let late = lateness(&row, ms(1)).await;
    all_of(all).await;
    report_all(&c, late, "ms");
}

/// Gives the number of round trips.
async fn ping_pong(row: Span, steps: u64) -> u64 {
    let (there_in, mut there_out) = mpsc::channel(1);
    let (back_in, mut back_out) = mpsc::channel(1);
    let partner = tokio::spawn(async move {
        while let Some(value) = there_out.recv().await {
            spin(steps);
            back_in.send(value).await.unwrap();
        }
    });
    let mut trips = 0;
    while !row.over() {
        spin(steps);
        there_in.send(1).await.unwrap();
        back_out.recv().await;
        trips += 1;
    }
    drop(there_in);
    partner.await.unwrap();
    trips
}

async fn trip_alone(c: &Context, steps: u64) -> f64 {
    let row = Span::new(c, scale_ms(c, 300));
    let start = Instant::now();
    let trips = tokio::spawn(ping_pong(row, steps)).await.unwrap();
    start.elapsed().as_nanos() as f64 / trips.max(1) as f64
}

async fn pairs(c: Context) {
    let (long_turn, short_turn) = (steps_in(Duration::from_micros(300)), steps_in(Duration::from_nanos(300)));
    let (long_trip, short_trip) = (trip_alone(&c, long_turn).await, trip_alone(&c, short_turn).await);
    let row = Span::new(&c, scale_ms(&c, 3000));
    let slow = tokio::spawn(ping_pong(row.clone(), long_turn));
    let quick = tokio::spawn(ping_pong(row.clone(), short_turn));
    let slow_got = long_trip * slow.await.unwrap().max(1) as f64;
    let quick_got = short_trip * quick.await.unwrap().max(1) as f64;
    c.report("pairs_ratio", (slow_got / quick_got).max(quick_got / slow_got), "x");
}

extern "C" {
    fn prctl(option: i32, ...) -> i32;
}
const PR_SET_TIMERSLACK: i32 = 29;

fn nap(how_long: Duration) {
    unsafe { prctl(PR_SET_TIMERSLACK, 1u64) };
    std::thread::sleep(how_long);
}

async fn short_blocks(c: Context) {
    let row = Span::new(&c, scale_ms(&c, 2000));
    let all = start(8, || {
        let row = row.clone();
        async move {
            while !row.over() {
                nap(Duration::from_micros(30));
                spin(5000);
                yield_now().await; // else two of them keep both workers to the end
            }
        }
    });
    let late = lateness(&row, ms(1)).await;
    all_of(all).await;
    report_all(&c, late, "ms");
}

async fn burst(c: Context, calls: usize) {
    let row = Span::new(&c, ms(4000));
    let theirs = row.clone();
    let ticker = tokio::spawn(async move { lateness(&theirs, ms(1)).await });
    sleep(ms(50)).await;
    let start = Instant::now();
    all_of((0..calls).map(|_| spawn_blocking(|| std::thread::sleep(ms(300)))).collect()).await;
    let wall = start.elapsed();
    row.end();
    report_all(&c, ticker.await.unwrap(), "ms");
    c.report(&format!("{}_wall", c.row), as_ms(wall), "ms");
}

fn yielders(row: &Span, turns: &Arc<AtomicU64>) -> Vec<JoinHandle<()>> {
    start(4, || {
        let (row, turns) = (row.clone(), turns.clone());
        async move {
            let mut mine = 0;
            while !row.over() {
                yield_now().await;
                mine += 1;
            }
            turns.fetch_add(mine, Ordering::Relaxed);
        }
    })
}

async fn urgent(c: Context) {
    let turns = Arc::new(AtomicU64::new(0));
    let began = Instant::now();
    all_of(yielders(&Span::new(&c, scale_ms(&c, 1000)), &turns)).await;
    let alone = turns.swap(0, Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64();
    let row = Span::new(&c, scale_ms(&c, 2000));
    let began = Instant::now();
    let four = yielders(&row, &turns);
    let ten = start(10, || {
        let row = row.clone();
        async move {
            while !row.over() {
                spawn_blocking(|| std::thread::sleep(Duration::from_micros(200))).await.unwrap();
            }
        }
    });
    let late = lateness(&row, ms(1)).await;
    all_of(four).await;
    all_of(ten).await;
    let beside = turns.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64();
    c.report(&format!("{}_turns", c.row), beside, "/s");
    c.report(&format!("{}_turns_alone", c.row), alone, "/s");
    report_all(&c, late, "ms");
}

async fn wake_and_compute(c: Context) {
    let (sent_at, mut received) = mpsc::channel::<Instant>(1);
    let row = Span::new(&c, scale_ms(&c, 3000));
    let receiver = tokio::spawn(async move {
        let mut delays = Vec::new();
        while let Some(when) = received.recv().await {
            delays.push(when.elapsed().as_nanos() as f64 / 1e3);
        }
        delays
    });
    while !row.over() {
        sleep(ms(10)).await;
        sent_at.send(Instant::now()).await.unwrap();
        burn(ms(15));
    }
    drop(sent_at);
    report_all(&c, receiver.await.unwrap(), "us");
}

const STALLERS_A_P: usize = 8;

/// Exponentially distributed with a mean of 1, from a fixed sequence.
fn exponential(state: &mut u64) -> f64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    -(((*state >> 11) + 1) as f64 / (1u64 << 53) as f64).ln()
}

async fn stalls(c: Context, sleeping: bool, percent: f64) {
    let mean_gap_ms = STALLERS_A_P as f64 * 100.0 / percent - 1.0;
    for i in 0..STALLERS_A_P * c.w {
        tokio::spawn(async move {
            let mut state = 0x9E3779B97F4A7C15u64.wrapping_mul(i as u64 + 1);
            loop {
                sleep(Duration::from_secs_f64(exponential(&mut state) * mean_gap_ms / 1e3)).await;
                if sleeping {
                    std::thread::sleep(ms(1));
                } else {
                    burn(ms(1));
                }
            }
        });
    }
    crate::echo().await;
}

async fn hogs_echo(c: Context) {
    let for_ever = Span(Arc::new(AtomicBool::new(false)));
    start(STALLERS_A_P * c.w, || hog("pure".to_string(), for_ever.clone()));
    crate::echo().await;
}

pub async fn run_row(c: Context) {
    let row = c.row.clone();
    match row.split('_').collect::<Vec<_>>()[..] {
        ["hogs", "echo", "8P"] => hogs_echo(c).await,
        ["hogs", kind, per_p] => hogs(c, kind, per_p).await,
        ["slices", length] => slices(c, ms(length.parse().unwrap())).await,
        ["pairs"] => pairs(c).await,
        ["short", "blocks"] => short_blocks(c).await,
        ["burst", calls] => burst(c, calls.parse().unwrap()).await,
        ["urgent"] => urgent(c).await,
        ["wake", "and", "compute"] => wake_and_compute(c).await,
        ["stalls", what, _, percent] => stalls(c, what == "sleep", percent.parse().unwrap()).await,
        _ => panic!("{}: no such row", row),
    }
}
