//! Training rows of six finished trees.

use parsimon_reason::rstar_math::extract::{Ends, Follow, Leaf, SftRow, StepPair, clear_pairs};
use parsimon_reason::rstar_math::step;
use parsimon_reason::tree::{TreeRecord, tree_from_record};

use crate::{items, json, number, size, text};

#[test]
fn rows_are_the_released_ones() {
    parsimon_testkit::golden("parsimon-reason", "reasoning", |dir| {
        let golden = json(dir, "golden/extract.json");
        let mut rows = 0;
        for case in items(&golden) {
            let record: TreeRecord = serde_json::from_value(case["tree"].clone()).expect("a tree");
            let tree = tree_from_record(&record).expect("a sound tree");
            let describe = |node: &parsimon_reason::tree::NodeRecord| Leaf {
                text: node.text.clone(),
                final_answer: node.final_answer.clone(),
            };
            let ends = Ends::new(&tree, &describe);
            let expect = &case["expect"];
            let prompt = step::prompt(&record.question);

            let trajectories = ends.trajectories();
            let wrong = trajectories.iter().filter(|(_, right)| !right);
            let ordered: Vec<_> = wrong.chain(trajectories.iter().filter(|(_, right)| *right)).collect();
            let expected = items(&expect["sft_rows"]);
            assert_eq!(ordered.len(), expected.len(), "{}", record.question);
            for ((trajectory, right), other) in ordered.iter().zip(expected) {
                assert_eq!(trajectory.text, text(&other["sft_full"]));
                assert_eq!(*right, number(&other["final_Q"]) == 1.0);
                for (q, expected) in trajectory.q_values.iter().zip(items(&other["q_values"])) {
                    assert!((q - number(expected)).abs() < 1e-12);
                }
            }
            for (key, follow) in [("rm_rows_all", Follow::All), ("rm_rows_vis_count", Follow::MostVisited)] {
                let pairs = ends.step_pairs(&prompt, follow);
                let expected = items(&expect[key]);
                assert_eq!(pairs.len(), expected.len(), "{key} of {}", record.question);
                for (pair, other) in pairs.iter().zip(expected) {
                    let expected: StepPair = serde_json::from_value(other.clone()).expect("a pair");
                    assert_eq!(
                        (&pair.prefix, &pair.chosen_step, &pair.chosen_steps),
                        (&expected.prefix, &expected.chosen_step, &expected.chosen_steps)
                    );
                    assert_eq!(
                        (&pair.rejected_step, &pair.rejected_steps),
                        (&expected.rejected_step, &expected.rejected_steps)
                    );
                    assert!(
                        (pair.step_margin - expected.step_margin).abs() < 1e-9
                            && (pair.steps_margin - expected.steps_margin).abs() < 1e-9
                    );
                    assert_eq!((pair.neg_count, pair.pos_count), (expected.neg_count, expected.pos_count));
                    rows += 1;
                }
            }
            let clear = clear_pairs(&ends.step_pairs(&prompt, Follow::MostVisited));
            let all = clear_pairs(&ends.step_pairs(&prompt, Follow::All));
            let sampled = items(&expect["rm_sampled"]);
            assert!(
                sampled.len() == clear.len() || sampled.len() == all.len(),
                "{} and {} for {}",
                clear.len(),
                all.len(),
                sampled.len()
            );
            let mine = if sampled.len() == clear.len() { &clear } else { &all };
            for (pair, other) in mine.iter().zip(sampled) {
                assert_eq!(
                    (pair.pos.as_str(), pair.neg.as_str(), pair.prompt.as_str()),
                    (text(&other["pos"]), text(&other["neg"]), text(&other["prompt"]))
                );
                assert_eq!((pair.neg_count, pair.pos_count), (size(&other["neg_count"]), size(&other["pos_count"])));
                rows += 1;
            }
            let sft: Vec<SftRow> = serde_json::from_value(expect["sft_sampled_n2"].clone()).expect("rows");
            assert_eq!(ends.sft_rows(&record.question, 2), sft, "{}", record.question);
            rows += sft.len();
        }
        rows
    });
}
