use parsimon_core::SplitMix64;
use parsimon_testkit::rel_l2;

use super::*;
use crate::{HeadMap, KvPool, KvSequence, KvShape, Mask, ScoreMod, reference};

/// `f32` sums of a few hundred terms and an exponential of relative error 1e-7.
const TOLERANCE: f64 = 2e-6;

fn random(len: usize, seed: u64) -> Vec<f32> {
    let mut rng = SplitMix64::new(seed);
    (0..len).map(|_| rng.next_normal() as f32).collect()
}

const WIDE: Mask = Mask::Window { left: Some(7), right: None };
const AHEAD: Mask = Mask::Window { left: None, right: Some(2) };

struct Case {
    config: AttnConfig,
    t_k: usize,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
}

impl Case {
    fn new(heads: (usize, usize, usize), d: (usize, usize), t: (usize, usize), mask: Mask) -> Self {
        let heads = HeadMap::try_new(heads.0, heads.1, heads.2).unwrap();
        let config = AttnConfig::new(heads, d, mask);
        Case {
            config,
            t_k: t.1,
            q: random(t.0 * heads.n_q() * d.0, 1),
            k: random(t.1 * heads.n_k() * d.0, 2),
            v: random(t.1 * heads.n_v() * d.1, 3),
        }
    }

    fn view(&self) -> KvView<'_> {
        let dims = (self.config.d_qk, self.config.d_v);
        KvView::from_rows(self.config.heads, dims, self.t_k, &self.k, &self.v).unwrap()
    }

    fn run(&self) -> (Vec<f32>, Vec<f32>) {
        let rows = self.q.len() / self.config.d_qk;
        let (mut o, mut lse) = (vec![f32::NAN; rows * self.config.d_v], vec![f32::NAN; rows]);
        let attention = Attention::prepare(&self.config).unwrap();
        attention.forward_into(&self.q, self.view(), &mut o, Some(&mut lse)).unwrap();
        (o, lse)
    }

    #[track_caller]
    fn check(&self) {
        let (o, lse) = self.run();
        let (expected, expected_lse) = reference::attention(&self.config, &self.q, self.view());
        let error = rel_l2(&o, &expected);
        assert!(error <= TOLERANCE, "{:?}, t_k = {}: {error}", self.config, self.t_k);
        for (a, b) in lse.iter().zip(expected_lse) {
            assert!(f64::from(*a) == b || (f64::from(*a) - b).abs() <= 2e-5, "lse {a} for {b}");
        }
    }
}

#[test]
fn every_head_map_width_and_length_equals_the_definition() {
    for heads in [(1, 1, 1), (8, 1, 4), (12, 3, 4), (4, 4, 1)] {
        for d in [(8, 8), (10, 6), (32, 32), (24, 40)] {
            for t in [(0, 5), (1, 1), (3, 70), (5, 5), (64, 64), (65, 65), (7, 130), (9, 4), (20, 0)] {
                for mask in [Mask::Full, Mask::Causal] {
                    Case::new(heads, d, t, mask).check();
                }
            }
        }
    }
    for mask in [Mask::sliding(1), Mask::sliding(9), Mask::sliding(64), Mask::sliding(100), WIDE, AHEAD] {
        for t in [(0, 5), (1, 1), (3, 70), (5, 5), (65, 65), (130, 300), (300, 300), (9, 4), (20, 0)] {
            let mut case = Case::new((6, 2, 3), (16, 40), t, mask);
            case.check();
            case.config.score_mod = ScoreMod::SoftCap(1.5);
            case.check();
        }
    }
    Case::new((4, 2, 2), (128, 128), (200, 333), Mask::Causal).check();
    Case::new((2, 1, 1), (192, 128), (70, 70), Mask::Causal).check();
}

#[test]
fn rows_without_a_key_are_zero() {
    let case = Case::new((2, 1, 2), (8, 8), (9, 4), Mask::Causal);
    let (o, lse) = case.run();
    assert!(o[..5 * 2 * 8].iter().all(|&o| o == 0.0));
    assert!(lse[..5 * 2].iter().all(|&lse| lse == f32::NEG_INFINITY));
}

#[test]
fn a_nan_reaches_only_the_rows_that_see_it() {
    for t in [70, 3] {
        for poison_value in [false, true] {
            let mut case = Case::new((2, 1, 1), (8, 8), (t, t), Mask::Causal);
            let at = t / 2;
            if poison_value {
                case.v[at * 8] = f32::NAN
            } else {
                case.k[at * 8] = f32::NAN
            }
            let (o, _) = case.run();
            for (i, row) in o.chunks_exact(2 * 8).enumerate() {
                assert_eq!(row.iter().any(|o| o.is_nan()), i >= at, "t = {t}, row {i}");
            }
        }
    }
}

