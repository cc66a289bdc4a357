use parsimon_core::SplitMix64;

use super::*;

/// A random game: every node has a few children, leaves at a fixed depth have a value that is a function of the path.
struct Game {
    depth: u16,
    batches: usize,
}

impl Steps for Game {
    type Data = u64;

    fn expand(&mut self, tree: &Tree<u64>, leaves: &[NodeId]) -> Result<Vec<Vec<Child<u64>>>, SolveError> {
        self.batches += 1;
        Ok(leaves
            .iter()
            .map(|leaf| {
                let mut rng = SplitMix64::new(*tree.data(*leaf));
                let last = tree.node(*leaf).depth + 1 == self.depth;
                (0..3)
                    .map(|i| {
                        let data = rng.next_u64();
                        let value = (data >> 40) as f64 / (1u64 << 24) as f64 * 2.0 - 1.0;
                        let outcome = match (last, i) {
                            (true, _) => Outcome::Answer { value },
                            (false, 2) if data.is_multiple_of(7) => Outcome::Failed,
                            (false, _) => Outcome::Open { value: None },
                        };
                        Child { data, outcome, prior: 1.0 }
                    })
                    .collect()
            })
            .collect())
    }
}

fn run(config: &GuidedConfig, seed: u64) -> (Tree<u64>, usize, usize) {
    let mut tree = Tree::new(seed);
    let mut game = Game { depth: 4, batches: 0 };
    let done = search(&mut tree, &mut game, config, |tree, _| tree.assert_sound(true)).expect("a game has no errors");
    (tree, done, game.batches)
}

#[test]
fn the_same_seed_gives_the_same_tree() {
    for wave in [1, 4] {
        let config = GuidedConfig { rollouts: 20, wave, ..Default::default() };
        let (a, b) = (run(&config, 5).0, run(&config, 5).0);
        assert_eq!(format!("{a:?}"), format!("{b:?}"));
    }
}

#[test]
fn a_wave_needs_fewer_batches_and_leaves_nothing_pending() {
    let (_, done, sequential) = run(&GuidedConfig { rollouts: 16, ..Default::default() }, 3);
    let (_, wide, batches) = run(&GuidedConfig { rollouts: 16, wave: 8, ..Default::default() }, 3);
    assert_eq!((done, wide), (16, 16));
    assert!(batches * 3 < sequential, "{batches} batches of a wave, {sequential} one by one");
}

#[test]
fn an_exhausted_tree_ends_the_search() {
    let (tree, done, _) = run(&GuidedConfig { rollouts: 10_000, ..Default::default() }, 1);
    assert!(done < 1000, "{done} rollouts in a tree of at most 40 inner nodes");
    assert!(tree.node(NodeId::ROOT).exhausted);
    assert!(tree.ids().all(|id| tree.node(id).expanded || tree.node(id).terminal));
}

#[test]
fn zero_rollouts_are_refused() {
    let config = GuidedConfig { rollouts: 0, ..Default::default() };
    assert!(matches!(config.check(), Err(SolveError::Config { field: "rollouts", .. })));
}

/// Two arms with means .6 and .4: the better one gets nearly all pulls.
#[test]
fn the_better_arm_wins() {
    let mut tree = Tree::new(0u8);
    tree.expand(NodeId::ROOT, [1, 2]);
    let mut rng = SplitMix64::new(11);
    for _ in 0..2000 {
        let arm = tree.best_child(NodeId::ROOT, Rule::Standard, 0.5, |_| true).expect("two arms");
        let mean = if arm == NodeId(1) { 0.6 } else { 0.4 };
        tree.backup(arm, f64::from(u8::from(rng.next_f64() < mean)));
    }
    assert!(tree.node(NodeId(1)).visits > 1800, "{} of 2000", tree.node(NodeId(1)).visits);
}
