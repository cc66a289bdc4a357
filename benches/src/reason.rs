//! The searches without a model: what the orchestration costs a node, how fast answers are graded, and how busy 64 searches keep a server.
//!
//! The policy is a stub, so that what is timed is ours. The limit of the server's case is its capacity: 64 replies every 100 ms.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::ensure;
use parsimon_core::{CancelFlag, SplitMix64};
use parsimon_reason::ledger::NoClock;
use parsimon_reason::llm::{Client, ClientConfig, Kind};
use parsimon_reason::policy::{Reply, Request, Sample, Sampling};
use parsimon_reason::rstar_math::{Env, MathConfig, Mode, TerminalReward, annotate};
use parsimon_reason::search::GuidedConfig;
use parsimon_reason::tree::{NodeId, Rule, Tree};
use parsimon_reason::{Budget, Grader, Policy, PolicyError, Problem};
use parsimon_simd::Level;
use serde_json::json;

use crate::Effort;
use crate::measure::{Times, time};
use crate::record::{Record, Sink};

pub(crate) fn run(effort: Effort, sink: &mut Sink) -> anyhow::Result<()> {
    let budget = if effort == Effort::Smoke { Duration::from_millis(50) } else { Duration::from_secs(2) };
    if sink.wants("orchestration", "stub policy") {
        orchestration(budget, sink)?;
    }
    if sink.wants("tree rollout", "branch 8") {
        tree_rollout(if effort == Effort::Smoke { 10_000 } else { 1_000_000 }, budget, sink)?;
    }
    if sink.wants("grading", "strict") {
        grading(budget, sink)?;
    }
    if sink.wants("64 searches", "server 100 ms") {
        server(if effort == Effort::Smoke { 3 } else { 20 }, sink)?;
    }
    Ok(())
}

fn record(case: &str, variant: &str, unit: &'static str, times: Times, scale: f64) -> Record {
    let record = Record::lut_time(case, variant, Level::best(), 1, times);
    Record {
        area: "reason",
        unit,
        median: times.median * scale,
        min: times.min * scale,
        max: times.max * scale,
        ..record
    }
}

/// Eight distinct steps of code a prefix, and an answer at depth 5.
struct Stub;

impl Policy for Stub {
    fn id(&self) -> &str {
        "stub"
    }
    fn propose(&self, batch: &[Request<'_>]) -> Result<Reply, PolicyError> {
        let samples = |request: &Request<'_>| {
            let depth = request.tag.matches('.').count();
            let one = |i: usize| match depth {
                4.. => Sample::stopped(format!("\n<answer>The answer is \\boxed{{{i}}}."), "<end_of_answer>"),
                _ => Sample::stopped(format!("x{depth} = {i}\n"), "<end_of_step>"),
            };
            (0..request.n).map(one).collect()
        };
        Ok(Reply { samples: batch.iter().map(samples).collect(), ..Reply::default() })
    }
}

struct Three;

impl TerminalReward for Three {
    fn reward(&self, answer: &str) -> f64 {
        if answer == "3" { 1.0 } else { -1.0 }
    }
}

fn orchestration(budget: Duration, sink: &mut Sink) -> anyhow::Result<()> {
    let cancel = CancelFlag::new();
    let env =
        Env { policy: &Stub, value: None, runner: None, clock: &NoClock, budget: Budget::default(), cancel: &cancel };
    let config = MathConfig {
        mode: Mode::TerminalGuided,
        search: GuidedConfig { rollouts: 64, ..GuidedConfig::default() },
        ..MathConfig::default()
    };
    let problem = Problem { id: "bench".into(), text: "How much is it?".into() };
    let once = || annotate(&problem, &config, &env, &Three, 1);
    let first = once()?;
    ensure!(
        first.ledger.rollouts == 64 && first.tree.node(NodeId::ROOT).visits as usize == first.answered.candidates.len(),
        "every answer reaches the root"
    );
    let nodes = first.tree.len();
    let expansions = first.ledger.expansions;
    let times = time(budget, |_| drop(std::hint::black_box(once())));
    let params =
        BTreeMap::from([("nodes", json!(nodes)), ("expansions_per_s", json!(expansions as f64 / times.median))]);
    sink.push(Record {
        params: params.clone(),
        metric: "time per node",
        ..record("orchestration", "stub policy", "us", times, 1e6 / nodes as f64)
    });
    let rate = Times {
        median: expansions as f64 / times.median,
        min: expansions as f64 / times.max,
        max: expansions as f64 / times.min,
        runs: times.runs,
    };
    sink.push(Record { params, metric: "rate", ..record("expansions", "stub policy", "1/s", rate, 1.0) });
    Ok(())
}