/// Below the window as above it: what a row does not see cannot reach it.
#[test]
fn a_nan_reaches_only_the_rows_whose_window_holds_it() {
    for (t, at) in [(200, 70), (200, 0), (3, 0)] {
        for poison_value in [false, true] {
            let mut case = Case::new((2, 1, 1), (8, 8), (t, t), Mask::sliding(2));
            let poisoned = if poison_value { &mut case.v } else { &mut case.k };
            poisoned[at * 8] = f32::NAN;
            let (o, _) = case.run();
            for (i, row) in o.chunks_exact(2 * 8).enumerate() {
                assert_eq!(row.iter().any(|o| o.is_nan()), i == at || i == at + 1, "t = {t}, row {i}");
            }
        }
    }
}

#[test]
fn a_cap_bounds_huge_logits() {
    let mut case = Case::new((2, 2, 2), (16, 16), (80, 80), Mask::sliding(20));
    case.config.score_mod = ScoreMod::SoftCap(50.0);
    case.q.iter_mut().chain(&mut case.k).for_each(|x| *x *= 100.0);
    case.check();
    let (_, lse) = case.run();
    assert!(lse.iter().all(|lse| lse.abs() <= 50.0 + 20f32.ln()));
}

#[test]
fn huge_logits_stay_finite() {
    let mut case = Case::new((2, 2, 2), (16, 16), (80, 80), Mask::Causal);
    case.q.iter_mut().chain(&mut case.k).for_each(|x| *x *= 100.0);
    let (o, lse) = case.run();
    assert!(o.iter().chain(&lse).all(|x| x.is_finite()));
}

#[test]
fn decode_steps_equal_the_rows_of_prefill() {
    let case = Case::new((8, 2, 4), (32, 32), (90, 90), Mask::Causal);
    let (o, _) = case.run();
    let attention = Attention::prepare(&case.config).unwrap();
    let shape = KvShape { layers: 1, heads: case.config.heads, d_qk: 32, d_v: 32, dtype: crate::KvDtype::F32 };
    let (mut pool, mut sequence) = (KvPool::new(shape, None), KvSequence::default());
    for i in 0..90 {
        pool.append(&mut sequence, &case.k[i * 2 * 32..][..2 * 32], &case.v[i * 4 * 32..][..4 * 32]).unwrap();
        let mut row = vec![0.0; 8 * 32];
        attention.forward_into(&case.q[i * 8 * 32..][..8 * 32], pool.view(0, &sequence, 0), &mut row, None).unwrap();
        let expected: Vec<f64> = o[i * 8 * 32..][..8 * 32].iter().map(|&o| f64::from(o)).collect();
        assert!(rel_l2(&row, &expected) <= TOLERANCE, "row {i}");
    }
}

#[test]
fn threads_do_not_change_a_bit() {
    for t in [(1, 3000), (150, 200)] {
        let case = Case::new((8, 2, 4), (32, 32), t, Mask::Causal);
        let run =
            |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| case.run());
        let one = run(1);
        assert!([2, 3, 8].into_iter().all(|threads| run(threads) == one));
    }
}

#[test]
fn wrong_lengths_are_named() {
    let case = Case::new((2, 1, 1), (8, 4), (5, 5), Mask::Full);
    let attention = Attention::prepare(&case.config).unwrap();
    let mut out = [0.0; 5 * 2 * 4];
    let mut check = |q: &[f32], out_len: usize, error| {
        assert_eq!(attention.forward_into(q, case.view(), &mut out[..out_len], None), Err(error));
    };
    check(&case.q[1..], 40, AttnError::Shape { what: "q", expected: 64, actual: 79 });
    check(&case.q, 39, AttnError::Shape { what: "out", expected: 40, actual: 39 });
    let zero = AttnConfig { d_v: 0, ..case.config.clone() };
    assert_eq!(Attention::prepare(&zero).unwrap_err(), AttnError::ZeroDim { what: "d_v" });
    let capped = AttnConfig { score_mod: ScoreMod::SoftCap(0.0), ..case.config.clone() };
    assert_eq!(Attention::prepare(&capped).unwrap_err().to_string(), "soft_cap = 0: must be positive");
}

