use parsimon_attn::KvDtype;
use parsimon_core::SplitMix64;
use parsimon_core::quant::rtn::Levels;
use parsimon_lut::DenseMatrix;
use parsimon_simd::Level;

use super::*;
use crate::embedding::Embedding;
use crate::model::tests::random_model;
use crate::{GenerateOptions, Linear, SamplingOptions, generate};

const VOCAB: u32 = 60;

/// With an output layer of its own: a random model with tied embeddings repeats its last token for sure.
fn model(form: Option<Levels>) -> Arc<Model> {
    let mut model = random_model(&[form], Level::best());
    let (m, k, mut rng) = (model.config.vocab_size, model.config.hidden_size, SplitMix64::new(9));
    model.lm_head =
        Some(Linear::Dense(DenseMatrix::new((0..m * k).map(|_| 0.2 * rng.next_normal() as f32).collect(), m, k)));
    Arc::new(model)
}

fn options() -> EngineOptions {
    let (step_tokens, cache_positions) = (32, 4096);
    EngineOptions { max_sequences: 4, step_tokens, cache_positions, prefix_cache: false, ..EngineOptions::default() }
}

fn prompt(len: usize, seed: u32) -> Vec<u32> {
    (0..len as u32).map(|i| 1 + (i * i * 7 + seed * 13 + i * 3) % (VOCAB - 1)).collect()
}

fn request(prompt: Vec<u32>, max_tokens: usize) -> Request {
    Request { ignore_eos: true, ..Request::new(prompt, max_tokens) }
}

/// What became of a request.
#[derive(Clone, PartialEq, Debug, Default)]
struct Outcome {
    tokens: Vec<SampledToken>,
    end: Option<(FinishReason, Usage)>,
    error: Option<String>,
}

impl Outcome {
    fn ids(&self) -> Vec<u32> {
        self.tokens.iter().map(|token| token.id).collect()
    }
}

fn collect(outcomes: &mut Vec<Outcome>, events: &mut Vec<Event>) {
    for event in events.drain(..) {
        let (Event::Token { request, .. } | Event::Finished { request, .. } | Event::Failed { request, .. }) = event;
        let at = request.get() as usize;
        outcomes.resize(outcomes.len().max(at + 1), Outcome::default());
        assert_eq!((outcomes[at].end, &outcomes[at].error), (None, &None), "nothing follows the end");
        match event {
            Event::Token { token, .. } => outcomes[at].tokens.push(token),
            Event::Finished { reason, usage, .. } => outcomes[at].end = Some((reason, usage)),
            Event::Failed { error, .. } => outcomes[at].error = Some(error.to_string()),
        }
    }
}

/// Runs until nothing is left to do.
fn drain(engine: &mut Engine, outcomes: &mut Vec<Outcome>) {
    let mut events = Vec::new();
    for _ in 0..10_000 {
        if engine.is_idle() {
            let stats = engine.stats();
            assert_eq!((stats.used_positions, stats.running, stats.waiting), (0, 0, 0), "all pages came back");
            return;
        }
        engine.step(&mut events).unwrap();
        collect(outcomes, &mut events);
    }
    panic!("the engine does not come to an end");
}

fn run(model: &Arc<Model>, options: &EngineOptions, requests: Vec<Request>) -> (Vec<Outcome>, EngineStats) {
    let mut engine = Engine::try_new(model.clone(), options.clone()).unwrap();
    requests.into_iter().for_each(|request| _ = engine.submit(request).unwrap());
    let mut outcomes = Vec::new();
    drain(&mut engine, &mut outcomes);
    (outcomes, engine.stats())
}

/// One of every sampling option, with prompts from one token to several chunks.
fn mixed_requests() -> Vec<Request> {
    let one = SamplingOptions { temperature: 1.0, ..SamplingOptions::default() };
    let samplings = [
        SamplingOptions::default(),
        one.clone(),
        SamplingOptions { top_k: 5, seed: 1, ..one.clone() },
        SamplingOptions { top_p: 0.8, seed: 2, ..one.clone() },
        SamplingOptions { min_p: 0.1, seed: 3, ..one.clone() },
        SamplingOptions { repetition_penalty: 1.3, ..SamplingOptions::default() },
        SamplingOptions { presence_penalty: 0.7, frequency_penalty: 0.2, seed: 4, ..one.clone() },
        SamplingOptions { logit_bias: vec![(5, 2.0), (7, f32::NEG_INFINITY)], temperature: 0.7, seed: 5, ..one },
    ];
    let lengths = [1, 70, 3, 33, 150, 17, 64, 5];
    let requests = samplings.into_iter().zip(lengths).zip(0..).map(|((sampling, len), seed)| Request {
        sampling,
        logprobs: Some(2),
        ..request(prompt(len, seed), 20 + len % 30)
    });
    requests.collect()
}

