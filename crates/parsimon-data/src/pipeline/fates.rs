//! What becomes of every row: the deduplication over all shards, before any shard is written.
//!
//! Rows come in the order of shards and rows, inside each group of the scope, and the first of what repeats stays: so the outcome is a
//! function of the rows alone. Addresses come first, then equal texts, then near-duplicates among what is left, then paragraphs of what
//! stays. In memory are, a row, its keys (16 bytes each), its signature and an entry a band: about 1.2 KiB with 112 values.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use parsimon_core::io::{FormatError, Map};

use super::plan::Plan;
use super::recipe::NearStage;
use crate::dedup::{Components, Lsh, Position, Scope};
use crate::error::CurateError;

/// What becomes of a row.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Fate {
    /// It stays, without these paragraphs.
    Keep { without: Vec<u32> },
    /// It repeats another; near-duplicates with the share of equal values of their signatures.
    Repeats { reason: &'static str, of: Position, similarity: f64 },
}

/// What the deduplication knows of a shard's rows.
struct Side {
    keys: Vec<u128>,
    urls: Vec<u128>,
    signatures: Vec<u64>,
    paragraphs: Vec<Vec<u64>>,
}

/// The fates of all rows, by shard.
pub(super) fn decide(plan: &Plan, out: &Path) -> Result<Vec<Vec<Fate>>, CurateError> {
    let sides = (0..plan.shards.len()).map(|shard| read(plan, out, shard)).collect::<Result<Vec<_>, _>>()?;
    let mut fates: Vec<Vec<Fate>> =
        sides.iter().map(|side| vec![Fate::Keep { without: Vec::new() }; side.keys.len()]).collect();
    for group in groups(plan) {
        decide_group(plan, &sides, &group, &mut fates);
    }
    Ok(fates)
}

/// The shards that are compared with each other.
fn groups(plan: &Plan) -> Vec<Vec<usize>> {
    let mut groups: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (at, shard) in plan.shards.iter().enumerate() {
        let name = match plan.recipe.dedup.scope {
            Scope::Shard => format!("{at:010}"),
            Scope::Snapshot => shard.path.parent().unwrap_or(Path::new("")).to_string_lossy().into_owned(),
            Scope::Global => String::new(),
        };
        groups.entry(name).or_default().push(at);
    }
    groups.into_values().collect()
}

fn decide_group(plan: &Plan, sides: &[Side], group: &[usize], fates: &mut [Vec<Fate>]) {
    let dedup = &plan.recipe.dedup;
    let places = || group.iter().flat_map(|&shard| (0..sides[shard].keys.len()).map(move |row| (shard, row)));
    let repeats = |keys: &dyn Fn(usize, usize) -> u128, reason, fates: &mut [Vec<Fate>]| {
        let mut first: HashMap<u128, Position> = HashMap::new();
        for (shard, row) in places() {
            if matches!(fates[shard][row], Fate::Repeats { .. }) {
                continue;
            }
            let position = Position { shard: shard as u32, row: row as u32 };
            let of = *first.entry(keys(shard, row)).or_insert(position);
            if of != position {
                fates[shard][row] = Fate::Repeats { reason, of, similarity: 1.0 };
            }
        }
    };
    if dedup.url {
        repeats(&|shard, row| sides[shard].urls[row], "url", fates);
    }
    if dedup.exact {
        repeats(&|shard, row| sides[shard].keys[row], "duplicate", fates);
    }
    let left: Vec<(usize, usize)> =
        places().filter(|&(shard, row)| matches!(fates[shard][row], Fate::Keep { .. })).collect();
    if let Some(near) = &dedup.near {
        near_duplicates(near, sides, &left, fates);
    }
    if dedup.paragraphs {
        let mut seen = HashSet::new();
        for &(shard, row) in &left {
            if let Fate::Keep { without } = &mut fates[shard][row] {
                let paragraphs = sides[shard].paragraphs[row].iter();
                without.extend((0u32..).zip(paragraphs).filter(|(_, key)| !seen.insert(**key)).map(|(at, _)| at));
            }
        }
    }
}

fn near_duplicates(near: &NearStage, sides: &[Side], left: &[(usize, usize)], fates: &mut [Vec<Fate>]) {
    let n = near.params.n();
    let signature = |at: u32| {
        let (shard, row) = left[at as usize];
        &sides[shard].signatures[row * n..][..n]
    };
    let similarity = |a: u32, b: u32| {
        let equal = signature(a).iter().zip(signature(b)).filter(|(a, b)| a == b).count();
        equal as f64 / n as f64
    };
    let mut lsh = Lsh::new(near.params.bands, near.params.rows);
    let mut components = Components::new(left.len() as u32);
    for at in 0..left.len() as u32 {
        // A text too short for a shingle is near to nothing.
        if signature(at)[0] == u64::MAX {
            continue;
        }
        lsh.insert(at, signature(at), |first| {
            if near.similarity_min <= 0.0 || similarity(first, at) >= near.similarity_min {
                components.join(first, at);
            }
        });
    }
    for at in 0..left.len() as u32 {
        let root = components.root(at);
        if root != at {
            let ((shard, row), of) = (left[at as usize], left[root as usize]);
            let of = Position { shard: of.0 as u32, row: of.1 as u32 };
            fates[shard][row] = Fate::Repeats { reason: "near_duplicate", of, similarity: similarity(root, at) };
        }
    }
}

fn read(plan: &Plan, out: &Path, shard: usize) -> Result<Side, CurateError> {
    let dedup = &plan.recipe.dedup;
    let open = |kind: &str, is_there: bool| -> Result<Vec<u8>, FormatError> {
        if !is_there {
            return Ok(Vec::new());
        }
        Ok(Map::open(&out.join(format!("extracted/{shard:05}.{kind}")))?.to_vec())
    };
    let wide = |bytes: &[u8]| bytes.as_chunks::<16>().0.iter().map(|&key| u128::from_le_bytes(key)).collect();
    let words =
        |bytes: &[u8]| -> Vec<u64> { bytes.as_chunks::<8>().0.iter().map(|&word| u64::from_le_bytes(word)).collect() };
    let keys: Vec<u128> = wide(&open("keys", true)?);
    let urls: Vec<u128> = wide(&open("urls", dedup.url)?);
    let signatures = words(&open("signatures", dedup.near.is_some())?);
    let flat = words(&open("paragraphs", dedup.paragraphs)?);
    let mut paragraphs = Vec::new();
    let mut rest = &flat[..];
    while let Some((&length, behind)) = rest.split_first() {
        let (row, behind) = behind.split_at((length as usize).min(behind.len()));
        paragraphs.push(row.to_vec());
        rest = behind;
    }
    let n = keys.len();
    let is_whole = (!dedup.url || urls.len() == n)
        && dedup.near.is_none_or(|near| signatures.len() == n * near.params.n())
        && (!dedup.paragraphs || paragraphs.len() == n);
    if !is_whole {
        let file = out.join(format!("extracted/{shard:05}.keys"));
        let reason = format!("the files beside it have other numbers of rows than its {n}");
        return Err(FormatError::Malformed { file, format: "keys", reason }.into());
    }
    Ok(Side { keys, urls, signatures, paragraphs })
}