/// Every element type against the definition over the numbers that the pool kept, and all ways against each other.
#[test]
fn pages_of_every_element_type_equal_the_definition() {
    for dtype in crate::KvDtype::ALL {
        for (d, mask) in [((32, 32), Mask::Causal), ((24, 40), Mask::sliding(70)), ((10, 6), Mask::Full)] {
            for (t_q, t_k) in [(1, 1), (1, 64), (3, 65), (4, 200), (7, 130), (70, 70)] {
                let case = Case::new((6, 2, 3), d, (t_q, t_k), mask);
                let config = case.config.clone();
                let shape = KvShape { layers: 1, heads: config.heads, d_qk: d.0, d_v: d.1, dtype };
                let (mut pool, mut sequence) = (KvPool::new(shape, None), KvSequence::default());
                pool.append(&mut sequence, &case.k, &case.v).unwrap();
                let view = pool.view(0, &sequence, 0);
                let (expected, _) = reference::attention(&config, &case.q, view);
                let attention = Attention::prepare(&config).unwrap();
                let mut o = vec![f32::NAN; expected.len()];
                attention.forward_into(&case.q, view, &mut o, None).unwrap();
                assert!(rel_l2(&o, &expected) <= TOLERANCE, "{dtype:?}, {config:?}, {t_q}, {t_k}");
                attention.rows_into(&case.q, view, &mut o, None).unwrap();
                assert!(rel_l2(&o, &expected) <= TOLERANCE, "{dtype:?}, {config:?}, {t_q}, {t_k} by rows");
                if dtype == crate::KvDtype::F32 {
                    let mut plain = vec![f32::NAN; expected.len()];
                    attention.rows_into(&case.q, case.view(), &mut plain, None).unwrap();
                    assert_eq!(o, plain, "pages and plain rows have the same bits");
                }
            }
        }
    }
}

/// Rows of one call have the bits of calls with one query each.
#[test]
fn rows_do_not_see_each_other() {
    let case = Case::new((4, 2, 2), (32, 32), (16, 150), Mask::sliding(100));
    let attention = Attention::prepare(&case.config).unwrap();
    let mut together = vec![0.0; 16 * 4 * 32];
    attention.rows_into(&case.q, case.view(), &mut together, None).unwrap();
    for i in 0..16 {
        let keys = 150 - 15 + i;
        let (k, v) = (&case.k[..keys * 2 * 32], &case.v[..keys * 2 * 32]);
        let view = KvView::from_rows(case.config.heads, (32, 32), keys, k, v).unwrap();
        let mut alone = vec![0.0; 4 * 32];
        attention.forward_into(&case.q[i * 4 * 32..][..4 * 32], view, &mut alone, None).unwrap();
        assert_eq!(alone, together[i * 4 * 32..][..4 * 32], "row {i}");
    }
}

/// Query heads that share keys and values walk them together, with the bits of heads that have keys and values to themselves.
#[test]
fn heads_that_share_keys_have_the_bits_of_heads_alone() {
    for dtype in crate::KvDtype::ALL {
        for heads in [(8, 2, 2), (4, 2, 1), (6, 2, 6), (6, 1, 1), (8, 1, 4)] {
            for d in [(16, 24), (10, 6), (130, 16)] {
                for t in [(1, 300), (1, 70), (3, 257)] {
                    let case = Case::new(heads, d, t, Mask::Causal);
                    check_heads_alone(
                        &Case {
                            config: AttnConfig { score_mod: ScoreMod::SoftCap(3.0), ..case.config.clone() },
                            ..case
                        },
                        dtype,
                    );
                }
            }
        }
    }
}

#[track_caller]
fn check_heads_alone(case: &Case, dtype: crate::KvDtype) {
    let AttnConfig { heads, d_qk, d_v, .. } = case.config;
    let run = |config: &AttnConfig, q: &[f32], k: &[f32], v: &[f32]| {
        let mut pool = KvPool::new(KvShape { layers: 1, heads: config.heads, d_qk, d_v, dtype }, None);
        let mut sequence = KvSequence::default();
        pool.append(&mut sequence, k, v).unwrap();
        let mut out = vec![f32::NAN; q.len() / d_qk * d_v];
        let mut lse = vec![f32::NAN; q.len() / d_qk];
        let attention = Attention::prepare(config).unwrap();
        attention.rows_into(q, pool.view(0, &sequence, 0), &mut out, Some(&mut lse)).unwrap();
        (out, lse)
    };
    let (out, lse) = run(&case.config, &case.q, &case.k, &case.v);
    let column = |rows: &[f32], n: usize, d: usize, head: usize| {
        rows.chunks_exact(n * d).flat_map(|row| &row[head * d..][..d]).copied().collect::<Vec<f32>>()
    };
    let alone = AttnConfig { heads: HeadMap::try_new(1, 1, 1).unwrap(), ..case.config.clone() };
    for h in 0..heads.n_q() {
        let q = column(&case.q, heads.n_q(), d_qk, h);
        let k = column(&case.k, heads.n_k(), d_qk, heads.k_of(h));
        let v = column(&case.v, heads.n_v(), d_v, heads.v_of(h));
        let expected = run(&alone, &q, &k, &v);
        let own = (column(&out, heads.n_q(), d_v, h), column(&lse, heads.n_q(), 1, h));
        assert_eq!(own, expected, "head {h} of {:?} as {dtype:?}, {} keys", case.config, case.t_k);
    }
}