fn alone(model: &Arc<Model>, options: &EngineOptions) -> Vec<Outcome> {
    mixed_requests().into_iter().flat_map(|request| run(model, options, vec![request]).0).collect()
}

/// Bit for bit, log probabilities included: in company, with too small a cache, and with drafts.
#[test]
fn tokens_do_not_depend_on_who_shares_the_steps() {
    for form in [None, Some(Levels::Bits(4)), Some(Levels::Ternary)] {
        let model = model(form);
        let expected = alone(&model, &options());
        assert!(expected.iter().all(|outcome| outcome.end.unwrap().0 == FinishReason::Length));
        let check = |options: EngineOptions| {
            let (outcomes, stats) = run(&model, &options, mixed_requests());
            assert_eq!(outcomes, expected, "{form:?}, {options:?}");
            stats
        };
        assert_eq!(check(options()).preemptions, 0);
        check(EngineOptions { max_sequences: 1, ..options() });
        check(EngineOptions { max_sequences: 99, ..options() });
        let tight = EngineOptions { cache_positions: 4 * 64, ..options() };
        assert!(check(tight.clone()).preemptions > 0);
        let speculative = Some(NGramOptions { max_draft: 5, min_match: 1, max_match: 3 });
        let stats = check(EngineOptions { speculative, ..options() });
        assert!(stats.accepted_tokens > 0 && stats.accepted_tokens < stats.drafted_tokens, "{stats:?}");
        check(EngineOptions { speculative, ..tight });
    }
}

#[test]
fn an_engine_generates_what_generate_does() {
    let model = model(Some(Levels::Bits(2)));
    for (temperature, len) in [(0.0, 20), (0.9, 32), (1.0, 1)] {
        let sampling = SamplingOptions { temperature, top_p: 0.9, seed: 8, ..SamplingOptions::default() };
        let mut sampler = Sampler::with_options(&sampling).unwrap();
        let options = GenerateOptions { max_tokens: 30 };
        let mut expected = generate(&model, &prompt(len, 3), &options, &mut sampler, &mut |_| true).unwrap();
        let (outcomes, _) =
            run(&model, &self::options(), vec![Request { sampling, ..Request::new(prompt(len, 3), 30) }]);
        // Generation returns the token that ends the text.
        expected.retain(|&token| token != 0);
        assert_eq!(outcomes[0].ids(), expected);
    }
}

#[test]
fn prompts_that_begin_alike_share_pages() {
    let model = model(None);
    let options = EngineOptions { prefix_cache: true, cache_positions: 12 * 64, ..options() };
    let mut engine = Engine::try_new(model.clone(), options.clone()).unwrap();
    let mut outcomes = Vec::new();
    let mut ask = |engine: &mut Engine, prompt: Vec<u32>| {
        let id = engine.submit(request(prompt, 8)).unwrap();
        drain(engine, &mut outcomes);
        let outcome = outcomes[id.get() as usize].clone();
        (outcome.end.unwrap().1.cached_tokens, outcome.ids())
    };
    let long = prompt(150, 1);
    let (cached, ids) = ask(&mut engine, long.clone());
    assert_eq!((cached, engine.stats().kept_positions), (0, 128));
    // Greedy tokens survive the rounding of other chunks: the random model's best logits are far apart.
    assert_eq!(ask(&mut engine, long.clone()), (128, ids.clone()));
    let mut other = long.clone();
    other[100] = 1 + other[100] % (VOCAB - 1);
    assert_eq!(ask(&mut engine, other).0, 64);
    // Whole pages and no more: one token still has to run, on a copy of the last page.
    assert_eq!(ask(&mut engine, long[..128].to_vec()).0, 127);
    assert_eq!(ask(&mut engine, long.clone()), (128, ids.clone()));
    assert_eq!(engine.stats().cached_tokens, 128 + 64 + 127 + 128);
    // Other prompts push the kept pages out.
    (10..20).for_each(|seed| assert_eq!(ask(&mut engine, prompt(140, seed)).0, 0));
    assert_eq!(ask(&mut engine, long.clone()), (0, ids.clone()));
    // Sequences that run at once share them too, the second as soon as the first has its prompt.
    let mut engine = Engine::try_new(model, options).unwrap();
    let mut outcomes = Vec::new();
    engine.submit(request(long.clone(), 40)).unwrap();
    let mut events = Vec::new();
    while engine.stats().generated_tokens == 0 {
        engine.step(&mut events).unwrap();
    }
    engine.submit(request(long, 8)).unwrap();
    engine.step(&mut events).unwrap();
    assert_eq!((engine.stats().running, engine.stats().used_positions), (2, (3 + 1) * 64));
    collect(&mut outcomes, &mut events);
    drain(&mut engine, &mut outcomes);
    assert_eq!((outcomes[1].end.unwrap().1.cached_tokens, outcomes[1].ids()), (128, ids));
}

