//! Drafts by prompt lookup: what followed the last tokens when they occurred before.

use super::NGramOptions;

/// Writes the draft that follows `tokens`, at most `limit` long: the tokens after the last earlier occurrence of the longest ending that
/// occurs before.
pub(super) fn propose(options: &NGramOptions, tokens: &[u32], limit: usize, draft: &mut Vec<u32>) {
    draft.clear();
    let limit = limit.min(options.max_draft);
    if limit == 0 {
        return;
    }
    let longest = options.max_match.min(tokens.len().saturating_sub(1));
    for n in (options.min_match..=longest).rev() {
        let (ending, before) = (&tokens[tokens.len() - n..], &tokens[..tokens.len() - 1]);
        if let Some(at) = before.windows(n).rposition(|window| window == ending) {
            let followers = &tokens[at + n..];
            draft.extend(&followers[..followers.len().min(limit)]);
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_ending_decides_and_the_latest_occurrence_of_it() {
        let options = NGramOptions { max_draft: 3, min_match: 1, max_match: 3 };
        let check = |tokens: &[u32], limit, expected: &[u32]| {
            let mut draft = vec![99];
            propose(&options, tokens, limit, &mut draft);
            assert_eq!(draft, expected, "{tokens:?}");
        };
        check(&[1, 2, 3, 4, 9, 2, 3], 9, &[4, 9, 2]);
        check(&[1, 2, 3, 4, 9, 2, 3], 1, &[4]);
        check(&[1, 2, 3, 4, 9, 2, 3], 0, &[]);
        check(&[1, 2, 5, 1, 2, 6, 7, 8, 1, 2], 9, &[6, 7, 8]);
        check(&[7, 1, 2, 5, 1, 2, 6, 7, 1, 2], 9, &[5, 1, 2]);
        check(&[4, 4, 4], 9, &[4]);
        check(&[1, 2, 3], 9, &[]);
        check(&[], 9, &[]);
        let strict = NGramOptions { min_match: 2, ..options };
        let mut draft = Vec::new();
        propose(&strict, &[1, 2, 1], 9, &mut draft);
        assert!(draft.is_empty());
    }
}
