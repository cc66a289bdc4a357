//! Training: AdamW on weights whose gradients are known.

use super::Real;

/// AdamW with a cosine schedule after a warm-up.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct TrainOptions {
    /// The largest learning rate.
    pub lr: f64,
    /// The learning rate at the end.
    pub lr_min: f64,
    /// Steps from 0 to the largest learning rate.
    pub warmup: u64,
    /// All steps.
    pub steps: u64,
    /// Decay of the first and second moment.
    pub betas: (f64, f64),
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
}

impl Default for TrainOptions {
    /// What the papers use: 1e-3, cosine, 20 steps of warm-up, no decay (PAPER(seerattention §4)).
    fn default() -> Self {
        let betas = (0.9, 0.999);
        TrainOptions { lr: 1e-3, lr_min: 0.0, warmup: 20, steps: 500, betas, eps: 1e-8, weight_decay: 0.0 }
    }
}

impl TrainOptions {
    /// The learning rate of step `step`, counted from 0.
    pub fn lr_at(&self, step: u64) -> f64 {
        if step < self.warmup {
            return self.lr * (step + 1) as f64 / self.warmup as f64;
        }
        let done = (step - self.warmup) as f64 / self.steps.saturating_sub(self.warmup).max(1) as f64;
        let cosine = 0.5 * (1.0 + (std::f64::consts::PI * done.min(1.0)).cos());
        self.lr_min + (self.lr - self.lr_min) * cosine
    }
}

/// The moments of one tensor.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct AdamW<R> {
    /// First moments.
    pub m: Vec<R>,
    /// Second moments.
    pub v: Vec<R>,
}

impl<R: Real> AdamW<R> {
    /// One step: `step` counts from 0.
    pub fn step(&mut self, options: &TrainOptions, step: u64, weights: &mut [R], grads: &[R]) {
        self.m.resize(weights.len(), R::ZERO);
        self.v.resize(weights.len(), R::ZERO);
        let (b1, b2) = options.betas;
        let lr = options.lr_at(step);
        let t = i32::try_from(step + 1).unwrap_or(i32::MAX);
        let (c1, c2) = (R::of(1.0 - b1.powi(t)), R::of(1.0 - b2.powi(t)));
        let (b1, b2, one) = (R::of(b1), R::of(b2), R::of(1.0));
        let (lr, decay, eps) = (R::of(lr), R::of(lr * options.weight_decay), R::of(options.eps));
        for (((w, &g), m), v) in weights.iter_mut().zip(grads).zip(&mut self.m).zip(&mut self.v) {
            *m = b1 * *m + (one - b1) * g;
            *v = b2 * *v + (one - b2) * g * g;
            *w = *w - decay * *w - lr * (*m / c1) / ((*v / c2).sqrt() + eps);
        }
    }
}

/// The state of training one gate: its moments and how many steps were made. A copy continues with the same bits.
#[derive(Clone, PartialEq, Debug)]
pub struct GateTrainer<R> {
    /// The schedule.
    pub options: TrainOptions,
    /// Steps made.
    pub step: u64,
    /// Moments, a set for every tensor in the order in which they are given.
    pub moments: Vec<AdamW<R>>,
}

impl<R: Real> GateTrainer<R> {
    /// Before the first step.
    pub fn new(options: TrainOptions) -> Self {
        GateTrainer { options, step: 0, moments: Vec::new() }
    }

    /// One step of a prefill gate.
    pub fn step_prefill(&mut self, gate: &mut super::PrefillGate<R>, grads: &super::PrefillGateGrads<R>) {
        let pairs = [(gate.w_q.as_mut(), grads.w_q.as_ref()), (Some(&mut gate.w_k), Some(&grads.w_k))];
        self.step_all(pairs.into_iter().filter_map(|(weights, grads)| Some((weights?, grads?))));
    }

    /// One step of a decode gate.
    pub fn step_decode(&mut self, gate: &mut super::DecodeGate<R>, grads: &super::DecodeGateGrads<R>) {
        let norms = gate.norms.iter_mut().flatten().zip(grads.norms.iter().flatten());
        let pairs = [(gate.w_q.as_mut(), grads.w_q.as_ref()), (Some(&mut gate.w_k), Some(&grads.w_k))];
        self.step_all(pairs.into_iter().filter_map(|(weights, grads)| Some((weights?, grads?))).chain(norms));
    }

    fn step_all<'a>(&mut self, tensors: impl Iterator<Item = (&'a mut Vec<R>, &'a Vec<R>)>)
    where
        R: 'a,
    {
        for (i, (weights, grads)) in tensors.enumerate() {
            if self.moments.len() == i {
                self.moments.push(AdamW { m: Vec::new(), v: Vec::new() });
            }
            self.moments[i].step(&self.options, self.step, weights, grads);
        }
        self.step += 1;
    }
}