#[test]
fn requests_end_for_the_reason_that_they_tell() {
    let model = model(None);
    let free = run(&model, &options(), vec![request(prompt(9, 2), 30)]).0.remove(0);
    let ids = free.ids();
    let check = |request: Request, options: &EngineOptions, n: usize, reason: FinishReason| {
        let prompt_tokens = request.prompt.len();
        let outcome = run(&model, options, vec![request]).0.remove(0);
        let usage = Usage { prompt_tokens, cached_tokens: 0, completion_tokens: n };
        assert_eq!((outcome.tokens.len(), outcome.end), (n, Some((reason, usage))));
        outcome.ids()
    };
    check(request(prompt(9, 2), 0), &options(), 0, FinishReason::Length);
    assert_eq!(check(request(prompt(9, 2), 7), &options(), 7, FinishReason::Length), ids[..7]);
    let stop = ids.iter().position(|id| *id == ids[5]).unwrap();
    let stopped = Request { stop_tokens: vec![ids[5]], ..request(prompt(9, 2), 30) };
    check(stopped, &options(), stop, FinishReason::Stop);

    let mut ending = (*model).clone();
    ending.config.eos_token_ids = vec![59, ids[5]];
    let ending = Arc::new(ending);
    let end = run(&ending, &options(), vec![Request::new(prompt(9, 2), 30)]).0.remove(0).end.unwrap();
    assert_eq!((end.0, end.1.completion_tokens), (FinishReason::Stop, stop));
    assert_eq!(run(&ending, &options(), vec![request(prompt(9, 2), 30)]).0[0], free);

    // The model's context, and a cache that one sequence fills.
    let limit = model.config().context_length();
    check(request(prompt(limit, 2), 30), &options(), 1, FinishReason::Context);
    check(request(prompt(limit - 2, 2), 30), &options(), 3, FinishReason::Context);
    let small = EngineOptions { cache_positions: 64, ..options() };
    check(request(prompt(60, 2), 30), &small, 5, FinishReason::Context);
}

#[test]
fn cancelled_requests_end_and_the_others_go_on() {
    let model = model(None);
    let expected = run(&model, &options(), vec![request(prompt(40, 1), 20)]).0.remove(0);
    let mut engine = Engine::try_new(model, EngineOptions { max_sequences: 2, ..options() }).unwrap();
    let ids: Vec<RequestId> = (0..3).map(|seed| engine.submit(request(prompt(40, 1 + seed), 20)).unwrap()).collect();
    let (mut events, mut outcomes) = (Vec::new(), Vec::new());
    (0..5).for_each(|_| engine.step(&mut events).unwrap());
    engine.cancel(ids[1]);
    engine.cancel(ids[2]);
    engine.cancel(ids[2]);
    collect(&mut outcomes, &mut events);
    drain(&mut engine, &mut outcomes);
    engine.cancel(ids[0]);
    assert!(engine.is_idle());
    assert_eq!(outcomes[0], expected);
    assert_eq!(outcomes[1].end.unwrap().0, FinishReason::Cancelled);
    assert_eq!((outcomes[2].tokens.len(), outcomes[2].end.unwrap().0), (0, FinishReason::Cancelled));
}

