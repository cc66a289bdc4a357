//! Voting and selection on recorded samples give the recorded counts.

use parsimon_reason::Grader;
use parsimon_reason::solution::{Answered, Candidate};
use serde_json::Value;

use crate::{items, json, json_lines, number, size, text};

#[test]
fn votes_on_recorded_math_samples() {
    parsimon_testkit::golden("parsimon-reason", "reasoning", |dir| {
        let golden = &json(dir, "golden/replay.json")["qwen"];
        let rows = json_lines(dir, text(&golden["file"]));
        let per_item = items(&golden["per_item_k8"]);
        let (mut first, mut sum, mut any, mut majority, mut best, mut weighted) = (0, 0, 0, 0, 0, 0);
        for (row, item) in rows.iter().zip(per_item) {
            let right: Vec<bool> = items(&row["score"])
                .iter()
                .map(|score| score.as_bool().unwrap_or(score.as_f64() == Some(1.0)))
                .collect();
            // The scores are raw logits; a weighted vote needs positive weights, as recorded.
            let candidates: Vec<Candidate> = items(&row["pred"])
                .iter()
                .zip(items(&row["pred_score"]))
                .map(|(pred, score)| Candidate {
                    answer: text(pred).to_owned(),
                    value: score_of(score),
                    text: String::new(),
                })
                .collect();
            let answered = Answered { candidates };
            first += usize::from(right[0]);
            sum += right.iter().filter(|right| **right).count();
            any += usize::from(right.contains(&true));
            // The recorded rules group by the text of the prediction.
            let groups =
                answered.groups_by(|_| true, |a, b| answered.candidates[a].answer == answered.candidates[b].answer);
            let vote = parsimon_reason::solution::first_max(
                groups.iter().map(|group| (group.first, group.members.len() as f64)),
            )
            .expect("samples");
            let by_value = parsimon_reason::solution::first_max(groups.iter().map(|group| (group.first, group.value)))
                .expect("samples");
            let top =
                parsimon_reason::solution::first_max(answered.candidates.iter().enumerate().map(|(i, c)| (i, c.value)))
                    .expect("samples");
            majority += usize::from(right[vote]);
            weighted += usize::from(right[by_value]);
            best += usize::from(right[top]);
            assert_eq!(top, size(&item["rm"]), "best of item {}", item["idx"]);
            assert_eq!(vote, size(&item["maj"]), "vote of item {}", item["idx"]);
        }
        let expected =
            ["pass_first", "pass_sum_of_8", "pass_any8", "maj8", "rm8", "weighted8"].map(|key| size(&golden[key]));
        assert_eq!([first, sum, any, majority, best, weighted], expected);
        rows.len()
    });
}

fn score_of(score: &Value) -> f64 {
    score.as_f64().unwrap_or_else(|| number(&score[0]))
}

#[test]
fn four_recorded_systems() {
    parsimon_testkit::golden("parsimon-reason", "reasoning", |dir| {
        let golden = &json(dir, "golden/replay.json")["four"];
        let rows = json_lines(dir, text(&golden["file"]));
        let systems = ["6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification"];
        let mut right = [0; 4];
        let (mut any, mut majority) = (0, 0);
        for row in &rows {
            let correct: Vec<bool> =
                systems.iter().map(|system| row[system]["is_correct"].as_bool().expect("a flag")).collect();
            for (count, right) in right.iter_mut().zip(&correct) {
                *count += usize::from(*right);
            }
            any += usize::from(correct.contains(&true));
            let answer = |system: &str| {
                text(&row[system]["solution"])
                    .rsplit_once("A:")
                    .map_or("", |(_, answer)| answer)
                    .trim()
                    .replace(',', "")
            };
            let candidates =
                systems.map(|system| Candidate { answer: answer(system), value: 0.0, text: String::new() });
            let answered = Answered { candidates: candidates.to_vec() };
            if let Some(winner) = answered.majority() {
                majority += usize::from(correct[winner]);
            }
        }
        assert_eq!(right.to_vec(), systems.map(|system| size(&golden[system])));
        assert_eq!((any, majority), (size(&golden["any"]), size(&golden["maj4_first_seen_tie"])));
        rows.len()
    });
}

#[test]
fn tree_of_thoughts_selections() {
    parsimon_testkit::golden("parsimon-reason", "reasoning", |dir| {
        let golden = &json(dir, "golden/replay.json")["tot"];
        let log = json(dir, text(&golden["file"]));
        let (mut levels, mut matches, mut solved) = (0, 0, 0);
        for problem in items(&log) {
            for step in items(&problem["steps"]) {
                let (proposals, values) = (items(&step["new_ys"]), items(&step["values"]));
                let mut order: Vec<usize> = (0..proposals.len()).collect();
                order.sort_by(|a, b| number(&values[*b]).total_cmp(&number(&values[*a])));
                order.truncate(5);
                let selected: Vec<&Value> = order.iter().map(|index| &proposals[*index]).collect();
                levels += 1;
                matches += usize::from(selected == items(&step["select_new_ys"]).iter().collect::<Vec<_>>());
            }
            solved += usize::from(items(&problem["infos"]).iter().any(|info| number(&info["r"]) == 1.0));
        }
        assert_eq!(
            (levels, matches, solved),
            (size(&golden["levels"]), size(&golden["select_matches"]), size(&golden["solved_any_of_5"]))
        );
        levels
    });
}

#[test]
fn every_gold_answer_of_math500_equals_itself() {
    parsimon_testkit::golden("parsimon-reason", "reasoning", |dir| {
        let rows = json(dir, "sets/math500.json");
        let grader = Grader::strict();
        for row in items(&rows) {
            let solution = text(&row["solution"]);
            assert!(grader.verify(solution, solution).equal, "{}", row["id"]);
        }
        items(&rows).len()
    });
}