/// Selection and backup alone, on a tree that is there.
fn tree_rollout(nodes: usize, budget: Duration, sink: &mut Sink) -> anyhow::Result<()> {
    let mut tree = Tree::new(());
    let mut next = 0;
    while tree.len() < nodes {
        tree.expand(NodeId(next), [(); 8]);
        next += 1;
    }
    let mut rng = SplitMix64::new(3);
    let mut rollout = |tree: &mut Tree<()>| {
        let mut at = NodeId::ROOT;
        while tree.node(at).expanded {
            at = tree.best_child(at, Rule::Standard, 1.0, |_| true).expect("eight children");
        }
        tree.backup(at, rng.next_f64());
    };
    const EACH: usize = 1000;
    let times = time(budget, |_| (0..EACH).for_each(|_| rollout(&mut tree)));
    ensure!(tree.node(NodeId::ROOT).visits.is_multiple_of(EACH as u32), "every rollout reaches the root");
    let params = BTreeMap::from([
        ("nodes", json!(tree.len())),
        ("bytes_per_node", json!(std::mem::size_of::<parsimon_reason::tree::Node>())),
    ]);
    sink.push(Record {
        params,
        metric: "time per rollout",
        ..record("tree rollout", "branch 8", "us", times, 1e6 / EACH as f64)
    });
    Ok(())
}

fn grading(budget: Duration, sink: &mut Sink) -> anyhow::Result<()> {
    let pairs = [
        ("\\frac{3}{4}", "0.75", true),
        ("5x^2 + 31x + 6", "(5x+1)(x+6)", true),
        ("\\frac{5}{\\sqrt{6}}", "\\frac{5\\sqrt{6}}{6}", true),
        ("(-\\infty,2)\\cup(13,\\infty)", "(13,\\infty)\\cup(-\\infty,2)", true),
        ("\\sqrt{7+\\sqrt{5}}", "\\sqrt{\\sqrt{5}+8}", false),
        ("y=3x-4", "6x-2y=8", true),
    ];
    let grader = Grader::strict();
    for (gold, pred, expect) in pairs {
        ensure!(grader.verify(gold, pred).equal == expect, "{gold} and {pred}");
    }
    let times = time(budget, |_| {
        for (gold, pred, _) in pairs {
            std::hint::black_box(grader.verify(gold, pred));
        }
    });
    sink.push(Record { metric: "time per pair", ..record("grading", "strict", "us", times, 1e6 / pairs.len() as f64) });
    Ok(())
}

const LATENCY: Duration = Duration::from_millis(100);
const SEARCHES: usize = 64;

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if line == "\r\n" {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().unwrap_or(0);
            }
        }
        reader.read_exact(&mut vec![0; length])?;
        std::thread::sleep(LATENCY);
        let body = r#"{"choices":[{"index":0,"text":"ok","finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1}}"#;
        write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())?;
    }
}

/// Sixty-four searches, each of which waits for its reply before it asks again.
fn server(calls: usize, sink: &mut Sink) -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}", listener.local_addr()?);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = stream.set_nodelay(true);
            std::thread::spawn(move || answer(stream));
        }
    });
    let client = Client::new(ClientConfig::new(Kind::VllmCompletions, url, "stub"));
    let search = |seed: usize| -> Result<(), PolicyError> {
        for call in 0..calls {
            let request = Request {
                problem: "p",
                tag: "0",
                prompt: format!("{seed} {call}"),
                n: 1,
                stops: Vec::new(),
                sampling: Sampling::default(),
                seed: 1,
            };
            client.propose(&[request])?;
        }
        Ok(())
    };
    let round = || -> anyhow::Result<f64> {
        let start = Instant::now();
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..SEARCHES).map(|seed| scope.spawn(move || search(seed))).collect();
            workers.into_iter().try_for_each(|worker| worker.join().expect("a search does not panic"))
        })?;
        Ok(start.elapsed().as_secs_f64())
    };
    round()?;
    let mut seconds = Vec::new();
    for _ in 0..3 {
        seconds.push(round()?);
    }
    seconds.sort_by(f64::total_cmp);
    let ideal = calls as f64 * LATENCY.as_secs_f64();
    let busy = |seconds: f64| 100.0 * ideal / seconds;
    let times = Times { median: busy(seconds[1]), min: busy(seconds[2]), max: busy(seconds[0]), runs: 3 };
    let record = record("64 searches", "server 100 ms", "% busy", times, 1.0);
    let percent = Some(times.median);
    sink.push(Record {
        metric: "share of the server's capacity",
        limit: Some(100.0),
        pct_of_limit: percent,
        threads: SEARCHES,
        ..record
    });
    Ok(())
}