/// A token whose embedding is NaN stops a low-bit layer, and the request that holds it alone.
#[test]
fn a_request_that_fails_leaves_the_others_alone() {
    let mut model = (*model(Some(Levels::Bits(4)))).clone();
    let (m, k) = (model.config.vocab_size, model.config.hidden_size);
    let Embedding::Dense(table) = &model.embed else { unreachable!("random models are dense") };
    let mut table = table.weights().to_vec();
    table[59 * k..60 * k].fill(f32::NAN);
    model.embed = Embedding::Dense(DenseMatrix::new(table, m, k));
    let model = Arc::new(model);
    let good = || request(vec![1, 2, 3], 12);
    // One fails in its prompt, one is made to choose the token and fails in a pass with others.
    let bad = || request(vec![59], 9);
    let logit_bias = vec![(59, 1e6)];
    let late =
        || Request { sampling: SamplingOptions { logit_bias: logit_bias.clone(), ..Default::default() }, ..good() };
    // One has a constraint that allows nothing.
    let forbidding = || Request { constraint: Some(Box::new(Nothing)), ..good() };
    let expected = run(&model, &options(), vec![good()]).0.remove(0);
    let (outcomes, _) = run(&model, &options(), vec![good(), bad(), late(), good(), forbidding()]);
    assert!(outcomes[4].error.as_ref().unwrap().contains("no token can be chosen"), "{outcomes:?}");
    assert_eq!((&outcomes[0], &outcomes[3]), (&expected, &expected));
    assert!(outcomes[1].error.as_ref().unwrap().contains("activations"), "{outcomes:?}");
    assert_eq!((outcomes[2].ids(), outcomes[2].error.is_some()), (vec![59], true));
}

/// Even tokens, then a 7.
#[derive(Debug)]
struct Even {
    left: usize,
    is_complete: bool,
}

impl TokenConstraint for Even {
    fn mask(&mut self, logits: &mut [f32]) {
        let allows = |token: usize| if self.left > 0 { token.is_multiple_of(2) } else { token == 7 };
        logits.iter_mut().enumerate().filter(|(token, _)| !allows(*token)).for_each(|(_, l)| *l = f32::NEG_INFINITY);
    }

    fn accept(&mut self, _token: u32) {
        self.is_complete = self.left == 0;
        self.left = self.left.saturating_sub(1);
    }

    fn is_complete(&self) -> bool {
        self.is_complete
    }
}

#[derive(Debug)]
struct Nothing;

impl TokenConstraint for Nothing {
    fn mask(&mut self, logits: &mut [f32]) {
        logits.fill(f32::NEG_INFINITY);
    }

    fn accept(&mut self, _token: u32) {}

    fn is_complete(&self) -> bool {
        false
    }
}

#[test]
fn a_constraint_chooses_with_the_model() {
    let model = model(None);
    let constrained = || {
        let constraint = Some(Box::new(Even { left: 6, is_complete: false }) as Box<dyn TokenConstraint>);
        Request { constraint, ..request(prompt(9, 4), 30) }
    };
    let (outcomes, _) = run(&model, &options(), vec![constrained(), request(prompt(9, 4), 30)]);
    let ids = outcomes[0].ids();
    assert!(ids[..6].iter().all(|id| id.is_multiple_of(2)) && ids[6..] == [7], "{ids:?}");
    assert_eq!(outcomes[0].end.unwrap().0, FinishReason::Stop);
    assert!(outcomes[1].ids().iter().any(|id| !id.is_multiple_of(2)));
    let speculative = Some(NGramOptions { max_draft: 4, min_match: 1, max_match: 2 });
    let (again, _) = run(&model, &EngineOptions { speculative, ..options() }, vec![constrained()]);
    assert_eq!(again[0], outcomes[0]);
}

/// Log probabilities of the same tokens move by little when keys and values are rounded.
#[test]
fn rounded_caches_change_probabilities_by_rounding() {
    let model = model(None);
    let ask = |cache_dtype| {
        let request = Request { logprobs: Some(0), ..request(prompt(100, 5), 12) };
        run(&model, &EngineOptions { cache_dtype, ..options() }, vec![request]).0.remove(0)
    };
    let exact = ask(KvDtype::F32);
    // Four times what was measured: half precision rounds to 2^-11, the others to about 2^-8 of the largest number of a row.
    for (dtype, tolerance) in [(KvDtype::F16, 0.002), (KvDtype::Bf16, 0.015), (KvDtype::Int8, 0.033)] {
        let rounded = ask(dtype);
        assert_eq!(rounded.ids(), exact.ids(), "{dtype:?}");
        let differences = rounded.tokens.iter().zip(&exact.tokens);
        let error = differences.fold(0.0f32, |max, (a, b)| max.max((a.logprob.unwrap() - b.logprob.unwrap()).abs()));
        assert!(error > 0.0 && error <= tolerance, "{dtype:?}: {error}");
    }
}

/// Requests that come and go at random, in caches of a few pages: the engine always comes to an end, all pages come back, and what is not
/// cancelled is what it is alone.
#[test]
fn random_company_in_tight_caches_ends_as_alone() {
    let model = model(None);
    let mut rng = SplitMix64::new(2024);
    let mut below = |n: usize| (rng.next_u64() % n as u64) as usize;
    for round in 0..25 {
        let cache_positions = 64 * (1 + below(4));
        let speculative =
            (below(2) == 0).then(|| NGramOptions { max_draft: 1 + below(15), min_match: 1, max_match: 3 });
        let options = EngineOptions {
            max_sequences: 1 + below(5),
            step_tokens: 5 + below(90),
            cache_positions,
            prefix_cache: below(2) == 0,
            speculative,
            ..options()
        };
        let mut engine = Engine::try_new(model.clone(), options.clone()).unwrap();
        let (mut events, mut outcomes, mut asked) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..12 {
            let lengths = [1, 2, 63, 64, 65, 100, 128, 190, 192, 256];
            let len = lengths[below(lengths.len())].min(cache_positions);
            let (seed, max_tokens) = (below(2) as u32, 1 + below(60));
            asked.push((engine.submit(request(prompt(len, seed), max_tokens)).unwrap(), len, seed, max_tokens));
            (0..below(12)).for_each(|_| engine.step(&mut events).unwrap());
            if below(5) == 0 {
                engine.cancel(asked[below(asked.len())].0);
            }
        }
        collect(&mut outcomes, &mut events);
        drain(&mut engine, &mut outcomes);
        for (id, len, seed, max_tokens) in asked {
            let outcome = &outcomes[id.get() as usize];
            let (reason, usage) = outcome.end.unwrap();
            if reason != FinishReason::Cancelled && !options.prefix_cache {
                let (alone, _) = run(&model, &options, vec![request(prompt(len, seed), max_tokens)]);
                assert_eq!(outcome, &alone[0], "round {round}: {options:?}");
            }
            assert_eq!(usage.completion_tokens, outcome.tokens.len());
        }
    }
}

#[test]
fn requests_and_options_that_cannot_be_are_refused() {
    let model = model(None);
    let mut engine = Engine::try_new(model.clone(), EngineOptions { cache_positions: 100, ..options() }).unwrap();
    let mut check = |request: Request, text: &str| {
        let error = engine.submit(request).unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
    };
    check(request(vec![], 1), "no tokens");
    check(request(vec![60], 1), "outside the vocabulary");
    check(request(prompt(257, 1), 1), "the context is full: 257");
    check(request(prompt(129, 1), 1), "needs 129 positions of the cache, it has 128");
    let sampling = SamplingOptions { top_p: 2.0, ..SamplingOptions::default() };
    check(Request { sampling, ..request(vec![1], 1) }, "top_p = 2");
    assert!(engine.is_idle());
    let none = NGramOptions::default;
    for options in [
        EngineOptions { max_sequences: 0, ..options() },
        EngineOptions { step_tokens: 0, ..options() },
        EngineOptions { cache_positions: 0, ..options() },
        EngineOptions { speculative: Some(NGramOptions { max_draft: 16, ..none() }), ..options() },
        EngineOptions { speculative: Some(NGramOptions { min_match: 0, ..none() }), ..options() },
        EngineOptions { speculative: Some(NGramOptions { min_match: 6, ..none() }), ..options() },
    ] {
        assert!(Engine::try_new(model.clone(), options).is_err());
    }
}
